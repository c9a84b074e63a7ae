# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network interface of each NPU: what hccn_tool says of it, and what /etc/hccn.conf wants of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LINK = re.compile(r"link status:\s*(\w{1,20})", re.IGNORECASE)
ADDRESS = re.compile(r"ipaddr:\s*([0-9a-fA-F.:]{2,45})")
NETMASK = re.compile(r"netmask:\s*([0-9a-fA-F.:]{2,45})")
GATEWAY = re.compile(r"gateway:\s*([0-9a-fA-F.:]{2,45})")
TLS_SWITCH = re.compile(r"tls switch\[([01])\]")
# What is asked of each NPU, and the fields that the answer holds.
QUERIES: dict[str, tuple[tuple[str, re.Pattern[str]], ...]] = {
    "-link": (("link", LINK),),
    "-ip": (("address", ADDRESS), ("netmask", NETMASK)),
    "-gateway": (("gateway", GATEWAY),),
    "-tls": (("tls", TLS_SWITCH),),
}


@dataclass
class NpuInterface:
    """number is the N of /dev/davinciN, which hccn_tool takes (never the NPU id). None means that hccn_tool did not
    say, or that hccn.conf has no such line."""

    npu_id: int
    number: int
    chip_id: int | None = None
    link: str | None = None
    address: str | None = None
    netmask: str | None = None
    gateway: str | None = None
    tls: bool | None = None
    configured_address: str | None = None
    configured_netmask: str | None = None
    configured_gateway: str | None = None


def read_answer(interface: NpuInterface, query: str, text: str) -> bool:
    """Take what `hccn_tool -i N <query> -g` printed; False where it holds nothing that was asked for."""
    found = False
    for name, pattern in QUERIES[query]:
        match = pattern.search(text[:10000])
        if match:
            found = True
            value = match.group(1)
            setattr(interface, name, value == "1" if name == "tls" else value.upper() if name == "link" else value)
    # Without a certificate there is no switch, and TLS is off.
    if query == "-tls" and not found and "no certificate found" in text.lower():
        interface.tls, found = False, True
    return found


def read_configuration(interface: NpuInterface, configuration: dict[str, str]) -> None:
    """Take this NPU's lines of /etc/hccn.conf (`address_0=…`)."""
    for name in ("address", "netmask", "gateway"):
        setattr(interface, f"configured_{name}", configuration.get(f"{name}_{interface.number}") or None)


def names(ports: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each port of a host is called in messages: with its chip and the number that hccn_tool takes, where the NPU tells neither."""
    several = {port["npu_id"] for port in ports if sum(each["npu_id"] == port["npu_id"] for each in ports) > 1}
    return [
        f"NPU {port['npu_id']} chip {port.get('chip_id') or 0} (-i {port['number']})"
        if port["npu_id"] in several
        else f"NPU {port['npu_id']}" + ("" if port["number"] == port["npu_id"] else f" (-i {port['number']})")
        for port in ports
    ]
