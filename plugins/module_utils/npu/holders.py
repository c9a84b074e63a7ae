# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds an NPU: containers that were given its device, and processes that have it open."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Callable

from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.files import open_files, read_small
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.driver import NODE, _under
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

_DAVINCI = re.compile(r"/dev/davinci(\d+)\Z")
_CLAIM = "DOCKER_RESOURCE_NPU"
_PLAIN_RUNTIMES = ("", "runc", "crun", "io.containerd.runc.v2", "io.containerd.runtime.v1.linux")
CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
DOCKER_LIMIT = 5.0
# Only what names a container and its NPUs: the rest of an inspection holds secrets.
INSPECT = (
    '{"id":{{json .Id}},"name":{{json .Name}},"image":{{json .Config.Image}},"devices":{{json .HostConfig.Devices}},'
    '"visible":"{{range .Config.Env}}{{$pair := split . "="}}{{if eq (index $pair 0) "ASCEND_VISIBLE_DEVICES"}}'
    '{{index $pair 1}}{{end}}{{end}}"}'
)


def held_npus(container: dict[str, Any], npus_of_host: Iterable[int]) -> tuple[list[int], str]:
    """Numbers of the /dev/davinciN that a container was given, and how: devices, environment or privileged."""
    host_config = container.get("HostConfig") or {}
    if host_config.get("Privileged"):
        return sorted(npus_of_host), "privileged"
    paths = [str(device.get("PathOnHost")) for device in host_config.get("Devices") or []]
    devices = sorted({int(match.group(1)) for match in map(_DAVINCI.match, paths) if match})
    if devices or host_config.get("Runtime", "") in _PLAIN_RUNTIMES:
        return devices, "devices"
    # Of several values for one name the last counts; what Swarm allotted comes before what the container names.
    values = dict(entry.partition("=")[::2] for entry in (container.get("Config") or {}).get("Env") or [])
    return visible_devices(values.get(_CLAIM) or values.get("ASCEND_VISIBLE_DEVICES", "")), "environment"


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


def npu_holders(
    containers: list[dict[str, Any]], ours: str | None, npus_of_host: list[int], stack: str | None = None
) -> list[dict[str, Any]]:
    holders = []
    for container in containers:
        npus, via = held_npus(container, npus_of_host)
        if npus and docker_cli.is_running(container) and not docker_cli.is_ours(container, ours, stack):
            holders.append({"container": docker_cli.name_of(container), "npus": npus, "via": via})
    return sorted(holders, key=lambda holder: holder["container"])


def npu_nodes(dev: str) -> list[int]:
    """Numbers of the NPUs' device nodes."""
    names = (re.match(r"davinci(\d+)\Z", name) for name in os.listdir(dev))
    return sorted(int(match.group(1)) for match in names if match)


@dataclass
class HoldingProcess:
    pid: int
    name: str | None
    devices: list[str]
    container_id: str | None


@dataclass
class HoldingContainer:
    """devices are those named to Docker; visible_devices is what Ascend's container runtime was asked for."""

    id: str
    name: str
    image: str
    devices: list[str]
    visible_devices: str | None


@dataclass
class Holders:
    processes: list[HoldingProcess] = field(default_factory=list)
    containers: list[HoldingContainer] = field(default_factory=list)


def find_holders(runner: Runner, left: Callable[[], float], root: str = "/") -> Holders:
    """Who holds an NPU: processes with a node open (all of them only for root), containers that were given one."""
    return Holders(_holding_processes(left, root), _holding_containers(runner, left))


def _holding_processes(left: Callable[[], float], root: str) -> list[HoldingProcess]:
    found = []
    for pid in sorted(int(name) for name in _names(_under(root, "/proc")) if name.isdigit()):
        if left() <= 0:
            break
        folder = _under(root, f"/proc/{pid}")
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


def _holding_containers(runner: Runner, left: Callable[[], float]) -> list[HoldingContainer]:
    if left() <= 0:
        return []
    listed = runner(["docker", "ps", "--quiet", "--no-trunc"], min(DOCKER_LIMIT, left()))
    ids = [word for word in listed.stdout.split() if CONTAINER_ID.fullmatch(word)]
    if not ids or left() <= 0:
        return []
    # One that ended meanwhile makes the status 1; the others are printed all the same.
    inspected = runner(["docker", "inspect", "--format", INSPECT, *ids], min(DOCKER_LIMIT, left()))
    containers = [parse_container(line) for line in inspected.stdout.splitlines()]
    return [container for container in containers if container and (container.devices or container.visible_devices)]


def parse_container(line: str) -> HoldingContainer | None:
    """A line of `docker inspect` as INSPECT formats it."""
    try:
        data = json.loads(line)
        paths = [device["PathOnHost"] for device in data["devices"] or []]
        devices = [path for path in paths if path.startswith("/dev/") and NODE.fullmatch(path[5:])]
        return HoldingContainer(data["id"], data["name"].lstrip("/"), data["image"], devices, data["visible"] or None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
