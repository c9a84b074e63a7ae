#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: model_weights_pieces
short_description: Take a model's files in pieces into the model store
version_added: 0.4.0
description:
  - The host's part of M(ascend.gpustack.model_weights) where the files are where Ansible runs; that task calls it, once for each step.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.group
attributes:
  check_mode:
    description: Looks, and takes nothing.
    support: full
  diff_mode:
    description: Whether it returns what changed.
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
  step:
    description: Look at the folder, make the hidden folder beside it ready, write a piece there, or put it in its place.
    type: str
    choices: [look, begin, piece, finish]
    required: true
  origin:
    description: How the source is known again.
    type: dict
    default: {}
  there:
    description: Whether the source is there.
    type: bool
    default: true
  entries:
    description: The source's files, each with C(path), C(size) and C(sha256).
    type: list
    elements: dict
  hashes:
    description: Whether the look compares sums, too.
    type: bool
    default: false
  run:
    description: Which run brings the pieces.
    type: str
    default: ""
  action:
    description: What is being done.
    type: str
    default: ""
  damaged:
    description: Files that are known to be damaged, which an O(action) V(mend) is to bring again.
    type: dict
    default: {}
  name:
    description: The file of a piece.
    type: str
  offset:
    description: Where in the file the piece belongs, in bytes.
    type: int
    default: 0
  piece:
    description: Where the piece lies on the host.
    type: path
  sums:
    description: The sha256 of the files that were brought, by file.
    type: dict
    default: {}
  timeout:
    description: Seconds that a look at the store, or the writing of a piece, may take.
    type: int
    default: 300
  job:
    description: The RV(job) that an earlier call started, to wait for.
    type: str
  wait:
    description: Seconds to wait for its end in one call.
    type: int
    default: 5
"""

EXAMPLES = r"""
- name: See whether a model is in the store
  ascend.gpustack.model_weights_pieces:
    path: /data/models/Qwen/Qwen3-32B
    store: /data/models
    step: look
    origin: {kind: folder, from: /mnt/usb/Qwen3-32B, revision: "", files: []}
"""

RETURN = r"""
action:
  description: What is to be done, or was; V(none), V(bring), V(mend) or V(replace).
  returned: success, of V(look) and V(finish)
  type: str
damaged:
  description: What was found of files that are not as they were brought.
  returned: success, of V(look) and V(finish)
  type: dict
undecided:
  description: Whether O(entries) are needed to say that.
  returned: success, of V(look)
  type: bool
lacking:
  description: From where each file that lacks is to be brought, in bytes.
  returned: success, of V(begin)
  type: dict
job:
  description: What is at work, for O(job).
  returned: while it is at work
  type: str
finished:
  description: Whether the step has ended.
  returned: success
  type: bool
progress:
  description: How far it is.
  returned: while it is at work
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils.weights import calls
from ansible_collections.ascend.gpustack.plugins.module_utils.weights.place import Place, Wanted
from ansible_collections.ascend.gpustack.plugins.module_utils.weights.sources import Entry, Refused


def run(params: dict[str, Any], at: calls.Jobs) -> dict[str, Any]:
    if params["job"]:
        return calls.follow(at, params["job"], params["wait"])
    place, origin = Place(params["path"], params["store"]), params["origin"]
    entries = None if params["entries"] is None else [Entry(**each) for each in params["entries"]]
    wanted = Wanted(origin, params["there"], entries, params["damaged"])
    what = {"step": params["step"], "origin": origin}
    if params["step"] == "finish":
        return calls.start(at, place, what, lambda job: job.finish(params["sums"], params["action"]), params["wait"])
    if params["step"] == "look" and params["hashes"]:
        return calls.start(at, place, what, lambda job: job.look(wanted), params["wait"])
    if params["step"] == "look":
        return calls.within(params["timeout"], lambda: place.look(wanted))
    with at.lock() as mine:
        return (
            calls.within(params["timeout"], lambda: taken(params, place, entries)) if mine else {"finished": False, "progress": calls.WAITS}
        )


def taken(params: dict[str, Any], place: Place, entries: list[Entry] | None) -> dict[str, Any]:
    if params["step"] == "begin":
        mend = params["damaged"] if params["action"] == "mend" else None
        return {"lacking": place.begin(params["origin"], entries or [], mend, params["run"])}
    with open(params["piece"], "rb") as stream:
        place.append(params["name"], params["offset"], stream.read(), params["run"])
    return {}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "store": {"type": "path", "required": True},
            "step": {"type": "str", "required": True, "choices": ["look", "begin", "piece", "finish"]},
            "origin": {"type": "dict", "default": {}},
            "there": {"type": "bool", "default": True},
            "entries": {"type": "list", "elements": "dict"},
            "hashes": {"type": "bool", "default": False},
            "run": {"type": "str", "default": ""},
            "action": {"type": "str", "default": ""},
            "damaged": {"type": "dict", "default": {}},
            "name": {"type": "str"},
            "offset": {"type": "int", "default": 0},
            "piece": {"type": "path"},
            "sums": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 300},
            "job": {"type": "str"},
            "wait": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    if module.check_mode and module.params["step"] != "look":
        module.exit_json(changed=False, finished=True)
    try:
        result = run(module.params, calls.jobs())
    except Refused as error:
        module.fail_json(msg=str(error))
    module.exit_json(**{"changed": False, **result})


if __name__ == "__main__":
    main()
