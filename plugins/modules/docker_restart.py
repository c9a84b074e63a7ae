#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: docker_restart
short_description: Restart Docker, with a way back
version_added: 0.4.0
description:
  - Restarts the service C(docker), and starts it where it does not run, and waits until the engine answers and is back in its Swarm.
  - Where it does not start with settings that M(ascend.gpustack.docker_npu_resource) changed, these become what they were before, and
    Docker is started with them. The module fails in any case then, and says what Docker said last.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.state
  - ascend.gpustack.attributes.group
options:
  path:
    description: Docker's settings.
    type: path
    default: /etc/docker/daemon.json
  timeout:
    description: Seconds to wait at most for each start.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: Restart Docker for its new settings
  ascend.gpustack.docker_restart:
    timeout: 300
"""

RETURN = r"""
#
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils import files
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import daemon as docker_daemon
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import service
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import run


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": docker_daemon.CONFIG_FILE},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    try:
        if not module.check_mode:
            service.restart(run, module.params["path"], module.params["timeout"], service.Clock())
    except service.RestartError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename} can't be put back ({error.strerror}); {files.refusal(error)}.")
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
