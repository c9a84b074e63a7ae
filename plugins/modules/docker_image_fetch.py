#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: docker_image_fetch
short_description: Bring an image to a host, from its registry or from an archive
version_added: 0.3.0
description:
  - Pulls the image, or loads an archive made by C(docker save), and shows every now and then how far that is.
  - A process of its own on the host does it, and goes on when the connection is lost; the next run joins it.
  - Needs no Python library. Credentials go to Docker Engine over its socket, and are kept nowhere.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.group
attributes:
  check_mode:
    description: Whether it can run in check mode.
    support: none
  diff_mode:
    description: Whether it returns what changed.
    support: none
options:
  image:
    description: The image by name and tag, or digest.
    type: str
    required: true
  archive:
    description: A file on the host to load the image from, in place of its registry.
    type: path
  further:
    description: Further images that the archive is to bring. One that is not there afterwards is an error.
    type: list
    elements: str
    default: []
  username:
    description: The user name at the registry; empty where it asks for none.
    type: str
    default: ""
  password:
    description: The password of O(username).
    type: str
    default: ""
  timeout:
    description: Seconds that it may take.
    type: int
    default: 3600
  job:
    description: The RV(job) that an earlier call started, to wait for; without it one is started, or joined where one is at work.
    type: str
  wait:
    description: Seconds to wait for its end in one call. Called as a task, the calls are repeated until the end.
    type: int
    default: 5
"""

EXAMPLES = r"""
- name: Load the image from the store
  ascend.gpustack.docker_image_fetch:
    image: haproxy:2.6
    archive: /data/models/haproxy.tar
"""

RETURN = r"""
job:
  description: What is at work, for O(job).
  returned: always
  type: str
finished:
  description: Whether it has ended.
  returned: always
  type: bool
progress:
  description: How far it is.
  returned: always
  type: str
  sample: 2.1 GiB, 3 of 12 layers done
error:
  description: Why the image could not be brought; null while and when it is well.
  returned: always
  type: str
kind:
  description: What kind of error that is; V(credentials), V(missing), V(rate), V(disk), V(time), V(network), V(engine) or V(process).
  returned: always
  type: str
"""

import os
import uuid
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import image_job
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import images as docker_images
from ansible_collections.ascend.gpustack.plugins.module_utils.jobs import Busy, Jobs, detached


def start(parameters: dict[str, Any], jobs: Jobs) -> str:
    """The name of the job that brings the image: the one at work, or a new one in a process that outlives this module."""
    what = [parameters["image"], parameters["archive"]]
    with jobs.lock() as mine:
        if not mine:
            return jobs.running(what)
        name = uuid.uuid4().hex
        jobs.write({"job": name, "what": what, "progress": "started", "finished": False, "error": None, "kind": None})
        headers = docker_images.credentials(parameters["image"], parameters["username"], parameters["password"])
        if os.fork() == 0:
            images = [parameters["image"], *parameters["further"]]
            detached(lambda: image_job.bring(jobs, images, parameters["archive"], headers, parameters["timeout"]))
        return name


def follow(jobs: Jobs, name: str, wait: float) -> dict[str, Any]:
    state = jobs.follow(name, wait)
    if not state:
        return {"finished": True, "progress": "", "error": "the process that brought it has ended before its time", "kind": "process"}
    return {key: state[key] for key in ("finished", "progress", "error", "kind")}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "image": {"type": "str", "required": True},
            "archive": {"type": "path"},
            "further": {"type": "list", "elements": "str", "default": []},
            "username": {"type": "str", "default": ""},
            "password": {"type": "str", "default": "", "no_log": True},
            "timeout": {"type": "int", "default": 3600},
            "job": {"type": "str"},
            "wait": {"type": "int", "default": 5},
        },
    )
    jobs = Jobs(image_job.PLACE, "an image")
    try:
        name = module.params["job"] or start(module.params, jobs)
    except Busy as error:
        module.fail_json(msg=str(error), kind="busy", error=str(error), finished=True)
    result = follow(jobs, name, module.params["wait"])
    if result["error"]:
        module.fail_json(msg=f"{module.params['image']} could not be brought: {result['error']}", job=name, **result)
    module.exit_json(changed=True, job=name, **result)


if __name__ == "__main__":
    main()
