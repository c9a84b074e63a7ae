#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpustack_takeover_info
short_description: Say what replacing a hand-made GPUStack container would lose
version_added: 0.1.0
description:
  - Compares a container that was not made by this collection with the one the collection would put in its place.
  - Arguments, environment, mounts and options of C(docker run) beyond those of the usual installation are listed. Each
    has to be said by a variable or be given up by O(drop); else it is among the RV(problems).
  - The container's data, its cluster token and its worker's name are looked at too, and its GPUStack version is read
    in a container of the same image that has no network, no mounts, and is removed again.
  - Values of secrets are not in the result. O(env) may hold some; set C(no_log) on the task.
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
  role:
    description: What the host is to be.
    type: str
    choices: [server, worker]
    required: true
  works:
    description: Whether the host is to be a worker too, of a server.
    type: bool
    default: true
  server_url:
    description: The server that a worker is to join.
    type: str
    default: ""
  config:
    description: The settings that will be written to GPUStack's configuration file, without secrets.
    type: dict
    default: {}
  secret_keys:
    description: Names of the settings that will be written too, but are secret. Their values are not compared.
    type: list
    elements: str
    default: []
  has_token:
    description: Whether a cluster token is given by variable.
    type: bool
    default: false
  token:
    description: The cluster token that the container will have, as far as it is known. It is compared, and not told.
    type: str
    default: ""
  env:
    description: The environment that the container will have.
    type: dict
    default: {}
  volumes:
    description: What will be mounted, each as C(source:target[:mode]).
    type: list
    elements: str
    default: []
  options:
    description: >-
      Docker's options that the container will have, as M(community.docker.docker_container) takes them; C(privileged),
      C(shm_size), C(ulimits), C(runtime), C(memory), C(cpuset_cpus), C(log_driver), C(log_options), C(dns_servers),
      C(etc_hosts), C(security_opts), C(capabilities).
    type: dict
    default: {}
  privileged:
    description: Whether the container will be privileged, whatever O(options) says.
    type: bool
    default: false
  devices:
    description: The devices that the container will have.
    type: list
    elements: str
    default: []
  data_volume:
    description: The volume, or the directory on the host, that will be mounted at C(/var/lib/gpustack).
    type: str
    required: true
  models_dir:
    description: The directory on the host that will be mounted at C(/models).
    type: path
    required: true
  version:
    description: The GPUStack version that will run.
    type: str
    required: true
  image:
    description: The image that will run.
    type: str
    default: ""
  drop:
    description:
      - What is given up; an argument or an option of C(docker run) as V(--flag), a variable of the environment by its
        name, a mount by its path in the container.
    type: list
    elements: str
    default: []
  upgrade:
    description: Whether an older version may be replaced by O(version).
    type: bool
    default: false
  timeout:
    description: Seconds that each command may take.
    type: int
    default: 10
  version_timeout:
    description: Seconds that reading the version may take.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: Examine the container that was made by hand
  ascend.gpustack.gpustack_takeover_info:
    role: server
    config:
      port: 8080
      cache_dir: /data/models/gpustack-cache
    volumes:
      - gpustack-data:/var/lib/gpustack
      - /data/models:/models
    data_volume: gpustack-data
    models_dir: /data/models
    version: "{{ gpustack_version }}"
    drop: ["--debug", HTTP_PROXY]
  register: takeover
  no_log: true

- name: Refuse to lose what it has
  ansible.builtin.assert:
    that: takeover.problems | length == 0
    fail_msg: "{{ takeover.problems }}"
"""

RETURN = r"""
exists:
  description: Whether there is a container of the name.
  returned: success
  type: bool
hand_made:
  description: Whether it was made by something other than this collection. Only then are the values below told.
  returned: success
  type: bool
running:
  description: Whether it runs.
  returned: success
  type: bool
version:
  description: The GPUStack version in its image, null when it can't be read.
  returned: success
  type: str
version_relation:
  description: How that compares with O(version); V(older), V(equal), V(newer) or V(unknown).
  returned: success
  type: str
apart:
  description: Whether they are of generations of GPUStack that do not take each other's data.
  returned: success
  type: bool
role:
  description: What it is, V(server) or V(worker).
  returned: success
  type: str
worker_name:
  description: The name of its worker, null when it has none or the name can't be read.
  returned: success
  type: str
token_source:
  description:
    - Where its cluster token stands; V(argument), V(environment), V(config), V(file), or null for none.
  returned: success
  type: str
data_mount:
  description: What is mounted at its data directory, null when nothing is.
  returned: success
  type: dict
  contains:
    type:
      description: V(volume), V(bind) or V(tmpfs).
      type: str
    source:
      description: Where it is on the host.
      type: str
    name:
      description: The volume's name, or the directory again.
      type: str
extras:
  description: What the usual installation does not have.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: How O(drop) calls it.
      type: str
    kind:
      description: V(argument), V(environment), V(mount) or V(option).
      type: str
    text:
      description: As it would be typed, with secrets as C(***).
      type: str
    covered:
      description: Whether the variables say the same.
      type: bool
    dropped:
      description: Whether O(drop) gives it up.
      type: bool
problems:
  description: Sentences on what stands against replacing it; empty when nothing does.
  returned: success
  type: list
  elements: str
notes:
  description: Sentences on what is kept and what changes.
  returned: success
  type: list
  elements: str
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import daemon as docker_daemon
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import flags as daemon_flags
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import run as docker_run
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.takeover import analysis as takeover
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.takeover import old as old_container
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner, run

ARGUMENTS: dict[str, Any] = {
    "container": {"type": "str", "default": "gpustack"},
    "role": {"type": "str", "choices": ["server", "worker"], "required": True},
    "works": {"type": "bool", "default": True},
    "server_url": {"type": "str", "default": ""},
    "config": {"type": "dict", "default": {}},
    "secret_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "has_token": {"type": "bool", "default": False},
    "token": {"type": "str", "default": "", "no_log": True},
    "env": {"type": "dict", "default": {}},
    "volumes": {"type": "list", "elements": "str", "default": []},
    "options": {"type": "dict", "default": {}},
    "privileged": {"type": "bool", "default": False},
    "devices": {"type": "list", "elements": "str", "default": []},
    "data_volume": {"type": "str", "required": True},
    "models_dir": {"type": "path", "required": True},
    "version": {"type": "str", "required": True},
    "image": {"type": "str", "default": ""},
    "drop": {"type": "list", "elements": "str", "default": []},
    "upgrade": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 10},
    "version_timeout": {"type": "int", "default": 120},
}
NOTHING: dict[str, Any] = {
    "exists": False,
    "hand_made": False,
    "running": False,
    "version": None,
    "version_relation": "unknown",
    "apart": False,
    "role": None,
    "worker_name": None,
    "token_source": None,
    "data_mount": None,
    "extras": [],
    "problems": [],
    "notes": [],
}


def desired_of(parameters: dict[str, Any]) -> old_container.Desired:
    return old_container.Desired(
        role=parameters["role"],
        data_volume=parameters["data_volume"],
        models_dir=parameters["models_dir"],
        version=parameters["version"],
        works=parameters["works"],
        server_url=parameters["server_url"],
        config=parameters["config"],
        secret_keys=frozenset(parameters["secret_keys"]),
        has_token=parameters["has_token"],
        token=parameters["token"],
        privileged=parameters["privileged"],
        env={str(name): str(value) for name, value in parameters["env"].items()},
        volumes=tuple(parameters["volumes"]),
        options=parameters["options"],
        devices=tuple(parameters["devices"]),
        image=parameters["image"],
        drop=frozenset(parameters["drop"]),
        upgrade=parameters["upgrade"],
    )


def engine_defaults(info: dict[str, Any], settings: dict[str, Any]) -> docker_run.EngineDefaults:
    """info: `docker info`; settings: Docker's configuration file."""
    options = settings.get("log-opts")
    return docker_run.EngineDefaults(
        log_driver=info.get("LoggingDriver") or "json-file",
        log_options=options if isinstance(options, dict) else {},
        shm_size=docker_run.size_in_bytes(settings.get("default-shm-size")) or docker_run.DEFAULT_SHM_SIZE,
        runtime=info.get("DefaultRuntime") or "runc",
    )


def examine(
    container: dict[str, Any], desired: old_container.Desired, runner: Runner, timeout: float, version_timeout: float
) -> dict[str, Any]:
    image = docker_cli.read_image(runner, container.get("Image", ""), timeout)
    info = docker_cli.ask(runner, ["docker", "info", "--format", "{{json .}}"], timeout)
    settings = docker_daemon.daemon_settings(daemon_flags.docker_arguments())
    defaults = engine_defaults(info, settings)
    old = old_container.read_old(runner, container, image, defaults, timeout, version_timeout)
    return takeover.analyse(old, desired)


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
    )
    parameters = module.params
    path = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/local/bin"

    def runner(argv: list[str], timeout: float) -> Any:
        return run(argv, timeout, env={"PATH": path})

    desired = desired_of(parameters)
    # For the record of its arguments
    module.no_log_values.update(redact.secrets_of([], desired.env))
    try:
        container = docker_cli.read_container(runner, parameters["container"], parameters["timeout"])
        result = {**NOTHING, "exists": container is not None}
        if container is not None and not docker_cli.is_managed(container):
            module.no_log_values.update(takeover.secrets_of(container))
            result = examine(container, desired, runner, parameters["timeout"], parameters["version_timeout"])
    except docker_cli.DockerError as error:
        module.fail_json(
            msg=f"Docker does not tell of the container {parameters['container']} ({error}); expected it to answer. See"
            " systemctl status docker, and run this again."
        )
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
