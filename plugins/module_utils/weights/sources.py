# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where weights come from: a folder, an archive, or a hub. Each tells its files, and gives the bytes of one from anywhere in it.

On the controller the same is read as on a host, so that it is judged in one way.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import posixpath
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import IO, Any

# As `sha256sum` writes it: lines of a sum, two blanks (or a blank and a star), and a file
MANIFEST = "SHA256SUMS"
MANIFEST_LIMIT = 16 * 1024 * 1024
_SUM = re.compile(r"\\?([0-9a-fA-F]{64})[ ][ *](?:\./)?(.+)")
# What an archive that is not whole raises
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, KeyError)


class Refused(Exception):
    """A sentence: what was found; what was expected. What helps."""


class Missing(Refused):
    """The source is not there."""


@dataclass(frozen=True)
class Entry:
    """path: below the model's folder; size: bytes; sha256: empty where nobody tells it."""

    path: str
    size: int
    sha256: str = ""


def safe(name: str, what: str) -> str:
    """A file's path below the model's folder. Raises Refused where it leads elsewhere."""
    path = posixpath.normpath(name)
    if name.startswith("/") or path == ".." or path.startswith("../") or "\0" in name or "\n" in name:
        raise Refused(f"{what} has the file {name!r}, which leads out of it; expected files below it alone. Pack it anew")
    return path


def wanted(entries: Iterable[Entry], patterns: Iterable[str], what: str) -> list[Entry]:
    """Without what is hidden, such as a clone's .git, and only what a pattern fits. Raises Refused where nothing is left."""
    kept = [entry for entry in entries if not any(part.startswith(".") for part in entry.path.split("/"))]
    asked = list(patterns)
    kept = [entry for entry in kept if not asked or any(fnmatch.fnmatchcase(entry.path, pattern) for pattern in asked)]
    if not kept:
        missed = f" that fits {', '.join(asked)}" if asked else ""
        raise Refused(f"{what} has no file{missed}; expected those of a model. Correct the source or its files")
    return sorted(kept, key=lambda entry: entry.path)


def with_sums(entries: list[Entry], text: str, what: str) -> list[Entry]:
    """With the sums of a manifest. Raises Refused where it names a file that is not there."""
    found = (_SUM.fullmatch(line.rstrip("\r")) for line in text.split("\n"))
    sums = {match.group(2): match.group(1).lower() for match in found if match}
    names = {entry.path for entry in entries}
    missing = next((name for name in sums if name not in names), "")
    if missing:
        raise Refused(f"{what} lacks {missing}, which its {MANIFEST} names; expected it to be whole. Copy it again")
    return [replace(entry, sha256=sums.get(entry.path, "")) for entry in entries]


class Folder:
    def __init__(self, path: str) -> None:
        self._root, self.what = path, f"the folder {path}"

    def there(self) -> bool:
        return os.path.isdir(self._root)

    @property
    def origin(self) -> dict[str, Any]:
        return {"kind": "folder", "from": self._root}

    def entries(self) -> list[Entry]:
        if not self.there():
            raise Missing(f"{self.what} is not there; expected the model's files. Correct its path, or copy it there")
        found = [Entry(path, size) for path, size in self._files()]
        path = os.path.join(self._root, MANIFEST)
        return with_sums(found, _manifest(open(path, "rb")), self.what) if os.path.isfile(path) else found

    def _files(self) -> Iterator[tuple[str, int]]:
        """A link to a file counts as the file, as in a hub's own cache."""
        for directory, directories, names in os.walk(self._root):
            directories[:] = sorted(name for name in directories if not name.startswith("."))
            for name in [*directories, *names]:
                path = os.path.join(directory, name)
                kind = os.lstat(path) if name in directories else os.stat(path)
                if stat.S_ISREG(kind.st_mode):
                    yield os.path.relpath(path, self._root), kind.st_size
                elif not stat.S_ISDIR(kind.st_mode):
                    raise Refused(f"{self.what} has {path}, which is no file; expected files and folders alone. Remove it there")

    def open(self, entry: Entry, offset: int) -> IO[bytes]:
        stream = open(os.path.join(self._root, entry.path), "rb")  # noqa: SIM115 -- who asked closes it
        stream.seek(offset)
        return stream


class Archive:
    """A tar, compressed or not, or a zip. A single folder at its top is the model's own."""

    def __init__(self, path: str) -> None:
        self._path, self.what = path, f"the archive {path}"
        self._members: dict[str, Any] = {}
        self._file: Any = None

    def there(self) -> bool:
        return os.path.isfile(self._path)

    @property
    def origin(self) -> dict[str, Any]:
        """With its size, so that one that was not exchanged need not be read to know that."""
        return {"kind": "archive", "from": self._path, "bytes": os.path.getsize(self._path) if self.there() else 0}

    def entries(self) -> list[Entry]:
        if not self.there():
            raise Missing(f"{self.what} is not there; expected a tar or a zip of the model. Correct its path, or copy it there")
        with self._readable():
            zipped = zipfile.is_zipfile(self._path)
            self._file = zipfile.ZipFile(self._path) if zipped else tarfile.open(self._path)  # noqa: SIM115
            found = dict(self._zipped() if zipped else self._tarred())
            top = {name.partition("/")[0] for name in found}
            cut = len(next(iter(top))) + 1 if len(top) == 1 and all("/" in name for name in found) else 0
            self._members = {name[cut:]: member for name, (_size, member) in found.items()}
            entries = [Entry(name[cut:], size) for name, (size, _member) in found.items()]
            if MANIFEST in self._members:
                entries = with_sums(entries, _manifest(self.open(Entry(MANIFEST, 0), 0)), self.what)
        return entries

    def _zipped(self) -> Iterator[tuple[str, tuple[int, Any]]]:
        for member in self._file.infolist():
            if stat.S_ISLNK(member.external_attr >> 16):
                raise Refused(f"{self.what} has the link {member.filename}; expected files alone. Pack it anew with the files themselves")
            name = safe(member.filename, self.what)
            if not member.is_dir():
                yield name, (member.file_size, member)

    def _tarred(self) -> Iterator[tuple[str, tuple[int, Any]]]:
        for member in self._file.getmembers():
            name = safe(member.name, self.what)
            if member.issym() or member.islnk():
                to = posixpath.join(posixpath.dirname(member.name), member.linkname) if member.issym() else member.linkname
                safe(member.linkname if member.linkname.startswith("/") else to, self.what)
                target = self._file._find_link_target(member) if member.issym() else self._file.getmember(member.linkname)
                if target.isreg():
                    yield name, (target.size, target)
            elif member.isreg():
                yield name, (member.size, member)
            elif not member.isdir():
                raise Refused(f"{self.what} has {member.name}, which is no file; expected files and folders alone. Pack it anew")

    def open(self, entry: Entry, offset: int) -> IO[bytes]:
        with self._readable():
            member = self._members[entry.path]
            stream = self._file.open(member) if isinstance(member, zipfile.ZipInfo) else self._file.extractfile(member)
            stream.seek(offset)
            return stream

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except DAMAGED as error:
            why = str(error) or type(error).__name__
            raise Refused(f"{self.what} can't be read ({why}); expected a whole tar or zip. Copy it again") from None


def _manifest(stream: IO[bytes]) -> str:
    with stream:
        return stream.read(MANIFEST_LIMIT).decode("utf-8", errors="replace")
