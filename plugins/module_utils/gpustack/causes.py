# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a GPUStack container does not come to life, as its log and Docker's memory of it tell."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.generation import DEPLOYED


@dataclass(frozen=True)
class Cause:
    """kind: setting, database, disk, port, token, server, trust, store,
    memory, stopped, ended, or time, which is none that is known. detail in its own words; lasting: whether it is in vain to wait."""

    kind: str
    detail: str
    lasting: bool = field(default=False, compare=False)


def of_log(log: str) -> Cause | None:
    for sign in (sign for generation in DEPLOYED for sign in generation.log_signs):
        found = re.search(sign.pattern, log)
        if found:
            return Cause(sign.kind, ": ".join(part.strip() for part in found.group("detail").splitlines()), sign.lasting)
    return None


def last_line(log: str) -> str:
    """The last line that is no part of a traceback and tells of an error, or else the last one."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    # What a traceback comes to is in its last line, not in its first.
    errors = [
        line
        for line in lines
        if re.search(r"\bERROR\b|[a-z]: error\b|^\w*(Error|Exception):", line) and "Traceback (most recent" not in line
    ]
    return ([*lines[-1:], *errors[-1:]] or [""])[-1]


def ends(events: str) -> list[int]:
    """Exit codes from what `docker events --format '{{json .}}'` prints of die and oom; -1 for one that was killed for its memory."""
    found: list[int] = []
    oom = False
    for line in events.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        action = event.get("Action") or event.get("status")
        oom = oom or action == "oom"
        if action == "die":
            code = str(((event.get("Actor") or {}).get("Attributes") or {}).get("exitCode", ""))
            found.append(-1 if oom else int(code) if code.isdigit() else 1)
            oom = False
    return found


def find(log: str, codes: list[int], running: bool) -> Cause:
    """The cause, from the log since it was started and the exit codes of its ends meanwhile."""
    if -1 in codes:
        return Cause("memory", "the kernel killed it for lack of memory, exit code 137")
    told = of_log(log)
    if told:
        return told
    if codes or not running:
        count = f"{len(codes)} times, last " if len(codes) > 1 else ""
        return Cause("ended", f"it ended {count}with exit code {codes[-1]}" if codes else "it does not run")
    return Cause("time", "its log names no error")
