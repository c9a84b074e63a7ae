#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpustack_restore
short_description: Put a backup in the place of what a GPUStack server has, or put back what was there
version_added: 0.4.0
description:
  - With O(state=placed) the container is stopped and gets another name, and data and settings are set aside within the data directory;
    those of the backup come in their place, and the database is made of it. The container is not made.
  - Until O(state=finished) all of that can be taken back with O(state=put_back), also when it was cut off anywhere. A further
    O(state=placed) begins with that.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.change
  - ascend.gpustack.attributes.group
options:
  state:
    description: What to do.
    type: str
    choices: [placed, put_back, finished]
    required: true
  container:
    description: The server's container.
    type: str
    default: gpustack
  data_volume:
    description: The Docker volume, or the directory on the host, with the server's data; it has to be there.
    type: str
    required: true
  config_path:
    description: The server's configuration file.
    type: path
    default: /etc/gpustack/config.yaml
  path:
    description: The backup. Required with O(state=placed), as are the next two.
    type: path
  image:
    description: The image in which the database is made; that of the server to come.
    type: str
  same_host:
    description: Whether the backup is this host's. Of another one's, the identity of its own worker stays out.
    type: bool
  work:
    description: A directory on a local disk, below which one that is encrypted is decrypted for the time being.
    type: path
    default: /var/lib/gpustack-backup
  passphrase:
    description: The passphrase of one that is encrypted.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Put the backup in the place of what is there
  ascend.gpustack.gpustack_restore:
    state: placed
    path: /var/lib/gpustack-backup/gpustack-atlas1-20261127T201745Z-2.3.0.tar.gz
    data_volume: gpustack-data
    image: registry.example.com/gpustack:ours
    same_host: true
"""

RETURN = r"""
running:
  description: Whether the container that was there before runs again.
  returned: with O(state=put_back)
  type: bool
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils import files
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup import archive, aside, restore
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.generation import assumed
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner, run


def carry_out(parameters: dict[str, Any], runner: Runner, check: bool) -> dict[str, Any]:
    """Raises StepError, Unusable and OSError."""
    server = aside.node_of(runner, parameters["container"], parameters["data_volume"], parameters["config_path"], restore.OCCASION)
    under_way = os.path.isdir(server.aside)
    if parameters["state"] == "placed":
        if not check:
            with archive.opened(parameters["path"], parameters["passphrase"], parameters["work"]) as plain:
                backup = assumed(archive.check(plain)["version"]).data.backup
                restore.place(server, plain, backup, parameters["image"], parameters["same_host"])
        return {"changed": True}
    if parameters["state"] == "finished":
        if under_way and not check:
            restore.finish(server)
        return {"changed": under_way}
    if not check:
        aside.put_back(server)
    found = server.described(server.container)
    return {"changed": under_way, "running": bool(found and docker_cli.is_running(found))}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["placed", "put_back", "finished"], "required": True},
            "container": {"type": "str", "default": "gpustack"},
            "data_volume": {"type": "str", "required": True},
            "config_path": {"type": "path", "default": "/etc/gpustack/config.yaml"},
            "path": {"type": "path"},
            "image": {"type": "str"},
            "same_host": {"type": "bool"},
            "work": {"type": "path", "default": "/var/lib/gpustack-backup"},
            "passphrase": {"type": "str", "default": "", "no_log": True},
        },
        required_if=[("state", "placed", ("path", "image", "same_host"))],
        supports_check_mode=True,
    )
    os.umask(0o077)
    try:
        module.exit_json(**carry_out(module.params, run, module.check_mode))
    except (aside.StepError, archive.Unusable) as error:
        module.fail_json(msg=f"{error}.")
    except OSError as error:
        module.fail_json(msg=f"{error.filename or module.params['data_volume']}: {error.strerror}; {files.refusal(error)}.")


if __name__ == "__main__":
    main()
