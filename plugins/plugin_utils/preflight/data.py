# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose a node's own data is, and which hosts have the identity of one."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ansible_collections.ascend.gpustack.plugins.plugin_utils.cluster import setting
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.cluster import Play
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Checks, Finding

CHECKS = Checks()
COPY = "of which one is a copy; expected one of its own"


@CHECKS.add(identity="whether two hosts are one worker to GPUStack by their data, or one node to Swarm, as a cloned host and its source")
def clones(play: Play) -> list[tuple[str, Finding]]:
    read = {host: play.answer(host, "ascend_driver_check_host") for host in play.hosts}
    return twins(read) if play.settings["cluster"] == "gpustack" else _nodes(read)


def twins(read: Mapping[str, dict]) -> list[tuple[str, Finding]]:
    """Hosts whose data makes GPUStack take them for one worker. read: what gpustack_host_info says of each."""
    data = {host: answer.get("data") or {} for host, answer in read.items()}
    identities = {host: own.get("worker_uuid") for host, own in data.items() if not own.get("on_store")}
    return [
        (host, Finding("identity", "fail", f"the worker's identity {own} is also that of {others}, {COPY}", _forget(read[host])))
        for host, own, others in _sharing(identities)
    ]


def _nodes(read: Mapping[str, dict]) -> list[tuple[str, Finding]]:
    """The same of a Swarm, whose managers send the tasks of one node to whichever of the two asked last."""
    identities = {host: (answer.get("docker") or {}).get("swarm_node") for host, answer in read.items()}
    remedy = "On the copy run this, and swarm.yml then, which lets it join as a node of its own:\n  docker swarm leave --force"
    return [
        (host, Finding("identity", "fail", f"its node {own} of the Swarm is also that of {others}, {COPY}", remedy))
        for host, own, others in _sharing(identities)
    ]


def _sharing(identities: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Each host that shares its identity, with that and the others."""
    holders: dict[str, list[str]] = defaultdict(list)
    for host, identity in identities.items():
        if identity:
            holders[identity].append(host)
    return [
        (host, identity, ", ".join(each for each in sharing if each != host))
        for identity, sharing in holders.items()
        if len(sharing) > 1
        for host in sharing
    ]


def copy_refusals(host: dict, workers: list[dict], name: str, hostvars: Any, groups: dict) -> list[str]:
    """A sentence where the data of a host is a copy of another's of the inventory, as GPUStack knows them. A worker at this host's own
    address is the host itself by an earlier name, and one that no other host is called by may be, too."""
    data, own = host["data"] or {}, set(host["resolved"].values())
    for worker in (each for each in workers if _is_of(each, data) and each["ip"] not in own):
        others = (each for each in groups.get("gpustack_worker", []) if each != name)
        if any(str(setting(hostvars, each, "gpustack_worker_name", each)) == worker["name"] for each in others):
            text = f"its data has the identity of the worker {worker['name']} ({worker['ip']}); expected one of its own"
            return [f"{name}: {Finding('identity', 'fail', text, _forget(host)).sentence}"]
    return []


def _is_of(worker: dict, data: dict) -> bool:
    """Whether GPUStack takes what has this data for that worker; where it tells no identities, by the name that it gave to the data."""
    if not data.get("worker_uuid"):
        return False
    return data["worker_uuid"] == worker["worker_uuid"] if worker["worker_uuid"] else data.get("worker_name") == worker["name"]


def _forget(found: dict) -> str:
    container = (found.get("container") or {}).get("name")
    stop = f"docker stop {container}; " if container else ""
    path = shlex.quote(f"{found['data']['path']}/worker_uuid")
    return f"On the copy run this, and site.yml then, which gives it an identity of its own:\n  {stop}rm -f {path}"
