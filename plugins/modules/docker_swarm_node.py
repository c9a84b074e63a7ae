#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: docker_swarm_node
short_description: Put a host into a Docker Swarm, or take it out
version_added: 0.1.0
description:
  - Makes a Swarm on this host, or joins one, and tells the node's ID. A host that is in a Swarm already stays as it is.
  - Asks Docker Engine over its socket, so that the token of the Swarm stands on no command line. Needs no Python library.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.state
  - ascend.gpustack.attributes.group
options:
  state:
    description:
      - V(present) has the host in a Swarm.
      - V(absent) takes it out, which ends the tasks that it runs, and of a single manager the Swarm with all that it knows. Docker's own
        network C(docker_gwbridge) goes too, unless something else is in it.
    type: str
    choices: [present, absent]
    default: present
  address:
    description: The address at which other nodes reach this one. Needed to make or join a Swarm.
    type: str
  managers:
    description: Addresses of managers of the Swarm to join. Without any, a Swarm is made.
    type: list
    elements: str
    default: []
  token:
    description: The token to join with, which also says whether as a manager or as a worker.
    type: str
  timeout:
    description: Seconds that each question to Docker Engine may take.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Make a Swarm
  ascend.gpustack.docker_swarm_node:
    address: 172.16.33.106
  register: first
  no_log: true

- name: Join it
  ascend.gpustack.docker_swarm_node:
    address: 172.16.33.107
    managers: [172.16.33.106]
    token: "{{ first.tokens.worker }}"
"""

RETURN = r"""
node_id:
  description: The node's ID, with V(absent) the one that it had; null outside of a Swarm, and in check mode for one to come.
  returned: success
  type: str
  sample: 1nbvn0vya6ki4pmsbwnuk5v9x
manager:
  description: Whether the node is a manager.
  returned: success
  type: bool
swarm:
  description: The Swarm's own ID; null where that is not known, on a worker and outside of a Swarm.
  returned: success
  type: str
nodes:
  description: How many nodes the Swarm has, as its managers know; 0 elsewhere.
  returned: success
  type: int
tokens:
  description: What others join with, by C(manager) and C(worker). Secret; register this result with C(no_log) alone.
  returned: on a manager
  type: dict
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.api import Api, ApiError, api

PORT = 2377
BRIDGE = "docker_gwbridge"


def swarm_of(ask: Api) -> dict[str, Any]:
    return ask("GET", "/info").get("Swarm") or {}


def described(swarm: dict[str, Any]) -> dict[str, Any]:
    return {
        "node_id": swarm.get("NodeID") or None,
        "manager": bool(swarm.get("ControlAvailable")),
        "swarm": (swarm.get("Cluster") or {}).get("ID") or None,
        "nodes": swarm.get("Nodes") or 0,
    }


def settled(ask: Api, seconds: float) -> dict[str, Any]:
    """What the engine says of its Swarm, once it has come back to it after a start."""
    deadline = time.monotonic() + seconds
    while True:
        swarm = swarm_of(ask)
        if swarm.get("LocalNodeState") != "pending" or time.monotonic() > deadline:
            return swarm
        time.sleep(0.5)


def endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def present(ask: Api, parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    swarm = settled(ask, parameters["timeout"])
    state = swarm.get("LocalNodeState")
    if state not in ("active", "inactive"):
        raise ApiError(
            f"its part of the Swarm is {state} ({swarm.get('Error') or 'no reason given'}); expected active. "
            "Mend that, or take it out with docker_swarm_state: absent and join it again"
        )
    changed = state == "inactive"
    if changed and not check_mode:
        address = parameters["address"]
        request = {"ListenAddr": f"0.0.0.0:{PORT}" if ":" not in address else f"[::]:{PORT}", "AdvertiseAddr": address}
        if parameters["managers"]:
            others = [endpoint(each, PORT) for each in parameters["managers"]]
            ask("POST", "/swarm/join", {**request, "RemoteAddrs": others, "JoinToken": parameters["token"]})
        else:
            ask("POST", "/swarm/init", request)
        swarm = swarm_of(ask)
    manager = bool(swarm.get("ControlAvailable"))
    result = {"changed": changed, **described(swarm)}
    if manager:
        tokens = ask("GET", "/swarm")["JoinTokens"]
        result["tokens"] = {"manager": tokens["Manager"], "worker": tokens["Worker"]}
    return result


def absent(ask: Api, check_mode: bool) -> dict[str, Any]:
    swarm = swarm_of(ask)
    changed = swarm.get("LocalNodeState", "inactive") != "inactive"
    if changed and not check_mode:
        ask("POST", "/swarm/leave?force=1")
        remove_bridge(ask)
    return {"changed": changed, **described(swarm)}


def remove_bridge(ask: Api) -> None:
    """Docker makes it for the Swarm, and leaves it. Not gone yet or in use by others, it stays."""
    try:
        ask("DELETE", f"/networks/{BRIDGE}")
    except ApiError as error:
        if error.status not in (403, 404, 409):
            raise


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "address": {"type": "str"},
            "managers": {"type": "list", "elements": "str", "default": []},
            "token": {"type": "str", "no_log": True},
            "timeout": {"type": "int", "default": 60},
        },
        required_if=[("state", "present", ["address"])],
        supports_check_mode=True,
    )
    ask = api(module.params["timeout"])
    try:
        is_present = module.params["state"] == "present"
        result = present(ask, module.params, module.check_mode) if is_present else absent(ask, module.check_mode)
    except ApiError as error:
        module.fail_json(msg=f"{error}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
