# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and ports of other hosts, as this one resolves and reaches them."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import selectors
import socket
import time
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

# A lost SYN is sent again after a second.
_PROBE_SECONDS = 3.0
# Well below the usual limit of open files
_PROBES_AT_ONCE = 256


def resolve(run: Runner, name: str, timeout: float) -> str | None:
    """The address of a host name as this host sees it, IPv4 and not loopback where there is one; None without any."""
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        pass
    found: list[str] = []
    for database in ("ahostsv4", "ahosts"):
        result = run(["getent", database, name], timeout)
        found += [line.split()[0] for line in result.stdout.splitlines() if line.strip() and result.rc == 0]
        if found or result.timed_out:
            break
    outside = [address for address in found if not ipaddress.ip_address(address.partition("%")[0]).is_loopback]
    return next(iter(outside or found), None)


def addresses(run: Runner, name: str, timeout: float) -> list[str]:
    """All addresses of a host name as this host sees it; none where it can't be resolved."""
    result = run(["getent", "ahosts", "--", name], timeout)
    lines = result.stdout.splitlines() if result.rc == 0 and not result.timed_out else []
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))


def probe_ports(run: Runner, targets: list[dict[str, Any]], timeout: float) -> list[dict[str, Any]]:
    """Each target (host, port) with its result: open, refused (nothing listens there), unreachable, timeout or unresolved."""
    # Empty for one without any
    addresses = {name: resolve(run, name, timeout) or "" for name in dict.fromkeys(target["host"] for target in targets)}
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
                target, connection = key.data
                results[target] = _answer(connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
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
        selector.register(connection, selectors.EVENT_WRITE, (target, connection))
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
