# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workers that rest: told to GPUStack, and their models moved.

GPUStack ends an instance that is deleted, and makes another in its place, for which it takes workers that are ready alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import answers
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.answers import DRAINED_LABEL, DRAINED_REASON, Instance
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.api import Client

POLL_INTERVAL = 2.0
RUNNING = "running"


def settle(client: Client, names: list[str], rests: bool, check: bool) -> list[str]:
    """Have the workers rest, or no more. Returns those of which that is new."""
    due = [item for item in client.records("/workers") if item.get("name") in names and _differs(client, item, rests)]
    for item in due if not check else []:
        client.change("PUT", f"/workers/{item['id']}", _told(client, item, rests))
    return [item["name"] for item in due]


def _differs(client: Client, item: Mapping[str, Any], rests: bool) -> bool:
    resting = answers.is_drained(item, client.api)
    if client.api.rests and not rests:
        # Also one that somebody else has rest
        resting = bool((item.get("maintenance") or {}).get("enabled"))
    return resting != rests


def _told(client: Client, item: Mapping[str, Any], rests: bool) -> dict[str, Any]:
    """What GPUStack is sent. It takes what is left out for empty."""
    labels = dict(item.get("labels") or {})
    if client.api.rests:
        reason = {"message": DRAINED_REASON} if rests else {}
        return {"name": item["name"], "labels": labels, "maintenance": {"enabled": rests, **reason}}
    labels.pop(DRAINED_LABEL, None)
    return {**item, "labels": {**labels, **({DRAINED_LABEL: "true"} if rests else {})}}


class Move:
    """Instances on their way from workers that rest. models: how many instances of each are to run when all have come elsewhere; of others
    nothing is expected, and theirs end at once. hurry: not to wait for one before the next ends."""

    def __init__(self, client: Client, names: list[str], models: Mapping[str, int], hurry: bool) -> None:
        self._client, self._names, self._models, self._hurry = client, names, models, hurry
        self.left: list[str] = []
        self.pending: list[str] = []
        self.ended: list[str] = []

    def go(self, wait: float, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
        """Until all have come elsewhere, or for so many seconds. Raises ApiError."""
        deadline = now() + wait
        while True:
            self._step()
            pause = min(POLL_INTERVAL, deadline - now())
            if pause <= 0 or not (self.left or self.pending):
                return
            sleep(pause)

    def _step(self) -> None:
        workers = [worker for worker in self._client.workers() if worker.name in self._names]
        leaving = {worker.id for worker in workers}
        # On one that is ready GPUStack would place it again.
        stopped = {worker.id for worker in workers if worker.state != "ready"}
        here: list[Instance] = []
        elsewhere: list[Instance] = []
        for each in self._client.instances():
            (here if leaving.intersection(worker_id for worker_id, _claim in each.parts) else elsewhere).append(each)
        self.left = sorted(each.name for each in here)
        due = [each for each in here if all(worker_id in stopped for worker_id, _claim in each.parts if worker_id in leaving)]
        for each in self._ending(due, elsewhere):
            if self._client.change("DELETE", f"/model-instances/{each.id}"):
                self.ended.append(each.name)
        running = Counter(each.model for each in elsewhere if each.state == RUNNING)
        self.pending = [
            _coming(model, running[model], count, elsewhere) for model, count in sorted(self._models.items()) if running[model] < count
        ]

    def _ending(self, here: list[Instance], elsewhere: list[Instance]) -> list[Instance]:
        """Those that may end now. Of a model that runs nowhere else, one at a time, so that it is not gone for longer than one takes."""
        found: dict[str, list[Instance]] = {}
        for each in here:
            found.setdefault(each.model, []).append(each)
        served = {each.model for each in elsewhere if each.state == RUNNING}
        coming = {each.model for each in elsewhere}
        ending: list[Instance] = []
        for model, instances in found.items():
            alone = model in self._models and model not in served and not self._hurry
            ending += instances if not alone else [] if model in coming else instances[:1]
        return ending


def _coming(model: str, running: int, count: int, elsewhere: list[Instance]) -> str:
    states = [f"{each.name} is {each.state}{_why(each)}" for each in elsewhere if each.model == model and each.state != RUNNING]
    return f"model {model}: {running} of {count} run elsewhere{': ' if states else ''}{', '.join(sorted(states))}"


def _why(instance: Instance) -> str:
    return f" ({instance.message[:160]})" if instance.message else ""
