#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: model_store_info
short_description: Read the model store as a host sees it
version_added: 0.3.0
description:
  - Reads whether the store answers, what is mounted there, how much is free, and the id by which hosts know that they see the same store.
  - The path is examined in a process of its own with a time limit, so that a dead NFS server holds nothing up.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.info
  - ascend.gpustack.attributes.group
options:
  path:
    description: Where the store is mounted on the host.
    type: path
    required: true
  container:
    description: The container that works with the store, to see whether it runs. It is not looked for while the store does not answer.
    type: str
  timeout:
    description: Seconds that the store, and then Docker, may take to answer.
    type: int
    default: 20
"""

EXAMPLES = r"""
- name: Read the model store
  ascend.gpustack.model_store_info:
    path: /data/models
  register: seen

- name: Go on with a store that answers
  ansible.builtin.assert:
    that: seen.store.answers
    fail_msg: "{{ seen.store.source }}: {{ seen.store.error }}"
"""

RETURN = r"""
store:
  description: The model store. Where it is mounted is known even when it does not answer.
  returned: success
  type: dict
  contains:
    path:
      description: The path that was asked for.
      type: str
    real:
      description: The same, links followed.
      type: str
    exists:
      description: Whether it is there; null when it does not answer.
      type: bool
    answers:
      description: Whether it could be examined within O(timeout).
      type: bool
    error:
      description: Why not.
      type: str
    is_mount:
      description: Whether something is mounted right there.
      type: bool
    source:
      description: What is mounted, such as C(172.16.33.106:/data/models).
      type: str
    fstype:
      description: The type of the file system.
      type: str
    target:
      description: The mount point that holds the path.
      type: str
    free_mb:
      description: Free space in MiB.
      type: int
    root_fs:
      description: Whether it lies on the root file system.
      type: bool
    writable:
      description: Whether files can be written there.
      type: bool
    id:
      description: The text of the file C(.gpustack-store-id) in it, null without one. Hosts that see the same text see the same store.
      type: str
    fs_id:
      description: The file system's id, of NFS the server's; null where it has none.
      type: str
container:
  description: The container O(container); null where none was looked for.
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
    status:
      description: Docker's word, such as V(running), V(exited) or V(paused), and V(missing) without one; null where Docker gives no answer.
      type: str
    stands_still:
      description: Whether it does not run until someone starts it.
      type: bool
    error:
      description: Why Docker gives no answer.
      type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.host import store
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner, run


def container(runner: Runner, name: str, timeout: float) -> dict[str, Any]:
    unknown: dict[str, Any] = {"name": name, "status": None, "stands_still": False, "error": None}
    try:
        found = docker_cli.read_container(runner, name, timeout)
    except docker_cli.DockerError as error:
        return {**unknown, "error": str(error)}
    if found is None:
        return {**unknown, "status": "missing", "stands_still": True}
    return {**unknown, "status": docker_cli.summary(found)["status"], "stands_still": docker_cli.stands_still(found)}


def gather(parameters: dict[str, Any], runner: Runner, proc: str) -> dict[str, Any]:
    name, timeout = parameters["container"], parameters["timeout"]
    seen = store.read(runner, parameters["path"], proc, timeout)
    return {"store": seen, "container": container(runner, name, timeout) if name and seen["answers"] else None}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "container": {"type": "str"},
            "timeout": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **gather(module.params, run, "/proc"))


if __name__ == "__main__":
    main()
