# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens at which port, from /proc (proc(5))."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.files import open_files, read_text

_LISTEN = "0A"
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    name: str


def listening_inodes(text: str) -> list[tuple[int, str]]:
    """(port, inode) of each listening socket in a file such as /proc/net/tcp."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTEN:
            found.append((int(fields[1].rpartition(":")[2], 16), fields[9]))
    return found


def _pids(proc: str) -> list[int]:
    return sorted(int(name) for name in os.listdir(proc) if name.isdigit())


def socket_owners(proc: str, inodes: Iterable[str]) -> dict[str, int]:
    """The process that has each socket; of several (a forked server) the one with the lowest number."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    owners: dict[str, int] = {}
    for pid in _pids(proc) if wanted else []:
        for link in open_files(f"{proc}/{pid}/fd"):
            if link in wanted:
                owners.setdefault(wanted[link], pid)
    return owners


def read_process(proc: str, pid: int) -> Process | None:
    # Not cmdline: reading it waits for the process's memory, which a process stuck on a dead file system holds.
    text = read_text(f"{proc}/{pid}/stat")
    before, _sign, after = text.rpartition(")")
    fields = after.split()
    if len(fields) < 2:
        return None
    return Process(pid, int(fields[1]), before.partition("(")[2])


def container_of(proc: str, pid: int, containers: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The container that a process runs in: by its cgroup, else by its ancestors."""
    by_id = {container.get("Id"): container for container in containers}
    for found in reversed(_CONTAINER_ID.findall(read_text(f"{proc}/{pid}/cgroup"))):
        if found in by_id:
            return by_id[found]
    by_pid = {(container.get("State") or {}).get("Pid"): container for container in containers}
    by_pid.pop(0, None)
    process = read_process(proc, pid)
    for _generation in range(64):
        if process is None or process.pid in by_pid:
            break
        process = read_process(proc, process.parent)
    return by_pid.get(process.pid) if process else None


def listeners(
    proc: str, ports: list[int], containers: list[dict[str, Any]], ours: str | None, stack: str | None = None
) -> list[dict[str, Any]]:
    """One entry for each of ports that is listened on; of several listeners on one port a foreign one comes first."""
    sockets = [
        (port, inode) for name in ("tcp", "tcp6") for port, inode in listening_inodes(read_text(f"{proc}/net/{name}")) if port in ports
    ]
    owners = socket_owners(proc, [inode for _port, inode in sockets])
    entries: dict[int, dict[str, Any]] = {}
    for port, inode in sockets:
        entry = _listener(proc, port, owners.get(inode), containers, ours, stack)
        if port not in entries or (entries[port]["ours"] and not entry["ours"]):
            entries[port] = entry
    return [entries[port] for port in sorted(entries)]


def _listener(
    proc: str, port: int, pid: int | None, containers: list[dict[str, Any]], ours: str | None, stack: str | None
) -> dict[str, Any]:
    process = read_process(proc, pid) if pid is not None else None
    container = container_of(proc, pid, containers) if pid is not None else None
    if process and process.name == "docker-proxy":
        publishers = (each for each in containers if port in docker_cli.published_ports(each))
        container = next(filter(docker_cli.is_running, publishers), None)
    return {
        "port": port,
        "pid": pid,
        "process": process.name if process else None,
        "container": docker_cli.name_of(container) if container else None,
        "ours": docker_cli.is_ours(container, ours, stack) if container else False,
    }
