# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory says of the cluster: the addresses of its hosts, and the one table of the ports that they listen on.

A port is written as firewalld does: `8080/tcp`, `40000-40063/tcp`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation

# The two kinds of cluster, by the groups of their hosts
GROUPS = {"gpustack": ("gpustack_server", "gpustack_worker", "gpustack_store"), "swarm": ("docker_swarm_manager", "docker_swarm_worker")}


def variables_of(hostvars: Any, host: str) -> Any:
    """A host's variables; none of one that Ansible does not know."""
    try:
        return hostvars[host]
    except KeyError:
        return {}


def setting(hostvars: Any, host: str, name: str, default: Any) -> Any:
    return variables_of(hostvars, host).get(name, default)


def addresses(hosts: Iterable[str], hostvars: Any) -> list[str]:
    """The cluster's addresses: gpustack_address, else ansible_host, else the inventory's name, of each host."""
    return [setting(hostvars, host, "gpustack_address", setting(hostvars, host, "ansible_host", host)) for host in hosts]


def members(groups: dict, *kinds: str) -> list[str]:
    """The hosts of clusters of these kinds, each once, in the inventory's order."""
    return list(dict.fromkeys(host for kind in kinds for group in GROUPS[kind] for host in groups.get(group, [])))


def version_to_run(host: str, hostvars: Any, groups: dict) -> str:
    """The GPUStack of a host: what the inventory asks for, else what this collection's container there runs, else the server's, as far as
    preflight has read them, else the one to run unless another is asked for. The default of gpustack_version says the same."""
    variables = variables_of(hostvars, host)
    asked = variables.get("gpustack_version") or _running(variables)
    server = first(groups, "gpustack_server")
    return str(asked or (_running(variables_of(hostvars, server)) if server and server != host else "") or generation.DEFAULT.release)


def _running(variables: Any) -> str:
    container = (variables.get("ascend_driver_check_host") or {}).get("container") or {}
    return container["version"] or "" if container.get("managed") else ""


def first(groups: dict, group: str) -> str | None:
    return (groups.get(group) or [None])[0]
