#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpustack_model
short_description: Create, change, scale or remove a model of GPUStack
version_added: 0.4.0
description:
  - Compares what is said of a model with what GPUStack has by that name, and changes what differs through its API, whichever generation of
    GPUStack that is.
  - Where more than O(replicas) or O(categories) differs, the model's instances are stopped, and started with what is said then, since
    GPUStack
    itself lets old ones run on. A change that GPUStack refuses leaves the model as it was.
  - Does not wait until the model runs; M(ascend.gpustack.gpustack_model_info) does.
  - The API is asked with the cluster token, which may write models, their instances and their routes. Proxies set in the environment are
    not used.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.model
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
  name:
    description: The model's name.
    type: str
    required: true
  state:
    description: V(absent) removes it from GPUStack. No file of the model is deleted.
    type: str
    choices: [present, absent]
    default: present
  path:
    description: Its folder, or its file where it is one (GGUF), as the containers of GPUStack see it.
    type: str
  model_scope:
    description: Its id at ModelScope, such as V(Qwen/Qwen3-32B).
    type: str
  hugging_face:
    description: Its id at Hugging Face.
    type: str
  file:
    description: Which file of O(model_scope) or O(hugging_face) is the model.
    type: str
  backend:
    description:
      - V(vllm), V(mindie), V(sglang), V(vox_box), V(llama_box), V(custom), or the name of a backend that was added in GPUStack.
      - The default follows from the model.
    type: str
  version:
    description: The backend's version. Without it, a model that is there keeps its own, and GPUStack chooses for a new one.
    type: str
  replicas:
    description: How many instances run; V(0) stops it.
    type: int
    default: 1
  npus:
    description: NPUs of each instance, as its tensor parallel size. Without it GPUStack chooses.
    type: int
  hosts:
    description: The workers that it may run on, by their names.
    type: list
    elements: str
    default: []
  chips:
    description: The NPUs that it may use, as lists of their indexes in GPUStack by the workers' names.
    type: dict
    default: {}
  across_hosts:
    description: Whether one instance may spread over several workers; the default is whether O(chips) names several.
    type: bool
  context:
    description: The context length in tokens.
    type: int
  memory:
    description:
      - The share of each NPU's memory that it may take. The default is V(0.8) for vLLM and MindIE, and the backend's own for others; V(0)
        leaves it
        to the backend.
    type: float
  shared_memory:
    description:
      - Its shared memory in GiB, where models run in containers of their own. The default is V(16) for vLLM, MindIE and SGLang; V(0)
        leaves it to
        GPUStack.
    type: int
  parameters:
    description: Further parameters of the backend, such as V(--enable-expert-parallel).
    type: list
    elements: str
    default: []
  env:
    description: Its environment.
    type: dict
    default: {}
  categories:
    description: What it is good for. Without it GPUStack finds out, and what it found stays.
    type: list
    elements: str
    choices: [llm, embedding, reranker, image, speech_to_text, text_to_speech, unknown]
  settings:
    description: Further fields of GPUStack's own model, by its names for them. What is not named stays as it is.
    type: dict
    default: {}
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
- name: Serve Qwen3-32B on four NPUs
  ascend.gpustack.gpustack_model:
    url: http://172.16.33.106:8080
    token: "{{ vault_gpustack_token }}"
    name: qwen3-32b
    path: /data/models/Qwen/Qwen3-32B
    npus: 4
    context: 32768

- name: Stop it
  ascend.gpustack.gpustack_model:
    url: http://172.16.33.106:8080
    token: "{{ vault_gpustack_token }}"
    name: qwen3-32b
    path: /data/models/Qwen/Qwen3-32B
    npus: 4
    context: 32768
    replicas: 0

- name: Remove it
  ascend.gpustack.gpustack_model:
    url: http://172.16.33.106:8080
    token: "{{ vault_gpustack_token }}"
    name: qwen3-32b
    state: absent
"""

RETURN = r"""
action:
  description: What was done, or would be in check mode; one of V(none), V(created), V(changed), V(scaled), V(restarted), V(removed).
  returned: success
  type: str
  sample: created
changes:
  description: GPUStack's fields that differ, by their names.
  returned: success
  type: list
  elements: str
  sample: [backend_parameters]
id:
  description: The model's number in GPUStack; V(null) where there is none.
  returned: success
  type: int
reason:
  description:
    - Why not; as of M(ascend.gpustack.gpustack_worker_info), or V(rejected) where GPUStack refuses what is said of the model, and
      V(model) where no
      GPUStack could be asked for it.
  returned: failure
  type: str
  sample: rejected
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import api as gpustack_api
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import model_change, models
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.models_api import ModelsClient

SPEC = {
    "url": {"type": "str", "required": True},
    "token": {"type": "str", "required": True, "no_log": True},
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    **{name: {"type": "str"} for name in ("path", "model_scope", "hugging_face", "file", "backend", "version")},
    "replicas": {"type": "int", "default": 1},
    "npus": {"type": "int"},
    "hosts": {"type": "list", "elements": "str", "default": []},
    "chips": {"type": "dict", "default": {}},
    "across_hosts": {"type": "bool"},
    "context": {"type": "int"},
    "memory": {"type": "float"},
    "shared_memory": {"type": "int"},
    "parameters": {"type": "list", "elements": "str", "default": []},
    "env": {"type": "dict", "default": {}},
    "categories": {
        "type": "list",
        "elements": "str",
        "choices": ["llm", "embedding", "reranker", "image", "speech_to_text", "text_to_speech", "unknown"],
    },
    "settings": {"type": "dict", "default": {}},
    "timeout": {"type": "int", "default": 30},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
}


def fault(item: dict) -> str:
    """What is wrong with what is said of a model; empty where nothing is."""
    sources = [key for key in models.SOURCES if item.get(key)]
    if item["state"] == "present" and len(sources) != 1 and "source" not in item["settings"]:
        said = " and ".join(sources) if sources else "no source"
        return f"the model {item['name']} has {said}; expected one of path, model_scope and hugging_face. Give that one."
    return ""


def told(name: str, error: gpustack_api.ApiError) -> str:
    if error.kind == "rejected":
        return f"model {name}: GPUStack refuses it ({error}); expected it to take what is said of the model. Correct that."
    return f"model {name}: {error}."


def without_secrets(params: dict) -> dict:
    """What a result tells of how the module was called."""
    env = redact.environment({key: str(value) for key, value in params["env"].items()})
    return {**params, "token": redact.HIDDEN, "env": env, **{key: redact.data(params[key]) for key in ("parameters", "settings")}}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    params = module.params
    module.no_log_values.update(redact.secrets_of(params["parameters"], {key: str(value) for key, value in params["env"].items()}))
    shown = {"invocation": {"module_args": without_secrets(params)}}
    wrong = fault(params)
    if wrong:
        module.fail_json(msg=wrong, **shown)
    fetch = gpustack_api.fetcher(params["token"], params["validate_certs"], params["ca_path"])
    client = ModelsClient(params["url"], fetch, params["timeout"])
    try:
        result = model_change.change(client, params, module.check_mode, model_change.Clock(time.monotonic, time.sleep))
    except gpustack_api.ApiError as error:
        module.fail_json(msg=told(params["name"], error), reason=error.kind, **shown)
    module.exit_json(**result, **shown)


if __name__ == "__main__":
    main()
