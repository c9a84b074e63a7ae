# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stack of Swarm. A service of a compose file and one that `docker service inspect` shows become the same plain description.

What is not in such a description is not in the compose file either: wanted() refuses other keys, so that no setting goes uncompared. Only
the log driver is not compared (logs.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Callable

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.cli import DockerError
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result

NAMESPACE = "com.docker.stack.namespace"
# argv, seconds, and what is given on standard input
Run = Callable[..., Result]
_KEYS = {
    "image", "entrypoint", "command", "user", "environment", "init", "networks", "volumes", "stop_grace_period",
    "healthcheck", "configs", "secrets", "deploy", "logging",
}  # fmt: skip
_DEPLOY_KEYS = {"mode", "replicas", "labels", "placement", "resources", "update_config", "restart_policy"}
# Settings that no compose file taken here has, and that someone may have added to a service
_OTHERS = (
    "CapabilityAdd",
    "CapabilityDrop",
    "Dir",
    "Groups",
    "Hostname",
    "Hosts",
    "OpenStdin",
    "ReadOnly",
    "StopSignal",
    "Sysctls",
    "TTY",
    "Ulimits",
)
BY_HAND = "settings added by hand"
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


class StackError(Exception):
    """Why the stack can't be as wanted: finding, expectation and remedy in one sentence."""


def wanted(compose: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each service of a compose file (long syntax), described."""
    return {name: _from_compose(name, service, compose) for name, service in (compose.get("services") or {}).items()}


def _from_compose(name: str, service: Mapping[str, Any], compose: Mapping[str, Any]) -> dict[str, Any]:
    deploy = service.get("deploy") or {}
    unknown = sorted((set(service) - _KEYS) | {f"deploy.{key}" for key in set(deploy) - _DEPLOY_KEYS})
    if unknown:
        known = ", ".join(sorted(_KEYS))
        raise StackError(f"the service {name} of the compose file has {', '.join(unknown)}; expected some of {known}. Remove the others.")
    placement, health = deploy.get("placement") or {}, service.get("healthcheck") or {}
    replicated = deploy.get("mode", "replicated") == "replicated"
    reserved = ((deploy.get("resources") or {}).get("reservations") or {}).get("generic_resources") or []
    return {
        "image": service["image"],
        "entrypoint": list(service.get("entrypoint") or []),
        "command": [str(word) for word in service.get("command") or []],
        "user": service.get("user") or "",
        "environment": {key: str(value) for key, value in (service.get("environment") or {}).items()},
        "init": service.get("init"),
        "networks": sorted(_outer(compose, "networks", key) for key in service.get("networks") or []),
        "mounts": sorted(_compose_mount(mount, compose) for mount in service.get("volumes") or []),
        "stop_grace_period": _seconds(service.get("stop_grace_period", "10s")),
        "healthcheck": {
            "test": list(health.get("test") or []),
            "retries": health.get("retries", 0),
            **{key: _seconds(health.get(key, "0s")) for key in ("interval", "timeout", "start_period")},
        },
        "configs": sorted(_compose_file(file, "configs", compose) for file in service.get("configs") or []),
        "secrets": sorted(_compose_file(file, "secrets", compose) for file in service.get("secrets") or []),
        "mode": f"replicated {deploy.get('replicas', 1)}" if replicated else deploy["mode"],
        "max_replicas_per_node": placement.get("max_replicas_per_node", 0),
        "constraints": sorted(placement.get("constraints") or []),
        "reservations": sorted(f"{spec['kind']}={spec['value']}" for spec in (item["discrete_resource_spec"] for item in reserved)),
        "labels": {key: str(value) for key, value in (deploy.get("labels") or {}).items()},
        "update": _compose_update(deploy.get("update_config") or {}),
        "restart": _compose_restart(deploy.get("restart_policy") or {}),
        BY_HAND: [],
    }


def _seconds(text: str) -> float:
    """A duration as compose has it, such as 1h30m or 500ms."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|us|ns|h|m|s)", text)
    if "".join(number + unit for number, unit in parts) != text:
        raise StackError(f"the compose file has the duration {text!r}; expected one such as 30s or 1h30m. Correct it.")
    return round(sum(float(number) * _SECONDS[unit] for number, unit in parts), 9)


def _outer(compose: Mapping[str, Any], kind: str, key: str) -> str:
    """What is called so in the compose file, by the name that Docker knows it by."""
    return ((compose.get(kind) or {}).get(key) or {}).get("name") or key


def _compose_mount(mount: Mapping[str, Any], compose: Mapping[str, Any]) -> str:
    source = mount.get("source", "")
    if mount["type"] == "volume":
        source = _outer(compose, "volumes", source)
    return _mount(mount["type"], source, mount["target"], bool(mount.get("read_only")), (mount.get("tmpfs") or {}).get("size"))


def _mount(kind: str, source: str, target: str, read_only: bool, size: int | None) -> str:
    options = [f"{size} bytes"] if size else []
    return " ".join([kind, *([source] if source else []), target, *options, *(["read-only"] if read_only else [])])


def _compose_file(file: Mapping[str, Any], kind: str, compose: Mapping[str, Any]) -> str:
    return _file(_outer(compose, kind, file["source"]), file["target"], file.get("mode", 0o444))


def _file(name: str, target: str, mode: int) -> str:
    return f"{name} at {target} {mode:04o}"


def _compose_update(update: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "parallelism": update.get("parallelism", 1),
        "order": update.get("order", "stop-first"),
        "failure_action": update.get("failure_action", "pause"),
        "monitor": _seconds(update.get("monitor", "5s")),
    }


def _compose_restart(restart: Mapping[str, Any]) -> dict[str, Any]:
    return {"condition": restart.get("condition", "any"), "delay": _seconds(restart.get("delay", "5s"))}


def present(service: Mapping[str, Any], networks: Mapping[str, str]) -> dict[str, Any]:
    """One service as Docker describes it, described. networks: names by ID."""
    spec = service["Spec"]
    task = spec["TaskTemplate"]
    container, placement = task["ContainerSpec"], task.get("Placement") or {}
    health, update, restart = container.get("Healthcheck") or {}, spec.get("UpdateConfig") or {}, task.get("RestartPolicy") or {}
    resources = task.get("Resources") or {}
    reserved = (resources.get("Reservations") or {}).get("GenericResources") or []
    targets = [network["Target"] for network in task.get("Networks") or spec.get("Networks") or []]
    return {
        "image": container.get("Image", ""),
        "entrypoint": container.get("Command") or [],
        "command": container.get("Args") or [],
        "user": container.get("User", ""),
        "environment": dict(pair.partition("=")[::2] for pair in container.get("Env") or []),
        "init": container.get("Init"),
        "networks": sorted(networks.get(target, target) for target in targets),
        "mounts": sorted(map(_inspected_mount, container.get("Mounts") or [])),
        "stop_grace_period": _from_ns(container.get("StopGracePeriod", 10**10)),
        "healthcheck": {
            "test": health.get("Test") or [],
            "retries": health.get("Retries", 0),
            "interval": _from_ns(health.get("Interval", 0)),
            "timeout": _from_ns(health.get("Timeout", 0)),
            "start_period": _from_ns(health.get("StartPeriod", 0)),
        },
        "configs": sorted(_inspected_file(file, "ConfigName") for file in container.get("Configs") or []),
        "secrets": sorted(_inspected_file(file, "SecretName") for file in container.get("Secrets") or []),
        "mode": _inspected_mode(spec.get("Mode") or {}),
        "max_replicas_per_node": placement.get("MaxReplicas", 0),
        "constraints": sorted(placement.get("Constraints") or []),
        "reservations": sorted(map(_inspected_resource, reserved)),
        "labels": {key: value for key, value in (spec.get("Labels") or {}).items() if not key.startswith("com.docker.stack.")},
        "update": {
            "parallelism": update.get("Parallelism", 1),
            "order": update.get("Order", "stop-first"),
            "failure_action": update.get("FailureAction", "pause"),
            "monitor": _from_ns(update.get("Monitor", 5 * 10**9)),
        },
        "restart": {"condition": restart.get("Condition", "any"), "delay": _from_ns(restart.get("Delay", 5 * 10**9))},
        BY_HAND: [key for key in _OTHERS if container.get(key)] + [key for key in ("Limits",) if resources.get(key)],
    }


def _from_ns(nanoseconds: int) -> float:
    return round(nanoseconds / 1e9, 9)


def _inspected_mount(mount: Mapping[str, Any]) -> str:
    size = (mount.get("TmpfsOptions") or {}).get("SizeBytes")
    return _mount(mount.get("Type", "volume"), mount.get("Source", ""), mount["Target"], bool(mount.get("ReadOnly")), size)


def _inspected_file(file: Mapping[str, Any], name: str) -> str:
    target = file.get("File") or {}
    return _file(file.get(name, ""), target.get("Name", ""), target.get("Mode", 0))


def _inspected_mode(mode: Mapping[str, Any]) -> str:
    if "Replicated" in mode:
        return f"replicated {(mode['Replicated'] or {}).get('Replicas', 0)}"
    return "global" if "Global" in mode else " ".join(mode)


def _inspected_resource(resource: Mapping[str, Any]) -> str:
    spec = resource.get("DiscreteResourceSpec") or resource.get("NamedResourceSpec") or {}
    return f"{spec.get('Kind')}={spec.get('Value')}"


def shown(description: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A description that may be printed; what differs from the other one and looks the same as hidden says so."""
    told = _hidden(description)
    alike = _hidden(other) if other else {}
    for field in ("environment", "labels"):
        for name, given in told[field].items():
            if given == alike.get(field, {}).get(name) and description[field][name] != other[field][name]:
                told[field][name] = f"{given} (changed)"
    for field in ("command", "entrypoint"):
        if told[field] == alike.get(field) and description[field] != other[field]:
            told[field] = [*told[field], "(changed)"]
    return told


def _hidden(description: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **description,
        "environment": redact.environment(description["environment"]),
        "labels": {name: redact.value(name, given) for name, given in description["labels"].items()},
        "healthcheck": redact.data(description["healthcheck"]),
        **{field: redact.command(description[field]) for field in ("command", "entrypoint")},
    }


def is_manager(run: Run, timeout: float) -> tuple[bool, str]:
    """Whether this host is a manager, else what it is: inactive, worker, pending, …"""
    swarm = docker_cli.ask(run, ["docker", "info", "--format", "{{json .Swarm}}"], timeout) or {}
    if swarm.get("ControlAvailable"):
        return True, "manager"
    state = swarm.get("LocalNodeState") or "inactive"
    return False, f"worker of the Swarm ({swarm['Error']})" if swarm.get("Error") else "worker" if state == "active" else state


def require_manager(manager: bool, state: str) -> None:
    """Takes what is_manager gives."""
    if not manager:
        raise StackError(f"this host's part in a Swarm is: {state}; expected a manager. Run playbooks/swarm.yml, or choose a manager.")


def lines(run: Run, argv: list[str], timeout: float, stdin: str | None = None) -> list[str]:
    result = run(argv, timeout, stdin)
    if result.rc != 0 or result.timed_out:
        raise DockerError(docker_cli.why(argv, result, timeout))
    return result.stdout.split()


def inspected(run: Run, kind: str, names: list[str], timeout: float) -> list[dict[str, Any]]:
    """What has gone away meanwhile is left out."""
    return docker_cli.ask(run, ["docker", "inspect", "--type", kind, *names], timeout) if names else []


def read_services(run: Run, stack: str, timeout: float) -> dict[str, dict[str, Any]]:
    """The stack's services as Docker describes them, by their names without the stack's."""
    ids = lines(run, ["docker", "service", "ls", "--quiet", "--filter", f"label={NAMESPACE}={stack}"], timeout)
    return {service["Spec"]["Name"][len(stack) + 1 :]: service for service in inspected(run, "service", ids, timeout)}


def network_names(run: Run, services: Iterable[Mapping[str, Any]], timeout: float) -> dict[str, str]:
    """Networks by ID."""
    used = {network["Target"] for service in services for network in service["Spec"]["TaskTemplate"].get("Networks") or []}
    return {network["Id"]: network["Name"] for network in inspected(run, "network", sorted(used), timeout)}


def is_ours(service: Mapping[str, Any]) -> bool:
    return (service["Spec"].get("Labels") or {}).get(docker_cli.LABEL_MANAGED) == "true"


def escaped(value: Any) -> Any:
    """A compose file whose dollars stand for themselves: `docker stack deploy` would put variables in their place."""
    if isinstance(value, Mapping):
        return {key: escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [escaped(item) for item in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def as_text(descriptions: Mapping[str, Mapping[str, Any]], others: Mapping[str, Mapping[str, Any]]) -> str:
    """For a diff, of which the others are the opposite side's for a text that comes after it, and none for one that comes before."""
    return "".join(
        f"service {name}: {json.dumps(shown(description, others.get(name, {})), indent=2, sort_keys=True, ensure_ascii=False)}\n"
        for name, description in sorted(descriptions.items())
    )
