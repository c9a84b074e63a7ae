#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpustack_directory
short_description: Make a directory for GPUStack, or remove what GPUStack put into one
version_added: 0.3.0
description:
  - A directory that this module makes gets a mark, the file C(.ascend-gpustack). One that is there already gets none.
  - Of a marked directory it removes what GPUStack itself puts there, and the directory once nothing else is in it. Anything else stays.
  - Removes nothing from a directory without a mark, from a symbolic link, a mount point, the root of the model store or what lies above it,
    a directory of the system, or one that has something mounted below it. These are no failure; RV(kept) names them.
  - Each look and each removal has a time limit, so that a file server that is gone holds nothing up.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.change
  - ascend.gpustack.attributes.group
options:
  path:
    description: The directory.
    type: path
    required: true
  state:
    description: V(present) makes it where nothing is; V(absent) removes what may be removed.
    type: str
    choices: [present, absent]
    default: present
  kind:
    description:
      - What GPUStack has there, and so may be removed.
      - V(cache) is what it downloads, V(data) its data directory, and V(config) that of its configuration file, which needs no mark.
    type: str
    choices: [cache, data, config]
    default: cache
  mode:
    description: The mode of a directory that is made.
    type: str
    default: "0755"
  store:
    description: The root of the model store, which gets no mark and is never removed.
    type: path
  timeout:
    description: Seconds that a removal may take.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: Make the directory for what GPUStack downloads
  ascend.gpustack.gpustack_directory:
    path: /data/models/gpustack-cache

- name: Remove what GPUStack downloaded
  ascend.gpustack.gpustack_directory:
    path: /data/models/gpustack-cache
    store: /data/models
    state: absent
"""

RETURN = r"""
removed:
  description: What was removed, or would be in check mode; the directory itself is last.
  returned: with O(state=absent)
  type: list
  elements: str
  sample: [/data/models/gpustack-cache/huggingface, /data/models/gpustack-cache]
kept:
  description: What stays, each with C(path), C(why), and the C(command) that removes it, which is empty where nothing may ever be removed.
  returned: with O(state=absent)
  type: list
  elements: dict
  sample:
    - path: /data/models/gpustack-cache/own-model
      why: is not GPUStack's own
      command: rm -rf -- /data/models/gpustack-cache/own-model
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils import files
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import directory
from ansible_collections.ascend.gpustack.plugins.module_utils.host import mounts as host_mounts
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner, run

LOOK_LIMIT = 20.0


def remove(runner: Runner, parameters: dict[str, Any], mountinfo: str, check: bool) -> dict[str, Any]:
    mounts = host_mounts.parse_mountinfo(mountinfo)
    store = directory.resolve(runner, parameters["store"], LOOK_LIMIT) if parameters["store"] else ""
    seen = directory.look(runner, parameters["path"], LOOK_LIMIT)
    wanted = directory.plan(seen, parameters["kind"], store, mounts)
    error = "" if check or not wanted.remove else directory.carry_out(runner, seen, wanted, parameters["timeout"])
    return {
        "changed": bool(wanted.remove),
        "removed": wanted.remove,
        "kept": wanted.kept,
        "diff": {"before": "".join(f"{path}\n" for path in wanted.remove), "after": ""},
        "error": error,
    }


def present(runner: Runner, parameters: dict[str, Any], check: bool) -> dict[str, Any]:
    result = directory.make(runner, parameters["path"], parameters["mode"], parameters["store"] or "", check, LOOK_LIMIT)
    return {**result, "diff": {"before": "", "after": f"{parameters['path']}\n" if result["changed"] else ""}}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "kind": {"type": "str", "choices": list(directory.OWN), "default": "cache"},
            "mode": {"type": "str", "default": "0755"},
            "store": {"type": "path"},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    parameters = module.params
    if not parameters["path"].startswith("/") or not re.fullmatch(r"0?[0-7]{3}", parameters["mode"]):
        module.fail_json(msg=f"path is {parameters['path']}, mode {parameters['mode']}; expected an absolute path and a mode such as 0755.")
    if parameters["state"] == "present":
        result = present(run, parameters, module.check_mode)
    else:
        result = remove(run, parameters, files.read_text("/proc/self/mountinfo"), module.check_mode)
    error = result.pop("error")
    if error:
        module.fail_json(msg=f"{error}; expected to run as root on a file system that answers. Mend that, and run this again.", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
