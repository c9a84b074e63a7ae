# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's own data: where it may lie, and whose it is."""

from __future__ import annotations

import shlex
from collections import defaultdict
from typing import Any

from ansible_collections.ascend.gpustack.plugins.plugin_utils.cluster import setting

SHARED_REMEDY = "Set gpustack_data_volume to a Docker volume, or to a directory of the host's own."


def shared_data(data: dict | None, models_dir: str) -> str:
    """Says that the data lies where other hosts have it too, which gives them one identity; empty when it doesn't."""
    if not data or not data["on_store"]:
        return ""
    leads = f" (which leads to {data['path']})" if data["name"].rstrip("/") != data["path"] else ""
    return f"the data {data['name']}{leads} lies on the model store {models_dir}, which all hosts share; expected a place of the host's own"


def clones(read: dict[str, dict]) -> list[tuple[str, str, str]]:
    """Hosts whose data makes GPUStack take them for one worker, each with what is wrong and how to mend it. `read` is what
    gpustack_host_info returned, by host."""
    holders: dict[str, list[str]] = defaultdict(list)
    for host, found in read.items():
        data = found.get("data") or {}
        if data.get("worker_uuid") and not data.get("on_store"):
            holders[data["worker_uuid"]].append(host)
    return [
        (host, f"the worker's identity {uuid} is also that of {', '.join(each for each in sharing if each != host)}", _way_out(read[host]))
        for uuid, sharing in holders.items()
        if len(sharing) > 1
        for host in sharing
    ]


def copy_of(host: dict, workers: list[dict], name: str, hostvars: Any, groups: dict) -> str:
    """Says that the data of a host is a copy of another's of the inventory, as GPUStack knows them; empty when it isn't. A worker at this
    host's own address is the host itself by an earlier name, and one that no other host is called by may be, too."""
    uuid, own = (host["data"] or {}).get("worker_uuid"), set(host["resolved"].values())
    for worker in (each for each in workers if uuid and each["worker_uuid"] == uuid and each["ip"] not in own):
        others = (each for each in groups.get("gpustack_worker", []) if each != name)
        if any(str(setting(hostvars, each, "gpustack_worker_name", each)) == worker["name"] for each in others):
            text = f"its data has the identity of the worker {worker['name']} ({worker['ip']}); expected one of its own"
            return f"{text}. {_forget(host)}"
    return ""


def _way_out(found: dict) -> str:
    return f"One is a copy of the other. {_forget(found)}"


def _forget(found: dict) -> str:
    container = (found.get("container") or {}).get("name")
    stop = f"docker stop {container}; " if container else ""
    path = shlex.quote(f"{found['data']['path']}/worker_uuid")
    return f"On the copy run: {stop}rm -f {path}; the next run of site.yml gives it an identity of its own."
