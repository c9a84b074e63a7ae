# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to a node's container, said in lines that a person reads."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.version import relation
from ansible_collections.ascend.gpustack.plugins.module_utils.redact import looks_secret, without_logins

HIDDEN = "***"
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def split_secrets(settings: dict) -> dict:
    """GPUStack's settings as `config` and `secrets`, told apart by their names."""
    secrets = {key: value for key, value in settings.items() if looks_secret(key)}
    return {"config": {key: value for key, value in settings.items() if key not in secrets}, "secrets": secrets}


def with_no_proxy(env: dict, addresses: list[str]) -> dict:
    """The environment as strings; where it sets a proxy, NO_PROXY and no_proxy also name the cluster's addresses and the host itself."""
    result = {str(key): str(value) for key, value in env.items()}
    if not any(key.lower() in PROXIES for key in result):
        return result
    given = [item.strip() for key in ("NO_PROXY", "no_proxy") for item in result.get(key, "").split(",") if item.strip()]
    merged = ",".join(dict.fromkeys(given + ["localhost", "127.0.0.1"] + sorted(addresses)))
    return {**result, "NO_PROXY": merged, "no_proxy": merged}


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
) -> dict:
    """What the container needs: `action` (none, create, start, wait, restart, replace), `lines` that say so,
    `backup` (whether the data of an older version is to be copied first) and `version_before`."""
    present = host["container"]
    before = takeover.get("version") if takeover.get("hand_made") else (present or {}).get("version")
    lines = [f"image {image}: brought to the host"] if image_due or not host["image"]["present"] else []
    if not host["config"]["exists"]:
        lines.append(f"file {host['config']['path']}: created")
    action, reasons = _action(host, config, compared, takeover, bool(lines), container)
    if action == "create" and not host["data"]["exists"]:
        lines.append(f"volume {data_volume}: created")
    older = bool(present) and relation(before, version) == "older"
    return {"action": action, "lines": lines + reasons, "backup": older, "version_before": before or ""}


def _action(host: dict, config: dict, compared: dict, takeover: dict, image_new: bool, container: str) -> tuple[str, list[str]]:
    present = host["container"]
    subject = f"container {container}"
    if present is None:
        return "create", [f"{subject}: created"]
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
    if isinstance(before, dict) and isinstance(after, dict):
        before, after = ([f"{key}={value}" for key, value in sorted(each.items())] for each in (before, after))
    # The order of a command's arguments matters, and a secret may be told by the one before it.
    if isinstance(before, list) and isinstance(after, list) and field not in ("command", "entrypoint"):
        gone = [f"{field}: - {_item(field, item)}" for item in before if item not in after]
        come = [f"{field}: + {_item(field, item)}" for item in after if item not in before]
        if gone or come:
            return gone + come
    return [f"{field}: {_shown(field, before)} -> {_shown(field, after)}"]


def _item(field: str, item: Any) -> str:
    return _shown(field, item) if isinstance(item, dict) else str(_hide(field, item))


def _shown(field: str, value: Any) -> str:
    if isinstance(value, list):
        return json.dumps([_hide(field, item) for item in _hide_arguments(value)], ensure_ascii=False)
    if isinstance(value, dict):
        known = {key: HIDDEN if looks_secret(str(key)) else _hide(field, item) for key, item in sorted(value.items())}
        return json.dumps(known, ensure_ascii=False)
    return json.dumps(_hide(field, value), ensure_ascii=False)


def _hide_arguments(values: list) -> list:
    hidden, hide_next = [], False
    for value in values:
        hidden.append(HIDDEN if hide_next else value)
        hide_next = isinstance(value, str) and value.startswith("--") and "=" not in value and looks_secret(value.lstrip("-"))
    return hidden


def _hide(field: str, item: Any) -> Any:
    if not isinstance(item, str):
        return item
    name, equals, _value = item.partition("=")
    return f"{name}={HIDDEN}" if equals and looks_secret(name) else without_logins(item)
