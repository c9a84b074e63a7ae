# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the GPUStack roles: what a node needs, said in lines a person reads. Pure functions; each is documented in its .yml."""

from __future__ import annotations

import json
import re
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack_config_file import looks_secret, without_logins
from ansible_collections.ascend.gpustack.plugins.plugin_utils import tables, verification
from ansible_collections.ascend.gpustack.plugins.plugin_utils.data import SHARED_REMEDY, copy_of, shared_data
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight_report import report_lines, told_above
from ansible_collections.ascend.gpustack.plugins.plugin_utils.store import DEAD_STORE_REMEDY, dead_store

HIDDEN = "***"
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def split_secrets(settings: dict) -> dict:
    """GPUStack's settings as `config` and `secrets`, told apart by their names."""
    secrets = {key: value for key, value in settings.items() if looks_secret(key)}
    return {"config": {key: value for key, value in settings.items() if key not in secrets}, "secrets": secrets}


def version_key(version: str) -> tuple:
    """`0.7.1`, `v0.7.1`, `0.7.1rc2` as something that sorts; a release comes after its candidates."""
    match = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)(?:\.post\d+)?(?:[.-]?(a|b|rc)\.?(\d+))?", str(version).strip())
    if not match:
        raise AnsibleFilterError(f"gpustack_version: {version!r} is not a GPUStack version such as 0.7.1")
    major, minor, patch, kind, number = match.groups()
    return (int(major), int(minor), int(patch), kind or "z", int(number or 0))


def node_refusals(host: dict, version: str, models_dir: str, container: str, name: str, works: bool) -> list[str]:
    """Sentences, one for each reason why this host cannot run the container, with its NPUs if it works; none when it can."""
    if host.get("root") is False:
        return [f"{name}: its user has no root rights; expected root, or one who becomes root. Set ansible_become: true."]
    refusals = []
    docker = host["docker"]
    if not docker["installed"]:
        refusals.append(f"{name}: Docker is not installed; expected Docker Engine 20.10.10 or newer. Install it and start the service.")
    elif not docker["running"]:
        refusals.append(f"{name}: Docker Engine does not answer ({docker['error']}); expected a running one. Run: systemctl start docker")
    if version_key(version)[:2] != (0, 7):
        refusals.append(f"{name}: gpustack_version is {version}; this collection deploys GPUStack 0.7. Set gpustack_version to 0.7.1.")
    refusals += _container_refusals(host["container"], version, container, name)
    refusals += _store_refusals(host["store"], models_dir, name)
    shared = shared_data(host["data"], models_dir)
    refusals += [f"{name}: {shared}. {SHARED_REMEDY}"] if shared else []
    return refusals + (_holder_refusals(host["npu_holders"], name) if works else [])


def copy_refusals(host: dict, workers: list[dict], name: str, hostvars: Any, groups: dict) -> list[str]:
    """A sentence where the host's data is a copy of another's; none where it isn't."""
    text = copy_of(host, workers, name, hostvars, groups)
    return [f"{name}: {text}"] if text else []


def _holder_refusals(holders: list[dict], name: str) -> list[str]:
    return [
        f"{name}: the container {holder['container']} holds NPU {', '.join(map(str, holder['npus']))}; expected GPUStack alone to use "
        "them. Stop it, of a Swarm its service: an NPU serves one container."
        for holder in holders
        if holder["via"] != "privileged"
    ]


def _container_refusals(present: dict | None, version: str, container: str, name: str) -> list[str]:
    if not present or not present["managed"] or not present["version"]:
        return []
    if version_key(present["version"]) <= version_key(version):
        return []
    return [
        f"{name}: the container {container} runs GPUStack {present['version']}, newer than gpustack_version {version}; its database "
        f"cannot go back. Set gpustack_version to {present['version']} or newer."
    ]


def _store_refusals(store: dict, models_dir: str, name: str) -> list[str]:
    if not store["answers"]:
        return [f"{name}: {dead_store(models_dir, store['source'], store['error'])}. {DEAD_STORE_REMEDY}"]
    if not store["exists"]:
        return [f"{name}: the model store {models_dir} does not exist; expected a mounted directory. Mount it, or set gpustack_models_dir."]
    return []


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
    older = bool(present and before and version_key(before) < version_key(version))
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


def rename_problems(info: dict, old: str, new: str) -> list[str]:
    """A refusal when models name a worker (or its NPUs) by a name that it would lose, or when that can't be known."""
    keep = f"Keep its name with gpustack_worker_name: {old} for this host"
    if "models" not in info:
        return [
            f"the worker is called {old!r} and would be called {new!r}, and GPUStack can't be asked which models name it "
            f"({info.get('msg', 'its token is not there')}). {keep}, or start the server first."
        ]
    naming = sorted(model["name"] for model in info["models"] if _names_worker(model, old))
    if not naming:
        return []
    return [
        f"the models {', '.join(naming)} name the worker {old!r}, which would be called {new!r}. "
        f"{keep}, or free the models of their selectors first."
    ]


def _names_worker(model: dict, worker: str) -> bool:
    if any(gpu.split(":")[0] == worker for gpu in model.get("gpu_ids") or []):
        return True
    return worker in (model.get("worker_selector") or {}).values()


def expected_workers(hosts: list[str], hostvars: Any, groups: dict, live: list[str]) -> dict:
    """How many NPUs each worker among the hosts must have in GPUStack; None where that is not to be waited for."""
    return {
        verification.setting(hostvars, host, "gpustack_worker_name", host): verification.expected_npus(host, hostvars, live)
        for host in hosts
        if host in groups.get("gpustack_worker", [])
    }


def verify_summary(info: dict, hosts: list[str], hostvars: Any, groups: dict, settings: dict) -> dict:
    """The last screen: `lines` to read, `told`, what each host that has problems fails with, and `stats` for machines."""
    seen = {host: verification.seen(host, hostvars, settings["live"]) for host in hosts}
    workers = {host: known for host, known in seen.items() if host in groups.get("gpustack_worker", [])}
    found = verification.findings(info, seen, workers, settings["server"])
    found += verification.loss_findings(settings.get("lost") or [], seen, settings["server"])
    lines = []
    if "workers" in info:
        lines = [*tables.table(verification.worker_rows(info["workers"], workers)), verification.sum_line(info, workers, settings["url"])]
        lines += settings.get("old") or []
    return {
        # What is to be copied comes last, as a line of its own.
        "lines": lines + ([] if settings["check"] else report_lines(found, hosts, "Verification") + (settings.get("lost") or [])[2:]),
        "told": told_above(found),
        "stats": {
            "url": settings["url"],
            "ok": not found,
            "workers": [worker["name"] for worker in info.get("workers", [])],
            "npus": sum(worker["npu_count"] for worker in verification.present(info, workers)),
            "problems": [f"{host}: {item['message']}" for host, item in found],
        },
    }


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict:
        return {
            function.__name__: function
            for function in (
                split_secrets,
                node_refusals,
                copy_refusals,
                with_no_proxy,
                node_plan,
                rename_problems,
                expected_workers,
                verify_summary,
            )
        }
