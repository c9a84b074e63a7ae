#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: firewalld_access
short_description: Open ports in firewalld for everyone or for some sources
version_added: 0.1.0
description:
  - Defines services of firewalld, in C(/etc/firewalld/services), and opens them, permanently and at once. A service without
    sources is opened to everyone, one with sources by a rich rule for each of them.
  - They are opened in the zones of the interfaces that have O(addresses), the default zone where there is none. A zone by source
    that holds some of the sources gets rules for those, since firewalld asks no other zone about them.
  - Nothing else of firewalld is changed. Own services that are no longer asked for, and own rules of former sources, are removed;
    rules of any other form stay, also those that name an own service.
  - firewalld is reloaded only when a definition is not in force. What zones had in force without being permanent, interfaces
    included, is put in force again after that. A permanent configuration that firewalld finds broken is refused before.
  - Where firewalld is not installed or does not run, nothing is done.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.change
  - ascend.gpustack.attributes.group
options:
  addresses:
    description: Addresses or names at which others reach this host.
    type: list
    elements: str
    required: true
  services:
    description: What is to be open. With none, all that the module made is removed.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The service's name in firewalld. A service of that name that was made by hand is refused.
        type: str
        required: true
      ports:
        description: Ports such as V(8080/tcp) and V(40000-40063/udp).
        type: list
        elements: str
        required: true
      sources:
        description: Addresses, networks and names of the hosts that may reach it; none means everyone.
        type: list
        elements: str
        default: []
  timeout:
    description: Seconds that each call of C(firewall-cmd), and each host name, may take.
    type: int
    default: 60
notes:
  - Zones that have an ipset or a hardware address as source are not looked into.
  - Direct rules, policies and entries of ipsets that are not permanent are lost with a reload, as with any.
"""

EXAMPLES = r"""
- name: Open the page to everyone and a worker's API to the cluster
  ascend.gpustack.firewalld_access:
    addresses: [172.16.33.106]
    services:
      - name: gpustack
        ports: [8080/tcp]
      - name: gpustack-cluster
        ports: [10150/tcp, 40000-40063/tcp]
        sources: [172.16.33.106, 172.16.33.107]
"""

RETURN = r"""
running:
  description: Whether firewalld runs; without it nothing was done.
  returned: always
  type: bool
zones:
  description: The zones in which the services are open.
  returned: success
  type: list
  elements: str
  sample: [public]
reload:
  description: Whether firewalld was reloaded, or would be.
  returned: success
  type: bool
kept:
  description: What zones had in force without being permanent, beside interfaces, and was put in force again after the reload.
  returned: success
  type: list
  elements: str
  sample: ["zone public: port 9090/tcp"]
"""

import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils import files
from ansible_collections.ascend.gpustack.plugins.module_utils import files as text_file
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.cli import first_line
from ansible_collections.ascend.gpustack.plugins.module_utils.host import addresses as host_addresses
from ansible_collections.ascend.gpustack.plugins.module_utils.host import firewalld, reach
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import RC_NOT_FOUND, Result, Runner, run

DIRECTORY = "/etc/firewalld/services"
RC_NOT_RUNNING = 252
RC_INVALID_SERVICE = 101


class AccessError(Exception):
    """A sentence for the user."""


@dataclass(frozen=True)
class Host:
    """What asks and changes the host. Without an answer that can be used, tell raises AccessError."""

    runner: Runner
    timeout: float
    directory: str

    def ask(self, *words: str) -> Result:
        return self.runner(["firewall-cmd", *words], self.timeout)

    def tell(self, *words: str) -> str:
        return self.checked(self.ask(*words), *words)

    def checked(self, result: Result, *words: str) -> str:
        if result.timed_out or result.rc != 0:
            reason = f"no end within {self.timeout:g} s" if result.timed_out else complaint(result)
            raise AccessError(f"firewall-cmd {' '.join(words)} failed ({reason}); expected it to work. See: journalctl -u firewalld.")
        return result.stdout

    def path(self, service: str) -> str:
        return f"{self.directory}/{service}.xml"


@dataclass(frozen=True)
class State:
    """The zones, permanently and in force, and the collection's own service files by name."""

    default_zone: str
    permanent: firewalld.Zones
    runtime: firewalld.Zones
    files: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """services: ports by name; loaded: the same as they are in force. files: what is to be written, None for removed. wanted and stale
    hold for the permanent state and for the one in force. kept: what a reload alone would take away."""

    services: dict[str, list[str]]
    loaded: dict[str, list[str]]
    files: dict[str, str | None]
    reload: bool
    zones: list[str]
    wanted: set[firewalld.Entry]
    stale: set[firewalld.Entry]
    kept: set[firewalld.Entry]


def complaint(result: Result) -> str:
    return first_line(result.stderr) or first_line(result.stdout) or f"rc {result.rc}"


# Reading


def read(host: Host, names: list[str]) -> State | None:
    """None where firewalld does not run. names are the services that are asked for."""
    answer = host.ask("--state")
    if answer.rc in (RC_NOT_FOUND, RC_NOT_RUNNING):
        return None
    # One that failed to load its configuration runs and lists nothing.
    host.checked(answer, "--state")
    return State(
        host.tell("--get-default-zone").strip(),
        firewalld.parse_zones(host.tell("--permanent", "--list-all-zones")),
        firewalld.parse_zones(host.tell("--list-all-zones")),
        own_files(host, names),
    )


def own_files(host: Host, names: list[str]) -> dict[str, str]:
    found = {}
    for file in sorted(os.listdir(host.directory)) if os.path.isdir(host.directory) else []:
        name, extension = os.path.splitext(file)
        text = files.read_text(host.path(name)) if extension == ".xml" else ""
        if firewalld.MARK in text:
            found[name] = text
        elif name in names and extension == ".xml":
            raise AccessError(f"{host.path(name)} was made by hand; expected no service {name} but the collection's own. Rename yours.")
    return found


def loaded_ports(host: Host, name: str) -> list[str]:
    """The ports of a service that are in force; none of one that firewalld does not know."""
    answer = host.ask(f"--info-service={name}")
    return [] if answer.rc == RC_INVALID_SERVICE else firewalld.parse_service(host.checked(answer, f"--info-service={name}"))


def resolve(host: Host, source: str) -> list[firewalld.Network]:
    text = source.strip("[]")
    try:
        return [ipaddress.ip_network(text, strict=False)]
    except ValueError:
        found = reach.addresses(host.runner, text, host.timeout)
    if not found:
        raise AccessError(
            f"{source} can't be resolved; expected a name with an address. Correct gpustack_address, or add it to /etc/hosts."
        )
    return [ipaddress.ip_network(address.partition("%")[0]) for address in found]


# Deciding


def zones_of(host: Host, state: State, addresses: Iterable[str]) -> list[str]:
    """The zones of the interfaces that have one of the addresses; the default zone for an address that no interface has."""
    by_interface = {interface: zone for zone, parts in state.runtime.items() for interface in parts.get("interfaces", [])}
    by_address = {
        address: by_interface.get(interface) for address, interface in host_addresses.interfaces(host.runner, host.timeout).items()
    }
    found = [network for address in addresses for network in resolve(host, address)]
    # On the host itself its name most often leads to 127.0.1.1 as well.
    outside = [network for network in found if not network.is_loopback] or found
    return list(dict.fromkeys(by_address.get(str(network.network_address)) or state.default_zone for network in outside))


def plan(params: dict[str, Any], host: Host, state: State) -> Plan:
    services = {service["name"]: firewalld.in_order(map(firewalld.read_port, service["ports"])) for service in params["services"]}
    sources = {service["name"]: networks(host, service["sources"]) for service in params["services"]}
    zones = zones_of(host, state, params["addresses"]) if services else []
    wanted = firewalld.wanted(sources, zones, firewalld.zones_by_source(state.runtime))
    files: dict[str, str | None] = {name: firewalld.render(name, ports) for name, ports in services.items()}
    files = {name: text for name, text in files.items() if text != state.files.get(name)}
    loaded = {name: loaded_ports(host, name) for name in services}
    # firewalld knows a file that was just written for sure only after a reload.
    reload = loaded != services or bool(files)
    given_up = [name for name in state.files if name not in services]
    permanent, runtime = firewalld.entries(state.permanent), firewalld.entries(state.runtime)
    stale = firewalld.stale(permanent | runtime, given_up, services, wanted)
    kept = runtime - permanent - stale - wanted if reload else set()
    return Plan(services, loaded, {**files, **dict.fromkeys(given_up)}, reload, zones, wanted, stale, kept)


def networks(host: Host, sources: list[str]) -> list[firewalld.Network] | None:
    """None for everyone."""
    return firewalld.collapse(network for source in sources for network in resolve(host, source)) if sources else None


# Changing


def change(host: Host, scope: list[str], verb: str, entries: set[firewalld.Entry]) -> None:
    """Adds or removes entries, with one call for those of a zone that are of one kind."""
    groups: dict[tuple[str, str], list[str]] = {}
    for entry in sorted(entries):
        # Whoever manages the interface may have put it somewhere meanwhile.
        option = f"--{'change' if entry.option == 'interface' else verb}-{entry.option}"
        groups.setdefault((entry.zone, entry.option), []).append(f"{option}={entry.text}" if entry.text else option)
    for (zone, _option), words in groups.items():
        host.tell(*scope, f"--zone={zone}", *words)


def reload(host: Host, state: State, planned: Plan) -> None:
    """With a broken configuration firewalld would end up closing everything, so that is found out before."""
    checked = host.ask("--check-config")
    if checked.rc != 0 or checked.timed_out:
        for name in planned.files:
            text_file.write(host.path(name), state.files.get(name))
        raise AccessError(
            f"firewalld's permanent configuration is broken ({complaint(checked)}); expected one that it can load. Mend it until"
            " firewall-cmd --check-config is content."
        )
    host.tell("--reload")


def apply(host: Host, state: State, planned: Plan) -> None:
    permanent, runtime = firewalld.entries(state.permanent), firewalld.entries(state.runtime)
    change(host, ["--permanent"], "remove", planned.stale & permanent)
    change(host, [], "remove", planned.stale & runtime)
    for name, text in planned.files.items():
        text_file.write(host.path(name), text)
    if planned.reload:
        reload(host, state, planned)
        runtime = firewalld.entries(firewalld.parse_zones(host.tell("--list-all-zones")))
    change(host, ["--permanent"], "add", planned.wanted - permanent)
    change(host, [], "add", (planned.wanted | planned.kept) - runtime)
    verify(host, planned)


def verify(host: Host, planned: Plan) -> None:
    """firewall-cmd reports no failure when one of several settings was taken."""
    for scope in (["--permanent"], []):
        found = firewalld.entries(firewalld.parse_zones(host.tell(*scope, "--list-all-zones")))
        wrong = sorted((planned.wanted - found) | (planned.stale & found))
        if wrong:
            raise AccessError(f"firewalld did not take the setting {wrong[0]}; expected it to. See: journalctl -u firewalld.")


def diff(state: State, planned: Plan) -> dict[str, str]:
    names = {*planned.services, *state.files}
    before = [firewalld.own(firewalld.entries(zones), names) for zones in (state.permanent, state.runtime)]
    after = [(entries - planned.stale) | planned.wanted for entries in before]
    files = {name: firewalld.ports_of_file(text) for name, text in state.files.items()}
    loaded = {name: ports for name, ports in planned.loaded.items() if ports or name in files}
    return {
        "before_header": "firewalld",
        "after_header": "firewalld",
        "before": firewalld.picture(files, loaded, *before),
        "after": firewalld.picture(planned.services, planned.services, *after),
    }


def access(params: dict[str, Any], runner: Runner, check: bool, directory: str = DIRECTORY) -> dict[str, Any]:
    """Raises AccessError, ValueError with a sentence for the user, and OSError."""
    host = Host(runner, params["timeout"], directory)
    state = read(host, [service["name"] for service in params["services"]])
    if state is None:
        return {"changed": False, "running": False, "zones": [], "reload": False, "kept": []}
    planned = plan(params, host, state)
    shown = diff(state, planned)
    changed = shown["before"] != shown["after"] or bool(planned.files) or planned.reload
    if changed and not check:
        apply(host, state, planned)
    return {
        "changed": changed,
        "running": True,
        "zones": planned.zones,
        "reload": planned.reload,
        "kept": [str(entry) for entry in sorted(planned.kept) if entry.option != "interface"],
        "diff": shown,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "addresses": {"type": "list", "elements": "str", "required": True},
            "services": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "ports": {"type": "list", "elements": "str", "required": True},
                    "sources": {"type": "list", "elements": "str", "default": []},
                },
            },
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )

    try:
        result = access(module.params, run, module.check_mode)
    except (AccessError, ValueError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        found = f"{error.filename} can't be read or written ({error.strerror})"
        module.fail_json(msg=f"{found}; {text_file.refusal(error)}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
