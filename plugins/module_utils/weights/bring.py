# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job that brings a model into the store, or looks whether what is there is as it was brought."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import IO, Any, Callable

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.images import size
from ansible_collections.ascend.gpustack.plugins.module_utils.jobs import Busy, Jobs
from ansible_collections.ascend.gpustack.plugins.module_utils.weights import hub, sources
from ansible_collections.ascend.gpustack.plugins.module_utils.weights.place import BLOCK, PIECE, Place, Tell, Wanted, digest
from ansible_collections.ascend.gpustack.plugins.module_utils.weights.sources import Entry, Refused

# How often a hub is asked on without a byte of progress, and seconds between
TRIES, PAUSE = 6, 10
_CUT = (OSError, http.client.HTTPException)


class Source:
    """A source as the variable has it: what is wanted of it, and how the folder that came from it is known again."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self._patterns = given.get("files") or []
        of = given["kind"]
        if of in hub.KINDS:
            self._of: Any = hub.KINDS[of](given["address"], given["from"], given.get("revision") or "", given.get("token") or "")
        else:
            self._of = (sources.Folder if of == "folder" else sources.Archive)(given["from"])
        self.what: str = self._of.what
        self.tries = TRIES if of in hub.KINDS else 1

    @property
    def origin(self) -> dict[str, Any]:
        """Without the address: a mirror has the same."""
        own = self._of.origin if hasattr(self._of, "origin") else {"kind": self._given["kind"], "from": self._given["from"]}
        return {**own, "revision": self._given.get("revision") or "", "files": list(self._patterns)}

    def there(self) -> bool:
        return self._of.there()

    def entries(self) -> list[Entry]:
        """Raises Refused. A network that fails is tried again."""
        for left in reversed(range(self.tries)):
            try:
                return sources.wanted(self._of.entries(), self._patterns, self.what)
            except _CUT as error:
                if not left:
                    raise self.unread(error) from None
                time.sleep(PAUSE)
        return []

    def wanted(self, known: Mapping[str, str]) -> Wanted:
        """For a look; with its files where it is cheap to read which there are."""
        there = self.there()
        return Wanted(self.origin, there, self.entries() if self._given["kind"] == "folder" and there else None, known)

    def open(self, entry: Entry, offset: int) -> IO[bytes]:
        return self._of.open(entry, offset)

    def read(self, stream: IO[bytes], count: int) -> bytes:
        """Raises OSError, whatever is wrong with an archive."""
        try:
            return stream.read(count)
        except (*sources.DAMAGED, http.client.HTTPException) as error:
            raise OSError(str(error) or type(error).__name__) from None

    def unread(self, error: Exception) -> Refused:
        """For one that can't be read to its end."""
        why = redact.text(str(getattr(error, "reason", None) or error)) or type(error).__name__
        return Refused(f"{self.what} can't be read ({why}); expected all of it. Run it again, which goes on from there")


def fetch(source: Source, entry: Entry, path: str, offset: int, tell: Tell) -> str:
    """Write a file from an offset on, and return the sha256 of all of it. Raises Refused, and OSError of the file that is written."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    found, left = digest(path, offset), source.tries
    with open(path, "r+b" if os.path.exists(path) else "w+b") as target:
        target.truncate(offset)
        target.seek(offset)
        while offset < entry.size:
            try:
                stream = source.open(entry, offset)
                block = source.read(stream, BLOCK)
                if not block:
                    raise OSError(f"{entry.path} ends after {offset} of {entry.size} bytes")
            except _CUT as error:
                left -= 1
                if not left:
                    raise source.unread(error) from None
                time.sleep(PAUSE)
                continue
            left = source.tries
            offset = _write(source, stream, block, target, found, offset, entry.size, tell)
        target.flush()
        os.fsync(target.fileno())
    return _judged(source, entry, path, found.hexdigest())


def _write(source: Source, stream: IO[bytes], block: bytes, target: IO[bytes], found: Any, offset: int, end: int, tell: Tell) -> int:
    """As far as the stream goes; where it is cut off, the file goes on from there."""
    with stream:
        while block and offset < end:
            block = block[: end - offset]
            target.write(block)
            found.update(block)
            tell(len(block))
            if (offset + len(block)) // PIECE > offset // PIECE:
                target.flush()
                os.fsync(target.fileno())
            offset += len(block)
            try:
                block = source.read(stream, BLOCK)
            except OSError:
                block = b""
    return offset


def _judged(source: Source, entry: Entry, path: str, sha256: str) -> str:
    if entry.sha256 and sha256 != entry.sha256:
        os.remove(path)
        raise Refused(f"{source.what}: {entry.path} has the sha256 {sha256}; expected {entry.sha256}. Run it again, or mend the source")
    return sha256


class Job:
    """One job, which tells how far it is."""

    def __init__(self, jobs: Jobs, place: Place, now: Callable[[], float] = time.monotonic) -> None:
        self._jobs, self._place, self._now = jobs, place, now
        self._done = self._total = 0
        self._told, self._verb = 0.0, "brought"

    def tell(self, count: int) -> None:
        self._done += count
        if self._now() - self._told > 1:
            self._told = self._now()
            text = f"{size(self._done)} of {size(self._total)} {self._verb}"
            self._jobs.write({**self._jobs.read(), "progress": text})

    def _begin(self, total: int, verb: str) -> None:
        self._done, self._total, self._verb, self._told = 0, total, verb, 0.0

    def work(self, source: Source, known: Mapping[str, str], hashes: bool, check: bool) -> None:
        self._end(lambda: self._all(source, known, hashes, check))

    def look(self, wanted: Wanted) -> None:
        """With the sums of what is there."""
        self._end(lambda: self._place.look(wanted, self._sums()))

    def finish(self, sums: Mapping[str, str], action: str) -> None:
        self._begin(sum(each["size"] for each in self._place.state(self._place.part)["entries"].values()), "checked")

        def put() -> dict[str, Any]:
            self._place.finish(sums, self.tell)
            return {"action": action, "changed": True, "damaged": {}}

        self._end(put)

    def _all(self, source: Source, known: Mapping[str, str], hashes: bool, check: bool) -> dict[str, Any]:
        place = self._place
        wanted = source.wanted(known)
        sums = self._sums() if hashes else None
        seen = place.look(wanted, sums)
        if seen["undecided"]:
            wanted = replace(wanted, entries=source.entries())
            seen = place.look(wanted, sums)
        if check or seen["action"] == "none":
            return {**seen, "changed": seen["action"] != "none"}
        entries = wanted.entries or source.entries()
        lacking = place.begin(source.origin, entries, seen["damaged"] if seen["action"] == "mend" else None, "")
        self._begin(sum(entry.size for entry in entries), "brought")
        self.tell(sum(lacking.get(entry.path, entry.size) for entry in entries))
        for entry in entries:
            if entry.path in lacking:
                place.done(entry.path, fetch(source, entry, os.path.join(place.part, entry.path), lacking[entry.path], self.tell))
        place.finish({}, lambda count: None)
        return {**seen, "changed": True}

    def _sums(self) -> dict[str, str]:
        self._begin(sum(each["size"] for each in self._place.state(self._place.path).get("entries", {}).values()), "checked")
        return self._place.sums(self.tell)

    def _end(self, work: Callable[[], dict[str, Any]]) -> None:
        try:
            result, error = work(), None
        except (Refused, Busy) as refused:
            result, error = {}, str(refused)
        except OSError as broken:
            result, error = {}, f"{self._place.path} can't be written ({broken}); expected a store that takes it. See its disk"
        self._jobs.write({**self._jobs.read(), "result": result, "error": error, "finished": True})
