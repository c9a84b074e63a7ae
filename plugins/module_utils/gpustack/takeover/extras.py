# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container made by hand has that the collection's would not have."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import run as docker_run
from ansible_collections.ascend.gpustack.plugins.module_utils.files import is_within
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import config_file
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.container import Setting
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.takeover.old import Desired, Old
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.version import version_key
from ansible_collections.ascend.gpustack.plugins.module_utils.npu import kinds

# Carried over without a variable, or judged by a rule of their own.
_CARRIED = frozenset(
    ("token", "bootstrap_password", "worker_name", "config_file", "data_dir", "port", "tls_port", "server_url", "enable_worker")
)
_DRIVER_MOUNTS = (
    "/usr/local/dcmi",
    "/usr/local/bin/npu-smi",
    "/usr/local/Ascend/driver",
    "/usr/local/Ascend/firmware",
    "/etc/ascend_install.info",
    "/etc/hccn.conf",
    *kinds.FILES,
)
_DRIVER_DEVICE = re.compile(rf"(/dev/davinci\d+|{'|'.join(kinds.NODES)})(/.*)?\Z")


@dataclass(frozen=True)
class Extra:
    """Something that the guide's container doesn't have. remedy: the variable that says the same, or empty."""

    name: str
    kind: str
    text: str
    covered: bool
    dropped: bool
    remedy: str = ""


def says_the_same(value: Any, wanted: Any) -> bool:
    """Whether a setting of the old container and one of the new configuration come to the same."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return _as_bool(value) == _as_bool(wanted)
    if wanted is None or value is config_file.UNREADABLE:
        return False
    if isinstance(value, list) and isinstance(wanted, list):
        return [str(each) for each in value] == [str(each) for each in wanted]
    if isinstance(value, str) and isinstance(wanted, (dict, list)):
        try:
            return json.loads(value) == wanted
        except ValueError:
            return False
    return value == wanted or (not isinstance(value, (dict, list)) and str(value) == str(wanted))


def _as_bool(value: Any) -> bool:
    return value if isinstance(value, bool) else str(value).lower() in ("true", "yes", "1", "on")


def extras(old: Old, desired: Desired) -> list[Extra]:
    found = [*_setting_extras(old, desired), *_environment_extras(old, desired)]
    found += [*_mount_extras(old, desired), *_option_extras(old, desired)]
    return found


def _setting_extras(old: Old, desired: Desired) -> list[Extra]:
    found, table = [], old.generation.command_line
    for key, setting in sorted(old.settings.items()):
        if key in _CARRIED or key in table.idle or (key == "cache_dir" and _same_cache(old, desired)):
            continue
        wanted = desired.config.get(key, desired.config.get(table.usual.get(key, "")))
        covered = key in desired.secret_keys or says_the_same(setting.value, wanted)
        if setting.source == "environment":
            given = desired.env.get(setting.name)
            covered = covered or (given is not None and old.variable(setting.name) == given)
        kind, text, remedy = "environment" if setting.source == "environment" else "argument", _typed(old, setting), _variable_of(old, key)
        if not remedy and _is_known(desired, key):
            remedy = f"gpustack_{desired.role}_config.{key}"
        elif not remedy:
            text = f"{text}, no setting of GPUStack {desired.version}"
        found.append(Extra(setting.name, kind, text, covered, desired.dropped(setting.name), remedy))
    for word in old.strays:
        found.append(Extra(word, "argument", redact.value("", word), False, desired.dropped(word)))
    return found


def _is_known(desired: Desired, key: str) -> bool:
    """Whether the inventory may give it as a setting of GPUStack's."""
    table = desired.generation.command_line
    return key in table.settings | table.file_only and key not in table.idle and not table.lacks(key, version_key(desired.version))


def _variable_of(old: Old, key: str) -> str:
    """What of the inventory says a setting, or a variable of the environment; empty where there is nothing of its own."""
    images = old.generation.images
    known = {
        "cache_dir": "gpustack_cache_dir",
        "worker_ip": "gpustack_address",
        images.registry: "gpustack_registry",
        images.username: "gpustack_registry_username",
        images.password: "gpustack_registry_password",
        **old.generation.command_line.own,
    }
    return known.get(key, "")


def _typed(old: Old, setting: Setting) -> str:
    """A setting as it would be typed, without what is secret of it."""
    if setting.source == "environment":
        return f"-e {setting.name}={redact.value(setting.key, old.variable(setting.name))}"
    if setting.source == "config":
        readable = "..." if setting.value is config_file.UNREADABLE else redact.value(setting.key, setting.value)
        return f"{setting.key}: {readable} (in {old.config_path})"
    values = setting.value if isinstance(setting.value, list) else [setting.value]
    return " ".join(setting.name if each is True else f"{setting.name} {redact.value(setting.key, each)}" for each in values)


def _same_cache(old: Old, desired: Desired) -> bool:
    usual = f"{desired.generation.data.directory}/cache"
    before = docker_run.located(old.mounted, old.cache_dir)
    after = docker_run.located(desired.mounted, str(desired.config.get("cache_dir") or usual).rstrip("/"))
    return before is not None and after is not None and before[0] == after[0]


def _environment_extras(old: Old, desired: Desired) -> list[Extra]:
    found = []
    work = old.generation.node.work
    # The first is always the container's own name. By the other a runtime brings NPUs to a container that has not all of them anyway.
    settled = {work.mirror.name if work.mirror else "", work.visible if old.privileged else ""}
    lists = (work.mirror.kept_volumes, work.mirror.kept_environment) if work.mirror else ()
    for name, value in sorted(old.plain_env.items()):
        if name in settled:
            continue
        text = f"-e {name}={redact.variable(name, value)}"
        covered = _all_in(value, desired.env.get(name, "")) if name in lists else _env_covered(name, value, desired.env)
        # What no shell can read is no name that gpustack_env takes.
        remedy = _variable_of(old, name) or (f"gpustack_env.{name}" if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else "")
        found.append(Extra(name, "environment", text, covered, desired.dropped(name), remedy))
    return found


def _all_in(value: str, wanted: str) -> bool:
    return set(filter(None, value.split(";"))) <= set(wanted.split(";"))


def _env_covered(name: str, value: str, wanted: Mapping[str, str]) -> bool:
    if name.lower() == "no_proxy":
        items = {item.strip() for each in ("NO_PROXY", "no_proxy") for item in wanted.get(each, "").split(",")}
        return all(item.strip() in items for item in value.split(",") if item.strip())
    if name.lower().endswith("_proxy"):
        return value in (wanted.get(name), wanted.get(name.upper()), wanted.get(name.lower()))
    return wanted.get(name) == value


def _mount_extras(old: Old, desired: Desired) -> list[Extra]:
    found = []
    data = old.data_mount
    config_path = str(old.value("config_file") or "")
    for mount in sorted(old.mounted, key=lambda each: each.target):
        of_driver = mount.source == mount.target and any(is_within(mount.target, path) for path in _DRIVER_MOUNTS)
        # Judged key by key instead.
        is_config = mount.target == config_path and old.config_error is None
        of_image = mount.anonymous and mount.target in ((old.image.get("Config") or {}).get("Volumes") or {})
        if of_driver or is_config or of_image or mount == data or mount.target == "/models":
            continue
        there = docker_run.located(desired.mounted, mount.target)
        covered = there is not None and there[0] == mount.source and (mount.read_only or not there[1])
        found.append(Extra(mount.target, "mount", mount.text, covered, desired.dropped(mount.target), "gpustack_volumes"))
    return found


def _option_extras(old: Old, desired: Desired) -> list[Extra]:
    wanted = docker_run.wanted_values({**desired.options, **({"privileged": True} if desired.privileged else {})})
    found = []
    for option in [*docker_run.options(old.container, old.image, old.defaults), *_devices(old, desired)]:
        given = wanted.get(option.flag)
        known = docker_run.OPTION_NAMES.get(option.flag)
        remedy = f"gpustack_container_options.{known}" if known else ""
        covered = given is not None and set(option.values) <= set(given)
        found.append(Extra(option.flag, "option", option.text, covered, desired.dropped(option.flag), remedy))
    network = next((extra for extra in found if extra.name == "--network"), None)
    publish = next((extra for extra in found if extra.name == "--publish"), None)
    if network and publish:
        # Ports are published by the network that the container is on: one decision, not two.
        found[found.index(network)] = Extra(
            "--network", "option", f"{network.text} {publish.text}", False, network.dropped or publish.dropped
        )
        found.remove(publish)
    return found


def _devices(old: Old, desired: Desired) -> list[docker_run.Option]:
    wanted = {device.split(":")[0] for device in desired.devices}
    values = [
        device["PathOnHost"]
        for device in (old.container.get("HostConfig") or {}).get("Devices") or []
        if not _DRIVER_DEVICE.match(device["PathOnHost"]) and device["PathOnHost"] not in wanted
    ]
    return [docker_run.Option("--device", values)] if values else []
