#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: docker_swarm_nodes
short_description: Hold a Swarm's nodes against the inventory
version_added: 0.1.0
description:
  - Waits on a manager until each given node is ready, sets its labels and whether it is a manager, and removes nodes that are no more.
  - Nodes are known by their IDs, since several hosts may share one host name. Each gets a label C(gpustack.name) with its name.
  - One call for all nodes, over Docker Engine's socket. Needs no Python library.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.state
  - ascend.gpustack.attributes.group
options:
  nodes:
    description:
      - The nodes that the Swarm is to have; others in it stay as they are.
      - A node that is down and has the C(gpustack.name) of one of these is removed; a host leaves such a one when it is installed anew.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name in the inventory.
        type: str
        required: true
      id:
        description: Its ID in the Swarm, as M(ascend.gpustack.docker_swarm_node) returns it.
        type: str
        required: true
      manager:
        description: Whether it is to be a manager.
        type: bool
        default: false
      labels:
        description: Its labels. Those that begin with C(gpustack.) and are not given here are removed; other people's stay.
        type: dict
        default: {}
  remove:
    description:
      - Nodes to remove, by the name that they had in the inventory, or by ID. One that is still up is refused, since it would go on with
        its tasks; one that is not in the Swarm is no fault.
    type: list
    elements: str
    default: []
  wait:
    description: Seconds to wait at most until the nodes are ready, and those to remove are not.
    type: int
    default: 60
  timeout:
    description: Seconds that each question to Docker Engine may take.
    type: int
    default: 20
"""

EXAMPLES = r"""
- name: Hold the nodes against the inventory
  ascend.gpustack.docker_swarm_nodes:
    nodes:
      - name: atlas1
        id: 1nbvn0vya6ki4pmsbwnuk5v9x
        manager: true
        labels: {gpustack.npu: "true", gpustack.npu.chip: 910B4, gpustack.npu.count: "8"}

- name: Forget a server that is gone for good
  ascend.gpustack.docker_swarm_nodes:
    remove: [atlas3]
"""

RETURN = r"""
changes:
  description: What was changed, a line each; in check mode what would be.
  returned: success
  type: list
  elements: str
  sample: ["atlas2: label gpustack.npu.count is 8", "atlas2: becomes a manager", "atlas3: removed"]
nodes:
  description: All nodes of the Swarm.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The node's ID.
      type: str
    name:
      description: Its name in the inventory, else its host name.
      type: str
    state:
      description: V(ready), V(down), V(unknown) or V(disconnected).
      type: str
    manager:
      description: Whether it is a manager.
      type: bool
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.api import Api, ApiError, api

OWN = "gpustack."
NAME = "gpustack.name"
# Between two looks at the nodes
PAUSE_S = 0.5

Node = dict[str, Any]


def name_of(node: Node) -> str:
    return (node["Spec"].get("Labels") or {}).get(NAME) or node["Description"]["Hostname"]


def state_of(node: Node) -> str:
    return node["Status"]["State"]


def is_manager(node: Node) -> bool:
    return node["Spec"]["Role"] == "manager"


def wanted_spec(node: Node, wanted: dict[str, Any]) -> dict[str, Any]:
    """The node's specification with its labels and its role as they are to be."""
    others = {key: value for key, value in (node["Spec"].get("Labels") or {}).items() if not key.startswith(OWN)}
    labels = {**others, **{key: str(value) for key, value in wanted["labels"].items()}, NAME: wanted["name"]}
    return {**node["Spec"], "Labels": labels, "Role": "manager" if wanted["manager"] else "worker"}


def spec_changes(name: str, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    old, new = before.get("Labels") or {}, after["Labels"]
    lines = [f"{name}: label {key} is {new[key]}" for key in sorted(new) if old.get(key) != new[key]]
    lines += [f"{name}: label {key} is removed" for key in sorted(set(old) - set(new))]
    if before["Role"] != after["Role"]:
        lines.append(f"{name}: becomes a {after['Role']}")
    return lines


def wait_for(ask: Api, parameters: dict[str, Any], pause: float) -> dict[str, Node]:
    """All nodes by ID, once those that are wanted are ready and those to be removed are not."""
    deadline = time.monotonic() + parameters["wait"]
    while True:
        nodes = {node["ID"]: node for node in ask("GET", "/nodes")}
        problems = [sentence for wanted in parameters["nodes"] for sentence in problems_of(wanted, nodes)]
        problems += still_up(parameters["remove"], nodes)
        if not problems:
            return nodes
        if time.monotonic() >= deadline:
            raise ApiError(" ".join(problems))
        time.sleep(pause)


def _counted(nodes: dict[str, Node]) -> str:
    return f"{len(nodes)} node{'s' if len(nodes) != 1 else ''}"


def problems_of(wanted: dict[str, Any], nodes: dict[str, Node]) -> list[str]:
    node, name = nodes.get(wanted["id"]), wanted["name"]
    if node is None:
        return [
            f"{name}: it is in another Swarm (its node ID there is {wanted['id']}); expected this one, which has {_counted(nodes)}. "
            "Take it out there with docker swarm leave --force, and run this again."
        ]
    if state_of(node) != "ready":
        told = node["Status"].get("Message")
        return [
            f"{name}: the Swarm has it as {state_of(node)}{f' ({told})' if told else ''}; expected ready. "
            "Look at Docker there, and whether it reaches the managers' port 2377."
        ]
    return []


def update(ask: Api, node: Node, spec: dict[str, Any]) -> None:
    ask("POST", f"/nodes/{node['ID']}/update?version={node['Version']['Index']}", spec)


def former(wanted: dict[str, Any], nodes: dict[str, Node]) -> list[Node]:
    """What is left of a host that was installed anew: nodes of its name that nobody runs any more. One that was a manager is missing when
    the others vote."""
    same = [node for node in nodes.values() if (node["Spec"].get("Labels") or {}).get(NAME) == wanted["name"]]
    return [node for node in same if node["ID"] != wanted["id"] and state_of(node) == "down"]


def named(names: list[str], nodes: dict[str, Node]) -> list[Node]:
    return [node for name in names for node in nodes.values() if name in (node["ID"], name_of(node))]


def still_up(names: list[str], nodes: dict[str, Node]) -> list[str]:
    alive = [name_of(node) for node in named(names, nodes) if state_of(node) == "ready"]
    remedy = "Take it out with docker_swarm_state: absent, or switch it off."
    return [f"{name} is to be removed from the Swarm and still up; expected it to be gone. {remedy}" for name in alive]


def remove(ask: Api, node: Node, deadline: float, pause: float) -> None:
    if is_manager(node):
        update(ask, node, {**node["Spec"], "Role": "worker"})
    while True:
        try:
            return ask("DELETE", f"/nodes/{node['ID']}?force=1")
        except ApiError as error:
            # A manager stays a member of the managers' own cluster for a moment.
            if "raft" not in str(error) or time.monotonic() >= deadline:
                raise
        time.sleep(pause)


def hold(ask: Api, parameters: dict[str, Any], check_mode: bool, pause: float = PAUSE_S) -> list[str]:
    """Make the nodes what they are to be; what changed, in lines."""
    changes = []
    nodes = wait_for(ask, parameters, pause)
    for wanted in parameters["nodes"]:
        node = nodes[wanted["id"]]
        spec = wanted_spec(node, wanted)
        lines = spec_changes(wanted["name"], node["Spec"], spec)
        if lines and not check_mode:
            update(ask, node, spec)
        changes += lines
    left = [node for wanted in parameters["nodes"] for node in former(wanted, nodes)]
    changes += [f"{name_of(node)}: its former node {node['ID']}, which is down, is removed" for node in left]
    gone = [node for node in named(parameters["remove"], nodes) if node not in left]
    changes += [f"{name_of(node)}: removed" for node in gone]
    for node in [*left, *gone] if not check_mode else []:
        remove(ask, node, time.monotonic() + parameters["wait"], pause)
    return changes


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "nodes": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "id": {"type": "str", "required": True},
                    "manager": {"type": "bool", "default": False},
                    "labels": {"type": "dict", "default": {}},
                },
            },
            "remove": {"type": "list", "elements": "str", "default": []},
            "wait": {"type": "int", "default": 60},
            "timeout": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    ask = api(module.params["timeout"])
    try:
        changes = hold(ask, module.params, module.check_mode)
        nodes = [
            {"id": node["ID"], "name": name_of(node), "state": state_of(node), "manager": is_manager(node)} for node in ask("GET", "/nodes")
        ]
    except ApiError as error:
        module.fail_json(msg=f"{error}".rstrip(".") + ".")
    module.exit_json(changed=bool(changes), changes=changes, nodes=nodes)


if __name__ == "__main__":
    main()
