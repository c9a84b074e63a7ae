#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_stack
short_description: Deploy or remove a stack of Swarm services
version_added: 0.1.0
description:
  - Compares a compose file with the stack's services as C(docker service inspect) shows them, and deploys it where they differ, with
    C(docker stack deploy --prune --resolve-image never). Images are not looked up in a registry.
  - Configs and secrets are made before, and those that the stack used before are removed after. Neither can be changed in Swarm, so that a
    name has to change with its content.
  - A service whose update is paused counts as different; deploying resumes the update.
  - Swarm does not change a global service into one with replicas or back; such a service is removed and made anew.
  - Needs nothing on the host but Docker's command line. Runs on a manager; in check mode a host that is in no Swarm yet stands for an
    empty one.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.stack
  - ascend.gpustack.attributes.group
options:
  name:
    description: The stack.
    type: str
    required: true
  state:
    description:
      - V(present) deploys it.
      - V(absent) removes it with its configs and secrets, and waits until no container of it is left. Volumes stay.
    type: str
    choices: [present, absent]
    default: present
  compose:
    description:
      - The compose file, version 3.8 in the long syntax. Configs, secrets and networks are external.
      - A key that would not be compared is refused.
    type: dict
    default: {}
  configs:
    description: The configs that the compose file names, with their text.
    type: dict
    default: {}
  secrets:
    description: The secrets that the compose file names, with their text.
    type: dict
    default: {}
  timeout:
    description: Seconds for one command of Docker, and for the containers of what is removed to stop.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: Deploy a stack
  ascend.gpustack.vllm_stack:
    name: vllm
    compose:
      version: "3.8"
      services:
        qwen:
          image: quay.io/ascend/vllm-ascend:v0.9.2rc1
          entrypoint: [vllm]
          command: [serve, /models/Qwen/Qwen3-30B-A3B, --tensor-parallel-size, "4", --port, "8001"]
          volumes:
            - {type: bind, source: /data/models, target: /models, read_only: true}
          deploy:
            mode: global
            resources:
              reservations:
                generic_resources:
                  - discrete_resource_spec: {kind: NPU, value: 4}

- name: Remove it
  ascend.gpustack.vllm_stack:
    name: vllm
    state: absent
"""

RETURN = r"""
changes:
  description: What was, or in check mode would be, changed, a line each.
  returned: success
  type: list
  elements: str
  sample: ["service qwen: command changed"]
volumes:
  description: With O(state=absent), the volumes of the removed services; they stay on every host.
  returned: success
  type: list
  elements: str
  sample: [vllm_qwen_cache]
"""

import base64
import json
import time
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.cli import DockerError
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import run
from ansible_collections.ascend.gpustack.plugins.module_utils.swarm import logs as swarm_logs
from ansible_collections.ascend.gpustack.plugins.module_utils.swarm import stack as swarm_stack
from ansible_collections.ascend.gpustack.plugins.module_utils.swarm.stack import Run, StackError

IGNORED = "Ignoring unsupported options:"
GONE = "nothing found in stack"


def in_swarm(runner: Run, timeout: float, none_will_do: bool) -> bool:
    """False for a host that is in no Swarm, where that will do; any other that is no manager is an error."""
    manager, state = swarm_stack.is_manager(runner, timeout)
    if not manager and none_will_do and state == "inactive":
        return False
    swarm_stack.require_manager(manager, state)
    return True


def read_objects(runner: Run, kind: str, stack: str, timeout: float) -> list[str]:
    """Names of the stack's own configs or secrets."""
    filters = [f"label={swarm_stack.NAMESPACE}={stack}", f"label={docker_cli.LABEL_MANAGED}=true"]
    argv = ["docker", kind, "ls", "--format", "{{.Name}}", *(word for each in filters for word in ("--filter", each))]
    return swarm_stack.lines(runner, argv, timeout)


def config_text(runner: Run, name: str, timeout: float) -> str:
    (config,) = docker_cli.ask(runner, ["docker", "config", "inspect", name], timeout)
    return base64.b64decode(config["Spec"]["Data"]).decode("utf-8", errors="replace")


def other_kinds(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> list[str]:
    """Services that were global and are to have replicas, or the other way, which Swarm refuses (swarmkit, controlapi/service.go)."""
    return [name for name in after if name in before and before[name]["mode"].split()[0] != after[name]["mode"].split()[0]]


def differences(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]], services: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each service that is to be created, changed, made anew, resumed or removed."""
    found = []
    anew = other_kinds(before, after)
    for name, wanted in after.items():
        fields = [field for field in wanted if wanted[field] != before.get(name, {}).get(field)]
        status = (services.get(name) or {}).get("UpdateStatus") or {}
        if name not in before:
            found.append(f"service {name}: created")
        elif name in anew:
            modes = f"{before[name]['mode']} to {wanted['mode']}"
            found.append(f"service {name}: removed and made anew, all its containers at once, since Swarm does not change {modes}")
        elif fields:
            found.append(f"service {name}: {', '.join(fields)} changed")
        elif status.get("State") == "paused":
            found.append(f"service {name}: its paused update resumed")
    return found + [f"service {name}: removed" for name in before if name not in after]


def refuse_foreign(services: dict[str, dict[str, Any]], stack: str) -> None:
    foreign = sorted(name for name, service in services.items() if not swarm_stack.is_ours(service))
    if foreign:
        raise StackError(
            f"the stack {stack} has services that were made by hand ({', '.join(foreign)}); expected none, since they would be removed. "
            f"Remove it (docker stack rm {stack}), or set another vllm_stack_name."
        )


def create(runner: Run, kind: str, stack: str, name: str, text: str, timeout: float) -> None:
    labels = [f"{swarm_stack.NAMESPACE}={stack}", f"{docker_cli.LABEL_MANAGED}=true"]
    argv = ["docker", kind, "create", *(word for label in labels for word in ("--label", label)), name, "-"]
    swarm_stack.lines(runner, argv, timeout, text)


def deploy(runner: Run, stack: str, compose: dict[str, Any], timeout: float) -> None:
    # Newer commands may wait for the services by default; that is not this module's part.
    told = runner(["docker", "stack", "deploy", "--help"], timeout).stdout
    argv = ["docker", "stack", "deploy", "--compose-file", "-", "--prune", "--resolve-image", "never"]
    argv += ["--detach=true", stack] if "--detach" in told else [stack]
    # Text beyond ASCII as it is: YAML does not know JSON's pairs of escapes.
    result = runner(argv, timeout, json.dumps(swarm_stack.escaped(compose), ensure_ascii=False))
    if result.rc != 0 or result.timed_out:
        raise StackError(
            f"docker stack deploy fails ({docker_cli.why(argv, result, timeout)}); expected it to take the stack {stack}. "
            "Correct what it names."
        )
    ignored = [line for line in result.stderr.splitlines() if line.startswith(IGNORED)]
    if ignored:
        raise StackError(f"docker stack deploy says: {' '.join(ignored)}; expected it to honour all. Remove these from the compose file.")


def present(parameters: dict[str, Any], runner: Run, check_mode: bool, sleep: Callable[[float], None]) -> dict[str, Any]:
    stack, timeout, compose = parameters["name"], parameters["timeout"], parameters["compose"]
    after = swarm_stack.wanted(compose)
    swarm = in_swarm(runner, timeout, check_mode)
    services = swarm_stack.read_services(runner, stack, timeout) if swarm else {}
    refuse_foreign(services, stack)
    networks = swarm_stack.network_names(runner, services.values(), timeout)
    before = {name: swarm_stack.present(service, networks) for name, service in services.items()}
    objects = {kind: read_objects(runner, kind, stack, timeout) if swarm else [] for kind in ("config", "secret")}
    new = {kind: {name: text for name, text in parameters[f"{kind}s"].items() if name not in objects[kind]} for kind in objects}
    old = {kind: [name for name in objects[kind] if name not in parameters[f"{kind}s"]] for kind in objects}
    changes = differences(before, after, services)
    diff = [_diff(f"services of the stack {stack}", swarm_stack.as_text(before, {}), swarm_stack.as_text(after, before))]
    if new["config"] or old["config"]:
        was = redact.text("".join(config_text(runner, name, timeout) for name in old["config"]))
        diff.append(_diff("configs " + ", ".join([*old["config"], *new["config"]]), was, redact.text("".join(new["config"].values()))))
    if not check_mode:
        for kind, texts in new.items():
            for name, text in texts.items():
                create(runner, kind, stack, name, text, timeout)
        for name in other_kinds(before, after):
            swarm_stack.lines(runner, ["docker", "service", "rm", f"{stack}_{name}"], timeout)
            # Those of a host that is down stay; Swarm gives the NPUs of the others to the new containers when these are gone.
            are_gone(runner, stack, timeout, sleep, f"{stack}_{name}.")
        if changes:
            staying = [name for name in after if name in before and after[name] == before[name]]
            deploy(runner, stack, swarm_logs.settled(compose, services, staying), timeout)
        for kind, names in old.items():
            if names:
                swarm_stack.lines(runner, ["docker", kind, "rm", *names], timeout)
    changes += [f"{kind} {name}: created" for kind, texts in new.items() for name in texts]
    changes += [f"{kind} {name}: removed" for kind, names in old.items() for name in names]
    return {"changed": bool(changes), "changes": changes, "volumes": [], "diff": diff}


def _diff(header: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def absent(parameters: dict[str, Any], runner: Run, check_mode: bool, sleep: Callable[[float], None]) -> dict[str, Any]:
    stack, timeout = parameters["name"], parameters["timeout"]
    swarm = in_swarm(runner, timeout, True)
    services = swarm_stack.read_services(runner, stack, timeout) if swarm else {}
    refuse_foreign(services, stack)
    objects = {kind: read_objects(runner, kind, stack, timeout) if swarm else [] for kind in ("config", "secret")}
    changes = [f"service {name}: removed" for name in services]
    changes += [f"{kind} {name}: removed" for kind, names in objects.items() for name in names]
    before = {name: swarm_stack.present(service, {}) for name, service in services.items()}
    mounts = [mount.split(" ") for description in before.values() for mount in description["mounts"]]
    if changes and not check_mode:
        swarm_stack.lines(runner, ["docker", "stack", "rm", stack], timeout)
        if not are_gone(runner, stack, timeout, sleep):
            raise StackError(
                f"containers of the stack {stack} are left {timeout} s after its removal; expected them to stop. "
                f"Look at them (docker stack ps {stack}), and at the hosts that are down (docker node ls)."
            )
    return {
        "changed": bool(changes),
        "changes": changes,
        "volumes": sorted(mount[1] for mount in mounts if mount[0] == "volume"),
        "diff": [_diff(f"services of the stack {stack}", swarm_stack.as_text(before, {}), "")],
    }


def are_gone(runner: Run, stack: str, timeout: float, sleep: Callable[[float], None], tasks: str = "") -> bool:
    """Whether within the time (s) no container is left of the stack, or of those of its tasks whose names begin so."""
    argv = ["docker", "stack", "ps", "--quiet", *(["--filter", f"name={tasks}"] if tasks else []), stack]
    for _second in range(int(timeout)):
        result = runner(argv, timeout)
        if GONE in result.stderr:
            return True
        sleep(1)
    return False


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "compose": {"type": "dict", "default": {}},
            "configs": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    try:
        if module.params["state"] == "present":
            result = present(module.params, run, module.check_mode, time.sleep)
        else:
            result = absent(module.params, run, module.check_mode, time.sleep)
    except (StackError, DockerError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
