# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUStack's list of workers beside the one that is expected, and the wait until they agree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.answers import Worker
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.api import ApiError, Client
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Api, State

POLL_INTERVAL = 2.0
# Of a state that GPUStack's documentation does not know
UNKNOWN = State("See docker logs of its GPUStack container")


@dataclass(frozen=True)
class Comparison:
    """The API's workers beside the expected ones. unknown: names that nobody expects, stale ones among them; pending: whether a problem
    may be over after a while."""

    problems: list[str]
    unknown: list[str]
    pending: bool


def compare(workers: list[Worker], expected: Mapping[str, int | None], api: Api) -> Comparison:
    """expected: worker name to number of NPUs, or to None for a worker that is not judged."""
    present = {worker.name: worker for worker in workers}
    problems, pending = [], False
    for name, count in sorted(expected.items()):
        worker = present.get(name)
        if count is None:
            continue
        if worker is None:
            problem = (
                f"worker {name}: not registered; expected ready with {_npus(count)}."
                " See docker logs of its GPUStack container, and that the server's port is open to it"
            )
        else:
            problem = _fault(worker, count, api)
        problems += [problem] if problem else []
        pending = pending or (bool(problem) and _passes(worker, api))
    return Comparison(problems, sorted(set(present) - set(expected)) if expected else [], pending)


def _passes(worker: Worker | None, api: Api) -> bool:
    """Whether what is wrong with it may be over after a while."""
    return worker is None or (not worker.drained and (worker.state == "ready" or _state(worker, api).passes))


def _state(worker: Worker, api: Api) -> State:
    return api.states.get(worker.state, UNKNOWN)


def _fault(worker: Worker, npus: int, api: Api) -> str:
    """What is wrong; empty for nothing, and for one that rests."""
    if worker.drained:
        running = f"worker {worker.name}: it is to rest, and its container runs; expected that stopped. Run drain again, or undrain"
        return running if worker.state == "ready" else ""
    if worker.state != "ready":
        message = re.sub(r"<[^>]*>", "", worker.state_message or "no message").rstrip(". ")
        remedy = _state(worker, api).remedy.format(ip=worker.ip, port=worker.port)
        return f"worker {worker.name}: state is {worker.state} ({message}); expected ready. {remedy}"
    if worker.silent:
        return (
            f"worker {worker.name}: state is ready, and its last sign of life {worker.silent_s} s ago; expected one in {api.silence} s."
            " See whether its GPUStack container runs, and whether it reaches the server's port"
        )
    if len(worker.npus) != npus:
        seen = ", ".join(str(npu.index) for npu in worker.npus)
        return (
            f"worker {worker.name}: GPUStack sees {_npus(len(worker.npus))}{f' ({seen})' if seen else ''};"
            f" expected {_npus(npus)}. Compare npu-smi info on {worker.ip} with the same in its GPUStack container"
        )
    return ""


def _npus(count: int) -> str:
    return f"{count} NPU" if count == 1 else f"{count} NPUs"


@dataclass(frozen=True)
class Cluster:
    version: str
    workers: list[Worker]
    comparison: Comparison


def observe(client: Client, expected: Mapping[str, int | None]) -> Cluster:
    version = client.version()
    workers = client.workers()
    return Cluster(version, workers, compare(workers, expected, client.api))


def wait_for_workers(
    client: Client,
    expected: Mapping[str, int | None],
    wait: float,
    now: Callable[[], float],
    sleep: Callable[[float], None],
) -> Cluster:
    """The cluster as soon as it has no problem that may pass, or as it is at the deadline (seconds from now).

    Raises ApiError when waiting can't help, or when the API gave no answer until the deadline. An API that answered and
    then fell silent is a problem of the cluster.
    """
    deadline = now() + wait
    seen: Cluster | None = None
    silence: ApiError | None = None
    while True:
        try:
            seen, silence = observe(client, expected), None
            if not seen.comparison.pending:
                return seen
        except ApiError as error:
            if not error.transient:
                raise
            silence = error
        left = deadline - now()
        if left <= 0:
            break
        sleep(min(POLL_INTERVAL, left))
    if seen is None:
        raise silence or ApiError("network", f"{client.url} was not asked")
    if silence is None:
        return seen
    problems = [f"GPUStack stopped answering: {silence}", *seen.comparison.problems]
    return Cluster(seen.version, seen.workers, Comparison(problems, seen.comparison.unknown, pending=True))
