#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpustack_worker
short_description: Have GPUStack's workers rest, and their models go to others
version_added: 0.4.0
description:
  - Tells GPUStack that workers rest, or no longer do, and moves the instances of models from them.
  - A worker that rests is in maintenance and gets no further models. Where GPUStack has no such state, the worker's record gets the label
    C(ascend.gpustack.drained), and its container has to be stopped besides.
  - An instance that moves ends on its worker and starts on another. It is moved as soon as its worker is not C(ready).
  - In check mode nothing is changed, and RV(instances) says what would become of each.
  - The API is asked with the cluster token. Proxies set in the environment are not used.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.state
  - ascend.gpustack.attributes.group
options:
  url:
    description: The GPUStack server, such as V(http://172.16.33.106:8080).
    type: str
    required: true
  token:
    description: The cluster token.
    type: str
    required: true
  workers:
    description: The workers by their names in GPUStack.
    type: list
    elements: str
    required: true
  state:
    description:
      - V(drained) has them rest, V(active) ends that, also where it was begun on GPUStack's page.
    type: str
    choices: [drained, active]
    required: true
  move:
    description: Whether instances on workers that rest are moved. Without it those that are told to rest keep theirs.
    type: bool
    default: false
  models:
    description:
      - How many instances of each model are to run on other workers in the end, by the model's name, as RV(models) has it before.
      - Instances of other models end at once, and are not waited for.
    type: dict
    default: {}
  hurry:
    description:
      - Whether all instances of a model may end at once. Without it, those of a model that no other worker serves end one after the
        other, the next when the one before is running again.
    type: bool
    default: false
  wait:
    description: Seconds to wait until no instance is left on the workers and those of O(models) are running elsewhere.
    type: int
    default: 0
  timeout:
    description: Seconds for one request.
    type: int
    default: 10
  validate_certs:
    description: Whether the certificate of an C(https) server must be valid.
    type: bool
    default: true
  ca_path:
    description: A file with the certificates of the authorities to trust.
    type: path
"""

EXAMPLES = r"""
- name: See what would become of the models of a worker
  ascend.gpustack.gpustack_worker:
    url: http://172.16.33.106:8080
    token: "{{ vault_gpustack_token }}"
    workers: [atlas3]
    state: drained
  check_mode: true
  register: rest

- name: Have it rest, and its models move
  ascend.gpustack.gpustack_worker:
    url: http://172.16.33.106:8080
    token: "{{ vault_gpustack_token }}"
    workers: [atlas3]
    state: drained
    move: true
    models: "{{ rest.models }}"
    wait: 300
"""

RETURN = r"""
settled:
  description: Names of the workers that were, or in check mode would be, told something new.
  returned: success
  type: list
  elements: str
  sample: [atlas3]
unknown:
  description: Names of O(workers) that GPUStack does not have.
  returned: success
  type: list
  elements: str
workers:
  description: Those of O(workers) that GPUStack has, as they were before, each with C(id), C(name), C(ip), C(state) and C(npu_count).
  returned: success
  type: list
  elements: dict
instances:
  description:
    - In check mode with O(state=drained), what would become of each instance on the workers. C(name), C(model), the names of the C(workers)
      of these that it is on, C(to), names of others that have room for it, and C(why), where there are none.
  returned: success
  type: list
  elements: dict
models:
  description:
    - How many instances of each model with one that finds room elsewhere are to run on other workers in the end, as O(models) takes it.
  returned: success
  type: dict
  sample:
    qwen3-32b: 2
ended:
  description: Names of the instances that were ended.
  returned: success
  type: list
  elements: str
left:
  description: Names of the instances that are still on the workers.
  returned: success
  type: list
  elements: str
pending:
  description: What is not yet running elsewhere, a part of a sentence for each model.
  returned: success
  type: list
  elements: str
  sample: ["model qwen3-32b: 0 of 1 run elsewhere: qwen3-32b-x1y2z is starting"]
reason:
  description: Why the API could not be asked, as M(ascend.gpustack.gpustack_worker_info) has it.
  returned: failure
  type: str
  sample: unauthorized
transient:
  description: Whether it may help to ask again later.
  returned: failure
  type: bool
"""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import api as gpustack_api
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import rest
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.answers import Worker
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.placement import Place, places


def foresee(client: gpustack_api.Client, workers: list[Worker], names: list[str]) -> dict[str, Any]:
    """What would become of the instances on these workers."""
    leaving = {worker.id: worker.name for worker in workers if worker.name in names}
    instances = client.instances()
    found = places(instances, client.models(), workers, set(leaving))
    going = {place.instance.id for place in found}
    running = Counter(each.model for each in instances if each.id not in going and each.state == rest.RUNNING)
    moving = Counter(place.instance.model for place in found if place.to)
    return {
        "instances": [_told(place, leaving) for place in sorted(found, key=lambda place: place.instance.name)],
        "models": {model: running[model] + count for model, count in sorted(moving.items())},
    }


def _told(place: Place, leaving: Mapping[int, str]) -> dict[str, Any]:
    workers = [leaving[worker_id] for worker_id, _claim in place.instance.parts if worker_id is not None and worker_id in leaving]
    return {"name": place.instance.name, "model": place.instance.model, "workers": workers, "to": place.to, "why": place.why}


def settle(client: gpustack_api.Client, params: Mapping[str, Any], check: bool) -> dict[str, Any]:
    client.version()
    workers, names = client.workers(), params["workers"]
    known = [worker for worker in workers if worker.name in names]
    rests = params["state"] == "drained"
    result: dict[str, Any] = {
        "unknown": sorted(set(names) - {worker.name for worker in known}),
        "workers": [{name: worker.as_dict()[name] for name in ("id", "name", "ip", "state", "npu_count")} for worker in known],
        **(foresee(client, workers, names) if rests and check else {"instances": [], "models": dict(params["models"])}),
        "settled": rest.settle(client, names, rests, check),
    }
    models = {str(model): int(count) for model, count in params["models"].items()}
    move = rest.Move(client, names, models, params["hurry"])
    if rests and params["move"] and not check:
        move.go(params["wait"], time.monotonic, time.sleep)
    return {
        **result,
        "ended": move.ended,
        "left": move.left,
        "pending": move.pending,
        "changed": bool(result["settled"] or move.ended),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "token": {"type": "str", "required": True, "no_log": True},
            "workers": {"type": "list", "elements": "str", "required": True},
            "state": {"type": "str", "choices": ["drained", "active"], "required": True},
            "move": {"type": "bool", "default": False},
            "models": {"type": "dict", "default": {}},
            "hurry": {"type": "bool", "default": False},
            "wait": {"type": "int", "default": 0},
            "timeout": {"type": "int", "default": 10},
            "validate_certs": {"type": "bool", "default": True},
            "ca_path": {"type": "path"},
        },
        supports_check_mode=True,
    )
    params = module.params
    fetch = gpustack_api.fetcher(params["token"], params["validate_certs"], params["ca_path"])
    try:
        result = settle(gpustack_api.Client(params["url"], fetch, params["timeout"]), params, module.check_mode)
    except gpustack_api.ApiError as error:
        module.fail_json(msg=str(error), reason=error.kind, transient=error.transient)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
