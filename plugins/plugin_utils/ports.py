# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of ports: who listens where, and who is to be let in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Ports
from ansible_collections.ascend.gpustack.plugins.plugin_utils.cluster import GROUPS, addresses, first, members, setting, variables_of

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


def server_port(host: str, hostvars: Any) -> int:
    return int(setting(hostvars, host, "gpustack_port", SERVER_PORT))


def worker_ports(host: str, hostvars: Any, groups: dict) -> dict[str, str]:
    """A worker's ports by the names of GPUStack's settings; the server's own worker has its settings from the server's."""
    settings, table = _gpustack(host, hostvars, groups)
    return _set(table.worker, settings)


def _gpustack(host: str, hostvars: Any, groups: dict) -> tuple[dict, Ports]:
    """A host's settings of GPUStack, and the ports of its generation, by one look at its variables, which costs more than all the rest."""
    variables = variables_of(hostvars, host)
    role = "server" if host == first(groups, "gpustack_server") else "worker"
    return variables.get(f"gpustack_{role}_config", {}), generation.assumed(variables.get("gpustack_version")).ports


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
    (settings, table), is_server = _gpustack(host, hostvars, groups), host == first(groups, "gpustack_server")
    is_worker = host in groups.get("gpustack_worker", [])
    found = _tcp(_set(table.worker, settings).values()) if is_worker else []
    if _is_on(settings.get(table.ray_setting)) and (is_server or is_worker):
        ray = {**table.ray, **(table.ray_head if is_server else {})}
        found += _tcp(_set(ray, settings).values())
    if is_worker and _is_on(setting(hostvars, host, "ascend_driver_check_multi_node", False)):
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
    else:
        found = [setting(hostvars, host, "gpustack_port", SERVER_PORT)] if host == first(groups, "gpustack_server") else []
        if host in groups.get("gpustack_worker", []):
            settings, table = _gpustack(host, hostvars, groups)
            found += [_set(table.worker, settings)[name] for name in table.worker_at_start]
    return list(dict.fromkeys(map(int, found)))


def _is_on(value: Any) -> bool:
    """As Ansible reads a boolean, which AWX sends as text."""
    return str(value).lower() in ("true", "yes", "on", "1")


def _tcp(ports: Iterable[Any]) -> list[str]:
    return [f"{port}/tcp" for port in dict.fromkeys(ports)]
