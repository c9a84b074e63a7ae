# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role vllm_stack: its services with all that follows from what was given, what can't be, and the compose file."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ansible_collections.ascend.gpustack.plugins.plugin_utils import logs

# In a service, given as a number or as its text
NUMBERS = ("npus", "port", "tensor_parallel_size", "max_model_len", "replicas", "start_period", "shm_gib")
GATEWAY = "gateway"
# Where containers see the store, beside its own path
MODELS = "/models"
# Of a service's name with the stack's before it, Docker takes 63 characters (swarmkit, controlapi/service.go).
NAME_LENGTH = 63
# What the gateway's settings can hold without quotes
SERVED_NAME = re.compile(r"[A-Za-z0-9/._][A-Za-z0-9/._:@+-]*")
NPU_NODE = "node.labels.gpustack.npu == true"
MANAGED = {"ascend.gpustack.managed": "true"}
# The store is read-only and has all that is needed: nothing is looked up, downloaded or reported elsewhere.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_USE_MODELSCOPE": "False",
}
# Without the proxies of the environment, which are not for this host's own address
HEALTH = "import urllib.request as r; r.build_opener(r.ProxyHandler({{}})).open('http://127.0.0.1:{port}/health', timeout=8)"  # fmt: skip


def vllm_stack_services(services: list, defaults: dict) -> list:
    """Each service with its defaults and with numbers as such."""
    return [_filled(service, defaults) for service in services]


def _filled(service: Mapping, defaults: dict) -> dict:
    filled = {
        "image": defaults["image"],
        "served_name": service.get("model"),
        "tensor_parallel_size": service.get("npus"),
        "max_model_len": None,
        "args": [],
        "env": {},
        "replicas": None,
        "start_period": defaults["start_period"],
        "shm_gib": defaults["shm_gib"],
        **{key: value for key, value in service.items() if value is not None},
    }
    for key in NUMBERS:
        if filled[key] is not None:
            filled[key] = int(filled[key])
    filled["args"] = [str(argument) for argument in filled["args"]]
    filled["env"] = {key: str(value) for key, value in filled["env"].items()}
    return filled


def vllm_stack_models(services: list, store: str) -> list[str]:
    """The models' directories on the hosts; those that can't be told from what was given are left out."""
    models = [_on_host(service["model"], store) for service in services]
    return sorted({directory for directory in models if directory})


def _on_host(model: str, store: str) -> str | None:
    """A model's directory on the host; None for one outside of the store."""
    root, path = posixpath.normpath(store), _in_container(model)
    return next((root + path[len(base) :] for base in (root, MODELS) if path.startswith(f"{base}/")), None)


def _in_container(model: str) -> str:
    return posixpath.normpath(posixpath.join(MODELS, model))


# Refusals


def vllm_stack_refusals(services: list, nodes: dict | None, settings: dict) -> list[str]:
    """A sentence for each reason why the services can't be run; nodes None stands for a Swarm that is yet to come."""
    if not services:
        return ["vllm_stack_services is empty; expected one service at least. Add one, or set vllm_stack_state: absent."]
    problems = [problem for service in services for problem in _service_problems(service, settings)] + _shared(services, settings)
    if nodes is not None:
        problems += _npu_problems(services, nodes)
    return problems + _missing_models(services, settings)


def _service_problems(service: Mapping, settings: dict) -> list[str]:
    name, problems = service["name"], []
    if len(f"{settings['name']}_{name}") > NAME_LENGTH:
        problems.append(f"service {name} is {settings['name']}_{name} for Docker; expected {NAME_LENGTH} characters at most. Shorten it.")
    if not _on_host(service["model"], settings["store"]):
        problems.append(
            f"service {name} has the model {service['model']!r}; expected a directory below the store {settings['store']}, such as "
            "Qwen/Qwen3-30B-A3B. Bring the model there, and name it so."
        )
    elif not SERVED_NAME.fullmatch(service["served_name"]):
        served = service["served_name"]
        problems.append(f"service {name} has the served_name {served!r}; expected letters, digits and / . _ : @ + -. Correct it.")
    npus, size = service["npus"], service["tensor_parallel_size"]
    if npus % size:
        fitting = ", ".join(str(number) for number in range(1, npus + 1) if npus % number == 0)
        problems.append(
            f"service {name} has tensor_parallel_size {size} with npus {npus}; expected one of {fitting}. Correct one of the two."
        )
    return problems


def _shared(services: list, settings: dict) -> list[str]:
    """What two services, or they and the gateway, have alike and may not."""
    problems = []
    if settings["port"] == settings["stats_port"]:
        problems.append(f"vllm_stack_port and vllm_stack_stats_port are both {settings['port']}; expected two ports. Change one of them.")
    for key in ("name", "served_name"):
        for value, count in Counter(service[key] for service in services).items():
            if count > 1:
                problems.append(f"{count} services have the {key} {value}; expected one of its own for each. Change it.")
    users = {settings["port"]: ["the gateway (vllm_stack_port)"]}
    users.setdefault(settings["stats_port"], []).append("its statistics (vllm_stack_stats_port)")
    for service in services:
        users.setdefault(service["port"], []).append(f"service {service['name']}")
    for port, names in users.items():
        if len(names) > 1 and any(name.startswith("service ") for name in names):
            problems.append(f"port {port} is asked for by {' and '.join(names)}; expected a port of its own for each. Change one of them.")
    return problems


def _npu_problems(services: list, nodes: dict) -> list[str]:
    capable = {host: count for host, count in nodes.items() if count > 0}
    if not capable:
        return ["no host of the Swarm offers NPUs; expected one at least. Run playbooks/swarm.yml for the hosts that have them."]
    host, least = min(sorted(capable.items()), key=lambda item: item[1])
    everywhere = [service for service in services if not service["replicas"]]
    problems = [
        f"service {service['name']} needs {service['npus']} NPUs on every host, and {host} has {least}; expected {least} at most. "
        "Lower its npus, or give it replicas."
        for service in everywhere
        if service["npus"] > least
    ]
    together = sum(service["npus"] for service in everywhere)
    if together > least and not problems:
        names = " and ".join(service["name"] for service in everywhere)
        problems.append(
            f"the services {names} together need {together} NPUs on every host, and {host} has {least}; expected {least} at most. "
            "Lower their npus, or give one of them replicas."
        )
    left = [max(0, count - together) for count in capable.values()]
    counted = [service for service in services if service["replicas"]]
    for service in counted:
        fitting = sum(free >= service["npus"] for free in left)
        if fitting < service["replicas"]:
            problems.append(
                f"service {service['name']} asks for {service['replicas']} replicas, each on a host of its own with {service['npus']} "
                f"NPUs beside those of the services on every host, and there are {fitting} such hosts; expected as "
                "many hosts as replicas. Lower its npus or its replicas."
            )
            break
    else:
        asked = sum(service["npus"] * service["replicas"] for service in counted)
        if asked > sum(left):
            problems.append(
                f"the services with replicas together need {asked} NPUs, and beside the services on every host {sum(left)} are left; "
                "expected no more than these. Lower their npus or their replicas."
            )
    return problems


def _missing_models(services: list, settings: dict) -> list[str]:
    problems = []
    for service in services:
        directory = _on_host(service["model"], settings["store"])
        if directory and directory in settings.get("missing", []):
            problems.append(
                f"service {service['name']}: the model's directory {directory} is not in the store; expected it there with the "
                "weights. Download it to there, or correct its model."
            )
    return problems


# The compose file


def vllm_stack_compose(services: list, settings: dict) -> dict:
    """The compose file of the services and their gateway, in what `docker stack deploy` honours."""
    names = {"gateway_api_key": settings["api_key"], "gateway_tls": settings["tls"]}
    secrets = {key: {"external": True, "name": name} for key, name in names.items() if name}
    # A name of its own, which no stack is put before
    volumes = {f"{service['name']}_cache": {"name": _cache(service, settings)} for service in services}
    logging = logs.of_stack(settings.get("logs") or [])
    return {
        "version": "3.8",
        "services": {
            **{service["name"]: {**_model_service(service, settings), **logging} for service in services},
            GATEWAY: {**_gateway_service(settings, list(secrets)), **logging},
        },
        "networks": {"hostnet": {"external": True, "name": "host"}},
        "volumes": volumes,
        "configs": {"gateway": {"external": True, "name": settings["config"]}},
        **({"secrets": secrets} if secrets else {}),
    }


def _cache(service: Mapping, settings: dict) -> str:
    return f"{settings['name']}_{service['name']}_cache"


def _command(service: Mapping, settings: dict) -> list[str]:
    length = service["max_model_len"]
    return [
        "vllm",
        "serve",
        _in_container(service["model"]),
        "--served-model-name",
        str(service["served_name"]),
        "--tensor-parallel-size",
        str(service["tensor_parallel_size"]),
        "--port",
        str(service["port"]),
        *(["--max-model-len", str(length)] if length else []),
        *service["args"],
    ]


def _model_service(service: Mapping, settings: dict) -> dict:
    store = posixpath.normpath(settings["store"])
    placement: dict[str, Any] = {"constraints": [NPU_NODE]}
    if service["replicas"]:
        # Two of one port can't be on one host.
        placement["max_replicas_per_node"] = 1
    return {
        "image": service["image"],
        "command": _command(service, settings),
        "environment": {**OFFLINE, **service["env"]},
        "init": True,
        "networks": ["hostnet"],
        "volumes": [
            {"type": "tmpfs", "target": "/dev/shm", "tmpfs": {"size": service["shm_gib"] * 2**30}},
            *(
                {"type": "bind", "source": store, "target": target, "read_only": True}
                for target in dict.fromkeys([store, MODELS])
            ),
            {"type": "volume", "source": f"{service['name']}_cache", "target": "/root/.cache"},
        ],
        "stop_grace_period": "60s",
        "healthcheck": {
            "test": ["CMD", "python3", "-c", HEALTH.format(port=service["port"])],
            "interval": "10s",
            "timeout": "10s",
            "retries": 6,
            "start_period": f"{service['start_period']}s",
        },
        "deploy": {
            **({"mode": "replicated", "replicas": service["replicas"]} if service["replicas"] else {"mode": "global"}),
            "labels": MANAGED,
            "placement": placement,
            "resources": {"reservations": {"generic_resources": [{"discrete_resource_spec": {"kind": "NPU", "value": service["npus"]}}]}},
            **_one_at_a_time("30s", "10s"),
        },
    }  # fmt: skip


def _gateway_service(settings: dict, secrets: list[str]) -> dict:
    low = min(settings["port"], settings["stats_port"]) < 1024
    return {
        "image": settings["gateway_image"],
        # The image's own user may not open a port below 1024 of the host.
        **({"user": "root"} if low else {}),
        "networks": ["hostnet"],
        "configs": [{"source": "gateway", "target": "/usr/local/etc/haproxy/haproxy.cfg", "mode": 0o444}],
        **({"secrets": [{"source": name, "target": name, "mode": 0o444} for name in secrets]} if secrets else {}),
        "stop_grace_period": "30s",
        "deploy": {"mode": "global", "labels": MANAGED, **_one_at_a_time("10s", "5s")},
    }


def _one_at_a_time(monitor: str, delay: str) -> dict:
    """Stop first: NPUs and ports can't be held twice."""
    return {
        "update_config": {"parallelism": 1, "order": "stop-first", "failure_action": "pause", "monitor": monitor},
        "restart_policy": {"condition": "any", "delay": delay},
    }


def vllm_stack_report(info: dict, services: list, url: str) -> list[str]:
    """What is where, a line for each service."""
    known = {service["name"]: service for service in services}
    lines = []
    for found in info["services"]:
        service = known.get(found["name"])
        what = f"{found['name']} ({service['served_name']}, port {service['port']})" if service else found["name"]
        where = f": {', '.join(found['hosts'])}" if found["hosts"] else ""
        lines.append(f"{what}: {found['running']} of {found['wanted']} healthy{where}")
    return [*lines, f"The models are at {url}"]


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict:
        return {
            function.__name__: function
            for function in (
                vllm_stack_services,
                vllm_stack_models,
                vllm_stack_refusals,
                vllm_stack_compose,
                vllm_stack_report,
            )
        }
