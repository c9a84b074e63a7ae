# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of an export: addresses, networks and names, who may write, and their order."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Callable

SHOWN_CLIENTS = 5
_BITS = {4: 32, 6: 128}
_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9])?)*")
ACCESS = {
    "ro": {"read_only": True},
    "rw": {"read_only": False},
    "root_squash": {"root_squash": True},
    "no_root_squash": {"root_squash": False},
    "all_squash": {"all_squash": True},
    "no_all_squash": {"all_squash": False},
}


@dataclass(frozen=True)
class Net:
    """The addresses that agree with address in the bits of mask, as mountd compares them; the bits need not be contiguous."""

    version: int
    address: int
    mask: int

    def covers(self, other: Net) -> bool:
        return self.version == other.version and not self.mask & ~other.mask and not (self.address ^ other.address) & self.mask


@dataclass(frozen=True)
class Client:
    """Whom to serve; text is how it is written in an exports file."""

    text: str
    net: Net
    writable: bool


def address_net(text: str) -> Net | None:
    """None when text is no address, or one with a zone, which exports files can't hold."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if "%" in text:
        return None
    return Net(address.version, int(address), 2 ** _BITS[address.version] - 1)


def network_net(text: str) -> Net | None:
    """A network as exportfs takes it: bits of the host are ignored, a mask is taken as it is.

    None for what exportfs refuses, and for a prefix of 0, for which it makes a mask that no client fits.
    """
    base, _slash, mask = text.partition("/")
    net = address_net(base)
    if net is None:
        return None
    bits = _BITS[net.version]
    if re.fullmatch("[0-9]{1,3}", mask):
        if not 0 < int(mask) <= bits:
            return None
        value = 2**bits - 2 ** (bits - int(mask))
    else:
        spelled = address_net(mask)
        if spelled is None or spelled.version != net.version:
            return None
        value = spelled.address
    return Net(net.version, net.address & value, value)


def read_client(given: str, access: str, resolve: Callable[[str], str | None] | None) -> Client:
    """Raises ValueError with a sentence for the user. resolve gives a name's address; without it, names are refused."""
    writable = access == "rw"
    if "/" in given:
        return _network_client(given, writable)
    if address_net(given):
        return _address_client(given, writable)
    if not _NAME.fullmatch(given) or given.rpartition(".")[2].isdigit():
        raise ValueError(
            f"client {given!r} is no address, network or host name; expected such as 172.16.33.107 or 172.16.33.0/24. Correct it."
        )
    if resolve is None:
        raise ValueError(f"client {given} is a host name; expected an address or a network. Give its address.")
    address = resolve(given)
    if address is None or address_net(address) is None:
        raise ValueError(
            f"client {given} can't be resolved; expected a name with an address. Correct it, make it known to getent ahosts {given},"
            " or give its address."
        )
    if ipaddress.ip_address(address).is_loopback:
        raise ValueError(
            f"client {given} resolves to {address}, where every host finds itself; expected an address on the network."
            " Correct /etc/hosts, or give its address."
        )
    return _address_client(address, writable)


def _address_client(text: str, writable: bool) -> Client:
    address = ipaddress.ip_address(text)
    # Such a client reaches mountd as IPv4, and is not found under this address.
    address = getattr(address, "ipv4_mapped", None) or address
    return Client(str(address), Net(address.version, int(address), 2 ** _BITS[address.version] - 1), writable)


def _network_client(given: str, writable: bool) -> Client:
    try:
        network = ipaddress.ip_network(given, strict=False)
    except ValueError:
        network = None
    base, _slash, prefix = given.partition("/")
    if network is None or not re.fullmatch("[0-9]+", prefix) or "%" in given:
        raise ValueError(f"client {given!r} is no network; expected such as 172.16.33.0/24. Correct it.")
    if network.prefixlen == 0:
        raise ValueError(f"client {given} is every host there is; expected the cluster's own network. Give that.")
    if ipaddress.ip_address(base) != network.network_address:
        raise ValueError(
            f"client {given} has bits of a host set; expected a network. Write {network} for the whole network,"
            f" or {base} for that host alone."
        )
    if network.num_addresses == 1:
        return _address_client(base, writable)
    return Client(str(network), Net(network.version, int(network.network_address), int(network.netmask)), writable)


def in_order(clients: Iterable[Client]) -> list[Client]:
    """Each once, writable if it is so anywhere; narrow networks first, since mountd takes the first that fits."""
    kept: dict[str, Client] = {}
    for client in clients:
        if client.writable or client.text not in kept:
            kept[client.text] = client
    return sorted(kept.values(), key=lambda client: (client.net.version, -client.net.mask, client.net.address))


def shown_clients(clients: Sequence[Client]) -> str:
    texts = [client.text for client in clients]
    if len(texts) > SHOWN_CLIENTS:
        return ", ".join(texts[:SHOWN_CLIENTS]) + f" and {len(texts) - SHOWN_CLIENTS} more"
    return ", ".join(texts)
