#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpustack_container
short_description: Run a GPUStack container, and wait until it is healthy
version_added: 0.3.0
description:
  - Has M(community.docker.docker_container) make, start or restart the container, waits for its health, and shows every now and then
    how it stands.
  - Ends at once when the container is healthy, has ended for good, has ended several times, or says in its log what its next start can't
    change, and says why.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.group
attributes:
  check_mode:
    description: Whether it can run in check mode. It then returns what M(community.docker.docker_container) says of the O(definition).
    support: full
  diff_mode:
    description: Whether it returns what would change, in check mode.
    support: partial
    details: In check mode alone.
options:
  name:
    description: The container's name.
    type: str
    required: true
  definition:
    description: The container, as M(community.docker.docker_container) takes it. Read by the task alone, before it waits.
    type: dict
    default: {}
  replaces:
    description:
      - Whether the container takes the place of one that is there. Docker then has to take it under another name first, so that the
        one that is there stays where Docker refuses it. Read by the task alone.
    type: bool
    default: false
  timeout:
    description: Seconds until the container has to be healthy. Read by the task alone.
    type: int
    default: 300
  wait:
    description: Seconds to wait for its health in one call. Called as a task, the calls are repeated.
    type: int
    default: 5
  explain:
    description: Whether to say what its log tells although it is healthy.
    type: bool
    default: false
  known:
    description: The RV(known) of an earlier call.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Run a container and wait until it is healthy
  ascend.gpustack.gpustack_container:
    name: gpustack
    definition:
      name: gpustack
      image: registry.example.com/gpustack:ours
      state: started
    timeout: 300
"""

RETURN = r"""
healthy:
  description: Whether it is healthy.
  returned: success
  type: bool
finished:
  description: Whether waiting has come to its end.
  returned: success
  type: bool
progress:
  description: How it stands.
  returned: success
  type: str
  sample: running, starting
kind:
  description:
    - Why it is not healthy; V(setting), V(database), V(disk), V(port), V(token), V(server), V(trust), V(store), V(memory), V(stopped),
      V(ended), V(engine), V(gone), V(paused) or V(time).
  returned: when it is not healthy
  type: str
detail:
  description: The same in the words of GPUStack or Docker.
  returned: when it is not healthy
  type: str
log:
  description: The end of its log, without the secrets that can be told in it.
  returned: when it is not healthy
  type: str
known:
  description: What a later call is to know.
  returned: success
  type: dict
"""

import time
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import causes as gpustack_causes
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner, run

# Seconds between two looks at least and at most; on a slow host, which starts GPUStack meanwhile, to look takes a fifth of the time.
POLL = 1.0
LONGEST = 10.0
REST = 4
COMMAND_LIMIT = 20.0
# One that ends so often while it is waited for does not come to life.
ENDS = 3
# As long as a restart of Docker takes
ENGINE_LIMIT = 30.0
TAIL = 20


def verdict(container: dict[str, Any] | None, restarts: int) -> tuple[str, str]:
    """(healthy, finished or going, how it stands)"""
    if container is None:
        return "finished", "gone"
    state = container["State"]
    status, health = state.get("Status", "unknown"), (state.get("Health") or {}).get("Status")
    ended = container.get("RestartCount", 0) - restarts
    told = f"{status}{', ' + health if health else ''}{f', ended {ended} times' if ended > 0 else ''}"
    if status == "running" and health in (None, "healthy"):
        return "healthy", told
    if docker_cli.stands_still(container) or ended >= ENDS:
        return "finished", told
    return "going", told


def is_stopped(container: dict[str, Any]) -> bool:
    """Whether someone stopped it: what ends by itself, Docker starts again where its policy is to."""
    state, policy = container["State"], ((container.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name")
    return state.get("Status") == "exited" and not state.get("Error") and policy in ("always", "unless-stopped")


def why(runner: Runner, name: str, container: dict[str, Any] | None, known: dict[str, Any]) -> dict[str, Any]:
    """Why it is not healthy, or, healthy as it is, its worker not ready; finished with a cause that lasts."""
    since = known.get("since", "")
    if container is None:
        return {"kind": "gone", "detail": "there is no such container any more", "log": ""}
    state = container["State"]
    if state.get("Status") == "paused":
        return {"kind": "paused", "detail": "it is paused", "log": ""}
    if is_stopped(container):
        return {"kind": "stopped", "detail": f"since {state.get('FinishedAt', '')[:19]}, exit code {state.get('ExitCode', 0)}", "log": ""}
    logged = runner(["docker", "logs", "--since", since, "--tail", "200", name], COMMAND_LIMIT)
    given = redact.secrets_of((container.get("Config") or {}).get("Cmd") or [], docker_cli.environment_of(container))
    text = redact.text(f"{logged.stdout}\n{logged.stderr}".strip(), given)
    filters = ["--filter", f"container={container['Id']}", "--filter", "event=die", "--filter", "event=oom"]
    now = f"{time.time():.3f}"
    events = runner(["docker", "events", "--since", since, "--until", now, *filters, "--format", "{{json .}}"], COMMAND_LIMIT)
    codes = gpustack_causes.ends(events.stdout)
    stays = state.get("Running") and container.get("RestartCount", 0) <= known.get("restarts", 0)
    if stays or (state.get("Health") or {}).get("Status") == "healthy":
        # It was stopped and started by someone.
        codes = []
    elif not codes and not state.get("Running"):
        codes = [-1 if state.get("OOMKilled") else int(state.get("ExitCode") or 0)]
    cause = gpustack_causes.find(text, codes, bool(state.get("Running")))
    detail = f"{cause.detail}; its last words: {gpustack_causes.last_line(text) or 'none'}" if cause.kind == "ended" else cause.detail
    told = {"kind": cause.kind, "detail": redact.text(state.get("Error") or detail, given), "log": "\n".join(text.splitlines()[-TAIL:])}
    return {**told, "finished": True} if cause.lasting else told


def gather(parameters: dict[str, Any], runner: Runner, clock: Callable[[], float], sleep: Callable[[float], None]) -> dict[str, Any]:
    name, known, began = parameters["name"], dict(parameters["known"]), clock()
    silent = None
    while True:
        asked = clock()
        try:
            container = docker_cli.read_container(runner, name, COMMAND_LIMIT)
            silent = None
        except docker_cli.DockerError as error:
            silent = silent if silent is not None else clock()
            if clock() - silent >= ENGINE_LIMIT:
                cause = {"kind": "engine", "detail": str(error), "log": ""}
                return {"healthy": False, "finished": True, "progress": "Docker does not answer", "known": known, **cause}
            sleep(POLL)
            continue
        if container and not known:
            known = {"since": container["State"]["StartedAt"], "restarts": container.get("RestartCount", 0)}
        stand, told = verdict(container, known.get("restarts", 0))
        answer = {"healthy": stand == "healthy", "finished": stand != "going", "progress": told, "known": known}
        if stand == "healthy" and not parameters["explain"]:
            return answer
        answer.update(why(runner, name, container, known))
        if answer["finished"] or clock() - began >= parameters["wait"]:
            return answer
        sleep(min(max(POLL, REST * (clock() - asked)), LONGEST))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "definition": {"type": "dict", "default": {}},
            "replaces": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 300},
            "wait": {"type": "int", "default": 5},
            "explain": {"type": "bool", "default": False},
            "known": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **gather(module.params, run, time.monotonic, time.sleep))


if __name__ == "__main__":
    main()
