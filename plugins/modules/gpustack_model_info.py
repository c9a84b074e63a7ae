#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpustack_model_info
short_description: Ask GPUStack for its models, wait for them, and ask them for an answer
version_added: 0.4.0
description:
  - Reads the models of a GPUStack cluster and their instances, and returns the models as M(ascend.gpustack.gpustack_model) takes them.
  - Can wait until models run. One whose instances fail for a second time ends the wait, with the last lines of their logs.
  - Can ask each model that runs for one short answer.
  - Can read what the files of models on this host say, as far as it concerns whether they can run.
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
  names:
    description: The models to judge, to wait for and to ask; those that GPUStack does not have are a problem.
    type: list
    elements: str
    default: []
  wait:
    description:
      - Seconds to wait until all of O(names) run, with as many instances as they are to have.
      - Models that do not run by then are no failure of the module; RV(ok) is V(false) and RV(problems) say why.
    type: int
    default: 0
  ask_url:
    description:
      - Where to ask each of O(names) that runs for a short answer, once none of the others may come to run; with O(wait=0) at once.
        Without it none is asked.
    type: str
  ask_timeout:
    description: Seconds that an answer may take.
    type: int
    default: 120
  files:
    description: Paths of models on this host to look at, each in a process of its own with a time limit.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds for one request.
    type: int
    default: 30
  validate_certs:
    description: Whether the certificate of an C(https) server must be valid.
    type: bool
    default: true
  ca_path:
    description: A file with the certificates of the authorities to trust.
    type: path
"""

EXAMPLES = r"""
- name: Wait until two models run, and ask them
  ascend.gpustack.gpustack_model_info:
    url: http://127.0.0.1:8080
    token: "{{ vault_gpustack_token }}"
    names: [qwen3-32b, bge-m3]
    wait: 1800
    ask_url: http://172.16.33.106:8080
  register: served
  failed_when: served is failed or not served.ok

- name: Keep the cluster's models as a list
  ansible.builtin.copy:
    dest: /root/models.json
    content: "{{ served.models | to_json }}"
    mode: "0600"
"""

RETURN = r"""
ok:
  description: Whether there is no problem with O(names).
  returned: success
  type: bool
problems:
  description: What is wrong with O(names), a sentence each.
  returned: success
  type: list
  elements: str
pending:
  description: Whether one of the problems may be over after a while.
  returned: success
  type: bool
progress:
  description: What each of O(names) that does not run yet is doing, in words.
  returned: success
  type: str
  sample: qwen3-32b is downloaded, 40 %; bge-m3 starts
version:
  description: The server's version.
  returned: success
  type: str
models:
  description:
    - All models, in the order in which they were made, as M(ascend.gpustack.gpustack_model) takes them. In place of a secret stands the
      name of a
      variable, such as V({{ vault_qwen3_32b_hf_token }}).
  returned: success
  type: list
  elements: dict
instances:
  description: All instances of models.
  returned: success
  type: list
  elements: dict
  contains:
    model:
      description: The model's name.
      type: str
    name:
      description: Its own name.
      type: str
    worker:
      description: The worker that it runs on; V(null) before it has one.
      type: str
    state:
      description: Its state in GPUStack, such as V(running).
      type: str
    message:
      description: What GPUStack says of that.
      type: str
    progress:
      description: How much of the model is downloaded, in percent.
      type: float
    restarts:
      description: How often GPUStack started it again.
      type: int
workers:
  description: The workers' NPUs, as far as it concerns which models they can run.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The worker's name.
      type: str
    chips:
      description: The indexes of its NPUs.
      type: list
      elements: int
    chip:
      description: The name of the first of them.
      type: str
    memory_mib:
      description: The memory of the smallest of them in MiB.
      type: int
    driver:
      description: The version of its driver; empty where GPUStack does not tell.
      type: str
answers:
  description: What those of O(names) that run answered, by name.
  returned: success, with O(ask_url)
  type: dict
  contains:
    ok:
      description: Whether it answered; V(null) where nothing could be asked of such a model.
      type: bool
    kind:
      description: What it was asked for; V(chat), V(embedding), V(rerank) or V(none).
      type: str
    first_token_ms:
      description: Milliseconds until the first token, or the whole answer where it is no text.
      type: int
    tokens_per_second:
      description: How fast tokens came after the first; V(null) where it is no text.
      type: float
    error:
      description: Why it did not answer.
      type: str
files:
  description: What O(files) are, by path.
  returned: success
  type: dict
  contains:
    kind:
      description: V(directory), V(file), V(none), or V(unknown) where it did not answer in time.
      type: str
    config:
      description: Whether the directory has a C(config.json).
      type: bool
    heads:
      description: Its attention heads; V(null) where that is not told.
      type: int
    weights_mib:
      description: The size of all its C(*.safetensors) in MiB.
      type: int
reason:
  description: Why the API could not be asked; as of M(ascend.gpustack.gpustack_worker_info).
  returned: failure
  type: str
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
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import model_answer, model_files, models_listed, models_watch
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.model_change import Clock
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.models_api import ModelsClient
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner, run

MIB = 1024 * 1024
FILE_LIMIT = 20


def gather(client: ModelsClient, params: Mapping[str, Any], runner: Runner, clock: Clock) -> dict[str, Any]:
    seen = models_watch.wait(client, params["names"], params["wait"], clock)
    problems = models_watch.problems(client, seen, clock)
    result: dict[str, Any] = {
        "version": seen.version,
        "pending": bool(seen.doing),
        "progress": "; ".join(f"{name} {words}" for name, words in seen.doing.items()),
        "models": [models_listed.without_secrets(models_listed.listed(record, client.generation)) for record in seen.records],
        "instances": [
            {key: getattr(each, key) for key in ("model", "name", "worker", "state", "message", "progress", "restarts")}
            for each in seen.instances
        ],
        "workers": workers(client),
        "files": {path: asdict(model_files.read(runner, path, FILE_LIMIT)) for path in params["files"]},
    }
    if params["ask_url"] and not (seen.doing and params["wait"]):
        result["answers"] = ask(client, params, seen)
        problems += [
            f"model {name}: it runs, and gives no answer at {params['ask_url']} ({answer['error']}); expected one."
            " See its log on GPUStack's page"
            for name, answer in result["answers"].items()
            if answer["ok"] is False
        ]
    return {**result, "ok": not problems, "problems": problems}


def ask(client: ModelsClient, params: Mapping[str, Any], seen: models_watch.Models) -> dict[str, Any]:
    asked = model_answer.Asked(params["ask_url"], params["token"], params["ask_timeout"], params["validate_certs"], params["ca_path"])
    running = [record for record in seen.records if record["name"] in seen.running and record.get("replicas")]
    return {
        record["name"]: asdict(model_answer.ask(asked, client.generation.models, record["name"], record.get("categories") or []))
        for record in running
    }


def workers(client: ModelsClient) -> list[dict[str, Any]]:
    found = []
    for record in client.records("/workers"):
        devices = (record.get("status") or {}).get("gpu_devices") or []
        npus = [device for device in devices if device.get("type") == client.api.device_type]
        found.append(
            {
                "name": record.get("name") or "",
                "chips": [npu["index"] for npu in npus if npu.get("index") is not None],
                "chip": next((npu.get("name") or "" for npu in npus), ""),
                "memory_mib": min(((npu.get("memory") or {}).get("total") or 0 for npu in npus), default=0) // MIB,
                "driver": next((npu["driver_version"] for npu in npus if npu.get("driver_version")), ""),
            }
        )
    return found


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "token": {"type": "str", "required": True, "no_log": True},
            "names": {"type": "list", "elements": "str", "default": []},
            "wait": {"type": "int", "default": 0},
            "ask_url": {"type": "str"},
            "ask_timeout": {"type": "int", "default": 120},
            "files": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 30},
            "validate_certs": {"type": "bool", "default": True},
            "ca_path": {"type": "path"},
        },
        supports_check_mode=True,
    )
    params = module.params
    fetch = gpustack_api.fetcher(params["token"], params["validate_certs"], params["ca_path"])
    client = ModelsClient(params["url"], fetch, params["timeout"])
    try:
        result = gather(client, params, run, Clock(time.monotonic, time.sleep))
    except gpustack_api.ApiError as error:
        module.fail_json(msg=str(error), reason=error.kind, transient=error.transient)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
