# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings about the hosts together: the inventory, the ways between them, and what all workers are to have alike."""

from __future__ import annotations

import ipaddress
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.npu import network
from ansible_collections.ascend.gpustack.plugins.plugin_utils import cluster
from ansible_collections.ascend.gpustack.plugins.plugin_utils import ports as port_table
from ansible_collections.ascend.gpustack.plugins.plugin_utils.cluster import addresses, setting
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Checks, Finding, as_facts

CHECKS = Checks()


@dataclass(frozen=True)
class Play:
    """The hosts of the play, what Ansible knows of all, and what preflight is told: `cluster`, `multi_node`."""

    hosts: list[str]
    hostvars: Any
    groups: dict
    settings: dict

    def answer(self, host: str, fact: str) -> dict:
        """What a module said of a host; empty where it was not asked."""
        return setting(self.hostvars, host, fact, {}) or {}


@CHECKS.add(
    inventory="whether the groups hold the hosts that they are to hold",
    worker_name="whether workers have names of their own",
)
def _inventory(play: Play) -> list[tuple[str, Finding]]:
    """What the inventory itself has wrong with hosts of the play, be it against hosts that --limit leaves out."""
    groups, hostvars = play.groups, play.hostvars
    kind = play.settings["cluster"]
    hosts = cluster.members(groups, kind)
    found: list[tuple[str, Finding]] = []
    if kind == "swarm":
        found += [(host, item) for item in _swarm_groups(groups) for host in hosts]
    else:
        servers = groups.get("gpustack_server", [])
        if len(servers) != 1:
            text = f"the group gpustack_server holds {', '.join(servers) or 'no host'}; expected exactly one"
            found += [(host, Finding("inventory", "fail", text, "Correct the inventory.")) for host in servers or hosts]
        names = {host: setting(hostvars, host, "gpustack_worker_name", host) for host in groups.get("gpustack_worker", [])}
        found += _shared(names, "worker_name", "fail", "gpustack_worker_name", "Give each worker a name of its own.")
    own = dict(zip(hosts, addresses(hosts, hostvars)))
    found += _shared(own, "address", "fail", "gpustack_address", "Give each host an address of its own.")
    for host, address in own.items():
        if len(hosts) > 1 and _is_loopback(address):
            text = f"gpustack_address is {address}, which other hosts cannot reach"
            found.append((host, Finding("address", "fail", text, "Set gpustack_address to the one that they use.")))
    return [(host, item) for host, item in found if host in play.hosts or item.check == "inventory"]


@CHECKS.add()
def _resolved(play: Play) -> list[tuple[str, Finding]]:
    """Names that lead back to the host itself there, as some systems have their own in /etc/hosts."""
    members = cluster.members(play.groups, play.settings["cluster"])
    found = []
    for host, address in zip(play.hosts, addresses(play.hosts, play.hostvars)) if len(members) > 1 else ():
        known = (play.answer(host, "ascend_driver_check_host").get("resolved") or {}).get(address)
        if known and known != address and _is_loopback(known):
            text = f"gpustack_address {address} is {known} on it, which other hosts cannot reach"
            found.append(
                (host, Finding("address", "fail", text, "Correct its /etc/hosts, or set gpustack_address to the address that they use."))
            )
    return found


def swarm_groups_problems(groups: dict) -> list[dict]:
    """The same for a role that runs alone."""
    return as_facts(_swarm_groups(groups))


def _swarm_groups(groups: dict) -> list[Finding]:
    """What is wrong with the groups of a Swarm: an even number of managers bears no more failures than one less, and votes can tie."""
    managers = groups.get("docker_swarm_manager", [])
    both = [host for host in managers if host in groups.get("docker_swarm_worker", [])]
    problems = []
    if len(managers) % 2 == 0:
        found = f"{len(managers)} hosts" if managers else "no host"
        text = f"the group docker_swarm_manager holds {found}; expected an odd number, such as 1, 3 or 5"
        problems.append((text, "Move a host between docker_swarm_manager and docker_swarm_worker."))
    if both:
        text = f"{', '.join(both)} are both in docker_swarm_manager and docker_swarm_worker; expected one of them"
        problems.append((text, "A manager works, too: remove it from docker_swarm_worker."))
    return [Finding("inventory", "fail", *problem) for problem in problems]


def _shared(values: dict, check: str, result: str, what: str, remedy: str) -> list[tuple[str, Finding]]:
    holders = defaultdict(list)
    for host, value in values.items():
        holders[value].append(host)
    return [
        (host, Finding(check, result, f"{what} {value} is shared by {', '.join(sharing)}", remedy))
        for value, sharing in holders.items()
        if len(sharing) > 1
        for host in sharing
    ]


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost" or address.startswith("localhost.")


def firewall_probes(host: str, hosts: list[str], hostvars: Any, groups: dict, store_type: str) -> list[dict]:
    """The ports that this host is to reach: a worker the server's, the server one of each kind of every worker in the play, and both
    those of the host that exports the store."""
    server, store = cluster.first(groups, "gpustack_server"), cluster.first(groups, "gpustack_store")
    workers = groups.get("gpustack_worker", [])
    found = []
    if host == server:
        others = [each for each in hosts if each in workers and each != server]
        for worker, address in zip(others, addresses(others, hostvars)):
            found += [{"host": address, "port": int(ports.split("-", 1)[0])} for ports in _probed_ports(worker, hostvars, groups)]
    elif host in workers and server:
        found.append({"host": addresses([server], hostvars)[0], "port": port_table.server_port(server, hostvars)})
    if store_type == "nfs" and store and host != store:
        # NFS 4 needs one port alone.
        ports = port_table.NFS_MOUNT_PORTS[: 1 if str(setting(hostvars, host, "nfs_client_version", "3")).startswith("4") else None]
        found += [{"host": addresses([store], hostvars)[0], "port": port} for port in ports]
    return found


def _probed_ports(worker: str, hostvars: Any, groups: dict) -> list[str]:
    """A worker's API, and what its models are served at."""
    ports = port_table.asked_of_worker(worker, hostvars, groups)
    return [ports[name] for name in ("worker_port", "service_port_range") if name in ports]


@CHECKS.add()
def _firewall(play: Play) -> list[tuple[str, Finding]]:
    """Closed ports, always as findings of a worker, so that --limit can leave it out."""
    server = cluster.first(play.groups, "gpustack_server") or ""
    found = []
    for host in play.hosts:
        nfs = [probe for probe in _closed(play, host) if probe["port"] in port_table.NFS_MOUNT_PORTS]
        other = [probe for probe in _closed(play, host) if probe not in nfs and host != server]
        if other:
            text = f"it cannot reach port {other[0]['port']} of the server {server} ({other[0]['result']})"
            found.append((host, Finding("firewall", "fail", text, _opening([f"{other[0]['port']}/tcp"], f"on {server}"))))
        if nfs:
            store, ports = play.groups["gpustack_store"][0], [str(probe["port"]) for probe in nfs]
            text = f"it cannot reach port {', '.join(ports)} of the store's host {store} ({nfs[0]['result']})"
            found.append((host, Finding("firewall", "fail", text, _opening([f"{port}/tcp" for port in ports], f"on {store}"))))
    return found + _closed_to_server(play, server)


def _closed_to_server(play: Play, server: str) -> list[tuple[str, Finding]]:
    by_address = dict(zip(addresses(play.hosts, play.hostvars), play.hosts))
    by_worker = defaultdict(list)
    for probe in (each for each in _closed(play, server) if each["port"] not in port_table.NFS_MOUNT_PORTS):
        by_worker[by_address.get(probe["host"], "")].append(probe)
    found = []
    for host, closed in by_worker.items():
        if host and not _unreachable(host, play.hostvars):
            ports = " and ".join(f"port {probe['port']}" for probe in closed)
            needed = [f"{port}/tcp" for port in _probed_ports(host, play.hostvars, play.groups)]
            text = f"{ports} cannot be reached from the server {server} ({closed[0]['result']})"
            found.append((host, Finding("firewall", "fail", text, _opening(needed, "there"))))
    return found


def _closed(play: Play, host: str) -> list[dict]:
    probes = play.answer(host, "ascend_driver_check_host").get("probes") or []
    return [probe for probe in probes if probe["result"] not in ("open", "refused")]


def _unreachable(host: str, hostvars: Any) -> bool:
    return any(item["check"] == "reachable" for item in setting(hostvars, host, "ascend_driver_check_report", []))


def _opening(ports: list[str], where: str) -> str:
    # Not --reload: it takes Docker's chains away.
    command = " ".join(f"--add-port={port}" for port in ports)
    return f"Set gpustack_firewall: configure, or run {where}:\n  firewall-cmd {command} && firewall-cmd --runtime-to-permanent"


@CHECKS.add(
    driver_equal="whether all workers have the same driver",
    hccn_tls="whether all workers' ports have the same TLS switch",
)
def _workers(play: Play) -> list[tuple[str, Finding]]:
    """What all workers are to have alike, and what each is to have alone."""
    multi_node = play.settings["multi_node"]
    read = {host: play.answer(host, "ascend_driver_check_npu_info") for host in play.hosts}
    versions = {host: npu["driver_version"] for host, npu in read.items() if npu.get("driver_version")}
    found = _differing(versions, "driver_equal", "fail" if multi_node else "warn", "the driver", "Bring all workers to one driver version.")
    if not multi_node:
        return found
    ports = {host: npu.get("network") or [] for host, npu in read.items()}
    switch = {True: "on", False: "off", None: "unknown"}
    tls = {host: " and ".join(sorted({switch[port["tls"]] for port in known})) for host, known in ports.items() if known}
    found += _differing(tls, "hccn_tls", "fail", "TLS of the NPUs' ports", "Set it everywhere: hccn_tool -i N -tls -s enable 0")
    return found + _shared_ports(ports)


def _shared_ports(ports: dict[str, list[dict]]) -> list[tuple[str, Finding]]:
    """Workers whose NPUs' network ports have addresses that other ports have, too; ports by host."""
    holders: dict[str, list[str]] = defaultdict(list)
    for host, known in ports.items():
        for name, port in zip(network.names(known), known):
            if port["address"]:
                holders[port["address"]].append(f"{host} {name}")
    shared = {address: names for address, names in holders.items() if len(names) > 1}
    found = []
    for host in ports:
        own = [address for address, names in shared.items() if any(name.startswith(f"{host} ") for name in names)]
        if own:
            others = ", ".join(f"{address} ({', '.join(shared[address])})" for address in own[:2]) + (" …" if len(own) > 2 else "")
            text = f"addresses of its NPUs are also another NPU's: {others}; expected each once in the cluster"
            found.append((host, Finding("hccn_address", "fail", text, "Give each NPU an address of its own: hccn_tool -i N -ip -s …")))
    return found


def _differing(values: dict[str, str], check: str, result: str, what: str, remedy: str) -> list[tuple[str, Finding]]:
    """The hosts whose value is not the one that most have; of as many on both sides, the first host's is right."""
    counts = Counter(values.values())
    if len(counts) < 2:
        return []
    right = max(counts, key=counts.__getitem__)
    like = [host for host, value in values.items() if value == right]
    shown = ", ".join(like[:3]) + (" …" if len(like) > 3 else "")
    return [
        (host, Finding(check, result, f"{what} is {value}; expected {right}, as on {shown}", remedy))
        for host, value in values.items()
        if value != right
    ]


@CHECKS.add(hostname="whether hosts share a host name")
def _hostnames(play: Play) -> list[tuple[str, Finding]]:
    names = {host: play.answer(host, "ascend_driver_check_host").get("hostname") for host in play.hosts}
    remedy = "Harmless here, since workers have names of their own; hostnamectl set-hostname tells them apart."
    return _shared({host: name for host, name in names.items() if name}, "hostname", "warn", "the hostname", remedy)
