# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup as a file: which one is the newest, whether it is whole, what is in it. program.py writes it."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.docker.cli import first_line
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup import program
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import RC_NOT_FOUND, Runner, run

_NAME = re.compile(r"gpustack-.+-(\d{8}T\d{6}Z)-\d[^/]*\.tar\.gz(\.gpg)?\Z")
# What zlib, tarfile and reading a file that was cut off raise
_DAMAGE = (tarfile.TarError, zlib.error, EOFError, OSError, UnicodeError, ValueError, LookupError, TypeError, AttributeError)


class Unusable(Exception):
    """Why a backup can't be restored, as a sentence about the file, without its end. remedy: a sentence."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def newest(directories: list[str], ask: Runner = run, timeout: float = 20.0) -> str:
    """The newest backup of the first directory that has any; empty for none. A directory may lie on a file server that is gone."""
    for directory in directories:
        result = ask(["ls", "-A", "--", directory], timeout)
        listed = [] if result.rc or result.timed_out else result.stdout.splitlines()
        found = sorted((match.group(1), name) for name in listed if (match := _NAME.match(name)))
        if found:
            return os.path.join(directory, found[-1][1])
    return ""


@contextlib.contextmanager
def opened(path: str, passphrase: str, place: str) -> Iterator[str]:
    """A whole backup as a plain one, decrypted for the time being into a directory below place where it has to be. Raises Unusable."""
    if not os.path.isfile(path):
        raise Unusable("is not there; expected a backup", "Correct gpustack_restore_file, or bring the file there.")
    if not path.endswith(program.ENCRYPTED):
        yield path
        return
    if not passphrase:
        raise Unusable("is encrypted, and gpustack_backup_passphrase is not set", "Set it to the one with which the backup was made.")
    os.makedirs(place, mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".opened-", dir=place) as work:
        plain = os.path.join(work, "plain")
        os.mkdir(os.path.join(work, "gpg"), 0o700)
        argv = [*program.gpg(os.path.join(work, "gpg")), "--output", plain, "--decrypt", path]
        result = run(argv, program.WORK, stdin=passphrase)
        if result.rc == RC_NOT_FOUND:
            raise Unusable("is encrypted, and gpg is missing on the host", "Install gnupg2 there (gpg on Debian and Ubuntu).")
        if result.rc or result.timed_out:
            why = first_line(result.stderr) or "no end"
            raise Unusable(
                f"can't be decrypted ({why}); expected the passphrase that it was made with, and a whole file",
                "Correct gpustack_backup_passphrase, or take another copy.",
            )
        yield plain


def check(path: str) -> dict[str, Any]:
    """The manifest of a plain backup, once all of it was read and found whole. Raises Unusable."""
    sums: dict[str, str] = {}
    texts: dict[str, bytes] = {}
    try:
        with gzip.open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as packed:
            for member in packed:
                _refuse_strange(member)
                if program.SUMS in texts:
                    raise ValueError("something follows its checksums")
                sums[member.name] = _read(packed, member, texts)
            # Up to gzip's own checksum
            while stream.read(1 << 20):
                pass
        manifest = json.loads(texts[program.MANIFEST])
        lines = texts[program.SUMS].decode().splitlines()
        listed = {name: found for found, _gap, name in (line.partition("  ") for line in lines)}
        del sums[program.SUMS]
    except _DAMAGE as error:
        raise _damaged(str(error) or type(error).__name__) from error
    if sums != listed:
        raise _damaged(f"{', '.join(sorted(name for name in {*sums, *listed} if sums.get(name) != listed.get(name)))} differ")
    if not isinstance(manifest, dict) or manifest.get("format") != program.FORMAT:
        raise Unusable(
            f"is of form {manifest.get('format') if isinstance(manifest, dict) else '?'}; expected form {program.FORMAT}",
            "Restore it with the release of the collection that made it, or a later one.",
        )
    missing = [name for name in ("created", "host", "version") if not isinstance(manifest.get(name), str)]
    if missing:
        raise _damaged(f"its manifest has no {', '.join(missing)}")
    return manifest


def _damaged(why: str) -> Unusable:
    return Unusable(f"is damaged or unfinished ({why}); expected a whole backup", "Take another one, or another copy of it.")


def _refuse_strange(member: tarfile.TarInfo) -> None:
    parts = member.name.split("/")
    if not member.isfile() or member.name.startswith("/") or ".." in parts or "" in parts:
        raise ValueError(f"{member.name!r} is no file of a backup's")


def _read(packed: tarfile.TarFile, member: tarfile.TarInfo, texts: dict[str, bytes]) -> str:
    """The checksum of a member; the small ones are kept."""
    found = hashlib.sha256()
    kept = member.name in (program.MANIFEST, program.SUMS)
    for part in _parts(packed, member):
        found.update(part)
        if kept:
            texts[member.name] = texts.get(member.name, b"") + part
    return found.hexdigest()


def _parts(packed: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    stream = packed.extractfile(member)
    while stream and (part := stream.read(1 << 20)):
        yield part


def text(path: str, name: str) -> str:
    """A small file of a backup that was checked; empty where it has none."""
    with tarfile.open(path, "r:gz") as packed:
        for member in packed:
            if member.name == name:
                return b"".join(_parts(packed, member)).decode("utf-8", errors="replace")
    return ""


def unpack(path: str, directory: str) -> None:
    """Put the files of a backup that was checked into a directory, root's, with the modes that they had."""
    with tarfile.open(path, "r:gz") as packed:
        for member in packed:
            _refuse_strange(member)
            target = os.path.join(directory, member.name)
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as written:
                written.writelines(_parts(packed, member))
                os.fchmod(descriptor, member.mode & 0o777)
