# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUStack's list of workers beside the one that is expected, and the wait until they agree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.api import ApiError, Client, Worker

POLL_INTERVAL = 2.0


@dataclass(frozen=True)
class Comparison:
    """The API's workers beside the expected ones. unknown: names that nobody expects, stale ones among them."""

    problems: list[str]
    unknown: list[str]


def compare(workers: list[Worker], expected: Mapping[str, int | None]) -> Comparison:
    """expected: worker name to number of NPUs, or to None for a worker that is not judged."""
    present = {worker.name: worker for worker in workers}
    problems = []
    for name, count in sorted(expected.items()):
        worker = present.get(name)
        if count is None:
            continue
        if worker is None:
            problems.append(
                f"worker {name}: not registered; expected ready with {_npus(count)}."
                " See docker logs of its GPUStack container, and that the server's port is open to it"
            )
        else:
            problems.extend(_faults(worker, count))
    return Comparison(problems, sorted(set(present) - set(expected)) if expected else [])


def _faults(worker: Worker, npus: int) -> list[str]:
    if worker.state != "ready":
        message = re.sub(r"<[^>]*>", "", worker.state_message or "no message").rstrip(". ")
        remedies = {
            "unreachable": f"See whether its GPUStack container runs, open port {worker.port} of {worker.ip} to the server,"
            " and name the address in the server's NO_PROXY",
            "not_ready": "See docker logs of its GPUStack container, and compare its clock with the server's (date)",
        }
        remedy = remedies.get(worker.state, "See docker logs of its GPUStack container")
        return [f"worker {worker.name}: state is {worker.state} ({message}); expected ready. {remedy}"]
    if len(worker.npus) != npus:
        seen = ", ".join(str(npu.index) for npu in worker.npus)
        return [
            f"worker {worker.name}: GPUStack sees {_npus(len(worker.npus))}{f' ({seen})' if seen else ''};"
            f" expected {_npus(npus)}. Compare npu-smi info on {worker.ip} with the same in its GPUStack container"
        ]
    return []


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
    return Cluster(version, workers, compare(workers, expected))


def wait_for_workers(
    client: Client,
    expected: Mapping[str, int | None],
    wait: float,
    now: Callable[[], float],
    sleep: Callable[[float], None],
) -> Cluster:
    """The cluster as soon as it has no problem, or as it is at the deadline (seconds from now).

    Raises ApiError when waiting can't help, or when the API gave no answer until the deadline. An API that answered and
    then fell silent is a problem of the cluster.
    """
    deadline = now() + wait
    seen: Cluster | None = None
    silence: ApiError | None = None
    while True:
        try:
            seen, silence = observe(client, expected), None
            if not seen.comparison.problems:
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
    return Cluster(seen.version, seen.workers, Comparison(problems, seen.comparison.unknown))
