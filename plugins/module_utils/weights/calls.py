# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module's single calls come to: looks with a time limit, and a job that is started, joined, or waited for."""

from __future__ import annotations

import os
import uuid
from typing import Any, Callable

from ansible_collections.ascend.gpustack.plugins.module_utils.jobs import Busy, Jobs, detached, limited
from ansible_collections.ascend.gpustack.plugins.module_utils.weights.bring import Job
from ansible_collections.ascend.gpustack.plugins.module_utils.weights.place import Place
from ansible_collections.ascend.gpustack.plugins.module_utils.weights.sources import Refused

# In memory, and gone with the next boot
PLACE = "/run/gpustack-weights"
WAITS = "waits for another run"


def jobs() -> Jobs:
    return Jobs(PLACE, "a model")


def within(timeout: float, look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a look at the store returns, or that another run is at work. Raises Refused."""

    def told() -> dict[str, Any]:
        try:
            return {"finished": True, **look()}
        except Refused as error:
            return {"refused": str(error)}
        except Busy:
            return {"finished": False, "progress": WAITS}
        except OSError as error:
            return {"refused": f"{error}; expected the store to work. See its disk and its server"}

    try:
        found = limited(told, timeout)
    except OSError as error:
        found = {"refused": f"the store does not answer ({error}); expected it to. See its server"}
    if "refused" in found:
        raise Refused(found["refused"])
    return found


def start(at: Jobs, place: Place, what: dict[str, Any], work: Callable[[Job], None], wait: float) -> dict[str, Any]:
    """The job that does this, after so many seconds: the one at work, or a new one. While another one is at work, it is waited for."""
    wanted = [place.path, what]
    with at.lock() as mine:
        name = _started(at, place, wanted, work) if mine else _joined(at, wanted)
    return follow(at, name, wait) if name else {"finished": False, "progress": WAITS}


def _started(at: Jobs, place: Place, wanted: list[Any], work: Callable[[Job], None]) -> str:
    name = uuid.uuid4().hex
    at.write({"job": name, "what": wanted, "progress": "started", "finished": False, "error": None, "result": {}})
    if os.fork() == 0:
        detached(lambda: work(Job(at, place)))
    return name


def _joined(at: Jobs, wanted: list[Any]) -> str:
    """Empty where it is another one, or one that is about to be gone."""
    try:
        return "" if at.read().get("finished") else at.running(wanted)
    except Busy:
        return ""


def follow(at: Jobs, name: str, wait: float) -> dict[str, Any]:
    """Raises Refused with the job's own words."""
    state = at.follow(name, wait)
    if not state:
        raise Refused("the process that brought the model has ended before its time; expected it to go on. Run it again")
    if state["error"]:
        raise Refused(state["error"])
    return {"job": name, "finished": state["finished"], "progress": state["progress"], **state["result"]}
