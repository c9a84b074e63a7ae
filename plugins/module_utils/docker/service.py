# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service docker: restarted, and taken back to the settings that it last started with where it does not start."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Callable

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import daemon as docker_daemon
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.cli import first_line
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

# For a question that Docker or systemd answers at once
QUESTION_S = 20.0
PAUSE_S = 1.0
# What dockerd logs while all is well; it prints what it ends with last, and without a level.
QUIET = re.compile(r"level=(debug|info|warning)\b")


class RestartError(Exception):
    """Docker is not what it is to be; the sentences say what was found, in which state it is now, and what to do."""


@dataclass(frozen=True)
class Clock:
    """Tests have one of their own."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


def restart(run: Runner, path: str, seconds: float, clock: Clock) -> None:
    """Restart Docker, and wait until it is back in its Swarm, if it has one. path: its settings, which become those before again where
    it does not start with them; seconds: to wait at most, for each start. Raises RestartError and OSError."""
    said = _start(run, seconds, clock)
    if said is None:
        docker_daemon.forget(path)
        return
    if not docker_daemon.go_back(path):
        raise RestartError(
            f"Docker does not start: {said}; expected it to run. There are no other settings to go back to. "
            "Mend what it says, and run this again."
        )
    found = f"Docker does not start with what {path} was to be: {said}; expected it to run. The file is as it was"
    again = _start(run, seconds, clock)
    if again is not None:
        raise RestartError(f"{found}, and Docker does not start with that either: {again}. See:\n  journalctl -u docker -n 50")
    raise RestartError(f"{found}, and Docker runs with it again. Mend what it says, and run this again.")


def _start(run: Runner, seconds: float, clock: Clock) -> str | None:
    """Why Docker did not start, in its own words; None when it did."""
    began = clock.now()
    run(["systemctl", "daemon-reload"], QUESTION_S)
    # Of a unit that failed some times in a row systemd starts nothing for a while.
    run(["systemctl", "reset-failed", "docker.service", "docker.socket"], QUESTION_S)
    result = run(["systemctl", "restart", "docker"], seconds)
    if result.timed_out or result.rc != 0:
        return _last_words(run, began) or first_line(result.stderr) or f"no word within {seconds:g} s"
    state = None
    while state in (None, "pending") and clock.now() < began + seconds:
        # It says that it has started before it is back in its Swarm.
        told = run(["docker", "info", "--format", "{{.Swarm.LocalNodeState}}"], min(QUESTION_S, seconds))
        state = None if told.rc != 0 or told.timed_out else told.stdout.strip()
        if state in (None, "pending"):
            clock.sleep(PAUSE_S)
    if state == "pending":
        raise RestartError(
            f"Docker runs again, and is not back in its Swarm after {seconds:g} s (pending); expected it there. "
            "See that most of the Swarm's managers run, and that it reaches their port 2377."
        )
    return None if state is not None else _last_words(run, began) or f"it does not answer within {seconds:g} s"


def _last_words(run: Runner, since: float) -> str:
    """The last line of dockerd's own since a moment that tells of a fault; empty without any."""
    # What it said as it ended may not have been written yet.
    run(["journalctl", "--sync"], QUESTION_S)
    argv = ["journalctl", "--unit", "docker.service", "--identifier", "dockerd", "--since", f"@{int(since)}"]
    lines = run([*argv, "--lines", "100", "--output", "cat", "--no-pager"], QUESTION_S).stdout.splitlines()
    told = [line.strip() for line in lines if line.strip() and not QUIET.search(line)]
    if not told:
        return ""
    # Of a line of its log, the message.
    message = re.search(r'\bmsg="((?:[^"\\]|\\.)*)"', told[-1])
    return redact.text(re.sub(r"\\(.)", r"\1", message.group(1)) if message else told[-1]).rstrip(".")
