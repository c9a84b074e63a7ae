# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The flags of `docker run` that made a container, read back from its description.

Docker fills in what was not given; what its defaults explain is left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.files import is_within

DEFAULT_SHM_SIZE = 64 * 1024 * 1024
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
# Flag, key in HostConfig, values that mean "not given".
_TEXTS = (
    ("--pid", "PidMode", ("",)),
    ("--uts", "UTSMode", ("",)),
    ("--userns", "UsernsMode", ("",)),
    ("--cgroup-parent", "CgroupParent", ("",)),
    ("--cpuset-cpus", "CpusetCpus", ("",)),
    ("--cpuset-mems", "CpusetMems", ("",)),
    ("--memory-swappiness", "MemorySwappiness", (None, -1)),
    ("--cpu-shares", "CpuShares", (0,)),
    ("--cpu-period", "CpuPeriod", (0,)),
    ("--cpu-quota", "CpuQuota", (0,)),
    ("--pids-limit", "PidsLimit", (None, 0, -1)),
    ("--oom-score-adj", "OomScoreAdj", (0,)),
    ("--blkio-weight", "BlkioWeight", (0,)),
)
_SIZES = (("--memory", "Memory"), ("--memory-reservation", "MemoryReservation"))
_SWITCHES = (
    ("--privileged", "Privileged"),
    ("--read-only", "ReadonlyRootfs"),
    ("--init", "Init"),
    ("--oom-kill-disable", "OomKillDisable"),
    ("--rm", "AutoRemove"),
)
_LISTS = (
    ("--cap-add", "CapAdd"),
    ("--cap-drop", "CapDrop"),
    ("--group-add", "GroupAdd"),
    ("--dns", "Dns"),
    ("--dns-search", "DnsSearch"),
    ("--dns-option", "DnsOptions"),
    ("--add-host", "ExtraHosts"),
    ("--security-opt", "SecurityOpt"),
    ("--link", "Links"),
    ("--volumes-from", "VolumesFrom"),
    ("--device-cgroup-rule", "DeviceCgroupRules"),
)
_MAPPINGS = (("--sysctl", "Sysctls"), ("--storage-opt", "StorageOpt"))
# Flag to the name that the option has for Ansible's docker_container.
OPTION_NAMES = {
    "--privileged": "privileged",
    "--shm-size": "shm_size",
    "--ulimit": "ulimits",
    "--runtime": "runtime",
    "--memory": "memory",
    "--cpuset-cpus": "cpuset_cpus",
    "--log-driver": "log_driver",
    "--log-opt": "log_options",
    "--dns": "dns_servers",
    "--add-host": "etc_hosts",
    "--security-opt": "security_opts",
    "--cap-add": "capabilities",
}


@dataclass(frozen=True)
class EngineDefaults:
    """What this host's Docker gives a container that says nothing of it."""

    log_driver: str = "json-file"
    log_options: Mapping[str, str] = field(default_factory=dict)
    shm_size: int = DEFAULT_SHM_SIZE
    runtime: str = "runc"


@dataclass(frozen=True)
class Option:
    """A docker run option with its values in one normal form; [""] for a switch."""

    flag: str
    values: list[str]

    @property
    def text(self) -> str:
        return " ".join(f"{self.flag}={_shown(value)}" if value else self.flag for value in self.values)


def _shown(value: str) -> str:
    name, equals, given = value.partition("=")
    # All that a label or an option of the log driver says, with its white space
    return f"{name}={redact.value(name, given)}" if equals and " " not in name else redact.text(value)


@dataclass(frozen=True)
class Mount:
    """kind: bind, volume or tmpfs. source: the path on the host, or the volume's name. path: where the host has it."""

    kind: str
    source: str
    target: str
    read_only: bool
    path: str = ""

    @property
    def anonymous(self) -> bool:
        return self.kind == "volume" and (not self.source or bool(re.fullmatch(r"[0-9a-f]{64}", self.source)))

    @property
    def text(self) -> str:
        if self.anonymous:
            return f"-v {self.target}"
        if self.kind == "tmpfs":
            return f"--tmpfs {self.target}"
        return f"-v {self.source}:{self.target}{':ro' if self.read_only else ''}"


def size_in_bytes(value: Any) -> int | None:
    match = re.match(r"\s*(\d+)\s*([bkmgt]?)(?:i?b)?\s*\Z", str(value).lower())
    return int(match.group(1)) * _UNITS[match.group(2)] if match else None


def size_text(size: int) -> str:
    for unit in ("t", "g", "m", "k"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)


def mounts(container: Mapping[str, Any]) -> list[Mount]:
    found = []
    for mount in container.get("Mounts") or []:
        kind, path = mount.get("Type", "bind"), _clean(mount.get("Source", ""))
        source = mount.get("Name", "") if kind == "volume" else path
        found.append(Mount(kind, source, _clean(mount["Destination"]), mount.get("RW") is False, path))
    known = {mount.target for mount in found}
    for target in (container.get("HostConfig") or {}).get("Tmpfs") or {}:
        if _clean(target) not in known:
            found.append(Mount("tmpfs", "", _clean(target), False))
    return found


def parse_volume(text: str) -> Mount:
    """A mount as `source:target[:mode]`; a target alone is an anonymous volume."""
    parts = text.split(":")
    if len(parts) == 1:
        return Mount("volume", "", _clean(parts[0]), False)
    read_only = "ro" in parts[2].split(",") if len(parts) > 2 else False
    kind = "bind" if parts[0].startswith("/") else "volume"
    return Mount(kind, _clean(parts[0]) if kind == "bind" else parts[0], _clean(parts[1]), read_only)


def _clean(path: str) -> str:
    return os.path.normpath(path) if path else ""


def located(mounted: list[Mount], path: str) -> tuple[str, bool] | None:
    """Where a path of the container lies: below a host directory or a volume's name, and whether it is read-only.
    None when nothing is mounted there."""
    mount = holding(mounted, path)
    return (below(mount.source, mount.target, path), mount.read_only) if mount else None


def holding(mounted: list[Mount], path: str) -> Mount | None:
    """What is mounted at a path of the container, or above it."""
    found = [mount for mount in mounted if is_within(path, mount.target)]
    return max(found, key=lambda each: len(each.target)) if found else None


def below(source: str, target: str, path: str) -> str:
    """Where a path is below what is mounted at a target above it."""
    rest = path[len(target) :].strip("/")
    return f"{source.rstrip('/')}/{rest}" if rest else source


def options(container: Mapping[str, Any], image: Mapping[str, Any], defaults: EngineDefaults) -> list[Option]:
    """What goes beyond Docker's and the image's defaults, apart from mounts, devices, environment and arguments.

    Left out as they do no more than show a terminal: --tty and --interactive.
    """
    host_config, config = container.get("HostConfig") or {}, container.get("Config") or {}
    found = [Option(flag, [str(host_config[key])]) for flag, key, absent in _TEXTS if key in host_config and host_config[key] not in absent]
    found += [Option(flag, [size_text(host_config[key])]) for flag, key in _SIZES if host_config.get(key)]
    found += [Option(flag, [""]) for flag, key in _SWITCHES if host_config.get(key)]
    for flag, key in _LISTS:
        found.append(Option(flag, [normal(flag, each) for each in host_config.get(key) or []]))
    for flag, key in _MAPPINGS:
        found.append(Option(flag, [f"{name}={value}" for name, value in sorted((host_config.get(key) or {}).items())]))
    found += _computed(host_config, defaults) + _logging(host_config, defaults)
    found += _networking(container, host_config) + _of_image(config, image.get("Config") or {})
    found = [_without_label_of_docker(option, host_config) for option in found]
    return sorted((option for option in found if option.values), key=lambda option: option.flag)


def _computed(host_config: Mapping[str, Any], defaults: EngineDefaults) -> list[Option]:
    found = []
    if host_config.get("ShmSize") not in (None, 0, DEFAULT_SHM_SIZE, defaults.shm_size):
        found.append(Option("--shm-size", [size_text(host_config["ShmSize"])]))
    if host_config.get("Runtime") not in (None, "", "runc", defaults.runtime):
        found.append(Option("--runtime", [host_config["Runtime"]]))
    # Docker itself allows as much swap again as memory.
    if host_config.get("MemorySwap") not in (None, 0, 2 * (host_config.get("Memory") or 0)):
        swap = host_config["MemorySwap"]
        found.append(Option("--memory-swap", [size_text(swap) if swap > 0 else str(swap)]))
    if host_config.get("NanoCpus"):
        found.append(Option("--cpus", [f"{host_config['NanoCpus'] / 1e9:g}"]))
    limits = host_config.get("Ulimits") or []
    found.append(Option("--ulimit", [f"{limit['Name']}={limit['Soft']}:{limit['Hard']}" for limit in limits]))
    if host_config.get("DeviceRequests"):
        found.append(Option("--gpus", ["..."]))
    return found


def _logging(host_config: Mapping[str, Any], defaults: EngineDefaults) -> list[Option]:
    log = host_config.get("LogConfig") or {}
    found = []
    if log.get("Type") not in (None, "", defaults.log_driver):
        found.append(Option("--log-driver", [log["Type"]]))
    given = sorted((log.get("Config") or {}).items())
    return [*found, Option("--log-opt", [f"{key}={value}" for key, value in given if defaults.log_options.get(key) != value])]


def _networking(container: Mapping[str, Any], host_config: Mapping[str, Any]) -> list[Option]:
    found = []
    network = host_config.get("NetworkMode") or "default"
    config = container.get("Config") or {}
    if network != "host":
        found.append(Option("--network", ["bridge" if network == "default" else network]))
        found.append(Option("--publish", _published(host_config)))
    if host_config.get("IpcMode") not in (None, "", "host", "private", "shareable"):
        found.append(Option("--ipc", [host_config["IpcMode"]]))
    if (host_config.get("RestartPolicy") or {}).get("Name") == "on-failure":
        found.append(Option("--restart", ["on-failure"]))
    # On the host's network it is the host's name of that day, which may have changed since.
    if network != "host" and config.get("Hostname", "") not in ("", str(container.get("Id", ""))[:12]):
        found.append(Option("--hostname", [config["Hostname"]]))
    return found


def _published(host_config: Mapping[str, Any]) -> list[str]:
    found = ["all"] if host_config.get("PublishAllPorts") else []
    for inside, outside in sorted((host_config.get("PortBindings") or {}).items()):
        for binding in outside or []:
            address = f"{binding['HostIp']}:" if binding.get("HostIp") else ""
            found.append(f"{address}{binding.get('HostPort', '')}:{inside.replace('/tcp', '')}")
    return found


def _of_image(config: Mapping[str, Any], image: Mapping[str, Any]) -> list[Option]:
    """What differs from what the image says itself."""
    found = []
    for flag, key in (("--user", "User"), ("--workdir", "WorkingDir"), ("--stop-signal", "StopSignal")):
        if config.get(key) and config.get(key) != image.get(key):
            found.append(Option(flag, [str(config[key])]))
    if config.get("StopTimeout") is not None:
        found.append(Option("--stop-timeout", [str(config["StopTimeout"])]))
    if image and (config.get("Entrypoint") or []) != (image.get("Entrypoint") or []):
        found.append(Option("--entrypoint", [" ".join(config.get("Entrypoint") or []) or '""']))
    if config.get("Healthcheck") and config["Healthcheck"] != image.get("Healthcheck"):
        found.append(Option("--health-cmd", [" ".join((config["Healthcheck"].get("Test") or [])[1:]) or "..."]))
    of_image = image.get("Labels") or {}
    labels = {key: value for key, value in (config.get("Labels") or {}).items() if of_image.get(key) != value}
    # Those of docker compose say who made it, not how it is to run.
    own = [f"{key}={value}" for key, value in sorted(labels.items()) if not key.startswith("com.docker.compose.")]
    return [*found, Option("--label", own)]


def _without_label_of_docker(option: Option, host_config: Mapping[str, Any]) -> Option:
    """Docker adds label=disable to what shares the host's IPC or PIDs, or is privileged."""
    shares = host_config.get("Privileged") or "host" in (host_config.get("IpcMode"), host_config.get("PidMode"))
    if option.flag != "--security-opt" or not shares:
        return option
    return Option(option.flag, [value for value in option.values if value not in ("label=disable", "disable")])


def normal(flag: str, value: Any) -> str:
    """One form for values that can be written in several."""
    text = str(value)
    if flag in ("--cap-add", "--cap-drop"):
        return text.upper()[4:] if text.upper().startswith("CAP_") else text.upper()
    if flag == "--add-host":
        return text.replace("=", ":", 1)
    if flag == "--security-opt" and "=" not in text:
        return text.replace(":", "=", 1)
    return text


def wanted_values(given: Mapping[str, Any]) -> dict[str, list[str]]:
    """Options as docker_container takes them, by flag and in the form of Option.values."""
    found: dict[str, list[str]] = {}
    for flag, name in OPTION_NAMES.items():
        value = given.get(name)
        if value is None or value == "":
            continue
        if flag == "--privileged":
            found[flag] = [""] if str(value).lower() in ("true", "yes", "1", "on") else []
        elif flag in ("--shm-size", "--memory"):
            size = size_in_bytes(value)
            found[flag] = [] if size is None else [size_text(size)]
        elif flag == "--ulimit":
            found[flag] = [_ulimit(str(each)) for each in _as_list(value)]
        elif isinstance(value, Mapping):
            sign = ":" if flag == "--add-host" else "="
            found[flag] = [f"{key}{sign}{each}" for key, each in value.items()]
        else:
            found[flag] = [normal(flag, each) for each in _as_list(value)]
    return found


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _ulimit(text: str) -> str:
    name, soft, *hard = text.replace("=", ":", 1).split(":") if ":" in text or "=" in text else (text, "")
    return f"{name}={soft}:{hard[0] if hard else soft}"
