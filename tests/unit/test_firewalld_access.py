# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is opened in firewalld, for whom and in which zone, what is removed again, and what of the operator's stays."""

from __future__ import annotations

import copy
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.host import firewalld
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result
from ansible_collections.ascend.gpustack.plugins.modules import firewalld_access

HERE = pathlib.Path(__file__).resolve()
ZONES = """\
docker
  target: ACCEPT
  icmp-block-inversion: no
  interfaces: docker0
  sources:
  services:
  ports:
  protocols:
  forward: yes
  masquerade: no
  forward-ports:
  source-ports:
  icmp-blocks:
  rich rules:

public (default, active)
  target: default
  icmp-block-inversion: no
  interfaces: eth0
  sources:
  services: dhcpv6-client ssh
  ports: 9100/tcp 53/udp
  protocols: gre
  forward: yes
  masquerade: yes
  forward-ports:
<tab>port=80:proto=tcp:toport=8080:toaddr=
<tab>port=81:proto=tcp:toport=8081:toaddr=10.0.0.9
  source-ports:
  icmp-blocks:
  rich rules:
<tab>rule priority="-1" source address="10.0.0.0/8" accept
<tab>rule family="ipv4" source address="10.9.9.9" service name="ssh" accept

trusted
  target: ACCEPT
  icmp-block-inversion: no
  interfaces:
  sources:
  services:
  ports:
""".replace(":\n", ": \n").replace("<tab>", "\t")
PLURAL = {option: key for key, option in firewalld._LISTS.items()}
SSH = {"services": ["ssh"]}
PUBLIC = {"name": "gpustack", "ports": ["8080/tcp"]}
CLUSTER = {"name": "gpustack-cluster", "ports": ["10150/tcp", "40000-40063/tcp"], "sources": ["10.0.0.1", "10.0.0.2", "10.0.0.4"]}


def rule(source: str, service: str = "gpustack-cluster", version: int = 4) -> str:
    return f'rule family="ipv{version}" source address="{source}" service name="{service}" accept'


RULES = [rule("10.0.0.1"), rule("10.0.0.2"), rule("10.0.0.4")]


class Firewalld:
    """A firewalld that does what firewall-cmd asks of it, and forgets what is not permanent when it is reloaded."""

    def __init__(self, root: pathlib.Path) -> None:
        self.directory = root / "services"
        self.permanent: dict[str, dict] = {"public": copy.deepcopy(SSH), "internal": {}, "docker": {}}
        self.runtime: dict[str, dict] = copy.deepcopy(self.permanent)
        self.runtime["public"]["interfaces"] = ["eth0"]
        self.runtime["docker"]["interfaces"] = ["docker0"]
        self.loaded: dict[str, list[str]] = {}
        self.links = {"lo": "127.0.0.1/8", "eth0": "10.0.0.1/24", "docker0": "172.17.0.1/16"}
        self.names: dict[str, list[str]] = {}
        self.broken: str | None = None
        self.rc = 0
        self.deaf = False
        self.calls: list[str] = []

    def access(self, *services: dict, addresses: tuple[str, ...] = ("10.0.0.1",), check: bool = False) -> dict[str, Any]:
        self.calls = []
        given = [{"sources": [], **service} for service in services]
        params = {"addresses": list(addresses), "services": given, "timeout": 30}
        return firewalld_access.access(params, self, check, str(self.directory))

    def operator(self, zone: str, key: str, *values: str, scopes: str = "both") -> None:
        for scope in (self.permanent, self.runtime) if scopes == "both" else (self.runtime,):
            scope.setdefault(zone, {}).setdefault(key, []).extend(values)

    @property
    def changes(self) -> list[str]:
        return [call for call in self.calls if any(word in call for word in ("--add", "--remove", "--change", "reload"))]

    def __call__(self, argv: list[str], timeout: float) -> Result:
        if argv[0] == "getent":
            found = self.names.get(argv[-1], [])
            return Result(0 if found else 2, "".join(f"{address} STREAM {argv[-1]}\n" for address in found))
        if argv[0] == "ip":
            lines = [
                f"{number}: {name}    inet{'6' if ':' in address else ''} {address} scope global {name}\\"
                for number, (name, address) in enumerate(self.links.items(), 1)
            ]
            return Result(0, "\n".join(lines))
        assert argv[0] == "firewall-cmd"
        self.calls.append(" ".join(argv[1:]))
        if self.rc:
            return Result(self.rc, "failed\n" if self.rc == 251 else "", "" if self.rc == 251 else "FirewallD is not running\n")
        zones = self.permanent if argv[1] == "--permanent" else self.runtime
        words = argv[2:] if argv[1] == "--permanent" else argv[1:]
        return self.answer(zones, words[0], words[1:])

    def answer(self, zones: dict, first: str, rest: list[str]) -> Result:
        if first == "--state":
            return Result(0, "running\n")
        if first == "--get-default-zone":
            return Result(0, "public\n")
        if first == "--list-all-zones":
            return Result(0, "\n".join(self.show(name, parts) for name, parts in zones.items()))
        if first.startswith("--info-service="):
            name = first.partition("=")[2]
            if name not in self.loaded:
                return Result(101, "", f"Error: INVALID_SERVICE: {name}\n")
            return Result(0, f"{name}\n  ports: {' '.join(reversed(self.loaded[name]))}\n  protocols: \n")
        if first == "--check-config":
            return Result(105 if self.broken else 0, "", self.broken or "")
        if first == "--reload":
            self.reload()
            return Result(0, "success\n")
        zone = first.partition("=")[2]
        for word in [] if self.deaf else rest:
            option, _equals, text = word.partition("=")
            verb, _dash, kind = option[2:].partition("-")
            values = zones[zone].setdefault(PLURAL.get(kind, kind), [])
            if kind == "service" and verb == "add" and text.startswith("gpustack") and zones is self.runtime:
                assert text in self.loaded, f"INVALID_SERVICE {text}"
            values.remove(text) if verb == "remove" else values.append(text or "yes")
        return Result(0, "success\n")

    def reload(self) -> None:
        self.runtime = copy.deepcopy(self.permanent)
        files = self.directory.glob("*.xml") if self.directory.is_dir() else []
        self.loaded = {file.stem: firewalld.ports_of_file(file.read_text()) for file in files}

    @staticmethod
    def show(name: str, parts: dict[str, list[str]]) -> str:
        own_lines = ("rich rules", "forward-ports")
        lines = [f"  {key}: {' '.join(values)}" for key, values in parts.items() if key not in own_lines]
        for key in own_lines:
            lines += [f"  {key}: ", *(f"\t{value}" for value in parts.get(key, []))]
        return "\n".join([name, *lines, ""])


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Firewalld:
    return Firewalld(tmp_path)


# What is opened


def test_services_are_opened_permanently_and_at_once_with_few_calls(host: Firewalld) -> None:
    result = host.access(PUBLIC, CLUSTER)
    for zones in (host.permanent, host.runtime):
        assert zones["public"]["services"] == ["ssh", "gpustack"]
        assert zones["public"]["rich rules"] == RULES
        assert not zones["internal"].get("services") and not zones["docker"].get("services")
    assert host.loaded == {"gpustack": ["8080/tcp"], "gpustack-cluster": ["10150/tcp", "40000-40063/tcp"]}
    assert (result["changed"], result["zones"], result["reload"], result["kept"]) == (True, ["public"], True, [])
    assert [call.split("=")[0] for call in host.changes].count("--reload") == 1
    assert len(host.changes) == 7
    assert sorted(os.listdir(host.directory)) == ["gpustack-cluster.xml", "gpustack.xml"]
    assert result["diff"]["before"] == ""
    assert result["diff"]["after"].splitlines() == [
        "service gpustack: 8080/tcp",
        "service gpustack-cluster: 10150/tcp 40000-40063/tcp",
        *(f"zone public: {text}" for text in RULES),
        "zone public: service gpustack",
    ]


def test_the_file_of_a_service_says_whose_it_is(host: Firewalld) -> None:
    host.access({"name": "gpustack", "ports": ["8080/tcp", "53/udp", "8080-8080/tcp"]})
    assert (host.directory / "gpustack.xml").read_text() == (
        '<?xml version="1.0" encoding="utf-8"?>\n<service>\n  <short>gpustack</short>\n'
        "  <description>Managed by ascend.gpustack (role firewalld_configure); changes are overwritten.</description>\n"
        '  <port protocol="udp" port="53"/>\n  <port protocol="tcp" port="8080"/>\n</service>\n'
    )


def test_a_second_run_changes_nothing(host: Firewalld) -> None:
    first = host.access(PUBLIC, CLUSTER)
    second = host.access(PUBLIC, CLUSTER)
    assert (second["changed"], second["reload"], host.changes) == (False, False, [])
    assert second["diff"]["before"] == second["diff"]["after"] == first["diff"]["after"]


def test_check_mode_shows_the_same_and_touches_nothing(host: Firewalld) -> None:
    before = copy.deepcopy((host.permanent, host.runtime))
    checked = host.access(PUBLIC, CLUSTER, check=True)
    assert ((host.permanent, host.runtime), host.directory.exists(), host.changes) == (before, False, [])
    assert checked == host.access(PUBLIC, CLUSTER)


@pytest.mark.parametrize("rc", [127, 252])
def test_without_a_running_firewalld_nothing_is_done(host: Firewalld, rc: int) -> None:
    host.rc = rc
    result = host.access(PUBLIC, CLUSTER)
    assert (result["changed"], result["running"], host.directory.exists(), len(host.calls)) == (False, False, False, 1)


def test_addresses_that_are_neighbours_are_one_rule(host: Firewalld) -> None:
    host.access({**CLUSTER, "sources": ["10.0.0.3", "10.0.0.2", "10.0.0.2", "10.0.1.0/24", "10.0.1.7"]})
    assert host.runtime["public"]["rich rules"] == [rule("10.0.0.2/31"), rule("10.0.1.0/24")]


def test_ipv6_has_rules_of_its_own(host: Firewalld) -> None:
    host.access({**CLUSTER, "sources": ["10.0.0.1", "fd00::7", "[fd00::6]", "fd00:1::/64"]})
    assert host.runtime["public"]["rich rules"] == [rule("10.0.0.1"), rule("fd00:1::/64", version=6), rule("fd00::6/127", version=6)]


def test_names_stand_in_rules_as_all_their_addresses(host: Firewalld) -> None:
    host.names = {"atlas1": ["127.0.1.1", "10.0.0.1"], "atlas2": ["fd00::2", "10.0.0.2", "fe80::2%eth0"], "atlas9": ["127.0.1.1"]}
    result = host.access(PUBLIC, {**CLUSTER, "sources": ["atlas1", "atlas2", "atlas9"]}, addresses=("atlas1",))
    assert host.runtime["public"]["rich rules"] == [rule("10.0.0.1"), rule("10.0.0.2"), rule("fd00::2", version=6)]
    assert result["zones"] == ["public"]


# In which zone


def test_it_is_the_zone_of_the_interface_that_has_the_address(host: Firewalld) -> None:
    host.runtime["internal"]["interfaces"] = ["eth1"]
    host.links["eth1"] = "192.168.7.1/24"
    assert host.access(PUBLIC, addresses=("192.168.7.1",))["zones"] == ["internal"]
    assert (host.permanent["internal"]["services"], host.permanent["public"]["services"]) == (["gpustack"], ["ssh"])


def test_of_two_addresses_both_zones_are_taken(host: Firewalld) -> None:
    host.runtime["internal"]["interfaces"] = ["eth1"]
    host.links["eth1"] = "fd00::1/64"
    assert host.access(CLUSTER, addresses=("10.0.0.1", "fd00::1"))["zones"] == ["public", "internal"]
    assert host.permanent["internal"]["rich rules"] == host.permanent["public"]["rich rules"] == RULES


@pytest.mark.parametrize("address", ["203.0.113.9", "10.0.0.1"])
def test_an_address_of_no_interface_or_of_one_without_a_zone_leads_to_the_default_zone(host: Firewalld, address: str) -> None:
    host.runtime["public"]["interfaces"] = []
    assert host.access(PUBLIC, addresses=(address,))["zones"] == ["public"]


def test_a_zone_by_source_that_hides_the_others_from_cluster_addresses_gets_rules_for_these(host: Firewalld) -> None:
    host.operator("internal", "sources", "10.0.0.2", "10.1.0.0/16", "02:00:00:00:00:01", "ipset:admins")
    host.access(PUBLIC, CLUSTER)
    for zones in (host.permanent, host.runtime):
        assert zones["internal"]["rich rules"] == [rule("10.0.0.2", "gpustack"), rule("10.0.0.2")]
        assert "gpustack" not in zones["internal"].get("services", [])
        assert zones["public"]["rich rules"] == RULES
    assert host.access(PUBLIC, CLUSTER)["changed"] is False


# What goes again


def test_a_host_that_left_the_cluster_loses_its_rule_without_a_reload(host: Firewalld) -> None:
    host.access(PUBLIC, CLUSTER)
    result = host.access(PUBLIC, {**CLUSTER, "sources": ["10.0.0.1", "10.0.0.2"]})
    assert host.permanent["public"]["rich rules"] == host.runtime["public"]["rich rules"] == RULES[:2]
    assert (result["reload"], host.changes) == (
        False,
        [f"--permanent --zone=public --remove-rich-rule={RULES[2]}", f"--zone=public --remove-rich-rule={RULES[2]}"],
    )
    gone = f"zone public: {RULES[2]}\n"
    assert result["diff"]["before"].replace(gone, "") == result["diff"]["after"]


def test_a_service_that_is_no_longer_asked_for_goes_with_its_file_and_without_a_reload(host: Firewalld) -> None:
    host.access(PUBLIC, CLUSTER)
    host.operator("internal", "services", "gpustack")
    result = host.access(CLUSTER)
    for zones in (host.permanent, host.runtime):
        assert (zones["public"]["services"], zones["internal"]["services"]) == (["ssh"], [])
    assert (result["reload"], os.listdir(host.directory)) == (False, ["gpustack-cluster.xml"])


def test_all_that_was_opened_can_be_removed(host: Firewalld) -> None:
    before = copy.deepcopy(host.permanent)
    host.operator("public", "rich rules", rule("10.9.9.9", "ssh"))
    host.access(PUBLIC, CLUSTER)
    result = host.access()
    assert (result["changed"], result["diff"]["after"], os.listdir(host.directory)) == (True, "", [])
    assert host.permanent["public"] == {**before["public"], "rich rules": [rule("10.9.9.9", "ssh")]}
    assert host.access()["changed"] is False


def test_a_port_that_changed_needs_a_reload(host: Firewalld) -> None:
    host.access(PUBLIC, CLUSTER)
    result = host.access({**PUBLIC, "ports": ["80/tcp"]}, CLUSTER)
    assert (result["reload"], host.loaded["gpustack"], host.changes) == (
        True,
        ["80/tcp"],
        ["--reload", "--zone=docker --change-interface=docker0", "--zone=public --change-interface=eth0", *host.changes[3:]],
    )
    assert [host.runtime[name]["interfaces"] for name in ("public", "docker")] == [["eth0"], ["docker0"]]
    assert set(result["diff"]["after"].splitlines()) - set(result["diff"]["before"].splitlines()) == {"service gpustack: 80/tcp"}


def test_a_run_that_was_killed_before_the_reload_is_made_good(host: Firewalld) -> None:
    host.access(PUBLIC, CLUSTER)
    host.loaded["gpustack"] = ["8081/tcp"]
    result = host.access(PUBLIC, CLUSTER)
    assert (result["changed"], host.loaded["gpustack"]) == (True, ["8080/tcp"])
    assert "service gpustack, in force: 8081/tcp" in result["diff"]["before"].splitlines()


def test_what_is_permanent_alone_or_in_force_alone_is_put_right(host: Firewalld) -> None:
    host.access(PUBLIC, CLUSTER)
    host.permanent["public"]["services"].remove("gpustack")
    host.runtime["public"]["rich rules"] = RULES[1:]
    result = host.access(PUBLIC, CLUSTER)
    assert host.permanent["public"]["services"] == ["ssh", "gpustack"]
    assert sorted(host.runtime["public"]["rich rules"]) == RULES
    assert [line for line in result["diff"]["before"].splitlines() if "alone" in line] == [
        f"zone public: {RULES[0]} (permanent alone)",
        "zone public: service gpustack (in force alone)",
    ]


# What is the operator's


def test_rules_of_another_form_and_services_in_other_zones_stay(host: Firewalld) -> None:
    host.access(PUBLIC, CLUSTER)
    mine = ['rule family="ipv4" source address="10.9.9.9" service name="gpustack-cluster" log prefix="x" accept', rule("10.9.9.9", "http")]
    host.operator("public", "rich rules", *mine)
    host.operator("internal", "services", "gpustack")
    assert host.access(PUBLIC, CLUSTER)["changed"] is False
    host.access(PUBLIC, {**CLUSTER, "sources": ["10.0.0.1"]})
    assert host.permanent["public"]["rich rules"] == [RULES[0], *mine]
    assert host.permanent["internal"]["services"] == ["gpustack"]


def test_what_was_in_force_alone_is_in_force_after_the_reload(host: Firewalld) -> None:
    host.operator("public", "ports", "2222/tcp", scopes="runtime")
    host.operator("public", "rich rules", rule("10.9.9.9", "http"), scopes="runtime")
    host.operator("public", "forward-ports", "port=80:proto=tcp:toport=8080:toaddr=", scopes="runtime")
    host.operator("internal", "sources", "192.168.0.0/24", scopes="runtime")
    host.runtime["internal"]["masquerade"] = ["yes"]
    before = copy.deepcopy(host.runtime)
    result = host.access(PUBLIC)
    assert {key: host.runtime["public"][key] for key in ("ports", "rich rules", "forward-ports")} == {
        key: before["public"][key] for key in ("ports", "rich rules", "forward-ports")
    }
    assert (host.runtime["internal"]["sources"], host.runtime["internal"]["masquerade"]) == (["192.168.0.0/24"], ["yes"])
    assert "ports" not in host.permanent["public"] and "sources" not in host.permanent["internal"]
    assert result["kept"] == [
        "zone internal: masquerade",
        "zone internal: source 192.168.0.0/24",
        "zone public: forward-port port=80:proto=tcp:toport=8080:toaddr=",
        "zone public: port 2222/tcp",
        f"zone public: {rule('10.9.9.9', 'http')}",
    ]
    assert host.access(PUBLIC)["kept"] == []


def test_a_broken_configuration_is_refused_before_a_reload_closes_everything(host: Firewalld) -> None:
    host.broken = "Error: INVALID_ADDR: 10.0.0.300\n"
    with pytest.raises(firewalld_access.AccessError) as refusal:
        host.access(PUBLIC)
    assert str(refusal.value) == (
        "firewalld's permanent configuration is broken (Error: INVALID_ADDR: 10.0.0.300); expected one that it can load."
        " Mend it until firewall-cmd --check-config is content."
    )
    assert (os.listdir(host.directory), host.changes) == ([], [])


def test_a_service_of_the_same_name_made_by_hand_is_refused(host: Firewalld) -> None:
    host.directory.mkdir()
    (host.directory / "gpustack.xml").write_text("<service><port protocol='tcp' port='80'/></service>")
    (host.directory / "web.xml").write_text("<service/>")
    with pytest.raises(firewalld_access.AccessError) as refusal:
        host.access(PUBLIC)
    assert str(refusal.value) == (
        f"{host.directory}/gpustack.xml was made by hand; expected no service gpustack but the collection's own. Rename yours."
    )
    assert host.access(CLUSTER)["changed"] is True
    assert sorted(os.listdir(host.directory)) == ["gpustack-cluster.xml", "gpustack.xml", "web.xml"]


# What can't be done


def test_a_name_without_an_address_is_refused(host: Firewalld) -> None:
    with pytest.raises(firewalld_access.AccessError) as refusal:
        host.access({**CLUSTER, "sources": ["10.0.0.1", "atlas9"]})
    assert str(refusal.value) == (
        "atlas9 can't be resolved; expected a name with an address. Correct gpustack_address, or add it to /etc/hosts."
    )
    assert host.changes == []


@pytest.mark.parametrize("port", ["8080", "0/tcp", "70000/tcp", "9-8/tcp", "8080/sctp", '1/tcp"/>', "None/tcp"])
def test_what_is_no_port_is_refused(host: Firewalld, port: str) -> None:
    with pytest.raises(ValueError, match="is no port; expected one such as 8080/tcp or 40000-40063/udp. Correct it."):
        host.access({**PUBLIC, "ports": [port]})


def test_a_setting_that_firewalld_did_not_take_is_a_failure(host: Firewalld) -> None:
    host.deaf = True
    with pytest.raises(firewalld_access.AccessError) as refusal:
        host.access(PUBLIC)
    assert str(refusal.value) == (
        "firewalld did not take the setting zone public: service gpustack; expected it to. See: journalctl -u firewalld."
    )


def test_a_firewalld_that_failed_to_load_is_left_alone(host: Firewalld) -> None:
    host.access(PUBLIC)
    host.rc = 251
    with pytest.raises(firewalld_access.AccessError) as refusal:
        host.access()
    assert str(refusal.value) == "firewall-cmd --state failed (failed); expected it to work. See: journalctl -u firewalld."
    assert os.listdir(host.directory) == ["gpustack.xml"]


# What firewall-cmd prints


def test_zones_are_read_as_firewall_cmd_lists_them() -> None:
    zones = firewalld.parse_zones(ZONES)
    assert list(zones) == ["docker", "public", "trusted"]
    assert zones["public"] == {
        "target": ["default"],
        "icmp-block-inversion": ["no"],
        "interfaces": ["eth0"],
        "sources": [],
        "services": ["dhcpv6-client", "ssh"],
        "ports": ["9100/tcp", "53/udp"],
        "protocols": ["gre"],
        "forward": ["yes"],
        "masquerade": ["yes"],
        "forward-ports": ["port=80:proto=tcp:toport=8080:toaddr=", "port=81:proto=tcp:toport=8081:toaddr=10.0.0.9"],
        "source-ports": [],
        "icmp-blocks": [],
        "rich rules": [
            'rule priority="-1" source address="10.0.0.0/8" accept',
            'rule family="ipv4" source address="10.9.9.9" service name="ssh" accept',
        ],
    }
    assert firewalld.Entry("public", "masquerade", "") in firewalld.entries(zones)


def test_the_module_answers_ansible_where_there_is_no_firewalld(tmp_path: pathlib.Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(HERE.parent)!r}); import conftest;"
        "from ansible_collections.ascend.gpustack.plugins.modules import firewalld_access;"
        "from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result;"
        "firewalld_access.run = lambda argv, timeout: Result(127);"
        "firewalld_access.main()"
    )
    process = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {"addresses": ["10.0.0.1"], "services": [PUBLIC]}}),
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert process.stdout, process.stderr
    assert {key: json.loads(process.stdout)[key] for key in ("changed", "running")} == {"changed": False, "running": False}
