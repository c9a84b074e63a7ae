#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: model_weights
short_description: Bring a model's files into the model store
version_added: 0.4.0
description:
  - Brings the files of a model from a folder or an archive, on the host or where Ansible runs, from ModelScope or from Hugging Face.
    They come into a hidden folder beside the wanted one, which is renamed when it is whole, so that nobody reads a half.
  - What was cut off goes on where it was. Each file's sha256 is compared with what the source tells of it, by a file C(SHA256SUMS) or
    by the hub's own list. Of several runs at the same time one writes, and the others wait for it.
  - A folder that this module brought has the file C(.gpustack-weights.json). One without it is never touched.
  - Files whose names begin with a dot, and what is in such folders, are left out. An archive that leads out of itself is refused.
  - Needs no Python library on the host.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.group
attributes:
  check_mode:
    description: Can run in check mode and say what it would do. With O(hashes) it reads all files of the folder for that.
    support: full
  diff_mode:
    description: Has no diff to show.
    support: none
options:
  path:
    description: The model's folder in the store.
    type: path
    required: true
  store:
    description: Where the store is on the host.
    type: path
    required: true
  kind:
    description: What the source is.
    type: str
    choices: [folder, archive, model_scope, hugging_face]
    required: true
  source:
    description:
      - A path, or a model's id. An archive is a tar, compressed or not, or a zip; a single folder at its top is the model's own.
    type: str
    required: true
  on_controller:
    description:
      - Whether the folder or the archive is where Ansible runs, from where it comes in pieces over the connection
        (M(ascend.gpustack.model_weights_pieces)).
    type: bool
    default: false
  revision:
    description: Of a hub a branch, a tag or a commit; the default is its main branch. Another one than before brings the model anew.
    type: str
    default: ""
  files:
    description: Patterns of the files to bring, such as V(*.safetensors), of which one has to fit; by default all.
    type: list
    elements: str
    default: []
  address:
    description: The hub, or a mirror of it.
    type: str
  token:
    description: For models that the hub gives only to those who are allowed. It is sent to O(address) alone.
    type: str
    default: ""
  hashes:
    description: Whether the sha256 of each file that is there is computed and compared, which reads all of them. Sizes are always compared.
    type: bool
    default: false
  damaged:
    description: What an earlier call has returned as RV(damaged), so that O(hashes) need not be computed again.
    type: dict
    default: {}
  timeout:
    description: Seconds that a look at the store may take.
    type: int
    default: 60
  job:
    description: The RV(job) that an earlier call started, to wait for.
    type: str
  wait:
    description: Seconds to wait for its end in one call. Called as a task, the calls are repeated until the end.
    type: int
    default: 5
"""

EXAMPLES = r"""
- name: Bring a model from a disk of this host
  ascend.gpustack.model_weights:
    path: /data/models/Qwen/Qwen3-32B
    store: /data/models
    kind: folder
    source: /mnt/usb/Qwen3-32B

- name: Bring a model from ModelScope
  ascend.gpustack.model_weights:
    path: /data/models/BAAI/bge-m3
    store: /data/models
    kind: model_scope
    source: BAAI/bge-m3
    address: https://www.modelscope.cn
    files: ["*.json", "*.safetensors", "*.txt", "*.model"]
"""

RETURN = r"""
action:
  description: What was done, or in check mode would be; V(none), V(bring), V(mend) or V(replace).
  returned: success
  type: str
damaged:
  description: What was found of files that are not as they were brought.
  returned: success
  type: dict
  sample: {model-00001-of-00002.safetensors: is missing}
job:
  description: What is at work, for O(job).
  returned: while it is at work
  type: str
finished:
  description: Whether it has ended.
  returned: success
  type: bool
progress:
  description: How far it is.
  returned: while it is at work
  type: str
  sample: 12.5 GiB of 61.0 GiB brought
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils.weights import calls
from ansible_collections.ascend.gpustack.plugins.module_utils.weights.bring import Source
from ansible_collections.ascend.gpustack.plugins.module_utils.weights.place import Place
from ansible_collections.ascend.gpustack.plugins.module_utils.weights.sources import Refused


def run(params: dict[str, Any], at: calls.Jobs, check: bool) -> dict[str, Any]:
    if params["job"]:
        return calls.follow(at, params["job"], params["wait"])
    source, place = Source({**params, "from": params["source"]}), Place(params["path"], params["store"])
    if not params["hashes"]:
        seen = calls.within(params["timeout"], lambda: place.look(source.wanted(params["damaged"])))
        if (check or seen["action"] == "none") and not seen["undecided"]:
            return {**seen, "changed": seen["action"] != "none"}
    what = {name: params[name] for name in ("kind", "source", "revision", "files", "hashes")}
    return calls.start(
        at, place, {**what, "check": check}, lambda job: job.work(source, params["damaged"], params["hashes"], check), params["wait"]
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "store": {"type": "path", "required": True},
            "kind": {"type": "str", "required": True, "choices": ["folder", "archive", "model_scope", "hugging_face"]},
            "source": {"type": "str", "required": True},
            "on_controller": {"type": "bool", "default": False},
            "revision": {"type": "str", "default": ""},
            "files": {"type": "list", "elements": "str", "default": []},
            "address": {"type": "str"},
            "token": {"type": "str", "default": "", "no_log": True},
            "hashes": {"type": "bool", "default": False},
            "damaged": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 60},
            "job": {"type": "str"},
            "wait": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module.params, calls.jobs(), module.check_mode)
    except Refused as error:
        module.fail_json(msg=str(error))
    module.exit_json(**{"changed": False, **result})


if __name__ == "__main__":
    main()
