# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exports in force: which one serves a client, and whether it serves the cluster."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable

from ansible_collections.ascend.gpustack.plugins.module_utils.nfs.clients import (
    SHOWN_CLIENTS,
    Client,
    Net,
    address_net,
    network_net,
    shown_clients,
)
from ansible_collections.ascend.gpustack.plugins.module_utils.nfs.exports import Entry, Options, own_options, with_options


@dataclass(frozen=True)
class Rule:
    """An entry with the kind of its client: host, network, wildcard, netgroup, world or gss. nets is empty where
    it can't be told whom it means."""

    entry: Entry
    kind: str
    nets: tuple[Net, ...]

    def covers(self, client: Client) -> bool:
        return self.kind == "world" or any(net.covers(client.net) for net in self.nets)

    def identities(self) -> list[tuple]:
        """What exportfs knows the client by: two entries of a path that share a key are one to it."""
        if self.kind == "host" and self.nets:
            return [(self.kind, net) for net in self.nets]
        return [(self.kind, self.entry.host.lower() or "*")]


def kind_of(host: str) -> str:
    if host in ("", "*"):
        return "world"
    if host.startswith("gss/"):
        return "gss"
    if host.startswith("@"):
        return "netgroup"
    special = re.search(r"[*?\[/]", re.sub(r"\\.", "", host))
    if not special:
        return "host"
    return "network" if special.group() == "/" else "wildcard"


def rules(entries: Iterable[Entry], addresses: Callable[[str], list[str]]) -> list[Rule]:
    """addresses gives all addresses of a host name."""
    found = []
    for entry in entries:
        kind = kind_of(entry.host)
        nets: list[Net | None] = []
        if kind == "network":
            nets = [network_net(entry.host)]
        elif kind == "host":
            own = address_net(entry.host)
            nets = [own] if own else [address_net(address) for address in addresses(entry.host)]
        found.append(Rule(entry, kind, tuple(net for net in nets if net)))
    return found


def serving(known: Sequence[Rule], client: Client) -> Rule | None:
    """The rule that mountd takes for a client, of those whose clients can be told."""
    for kind in ("host", "network", "world"):
        for rule in known:
            if rule.kind == kind and rule.covers(client):
                return rule
    return None


def is_adequate(options: Options, writable: bool, squash: str) -> bool:
    access = options.access
    if access is None or not writable:
        return access is not None
    if access.read_only or options.asynchronous:
        return False
    if squash == "no_root_squash":
        return options.anonuid == 0 or not (access.root_squash or access.all_squash)
    return squash == "all_squash" or not access.all_squash


@dataclass(frozen=True)
class Verdict:
    """own are the clients that no entry made by hand serves."""

    own: list[Client]
    covered: list[tuple[Client, Rule]]
    problems: list[str]
    notes: list[str]


def judge(path: str, clients: Sequence[Client], by_hand: Sequence[Rule], squash: str) -> Verdict:
    """by_hand are the rules for this path, in the order in which exportfs reads them."""
    known, notes = _without_repeated(by_hand)
    notes += [_unclear(path, rule) for rule in known if not rule.nets and rule.kind != "world"]
    served = {client: serving(known, client) for client in clients}
    lacking: dict[Rule, list[Client]] = {}
    covering: dict[Rule, list[Client]] = {}
    for client, rule in served.items():
        if rule:
            target = covering if is_adequate(rule.entry.options, client.writable, squash) else lacking
            target.setdefault(rule, []).append(client)
    return Verdict(
        own=[client for client, rule in served.items() if rule is None],
        covered=[(client, rule) for rule, clients in covering.items() for client in clients],
        problems=[_inadequate(path, rule, clients, squash) for rule, clients in lacking.items()],
        notes=notes
        + [_covering(path, rule, clients, squash) for rule, clients in covering.items()]
        + [_exception(path, rule, client) for client in clients for rule in known if _overrides(rule, client, squash)],
    )


def _without_repeated(by_hand: Sequence[Rule]) -> tuple[list[Rule], list[str]]:
    seen: dict[tuple, Rule] = {}
    known, notes = [], []
    for rule in by_hand:
        first = next((seen[key] for key in rule.identities() if key in seen), None)
        if first is None:
            known.append(rule)
            seen.update(dict.fromkeys(rule.identities(), rule))
        else:
            notes.append(
                f"{rule.entry.where} exports {rule.entry.path} to {shown_host(rule)} again: exportfs takes {first.entry.where} alone,"
                " and reports an error at every call. Remove one of them."
            )
    return known, notes


def shown_host(rule: Rule) -> str:
    return "every host" if rule.kind == "world" else rule.entry.host


def _unclear(path: str, rule: Rule) -> str:
    host = rule.entry.host
    reason = {
        "gss": "which is for clients with Kerberos",
        "host": "a name that can't be resolved",
        "netgroup": "a netgroup",
        "wildcard": "a pattern for host names, not for addresses",
        "network": "which exportfs takes for no host (* is every host)" if host.endswith("/0") else "which is no network",
    }[rule.kind]
    return f"{rule.entry.where} exports {path} to {host}, {reason}: it was not judged, and stays as it is."


def _inadequate(path: str, rule: Rule, clients: Sequence[Client], squash: str) -> str:
    entry = rule.entry
    writable = any(client.writable for client in clients)
    expected = own_options(writable, squash, False)
    return (
        f"{entry.where} exports {path} to {shown_host(rule)} with {entry.options}; expected {expected} for"
        f" {shown_clients(clients)}. Remove that entry, or change it to {entry.host or '*'}({expected}).{entry.hint}"
    )


def _covering(path: str, rule: Rule, clients: Sequence[Client], squash: str) -> str:
    entry, access = rule.entry, rule.entry.options.access
    wider = []
    if rule.kind == "world":
        wider.append("every host may mount it")
    elif rule.kind == "network" and any(net != client.net for client in clients for net in rule.nets):
        wider.append(f"all of {entry.host} may mount it")
    reading = [client for client in clients if not client.writable]
    if reading and access and not access.read_only:
        wider.append(f"{shown_clients(reading)} may write")
    if access and not access.root_squash and (reading or squash != "no_root_squash"):
        wider.append("root of a client is root (no_root_squash)")
    than_asked = f"; wider than asked: {', '.join(wider)}" if wider else ""
    return f"{entry.where} serves {shown_clients(clients)} already ({shown_host(rule)}, {entry.options}){than_asked}.{entry.hint}"


def _overrides(rule: Rule, client: Client, squash: str) -> bool:
    """Whether rule takes a part out of a network that is to be served."""
    part = any(client.net.covers(net) and net != client.net for net in rule.nets)
    return part and not is_adequate(rule.entry.options, client.writable, squash)


def _exception(path: str, rule: Rule, client: Client) -> str:
    return f"{rule.entry.where} exports {path} to {rule.entry.host} in {client.text} with {rule.entry.options}: that holds there."


def out_of_force(
    verdict: Verdict, squash: str, mountpoint: bool, in_force: Sequence[Rule], by_hand: Sequence[Rule], etab: str
) -> list[str]:
    """How exportfs's table differs from the files, a sentence each; empty when it doesn't.

    in_force are the table's rules for the path. exportfs writes a host there by any name that it has heard for its
    address, so hosts are compared by their addresses.
    """
    by_net = {net: rule for rule in reversed(in_force) for net in rule.nets}
    missing = []
    for client in verdict.own:
        rule = by_net.get(client.net)
        wanted = with_options(Options(), own_options(client.writable, squash, mountpoint))
        if rule is None or _in_short(rule.entry.options) != _in_short(wanted):
            missing.append(client)
    for client, _by in verdict.covered:
        rule = serving(in_force, client)
        if rule is None or not is_adequate(rule.entry.options, client.writable, squash):
            missing.append(client)
    known = {key for rule in by_hand for key in rule.identities()} | {("network", client.text) for client in verdict.own}
    known |= {("host", client.net) for client in verdict.own}
    stale = [rule for rule in in_force if (rule.nets or rule.kind != "host") and not known.intersection(rule.identities())]
    sentences = [f"{etab} does not have {shown_clients(missing)} as the exports files do: exportfs -ra is needed."] if missing else []
    if stale:
        hosts = ", ".join(shown_host(rule) for rule in stale[:SHOWN_CLIENTS])
        sentences.append(f"{etab} has {hosts}, which the exports files do not have (any more): exportfs -ra is needed.")
    return sentences


def _in_short(options: Options) -> tuple:
    return (options.access, options.asynchronous, options.anonuid, options.mountpoint)


def natural(name: str) -> list[str | int]:
    """Sorts the files of exports.d as exportfs does: a.2 before a.10."""
    return [int(part) if number % 2 else part for number, part in enumerate(re.split("([0-9]+)", name))]


def by_real_path(entries: Iterable[Entry], real: Mapping[str, str], path: str) -> list[Entry]:
    """The entries for one path; real gives each path without symbolic links and such."""
    return [entry for entry in entries if entry.path.startswith("/") and real.get(entry.path, entry.path) == real.get(path, path)]
