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
        f"If its database was cut off or is gone, run the playbook restore, which takes the newest backup in {backup_dir} on {server}. "
        "If it was removed on purpose, run once:",
        command,
    ]


def _few(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def stale_worker(workers: list[dict], name: str, host: dict) -> dict:
    """GPUStack's record of this name, with `here`, whether it has this host's address; empty where there is none, and where it is that of
    this host's data."""
    record = next((worker for worker in workers if worker["name"] == name), None)
    if record is None:
        return {}
    here = record["ip"] in host["resolved"].values()
    return {} if _is_own(record, host["data"], here) else {**record, "here": here}


def _is_own(record: dict, data: dict, here: bool) -> bool:
    if record["worker_uuid"]:
        return bool(record["worker_uuid"] == data["worker_uuid"])
    if data["worker_uuid"]:
        # Without a name it is an older generation's.
        return data["worker_name"] in (None, record["name"])
    # What a run that was to take it over, and was ended, left
    return data["worker_name"] == record["name"] and (here or record["state"] != "ready")


def stale_refusal(record: dict, answers: bool, replace: bool, adopts: bool) -> str:
    """Why a host does not get the record of a worker of its name, without the host; empty where it may. Only one that is not ready, and
    whose address is the host's or does not answer, can be what is left of it. adopts: whether the host's worker is given the record
    itself, models that name it included, where otherwise the record is removed and a new one made."""
    text = (
        f"GPUStack already has a worker {record['name']} (id {record['id']}, {record['ip']}, {record['state']}), registered from "
        "another data directory; expected a free name."
    )
    other = "give this host another gpustack_worker_name"
    ready = record["state"] == "ready"
    if not record["here"] and (ready or answers):
        why = "It is ready" if ready else f"{record['ip']} answers"
        return f"{text} {why}, so that it is another host's, or was until now: {other}, or remove the worker on GPUStack's page."
    if not replace:
        taken = "take its record over" if adopts else "remove it"
        return f"{text} If it is what is left of this host, set gpustack_worker_replace_stale: true to {taken}; else {other}."
    return f"{text} GPUStack has not noticed yet that it is gone: run this again in three minutes." if ready else ""


def old_workers(workers: list[dict], hostvars: Any, groups: dict) -> list[dict]:
    """Workers that the inventory does not know, each with its `id`, `name`, a `note`, and whether it is `removable`: what is left of a host
    that goes by another name now, and what is not ready. One that is ready and somebody else's never is."""
    names = {str(setting(hostvars, host, "gpustack_worker_name", host)): host for host in groups.get("gpustack_worker", [])}
    ready = {(each["ip"], each["port"]): names[each["name"]] for each in workers if each["name"] in names and each["state"] == "ready"}
    found = []
    for worker in workers:
        if worker["name"] not in names:
            host = ready.get((worker["ip"], worker["port"]))
            removable = bool(host) or (worker["state"] != "ready" and not worker.get("drained"))
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
