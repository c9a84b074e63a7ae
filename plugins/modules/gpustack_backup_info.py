#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpustack_backup_info
short_description: Read a backup of a GPUStack server, and whether it is whole
version_added: 0.4.0
description:
  - Reads all of the backup and compares it with its checksums; one that is encrypted is decrypted for that.
  - Fails where it is damaged, unfinished, or can't be decrypted.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.info
  - ascend.gpustack.attributes.group
options:
  path:
    description: The backup; empty for the newest one of the O(directories).
    type: path
    default: ""
  directories:
    description: Where to look for the newest; the first one that has any is taken.
    type: list
    elements: path
    default: []
  work:
    description: A directory on a local disk, below which one that is encrypted is decrypted for the time being.
    type: path
    default: /var/lib/gpustack-backup
  passphrase:
    description: The passphrase of one that is encrypted.
    type: str
    default: ""
  token:
    description: The cluster token that the inventory gives, to compare with the backup's; empty for none.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Read the newest backup
  ascend.gpustack.gpustack_backup_info:
    directories: [/var/lib/gpustack-backup]
  register: backup
"""

RETURN = r"""
path:
  description: The backup.
  returned: success
  type: str
  sample: /var/lib/gpustack-backup/gpustack-atlas1-20261127T201745Z-2.3.0.tar.gz
manifest:
  description:
    - What it says of itself; C(created), C(host), C(version), C(container), C(image), C(image_id), C(kind), C(address),
      C(port), C(server_url), and C(hosts) with their addresses.
    - As C(names) those of its C(models) and C(workers), V(null) where they are not known.
  returned: success
  type: dict
token_differs:
  description: Whether O(token) is another than the backup's.
  returned: success
  type: bool
remedy:
  description: What helps.
  returned: failure
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup import archive
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.generation import assumed


def read(parameters: dict[str, Any]) -> dict[str, Any]:
    """Raises Unusable; the path is told to whoever catches it by what newest() found."""
    with archive.opened(parameters["path"], parameters["passphrase"], parameters["work"]) as plain:
        manifest = archive.check(plain)
        kept = archive.text(plain, f"data/{assumed(manifest['version']).data.token}").strip()
    return {
        "manifest": manifest,
        "token_differs": bool(parameters["token"]) and bool(kept) and parameters["token"] != kept,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": ""},
            "directories": {"type": "list", "elements": "path", "default": []},
            "work": {"type": "path", "default": "/var/lib/gpustack-backup"},
            "passphrase": {"type": "str", "default": "", "no_log": True},
            "token": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    parameters = module.params
    directories = [each for each in parameters["directories"] if each]
    parameters["path"] = parameters["path"] or archive.newest(directories)
    if not parameters["path"]:
        module.fail_json(
            msg=f"there is no backup in {' and '.join(directories)}; expected one.",
            remedy="Name one with gpustack_restore_file.",
        )
    try:
        module.exit_json(changed=False, path=parameters["path"], **read(parameters))
    except archive.Unusable as error:
        module.fail_json(msg=f"the backup {parameters['path']} {error}.", remedy=error.remedy)
    except OSError as error:
        module.fail_json(msg=f"{error.filename or parameters['path']} can't be read ({error.strerror}).", remedy="See to what it names.")


if __name__ == "__main__":
    main()
