# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""firewalld's services and zones: what firewall-cmd prints, the collection's own part of it, and what that is to be."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple, Union

from ansible_collections.ascend.gpustack.plugins.module_utils.files import read_text
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

# firewalld keeps a service's description when someone changes it with firewall-cmd.
MARK = "Managed by ascend.gpustack (role firewalld_configure); changes are overwritten."
# What a zone has by firewall-cmd --list-all-zones, and how the option for it ends
_LISTS = {
    "interfaces": "interface",
    "services": "service",
    "ports": "port",
    "protocols": "protocol",
    "sources": "source",
    "source-ports": "source-port",
    "icmp-blocks": "icmp-block",
    "forward-ports": "forward-port",
    "rich rules": "rich-rule",
}
_SWITCHES = ("icmp-block-inversion", "forward", "masquerade")
_RULE = 'rule family="ipv{version}" source address="{source}" service name="{service}" accept'
_OWN_RULE = re.compile(r'rule family="ipv[46]" source address="[^"]+" service name="([^"]+)" accept')
# Where Docker, since 20.10, puts its bridges at each start (moby, libnetwork/iptables/firewalld.go)
DOCKER_ZONE = "docker"
_BRIDGE = re.compile(r"docker_gwbridge|br-[0-9a-f]{12}")
DIRECTORY = "/etc/firewalld/zones"
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Zones = dict[str, dict[str, list[str]]]


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


def strayed_bridges(run: Runner, bridge: str, timeout: float, directory: str = DIRECTORY) -> list[dict[str, Any]]:
    """Docker's bridges that a firewalld that runs has in another zone than Docker's own: interface, zone, whether it is the default one,
    whose name is bridge, and in_force, which is false of what firewalld's files alone say."""
    zones = parse_zones(run(["firewall-cmd", "--get-active-zones"], timeout).stdout)
    in_force = {(name, zone) for zone, parts in zones.items() for name in parts.get("interfaces", [])}
    found = sorted(in_force | _permanent_interfaces(directory))
    return [
        {"interface": name, "zone": zone, "default": name == bridge, "in_force": (name, zone) in in_force}
        for name, zone in found
        if zone != DOCKER_ZONE and (name == bridge or _BRIDGE.fullmatch(name))
    ]


def _permanent_interfaces(directory: str) -> set[tuple[str, str]]:
    """Each interface with its zone, as firewalld's files of zones have it (firewalld.zone(5))."""
    names = [name for name in (os.listdir(directory) if os.path.isdir(directory) else []) if name.endswith(".xml")]
    texts = {name[: -len(".xml")]: read_text(os.path.join(directory, name)) for name in names}
    tag = re.compile(r"""<interface\s+name=["']([^"']+)["']""")
    return {(interface, zone) for zone, text in texts.items() for interface in tag.findall(text)}


class Entry(NamedTuple):
    """One setting of a zone, by its option without add or remove; text is empty for a switch."""

    zone: str
    option: str
    text: str

    def __str__(self) -> str:
        return f"zone {self.zone}: {self.text if self.option == 'rich-rule' else ' '.join(filter(None, self[1:]))}"


def parse_zones(text: str) -> Zones:
    """The output of --list-all-zones; rich rules and forwarded ports stand there on lines of their own."""
    zones: Zones = {}
    zone: dict[str, list[str]] = {}
    values: list[str] = []
    for line in text.splitlines():
        if line.startswith("\t"):
            values.append(line.strip())
        elif line.startswith("  "):
            key, _colon, rest = line.strip().partition(":")
            values = zone.setdefault(key, [])
            values += rest.split()
        elif line.strip():
            zone = zones.setdefault(line.split()[0], {})
    return zones


def entries(zones: Zones) -> set[Entry]:
    found = {Entry(zone, option, text) for zone, parts in zones.items() for key, option in _LISTS.items() for text in parts.get(key, [])}
    return found | {Entry(zone, switch, "") for zone, parts in zones.items() for switch in _SWITCHES if parts.get(switch) == ["yes"]}


def parse_service(text: str) -> list[str]:
    """The ports in the output of --info-service."""
    return in_order(next((line.split()[1:] for line in text.splitlines() if line.startswith("  ports:")), []))


def read_port(text: str) -> str:
    """A port as firewall-cmd prints it. Raises ValueError with a sentence for the user."""
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?/(tcp|udp)", text)
    first, last, protocol = (int(match.group(1)), int(match.group(2) or match.group(1)), match.group(3)) if match else (0, 0, "")
    if not 0 < first <= last < 65536:
        raise ValueError(f"{text!r} is no port; expected one such as 8080/tcp or 40000-40063/udp. Correct it.")
    return f"{first}-{last}/{protocol}" if last > first else f"{first}/{protocol}"


def in_order(ports: Iterable[str]) -> list[str]:
    return sorted(set(ports), key=lambda port: (int(re.split("[-/]", port)[0]), port))


def render(name: str, ports: list[str]) -> str:
    """The file of a service."""
    lines = ['  <port protocol="{1}" port="{0}"/>\n'.format(*port.split("/")) for port in ports]
    head = f'<?xml version="1.0" encoding="utf-8"?>\n<service>\n  <short>{name}</short>\n  <description>{MARK}</description>\n'
    return f"{head}{''.join(lines)}</service>\n"


def ports_of_file(text: str) -> list[str]:
    found = []
    for tag in re.findall(r"<port\s[^>]*>", text):
        port, protocol = re.search(r"""\bport=["'](\d+(?:-\d+)?)""", tag), re.search(r"""\bprotocol=["'](\w+)""", tag)
        if port and protocol:
            found.append(f"{port.group(1)}/{protocol.group(1)}")
    return in_order(found)


def collapse(networks: Iterable[Network]) -> list[Network]:
    """Each once, and adjacent ones as one; without those that only this host has."""
    outside = [network for network in networks if not network.is_loopback and not network.is_link_local]
    of_4 = [network for network in outside if isinstance(network, ipaddress.IPv4Network)]
    of_6 = [network for network in outside if isinstance(network, ipaddress.IPv6Network)]
    return [*ipaddress.collapse_addresses(of_4), *ipaddress.collapse_addresses(of_6)]


def zones_by_source(zones: Zones) -> dict[str, list[Network]]:
    """The networks of each zone that has some; an ipset and a hardware address are none."""
    found: dict[str, list[Network]] = {}
    for zone, parts in zones.items():
        for text in parts.get("sources", []):
            try:
                found.setdefault(zone, []).append(ipaddress.ip_network(text, strict=False))
            except ValueError:
                continue
    return found


def wanted(sources: dict[str, list[Network] | None], zones: list[str], by_source: dict[str, list[Network]]) -> set[Entry]:
    """The entries that open services: in zones for their sources, None for everyone; in zones by source for what these hold of all
    the sources."""
    members = collapse(network for networks in sources.values() for network in networks or [])
    found: set[Entry] = set()
    for name, networks in sources.items():
        for zone in zones:
            found |= {Entry(zone, "service", name)} if networks is None else _rules(zone, name, networks)
        for zone, held in by_source.items():
            if zone not in zones:
                own = members if networks is None else networks
                found |= _rules(zone, name, [network for network in own if any(network.overlaps(each) for each in held)])
    return found


def _rules(zone: str, service: str, networks: list[Network]) -> set[Entry]:
    shown = [(network.version, network.network_address if network.num_addresses == 1 else network) for network in networks]
    return {Entry(zone, "rich-rule", _RULE.format(version=version, source=source, service=service)) for version, source in shown}


def own(found: set[Entry], names: Collection[str]) -> set[Entry]:
    """The entries that open the services of these names. Rules of another form are the operator's."""
    return {entry for entry in found if opened(entry) in names}


def opened(entry: Entry) -> str | None:
    """The service that an entry of the collection's own form opens."""
    if entry.option == "service":
        return entry.text
    rule = _OWN_RULE.fullmatch(entry.text) if entry.option == "rich-rule" else None
    return rule.group(1) if rule else None


def stale(found: set[Entry], given_up: Collection[str], kept: Collection[str], needed: set[Entry]) -> set[Entry]:
    """The own entries to remove: of services that are given up all, of the others rules that are no longer needed. A service that is
    open in a further zone was opened there by the operator."""
    former = {entry for entry in own(found, kept) if entry.option == "rich-rule"}
    return own(found, given_up) | (former - needed)


def picture(ports: dict[str, list[str]], in_force: dict[str, list[str]], permanent: set[Entry], runtime: set[Entry]) -> str:
    """Services and own entries as text to compare."""
    lines = [f"service {name}: {' '.join(listed)}\n" for name, listed in sorted(ports.items())]
    lines += [f"service {name}, in force: {' '.join(listed)}\n" for name, listed in sorted(in_force.items()) if listed != ports.get(name)]
    for entry in sorted(permanent | runtime):
        where = "" if entry in permanent & runtime else " (permanent alone)" if entry in permanent else " (in force alone)"
        lines.append(f"{entry}{where}\n")
    return "".join(lines)
