# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings about a host's gpustack_address, from what gpustack_host_info returned."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Checks, Finding

CHECKS = Checks()


@CHECKS.add(address="whether the host's address resolves, can be reached by others and is its alone")
def _address(host: dict, expect: dict) -> list[Finding]:
    address = expect["address"]
    if host["resolved"].get(address):
        return [Finding("address", "pass")]
    text = f"gpustack_address {address} does not resolve on it"
    return [Finding("address", "fail", text, "Correct it, or add it to DNS or /etc/hosts.")]


@CHECKS.add(own_address="whether one of the host's interfaces has its address; one behind NAT leaves this check out")
def own_address(host: dict, expect: dict) -> list[Finding]:
    """Nothing is said of a name that does not resolve, nor of a host that does not tell its addresses."""
    given, own = expect["address"], host.get("addresses") or []
    address = (host["resolved"].get(given) or "").partition("%")[0] if own else ""
    # All of 127.0.0.0/8 is the host's own, as Debian's 127.0.1.1; where others ask for it, the cluster's checks tell of it.
    if not address or address in own or address.startswith("127."):
        return [Finding("own_address", "pass")]
    named = given if given == address else f"{given} ({address})"
    usable = [each for each in own if each not in ("127.0.0.1", "::1") and not each.startswith("fe80:")]
    text = f"gpustack_address {named} is on none of its interfaces beside Docker's; expected one of {', '.join(usable[:6]) or 'them'}"
    remedy = (
        "Set gpustack_address to the one that the other hosts use; where that leads here through NAT, or moves between hosts, say so with "
        "ascend_driver_check_skip: [own_address] for this host."
    )
    return [Finding("own_address", "fail", text, remedy)]
