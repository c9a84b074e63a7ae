# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory says of the cluster: the addresses of its hosts, and the one table of the ports that they listen on.

A port is written as firewalld does: `8080/tcp`, `40000-40063/tcp`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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


def first(groups: dict, group: str) -> str | None:
    return (groups.get(group) or [None])[0]
