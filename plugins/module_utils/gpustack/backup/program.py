# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a backup of a GPUStack server that runs, on the server itself, for a playbook or a timer: it stands alone.

Usage: python3 gpustack-backup.py [--settings FILE] [--kind WORD] [--outgoing] [--json]
--kind: who asked for it, such as scheduled; of each kind as many are kept. --outgoing: leave an encrypted copy for who brings it elsewhere.
Managed by ascend.gpustack (role gpustack_backup); changes are overwritten.

The settings are JSON: `name` of the host, its `container`, `directory`, `keep`, `copy_directory`, the `store` and the file that marks it,
`passphrase`, `config_directory`, `facts` for the manifest, and `generations`, each with `series`, `directory`, `dump`, `names` and `files`.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator
from typing import IO, Any

FORMAT = 1
MANIFEST, DATABASE, SUMS = "manifest.json", "database", "SHA256SUMS"
# Of /etc/gpustack, what the inventory does not bring back
CONFIG = ("config.yaml", "known.json")
LABEL_VERSION = "ascend.gpustack.version"
UNFINISHED, OUTGOING = ".unfinished", ".outgoing"
ENCRYPTED = ".gpg"
# Seconds: for one look at Docker, and for what reads, writes or encrypts a whole database
LOOK, WORK = 60, 3600
PATH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/local/bin:/usr/local/sbin:/usr/sbin:/sbin"
# $4: a file that tells whether the store is mounted on which the copy is to be; empty where it is not on one
_COPY = (
    'umask 077; [ -z "$4" ] || [ -e "$4" ] || { echo "$4 is not there, as where the store is not mounted" >&2; exit 1; }; '
    'mkdir -p -- "$2" && cp -- "$1" "$2/.unfinished-$3" && mv -f -- "$2/.unfinished-$3" "$2/$3" && ls -A -- "$2"'
)


class Failure(Exception):
    """Why there is no backup, without the host's name."""


class NoCopy(Failure):
    """The backup is there, and its copy is not."""


def run(argv: list[str], limit: float, output: IO[bytes] | int = subprocess.PIPE, given: str = "") -> str:
    """What a command prints. Raises Failure with its last words."""
    environment = {**os.environ, "PATH": PATH, "LC_ALL": "C"}
    what = " ".join(argv[:2])
    try:
        done = subprocess.run(
            argv, input=given.encode(), stdout=output, stderr=subprocess.PIPE, env=environment, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"{what} did not end within {limit:g} s") from None
    except OSError as error:
        raise Failure(f"{what} can't be run ({error.strerror})") from None
    if done.returncode:
        said = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        raise Failure(said[-1].rstrip(".") if said else f"{what} ended with {done.returncode} and no message")
    return (done.stdout or b"").decode(errors="replace")


def encrypt(source: str, target: str, passphrase: str, home: str) -> None:
    """gpg without an agent and without anything of root's own; the passphrase goes through a pipe."""
    os.makedirs(home, 0o700, exist_ok=True)
    strength = ["--s2k-mode", "3", "--s2k-digest-algo", "SHA512", "--s2k-count", "65011712", "--cipher-algo", "AES256"]
    run([*gpg(home), *strength, "--compress-algo", "none", "--output", target, "--symmetric", source], WORK, given=passphrase)


def gpg(home: str) -> list[str]:
    quiet = ["--batch", "--yes", "--quiet", "--no-tty", "--no-options", "--no-autostart", "--pinentry-mode", "loopback"]
    return ["gpg", "--homedir", home, *quiet, "--passphrase-fd", "0"]


def checksum(path: str) -> str:
    found = hashlib.sha256()
    with open(path, "rb") as stream:
        for part in iter(lambda: stream.read(1 << 20), b""):
            found.update(part)
    return found.hexdigest()


def name_of(host: str, moment: str, version: str, kind: str) -> str:
    return f"gpustack-{host}-{moment}-{version}{'-' + kind if kind else ''}.tar.gz"


def superfluous(names: Iterable[str], host: str, kind: str, keep: int) -> list[str]:
    """The older ones of a host's backups, or copies, of a kind; a name that is not just so is nobody's to remove."""
    end = f"-{re.escape(kind)}" if kind else ""
    pattern = re.compile(rf"gpustack-{re.escape(host)}-(\d{{8}}T\d{{6}}Z)-\d[\w.+]*{end}\.tar\.gz({re.escape(ENCRYPTED)})?")
    found = sorted((match.group(1), name) for name in names if (match := pattern.fullmatch(name)))
    return [name for _moment, name in found[:-keep]]


@contextlib.contextmanager
def alone(directory: str) -> Iterator[str]:
    """A folder for what is unfinished, empty, while no other run is at work; what a killed run left goes."""
    os.makedirs(directory, 0o700, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY)
    work = os.path.join(directory, UNFINISHED)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for left in (work, os.path.join(directory, OUTGOING)):
            shutil.rmtree(left, ignore_errors=True)
        os.mkdir(work, 0o700)
        yield work
        os.fsync(handle)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(handle)


def container_of(name: str) -> dict[str, Any]:
    """What Docker says of the server's container, which has to run."""
    found = json.loads(run(["docker", "container", "inspect", name], LOOK))[0]
    state = found["State"]
    if not state["Running"] or state.get("Paused") or state.get("Restarting"):
        raise Failure(f"the container {name} does not run ({state['Status']}); expected the server, whose database is read while it runs")
    return found


def refuse_worker(settings: dict[str, Any]) -> None:
    """A server whose place another host took may be a worker now, with what it had as a server still in its data."""
    with (
        contextlib.suppress(OSError),
        open(os.path.join(settings["config_directory"], CONFIG[0]), encoding="utf-8", errors="replace") as stream,
    ):
        if any(re.match(r"server[_-]url[ \t]*:", line) for line in stream):
            raise Failure(f"the container {settings['container']} is a worker; expected the server")


def generation_of(container: dict[str, Any], generations: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """The version of a container, and what there is to know of its generation."""
    version = (container["Config"].get("Labels") or {}).get(LABEL_VERSION) or ""
    numbers = [int(part) for part in re.findall(r"\d+", version)[:3]]
    for generation in generations:
        if any(numbers[: len(series)] == series for series in generation["series"]):
            return version, generation
    raise Failure(f"its container runs GPUStack {version or 'of an unknown version'}; expected one that this program knows")


def collect(settings: dict[str, Any], container: dict[str, Any], generation: dict[str, Any], tree: str) -> Any:
    """Put everything but manifest and checksums into a tree; returns the names of the workers and models, None where they can't be told."""
    inside = ["docker", "exec", settings["container"], "bash", "-c"]
    with open(os.path.join(tree, DATABASE), "wb") as stream:
        run([*inside, generation["dump"]], WORK, stream)
    if not os.path.getsize(os.path.join(tree, DATABASE)):
        raise Failure("the copy of the database is empty")
    data = next((each["Source"] for each in container["Mounts"] if each["Destination"] == generation["directory"]), "")
    pairs = [(os.path.join(data, name), os.path.join("data", name)) for name in generation["files"]]
    pairs += [(os.path.join(settings["config_directory"], name), os.path.join("config", name)) for name in CONFIG]
    for source, name in pairs:
        if os.path.isfile(source) and not os.path.islink(source):
            os.makedirs(os.path.dirname(os.path.join(tree, name)), 0o700, exist_ok=True)
            shutil.copy2(source, os.path.join(tree, name))
    try:
        return json.loads(run([*inside, generation["names"]], LOOK))
    except (Failure, ValueError):
        return None


def pack(tree: str, manifest: dict[str, Any], archive: str) -> None:
    """Write the tree with its manifest and, last, the checksums of all of it."""
    with open(os.path.join(tree, MANIFEST), "w", encoding="utf-8") as stream:
        json.dump(manifest, stream, indent=1, sort_keys=True)
    files = [os.path.relpath(os.path.join(folder, name), tree) for folder, _folders, names in os.walk(tree) for name in names]
    files.sort(key=lambda name: (name != MANIFEST, name))
    with open(os.path.join(tree, SUMS), "w", encoding="utf-8") as stream:
        stream.writelines(f"{checksum(os.path.join(tree, name))}  {name}\n" for name in files)
    with open(archive, "wb") as raw:
        with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=6) as packed:
            for name in [*files, SUMS]:
                packed.add(os.path.join(tree, name), name, recursive=False)
        raw.flush()
        os.fsync(raw.fileno())


def make(settings: dict[str, Any], kind: str, work: str) -> str:
    """The path of a new backup."""
    container = container_of(settings["container"])
    refuse_worker(settings)
    version, generation = generation_of(container, settings["generations"])
    tree, archive = os.path.join(work, "tree"), os.path.join(work, "archive")
    os.mkdir(tree)
    names = collect(settings, container, generation, tree)
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    manifest = {
        **settings["facts"],
        **{"format": FORMAT, "created": moment, "kind": kind, "host": settings["name"], "version": version},
        **{"container": settings["container"], "image": container["Config"]["Image"], "image_id": container["Image"], "names": names},
    }
    pack(tree, manifest, archive)
    path = os.path.join(settings["directory"], name_of(settings["name"], moment, version, kind))
    os.rename(archive, path)
    return path


def _mark(settings: dict[str, Any]) -> str:
    """The file that marks the store, where the copies are to be below it."""
    store, mark = settings.get("store") or ["", ""]
    below = os.path.join(os.path.normpath(settings["copy_directory"]), "").startswith(os.path.join(os.path.normpath(store), ""))
    return mark if store and below else ""


def copy(settings: dict[str, Any], kind: str, encrypted: str, name: str) -> str:
    """Bring an encrypted backup to the directory for copies, which may be on a file server that is gone; returns its path there."""
    directory, host = settings["copy_directory"], settings["name"]
    try:
        there = run(["sh", "-c", _COPY, "copy", encrypted, directory, name, _mark(settings)], WORK).splitlines()
        old = superfluous(there, host, kind, settings["keep"])
        old += [each for each in there if each.startswith(f"{UNFINISHED}-gpustack-{host}-")]
        if old:
            run(["rm", "-f", "--", *(os.path.join(directory, each) for each in old)], LOOK)
    except Failure as error:
        raise NoCopy(f"the backup {name[: -len(ENCRYPTED)]} was made, but not its copy in {directory}: {error}") from None
    return os.path.join(directory, name)


def backup(settings: dict[str, Any], kind: str, outgoing: bool) -> dict[str, Any]:
    """`path`, `bytes`, `copied` and `outgoing` (empty for none) and what was `removed`."""
    directory, result = settings["directory"], {"copied": "", "outgoing": ""}
    with alone(directory) as work:
        path = make(settings, kind, work)
        removed = superfluous(os.listdir(directory), settings["name"], kind, settings["keep"])
        for name in removed:
            os.remove(os.path.join(directory, name))
        if outgoing or settings["copy_directory"]:
            name, encrypted = os.path.basename(path) + ENCRYPTED, os.path.join(work, "encrypted")
            encrypt(path, encrypted, settings["passphrase"], os.path.join(work, "gpg"))
            if settings["copy_directory"]:
                result["copied"] = copy(settings, kind, encrypted, name)
            if outgoing:
                result["outgoing"] = os.path.join(directory, OUTGOING, name)
                os.mkdir(os.path.dirname(result["outgoing"]), 0o700)
                os.rename(encrypted, result["outgoing"])
    return {"path": path, "bytes": os.path.getsize(path), "removed": removed, **result}


def main() -> int:
    parser = argparse.ArgumentParser(prog="gpustack-backup", description="Makes a backup of the GPUStack server on this host.")
    parser.add_argument("--settings", default="/etc/gpustack/backup.json")
    parser.add_argument("--kind", default="")
    parser.add_argument("--outgoing", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    os.umask(0o077)
    try:
        with open(given.settings, encoding="utf-8") as stream:
            result = backup(json.load(stream), given.kind, given.outgoing)
    except NoCopy as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (Failure, OSError) as error:
        why = f"{error.filename or given.settings}: {error.strerror}" if isinstance(error, OSError) else error
        sys.stderr.write(f"no backup was made: {why}\n")
        return 1
    told = json.dumps(result) if given.json else f"{result['path']} ({result['bytes']} bytes) {result['copied']}".rstrip()
    sys.stdout.write(f"{told}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
