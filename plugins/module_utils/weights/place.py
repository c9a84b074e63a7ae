# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model's folder in the store, what is known of it, and the half beside it that nobody reads until it is whole.

The folder carries a file that says where it came from, and each file's size and sha256; one without it was made by someone else. The half
is a hidden folder beside it, with the same file, and becomes the folder by being renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Callable

from ansible_collections.ascend.gpustack.plugins.module_utils import files
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.images import size
from ansible_collections.ascend.gpustack.plugins.module_utils.host.store import STORE_ID
from ansible_collections.ascend.gpustack.plugins.module_utils.jobs import Busy
from ansible_collections.ascend.gpustack.plugins.module_utils.weights.sources import Entry, Refused

STATE = ".gpustack-weights.json"
# What is written is made durable in steps of this size, and of a file that was cut off no more is trusted.
PIECE = 64 * 1024 * 1024
BLOCK = 1024 * 1024
# Seconds after which a run that brings the pieces of a half is taken for gone
LEASE = 90
_DRAFT = f"{STATE}.new"
# What a state says of a file that was found to be whole
Sums = dict[str, str]
Tell = Callable[[int], None]


def without_bytes(origin: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in origin.items() if name != "bytes"}


def digest_of(stream: IO[bytes], until: int | None = None, tell: Tell = lambda count: None) -> Any:
    """The sha256 of a stream, or of its beginning, as an object that takes more. tell: called with the bytes of each block."""
    found, left = hashlib.sha256(), until
    while left != 0:
        block = stream.read(BLOCK if left is None else min(BLOCK, left))
        if not block:
            break
        found.update(block)
        left = None if left is None else left - len(block)
        tell(len(block))
    return found


def digest(path: str, until: int | None = None, tell: Tell = lambda count: None) -> Any:
    """The same of a file; one that is not there has no beginning. Raises OSError."""
    if until == 0:
        return hashlib.sha256()
    with open(path, "rb") as stream:
        return digest_of(stream, until, tell)


@dataclass(frozen=True)
class Wanted:
    """A source as a look at the store compares it. there: whether it is; entries: where they were read; known: what an earlier look found
    of damaged files."""

    origin: Mapping[str, Any]
    there: bool
    entries: list[Entry] | None = None
    known: Mapping[str, str] = field(default_factory=dict)


class Place:
    """path: the folder; store: where the store is."""

    def __init__(self, path: str, store: str) -> None:
        self.path, self.store = path, store.rstrip("/")
        directory, name = os.path.split(path)
        self.part = os.path.join(directory, f".{name}.gpustack-part")
        self.old = os.path.join(directory, f".{name}.gpustack-old")

    def refusal(self) -> str:
        """Why nothing can be brought there, whatever is there."""
        real = os.path.realpath(self.store)
        if not os.path.isfile(os.path.join(self.store, STORE_ID)):
            return f"{self.store} has no {STORE_ID}; expected the store of the cluster there. Run the playbook storage first"
        if files.is_within(os.path.realpath(os.path.dirname(self.path)), real) and self.path != self.store:
            return ""
        return f"{self.path} leads out of the store by a link; expected a folder in it. Correct path"

    @staticmethod
    def state(directory: str) -> dict[str, Any]:
        """Empty where nobody has written one."""
        try:
            with open(os.path.join(directory, STATE), encoding="utf-8") as stream:
                found = json.load(stream)
            return found if isinstance(found, dict) and "entries" in found else {}
        except (OSError, ValueError):
            return {}

    @staticmethod
    def write_state(directory: str, state: Mapping[str, Any]) -> None:
        with open(os.path.join(directory, _DRAFT), "w", encoding="utf-8") as stream:
            json.dump(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(os.path.join(directory, _DRAFT), os.path.join(directory, STATE))

    def look(self, wanted: Wanted, sums: Mapping[str, str] | None = None) -> dict[str, Any]:
        """What is to be done. With `undecided` the source's files have to be known for that; sums: the sha256 of what is there, where that
        was asked for. Raises Refused."""
        refusal = self.refusal()
        if refusal:
            raise Refused(refusal)
        if not os.path.lexists(self.path):
            return {"action": "bring", "damaged": {}, "undecided": False}
        state = self.state(self.path)
        if not state or os.path.islink(self.path):
            text = f"{self.path} is there, and the playbook weights did not make it; expected a free place"
            raise Refused(f"{text}. Use it as it is and remove it from gpustack_weights, or move it away")
        if not self._is_of(state, wanted):
            undecided = wanted.there and wanted.entries is None and wanted.origin["kind"] == "archive"
            return {"action": "replace", "damaged": {}, "undecided": undecided}
        known = {path: text for path, text in wanted.known.items() if path in state["entries"]}
        damaged = {**known, **dict(self._damaged(state, sums or {}))}
        return {"action": "mend" if damaged else "none", "damaged": damaged, "undecided": False}

    @staticmethod
    def _is_of(state: Mapping[str, Any], wanted: Wanted) -> bool:
        """Whether the folder came from this source: a hub's is known by its name and revision, a file's also by what it holds."""
        source, origin = state["source"], wanted.origin
        if not wanted.there:
            return without_bytes(source) == without_bytes(origin)
        if wanted.entries is None or origin["kind"] in ("model_scope", "hugging_face"):
            return source == origin
        held = {path: (each["size"], state["done"].get(path, "")) for path, each in state["entries"].items()}
        same = {entry.path: (entry.size, entry.sha256 or held.get(entry.path, (0, ""))[1]) for entry in wanted.entries}
        return held == same and source.get("revision") == origin.get("revision") and source["kind"] in ("folder", "archive")

    def _damaged(self, state: Mapping[str, Any], sums: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """The files that are not as they were brought, and what is found of each."""
        for path, each in sorted(state["entries"].items()):
            try:
                found = os.path.getsize(os.path.join(self.path, path))
            except OSError:
                yield path, "is missing"
                continue
            if found != each["size"]:
                yield path, f"has {found} bytes in place of {each['size']}"
            elif path in sums and sums[path] != state["done"][path]:
                yield path, "has another sha256 than when it was brought"

    def sums(self, tell: Tell) -> Sums:
        """The sha256 of what is there, as far as it can be read."""
        found = {}
        for path in self.state(self.path).get("entries", {}):
            with contextlib.suppress(OSError):
                found[path] = digest(os.path.join(self.path, path), tell=tell).hexdigest()
        return found

    def begin(self, origin: Mapping[str, Any], entries: list[Entry], mend: Iterable[str] | None, run: str) -> dict[str, int]:
        """Make the half ready, and say from where each file that it lacks is to be brought. mend: the damaged files, where the folder
        itself becomes the half; run: who brings pieces, empty for a job, which has a lock. Raises Refused, and Busy."""
        state = self.state(self.part)
        if run and state.get("run", run) not in ("", run) and time.time() - state.get("at", 0) < LEASE:
            raise Busy(f"another run brings {self.path}; expected one at a time. Wait for its end")
        if os.path.lexists(self.part) and not state:
            raise Refused(f"{self.part} is there, and the playbook weights did not make it; expected a free place. Move it away")
        if mend is not None and os.path.isdir(self.path):
            shutil.rmtree(self.part, ignore_errors=True)
            state = self._taken_back(mend)
        done = self._kept(state, origin, entries)
        lacking = {entry.path: self._offset(entry) for entry in entries if entry.path not in done}
        self._check_room(sum(entry.size - lacking[entry.path] for entry in entries if entry.path in lacking))
        os.makedirs(self.part, mode=0o755, exist_ok=True)
        listed = {entry.path: {"size": entry.size, "sha256": entry.sha256} for entry in entries}
        self.write_state(self.part, {"source": dict(origin), "entries": listed, "done": done, "run": run, "at": time.time()})
        return lacking

    def _taken_back(self, damaged: Iterable[str]) -> dict[str, Any]:
        """The folder as a half, without what is damaged."""
        state = self.state(self.path)
        os.rename(self.path, self.part)
        for name in damaged:
            state["done"].pop(name, None)
            with contextlib.suppress(OSError):
                os.remove(os.path.join(self.part, name))
        return state

    def _kept(self, state: Mapping[str, Any], origin: Mapping[str, Any], entries: list[Entry]) -> Sums:
        """The files of the half that are whole; those of another content are removed."""
        given = {entry.path: entry for entry in entries}
        same = bool(state) and without_bytes(state["source"]) == without_bytes(origin)
        kept = {}
        for path, each in (state.get("entries") or {}).items():
            entry, sha256 = given.get(path), state["done"].get(path, "")
            known = sha256 or each["sha256"]
            alike = entry and entry.size == each["size"] and (entry.sha256 == known if entry.sha256 and known else same)
            if alike:
                kept.update({path: sha256} if sha256 and self._size(path) == each["size"] else {})
            else:
                with contextlib.suppress(OSError):
                    os.remove(os.path.join(self.part, path))
        return kept

    def _size(self, path: str) -> int:
        try:
            return os.path.getsize(os.path.join(self.part, path))
        except OSError:
            return 0

    def _offset(self, entry: Entry) -> int:
        found = self._size(entry.path)
        return 0 if found > entry.size else max(0, (found - 1) // PIECE * PIECE)

    def _check_room(self, needed: int) -> None:
        there = self.path
        while not os.path.isdir(there):
            there = os.path.dirname(there)
        seen = os.statvfs(there)
        free = seen.f_bavail * seen.f_frsize
        if needed > free:
            text = f"{self.path} needs another {size(needed)}, and the store has {size(free)} free; expected room for all of it"
            raise Refused(f"{text}. Remove what is no longer needed")

    def append(self, path: str, offset: int, data: bytes, run: str) -> None:
        """Write a piece, durably."""
        state = self.state(self.part)
        if state.get("run") != run or path not in state["entries"]:
            raise Busy(f"another run brings {self.path}; expected one at a time. Wait for its end")
        target = os.path.join(self.part, path)
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        with open(target, "r+b" if os.path.exists(target) else "w+b") as stream:
            stream.truncate(offset)
            stream.seek(offset)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        self.write_state(self.part, {**state, "at": time.time()})

    def done(self, path: str, sha256: str) -> None:
        """Keep that a file is whole."""
        state = self.state(self.part)
        state["done"][path] = sha256
        self.write_state(self.part, state)

    def finish(self, sums: Mapping[str, str], tell: Tell) -> None:
        """See whether every file of the half is whole, and put it in its place. sums: what those that pieces were brought of have to be.
        Raises Refused."""
        state = self.state(self.part)
        for path, each in state["entries"].items():
            if path in state["done"]:
                continue
            target = os.path.join(self.part, path)
            found = digest(target, tell=tell).hexdigest() if self._size(path) == each["size"] else ""
            if not found or found != (each["sha256"] or sums.get(path, found)):
                with contextlib.suppress(OSError):
                    os.remove(target)
                raise Refused(f"{path} of {self.path} has arrived damaged; expected its sha256. Run it again")
            self.done(path, found)
        self._put(self.state(self.part))

    def _put(self, state: Mapping[str, Any]) -> None:
        self.write_state(self.part, {name: state[name] for name in ("source", "entries", "done")})
        # Left by one that was cut off while it was put aside
        shutil.rmtree(self.old, ignore_errors=True)
        if os.path.isdir(self.path):
            os.rename(self.path, self.old)
        os.rename(self.part, self.path)
        shutil.rmtree(self.old, ignore_errors=True)
