#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpustack_config
short_description: Write GPUStack's configuration file
version_added: 0.1.0
description:
  - Writes the YAML file that C(gpustack start --config-file) reads, so that no secret stands on a command line or in
    C(docker inspect).
  - The file belongs to C(root), with mode V(0600); its directory is made with mode V(0700). A wrong owner or mode of
    the file is repaired.
  - The file is replaced in one step; a reader sees the old one or the new one. It is left alone, with its modification
    time, when its settings are right already.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.group
attributes:
  check_mode:
    description: Can run in check mode and say what it would change.
    support: full
  diff_mode:
    description: Shows the settings, one a line; secrets as V(***).
    support: full
options:
  path:
    description: The file.
    type: path
    default: /etc/gpustack/config.yaml
  config:
    description:
      - GPUStack's settings by the names of its configuration file, without secrets. Those that are V(null) are
        left out.
      - A setting whose name looks like a secret's is masked in the output as well, but not in the system log
        of the host. Secrets belong into O(secrets).
    type: dict
    default: {}
  secrets:
    description: Settings whose values must not be seen, such as C(token). Those that are V(null) or empty are left out.
    type: dict
    default: {}
  keep:
    description:
      - Names of settings that keep the value they have in the present file when neither O(config) nor O(secrets) gives
        them.
      - Every other setting of the present file that is not given is removed.
    type: list
    elements: str
    default: []
  make:
    description:
      - Names of secrets that are made, 32 hexadecimal digits each, where neither O(config) nor O(secrets) gives them and the present file
        has none, when they are in O(keep). In check mode none is made.
    type: list
    elements: str
    default: []
  files:
    description: Further files beside the configuration, such as certificates, likewise with the mode V(0600).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file.
        type: path
        required: true
      content:
        description: Its text, which is not shown; empty removes it.
        type: str
        default: ""
      restart:
        description: Whether GPUStack has to be started again to see it.
        type: bool
        default: true
notes:
  - A file made by hand is read as far as its top-level settings stand on one line each, and is then replaced.
"""

EXAMPLES = r"""
- name: Write the configuration of a worker
  ascend.gpustack.gpustack_config:
    config:
      server_url: http://172.16.33.106:8080
      worker_name: atlas2
      worker_ip: 172.16.33.107
      cache_dir: /data/models/gpustack-cache
    secrets:
      token: "{{ vault_gpustack_token }}"

- name: Write the configuration of the server and leave its token as it is
  ascend.gpustack.gpustack_config:
    config:
      port: 8080
      force_auth_localhost: true
    keep:
      - token

- name: Write the server's certificate, too
  ascend.gpustack.gpustack_config:
    config:
      port: 8080
      ssl_certfile: /etc/gpustack/tls/server.crt
      ssl_keyfile: /etc/gpustack/tls/server.key
    files:
      - path: /etc/gpustack/tls/server.crt
        content: "{{ lookup('ansible.builtin.file', 'certs/server.crt') }}"
      - path: /etc/gpustack/tls/server.key
        content: "{{ vault_tls_key }}"
"""

RETURN = r"""
changed_keys:
  description:
    - Names of the settings that were, or in check mode would be, added, changed or removed, and the paths of those O(files) for which
      GPUStack has to be started again.
  returned: success
  type: list
  elements: str
  sample: [cache_dir, token]
made:
  description: Names of the secrets that were, or in check mode would be, made.
  returned: success
  type: list
  elements: str
  sample: [token]
mtime:
  description:
    - When the file, or one of O(files) for which GPUStack has to be started again, was last written, in seconds since 1970 by the host's
      clock.
    - V(null) in check mode when there is no file yet.
  returned: success
  type: float
  sample: 1763779200.25
"""

import os
import secrets
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils import files as text_file
from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import beside, config_file

ROOT = (0, 0)


def read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except FileNotFoundError:
        return None
    except IsADirectoryError as error:
        raise config_file.ConfigError(
            f"{path} is a directory; expected a file (Docker makes a directory when a container mounts a file"
            f" that isn't there). Remove it: rmdir {path}."
        ) from error


def write(module: AnsibleModule, path: str, text: str, owner: tuple[int, int]) -> None:
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    with text_file.alone(directory):
        # A fixed name: what a killed run left is overwritten by the next one. 0600 from its first byte.
        draft = os.path.join(directory, f".{os.path.basename(path)}.new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, beside.MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), beside.MODE)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        # atomic_move gives the new file the mode of the old one, or of the umask.
        beside.repair_access(path, owner)
        module.atomic_move(draft, path)
        beside.repair_access(path, owner)
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def mtime(paths: list[str]) -> float | None:
    """When the last of them was written; None where the first is not there."""
    if not os.path.exists(paths[0]):
        return None
    return max(os.stat(path).st_mtime for path in paths if os.path.exists(path))


def configure(module: AnsibleModule, owner: tuple[int, int]) -> dict[str, Any]:
    path = module.params["path"]
    # Made and written in one step: a run that is killed before leaves none, and one that is killed after leaves what the next one keeps.
    made = {name: "" if module.check_mode else secrets.token_hex(16) for name in module.params["make"]}
    plan = config_file.plan(read(path), module.params["config"], module.params["secrets"], module.params["keep"], made)
    access = beside.access_line(path, owner)
    files = module.params["files"]
    found = beside.differing(files, owner)
    vital = [file["path"] for file in files if file["restart"]]
    if not module.check_mode:
        # The configuration names them: they are there before it does, and go after it no longer does.
        beside.place([file for file in files if file["content"]], found, owner)
        if plan.rewrite:
            write(module, path, plan.text, owner)
        elif access:
            beside.repair_access(path, owner)
        beside.place([file for file in files if not file["content"]], found, owner)
    before, after = beside.told(files, found)
    return {
        "changed": plan.rewrite or bool(access) or bool(found),
        "changed_keys": plan.changed_keys + [name for name in vital if found.get(name, beside.OPEN) != beside.OPEN],
        "made": plan.made,
        "mtime": mtime([path, *vital]),
        "diff": {
            "before_header": path,
            "after_header": path,
            "before": access + plan.before + before,
            "after": (f"# mode {beside.MODE:04o}, owner {owner[0]}, group {owner[1]}\n" if access else "") + plan.after + after,
        },
    }


def main(owner: tuple[int, int] = ROOT) -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/etc/gpustack/config.yaml"},
            "config": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "keep": {"type": "list", "elements": "str", "default": []},
            "make": {"type": "list", "elements": "str", "default": []},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    "content": {"type": "str", "default": "", "no_log": True},
                    "restart": {"type": "bool", "default": True},
                },
            },
        },
        supports_check_mode=True,
    )
    os.umask(0o077)
    module.no_log_values.update(redact.secrets_in(module.params["config"]))
    try:
        result = configure(module, owner)
    except config_file.ConfigError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{module.params['path']} can't be written ({error.strerror}: {error.filename}); {text_file.refusal(error)}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
