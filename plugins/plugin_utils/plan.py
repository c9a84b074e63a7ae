# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to a node's container, said in lines that a person reads."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import upgrade_state
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.version import relation
from ansible_collections.ascend.gpustack.plugins.plugin_utils.images import own_state


def node_plan(
    host: dict,
    config: dict,
    compared: dict,
    takeover: dict,
    image: str,
    image_due: bool,
    version: str,
    container: str,
    data_volume: str,
    further: list[str] | tuple[()] = (),
) -> dict:
    """What the container needs: `action` (none, create, start, wait, restart, replace), `lines` that say so,
    `backup` (whether the data of an older version is to be copied first) and `version_before`. further: images that models run in, and
    that are brought to the host."""
    present = host["container"]
    before = takeover.get("version") if takeover.get("hand_made") else (present or {}).get("version")
    lines = [f"image {image}: brought to the host"] if image_due or not own_state(image, host).get("present") else []
    if not host["config"]["exists"]:
        lines.append(f"file {host['config']['path']}: created")
    action, reasons = _action(host, config, compared, takeover, bool(lines), container)
    if action == "create" and not host["data"]["exists"]:
        lines.append(f"volume {data_volume}: created")
    lines += [f"image {name}: brought to the host" for name in further]
    # A volume that is yet to be made has nothing to copy.
    older = bool(present) and (host["data"] or {}).get("exists") is not False and relation(before, version) == "older"
    return {"action": action, "lines": lines + reasons, "backup": older, "version_before": before or ""}


def _action(host: dict, config: dict, compared: dict, takeover: dict, image_new: bool, container: str) -> tuple[str, list[str]]:
    present = host["container"]
    subject = f"container {container}"
    if present is None:
        upgrade = (host["data"] or {}).get("upgrade") or {}
        came = f" in the place of GPUStack {upgrade['before']}, which is kept" if upgrade.get("state") == upgrade_state.KEPT else ""
        return "create", [f"{subject}: created{came}"]
    if takeover.get("hand_made"):
        return "replace", [f"{subject}: the one made by hand is replaced"] + takeover.get("notes", [])
    changes = container_changes(compared.get("diff") or {})
    if image_new and present["managed"]:
        changes = changes or ["image: a new one is brought"]
    if changes:
        return "replace", [f"{subject}: replaced"] + [f"  {change}" for change in changes]
    if not present["running"]:
        return "start", [f"{subject}: started, it was {present['status']}"]
    if _is_newer(config, present):
        keys = ", ".join(config.get("changed_keys") or []) or "written after the container was started"
        return "restart", [f"{subject}: restarted to read its configuration ({keys})"]
    if present["health"] not in (None, "healthy"):
        return "wait", []
    return "none", []


def _is_newer(config: dict, present: dict) -> bool:
    """A container reads its configuration when it starts, so one that started before the file was written has an old one."""
    if config.get("changed_keys"):
        return True
    return bool(config.get("mtime") and present["started_at"] and config["mtime"] > present["started_at"])


def container_changes(diff: dict) -> list[str]:
    """Docker's before and after, a line a field, of lists and mappings a line for each item that comes or goes, with secrets hidden.
    Whether it runs is not a change of its definition."""
    before, after = diff.get("before") or {}, diff.get("after") or {}
    fields = sorted((set(before) | set(after)) - {"running", "restarted", "exists"})
    return [line for field in fields for line in _change(field, before.get(field), after.get(field))]


def _change(field: str, before: Any, after: Any) -> list[str]:
    old, new = _by_name(field, before), _by_name(field, after)
    lines = _items(field, old, new) if old is not None and new is not None else []
    # The order of a command's arguments matters, and a secret may be told by the one before it.
    if isinstance(before, list) and isinstance(after, list) and field not in ("command", "entrypoint", "env"):
        gone = [_item(item) for item in before if item not in after]
        come = [_item(item) for item in after if item not in before]
        lines = [f"{field}: - {text}" for text in gone] + [f"{field}: + {text}" for text in come] if gone != come else []
    return lines or [f"{field}: {'changed' if field == 'env' else ' -> '.join(_shown(before, after))}"]


def _shown(before: Any, after: Any) -> list[str]:
    texts = [json.dumps(redact.data(each), ensure_ascii=False, sort_keys=True) for each in (before, after)]
    return texts if texts[0] != texts[1] else [texts[0], f"{texts[1]} (changed)"]


def _by_name(field: str, value: Any) -> dict[str, Any] | None:
    """What a field holds by names; None where it holds no such thing."""
    if field == "env" and isinstance(value, (list, type(None))):
        return dict(str(entry).partition("=")[::2] for entry in value or [])
    return {str(name): each for name, each in value.items()} if isinstance(value, dict) else None


def _items(field: str, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What goes, what changes without being shown, and what comes."""
    shown = [{name: _named(field, name, value) for name, value in sorted(each.items())} for each in (before, after)]
    same = {name for name in before if name in after and before[name] == after[name]}
    hidden = {name for name in before if name not in same and shown[0][name] == shown[1].get(name)}
    gone = [f"{field}: - {text}" for name, text in shown[0].items() if name not in same | hidden]
    come = [f"{field}: + {text}" for name, text in shown[1].items() if name not in same | hidden]
    return gone + [f"{field}: {name} changed" for name in sorted(hidden)] + come


def _named(field: str, name: str, value: Any) -> str:
    if field == "env":
        return f"{name}={redact.variable(name, str(value))}"
    return f"{name}={redact.value(name, value if isinstance(value, (dict, list)) else str(value))}"


def _item(item: Any) -> str:
    return json.dumps(redact.data(item), ensure_ascii=False, sort_keys=True) if isinstance(item, dict) else redact.data([str(item)])[0]
