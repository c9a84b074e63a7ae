# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The containers that a GPUStack worker makes for models, and whose they are.

Nothing in them names a cluster. They have the variables of their worker's container, in which this collection writes the name of the
node's data, and its mounts, among which the data are where nobody keeps them out. A worker removes whatever its own server does not know.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.generation import DEPLOYED
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.holders import environment, visible_devices

MIRRORS = [generation.node.work.mirror for generation in DEPLOYED if generation.node.work.mirror]


def is_part(container: dict[str, Any]) -> bool:
    """Whether it is one of a model's containers, or a worker that makes them."""
    return bool(workload(container)) or is_worker(container)


def workload(container: dict[str, Any]) -> str:
    """The model's instance whose container it is, empty for another's."""
    labels = docker_cli.labels_of(container)
    return next((labels[mirror.label] for mirror in MIRRORS if labels.get(mirror.label)), "")


def is_worker(container: dict[str, Any]) -> bool:
    """Whether GPUStack makes containers out of it: it has Docker's socket, and a variable of that, which also the image brings."""
    sockets = [mount for mount in container.get("Mounts") or [] if str(mount.get("Destination")).endswith("/docker.sock")]
    names = environment(container).keys()
    return bool(sockets) and any(name in names for mirror in MIRRORS for name in (mirror.name, mirror.kept_volumes))


def _is_node(container: dict[str, Any]) -> bool:
    """Whether it has GPUStack's data where GPUStack looks for them."""
    targets = {generation.data.directory for generation in DEPLOYED}
    return any(mount.get("Destination") in targets for mount in container.get("Mounts") or [])


def _is_set_aside(container: dict[str, Any], ours: str) -> bool:
    """Whether it is the node's own from before, which stays, stopped, until a restore or an upgrade has gone well."""
    names = {f"{ours}-before-{occasion}" for occasion in ("restore", "upgrade")}
    return docker_cli.name_of(container) in names and not docker_cli.is_running(container)


def look(containers: Iterable[dict[str, Any]], ours: str, data: dict[str, Any] | None) -> dict[str, Any]:
    """What gpustack_host_info returns as models. ours: the name of the node's container; data: what it returns as such."""
    parts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    workers, nodes = [], []
    for container in containers:
        if workload(container):
            parts[workload(container)].append(container)
        elif is_worker(container):
            if not _is_set_aside(container, ours):
                workers.append(container)
        elif _is_node(container) and docker_cli.is_running(container) and docker_cli.name_of(container) != ours:
            nodes.append(docker_cli.name_of(container))
    others = sorted(docker_cli.name_of(each) for each in workers if docker_cli.name_of(each) != ours)
    # Models of nobody else could run beside it for long.
    alone = not others and any(docker_cli.is_running(each) for each in workers)
    found = [_described(name, parts[name], data or {}, alone) for name in sorted(parts)]
    return {"workers": others, "nodes": sorted(nodes), "workloads": found}


def _described(name: str, containers: list[dict[str, Any]], data: dict[str, Any], alone: bool) -> dict[str, Any]:
    claims = [environment(each).get(mirror.claim, "") for each in containers for mirror in MIRRORS]
    return {
        "name": name,
        "containers": sorted(docker_cli.name_of(each) for each in containers),
        "running": any(docker_cli.is_running(each) for each in containers),
        "ours": alone or any(_has_data(each, data) for each in containers),
        "npus": sorted({npu for claim in claims for npu in visible_devices(claim)}),
    }


def _has_data(container: dict[str, Any], data: dict[str, Any]) -> bool:
    values, name, path = environment(container), data.get("name"), data.get("path")
    if not name:
        return False
    mounts = [mount for mount in container.get("Mounts") or [] if mount.get("Name") == name or (path and mount.get("Source") == path)]
    return bool(mounts) or any(values.get(mirror.mark) == name for mirror in MIRRORS)
