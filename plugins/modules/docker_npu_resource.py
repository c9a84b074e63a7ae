#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: docker_npu_resource
short_description: Make a host's NPUs a resource of Docker Swarm
version_added: 0.1.0
description:
  - Adds each NPU to C(node-generic-resources) of Docker's C(daemon.json), and makes a runtime the default one that gives
    containers the NPUs which Swarm allots to them. Swarm itself gives its tasks no devices.
  - What others wrote into the file stays. The runtime that was the default before is called by the new one, and is the
    default again when the state is V(absent).
  - The new file is tried by C(dockerd --validate) before it takes the old one's place, in one step. What that does not see is refused,
    too, a flag of the running daemon that stands against the file.
  - Docker takes such settings when it starts. This module does not restart it; RV(restart) says whether that is due. Until then the old
    file stays beside the new one, for M(ascend.gpustack.docker_restart).
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.change
  - ascend.gpustack.attributes.group
options:
  state:
    description: Whether the NPUs are to be a resource.
    type: str
    choices: [present, absent]
    default: present
  npus:
    description: The numbers of the NPUs' device nodes, V(0) for C(/dev/davinci0). Without any, nothing is left of them.
    type: list
    elements: int
    default: []
  runtime:
    description: The program of the runtime, on the host's own disk.
    type: path
    required: true
  path:
    description: Docker's settings.
    type: path
    default: /etc/docker/daemon.json
  environment:
    description: Variables that the running engine is to have; one that it lacks makes RV(restart) true. They are not set here.
    type: dict
    default: {}
  timeout:
    description: Seconds that each command of Docker may take.
    type: int
    default: 20
"""

EXAMPLES = r"""
- name: Offer eight NPUs to Swarm
  ascend.gpustack.docker_npu_resource:
    npus: [0, 1, 2, 3, 4, 5, 6, 7]
    runtime: /usr/local/lib/gpustack/npu-runtime
  register: npu_resource

- name: Restart Docker for it
  ascend.gpustack.docker_restart:
  when: npu_resource.restart
"""

RETURN = r"""
restart:
  description: Whether the running engine has other settings than the file. In check mode, whether it would have.
  returned: success
  type: bool
  sample: true
containers:
  description: The running containers, which a restart would stop for a moment.
  returned: success
  type: list
  elements: str
  sample: [gpustack]
bound:
  description: With O(state=absent), containers that were made while the runtime was Docker's default; they need it to start, so it stays.
  returned: success
  type: list
  elements: str
  sample: [registry]
"""

import json
import os
import pathlib
import re
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils import files, redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import daemon as docker_daemon
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import flags as daemon_flags
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner, run

# The first one that has --validate
MINIMUM = (23, 0)


def plan(settings: dict[str, Any], parameters: dict[str, Any], bound: list[str]) -> dict[str, Any]:
    if parameters["state"] == "absent":
        return docker_daemon.without_npus(settings, bool(bound))
    return docker_daemon.with_npus(settings, parameters["npus"], parameters["runtime"], parameters["path"])


def engine_problem(runner: Runner, timeout: float) -> str | None:
    told = runner(["dockerd", "--version"], timeout).stdout
    version = re.search(r"version (\d+)\.(\d+)", told)
    if not version:
        said = docker_cli.first_line(told) or "no answer"
        return f"dockerd does not tell its version ({said}); expected Docker Engine 23.0 or newer. Install it."
    if (int(version.group(1)), int(version.group(2))) < MINIMUM:
        found = f"{version.group(1)}.{version.group(2)}"
        return f"Docker Engine is {found}, which can't try its settings before it takes them; expected 23.0 or newer. Upgrade it."
    return None


def validate(runner: Runner, draft: str, path: str, timeout: float) -> str | None:
    """What dockerd says against the new file."""
    result = runner(["dockerd", "--validate", "--config-file", draft], timeout)
    if result.rc == 0 and not result.timed_out:
        return None
    said = docker_cli.first_line(result.stderr) or docker_cli.first_line(result.stdout) or f"status {result.rc}"
    said = redact.text(said.replace(draft, path))
    return f"dockerd refuses what {path} would be: {said}; expected settings that it takes. Correct the file; nothing was changed."


def running_info(runner: Runner, timeout: float) -> dict[str, Any] | None:
    """What `docker info` tells; None where the engine does not run."""
    result = runner(["docker", "info", "--format", "{{json .}}"], timeout)
    try:
        info = json.loads(result.stdout)
    except ValueError:
        return None
    return info if "ServerVersion" in info else None


def in_force(info: dict[str, Any] | None, settings: dict[str, Any]) -> bool:
    """Whether the running engine has the runtimes and the resources of the settings. One that does not run takes them when it starts."""
    if info is None:
        return True
    specs = [entry.get("NamedResourceSpec") or {} for entry in info.get("GenericResources") or []]
    live = sorted(f"{spec.get('Kind')}={spec.get('Value')}" for spec in specs if spec.get("Kind") == docker_daemon.KIND)
    wanted = sorted(entry for entry in settings.get("node-generic-resources") or [] if entry.startswith(f"{docker_daemon.KIND}="))
    return live == wanted and info.get("DefaultRuntime", "runc") == (settings.get("default-runtime") or "runc")


def has_variables(wanted: dict[str, str], pid_file: str = "/var/run/docker.pid", proc: str = "/proc") -> bool:
    """Whether the running engine was started with these variables; true of one that does not run."""
    try:
        pid = pathlib.Path(pid_file).read_text(encoding="utf-8").strip()
        found = pathlib.Path(proc, pid, "environ").read_bytes().split(b"\0")
    except OSError:
        return True
    return all(f"{name}={value}".encode() in found for name, value in wanted.items())


def write(module: AnsibleModule, runner: Runner, path: str, text: str, check_mode: bool) -> str | None:
    """Try the new file, then put it into the old one's place, which is kept; why not, else None."""
    directory = None if check_mode else os.path.dirname(path)
    if directory:
        os.makedirs(directory, mode=0o755, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(prefix=".daemon.json.", dir=directory)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text or "{}\n")
        problem = validate(runner, draft, path, module.params["timeout"])
        if problem or check_mode:
            return problem
        docker_daemon.keep(path)
        if text:
            os.chmod(draft, os.stat(path).st_mode & 0o7777 if os.path.exists(path) else 0o644)
            module.atomic_move(draft, path)
        elif os.path.exists(path):
            os.remove(path)
        return None
    finally:
        if os.path.exists(draft):
            os.remove(draft)


def refusal(runner: Runner, settings: dict[str, Any], wanted: dict[str, Any], parameters: dict[str, Any]) -> str | None:
    """What stands against the new settings, and what would stand against a Swarm."""
    if parameters["state"] == "absent":
        return None
    timeout, path = parameters["timeout"], parameters["path"]
    flags = daemon_flags.flags_of(daemon_flags.docker_arguments())
    problem = daemon_flags.problem(settings, flags, wanted, path, lambda flag: daemon_flags.given_in(runner, flag, timeout))
    return problem or (engine_problem(runner, timeout) if parameters["npus"] else None)


def bound_containers(containers: list[dict[str, Any]]) -> list[str]:
    """Those that were made while the runtime was Docker's default, and can't be started without it."""
    having = [each for each in containers if (each.get("HostConfig") or {}).get("Runtime") == docker_daemon.RUNTIME]
    # Those of services go with the Swarm.
    own = [each for each in having if "com.docker.swarm.task.id" not in ((each.get("Config") or {}).get("Labels") or {})]
    return sorted(docker_cli.name_of(each) for each in own)


def containers_of(runner: Runner, timeout: float) -> list[dict[str, Any]]:
    """None of an engine that does not answer."""
    try:
        return docker_cli.read_containers(runner, timeout)
    except docker_cli.DockerError:
        return []


def difference(path: str, before: str, after: str) -> dict[str, str]:
    """The file's texts, in which others may have put secrets: the login of a proxy, the token of a log driver."""
    return {"before_header": path, "after_header": path, "before": redact.text(before), "after": redact.text(after)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "npus": {"type": "list", "elements": "int", "default": []},
            "runtime": {"type": "path", "required": True},
            "path": {"type": "path", "default": docker_daemon.CONFIG_FILE},
            "environment": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    path, timeout = module.params["path"], module.params["timeout"]
    before = ""
    if os.path.exists(path):
        with open(path, encoding="utf-8", errors="replace") as file:
            before = file.read()
    try:
        settings = docker_daemon.parse(before, path)
        containers = containers_of(run, timeout)
        bound = bound_containers(containers) if module.params["state"] == "absent" else []
        wanted = plan(settings, module.params, bound)
    except docker_daemon.SettingsError as error:
        module.fail_json(msg=str(error))
    changed = wanted != settings
    after = docker_daemon.render(wanted) if changed else before
    problem = refusal(run, settings, wanted, module.params)
    if changed and not problem:
        try:
            problem = write(module, run, path, after, module.check_mode)
        except OSError as error:
            problem = f"{path} can't be replaced ({error.strerror}); {files.refusal(error)}. Nothing was changed."
    if problem:
        module.fail_json(msg=problem)
    info = running_info(run, timeout)
    restart = not (in_force(info, wanted) and has_variables(module.params["environment"]))
    if not (restart or module.check_mode):
        docker_daemon.forget(path)
    module.exit_json(
        changed=changed,
        restart=restart,
        containers=sorted(docker_cli.name_of(each) for each in containers if docker_cli.is_running(each)),
        bound=bound,
        diff=difference(path, before, after),
    )


if __name__ == "__main__":
    main()
