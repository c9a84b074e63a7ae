#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_stack_info
short_description: Read how the services of a Swarm stack stand, and wait for them
version_added: 0.1.0
description:
  - Reads where each service of a stack runs, and why it does not run elsewhere, in the words of its tasks.
  - A task of an earlier definition, which an update is yet to replace, does not count as running.
  - Can wait until the progress changes, until all are healthy, or until waiting is in vain. That is when an update is paused, when a task
    ended three times in one place since O(since), or when one has had no host for two minutes.
  - Runs on a manager.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.info
  - ascend.gpustack.attributes.group
options:
  name:
    description: The stack.
    type: str
    required: true
  wait:
    description: Seconds to wait at most for another progress than O(known), or for the end.
    type: int
    default: 0
  known:
    description: The RV(progress) that the caller has seen.
    type: str
    default: ""
  pace:
    description: Seconds before which no change but the end is returned, so that many changes come as one.
    type: int
    default: 0
  since:
    description: What ended before is not counted, in seconds since 1970; the RV(now) of an earlier answer. Without it, nothing is counted.
    type: float
  timeout:
    description: Seconds for one command of Docker.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Read how the services stand
  ascend.gpustack.vllm_stack_info:
    name: vllm
  register: stack

- name: Wait up to five minutes for the next step
  ascend.gpustack.vllm_stack_info:
    name: vllm
    wait: 300
    known: "{{ stack.progress }}"
    since: "{{ stack.now }}"
"""

RETURN = r"""
healthy:
  description: Whether every service runs wherever it is to run, with its present definition.
  returned: success
  type: bool
finished:
  description: Whether waiting has come to its end, since all is healthy or nothing more can be expected.
  returned: success
  type: bool
progress:
  description: How many tasks of each service run.
  returned: success
  type: str
  sample: qwen 3 of 5, coder 5 of 5
problems:
  description: Why tasks do not run, a sentence each.
  returned: success
  type: list
  elements: str
  sample:
    - "atlas3: service qwen is rejected: invalid mount config for type \"bind\": bind source path does not exist: /data/models; expected it
      running. Mount the model store there: run playbooks/storage.yml."
notes:
  description: Hosts with NPUs on which Swarm starts nothing, a sentence each.
  returned: success
  type: list
  elements: str
npu_nodes:
  description: How many NPUs each host with the label C(gpustack.npu=true) offers, by its label C(gpustack.name).
  returned: success
  type: dict
  sample: {atlas1: 8, atlas2: 8}
now:
  description: The manager's clock, in seconds since 1970.
  returned: success
  type: float
services:
  description: The services, by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name without the stack's.
      type: str
    wanted:
      description: How many tasks are to run; of a global service, how many ready hosts match its constraints.
      type: int
    running:
      description: How many run, and have passed their health check.
      type: int
    starting:
      description: How many are about to.
      type: int
    hosts:
      description: Where it runs.
      type: list
      elements: str
    update:
      description: The state of its last update, such as V(updating), V(paused) or V(completed); V(null) without any.
      type: str
"""

import time
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.cli import DockerError
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import run
from ansible_collections.ascend.gpustack.plugins.module_utils.swarm import stack as swarm_stack
from ansible_collections.ascend.gpustack.plugins.module_utils.swarm import tasks as swarm_tasks
from ansible_collections.ascend.gpustack.plugins.module_utils.swarm.stack import Run, StackError

POLL = 5


def read(runner: Run, stack: str, since: float | None, now: float, timeout: float) -> dict[str, Any]:
    node_ids = swarm_stack.lines(runner, ["docker", "node", "ls", "--quiet"], timeout)
    nodes = swarm_stack.inspected(runner, "node", node_ids, timeout)
    services = swarm_stack.read_services(runner, stack, timeout)
    tasks = read_tasks(runner, [service["ID"] for service in services.values()], timeout)
    start = now if since is None else since
    judged = [swarm_tasks.judge(name, service, tasks, nodes, start, now) for name, service in sorted(services.items())]
    healthy = bool(judged) and not any(service.problems for service in judged)
    return {
        "healthy": healthy,
        "finished": healthy or any(service.stuck for service in judged),
        "progress": swarm_tasks.progress(judged),
        "problems": [problem for service in judged for problem in service.problems],
        "notes": swarm_tasks.node_notes(nodes),
        "npu_nodes": swarm_tasks.npu_nodes(nodes),
        "now": now,
        "services": [service.as_dict() for service in judged],
    }


def read_tasks(runner: Run, services: list[str], timeout: float) -> list[dict[str, Any]]:
    if not services:
        return []
    ids = swarm_stack.lines(runner, ["docker", "service", "ps", "--quiet", "--no-trunc", *services], timeout)
    return swarm_stack.inspected(runner, "task", ids, timeout)


def gather(parameters: dict[str, Any], runner: Run, clock: Callable[[], float], sleep: Callable[[float], None]) -> dict[str, Any]:
    timeout = parameters["timeout"]
    swarm_stack.require_manager(*swarm_stack.is_manager(runner, timeout))
    began = clock()
    while True:
        found = read(runner, parameters["name"], parameters["since"], clock(), timeout)
        waited = found["now"] - began
        changed = found["progress"] != parameters["known"] and waited >= parameters["pace"]
        if found["finished"] or changed or waited + POLL > parameters["wait"]:
            return found
        sleep(POLL)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "wait": {"type": "int", "default": 0},
            "known": {"type": "str", "default": ""},
            "pace": {"type": "int", "default": 0},
            "since": {"type": "float"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        result = gather(module.params, run, time.time, time.sleep)
    except (StackError, DockerError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
