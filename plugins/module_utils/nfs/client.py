# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an NFS client needs to know before it mounts: fstab(5), what a server exports, and whether it lets this host in."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import files
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.host import mounts as host_mounts
from ansible_collections.ascend.gpustack.plugins.module_utils.host import reach
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import RC_NOT_FOUND, Runner

NFS_PORT = 2049
_SHOWN_FILES = 10


@dataclass(frozen=True)
class FstabEntry:
    """line counts from 1; text is the line as it stands there."""

    line: int
    text: str
    source: str
    fstype: str
    options: list[str]


def parse_fstab(text: str, path: str) -> list[FstabEntry]:
    """The entries of fstab(5) for one mount point."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if len(fields) < 3 or fields[0].startswith("#") or _same(host_mounts.unescape(fields[1]), path) is False:
            continue
        options = fields[3].split(",") if len(fields) > 3 else []
        found.append(FstabEntry(number, line.strip(), host_mounts.unescape(fields[0]), fields[2], options))
    return found


def _same(left: str, right: str) -> bool:
    return left.rstrip("/") == right.rstrip("/")


def parse_showmount(text: str) -> dict[str, list[str]]:
    """`showmount --no-headers -e`: export to its clients; an empty list or (everyone) lets everybody in."""
    exports = {}
    for line in text.splitlines():
        path, _blank, clients = line.rstrip().rpartition(" ")
        if path.startswith("/"):
            exports[path.rstrip()] = [] if clients == "(everyone)" else clients.split(",")
        elif clients.startswith("/"):
            exports[clients] = []
    return exports


def admits(clients: list[str], address: str) -> bool | None:
    """Whether a list of clients lets an address in; None where only the server can tell (names, netgroups)."""
    if not clients or "*" in clients:
        return True
    unknown = False
    for client in clients:
        try:
            if ipaddress.ip_address(address) in ipaddress.ip_network(client, strict=False):
                return True
        except ValueError:
            unknown = True
    return None if unknown else False


def source_host(source: str) -> str:
    """The server in `server:/export`; an IPv6 address stands in brackets there."""
    match = re.match(r"\[([^\]]+)\]:|([^:/]+):", source)
    return (match.group(1) or match.group(2)) if match else ""


def is_own_address(address: str) -> bool:
    """Whether the address is one of this host's: only to such a one can a socket be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def own_address(towards: str) -> str | None:
    """The address with which this host reaches another one. No packet is sent."""
    family = socket.AF_INET6 if ":" in towards else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards, NFS_PORT))
            return str(probe.getsockname()[0])
        except OSError:
            return None


def live_mount(mountinfo: str, path: str) -> host_mounts.Mount | None:
    """What is mounted right at the path; of several mounts on top of one another the last, which is the one that is seen."""
    found = [mount for mount in host_mounts.parse_mountinfo(mountinfo) if _same(mount.target, path)]
    return found[-1] if found else None


def hidden_files(run: Runner, path: str, timeout: float) -> list[str]:
    """Names below a mount point on which nothing is mounted, at most ten: a mount would hide them."""
    result = run(["find", path, "-mindepth", "1", "-maxdepth", "1", "-printf", "%f\\n"], timeout)
    return sorted(result.stdout.splitlines())[:_SHOWN_FILES]


def locate_server(run: Runner, server: str, timeout: float) -> dict[str, Any]:
    """Where the server is; what ask_server would add is not known yet."""
    address = reach.resolve(run, server, timeout)
    unasked: dict[str, Any] = {"port": None, "exports": None, "error": None, "seen_as": None, "admitted": {}}
    return {"address": address, "local": is_own_address(address) if address else False, **unasked}


def ask_server(run: Runner, located: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Whether the server answers, and what it exports. exports is None where it does not say, as of NFS 4 alone."""
    address = located["address"]
    if not address:
        return {**located, "port": "unresolved"}
    seen_as = own_address(address)
    port = reach.probe_ports(run, [{"host": address, "port": NFS_PORT}], timeout)[0]["result"]
    told = {**located, "seen_as": seen_as, "port": port}
    if port != "open":
        return told
    argv = ["showmount", "--no-headers", "-e", address]
    result = run(argv, timeout)
    if result.rc == 0 and not result.timed_out:
        exports = parse_showmount(result.stdout)
        admitted = {export: admits(clients, seen_as or "") for export, clients in exports.items()}
        return {**told, "exports": exports, "admitted": admitted}
    return told if result.rc == RC_NOT_FOUND else {**told, "error": docker_cli.why(argv, result, timeout)}


def users_of(containers: Iterable[dict[str, Any]], path: str) -> list[str]:
    """Running containers that have the path, or something below it, mounted."""
    found = []
    for container in containers:
        sources = [str(mount.get("Source", "")) for mount in container.get("Mounts") or []]
        if docker_cli.is_running(container) and any(files.is_within(source, path) for source in sources):
            found.append(docker_cli.name_of(container))
    return sorted(found)
