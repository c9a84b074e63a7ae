#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpustack_worker_info
short_description: Ask GPUStack for its workers and their NPUs
version_added: 0.1.0
description:
  - Reads all workers of a GPUStack cluster from its API, and compares them with the expected ones.
  - Can wait until every expected worker is C(ready) with its number of NPUs. A worker without any NPU is C(ready) for
    GPUStack, so the number is what tells.
  - A worker that is C(ready) and gave no sign of life for a minute is a problem too, where GPUStack tells when it gave the last one.
  - The API is asked with the cluster token. Proxies set in the environment are not used.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.info
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
  expected:
    description:
      - How many NPUs each worker has, by the worker's name; V(null) for one that is known and neither judged nor waited for.
      - Workers that are not named here are listed in RV(unknown_workers) and are no problem.
    type: dict
    default: {}
  wait:
    description:
      - Seconds to wait until the API answers and every worker of O(expected) is C(ready) with as many NPUs.
      - A cluster that is not there by then is no failure of the module; RV(ok) is V(false) and RV(problems) say why.
      - What waiting does not mend, such as a worker in maintenance, is not waited for.
      - A refused token, another program at O(url) and another version of GPUStack fail at once.
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
  gather:
    description: What to read besides the workers.
    type: list
    elements: str
    choices: [models, instances]
    default: []
  known_path:
    description:
      - A file on this host with what GPUStack knew at an earlier time, as RV(records) is in JSON, to compare with.
      - Without the file, RV(lost) is empty. Only root may read it, since the names of users stand there.
    type: path
"""

EXAMPLES = r"""
- name: Wait until both workers have joined with all of their NPUs
  ascend.gpustack.gpustack_worker_info:
    url: http://172.16.33.106:8080
    token: "{{ vault_gpustack_token }}"
    expected:
      atlas1: 8
      atlas2: 8
    wait: 300
  register: cluster
  failed_when: cluster is failed or not cluster.ok

- name: List the models that name a worker or an NPU
  ascend.gpustack.gpustack_worker_info:
    url: http://172.16.33.106:8080
    token: "{{ vault_gpustack_token }}"
    gather:
      - models
"""

RETURN = r"""
ok:
  description: Whether there is no problem.
  returned: success
  type: bool
  sample: true
problems:
  description: What is wrong with the expected workers, a sentence each.
  returned: success
  type: list
  elements: str
  sample:
    - "worker atlas3: GPUStack sees 7 NPUs (0, 1, 2, 4, 5, 6, 7); expected 8 NPUs. Compare npu-smi info on 172.16.33.108
      with the same in its GPUStack container"
pending:
  description: Whether one of the problems may be over after a while, so that it helps to ask again.
  returned: success
  type: bool
version:
  description: The server's version.
  returned: success
  type: str
npu_total:
  description: How many NPUs all workers have.
  returned: success
  type: int
  sample: 40
unknown_workers:
  description: Names of workers that are not in O(expected); empty when O(expected) is.
  returned: success
  type: list
  elements: str
  sample: [localhost.localdomain-48213]
workers:
  description: All workers, in the order in which they joined.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Its number in GPUStack.
      type: int
    name:
      description: Its name, which is unique.
      type: str
    hostname:
      description: The name of its host, which need not be unique.
      type: str
    ip:
      description: The address at which the server asks it.
      type: str
    port:
      description: The port at which the server asks it.
      type: int
    state:
      description:
        - V(ready), V(not_ready) or V(unreachable); with some versions also V(maintenance), V(pending), V(provisioning), V(initializing),
          V(deleting) or V(error).
      type: str
    state_message:
      description: Why it is not ready; V(null) when it is.
      type: str
    unreachable:
      description: Whether the server could not reach it at its last try.
      type: bool
    worker_uuid:
      description: What its data directory is known by; V(null) where GPUStack does not tell.
      type: str
    worker_version:
      description: The version that it runs; V(null) where GPUStack does not tell.
      type: str
    created_at:
      description: When it joined for the first time.
      type: str
    silent_s:
      description:
        - Seconds since its last sign of life, by the server's clock; V(null) where GPUStack has that by the worker's own clock.
      type: int
    silent:
      description: Whether its state is V(ready) although it gave no sign of life for too long.
      type: bool
    drained:
      description: Whether this collection has it rest. One that rests is no problem, whatever its state.
      type: bool
    labels:
      description: Its labels.
      type: dict
    npu_count:
      description: How many NPUs it has.
      type: int
    npus:
      description:
        - Its NPUs, each with C(gpu_id) as models name it, C(index), C(device_index), C(device_chip_index), C(name),
          C(memory_total_bytes), C(memory_used_bytes), C(memory_allocated_bytes), C(temperature_c), and C(network) with
          C(status) and C(inet) among others.
        - What GPUStack does not tell is V(null).
      type: list
      elements: dict
models:
  description: All models, in the order in which they were made.
  returned: success, when O(gather) has V(models)
  type: list
  elements: dict
  contains:
    id:
      description: Its number in GPUStack.
      type: int
    name:
      description: Its name.
      type: str
    replicas:
      description: How many instances are asked for.
      type: int
    gpu_ids:
      description: The NPUs that it may use, as C(gpu_id) names them; empty when any.
      type: list
      elements: str
    worker_selector:
      description: The labels that its workers must have; empty when any worker will do.
      type: dict
instances:
  description: All instances of models.
  returned: success, when O(gather) has V(instances)
  type: list
  elements: dict
  contains:
    model:
      description: The model's name.
      type: str
    workloads:
      description: What its containers are called by, by the name of the worker that runs them.
      type: dict
records:
  description:
    - What GPUStack knows, C(workers) by name with their identity, and the names of C(models) and C(users), these
      where GPUStack shows them to whoever has the cluster token.
  returned: success, with O(known_path)
  type: dict
known:
  description: What O(known_path) holds; empty where it is not there or is damaged.
  returned: success, with O(known_path)
  type: dict
lost:
  description: What is in RV(known) and not in RV(records), by kind; empty when nothing is missing.
  returned: success, with O(known_path)
  type: dict
  sample:
    models: [qwen3-32b]
reason:
  description:
    - Why the API could not be asked; one of V(refused), V(timeout), V(network), V(server_error), V(name), V(tls),
      V(unauthorized), V(not_gpustack), V(wrong_version).
  returned: failure
  type: str
  sample: unauthorized
transient:
  description: Whether it may help to ask again later.
  returned: failure
  type: bool
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import api as gpustack_api
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import records as gpustack_records
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import workers as gpustack_workers
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.answers import Instance, Worker


def npu_counts(expected: Mapping[str, Any]) -> dict[str, int | None]:
    """Raises ValueError with a sentence for the user."""
    counts: dict[str, int | None] = {}
    for name, count in expected.items():
        if count is None:
            counts[str(name)] = None
            continue
        if isinstance(count, bool) or not str(count).isdigit():
            raise ValueError(f"expected[{name!r}] is {count!r}; expected a number of NPUs. Correct it.")
        counts[str(name)] = int(count)
    return counts


def placed(instance: Instance, workers: list[Worker]) -> dict[str, Any]:
    names = {worker.name: instance.workload(worker.id) for worker in workers}
    return {"model": instance.model, "workloads": {worker: name for worker, name in names.items() if name}}


def gather(client: gpustack_api.Client, params: Mapping[str, Any]) -> dict[str, Any]:
    cluster = gpustack_workers.wait_for_workers(client, npu_counts(params["expected"]), params["wait"], time.monotonic, time.sleep)
    result = {
        "ok": not cluster.comparison.problems,
        "problems": cluster.comparison.problems,
        "pending": cluster.comparison.pending,
        "version": cluster.version,
        "npu_total": sum(len(worker.npus) for worker in cluster.workers),
        "unknown_workers": cluster.comparison.unknown,
        "workers": [worker.as_dict() for worker in cluster.workers],
    }
    if "models" in params["gather"]:
        result["models"] = [asdict(model) for model in client.models()]
    if "instances" in params["gather"]:
        result["instances"] = [placed(instance, cluster.workers) for instance in client.instances()]
    if params["known_path"]:
        result.update(gpustack_records.compare(client, cluster.workers, params["known_path"]))
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "token": {"type": "str", "required": True, "no_log": True},
            "expected": {"type": "dict", "default": {}},
            "wait": {"type": "int", "default": 0},
            "timeout": {"type": "int", "default": 10},
            "validate_certs": {"type": "bool", "default": True},
            "ca_path": {"type": "path"},
            "gather": {"type": "list", "elements": "str", "choices": ["models", "instances"], "default": []},
            "known_path": {"type": "path"},
        },
        supports_check_mode=True,
    )
    params = module.params
    fetch = gpustack_api.fetcher(params["token"], params["validate_certs"], params["ca_path"])
    try:
        result = gather(gpustack_api.Client(params["url"], fetch, params["timeout"]), params)
    except ValueError as error:
        module.fail_json(msg=str(error))
    except gpustack_api.ApiError as error:
        module.fail_json(msg=str(error), reason=error.kind, transient=error.transient)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
