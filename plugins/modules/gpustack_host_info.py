#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpustack_host_info
short_description: Read what the GPUStack roles need to know of a host
version_added: 0.1.0
description:
  - Reads Docker, the GPUStack container, its image, its configuration file and its data, the model store, ports,
    firewalld and Docker's firewall chain in one call.
  - Uses the C(docker) command and C(/proc), and no Python library. Each command has a time limit, and the model store
    is examined in a process of its own, so that a dead NFS server holds nothing up.
  - A container's arguments and environment are not returned, since tokens stand there.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.info
  - ascend.gpustack.attributes.group
options:
  container:
    description: The name of the GPUStack container.
    type: str
    default: gpustack
  stack:
    description: A Swarm stack whose containers count as the cluster's own, as O(container) does.
    type: str
  config_path:
    description: GPUStack's configuration file on the host.
    type: path
    default: /etc/gpustack/config.yaml
  data_volume:
    description: The Docker volume, or the directory on the host, that holds GPUStack's data.
    type: str
  store_path:
    description: Where the model store is mounted on the host.
    type: path
  image:
    description: An image by name and tag, digest or ID.
    type: str
  images:
    description: Further images, likewise.
    type: list
    elements: str
    default: []
  ports:
    description: TCP ports that the host is to have free.
    type: list
    elements: int
    default: []
  resolve:
    description: Host names to resolve on the host; addresses are returned as they are.
    type: list
    elements: str
    default: []
  probe:
    description: TCP ports of other hosts to connect to, all at once, to see which of them a firewall closes.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: The other host's name or address.
        type: str
        required: true
      port:
        description: The port.
        type: int
        required: true
  controller_time:
    description: The controller's time in seconds since 1970, for RV(clock.skew_s).
    type: float
  timeout:
    description: Seconds that each command may take.
    type: int
    default: 20
"""

EXAMPLES = r"""
- name: Read the host
  ascend.gpustack.gpustack_host_info:
    data_volume: gpustack-data
    store_path: /data/models
    image: registry.example.com/gpustack:ours
    ports: [8080, 10150, 10151]
    controller_time: "{{ lookup('pipe', 'date +%s.%N') }}"
  register: host

- name: Refuse a store on the system disk
  ansible.builtin.assert:
    that: not host.store.root_fs
"""

RETURN = r"""
clock:
  description: The host's clock.
  returned: success
  type: dict
  contains:
    epoch:
      description: Seconds since 1970.
      type: float
    skew_s:
      description: Seconds that the host is ahead of O(controller_time), Ansible's own time included; null without it.
      type: float
hostname:
  description: The host's own name.
  returned: success
  type: str
machine:
  description: The kind of CPU, such as V(aarch64).
  returned: success
  type: str
root:
  description: Whether the module runs as root, without which the rest says little.
  returned: success
  type: bool
docker:
  description: Docker Engine. What is not known is null.
  returned: success
  type: dict
  contains:
    installed:
      description: Whether the command C(docker) is there.
      type: bool
    running:
      description: Whether the daemon answers, and tells its containers.
      type: bool
    server_version:
      description: The engine's version.
      type: str
    api_version:
      description: The version of the engine's API.
      type: str
    root_dir:
      description: Where images, containers and volumes are kept.
      type: str
    root_free_mb:
      description: Free space there, in MiB.
      type: int
    live_restore:
      description: Whether containers outlive a restart of the daemon.
      type: bool
    swarm:
      description: The state of Swarm on this host, such as V(inactive) or V(active).
      type: str
    swarm_node:
      description: What the Swarm knows this host by; null outside of one.
      type: str
    log_driver:
      description: The log driver of containers that name none.
      type: str
    default_runtime:
      description: The runtime of containers that name none.
      type: str
    runtimes:
      description: The known runtimes.
      type: list
      elements: str
    firewall_backend:
      description: What Docker filters packets with; known from version 29 on.
      type: str
    error:
      description: Why the daemon does not answer, or a part is not known.
      type: str
python_requests:
  description: Whether the Python that runs this module has what Ansible's Docker modules need of C(requests).
  returned: success
  type: bool
python:
  description: The Python that runs this module.
  returned: success
  type: str
  sample: /usr/bin/python3.9
python_packaged:
  description: Whether that is the Python that the distribution's packages are for.
  returned: success
  type: bool
container:
  description: The container O(container), null when there is none.
  returned: success
  type: dict
  contains:
    id:
      description: Its ID.
      type: str
    name:
      description: Its name.
      type: str
    image:
      description: The image as it was named when the container was made.
      type: str
    image_id:
      description: The image's ID.
      type: str
    status:
      description: V(running), V(exited), V(created), V(restarting), V(paused), V(dead) or V(removing).
      type: str
    running:
      description: Whether it runs.
      type: bool
    restarting:
      description: Whether Docker restarts it just now.
      type: bool
    exit_code:
      description: The exit code of its last run.
      type: int
    created:
      description: When it was made, in seconds since 1970.
      type: float
    started_at:
      description: When it was last started, in seconds since 1970; null when never.
      type: float
    health:
      description: V(starting), V(healthy) or V(unhealthy); null without a health check.
      type: str
    restart_policy:
      description: Its restart policy.
      type: str
    managed:
      description: Whether this collection made it (label C(ascend.gpustack.managed)).
      type: bool
    version:
      description: The GPUStack version that it was made for (label C(ascend.gpustack.version)).
      type: str
    labels:
      description: Its labels that begin with C(ascend.gpustack.).
      type: dict
image:
  description: The image O(image), null when none was asked for.
  returned: success
  type: dict
  contains:
    name:
      description: What was asked for.
      type: str
    present:
      description: Whether it is on the host; null when Docker gives no answer.
      type: bool
    id:
      description: Its ID.
      type: str
    repo_digests:
      description: Its digests in registries.
      type: list
      elements: str
    architecture:
      description: The processor that it is made for, such as V(arm64); null where that is not known.
      type: str
images:
  description: Each of O(images) by its name, with what is in RV(image).
  returned: success
  type: dict
data:
  description: The data O(data_volume), null when none was asked for.
  returned: success
  type: dict
  contains:
    name:
      description: The volume or the directory.
      type: str
    exists:
      description: Whether it is there; null when that is not known.
      type: bool
    path:
      description: Where its files are on the host, links followed; null when that is not known.
      type: str
    managed:
      description: Whether this collection made it (label C(ascend.gpustack.managed), or the file C(.ascend-gpustack) in a directory).
      type: bool
    on_store:
      description: Whether it lies on O(store_path), or elsewhere on the same shared file system.
      type: bool
    cluster:
      description: What of a cluster is in it, its token and its database, by the names of files; null where that can't be seen.
      type: list
      elements: str
    restoring:
      description: Whether a restore of it was cut off, or is under way.
      type: bool
    upgrade:
      description:
        - The last upgrade of it; its C(state) (V(begun), V(kept), V(done), V(returning) or V(rolled_back)), the versions C(before) and
          C(wanted), the C(backup) that was made first, and the C(moment); null without one.
      type: dict
    worker_name:
      description: The name that GPUStack gave to the worker whose data it is; null without one.
      type: str
    worker_uuid:
      description: What GPUStack knows this data's worker by; null before a worker has run on it.
      type: str
models:
  description: What GPUStack runs in containers beside O(container); none when Docker gives no answer.
  returned: success
  type: dict
  contains:
    workers:
      description: Names of the containers of further GPUStack workers.
      type: list
      elements: str
    nodes:
      description: Names of further running containers that have GPUStack's data, workers that make containers not among them.
      type: list
      elements: str
    workloads:
      description: Instances of models.
      type: list
      elements: dict
      contains:
        name:
          description: The instance, as GPUStack calls it on this host.
          type: str
        containers:
          description: The names of its containers.
          type: list
          elements: str
        running:
          description: Whether one of them runs.
          type: bool
        ours:
          description: Whether the worker in O(container), or what had O(data_volume) before, made it.
          type: bool
        npus:
          description: The logic IDs of the NPUs that it was given.
          type: list
          elements: int
npu_holders:
  description:
    - Running containers other than O(container), those of O(stack) and those of RV(models) that were given NPUs; none when Docker gives no
      answer.
  returned: success
  type: list
  elements: dict
  contains:
    container:
      description: The container's name.
      type: str
    npus:
      description: The numbers of their device nodes.
      type: list
      elements: int
    via:
      description: V(devices), V(environment) (C(DOCKER_RESOURCE_NPU), C(ASCEND_VISIBLE_DEVICES)) or V(privileged), which is given all.
      type: str
config:
  description: The file O(config_path).
  returned: success
  type: dict
  contains:
    path:
      description: Its path.
      type: str
    exists:
      description: Whether it is there.
      type: bool
    mtime:
      description: When it was last written, in seconds since 1970.
      type: float
    mode:
      description: Its mode, such as V(0600).
      type: str
    owner:
      description: The user who owns it.
      type: str
    joins:
      description: Whether it is a worker's, which names its server; V(null) without the file.
      type: bool
store:
  description: The model store as RV(ascend.gpustack.model_store_info#module:store) describes it, null when none was asked for.
  returned: success
  type: dict
listeners:
  description: Those of O(ports) that something listens on.
  returned: success
  type: list
  elements: dict
  contains:
    port:
      description: The port.
      type: int
    pid:
      description: The process, null when it can't be seen.
      type: int
    process:
      description: The process's name.
      type: str
    container:
      description: The container that it belongs to, or that publishes the port.
      type: str
    ours:
      description: Whether that is O(container), or of O(stack).
      type: bool
firewalld:
  description: The service firewalld; all null where systemd does not answer.
  returned: success
  type: dict
  contains:
    installed:
      description: Whether systemd knows it.
      type: bool
    running:
      description: Whether it runs.
      type: bool
    enabled:
      description: Whether it starts with the host.
      type: bool
logs:
  description: What Docker does with the output of containers that say nothing of it.
  returned: success
  type: dict
  contains:
    driver:
      description: The log driver, as RV(docker.log_driver).
      type: str
    max_size:
      description: How large a file of it may become, as the daemon's settings or its command line have it; null where they don't.
      type: str
docker_chain:
  description: Docker's own chain in the nat table, which a reload of firewalld can take away.
  returned: success
  type: dict
  contains:
    managed:
      description: Whether Docker is to make it.
      type: bool
    present:
      description: Whether it is there; null when C(iptables) gives no clear answer.
      type: bool
    running_containers:
      description: The running containers, which a restart of Docker would concern; null when Docker gives no answer.
      type: list
      elements: str
docker_bridges:
  description:
    - Docker's bridges that firewalld has in another zone than Docker's own, in which it does not take them at its next start; none where
      firewalld does not run, or Docker leaves it alone.
  returned: success
  type: list
  elements: dict
  contains:
    interface:
      description: The bridge.
      type: str
    zone:
      description: The zone that it is in.
      type: str
    default:
      description: Whether it is the one of containers that name no network, without which Docker does not start.
      type: bool
    in_force:
      description: Whether it is there now; else the permanent configuration has it there.
      type: bool
probes:
  description: Each of O(probe) with what came back within three seconds.
  returned: success
  type: list
  elements: dict
  contains:
    host:
      description: The other host.
      type: str
    port:
      description: The port.
      type: int
    result:
      description:
        - V(open), or V(refused) where nothing listens yet; both mean that no firewall is in the way.
        - V(unreachable), as firewalld answers for a port that it closes, V(timeout), or V(unresolved) for a name without an address.
        - A firewall that answers with "port unreachable" is told from V(refused) by root alone, one that resets connections by nobody.
      type: str
resolved:
  description: Each of O(resolve) with its address, null when it has none.
  returned: success
  type: dict
addresses:
  description: The host's own addresses, loopback among them and those of Docker's bridges not; null where C(ip) does not tell.
  returned: success
  type: list
  elements: str
"""

import os
import platform
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils import files
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import daemon as docker_daemon
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import flags as daemon_flags
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import logs as docker_logs
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import config_file as gpustack_config_file
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import data as gpustack_data
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import workloads as gpustack_workloads
from ansible_collections.ascend.gpustack.plugins.module_utils.host import addresses as host_addresses
from ansible_collections.ascend.gpustack.plugins.module_utils.host import firewalld as host_firewalld
from ansible_collections.ascend.gpustack.plugins.module_utils.host import listeners as host_listeners
from ansible_collections.ascend.gpustack.plugins.module_utils.host import reach
from ansible_collections.ascend.gpustack.plugins.module_utils.host import store as host_store
from ansible_collections.ascend.gpustack.plugins.module_utils.npu import holders as npu_holders
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner, run


@dataclass(frozen=True)
class Places:
    """Where the kernel and Docker show themselves."""

    proc: str = "/proc"
    dev: str = "/dev"
    docker_pid: str = daemon_flags.PID_FILE
    docker_config: str = docker_daemon.CONFIG_FILE
    python: str = "/usr/bin/python3"
    zones: str = host_firewalld.DIRECTORY


def gather(parameters: dict[str, Any], runner: Runner, now: float, places: Places) -> dict[str, Any]:
    timeout = parameters["timeout"]
    engine = docker_cli.read_engine(runner, timeout)
    containers = None
    if engine.running:
        try:
            containers = docker_cli.read_containers(runner, timeout)
        except docker_cli.DockerError as failure:
            # Unknown containers are not to be taken for none.
            engine = replace(engine, running=False, error=str(failure))
    root = host_store.probe(runner, engine.root_dir, timeout) if engine.root_dir else None
    controller_time = parameters["controller_time"]
    path = parameters["store_path"]
    store = host_store.read(runner, path, places.proc, timeout) if path else None
    data = _data(runner, parameters["data_volume"], engine, store, places.proc, timeout)
    firewalld = host_firewalld.firewalld(runner, timeout)
    return {
        "clock": {"epoch": now, "skew_s": None if controller_time is None else round(now - controller_time, 3)},
        "hostname": platform.node(),
        "machine": platform.machine(),
        "root": os.geteuid() == 0,
        "docker": {**asdict(engine), "root_free_mb": root.free_mb if root else None},
        "python_requests": docker_daemon.python_requests(),
        "python": sys.executable,
        # A virtual environment's is the same program, and has packages of its own.
        "python_packaged": sys.prefix == "/usr" and os.path.realpath(sys.executable) == os.path.realpath(places.python),
        **_of_containers(parameters, engine, containers, runner, places),
        "docker_bridges": _strayed_bridges(runner, engine, bool(firewalld["running"]), timeout, places),
        "image": _image(runner, parameters["image"], engine, timeout),
        "images": {name: _image(runner, name, engine, timeout) for name in parameters["images"]},
        "data": data,
        "models": gpustack_workloads.look(containers or [], parameters["container"], data),
        "config": gpustack_config_file.config_file(parameters["config_path"]),
        "store": store,
        "firewalld": firewalld,
        "probes": reach.probe_ports(runner, parameters["probe"], timeout),
        "resolved": {name: reach.resolve(runner, name, timeout) for name in parameters["resolve"]},
        "addresses": host_addresses.own(runner, timeout),
    }


def _of_containers(
    parameters: dict[str, Any],
    engine: docker_cli.Engine,
    containers: list[dict[str, Any]] | None,
    runner: Runner,
    places: Places,
) -> dict[str, Any]:
    ours, known = parameters["container"], containers or []
    present = docker_cli.find(known, ours)
    running = sorted(docker_cli.name_of(each) for each in known if docker_cli.is_running(each))
    arguments, settings = daemon_flags.docker_arguments(places.proc, places.docker_pid), _settings(places)
    stack = parameters["stack"]
    # What GPUStack itself runs is told as models.
    others = [each for each in known if not docker_cli.is_ours(each, ours, stack) and not gpustack_workloads.is_part(each)]
    holders = npu_holders.holding_containers(others, npu_holders.npu_nodes(places.dev))
    return {
        "container": docker_cli.summary(present) if present else None,
        "npu_holders": [{"container": each.container, "npus": each.npus, "via": each.via} for each in holders],
        "listeners": host_listeners.listeners(places.proc, parameters["ports"], known, ours, stack),
        "logs": docker_logs.of_engine(engine.log_driver, settings, arguments),
        "docker_chain": docker_daemon.docker_chain(
            runner, engine, settings, None if containers is None else running, parameters["timeout"]
        ),
    }


def _settings(places: Places) -> dict[str, Any]:
    return docker_daemon.daemon_settings(daemon_flags.docker_arguments(places.proc, places.docker_pid), places.docker_config)


def _strayed_bridges(runner: Runner, engine: docker_cli.Engine, firewalld: bool, timeout: float, places: Places) -> list[dict[str, Any]]:
    settings = _settings(places)
    if not (engine.running and firewalld) or settings.get("iptables") is False:
        return []
    return host_firewalld.strayed_bridges(runner, str(settings.get("bridge") or "docker0"), timeout, places.zones)


def _image(runner: Runner, reference: str | None, engine: docker_cli.Engine, timeout: float) -> dict[str, Any] | None:
    if not reference:
        return None
    unknown: dict[str, Any] = {"name": reference, "present": None, "id": None, "repo_digests": [], "architecture": None}
    try:
        image = docker_cli.read_image(runner, reference, timeout) if engine.running else None
    except docker_cli.DockerError:
        return unknown
    if image is None:
        return {**unknown, "present": False if engine.running else None}
    return {
        "name": reference,
        "present": True,
        "id": image.get("Id"),
        "repo_digests": image.get("RepoDigests") or [],
        "architecture": image.get("Architecture") or None,
    }


def _data(
    runner: Runner, name: str | None, engine: docker_cli.Engine, store: dict[str, Any] | None, proc: str, timeout: float
) -> dict[str, Any] | None:
    if not name:
        return None
    return gpustack_data.read(runner, name, engine, store, files.read_text(f"{proc}/self/mountinfo"), timeout)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "container": {"type": "str", "default": "gpustack"},
            "stack": {"type": "str"},
            "config_path": {"type": "path", "default": "/etc/gpustack/config.yaml"},
            "data_volume": {"type": "str"},
            "store_path": {"type": "path"},
            "image": {"type": "str"},
            "images": {"type": "list", "elements": "str", "default": []},
            "ports": {"type": "list", "elements": "int", "default": []},
            "resolve": {"type": "list", "elements": "str", "default": []},
            "probe": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"host": {"type": "str", "required": True}, "port": {"type": "int", "required": True}},
            },
            "controller_time": {"type": "float"},
            "timeout": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )

    module.exit_json(changed=False, **gather(module.params, run, time.time(), Places()))


if __name__ == "__main__":
    main()
