# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether models run, what they do until then, and the wait for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.answers import Instance
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.api import ApiError
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.model_change import Clock
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.models_api import ModelsClient

POLL_INTERVAL = 2.0
LOG_LINES = 12
# How often a log is read again that began anew meanwhile
LOG_TRIES = 15
# What an instance does, by GPUStack's states; {worker} is its worker, with "on" before it
_DOING = {
    "pending": "waits for NPUs",
    "analyzing": "is looked at",
    "scheduled": "is prepared{worker}",
    "initializing": "is prepared{worker}",
    "downloading": "is downloaded{worker}{progress}",
    "starting": "starts{worker}",
    "error": "failed{worker} and is started again",
    "unreachable": "is out of reach{worker}",
}


@dataclass(frozen=True)
class Models:
    """records and instances: all that there are; running: those of the names that run; failed: by name, instances that failed for good;
    doing: by name, what those do that may run after a while; missing: names that GPUStack does not have."""

    version: str
    records: list[dict[str, Any]]
    instances: list[Instance]
    running: list[str]
    failed: dict[str, list[Instance]]
    doing: dict[str, str]
    missing: list[str]


def observe(client: ModelsClient, names: Sequence[str]) -> Models:
    version = client.version()
    records = client.records("/models")
    instances = client.instances()
    by_name = {record["name"]: record for record in records}
    own = {name: [each for each in instances if each.model == name] for name in names}
    failed = {name: _failed(by_name[name], own[name]) for name in names if name in by_name}
    failed = {name: each for name, each in failed.items() if each}
    running = [name for name in names if name in by_name and _runs(by_name[name], own[name])]
    doing = {name: _doing(by_name[name], own[name]) for name in names if name in by_name and name not in {*failed, *running}}
    missing = [name for name in names if name not in by_name]
    return Models(version, records, instances, running, failed, doing, missing)


def _runs(record: Mapping[str, Any], instances: list[Instance]) -> bool:
    return sum(each.state == "running" for each in instances) >= (record.get("replicas") or 0)


def _failed(record: Mapping[str, Any], instances: list[Instance]) -> list[Instance]:
    """Those that failed and were started again in vain, or will not be: what held the NPUs before may have been slow to go, once."""
    again = record.get("restart_on_error") is not False
    return [each for each in instances if each.state == "error" and (each.restarts > 0 or not again)]


def _doing(record: Mapping[str, Any], instances: list[Instance]) -> str:
    """Of the instance that is furthest behind."""
    order = list(_DOING)
    left = sorted(
        (each for each in instances if each.state != "running"), key=lambda each: order.index(each.state) if each.state in order else 0
    )
    if not left:
        return "waits for its instances"
    first = left[0]
    worker = f" on {first.worker}" if first.worker else ""
    progress = f", {first.progress:.0f} %" if first.progress is not None else ""
    words = _DOING.get(first.state, first.state).format(worker=worker, progress=progress)
    running, wanted = sum(each.state == "running" for each in instances), record.get("replicas") or 0
    words = f"{words} ({running} of {wanted} run)" if wanted > 1 else words
    return f"{words}: {first.message}" if first.message and first.state in ("pending", "error", "unreachable") else words


def wait(client: ModelsClient, names: Sequence[str], seconds: float, clock: Clock) -> Models:
    """The models as soon as none of the names may run after a while, or as they are at the deadline. Raises ApiError when waiting can't
    help, or when the API gave no answer until then."""
    deadline = clock.now() + seconds
    seen: Models | None = None
    while True:
        silence = None
        try:
            seen = observe(client, names)
            if not seen.doing:
                return seen
        except ApiError as error:
            if not error.transient:
                raise
            silence = error
        left = deadline - clock.now()
        if left <= 0:
            break
        clock.sleep(min(POLL_INTERVAL, left))
    if silence is not None:
        raise silence
    if seen is None:
        raise ApiError("network", f"{client.url} was not asked")
    return seen


def _log(client: ModelsClient, failed: Instance, clock: Clock) -> list[str]:
    """The end of the log of an instance that failed. While it is started again, its log has nothing of that, and it is waited for."""
    log: list[str] = []
    for _try in range(LOG_TRIES):
        log = client.log(failed.id, LOG_LINES)
        try:
            now = next((each for each in client.instances() if each.id == failed.id), failed)
        except ApiError:
            return log
        if now.state == "running" or (now.state == failed.state == "error" and now.restarts == failed.restarts):
            return log
        failed = now
        clock.sleep(POLL_INTERVAL)
    return log


def problems(client: ModelsClient, seen: Models, clock: Clock) -> list[str]:
    """A sentence for each of the names that does not run; of those that failed, with the end of their logs."""
    found = [f"model {name}: GPUStack does not have it; expected it there. Run the playbook models again" for name in seen.missing]
    for name, instances in seen.failed.items():
        first = instances[0]
        where = f" on {first.worker}" if first.worker else ""
        said = f" ({first.message})" if first.message else ""
        log = _log(client, first, clock)
        remedy = "Its log ends with:\n" + "\n".join(f"  {line}" for line in log) if log else "See its log on GPUStack's page"
        found.append(f"model {name}: its instance {first.name} has failed{where}{said}; expected it to run. {remedy}")
    for name, words in seen.doing.items():
        found.append(f"model {name}: it does not run yet, and {words}; expected it to run. See its log on GPUStack's page, or wait longer")
    return found
