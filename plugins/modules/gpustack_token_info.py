#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpustack_token_info
short_description: Read the cluster token from the GPUStack server's container
version_added: 0.1.0
description:
  - Runs on the server's host and reads the token with which workers join. Needs the C(docker) command, and no Python
    library.
  - The token is looked for where GPUStack takes it from, in its order; the container's arguments, its environment,
    its configuration file, the file that GPUStack writes into its data directory when nothing gives a token.
  - The result holds secrets in clear text. Set C(no_log) on the task.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.info
  - ascend.gpustack.attributes.group
options:
  container:
    description: The container's name.
    type: str
    default: gpustack
  data_dir:
    description: GPUStack's data directory in the container, when no setting of the container names another one.
    type: path
    default: /var/lib/gpustack
  wait:
    description:
      - Seconds to wait for what a starting server has not written yet, for a container that Docker is about to start,
        and for a Docker daemon that does not answer. V(0) tries once.
      - A container that is missing or has ended, and a malformed token, fail at once.
    type: int
    default: 120
  allow_stopped:
    description:
      - Whether a container that does not run may tell its token too. What stands in a file is then copied out of it, for
        which Docker mounts again all that the container has mounted.
    type: bool
    default: false
  initial_password:
    description: Whether to read the password that GPUStack made for its user C(admin) as well, and to wait for it.
    type: bool
    default: false
  url:
    description:
      - The server's address as this host reaches it, such as V(http://127.0.0.1:8080).
      - With O(initial_password), GPUStack is asked whether the password has been changed; its file stays as it was.
    type: str
"""

EXAMPLES = r"""
- name: Read the token with which workers join
  ascend.gpustack.gpustack_token_info:
    wait: 300
  register: server
  no_log: true

- name: Read the password for the first login
  ascend.gpustack.gpustack_token_info:
    initial_password: true
    url: http://127.0.0.1:8080
  register: server
  no_log: true
"""

RETURN = r"""
token:
  description: The cluster token. Secret.
  returned: success
  type: str
  sample: 0123456789abcdef0123456789abcdef
source:
  description: Where it stands; V(argument), V(environment), V(config) or V(file).
  returned: success
  type: str
  sample: file
generated:
  description: Whether it has the form that GPUStack gives to a token of its own making, and stands in GPUStack's file.
  returned: success
  type: bool
  sample: true
initial_password:
  description: The password that GPUStack made for C(admin). Secret. V(null) when there is none or it has been changed.
  returned: success, when O(initial_password) is V(true)
  type: str
  sample: Xk3!example
initial_password_reason:
  description: Why there is no password to tell, or why it may have been changed; V(null) when it is known to be valid.
  returned: success, when O(initial_password) is V(true)
  type: str
  sample: the password of admin has been changed
reason:
  description:
    - What kind of failure it is; one of V(docker_missing), V(docker_unreachable), V(container_missing),
      V(container_not_running), V(arguments_refused), V(token_not_there), V(token_empty), V(token_malformed).
  returned: failure
  type: str
  sample: container_missing
transient:
  description: Whether it may help to ask again later.
  returned: failure
  type: bool
"""

import time
from collections.abc import Mapping
from typing import Any, Callable, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import api as gpustack_api
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import token as gpustack_token
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.container import Settings
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner, run

API_LIMIT = 5.0

# URL and token to whether admin still has the password that GPUStack made.
Unchanged = Callable[[str, str], Optional[bool]]


def password_unchanged(url: str, token: str) -> bool | None:
    # The token goes to this host's own server; its certificate is for the name that others use.
    client = gpustack_api.Client(url, gpustack_api.fetcher(token, validate_certs=False), API_LIMIT)
    client.version()
    return client.admin_must_change_password()


def initial_password(found: gpustack_token.Password, token: str, url: str | None, unchanged: Unchanged, last_try: bool) -> dict[str, Any]:
    """Raises a transient TokenError while the server may still be about to write the password."""
    answer: bool | None = None
    silence = "the server's url is not given, so GPUStack was not asked whether the password has been changed"
    if url:
        try:
            answer = unchanged(url, token)
            silence = "GPUStack has no user admin, or shows none to whoever has the cluster token"
        except gpustack_api.ApiError as error:
            silence = f"GPUStack could not be asked whether the password has been changed: {error}"
    if found.value is None:
        if answer is None and not last_try:
            raise gpustack_token.TokenError("token_not_there", found.reason or "", transient=True)
        return {"initial_password": None, "initial_password_reason": found.reason}
    if answer is False:
        return {"initial_password": None, "initial_password_reason": "the password of admin has been changed"}
    return {"initial_password": found.value, "initial_password_reason": None if answer else silence}


def read(run_command: Runner, params: Mapping[str, Any], unchanged: Unchanged, last_try: bool) -> dict[str, Any]:
    container = gpustack_token.inspect(run_command, params["container"])
    settings = Settings(run_command, container, container.generation.command_line)
    gpustack_token.refuse_arguments(container, settings)
    if not params["allow_stopped"]:
        gpustack_token.refuse_not_running(container)
    token = gpustack_token.find_token(run_command, container, settings, params["data_dir"])
    result = {"token": token.value, "source": token.source, "generated": token.generated}
    if params["initial_password"]:
        found = gpustack_token.find_password(run_command, container, settings, params["data_dir"])
        given = found.value is None and settings.get("bootstrap_password") is not None
        result.update(initial_password(found, token.value, params["url"], unchanged, last_try or given))
    return result


def gather(run_command: Runner, params: Mapping[str, Any], clock: gpustack_token.Clock, unchanged: Unchanged) -> dict[str, Any]:
    return gpustack_token.wait_for(lambda last_try: read(run_command, params, unchanged, last_try), params["wait"], clock)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "container": {"type": "str", "default": "gpustack"},
            "data_dir": {"type": "path", "default": "/var/lib/gpustack"},
            "wait": {"type": "int", "default": 120},
            "allow_stopped": {"type": "bool", "default": False},
            "initial_password": {"type": "bool", "default": False, "no_log": False},
            "url": {"type": "str"},
        },
        supports_check_mode=True,
    )
    clock = gpustack_token.Clock(time.monotonic, time.sleep)
    try:
        result = gather(run, module.params, clock, password_unchanged)
    except gpustack_token.TokenError as error:
        module.fail_json(msg=f"{error}.", reason=error.reason, transient=error.transient)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
