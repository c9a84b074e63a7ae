# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a backup is not made; what a restore does to a host, said beforehand, and why it does not."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation as generations
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.version import relation


def backup_refusals(node: dict, host: str) -> list[str]:
    """Sentences. node: whether the database is `external`, whether a `copy` is to leave the host, whether there is a `passphrase`, and
    `strangers`, hosts for copies that the inventory does not know."""
    found = []
    if node["external"]:
        found.append("its database is the one of database_url; expected GPUStack's own. Back it up with its own tools, such as pg_dump.")
    if node["copy"] and not node["passphrase"]:
        found.append(
            "a copy of its backups is to leave the host, and gpustack_backup_passphrase is not set; expected it, since a backup holds "
            "every secret of the cluster. Set it, and keep it in a vault."
        )
    if node["strangers"]:
        found.append(f"gpustack_backup_copy_hosts names {', '.join(node['strangers'])}; expected hosts of the inventory. Correct it.")
    return [f"{host}: {text}" for text in found]


def restore_plan(backup: dict, node: dict) -> dict:
    """`version` to run, whether the backup is `same_host`'s, `lines` that say what is restored and what goes, and `refusals`."""
    manifest = backup["manifest"]
    # By its name: what identifies a system, hosts that were cloned share.
    same = manifest["host"] == node["host"]
    version = node["version"] or manifest["version"]
    return {
        "version": version,
        "same_host": same,
        "lines": _lines(backup["path"], manifest, node, version, same),
        "refusals": [f"{node['host']}: {text}" for text in _refusals(backup, node, version, same)],
    }


def _lines(path: str, manifest: dict, node: dict, version: str, same: bool) -> list[str]:
    names = manifest.get("names") or {}
    listed = "; ".join(f"{kind}: {', '.join(names[kind]) or 'none'}" for kind in ("workers", "models") if kind in names)
    lines = [
        f"Restore on {node['host']}: GPUStack {manifest['version']} of {manifest['host']}, as it was at {_moment(manifest['created'])}"
    ]
    lines.append(f"  from {path}")
    lines += [f"  {listed}"] if listed else []
    container = node["container"]
    if container:
        lines.append(f"What goes with what is there: the container {container['name']} ({container['status']}), its data and its settings.")
    lines += _models(names.get("models"), node["models"])
    if not same:
        lines.append(f"The worker of {node['host']} keeps its own identity; {manifest['host']} is the server no more.")
    if not node["token_given"]:
        lines.append("The cluster's token is again that of then; the playbook rotate_token exchanges one that is not to be valid.")
    if relation(manifest["version"], version) == "older":
        lines.append(f"GPUStack {version} takes these data along when it starts.")
    return lines


def _moment(created: str) -> str:
    """20261127T201745Z for a person."""
    return f"{created[:4]}-{created[4:6]}-{created[6:8]} {created[9:11]}:{created[11:13]} UTC"


def _models(kept: list[str] | None, there: list[str] | None) -> list[str]:
    """Workers end what their server does not know."""
    if there is None:
        return []
    if kept is None:
        return [f"WARN which models the backup has is not known; those that it has not will end, of: {', '.join(there)}"] if there else []
    lost = sorted(set(there) - set(kept))
    return [f"WARN models that are not in the backup, and end: {', '.join(lost)}"] if lost else []


def _refusals(backup: dict, node: dict, version: str, same: bool) -> list[str]:
    manifest, found = backup["manifest"], []
    of = f"the backup is of GPUStack {manifest['version']}"
    if generations.refusal(manifest["version"]):
        found.append(f"{of}, which this collection does not deploy; expected one that it does. Take another backup.")
    elif generations.apart(manifest["version"], version):
        found.append(
            f"{of}, and {version} is to run here, which does not take its data; expected one generation. "
            f"Set gpustack_version: {manifest['version']}, or take another backup."
        )
    elif relation(manifest["version"], version) == "newer":
        found.append(
            f"{of}, and {version} is to run here; expected a backup of no newer one. "
            f"Set gpustack_version: {manifest['version']}, or take an older backup."
        )
    # A host of another address may be another machine under the old name, unless GPUStack runs on it.
    if node["answers"] and not (same and (node["container"] or {}).get("running")):
        found.append(
            f"the server of the backup, {manifest['host']}, still answers at {manifest['address']}:{manifest['port']}; "
            f"expected one server. Stop it there: docker stop {manifest['container']}"
        )
    if backup["token_differs"] and node["token_kept"]:
        found.append(
            "gpustack_token is another than the backup's; expected that, with which its cluster comes back. "
            "Set gpustack_token to it, or take it out of the inventory."
        )
    if node["container"] and node["container"]["running"] and not node["confirmed"]:
        found.append(f"the container {node['container']['name']} runs; expected gpustack_restore_confirm: true. Set it to replace it.")
    return found
