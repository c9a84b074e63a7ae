# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node's container is, from what the inventory says, and what is done to it, said in lines that a person reads."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation as generations
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.version import relation
from ansible_collections.ascend.gpustack.plugins.module_utils.host.store import STORE_ID

PROXIES = ("http_proxy", "https_proxy", "all_proxy")
CURL = "curl -fsSk --noproxy '*' -m 4 -o /dev/null "
# From this API of Docker on (Docker Engine 25), a container that is up is asked less often than one that is starting: each question costs
# a process.
START_INTERVAL = (1, 44)


def split_secrets(settings: dict) -> dict:
    """GPUStack's settings as `config` and `secrets`, told apart by their names."""
    secrets = {key: value for key, value in settings.items() if redact.looks_secret(key)}
    return {"config": {key: value for key, value in settings.items() if key not in secrets}, "secrets": secrets}


def with_no_proxy(env: dict, addresses: list[str]) -> dict:
    """The environment as strings; where it sets a proxy, NO_PROXY and no_proxy also name the cluster's addresses and the host itself."""
    result = {str(key): str(value) for key, value in env.items()}
    if not any(key.lower() in PROXIES for key in result):
        return result
    given = [item.strip() for key in ("NO_PROXY", "no_proxy") for item in result.get(key, "").split(",") if item.strip()]
    merged = ",".join(dict.fromkeys(given + ["localhost", "127.0.0.1"] + sorted(addresses)))
    return {**result, "NO_PROXY": merged, "no_proxy": merged}


def node_spec(node: dict) -> dict:
    """A node's `config` and `secrets` for its configuration file; of its container the `env`, which may hold secrets too, and as
    `container`, by the names that Docker's module has for them, the other options that follow from the generation and the inventory."""
    generation = generations.assumed(node["version"])
    settings = split_secrets(_settings(generation, node))
    given = {"token": node["token"], **({"bootstrap_password": node["bootstrap_password"]} if node["role"] == "server" else {})}
    privileged = node["privileged"] if generation.node.privileged is None else generation.node.privileged
    return {
        "config": settings["config"],
        "secrets": {**{key: value or None for key, value in given.items()}, **settings["secrets"]},
        "env": with_no_proxy({**generation.node.env, **node["env"]}, node["addresses"]),
        "container": {
            "network_mode": generation.node.network,
            "ipc_mode": generation.node.ipc,
            "entrypoint": _entrypoint(generation, node),
            "command": ["--config-file", node["config_path"]],
            "devices": [f"{device}:{device}:rwm" for device in node["npus"]["devices"]],
            "volumes": _volumes(generation, node),
            "healthcheck": _healthcheck(generation, node),
            **({} if privileged is None else {"privileged": privileged}),
        },
    }


def _settings(generation: Generation, node: dict) -> dict:
    """What GPUStack reads from its configuration file; the inventory's own settings come last, and win. A node that works has a name and
    an address of its own in it: without them GPUStack takes the host name, which several servers may share, and the first address it
    finds, which may be docker0's."""
    found = {"cache_dir": node["cache_dir"], **generation.node.settings}
    if node["role"] == "server":
        found |= {"port": node["port"], **generation.node.server_settings}
        found |= {} if node["works"] else generation.node.server_only_settings
    else:
        found["server_url"] = node["server_url"]
    if node["works"]:
        found |= {"worker_name": node["worker_name"], "worker_ip": node["worker_ip"]}
    return {**found, **node["settings"]}


def _entrypoint(generation: Generation, node: dict) -> list[str]:
    """The image's own, after a look at the store. The container comes up before the store does after a boot, and is started again and
    again by Docker until the store is there: Docker waits for nothing, and GPUStack never sees the bare mount point."""
    path, store = node["models_dir"], node["store"] or {}
    if store.get("id") is not None:
        test = f"test -s {shlex.quote(f'{path}/{STORE_ID}')}"
    else:
        mounted = f" {path} .* - {store.get('fstype')} "
        test = f"grep -q {shlex.quote(mounted)} /proc/self/mountinfo"
    wait = f'{{ echo "The model store {path} is not there yet; it is looked for again in 10 s." >&2; sleep 10; exit 1; }}'
    return [*generation.node.init, "/usr/bin/bash", "-c", f"{test} || {wait}; {generation.node.start}", "--"]


def _volumes(generation: Generation, node: dict) -> list[str]:
    models = node["models_dir"]
    return [
        f"{node['data_volume']}:{generation.data.directory}",
        f"{node['config_path']}:{node['config_path']}:ro",
        f"{models}:{models}",
        # As the guides have it
        *([f"{models}:/models"] if models != "/models" else []),
        *(f"{path}:{path}:ro" for path in node["npus"]["mounts"]),
        *node["volumes"],
    ]


def _healthcheck(generation: Generation, node: dict) -> dict:
    worker_port = _settings(generation, node).get("worker_port", generation.ports.worker["worker_port"])
    urls = [f"{node['local_url']}{generation.node.health}"] if node["role"] == "server" else []
    urls += [f"http://127.0.0.1:{worker_port}{generation.node.health}"] if node["works"] else []
    api = tuple(int(part) for part in re.findall(r"\d+", str(node["docker_api"])))
    pace = {"interval": "30s", "start_interval": "5s", "retries": 3} if api >= START_INTERVAL else {"interval": "5s", "retries": 6}
    return {"test": ["CMD-SHELL", " && ".join(CURL + url for url in urls)], "timeout": "10s", "start_period": "5m", **pace}


def labelled_options(options: dict, container: str) -> dict:
    """The options as the container's label keeps them, which everyone reads who may look at containers, and reports copy: as they are,
    but of each secret among those of the log driver its fingerprint, so that another secret is another label."""
    given = options.get("log_options")
    hidden = {name: _fingerprint(container, str(name), value) for name, value in given.items()} if isinstance(given, dict) else given
    return options if hidden == given else {**options, "log_options": hidden}


def _fingerprint(container: str, name: str, value: Any) -> Any:
    text = str(value)
    return value if redact.value(name, text) == text else redact.fingerprint(text, f"{container} {name}")


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
