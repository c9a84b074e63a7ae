# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUStack's own settings, as users may give them: what each may be, and which are not for them to give, by the version that is to run.

A rule is one of the roles' meta/rules.yml, with `version`, GPUStack's, and `node`, server or worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Optional

from ansible_collections.ascend.gpustack.plugins.module_utils.files import is_within
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation as generations
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.version import version_key

# What the collection has a variable for, or a place of its own
OWN = {
    "port": "gpustack_port",
    "worker_name": "gpustack_worker_name",
    "worker_ip": "gpustack_address",
    "server_url": "gpustack_server_url",
    "cache_dir": "gpustack_cache_dir",
    "data_dir": "gpustack_data_volume",
    "config_file": "this variable",
}
GIB = {"is": "number", "from": 0, "to": 1048576}
# What is expected, and the remedy
Refusal = Optional[tuple[str, str]]


def keys(version: Any) -> dict[str, Mapping]:
    """The rule of each setting, by the types that GPUStack's parser has for them."""
    of = generations.assumed(version).command_line
    found: dict[str, Mapping] = {name: {"is": "switch"} for name in of.switches}
    found |= {name: {"is": "list", "of": {"is": "text", "dash": True}} for name in of.repeatable}
    found |= {name: {"is": _kind(name), "empty": True} for name in of.values}
    found |= {name: {"is": "number", "from": 0, "to": 2**31 - 1} for name in of.numbers}
    found |= {name: {"is": "anything"} for name in of.file_only}
    return {**found, "system_reserved": {"is": "dict", "keys": {"ram": GIB, "vram": GIB}}}


def _kind(name: str) -> str:
    if name.endswith("_range"):
        return "port_range"
    return "port" if name.endswith("port") else "lines"


def refused(given: Mapping, rule: Mapping) -> dict[Any, tuple[str, str]]:
    """Settings that are not for users to give, and those that do nothing or something else, each with what is expected and the remedy."""
    own = {**OWN, **generations.assumed(rule.get("version")).command_line.own}
    found = {key: (f"{own[key]} to say it", f"Set {own[key]}, and remove this.") if key in own else _idle(key, rule, str) for key in given}
    return {key: refusal for key, refusal in found.items() if refusal}


def refused_variables(given: Mapping, rule: Mapping) -> dict[Any, tuple[str, str]]:
    """The same of variables that are settings by their names."""
    found = {
        name: _idle(str(name)[9:].lower(), rule, lambda key: f"GPUSTACK_{key.upper()}")
        for name in given
        if str(name).startswith("GPUSTACK_")
    }
    return {name: refusal for name, refusal in found.items() if refusal}


def _idle(key: str, rule: Mapping, named: Callable[[str], str]) -> Refusal:
    """Of a setting that this version of GPUStack takes without a word, or ends with. named: how another is called there."""
    version = rule.get("version")
    generation = generations.assumed(version)
    of = generation.command_line
    if key in of.idle:
        meant, expected = of.idle[key], f"a setting that GPUStack {generation.name} has"
    elif of.lacks(key, version_key(version)):
        meant, expected = "", f"a setting that GPUStack {version} has"
    elif rule.get("node") == "worker" and key in of.of_server:
        meant, expected = of.of_server[key], "a worker's setting"
    else:
        return None
    return expected, f"Set {named(meant)}, and remove this." if meant else "Remove it."


def setting_problems(node: dict) -> list[str]:
    """What the variables say and a node's container can't run with, as sentences. node: `version`, `role` (server or worker), `works`,
    `settings`, `cache_dir`, `models_dir`, `volumes`, `options`, and `runtimes`, those that Docker has there; none where that is unknown."""
    generation = generations.assumed(node["version"])
    variable = f"gpustack_{node['role']}_config"
    idle = refused(node["settings"], {"version": node["version"], "node": node["role"]})
    # Where a version is asked for, this was said before any host was asked, as of those for which there is a variable it always is.
    found = [
        f"{variable} has the setting {key}; expected {expected}. {remedy}"
        for key, (expected, remedy) in idle.items()
        if key not in OWN and key not in generation.command_line.own
    ]
    found += _listening(node, variable, idle) + _runtime(str(node["options"].get("runtime") or ""), node["runtimes"])
    return found + (_mirrored(node, generation) if node["works"] else [])


def _listening(node: dict, variable: str, idle: Mapping) -> list[str]:
    host = node["settings"].get("host")
    if host in (None, "0.0.0.0") or "host" in idle or node["role"] != "server":
        return []
    return [
        f"{variable} has host: {host}, and GPUStack then listens at that address alone; expected 0.0.0.0, since its own worker and its "
        "health check ask 127.0.0.1. Remove host; who may reach the port is the firewall's to say."
    ]


def _runtime(wanted: str, runtimes: list[str]) -> list[str]:
    """Docker itself refuses it only when it makes the container. Shims of containerd's that are called so it takes unregistered."""
    if not wanted or not runtimes or wanted in runtimes or wanted.startswith("io.containerd."):
        return []
    return [
        f"gpustack_container_options has runtime: {wanted}, and Docker there has {', '.join(runtimes)}; expected one of these. Remove it, "
        "since GPUStack needs none, or have Docker know it, as the installer of Ascend Docker Runtime does for ascend."
    ]


def _mirrored(node: dict, generation: Generation) -> list[str]:
    """Where models run in containers of their own, which get what the worker's has, but not its data."""
    data, cache = generation.data.directory, node["cache_dir"]
    found = []
    mounted = [volume.split(":")[1].rstrip("/") for volume in node["volumes"]]
    if generation.node.work.mirror and is_within(cache, data) and not any(is_within(cache, path) for path in mounted):
        found.append(
            f"gpustack_cache_dir {cache} lies in GPUStack's data, which models' containers do not get; expected a directory that they get. "
            f"Set gpustack_cache_dir: {node['models_dir']}/gpustack-cache, or mount one there with gpustack_volumes."
        )
    if generation.node.work.privileged and str(node["options"].get("privileged", True)).lower() in ("false", "no", "off", "0"):
        found.append(
            f"gpustack_container_options has privileged: false, and a worker of GPUStack {generation.name} makes containers that are; "
            "expected it to be so too. Remove it."
        )
    return found
