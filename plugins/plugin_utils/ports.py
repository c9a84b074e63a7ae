# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of ports: who listens where, and who is to be let in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Generation, Port
from ansible_collections.ascend.gpustack.plugins.plugin_utils.cluster import (
    GROUPS,
    addresses,
    first,
    members,
    setting,
    variables_of,
    version_to_run,
)
from ansible_collections.ascend.gpustack.plugins.plugin_utils.node import has_tls

SERVER_PORT = 8080
# Where HCCL of one host looks for the others before the NPUs' own network is up
HCCL_PORTS = "60000-60031/tcp"
# What a mount asks: NFS, the port mapper, and mountd where the role nfs_server puts it
NFS_MOUNT_PORTS = (2049, 111, 20048)
# The rest, again as nfs_server has it: statd, and lockd
NFS_PORTS = (*(f"{port}/tcp" for port in NFS_MOUNT_PORTS), "111/udp", "20048/udp", "662/tcp", "662/udp", "32803/tcp", "32769/udp")
SWARM_MANAGER_PORT = "2377/tcp"
# Membership, and overlay networks
SWARM_PORTS = ("7946/tcp", "7946/udp", "4789/udp")
GATEWAY_PORT = 8000
GATEWAY_STATS_PORT = 8404


@dataclass(frozen=True)
class _Node:
    """What the inventory says of a host as a node of GPUStack, by one look at its variables, which costs more than all the rest. The
    server's own worker has its settings from the server's."""

    variables: Any
    serves: bool
    works: bool
    settings: dict
    generation: Generation

    @property
    def multi_node(self) -> bool:
        return _is_on(self.variables.get("ascend_driver_check_multi_node", False))


def _node(host: str, hostvars: Any, groups: dict) -> _Node:
    variables, serves = variables_of(hostvars, host), host == first(groups, "gpustack_server")
    settings = variables.get(f"gpustack_{'server' if serves else 'worker'}_config", {})
    works = host in groups.get("gpustack_worker", [])
    return _Node(variables, serves, works, settings, generation.assumed(version_to_run(host, hostvars, groups)))


def server_port(host: str, hostvars: Any) -> int:
    return int(setting(hostvars, host, "gpustack_port", SERVER_PORT))


def asked_of_worker(host: str, hostvars: Any, groups: dict) -> dict[str, str]:
    """A worker's ports that others ask, by the names of GPUStack's settings."""
    return _asked_of_worker(_node(host, hostvars, groups))


def _asked_of_worker(node: _Node) -> dict[str, str]:
    table = node.generation.ports
    asked = dict(table.worker) if table.own_worker or not node.serves else {}
    if node.multi_node:
        asked |= table.shared
    elif asked and table.service in table.shared and node.settings.get(table.direct[0]) == table.direct[1]:
        asked[table.service] = table.shared[table.service]
    return _set(asked, node.settings)


def _set(table: Mapping[str, str], settings: dict) -> dict[str, str]:
    return {name: str(settings.get(name, default)) for name, default in table.items()}


def firewall_access(host: str, hostvars: Any, groups: dict, store_type: str) -> dict:
    """Who may reach which ports of a host: `addresses` at which it is reached, and `services`, each with its `name`, its `ports` and
    its `sources`, addresses and networks; none means everyone."""
    cluster = addresses(members(groups, *GROUPS), hostvars)
    own = addresses([host], hostvars)
    services = [
        {"name": "gpustack", "ports": _public_ports(host, hostvars, groups), "sources": []},
        {"name": "gpustack-cluster", "ports": _cluster_ports(host, hostvars, groups), "sources": cluster},
    ]
    if store_type == "nfs" and host == first(groups, "gpustack_store"):
        # Its clients may have a network of their own.
        clients = setting(hostvars, host, "nfs_server_clients", []) or cluster
        services.append({"name": "gpustack-store", "ports": list(NFS_PORTS), "sources": clients})
        own.append(setting(hostvars, host, "gpustack_store_server", "") or own[0])
    return {"addresses": list(dict.fromkeys(own)), "services": [service for service in services if service["ports"]]}


def _in_swarm(host: str, groups: dict) -> bool:
    return host in members(groups, "swarm")


def _public_ports(host: str, hostvars: Any, groups: dict) -> list[str]:
    found = [server_port(host, hostvars)] if host == first(groups, "gpustack_server") else []
    found += [setting(hostvars, host, "vllm_stack_port", GATEWAY_PORT)] if _in_swarm(host, groups) else []
    return _tcp(found)


def _cluster_ports(host: str, hostvars: Any, groups: dict) -> list[str]:
    node = _node(host, hostvars, groups)
    table = node.generation.ports
    found = _tcp(_asked_of_worker(node).values()) if node.works else []
    if _is_on(node.settings.get(table.ray_setting)) and (node.serves or node.works):
        ray = {**table.ray, **(table.ray_head if node.serves else {})}
        found += _tcp(_set(ray, node.settings).values())
    if node.works and node.multi_node:
        found.append(HCCL_PORTS)
    if _in_swarm(host, groups):
        found += [SWARM_MANAGER_PORT] if host in groups.get("docker_swarm_manager", []) else []
        found += SWARM_PORTS
        found += _tcp([*_model_ports(host, hostvars), setting(hostvars, host, "vllm_stack_stats_port", GATEWAY_STATS_PORT)])
    return list(dict.fromkeys(found))


def _model_ports(host: str, hostvars: Any) -> list[Any]:
    return [service["port"] for service in setting(hostvars, host, "vllm_stack_services", [])]


def listening_ports(host: str, hostvars: Any, groups: dict, kind: str) -> list[int]:
    """TCP ports that the containers of this kind of cluster need on a host from their start; GPUStack's models get theirs later."""
    if kind == "swarm":
        gateway = (("vllm_stack_port", GATEWAY_PORT), ("vllm_stack_stats_port", GATEWAY_STATS_PORT))
        found = [*(setting(hostvars, host, name, default) for name, default in gateway), *_model_ports(host, hostvars)]
        return list(dict.fromkeys(map(int, found)))
    return list(port_settings(host, hostvars, groups))


def port_settings(host: str, hostvars: Any, groups: dict) -> dict[int, str]:
    """Of a node of GPUStack's, the ports that its container needs from its start, each with what sets it; empty where nothing does."""
    node = _node(host, hostvars, groups)
    found: dict[int, str] = {}
    variable = f"gpustack_{'server' if node.serves else 'worker'}_config"
    if node.serves:
        found[int(node.variables.get("gpustack_port", SERVER_PORT))] = "gpustack_port"
        for port, number in _of_server(node):
            found.setdefault(number, f"{port.setting} in {variable}" if port.setting else "")
    if node.works:
        taken = _set(node.generation.ports.worker, node.settings)
        for name in node.generation.ports.worker_at_start:
            found.setdefault(int(taken[name]), f"{name} in {variable}")
    return found


def _of_server(node: _Node) -> list[tuple[Port, int]]:
    """What a server's container takes beside the port that people use, with the numbers as they are set."""
    taken = [port for port in node.generation.ports.server if not any(_is_set(node.settings.get(name)) for name in port.unless)]
    found = [(port, int(node.settings.get(port.setting, port.port))) for port in taken]
    plain = node.generation.node.plain_port
    secure = has_tls(node.settings) or bool(node.variables.get("gpustack_tls_certificate"))
    return found + ([(Port("", str(plain), open=True), plain)] if plain and secure else [])


def open_ports(host: str, hostvars: Any, groups: dict) -> list[str]:
    """Ports at which a node answers to everyone though no other host asks there, as only a firewall can mend."""
    node, found = _node(host, hostvars, groups), []
    table = node.generation.ports
    if node.serves:
        found += [str(number) for port, number in _of_server(node) if port.open]
    if node.works:
        every = _set({**table.worker, **table.shared}, node.settings)
        found += [every[name] for name in table.worker_open]
    return sorted(found, key=lambda port: int(port.split("-")[0]))


def _is_set(value: Any) -> bool:
    return _is_on(value) or (bool(value) and str(value).lower() not in ("false", "no", "off", "0"))


def _is_on(value: Any) -> bool:
    """As Ansible reads a boolean, which AWX sends as text."""
    return str(value).lower() in ("true", "yes", "on", "1")


def _tcp(ports: Iterable[Any]) -> list[str]:
    return [f"{port}/tcp" for port in dict.fromkeys(ports)]
