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
      token: "{{ cluster_token }}"

- name: Write the configuration of the server and leave its token as it is
  ascend.gpustack.gpustack_config:
    config:
      port: 8080
      force_auth_localhost: true
    keep:
      - token
"""

RETURN = r"""
changed_keys:
  description: Names of the settings that were, or in check mode would be, added, changed or removed.
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
    - When the file was last written, in seconds since 1970 by the host's clock.
    - V(null) in check mode when there is no file yet.
  returned: success
  type: float
  sample: 1763779200.25
"""

import os
import secrets
import stat
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils import files as text_file
from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import config_file

ROOT = (0, 0)
MODE = 0o600


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


def access_line(path: str, owner: tuple[int, int]) -> str:
    """How mode and owner of a present file differ from what they should be; empty when they don't."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return ""
    mode = stat.S_IMODE(status.st_mode)
    if mode == MODE and (status.st_uid, status.st_gid) == owner:
        return ""
    return f"# mode {mode:04o}, owner {status.st_uid}, group {status.st_gid}\n"


def write(module: AnsibleModule, path: str, text: str, owner: tuple[int, int]) -> None:
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    with text_file.alone(directory):
        # A fixed name: what a killed run left is overwritten by the next one. 0600 from its first byte.
        draft = os.path.join(directory, f".{os.path.basename(path)}.new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), MODE)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        # atomic_move gives the new file the mode of the old one, or of the umask.
        repair_access(path, owner)
        module.atomic_move(draft, path)
        repair_access(path, owner)
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def repair_access(path: str, owner: tuple[int, int]) -> None:
    if os.path.exists(path):
        os.chmod(path, MODE)
        os.chown(path, *owner)


def mtime(path: str) -> float | None:
    return os.stat(path).st_mtime if os.path.exists(path) else None


def configure(module: AnsibleModule, owner: tuple[int, int]) -> dict[str, Any]:
    path = module.params["path"]
    # Made and written in one step: a run that is killed before leaves none, and one that is killed after leaves what the next one keeps.
    made = {name: "" if module.check_mode else secrets.token_hex(16) for name in module.params["make"]}
    plan = config_file.plan(read(path), module.params["config"], module.params["secrets"], module.params["keep"], made)
    access = access_line(path, owner)
    if not module.check_mode:
        if plan.rewrite:
            write(module, path, plan.text, owner)
        elif access:
            repair_access(path, owner)
    return {
        "changed": plan.rewrite or bool(access),
        "changed_keys": plan.changed_keys,
        "made": plan.made,
        "mtime": mtime(path),
        "diff": {
            "before_header": path,
            "after_header": path,
            "before": access + plan.before,
            "after": (f"# mode {MODE:04o}, owner {owner[0]}, group {owner[1]}\n" if access else "") + plan.after,
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
