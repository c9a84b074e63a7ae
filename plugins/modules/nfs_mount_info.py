#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: nfs_mount_info
short_description: Read what stands for and against an NFS mount
version_added: 0.1.0
description:
  - Reads in one call what is mounted at a path, what C(/etc/fstab) says of it, what lies in the mount point, which containers use it,
    and, where it is not mounted or does not answer, whether the NFS server answers, what it exports and whom it lets in.
  - Each question has a time limit of its own, and the path is examined in a process apart, so that a dead server holds nothing up.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.info
  - ascend.gpustack.attributes.group
options:
  path:
    description: The mount point.
    type: path
    required: true
  server:
    description: The NFS server's name or address.
    type: str
    required: true
  timeout:
    description: Seconds that each question may take.
    type: int
    default: 10
"""

EXAMPLES = r"""
- name: Read what stands against the mount
  ascend.gpustack.nfs_mount_info:
    path: /data/models
    server: 172.16.33.106
  register: store

- name: Refuse to hide files
  ansible.builtin.assert:
    that: store.hidden_files | length == 0
"""

RETURN = r"""
tools:
  description: Whether C(mount.nfs) and C(showmount) are there.
  returned: success
  type: bool
  sample: true
exists:
  description: Whether the path is there; null when it does not answer.
  returned: success
  type: bool
  sample: true
answers:
  description: Whether the path could be examined within O(timeout).
  returned: success
  type: bool
  sample: true
mount:
  description: What is mounted right at the path; null without a mount.
  returned: success
  type: dict
  sample: {source: "172.16.33.106:/data/models", fstype: nfs, address: 172.16.33.106, options: [hard, rw, vers=3], device: "0:45"}
  contains:
    source:
      description: The source, as it was given to the mount.
      type: str
    fstype:
      description: The type of the file system, C(nfs) for NFS 3 and C(nfs4) for NFS 4.
      type: str
    address:
      description: The address of an NFS server, null for other file systems.
      type: str
    options:
      description: The options in force, sorted.
      type: list
      elements: str
    device:
      description: The device as C(major:minor).
      type: str
read_ahead_kb:
  description: The mount's read-ahead in KiB, null without a mount.
  returned: success
  type: int
  sample: 128
fstab:
  description: The entries of C(/etc/fstab) for the path, in their order.
  returned: success
  type: list
  elements: dict
  contains:
    line:
      description: The number of the line.
      type: int
    text:
      description: The line.
      type: str
    source:
      description: The source.
      type: str
    fstype:
      description: The type of the file system.
      type: str
    options:
      description: The options.
      type: list
      elements: str
  sample:
    - line: 4
      text: "172.16.33.106:/data/models /data/models nfs vers=3,hard,_netdev 0 0"
      source: "172.16.33.106:/data/models"
      fstype: nfs
      options: [vers=3, hard, _netdev]
hidden_files:
  description: Names of files in the mount point, ten at most, while nothing is mounted there.
  returned: success
  type: list
  elements: str
  sample: []
containers:
  description: Running containers that use the path; null when Docker gives no answer.
  returned: success
  type: list
  elements: str
  sample: [gpustack]
server:
  description: The server, and what it says. It is asked only where nothing is mounted, or the mount does not answer.
  returned: success
  type: dict
  contains:
    address:
      description: Its address, null when its name does not resolve.
      type: str
    local:
      description: Whether that is an address of this host.
      type: bool
    port:
      description: What came back from TCP port 2049, V(open), V(refused), V(unreachable), V(timeout) or V(unresolved); null when not asked.
      type: str
    exports:
      description: Each export with the clients that it lets in, where the server tells; an empty list lets everybody in.
      type: dict
    error:
      description: Why the exports are not known, in one line.
      type: str
    seen_as:
      description: This host's address as the server sees it.
      type: str
    admitted:
      description: For each export whether it lets this host in; null where only the server knows.
      type: dict
  sample:
    address: 172.16.33.106
    local: false
    port: open
    exports: {/data/models: [172.16.33.107]}
    error: null
    seen_as: 172.16.33.107
    admitted: {/data/models: true}
"""

import shutil
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils import files
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.host import mounts as host_mounts
from ansible_collections.ascend.gpustack.plugins.module_utils.host import store as host_store
from ansible_collections.ascend.gpustack.plugins.module_utils.nfs import client as nfs_mounts
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import PATH, Runner, run


def gather(parameters: dict[str, Any], runner: Runner, mountinfo: str, fstab: str) -> dict[str, Any]:
    path, timeout = parameters["path"], parameters["timeout"]
    seen = host_store.probe(runner, path, timeout)
    mount = nfs_mounts.live_mount(mountinfo, path)
    hidden = nfs_mounts.hidden_files(runner, path, timeout) if seen.exists and not mount else []
    server = nfs_mounts.locate_server(runner, parameters["server"], timeout)
    if not (mount and seen.answers):
        server = nfs_mounts.ask_server(runner, server, timeout)
    return {
        "exists": seen.exists,
        "answers": seen.answers,
        "mount": _mount(mount) if mount else None,
        "fstab": [asdict(entry) for entry in nfs_mounts.parse_fstab(fstab, path)],
        "hidden_files": hidden,
        "containers": _containers(runner, path, timeout),
        "server": server,
    }


def _mount(mount: host_mounts.Mount) -> dict[str, Any]:
    address = next((option[5:] for option in mount.options if option.startswith("addr=")), None)
    return {
        "source": mount.source,
        "fstype": mount.fstype,
        "address": address,
        "options": sorted(mount.options),
        "device": mount.device,
    }


def _containers(runner: Runner, path: str, timeout: float) -> list[str] | None:
    try:
        return nfs_mounts.users_of(docker_cli.read_containers(runner, timeout), path)
    except docker_cli.DockerError:
        return None


def _read_ahead(mount: dict[str, Any] | None) -> int | None:
    text = files.read_text(f"/sys/class/bdi/{mount['device']}/read_ahead_kb").strip() if mount else ""
    return int(text) if text.isdigit() else None


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "server": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )

    told = gather(module.params, run, files.read_text("/proc/self/mountinfo"), files.read_text("/etc/fstab"))
    tools = all(shutil.which(name, path=PATH) for name in ("mount.nfs", "showmount"))
    module.exit_json(changed=False, tools=tools, read_ahead_kb=_read_ahead(told["mount"]), **told)


if __name__ == "__main__":
    main()
