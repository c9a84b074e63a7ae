# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that the collection makes for GPUStack, and what of them may be removed.

A directory is looked at, and emptied, by commands with a time limit alone: it may lie on a server that is gone.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.docker.cli import first_line
from ansible_collections.ascend.gpustack.plugins.module_utils.files import is_within
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.generation import DEPLOYED
from ansible_collections.ascend.gpustack.plugins.module_utils.host.mounts import Mount, holding
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

# In a directory that the collection made
MARK = ".ascend-gpustack"
MARK_TEXT = "Made by ascend.gpustack. While this file is here, the playbook reset may remove what GPUStack put beside it.\n"
# In a server's data directory: what a restore has set aside while it is under way, and what it replaced
ASIDE, REPLACED = ".before-restore", ".replaced-by-restore"
# In a node's: what it had before an upgrade, what of the newer version a rollback replaced, and which rollback that was; and the file that
# says what was set aside
UPGRADED, NEWER, ROLLED_BACK = ".before-upgrade", ".replaced-by-rollback", ".rolled-back.json"
OF_UPGRADES = (UPGRADED, NEWER, ROLLED_BACK)
NOTE = "note.json"
OF_GPUSTACK = tuple(dict.fromkeys(name for generation in DEPLOYED for name in generation.data.own))
# What GPUStack of any generation and its tools put there by themselves, and the collection
OWN = {
    "cache": tuple(dict.fromkeys(name for generation in DEPLOYED for name in generation.data.own_cache)),
    "data": (*OF_GPUSTACK, ASIDE, REPLACED, *OF_UPGRADES),
    "config": ("backup.json", "config.yaml", ".config.yaml.new", "known.json", "managed"),
}
# Nothing in these is a place for what GPUStack keeps; of the others below / none is removed itself.
SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr")
SYSTEM_ROOTS = ("/var/cache", "/var/lib", "/var/lib/docker", "/var/lib/containerd", "/var/log", "/var/spool", "/var/tmp")
# The path first, then whether it is a link, what it is, its mark, and its entries, each ended by a zero byte.
_LOOK = (
    'printf "%s\\0" "$(readlink -m -- "$1")"; if [ -L "$1" ]; then printf "link\\0"; else printf "\\0"; fi; '
    'stat -c %F -- "$1" || exit 3; printf "\\0"; if [ -f "$1/$2" ] && [ ! -L "$1/$2" ]; then printf "mark\\0"; else printf "\\0"; fi; '
    '[ ! -d "$1" ] || find "$1" -mindepth 1 -maxdepth 1 -printf "%f\\0"'
)


@dataclass(frozen=True)
class Seen:
    """A directory as it was found. exists is None when it does not answer; error says why."""

    path: str
    real: str
    exists: bool | None
    is_link: bool = False
    is_directory: bool = False
    is_marked: bool = False
    entries: list[str] = field(default_factory=list)
    error: str = ""


def look(run: Runner, path: str, timeout: float) -> Seen:
    path = os.path.normpath(path)
    result = run(["sh", "-c", _LOOK, "look", path, MARK], timeout)
    parts = result.stdout.split("\0")
    real = parts[0] if parts[0].startswith("/") else path
    if result.timed_out:
        return Seen(path, real, None, error=f"no answer within {timeout:g} s")
    if result.rc == 3 and ("No such file" in result.stderr or "Not a directory" in result.stderr):
        return Seen(path, real, False)
    if result.rc != 0 or len(parts) < 4:
        return Seen(path, real, None, error=first_line(result.stderr) or f"no answer (return code {result.rc})")
    entries = sorted(entry for entry in parts[4:] if entry)
    return Seen(path, real, True, parts[1] == "link", parts[2].strip() == "directory", parts[3] == "mark", entries)


def resolve(run: Runner, path: str, timeout: float) -> str:
    """Where a path leads; of one that does not answer, the path itself."""
    result = run(["readlink", "-m", "--", path], timeout)
    return result.stdout.rstrip("\n") if result.rc == 0 and not result.timed_out else os.path.normpath(path)


def place_refusal(real: str, kind: str, store: str, mounts: list[Mount]) -> str:
    """Why nothing at this place is ever removed, as what follows "it"; empty where something may be."""
    if real == "/" or os.path.dirname(real) == "/" or real in SYSTEM_ROOTS:
        return "is a directory of the system"
    if kind != "config" and any(is_within(real, directory) for directory in SYSTEM):
        return "lies in a directory of the system"
    if store and is_within(store, real):
        return f"is the model store {store}, or holds it"
    if store and kind == "data" and is_within(real, store):
        return f"lies on the model store {store}, which other hosts share"
    if any(mount.target == real for mount in mounts):
        return "is a mount point"
    below = next((mount.target for mount in mounts if is_within(mount.target, real)), None)
    return f"has something mounted below it ({below})" if below else ""


@dataclass(frozen=True)
class Plan:
    """remove: paths that go. kept: what stays though it was named, each with `path`, `why` and the `command` that removes it."""

    remove: list[str]
    kept: list[dict[str, str]]


def plan(seen: Seen, kind: str, store: str, mounts: list[Mount]) -> Plan:
    """store: the model store's real path, empty for none."""
    if seen.exists is False:
        return Plan([], [])
    why = _refusal(seen, kind, store, mounts)
    if why:
        return Plan([], [kept(seen.path, why, "" if place_refusal(seen.real, kind, store, mounts) else _by_hand(seen, kind))])
    own, foreign = _sorted_out(seen, kind)
    if foreign:
        return Plan(own, [kept(path, "is not GPUStack's own", removal(path)) for path in foreign])
    return Plan([*own, seen.path], [])


def _sorted_out(seen: Seen, kind: str) -> tuple[list[str], list[str]]:
    """The paths in it that are GPUStack's own, and the others."""
    paths = {entry: os.path.join(seen.path, entry) for entry in seen.entries if entry != MARK}
    return [path for entry, path in paths.items() if entry in OWN[kind]], [path for entry, path in paths.items() if entry not in OWN[kind]]


def _by_hand(seen: Seen, kind: str) -> str:
    """The command for one that the collection leaves alone, which takes no more than is GPUStack's; empty where nothing is. A directory of
    copies holds nothing that is called like GPUStack's own, and is that as a whole."""
    own, foreign = _sorted_out(seen, kind)
    if seen.is_link or not foreign or (kind != "cache" and not own):
        return removal(seen.path)
    return removal(*own) if own else ""


def _refusal(seen: Seen, kind: str, store: str, mounts: list[Mount]) -> str:
    if seen.exists is None:
        mount = holding(mounts, seen.real)
        return f"does not answer ({seen.error}{f'; {mount.source}' if mount else ''})"
    if seen.is_link:
        return f"is a symbolic link to {seen.real}"
    place = place_refusal(seen.real, kind, store, mounts)
    if place:
        return place
    if not seen.is_directory:
        return "is no directory"
    if kind != "config" and not seen.is_marked:
        return "was not made by this collection"
    return ""


def kept(path: str, why: str, command: str) -> dict[str, str]:
    return {"path": path, "why": why, "command": command}


def removal(*paths: str) -> str:
    return f"rm -rf -- {shlex.join(paths)}"


def carry_out(run: Runner, seen: Seen, wanted: Plan, timeout: float) -> str:
    """Remove what the plan names. Says what went wrong; empty when nothing did."""
    inside = [path for path in wanted.remove if path != seen.path]
    if inside:
        # A link goes, what it leads to stays; so does what is mounted meanwhile.
        result = run(["rm", "-rf", "--one-file-system", "--", *inside], timeout)
        if result.timed_out:
            return f"{seen.path} was not emptied within {timeout:g} s"
        if result.rc != 0:
            return f"{seen.path} can't be emptied: {first_line(result.stderr)}"
    if seen.path in wanted.remove:
        # rmdir refuses what came meanwhile.
        result = run(["sh", "-c", 'rm -f -- "$1/$2" && rmdir -- "$1"', "remove", seen.path, MARK], timeout)
        if result.timed_out or result.rc != 0:
            return f"{seen.path} can't be removed: {first_line(result.stderr) or f'no answer within {timeout:g} s'}"
    return ""


def make(run: Runner, path: str, mode: str, store: str, check: bool, timeout: float) -> dict[str, Any]:
    """Make a directory with its mark, unless something is there already; that stays unmarked. The root of the store gets no mark."""
    path = os.path.normpath(path)
    seen = look(run, path, timeout)
    if seen.exists is None:
        return {"changed": False, "error": f"{path} does not answer: {seen.error}"}
    if seen.exists:
        return {"changed": False, "error": "" if seen.is_directory or seen.is_link else f"{path} is no directory"}
    if not check:
        script = 'umask 022; mkdir -p -- "$(dirname -- "$1")" && mkdir -m "$2" -- "$1" && { [ -z "$3" ] || printf %s "$4" >"$1/$3"; }'
        mark = "" if store and path == os.path.normpath(store) else MARK
        result = run(["sh", "-c", script, "make", path, mode, mark, MARK_TEXT], timeout)
        if result.timed_out or result.rc != 0:
            return {"changed": False, "error": f"{path} can't be made: {first_line(result.stderr) or f'no answer within {timeout:g} s'}"}
    return {"changed": True, "error": ""}
