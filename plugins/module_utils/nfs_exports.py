# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exports of an NFS server: what the exports files say, whom each entry serves, and what is missing.

Nothing here reads a file or asks a name service. How exportfs reads its files, and which entry it gives to a client,
was tried with the exportfs of nfs-utils 2.6.2, which goes beyond exports(5) in places.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Callable

HEADER = "# Managed by ascend.gpustack (role nfs_server); changes are overwritten.\n"
NOBODY = 65534
SHOWN_CLIENTS = 5

_BITS = {4: 32, 6: 128}
_BEFORE_PATH = re.compile(r"(?:[ \t\n\0]|\\\n[ \t]*|#[^\n]*)*")
# A comment ends with its line: a backslash does not continue it.
_BEFORE_CLIENT = re.compile(r"(?:[ \t]|\\\n[ \t]*)*(?:#[^\n]*)?")
_TOKEN = re.compile(r'(?:[^\s"\\]|\\(?!\n)|"[^"]*(?:"|\Z))*', re.ASCII)
_AFTER_TOKEN = re.compile(r"(?:\\\n[ \t]*|[ \t\r\f\v])?")
_CONTINUATION = re.compile(r"\\\n[ \t]*")
_OCTAL = re.compile(r"\\[0-3][0-7]{2}")
_LONGEST_PATH = 1024
_LONGEST_CLIENT = 511
_LONGEST_TEXT = 1000
_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9])?)*")
_ACCESS = {
    "ro": {"read_only": True},
    "rw": {"read_only": False},
    "root_squash": {"root_squash": True},
    "no_root_squash": {"root_squash": False},
    "all_squash": {"all_squash": True},
    "no_all_squash": {"all_squash": False},
}


# Clients


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
            f"client {given!r} is no address, network or host name: expected such as 172.16.33.107 or 172.16.33.0/24. Correct it."
        )
    if resolve is None:
        raise ValueError(f"client {given} is a host name: expected an address or a network. Give its address.")
    address = resolve(given)
    if address is None or address_net(address) is None:
        raise ValueError(
            f"client {given} can't be resolved: expected a name with an address. Correct it, make it known to getent ahosts {given},"
            " or give its address."
        )
    if ipaddress.ip_address(address).is_loopback:
        raise ValueError(
            f"client {given} resolves to {address}, where every host finds itself: expected an address on the network."
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
        raise ValueError(f"client {given!r} is no network: expected such as 172.16.33.0/24. Correct it.")
    if network.prefixlen == 0:
        raise ValueError(f"client {given} is every host there is: expected the cluster's own network. Give that.")
    if ipaddress.ip_address(base) != network.network_address:
        raise ValueError(
            f"client {given} has bits of a host set: expected a network. Write {network} for the whole network,"
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


# Exports files


@dataclass(frozen=True)
class Access:
    read_only: bool = True
    root_squash: bool = True
    all_squash: bool = False


@dataclass(frozen=True)
class Options:
    """Options of an entry, as far as they matter here, with exportfs's defaults.

    access holds for the clients without Kerberos; None when sec= leaves them out. mountpoint is about the exported path
    itself: mountpoint=/other is not meant.
    """

    common: Access = Access()
    sys: Access | None = None
    flavored: bool = False
    asynchronous: bool = False
    anonuid: int = NOBODY
    mountpoint: bool = False

    @property
    def access(self) -> Access | None:
        return self.sys if self.flavored else self.common

    def __str__(self) -> str:
        access = self.access or self.common
        words = ["ro" if access.read_only else "rw", "async" if self.asynchronous else "sync"]
        words.append("root_squash" if access.root_squash else "no_root_squash")
        words += ["all_squash"] if access.all_squash else []
        words += [f"anonuid={self.anonuid}"] if self.anonuid != NOBODY else []
        words += ["mountpoint"] if self.mountpoint else []
        words += ["sec= without sys"] if self.access is None else []
        return ",".join(words)


@dataclass(frozen=True)
class Entry:
    """One client of one path. text is the client with its options, unquoted; hint says what may have been meant."""

    path: str
    host: str
    options: Options
    file: str
    line: int
    text: str
    hint: str = ""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Table:
    """stopped says where and why exportfs reads no further."""

    entries: list[Entry]
    stopped: str | None = None


def with_options(options: Options, text: str) -> Options:
    """options changed by a list such as rw,sync. Words that are not known here change nothing: exportfs has more of
    them with every version, and refuses itself what it doesn't know."""
    active = False
    for word in text.split(","):
        word = word.lstrip(" \t")
        name, _sign, value = word.partition("=")
        if word in _ACCESS:
            # After sec= a word holds for what sec= names, too; before it, not for what an earlier one named.
            options = replace(options, common=replace(options.common, **_ACCESS[word]))
            if active and options.sys:
                options = replace(options, sys=replace(options.sys, **_ACCESS[word]))
        elif word in ("sync", "async"):
            options = replace(options, asynchronous=word == "async")
        elif name in ("mountpoint", "mp"):
            options = replace(options, mountpoint=not value)
        elif name == "anonuid" and re.fullmatch("-?[0-9]{1,10}", value):
            options = replace(options, anonuid=int(value))
        elif name == "sec":
            active = bool({"sys", "unix"} & set(value.split(":")))
            first = active and options.sys is None
            options = replace(options, flavored=True, sys=options.common if first else options.sys)
    return options


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.line = 1
        self._at = 0

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self._at).group()
        self.line += found.count("\n")
        self._at += len(found)
        return found

    def next(self, before: re.Pattern[str]) -> tuple[str, int]:
        """A token, unquoted, with its line; an empty one where exportfs sees the end of the line, or at a path, of the file."""
        self._match(before)
        line = self.line
        token = _unquoted(self._match(_TOKEN))
        self._match(_AFTER_TOKEN)
        return token, line

    def ended(self) -> bool:
        return self._at >= len(self.text)


def _unquoted(raw: str) -> str:
    letters: list[str] = []
    for letter in _CONTINUATION.sub(" ", raw).replace('"', ""):
        letters.append(letter)
        if _OCTAL.fullmatch("".join(letters[-4:])):
            letters[-4:] = [chr(int("".join(letters[-3:]), 8))]
    return "".join(letters)


def parse(data: bytes, file: str) -> Table:
    """The entries of an exports file, or of exportfs's own table (etab)."""
    reader = _Reader(data.decode("latin-1"))
    entries: list[Entry] = []
    while True:
        path, line = reader.next(_BEFORE_PATH)
        if not path:
            return Table(entries, None if reader.ended() else f"{file}:{line}: no path, but a carriage return or the like")
        if len(path) > _LONGEST_PATH:
            return Table(entries, f"{file}:{line}: a path of more than {_LONGEST_PATH} bytes")
        found, stopped = _line(reader, _text(path), file)
        entries += found
        if stopped:
            return Table(entries, stopped)


def _line(reader: _Reader, path: str, file: str) -> tuple[list[Entry], str | None]:
    entries: list[Entry] = []
    defaults = Options()
    while True:
        token, line = reader.next(_BEFORE_CLIENT)
        if not token and entries:
            return _hinted(entries), None
        if token.startswith("-"):
            defaults = with_options(defaults, token[1:])
            token, line = reader.next(_BEFORE_CLIENT)
        host, bracket, options = token.partition("(")
        if len(token) > _LONGEST_CLIENT or (bracket and not re.fullmatch(r"[^)]*\)", options)):
            return _hinted(entries), f"{file}:{line}: {_text(token)[:60]!r} is no client(options)"
        host = "*" if token.startswith("(") else _text(host)
        entries.append(Entry(path, host, with_options(defaults, options[:-1]), file, line, _text(token)))


def _hinted(entries: list[Entry]) -> list[Entry]:
    for number in range(1, len(entries)):
        before, entry = entries[number - 1], entries[number]
        if entry.text.startswith("(") and "(" not in before.text and before.host:
            hint = f" (The blank between {before.host} and {entry.text} makes {entry.text} an entry for every host.)"
            entries[number - 1 : number + 1] = [replace(before, hint=hint), replace(entry, hint=hint)]
    return entries


def _text(token: str) -> str:
    # To exportfs a zero byte ends a text.
    return token.split("\0")[0].encode("latin-1").decode("utf-8", "replace")


# Whom an entry serves


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


# The verdict on entries made by hand


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


def shown_clients(clients: Sequence[Client]) -> str:
    texts = [client.text for client in clients]
    if len(texts) > SHOWN_CLIENTS:
        return ", ".join(texts[:SHOWN_CLIENTS]) + f" and {len(texts) - SHOWN_CLIENTS} more"
    return ", ".join(texts)


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
        f"{entry.where} exports {path} to {shown_host(rule)} with {entry.options}: expected {expected} for"
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


# The collection's own file, and what is in force


def own_options(writable: bool, squash: str, mountpoint: bool) -> str:
    words = ["rw", "sync", squash] if writable else ["ro", "sync", "root_squash"]
    return ",".join([*words, "no_subtree_check", *(["mountpoint"] if mountpoint else [])])


def render(path: str, clients: Sequence[Client], squash: str, mountpoint: bool) -> str | None:
    """The text of the collection's file; None without clients."""
    if not clients:
        return None
    escaped = re.sub(r'[\s"#\\]', lambda match: f"\\{ord(match.group()):03o}", path, flags=re.ASCII)
    granted = [f"{client.text}({own_options(client.writable, squash, mountpoint)})" for client in clients]
    return f"{HEADER}{' '.join([escaped, *granted])}\n"


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


# What exportfs says


def messages_about(stderr: str, paths: Iterable[str]) -> list[str]:
    """The lines of exportfs that name one of the paths, and not merely one that begins or ends like it."""
    pattern = "|".join(rf"(?<![\w/.-]){re.escape(path)}(?![\w/-]|\.\w)" for path in paths)
    lines = [re.sub(r"^exportfs:\s*", "", line).strip() for line in stderr.splitlines()]
    return [line for line in dict.fromkeys(lines) if re.search(pattern, line)]


def refusals(stderr: str, paths: Sequence[str]) -> list[str]:
    """Those lines by which exportfs says that a path can't be exported, although its table has it."""
    endings = " (?:does not support|requires fsid=) |Failed to stat | is not a directory"
    return [line for line in messages_about(stderr, paths) if re.search(endings, line)]


def complaints(stderr: str) -> str:
    """All that exportfs says, on one line, without its remarks on what an entry leaves to the defaults."""
    lines = [re.sub(r"^exportfs:\s*", "", line).strip() for line in stderr.splitlines()]
    remarks = r"'subtree_check'|Assuming default behaviour|NOTE: this default|No (?:options|host name) "
    said = "; ".join(line for line in dict.fromkeys(lines) if line and not re.search(remarks, line))
    return said.replace(":; ", ": ").rstrip(".")[:_LONGEST_TEXT]


def natural(name: str) -> list[str | int]:
    """Sorts the files of exports.d as exportfs does: a.2 before a.10."""
    return [int(part) if number % 2 else part for number, part in enumerate(re.split("([0-9]+)", name))]


def by_real_path(entries: Iterable[Entry], real: Mapping[str, str], path: str) -> list[Entry]:
    """The entries for one path; real gives each path without symbolic links and such."""
    return [entry for entry in entries if entry.path.startswith("/") and real.get(entry.path, entry.path) == real.get(path, path)]
