#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpustack_upgrade
short_description: Keep what a GPUStack node has while a newer version takes its place, or put it back
version_added: 0.4.0
description:
  - With O(state=kept) the container is stopped and gets another name, and its data and settings are copied within the data directory. The
    newer container is not made.
  - Until O(state=done) that is taken back with O(state=put_back), also when it was cut off anywhere; what was kept stays, so that
    O(state=rolled_back) takes the upgrade back later.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.change
  - ascend.gpustack.attributes.group
options:
  state:
    description: What to do.
    type: str
    choices: [kept, done, put_back, rolled_back]
    required: true
  container:
    description: The node's container.
    type: str
    default: gpustack
  data_volume:
    description: The Docker volume, or the directory on the host, with the node's data; it has to be there.
    type: str
    required: true
  config_path:
    description: The node's configuration file.
    type: path
    default: /etc/gpustack/config.yaml
  before:
    description: The version that is kept. Required with O(state=kept), as is the next.
    type: str
  wanted:
    description: The version that takes its place.
    type: str
  backup:
    description: The backup that was made beforehand, which a rollback is told of; empty for none.
    type: str
    default: ""
  log:
    description: The file for the log of a newer container that did not come up and goes.
    type: path
    default: /var/log/gpustack-upgrade.log
  served:
    description:
      - With O(state=put_back), whether the newer version may have been used meanwhile, since a run before this one was cut off.
      - Its data are set aside then, as C(.replaced-by-rollback) in the data directory, instead of removed.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Keep what is there
  ascend.gpustack.gpustack_upgrade:
    state: kept
    data_volume: gpustack-data
    before: 1.0.0
    wanted: 1.1.0
"""

RETURN = r"""
running:
  description: Whether the container runs that was there before.
  returned: with O(state=put_back) and O(state=rolled_back)
  type: bool
logged:
  description: Whether the newer container had a log, which is in O(log) now.
  returned: with O(state=put_back) and O(state=rolled_back)
  type: bool
"""

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils import files
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup import aside, upgrade
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner, run


def carry_out(parameters: dict[str, Any], runner: Runner, check: bool) -> dict[str, Any]:
    """Raises StepError and OSError."""
    node = aside.node_of(runner, parameters["container"], parameters["data_volume"], parameters["config_path"], upgrade.OCCASION)
    state, under_way = parameters["state"], os.path.isdir(node.aside)
    if check:
        return {"changed": state == "kept" or under_way}
    if state == "kept":
        moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        upgrade.keep(node, parameters["before"], parameters["wanted"], parameters["backup"], moment)
        return {"changed": True}
    if state == "done":
        upgrade.finish(node)
        return {"changed": True}
    logged = False
    if state == "put_back":
        logged = upgrade.put_back(node, parameters["log"], parameters["served"])
    elif under_way:
        upgrade.roll_back(node)
    found = node.described(node.container)
    return {"changed": under_way, "running": bool(found and docker_cli.is_running(found)), "logged": logged}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["kept", "done", "put_back", "rolled_back"], "required": True},
            "container": {"type": "str", "default": "gpustack"},
            "data_volume": {"type": "str", "required": True},
            "config_path": {"type": "path", "default": "/etc/gpustack/config.yaml"},
            "before": {"type": "str"},
            "wanted": {"type": "str"},
            "backup": {"type": "str", "default": ""},
            "log": {"type": "path", "default": "/var/log/gpustack-upgrade.log"},
            "served": {"type": "bool", "default": False},
        },
        required_if=[("state", "kept", ("before", "wanted"))],
        supports_check_mode=True,
    )
    os.umask(0o077)
    try:
        module.exit_json(**carry_out(module.params, run, module.check_mode))
    except aside.StepError as error:
        module.fail_json(msg=f"{error}.")
    except OSError as error:
        module.fail_json(msg=f"{error.filename or module.params['data_volume']}: {error.strerror}; {files.refusal(error)}.")


if __name__ == "__main__":
    main()
