"""What preflight says: each fault in one sentence with host, finding, expectation and remedy, all of them together."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.ascend.gpustack.plugins.filter import preflight

CHIP = {"npu_id": 0, "chip_id": 0, "name": "910B4", "health": "OK", "device": "/dev/davinci0"}
NPU = {
    "ok": True,
    "problems": [],
    "driver_version": "25.2.0",
    "chips": [{**CHIP, "npu_id": number, "device": f"/dev/davinci{number}"} for number in range(8)],
    "manager_devices": list(preflight.MANAGERS),
    "mounts": ["/usr/local/dcmi"],
    "missing_files": [],
}
HOST = {
    "hostname": "localhost.localdomain",
    "docker": {"installed": True, "running": True, "server_version": "26.1.3", "error": None},
    "listeners": [],
    "npu_holders": [],
    "clock": {"skew_s": 0.4},
    "store": {"answers": True, "exists": True, "root_fs": False, "source": "172.16.33.106:/data/models"},
    "resolved": {"172.16.33.106": "172.16.33.106"},
    "probes": [],
    "container": None,
}
EXPECT = {
    "worker": True,
    "address": "172.16.33.106",
    "container": "gpustack",
    "models_dir": "/data/models",
    "expected_npus": 8,
    "chip_name": "",
    "accept_health": ["OK"],
    "minimum_driver": "24.1.rc2",
    "gpustack_version": "0.7.1",
    "skip": [],
}


def changed(value: dict, **changes) -> dict:
    result = copy.deepcopy(value)
    result.update(changes)
    return result


def told(host=HOST, npu=NPU, **expect) -> list[tuple[str, str, str]]:
    found = preflight.host_findings(host, npu, {**EXPECT, **expect})
    return [(item["check"], item["result"], item["message"]) for item in found if item["result"] != "pass"]


def test_healthy_host_has_no_finding():
    assert told() == []


def test_npu_in_alarm_is_named_with_the_command_that_shows_it():
    npu = copy.deepcopy(NPU)
    npu["chips"][5]["health"] = "Alarm"
    assert told(npu=npu) == [("npu_count", "fail", "7 of 8 NPUs are usable: NPU 5 health is Alarm (npu-smi info -t health -i 5)")]


def test_npu_in_alarm_is_a_warning_where_seven_are_enough():
    npu = copy.deepcopy(NPU)
    npu["chips"][5]["health"] = "Alarm"
    assert told(npu=npu, expected_npus=7) == [
        ("npu_health", "warn", "NPU 5 health is Alarm (npu-smi info -t health -i 5); this NPU is not used")
    ]


def test_missing_npu_is_told_from_a_missing_device_node():
    npu = copy.deepcopy(NPU)
    del npu["chips"][3]
    npu["chips"][0]["device"] = None
    assert told(npu=npu) == [
        ("npu_count", "fail", "6 of 8 NPUs are usable: NPU 0 has no device node; npu-smi lists 7 (NPU 0, 1, 2, 4, 5, 6, 7)")
    ]


def test_host_without_npus_is_refused_unless_none_are_expected():
    npu = changed(NPU, chips=[], problems=["npu-smi was not found"], ok=False)
    assert told(npu=npu) == [("npu_smi", "fail", "0 of 8 NPUs are usable: npu-smi was not found")]
    assert told(npu=npu, expected_npus=0) == []


def test_old_driver_is_refused_with_both_versions():
    assert told(npu=changed(NPU, driver_version="23.0.7")) == [
        ("driver_version", "fail", "the driver is 23.0.7; GPUStack 0.7.1's image needs 24.1.rc2 or newer")
    ]


@pytest.mark.parametrize("older, newer", [("24.1.rc2", "24.1.rc3"), ("24.1.rc3.7", "24.1.0"), ("24.1.1", "25.0.rc1"), ("25.5.1", "25.5.1.1")])
def test_driver_versions_sort_as_the_vendor_means_them(older, newer):
    assert preflight.driver_key(older) < preflight.driver_key(newer.upper())


def test_docker_missing_stopped_and_old_are_three_findings():
    docker = HOST["docker"]
    assert told(changed(HOST, docker=changed(docker, installed=False)))[0][2].startswith("Docker is missing")
    assert told(changed(HOST, docker=changed(docker, running=False, error="no socket")))[0][2] == "Docker Engine does not answer: no socket"
    assert told(changed(HOST, docker=changed(docker, server_version="18.09.0")))[0][2].startswith("Docker Engine is 18.09.0")


def test_port_holder_clock_store_and_closed_port_are_all_found_at_once():
    host = changed(
        HOST,
        listeners=[
            {"port": 8080, "pid": 7, "process": "java", "container": None, "ours": False},
            {"port": 10150, "pid": 9, "process": "python", "container": "gpustack", "ours": True},
        ],
        npu_holders=[{"container": "vllm", "npus": [0, 1]}],
        clock={"skew_s": -90.0},
        store={"answers": False, "exists": None, "root_fs": False, "source": "nfs:/m"},
        probes=[{"host": "atlas1", "port": 8080, "result": "unreachable"}],
    )
    assert [check for check, _result, _text in told(host)] == ["ports", "npu_holders", "clock", "store", "firewall"]
    assert "port 8080 is taken by java (pid 7); GPUStack needs it" in [text for _check, _result, text in told(host)]


def test_check_is_skipped_by_its_name():
    assert told(changed(HOST, clock={"skew_s": 99.0}), skip=["clock"]) == []


def test_unreachable_and_unreadable_hosts_are_findings_like_others():
    assert told({"unreachable": True})[0][:2] == ("reachable", "fail")
    assert told({"failed": True, "module_stderr": "bash: python3: not found"})[0][2] == "could not be examined: bash: python3: not found"


def summary(reports: dict[str, list], groups=None, settings=None, **hostvars) -> dict:
    hosts = list(reports)
    groups = groups or {"gpustack_server": hosts[:1], "gpustack_worker": hosts}
    variables = {host: {"ascend_driver_check_report": reports[host], **hostvars.get(host, {})} for host in hosts}
    return preflight.preflight_summary(hosts, variables, groups, {"skip": [], "known": ["gpustack_port", "gpustack_address", "gpustack_worker_name", "ascend_driver_check_report"], "continue": False, **(settings or {})})


BAD = preflight.finding("clock", "fail", "its clock is off", "Run chronyd.")


def test_equal_findings_are_grouped_and_the_limit_that_passes_ends_the_report():
    found = summary({"atlas1": [], "atlas2": [BAD], "atlas3": [BAD]})
    assert found["lines"] == ["FAIL [clock] atlas2, atlas3: its clock is off. Run chronyd."]
    assert found["stop"] and found["bad_hosts"] == []
    assert found["verdict"].splitlines() == [
        "Preflight found 1 problems on 2 of 3 hosts:",
        "FAIL [clock] atlas2, atlas3: its clock is off. Run chronyd.",
        "The others would pass: --limit '!atlas2,!atlas3'",
    ]


def test_bad_workers_are_left_out_when_told_to_go_on_but_never_the_server():
    assert summary({"atlas1": [], "atlas2": [BAD]}, settings={"continue": True})["bad_hosts"] == ["atlas2"]
    assert not summary({"atlas1": [], "atlas2": [BAD]}, settings={"continue": True})["stop"]
    assert summary({"atlas1": [BAD], "atlas2": []}, settings={"continue": True})["stop"]


def test_two_hosts_with_one_address_or_worker_name_are_refused():
    found = summary({"atlas1": [], "atlas2": []}, atlas1={"ansible_host": "10.0.0.1"}, atlas2={"gpustack_address": "10.0.0.1"})
    assert found["lines"] == ["FAIL [address] atlas1, atlas2: gpustack_address 10.0.0.1 is shared by atlas1, atlas2. Give each host an address of its own."]
    found = summary({"atlas1": [], "atlas2": []}, atlas1={"gpustack_worker_name": "w"}, atlas2={"gpustack_worker_name": "w"})
    assert found["lines"][0].startswith("FAIL [worker_name] atlas1, atlas2")


def test_loopback_is_refused_as_soon_as_there_are_two_hosts():
    assert summary({"atlas1": []}, atlas1={"ansible_host": "127.0.0.1"})["lines"] == []
    assert "127.0.0.1, which other hosts cannot reach" in summary({"atlas1": [], "atlas2": []}, atlas1={"ansible_host": "127.0.0.1"})["lines"][0]


def test_no_server_or_two_are_refused():
    assert "holds no host; expected exactly one" in summary({"atlas1": []}, groups={"gpustack_worker": ["atlas1"]})["lines"][0]
    found = summary({"atlas1": [], "atlas2": []}, groups={"gpustack_server": ["atlas1", "atlas2"]}, settings={"continue": True})
    assert found["stop"] and "holds atlas1, atlas2; expected exactly one" in found["lines"][0]


def test_shared_hostname_is_only_a_warning():
    seen = {"__ascend_driver_check_host": {"hostname": "localhost.localdomain"}}
    found = summary({"atlas1": [], "atlas2": []}, atlas1=seen, atlas2=seen)
    assert found["lines"][0].startswith("WARN [hostname] atlas1, atlas2: the hostname localhost.localdomain is shared")
    assert not found["stop"]


def test_misspelt_variable_is_named_with_the_one_that_is_meant():
    found = summary({"atlas1": []}, atlas1={"gpustack_prot": 80, "gpustack_port": 8080})
    assert found["lines"] == ["WARN [variables] atlas1: gpustack_prot is no variable of this collection. Did you mean gpustack_port?"]


def test_findings_of_a_hand_made_container_join_the_others():
    found = summary({"atlas1": []}, atlas1={"__gpustack_takeover_problems": ["--debug would be lost."]})
    assert found["lines"] == ["FAIL [takeover] atlas1: --debug would be lost."]
