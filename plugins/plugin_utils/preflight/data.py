# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose a node's own data is."""

from __future__ import annotations

import shlex
from collections import defaultdict
from typing import Any

from ansible_collections.ascend.gpustack.plugins.plugin_utils.cluster import setting
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.cluster import Play
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Checks, Finding

CHECKS = Checks()


@CHECKS.add(identity="whether the data of two hosts makes them one worker to GPUStack, as on a cloned host")
def clones(play: Play) -> list[tuple[str, Finding]]:
    """Hosts whose data makes GPUStack take them for one worker."""
    if play.settings["cluster"] != "gpustack":
        return []
    read = {host: play.answer(host, "ascend_driver_check_host") for host in play.hosts}
    holders: dict[str, list[str]] = defaultdict(list)
    for host, answer in read.items():
        data = answer.get("data") or {}
        if data.get("worker_uuid") and not data.get("on_store"):
            holders[data["worker_uuid"]].append(host)
    found = []
    for uuid, sharing in holders.items():
        for host in sharing if len(sharing) > 1 else ():
            others = ", ".join(each for each in sharing if each != host)
            text = f"the worker's identity {uuid} is also that of {others}, of which one is a copy; expected one of its own"
            found.append((host, Finding("identity", "fail", text, _forget(read[host]))))
    return found


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
