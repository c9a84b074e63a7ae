# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds an NPU: containers that were given its device, and processes that have it open."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Callable

from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.files import open_files, read_small
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.driver import NODE, under
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

_DAVINCI = re.compile(r"/dev/davinci(\d+)\Z")
_CLAIM = "DOCKER_RESOURCE_NPU"
_VISIBLE = "ASCEND_VISIBLE_DEVICES"
_PLAIN_RUNTIMES = ("", "runc", "crun", "io.containerd.runc.v2", "io.containerd.runtime.v1.linux")
CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
DOCKER_LIMIT = 5.0


@dataclass(frozen=True)
class HoldingContainer:
    """npus: numbers of the /dev/davinciN that it was given; via: devices, environment, or privileged, which is given all;
    visible_devices: what Ascend's container runtime is asked for, None without. Nothing else of its environment is kept: secrets stand
    there."""

    id: str
    container: str
    image: str
    npus: list[int]
    via: str
    visible_devices: str | None


@dataclass(frozen=True)
class HoldingProcess:
    pid: int
    name: str | None
    devices: list[str]
    container_id: str | None


@dataclass(frozen=True)
class Holders:
    processes: list[HoldingProcess] = field(default_factory=list)
    containers: list[HoldingContainer] = field(default_factory=list)

    def as_result(self) -> dict[str, Any]:
        """As npu_info returns it."""
        containers = [
            {**asdict(each), "name": each.container, "devices": [f"/dev/davinci{number}" for number in each.npus]}
            for each in self.containers
        ]
        return {"processes": [asdict(each) for each in self.processes], "containers": containers}


def held_npus(container: dict[str, Any], npus_of_host: Iterable[int]) -> tuple[list[int], str]:
    """Numbers of the /dev/davinciN that a container was given, and how: devices, environment or privileged."""
    host_config = container.get("HostConfig") or {}
    if host_config.get("Privileged"):
        return sorted(npus_of_host), "privileged"
    paths = [str(device.get("PathOnHost")) for device in host_config.get("Devices") or []]
    devices = sorted({int(match.group(1)) for match in map(_DAVINCI.match, paths) if match})
    if devices or host_config.get("Runtime", "") in _PLAIN_RUNTIMES:
        return devices, "devices"
    # What Swarm allotted comes before what the container names.
    values = environment(container)
    return visible_devices(values.get(_CLAIM) or values.get(_VISIBLE, "")), "environment"


def visible_devices(text: str) -> list[int]:
    """The NPUs that ASCEND_VISIBLE_DEVICES names: "0,2", "0-3", "Ascend910-0,Ascend910-1", "npu-0"; none for "void"."""
    npus: set[int] = set()
    for item in text.split(","):
        number_range = re.match(r"\s*(\d+)-(\d+)\s*\Z", item)
        single = re.match(r"\s*(?:[A-Za-z][A-Za-z0-9]*-)?(\d+)\s*\Z", item)
        if number_range:
            npus.update(range(int(number_range.group(1)), min(int(number_range.group(2)), 1023) + 1))
        elif single:
            npus.add(int(single.group(1)))
    return sorted(npus)


def holding_containers(containers: list[dict[str, Any]], npus_of_host: Iterable[int]) -> list[HoldingContainer]:
    """Of containers as Docker describes them, the running ones that were given NPUs, by name."""
    holders = []
    for container in containers:
        npus, via = held_npus(container, npus_of_host)
        if npus and docker_cli.is_running(container):
            config = container.get("Config") or {}
            name, visible = docker_cli.name_of(container), environment(container).get(_VISIBLE) or None
            holders.append(HoldingContainer(str(container.get("Id")), name, str(config.get("Image")), npus, via, visible))
    return sorted(holders, key=lambda holder: holder.container)


def environment(container: dict[str, Any]) -> dict[str, str]:
    """Of several values for one name the last counts."""
    return dict(entry.partition("=")[::2] for entry in (container.get("Config") or {}).get("Env") or [])


def npu_nodes(dev: str) -> list[int]:
    """Numbers of the NPUs' device nodes."""
    names = (re.match(r"davinci(\d+)\Z", name) for name in os.listdir(dev))
    return sorted(int(match.group(1)) for match in names if match)


def find_holders(runner: Runner, left: Callable[[], float], npus_of_host: Iterable[int], root: str = "/") -> Holders:
    """Who holds an NPU: processes with a node open (all of them only for root), containers that were given one. left: the seconds that
    may still be taken."""
    return Holders(_holding_processes(left, root), _running_holders(runner, left, npus_of_host))


def _holding_processes(left: Callable[[], float], root: str) -> list[HoldingProcess]:
    found = []
    for pid in sorted(int(name) for name in _names(under(root, "/proc")) if name.isdigit()):
        if left() <= 0:
            break
        folder = under(root, f"/proc/{pid}")
        targets = set(open_files(os.path.join(folder, "fd")))
        devices = sorted(path for path in targets if path.startswith("/dev/") and NODE.fullmatch(path[5:]))
        if devices:
            container = CONTAINER_ID.search(read_small(os.path.join(folder, "cgroup")) or "")
            name = (read_small(os.path.join(folder, "comm")) or "").strip() or None
            found.append(HoldingProcess(pid, name, devices, container.group(0) if container else None))
    return found


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _running_holders(runner: Runner, left: Callable[[], float], npus_of_host: Iterable[int]) -> list[HoldingContainer]:
    if left() <= 0:
        return []
    try:
        # One that hangs is not to take the time of all that follows.
        containers = docker_cli.read_containers(lambda argv, limit: runner(argv, min(limit, left())), DOCKER_LIMIT)
    except docker_cli.DockerError:
        return []
    return holding_containers(containers, npus_of_host)
