# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node's container is, from what the inventory says."""

from __future__ import annotations

import re
import shlex
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.files import is_within
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation as generations
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import upgrade_state
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Generation, Mirror, Work
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.version import version_key
from ansible_collections.ascend.gpustack.plugins.module_utils.host.store import STORE_ID
from ansible_collections.ascend.gpustack.plugins.plugin_utils import additions, logs

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
    """A node's `config` and `secrets` for its configuration file, and the `files` beside it; of its container the `env`, which may hold
    secrets too, and as `container`, by the names that Docker's module has for them, the other options that follow from the generation and
    the inventory."""
    generation = generations.assumed(node["version"])
    node = additions.completed(generation, node)
    settings = split_secrets(_settings(generation, node))
    given = {"token": node["token"], **({"bootstrap_password": node["bootstrap_password"]} if node["role"] == "server" else {})}
    privileged = _privileged(generation, node)
    volumes = _volumes(generation, node)
    return {
        "config": settings["config"],
        # Jinja that is set to native types makes numbers of digits (jinja2_native, ansible-core before 2.19).
        "secrets": {**{key: str(value) if value else None for key, value in given.items()}, **settings["secrets"]},
        "files": additions.files(generation, node),
        "env": with_no_proxy(_environment(generation, node, volumes), node["addresses"]),
        "container": {
            "network_mode": generation.node.network,
            "ipc_mode": generation.node.ipc,
            "entrypoint": _entrypoint(generation, node),
            "command": ["--config-file", node["config_path"]],
            "devices": [] if generation.node.work.privileged else [f"{device}:{device}:rwm" for device in node["npus"]["devices"]],
            "volumes": volumes,
            "healthcheck": _healthcheck(generation, node),
            **({} if privileged is None else {"privileged": privileged}),
            **_security(generation, node, privileged),
            **logs.definition(node["options"], node.get("logs")),
        },
    }


def _privileged(generation: Generation, node: dict) -> bool | None:
    asked = generation.node.work.privileged if node["works"] else None
    return node["options"].get("privileged") if asked is None else asked


def _security(generation: Generation, node: dict, privileged: bool | None) -> dict:
    """Docker adds the last one itself to what shares the host's IPC namespace or is privileged, and would differ from a list without it
    for ever."""
    given = node["options"].get("security_opts")
    if given is None:
        return {}
    return {"security_opts": given + (["label=disable"] if generation.node.ipc == "host" or privileged else [])}


def _settings(generation: Generation, node: dict) -> dict:
    """What GPUStack reads from its configuration file; the inventory's own settings come last, and win. A node that works has a name and
    an address of its own in it: without them GPUStack takes the host name, which several servers may share, and the first address it
    finds, which may be docker0's."""
    run = generation.node
    found = {"cache_dir": node["cache_dir"], **run.settings}
    if node["role"] == "server":
        found |= {**_server_ports(generation, node), **run.server_settings}
        found |= run.server_worker_settings if node["works"] else run.server_only_settings
    else:
        found["server_url"] = node["server_url"]
    if node["works"]:
        found |= {"worker_name": node["worker_name"], "worker_ip": node["worker_ip"], **_of_models(generation, node)}
    key = version_key(node["version"])
    known = {name: value for name, value in found.items() if not generation.command_line.lacks(name, key)}
    return {**known, **node["settings"]}


def has_tls(settings: dict) -> bool:
    """Whether a server's settings have it talk TLS."""
    return bool(settings.get("ssl_certfile") and settings.get("ssl_keyfile"))


def _server_ports(generation: Generation, node: dict) -> dict:
    if has_tls(node["settings"]) and generation.node.tls_setting:
        return {"port": generation.node.plain_port, generation.node.tls_setting: node["port"]}
    return {"port": node["port"]}


def _of_models(generation: Generation, node: dict) -> dict:
    """Where models run in containers of their own: directories that these share with GPUStack, and which NPUs they get, if not all."""
    work, npus = generation.node.work, node["npus"]
    found: dict[str, Any] = {}
    if work.mirror:
        found |= {name: f"{node['cache_dir']}/{below}" for name, below in work.mirror.in_cache.items()}
    # Of one without a number nobody can say which it is.
    chips = [chip for chip in npus.get("chips") or [] if chip["logic_id"] is not None]
    if work.devices and npus.get("unwell") and chips:
        found[work.devices] = {"gpu_devices": [_device(work, chip, node["cann"]) for chip in chips]}
    return found


def _device(work: Work, chip: dict, cann: str) -> dict:
    return {
        "vendor": work.vendor,
        "name": chip["name"],
        "arch_family": work.family + chip["name"].removeprefix(work.family),
        "index": chip["logic_id"],
        "device_index": chip["npu_id"],
        "device_chip_index": chip["chip_id"] or 0,
        "memory": {"total": chip["memory_total_mb"] << 20},
        # Of NPUs that it is told of, it does not look that up.
        **({"runtime_version": cann} if cann else {}),
    }


def _environment(generation: Generation, node: dict, volumes: list[str]) -> dict:
    """What the inventory gives, after what a container of this kind always has; what is kept from models is added to."""
    work, given, runtime = generation.node.work, node["env"], node["options"].get("runtime")
    found = {**generation.node.server_env, **_migration(generation, node)} if node["role"] == "server" else {}
    if node["works"] and runtime in work.runtimes and node["npus"]["devices"]:
        found[work.visible] = re.sub(r"\D", "", node["npus"]["devices"][0])
    if not node["works"] or not work.mirror:
        return {**found, **given}
    mirror = work.mirror
    kept = [*mirror.kept, node["config_path"], generation.data.directory, *_secret_targets(mirror, node, volumes)]
    lists = {
        mirror.kept_volumes: kept,
        mirror.kept_environment: [str(name) for name, value in given.items() if _is_secret(str(name), str(value))],
    }
    added = {name: ";".join(dict.fromkeys([*each, *filter(None, str(given.get(name, "")).split(";"))])) for name, each in lists.items()}
    return {
        **found,
        mirror.name: node["container"],
        mirror.mark: node["data_volume"],
        **given,
        **{name: value for name, value in added.items() if value},
    }


def _migration(generation: Generation, node: dict) -> dict[str, str]:
    """What has a server take over the data that its last upgrade found. It stays set, since GPUStack does it once."""
    upgrade, migration = node.get("upgrade") or {}, generation.data.migration
    came = upgrade.get("state") in (upgrade_state.KEPT, upgrade_state.DONE) and generations.migrates(upgrade["before"], node["version"])
    return dict(migration.environment) if migration and came else {}


def _is_secret(name: str, value: str) -> bool:
    # A password in an address may hold any sign but one.
    return redact.looks_secret(name) or "@" in value or redact.text(value) != value


def _secret_targets(mirror: Mirror, node: dict, volumes: list[str]) -> list[str]:
    """The mounts that hold a secret: a file that a setting names so, and of the inventory's what is called like one. Models need the
    store, whatever it is called."""
    files = [str(node["settings"].get(name) or "") for name in mirror.secret_files]
    found = []
    for volume in volumes:
        source, target = volume.split(":")[:2]
        named = volume in node["volumes"] and any(redact.looks_secret(part) for part in f"{source}/{target}".split("/") if part)
        held = source != node["models_dir"] and any(is_within(path, target.rstrip("/")) for path in files)
        found += [target] if named or held else []
    return found


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
    start = generation.node.server_start if node["role"] == "server" else generation.node.start
    return [*generation.node.init, "/usr/bin/bash", "-c", f"{test} || {wait}; {start}", "--"]


def _volumes(generation: Generation, node: dict) -> list[str]:
    models, work = node["models_dir"], generation.node.work
    brought = work.runtimes.get(node["options"].get("runtime") or "")
    return [
        f"{node['data_volume']}:{generation.data.directory}",
        f"{node['config_path']}:{node['config_path']}:ro",
        *(work.volumes if node["works"] else ()),
        f"{models}:{models}",
        # As the guides have it
        *([f"{models}:/models"] if models != "/models" else []),
        *(f"{path}:{path}:ro" for path in node["npus"]["mounts"] if brought is None or path in brought),
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
