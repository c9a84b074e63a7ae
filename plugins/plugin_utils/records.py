# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUStack's records beside the inventory and beside what it knew before: what is missing, and what is left of a host's earlier name."""

from __future__ import annotations

from typing import Any

from ansible_collections.ascend.gpustack.plugins.plugin_utils.cluster import setting

SHOWN = 5


def loss(lost: dict[str, list[str]], server: str, backup_dir: str, command: str) -> list[str]:
    """What GPUStack no longer knows, what to do, and a command to copy. Nothing when nothing is missing."""
    if not lost:
        return []
    missing = "; ".join(f"{kind} {_few(names)}" for kind, names in sorted(lost.items()))
    return [
        f"GPUStack on {server} no longer has what it had at the last run that found all well: {missing}; expected all of it",
        f"If its database was cut off or is gone, put a copy back: those made before an upgrade are in {backup_dir} on {server}. "
        "If it was removed on purpose, run once:",
        command,
    ]


def _few(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def old_workers(workers: list[dict], hostvars: Any, groups: dict) -> list[dict]:
    """Workers that the inventory does not know, each with its `id`, `name`, a `note`, and whether it is `removable`: what is left of a host
    that goes by another name now, and what is not ready. One that is ready and somebody else's never is."""
    names = {str(setting(hostvars, host, "gpustack_worker_name", host)): host for host in groups.get("gpustack_worker", [])}
    ready = {(each["ip"], each["port"]): names[each["name"]] for each in workers if each["name"] in names and each["state"] == "ready"}
    found = []
    for worker in workers:
        if worker["name"] not in names:
            host = ready.get((worker["ip"], worker["port"]))
            removable = bool(host) or worker["state"] != "ready"
            found.append({"id": worker["id"], "name": worker["name"], "removable": removable, "note": _note(worker, host, removable)})
    return found


def _note(worker: dict, host: str | None, removable: bool) -> str:
    npus = f"{worker['npu_count']} NPU{'' if worker['npu_count'] == 1 else 's'}"
    text = f"worker {worker['name']} ({worker['ip']}, {worker['state']}, {npus}) is in GPUStack and not in the inventory"
    if host:
        text += f"; it has the address of {host}, and is what is left of it under another name"
    return f"{text}. {'To remove it, run:' if removable else 'Let it be if another inventory has it.'}"


def old_worker_lines(old: list[dict], command: str) -> list[str]:
    """The notes, those that can be removed last, with the command that removes them."""
    removable = [each["note"] for each in old if each["removable"]]
    lines = [each["note"] for each in old if not each["removable"]]
    lines += [note.removesuffix(" To remove it, run:") for note in removable[:-1]] + removable[-1:]
    return [f"WARN {line}" for line in lines] + ([command] if removable else [])
