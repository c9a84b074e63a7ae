# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes beside a module: a job that outlives it and tells how far it is, and a look that is left behind when it hangs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import time
from collections.abc import Iterator
from typing import Any, Callable, NoReturn


class Busy(Exception):
    """A sentence for the user."""


class Jobs:
    """The jobs of one kind, of which one is at work at a time on a host: its lock is held while it lives. place: where its files are."""

    def __init__(self, place: str, something: str) -> None:
        self._state, self._lock, self._something = f"{place}.json", f"{place}.lock", something

    @contextlib.contextmanager
    def lock(self) -> Iterator[bool]:
        """Whether it could be taken. A process that is started meanwhile keeps it until it ends."""
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except BlockingIOError:
            mine = False
        try:
            yield mine
        finally:
            os.close(handle)

    def at_work(self) -> bool:
        with self.lock() as mine:
            return not mine

    def running(self, what: list[Any]) -> str:
        """The job at work, if it is the wanted one."""
        # The lock is taken just before the state is written.
        for _try in range(50):
            state = self.read()
            if state and not state["finished"]:
                break
            time.sleep(0.1)
        if state.get("what") != what:
            brought = (state.get("what") or [self._something])[0]
            raise Busy(f"another run brings {brought} to this host; expected one at a time. Wait for its end")
        return state["job"]

    def follow(self, name: str, wait: float) -> dict[str, Any]:
        """The job's state at its end, or after that many seconds; empty where its process has ended before its time."""
        deadline = time.monotonic() + wait
        while True:
            at_work = self.at_work()
            state = self.read()
            if state.get("job") != name or (not at_work and not state["finished"]):
                return {}
            if state["finished"] or time.monotonic() >= deadline:
                return state
            time.sleep(0.2)

    def read(self) -> dict[str, Any]:
        try:
            with open(self._state, encoding="utf-8") as file:
                return json.load(file)
        except (OSError, ValueError):
            return {}

    def write(self, state: dict[str, Any]) -> None:
        handle = os.open(f"{self._state}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(state, file)
        os.replace(f"{self._state}.new", self._state)


def detached(work: Callable[[], None]) -> NoReturn:
    """What the process of a job does: its work, and end. The SSH session that started it must not wait for it."""
    code = 1
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        work()
        code = 0
    finally:
        os._exit(code)


def limited(look: Callable[[], Any], timeout: float) -> Any:
    """What a function returns (as JSON has it), called in a process of its own. Raises TimeoutError where it takes longer: of a dead NFS
    server the process waits on, and is left behind; OSError where it ends without an answer."""
    source, sink = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.close(source)
            with os.fdopen(sink, "w", encoding="utf-8") as stream:
                json.dump(look(), stream)
        finally:
            os._exit(0)
    os.close(sink)
    text, deadline = b"", time.monotonic() + timeout
    with os.fdopen(source, "rb", buffering=0) as stream:
        while select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
            block = stream.read(1024 * 1024)
            if not block:
                os.waitpid(process, 0)
                if not text:
                    raise OSError("no answer at its end")
                return json.loads(text)
            text += block
    os.kill(process, signal.SIGKILL)
    raise TimeoutError(f"no answer within {timeout:g} s")
