# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection needs to know of a host beyond Docker's own answers.

Nothing here touches a path of the model store from the module's own process: on a dead NFS server that would never
return. Readers of /proc take its path, so that tests need no host.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import os
import pwd
import re
import selectors
import socket
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.docker_cli import first_line
from ansible_collections.ascend.gpustack.plugins.module_utils.proc import open_files
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

MIB = 1024 * 1024
_LISTEN = "0A"
# A lost SYN is sent again after a second.
_PROBE_SECONDS = 3.0
# Well below the usual limit of open files
_PROBES_AT_ONCE = 256
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
_OCTAL = re.compile(r"\\([0-7]{3})")
# The path first: when a later step hangs, where the path leads is known all the same.
_PROBE = (
    'readlink -m -- "$1"; stat -L -c "kind %F" -- "$1" || exit 3; stat -f -c "free %a %S %i" -- "$1"; '
    'if [ -w "$1" ]; then echo writable; fi; id=$(head -c 64 -- "$1/$2" 2>/dev/null) && echo "id $id"'
)
# In the root of a store; all hosts that see the same text see the same store.
STORE_ID = ".gpustack-store-id"


# Paths


@dataclass(frozen=True)
class Mount:
    """A line of mountinfo. options are those of the mount and of the file system."""

    device: str
    target: str
    fstype: str
    source: str
    options: frozenset[str]


def parse_mountinfo(text: str) -> list[Mount]:
    mounts = []
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) < 10 or "-" not in fields[6:]:
            continue
        tail = fields[fields.index("-", 6) + 1 :]
        if len(tail) < 3:
            continue
        options = frozenset(fields[5].split(",")) | frozenset(tail[2].split(","))
        mounts.append(Mount(fields[2], unescape(fields[4]), tail[0], unescape(tail[1]), options))
    return mounts


def unescape(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), text)


def holding(mounts: list[Mount], path: str) -> Mount | None:
    """The mount that path lies on: the longest target, and of equal ones the last, which covers the others."""
    found = None
    for mount in mounts:
        if is_within(path, mount.target) and (found is None or len(mount.target) >= len(found.target)):
            found = mount
    return found


def is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


@dataclass(frozen=True)
class Probe:
    """answers: the path could be examined, or is known not to be there. free_mb is None when unknown, store_id where there is none.
    fs_id is the file system's own, zero of many network file systems."""

    path: str
    exists: bool | None
    answers: bool
    free_mb: int | None
    writable: bool | None
    error: str | None
    store_id: str | None = None
    fs_id: str | None = None


def probe(run: Runner, path: str, timeout: float) -> Probe:
    """Examine a path in a process of its own, which is left behind when it hangs."""
    result = run(["sh", "-c", _PROBE, "probe", path, STORE_ID], timeout)
    lines = result.stdout.splitlines()
    real = lines[0] if lines and lines[0].startswith("/") else os.path.normpath(path)
    kind = any(line.startswith("kind ") for line in lines)
    free = next((line.split() for line in lines if line.startswith("free ")), None)
    if kind and free and not result.timed_out:
        identity = next((line[3:].strip() for line in lines if line.startswith("id ")), None)
        return Probe(real, True, True, int(free[1]) * int(free[2]) // MIB, "writable" in lines, None, identity or None, free[3])
    error = first_line(result.stderr) or f"no answer (return code {result.rc})"
    if result.timed_out:
        error = f"no answer within {timeout:g} s"
    elif not kind and ("No such file" in error or "Not a directory" in error):
        return Probe(real, False, True, None, False, None)
    return Probe(real, True if kind else None, False, None, None, error)


def nfs_fs_id(volumes: str, device: str) -> str | None:
    """The server's id of a file system in /proc/fs/nfsfs/volumes, by the device number here: the same for all clients of an export."""
    for line in volumes.splitlines():
        fields = line.split()
        if len(fields) > 4 and fields[3] == device:
            return fields[4]
    return None


def store(run: Runner, path: str, mountinfo: str, volumes: str, timeout: float) -> dict[str, Any]:
    seen = probe(run, path, timeout)
    mounts = parse_mountinfo(mountinfo)
    mount, root = holding(mounts, seen.path), holding(mounts, "/")
    return {
        "path": path,
        "real": seen.path,
        "exists": seen.exists,
        "answers": seen.answers,
        "error": seen.error,
        "is_mount": mount is not None and mount.target == seen.path,
        "source": mount.source if mount else None,
        "fstype": mount.fstype if mount else None,
        "target": mount.target if mount else None,
        "free_mb": seen.free_mb,
        "root_fs": mount.device == root.device if mount and root else None,
        "writable": seen.writable and not (mount and "ro" in mount.options),
        "id": seen.store_id,
        "fs_id": (nfs_fs_id(volumes, mount.device) if mount else None) or (seen.fs_id if seen.fs_id != "0" else None),
    }


def config_file(path: str) -> dict[str, Any]:
    try:
        status = os.stat(path)
    except OSError:
        return {"path": path, "exists": False, "mtime": None, "mode": None, "owner": None}
    try:
        owner = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        owner = str(status.st_uid)
    mode = f"{stat.S_IMODE(status.st_mode):04o}"
    return {"path": path, "exists": True, "mtime": status.st_mtime, "mode": mode, "owner": owner}


def worker_uuid(run: Runner, data: str, timeout: float) -> str | None:
    """The identity that a GPUStack worker keeps in its data directory."""
    result = run(["head", "-c", "64", f"{data}/worker_uuid"], timeout)
    return result.stdout.strip() or None if result.rc == 0 and not result.timed_out else None


# The firewall


def firewalld(run: Runner, timeout: float) -> dict[str, bool | None]:
    """All None where systemd does not answer."""
    properties = ("LoadState", "ActiveState", "UnitFileState")
    result = run(["systemctl", "show", "--property", ",".join(properties), "firewalld.service"], timeout)
    values = dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)
    if result.timed_out or not values.get("LoadState"):
        return {"installed": None, "running": None, "enabled": None}
    return {
        "installed": values["LoadState"] != "not-found",
        "running": values.get("ActiveState") in ("active", "activating", "reloading"),
        "enabled": values.get("UnitFileState", "").startswith("enabled"),
    }


def read_text(path: str) -> str:
    """The text of a file under /proc or /etc; empty when it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def docker_arguments(proc: str, pid_file: str) -> list[str]:
    """Command line of the Docker daemon; empty when it does not run."""
    pid = read_text(pid_file).strip()
    return read_text(f"{proc}/{pid}/cmdline").split("\0")[:-1] if pid.isdigit() else []


def daemon_settings(arguments: list[str], default_file: str) -> dict[str, Any]:
    """Docker's configuration file, with those flags of the daemon put in that matter here."""
    flags = dict(argument[2:].split("=", 1) for argument in arguments if argument.startswith("--") and "=" in argument)
    path = flags.get("config-file", default_file)
    if "--config-file" in arguments[:-1]:
        path = arguments[arguments.index("--config-file") + 1]
    try:
        settings = json.loads(read_text(path) or "{}")
    except ValueError:
        settings = {}
    if not isinstance(settings, dict):
        settings = {}
    if "iptables" in flags:
        settings["iptables"] = flags["iptables"].lower() not in ("false", "0", "f")
    return settings


def docker_chain(
    run: Runner, engine: docker_cli.Engine, settings: dict[str, Any], names: list[str] | None, timeout: float
) -> dict[str, Any]:
    """present is None when iptables gives no clear answer; names are the running containers, None when unknown."""
    managed = settings.get("iptables") is not False and engine.firewall_backend != "nftables"
    result = run(["iptables", "--wait", "5", "-t", "nat", "-S", "DOCKER"], timeout)
    present = None
    if result.rc == 0 and not result.timed_out:
        present = True
    # The legacy and the nft kind of iptables word it differently.
    elif result.rc == 1 and re.search(r"no chain|is incompatible|does not exist", result.stderr, re.IGNORECASE):
        present = False
    return {"managed": managed, "present": present, "running_containers": names}


# Who listens


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
        "ours": bool(container) and docker_cli.is_ours(container, ours, stack),
    }


# Containers, names


def npu_holders(
    containers: list[dict[str, Any]], ours: str | None, npus_of_host: list[int], stack: str | None = None
) -> list[dict[str, Any]]:
    holders = []
    for container in containers:
        npus, via = docker_cli.held_npus(container, npus_of_host)
        if npus and docker_cli.is_running(container) and not docker_cli.is_ours(container, ours, stack):
            holders.append({"container": docker_cli.name_of(container), "npus": npus, "via": via})
    return sorted(holders, key=lambda holder: holder["container"])


def npu_nodes(dev: str) -> list[int]:
    """Numbers of the NPUs' device nodes."""
    names = (re.match(r"davinci(\d+)\Z", name) for name in os.listdir(dev))
    return sorted(int(match.group(1)) for match in names if match)


def resolve(run: Runner, name: str, timeout: float) -> str | None:
    """The address of a host name as this host sees it, IPv4 and not loopback where there is one; None without any."""
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        pass
    found = []
    for database in ("ahostsv4", "ahosts"):
        result = run(["getent", database, name], timeout)
        found += [line.split()[0] for line in result.stdout.splitlines() if line.strip() and result.rc == 0]
        if found or result.timed_out:
            break
    outside = [address for address in found if not ipaddress.ip_address(address.partition("%")[0]).is_loopback]
    return (outside or found or [None])[0]


def addresses(run: Runner, name: str, timeout: float) -> list[str]:
    """All addresses of a host name as this host sees it; none where it can't be resolved."""
    result = run(["getent", "ahosts", "--", name], timeout)
    lines = result.stdout.splitlines() if result.rc == 0 and not result.timed_out else []
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))


def probe_ports(run: Runner, targets: list[dict[str, Any]], timeout: float) -> list[dict[str, Any]]:
    """Each target (host, port) with its result: open, refused (nothing listens there), unreachable, timeout or unresolved."""
    addresses = {name: resolve(run, name, timeout) for name in dict.fromkeys(target["host"] for target in targets)}
    known = [(addresses[target["host"]], target["port"]) for target in targets if addresses[target["host"]]]
    results: dict[tuple[str, int], str] = {}
    for start in range(0, len(known), _PROBES_AT_ONCE):
        results.update(_connect(known[start : start + _PROBES_AT_ONCE]))
    return [{**target, "result": results.get((addresses[target["host"]], target["port"]), "unresolved")} for target in targets]


def _connect(targets: list[tuple[str, int]]) -> dict[tuple[str, int], str]:
    results = dict.fromkeys(targets, "timeout")
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        listeners = _icmp_listeners(stack)
        for target in results:
            code = _start(stack, selector, target)
            if code != errno.EINPROGRESS:
                results[target] = _answer(code)
        deadline = time.monotonic() + _PROBE_SECONDS
        rejected = set()
        while selector.get_map() and time.monotonic() < deadline:
            for key, _events in selector.select(max(0.0, deadline - time.monotonic())):
                results[key.data] = _answer(key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
                selector.unregister(key.fileobj)
            rejected |= _rejected(listeners)
    return {target: "unreachable" if target in rejected else result for target, result in results.items()}


def _icmp_listeners(stack: contextlib.ExitStack) -> list[socket.socket]:
    """A firewall that rejects with "port unreachable" is told from a port nobody listens on by its ICMP message alone,
    which only root may read. Such a message is delivered here before the connection fails."""
    listeners = []
    for family, protocol in ((socket.AF_INET, socket.IPPROTO_ICMP), (socket.AF_INET6, socket.IPPROTO_ICMPV6)):
        with contextlib.suppress(OSError):
            listeners.append(stack.enter_context(socket.socket(family, socket.SOCK_RAW, protocol)))
            listeners[-1].setblocking(False)
    return listeners


def _rejected(listeners: list[socket.socket]) -> set[tuple[str, int] | None]:
    found = set()
    for listener in listeners:
        with contextlib.suppress(BlockingIOError):
            while True:
                found.add(rejected_target(listener.recv(4096), listener.family))
    return found


def _start(stack: contextlib.ExitStack, selector: selectors.BaseSelector, target: tuple[str, int]) -> int:
    try:
        connection = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET))
        connection.setblocking(False)
        code = connection.connect_ex(target)
    except (OSError, OverflowError):
        return errno.EINVAL
    if code == errno.EINPROGRESS:
        selector.register(connection, selectors.EVENT_WRITE, target)
    return code


def _answer(code: int) -> str:
    if code == errno.ETIMEDOUT:
        return "timeout"
    return {0: "open", errno.ECONNREFUSED: "refused"}.get(code, "unreachable")


def rejected_target(packet: bytes, family: int) -> tuple[str, int] | None:
    """The TCP connection that an ICMP "destination unreachable" is about; None for other messages.
    Linux gives the IPv4 message with its IP header, the IPv6 one without."""
    if family == socket.AF_INET:
        message = packet[(packet[0] & 15) * 4 :] if packet else b""
        kind, protocol, destination, header = 3, 9, slice(16, 20), (message[8] & 15) * 4 if len(message) > 8 else 0
    else:
        message, kind, protocol, destination, header = packet, 1, 6, slice(24, 40), 40
    original = message[8:]
    if len(original) < header + 4 or message[0] != kind or original[protocol] != socket.IPPROTO_TCP:
        return None
    return socket.inet_ntop(family, original[destination]), int.from_bytes(original[header + 2 : header + 4], "big")


def python_requests() -> bool:
    """Whether this interpreter can import what Ansible's Docker modules import of requests."""
    try:
        from requests import Session  # noqa: F401
        from requests.adapters import HTTPAdapter  # noqa: F401
        from requests.packages import urllib3  # noqa: F401
    except Exception:
        # A requests that doesn't fit its urllib3 raises more than ImportError.
        return False
    return True
