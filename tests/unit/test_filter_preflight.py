"""What preflight says: each fault in one sentence with host, finding, expectation and remedy, all of them together."""

from __future__ import annotations

import copy
from dataclasses import asdict

import pytest
from ansible_collections.ascend.gpustack.plugins.plugin_utils import drivers
from ansible_collections.ascend.gpustack.plugins.plugin_utils.collection import signature, version
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight import cluster, report
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.checks import SKIPPABLE
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Finding
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.host import host_findings, node_refusals
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.npu import usable_npus

CHIP = {"npu_id": 0, "chip_id": 0, "name": "910B4", "memory_total_mb": 32768, "health": "OK", "device": "/dev/davinci0"}
NPU = {
    "ok": True,
    "problems": [],
    "findings": [],
    "driver_version": "25.2.0",
    "chips": [{**CHIP, "npu_id": number, "logic_id": number, "device": f"/dev/davinci{number}"} for number in range(8)],
    "manager_devices": ["/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"],
    "mounts": ["/usr/local/dcmi"],
    "missing_files": [],
}
HOST = {
    "root": True,
    "hostname": "localhost.localdomain",
    "docker": {"installed": True, "running": True, "server_version": "26.1.3", "error": None},
    "listeners": [],
    "npu_holders": [],
    "models": {"workers": [], "nodes": [], "workloads": []},
    "clock": {"skew_s": 0.4},
    "store": {"answers": True, "exists": True, "root_fs": False, "source": "172.16.33.106:/data/models"},
    "data": {"name": "gpustack-data", "path": "/var/lib/docker/volumes/gpustack-data/_data", "on_store": False, "worker_uuid": None},
    "resolved": {"172.16.33.106": "172.16.33.106"},
    "addresses": ["127.0.0.1", "172.16.33.106", "fe80::1"],
    "docker_chain": {"managed": True, "present": True, "running_containers": []},
    "container": None,
}
EXPECT = {
    "cluster": "gpustack",
    "worker": True,
    "server": False,
    "address": "172.16.33.106",
    "container": "gpustack",
    "models_dir": "/data/models",
    "cache_dir": "/data/models/gpustack-cache",
    "store_type": "external",
    "node": True,
    "expected_npus": 8,
    "chip_name": "",
    "memory_mb": 0,
    "free_docker_gib": 40,
    "free_store_gib": 50,
    "multi_node": False,
    "accept_health": ["OK"],
    "minimum_driver": "24.1.rc2",
    "runners": [],
    "gpustack_version": "0.7.1",
    "version_asked": True,
    "firewall": "configure",
    "port_settings": {},
    "open_ports": [],
    "skip": [],
}


def changed(value: dict, **changes) -> dict:
    result = copy.deepcopy(value)
    result.update(changes)
    return result


def told(host=None, npu=None, **expect) -> list[tuple[str, str, str]]:
    found = host_findings(host or HOST, npu or NPU, {**EXPECT, **expect})
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


def test_npu_that_npu_smi_cannot_describe_is_not_used_and_the_unreadable_line_is_shown():
    npu = copy.deepcopy(NPU)
    npu["chips"][2].update(name=None, memory_total_mb=None)
    npu["findings"] = [
        {"kind": "table_incomplete", "message": "A row is missing before line 9.", "npu_id": None},
        {"kind": "health", "message": "told by another check", "npu_id": 1},
    ]
    assert told(npu=npu) == [
        ("npu_count", "fail", "7 of 8 NPUs are usable: NPU 2 is not described whole by npu-smi"),
        ("npu_table", "warn", "A row is missing before line 9"),
    ]


def test_missing_npu_is_told_from_a_missing_device_node():
    npu = copy.deepcopy(NPU)
    del npu["chips"][3]
    npu["chips"][0]["device"] = None
    assert told(npu=npu) == [
        ("npu_count", "fail", "6 of 8 NPUs are usable: NPU 0 has no device node; npu-smi lists 7 NPUs (0, 1, 2, 4, 5, 6, 7)")
    ]


def test_host_without_npus_is_refused_unless_none_are_expected():
    npu = changed(NPU, chips=[], problems=["npu-smi was not found"], ok=False)
    assert told(npu=npu) == [("npu_smi", "fail", "0 of 8 NPUs are usable: npu-smi was not found")]
    assert told(npu=npu, expected_npus=0) == []


def test_first_problem_of_a_silent_driver_is_told_with_who_holds_the_npus():
    holders = {
        "processes": [{"pid": 7, "name": "python3", "container_id": None}, {"pid": 9, "name": "vllm", "container_id": "3f5b"}],
        "containers": [
            {"container": "vllm", "npus": [0], "via": "devices"},
            {"container": "monitor", "npus": [0, 1], "via": "privileged"},
        ],
    }
    npu = changed(NPU, chips=[], problems=["The device is used. Stop it.", "No node."], ok=False, holders=holders)
    assert told(npu=npu) == [
        (
            "npu_smi",
            "fail",
            "0 of 8 NPUs are usable: The device is used. Stop it. "
            "Held by the container vllm, the privileged container monitor, python3 (pid 7)",
        )
    ]


def test_privileged_container_is_a_warning_and_one_with_npus_a_failure():
    holders = [{"container": "monitor", "npus": [0, 1], "via": "privileged"}, {"container": "vllm", "npus": [1], "via": "environment"}]
    assert told(changed(HOST, npu_holders=holders)) == [
        ("npu_holders", "warn", "the privileged container monitor can open every NPU; expected GPUStack alone to use them"),
        ("npu_holders", "fail", "the container vllm holds NPU 1; an NPU serves one container"),
    ]
    assert told(changed(HOST, npu_holders=holders), worker=False) == []


def running(*workloads: tuple[str, bool, list[int]], workers: tuple[str, ...] = (), nodes: tuple[str, ...] = (), **changes: object) -> dict:
    found = [
        {"name": name, "containers": [f"{name}-pause", f"{name}-run-0"], "running": True, "ours": ours, "npus": npus, **changes}
        for name, ours, npus in workloads
    ]
    return changed(HOST, models={"workers": list(workers), "nodes": list(nodes), "workloads": found})


def test_models_of_this_cluster_are_no_strangers_to_it_and_are_to_a_swarm():
    host = running(("tiny-050qc", True, [0, 1]))
    assert told(host) == []
    text = "GPUStack runs the model instance tiny-050qc on NPU 0, 1, which is not this cluster's; expected no other's models"
    assert told(host, cluster="swarm", gpustack_version="") == [("models", "fail", text)]
    assert told(host, cluster="swarm", gpustack_version="", worker=False) == []


def test_no_worker_is_started_where_it_would_remove_anothers_models():
    host = running(("tiny-050qc", True, [0]), ("theirs", False, [4]), ("starting", False, []), workers=("gpustack-worker",))
    assert told(host) == [
        (
            "models",
            "fail",
            "the container gpustack-worker is another worker of GPUStack; expected gpustack alone: each removes the containers of the "
            "other's models",
        ),
        ("models", "fail", "GPUStack runs the model instance theirs on NPU 4, which is not this cluster's; expected no other's models"),
        ("models", "fail", "GPUStack runs the model instance starting, which is not this cluster's; expected no other's models"),
    ]
    refused = node_refusals(
        host, {"gpustack_version": "0.7.1", "models_dir": "/data/models", "container": "gpustack", "worker": True, "skip": []}, "atlas1"
    )
    assert len(refused) == 3 and refused[1].endswith("where that is gone, run: docker rm -f theirs-pause theirs-run-0")
    assert told(host, skip=["models"]) == told(running(("theirs", False, [4]), running=False)) == []


def test_a_gpustack_of_another_name_is_met_before_a_second_one_gets_its_data():
    host = running(nodes=("gpustack-server",))
    text = "the container gpustack-server has GPUStack's data, and runs; expected gpustack alone to be GPUStack on a host"
    assert told(host) == told(host, worker=False) == [("models", "fail", text)]
    expect = {"gpustack_version": "2.3.0", "models_dir": "/data/models", "container": "gpustack", "worker": False, "skip": []}
    assert node_refusals(host, expect, "atlas1") == [
        f"atlas1: {text}. Stop it, or set gpustack_container_name: gpustack-server for this host to take it over."
    ]
    # A Swarm is told of what holds its NPUs.
    holders = [{"container": "gpustack-server", "npus": [1], "via": "devices"}]
    assert told(changed(host, npu_holders=holders)) == [("models", "fail", text)]
    found = told(changed(host, npu_holders=holders), cluster="swarm", gpustack_version="")
    assert [each[0] for each in found] == ["npu_holders"]


def test_a_worker_beside_the_server_hands_its_record_over():
    host = changed(running(workers=("gpustack-worker",)), container={**MADE, "name": "gpustack-server", "managed": False})
    expect = {"gpustack_version": "2.3.0", "models_dir": "/data/models", "container": "gpustack-server", "worker": True, "skip": []}
    (refused,) = node_refusals(host, {**expect, "server": True}, "atlas1")
    assert refused == (
        "atlas1: the container gpustack-worker is another worker of GPUStack; expected gpustack-server alone: each removes the containers "
        "of the other's models. Remove it; so that gpustack-server is that worker then, with its name and record, by: docker stop "
        "gpustack-worker && docker cp gpustack-worker:/var/lib/gpustack/worker_uuid - | docker cp - gpustack-server:/var/lib/gpustack && "
        "docker cp gpustack-worker:/var/lib/gpustack/worker_name - | docker cp - gpustack-server:/var/lib/gpustack && docker rm "
        "gpustack-worker"
    )
    (refused,) = node_refusals(host, {**expect, "server": False}, "atlas1")
    assert refused.endswith("Remove it, or set gpustack_container_name: gpustack-worker for this host to take it over.")


def test_worker_of_gpustack_is_no_guest_on_the_hosts_of_a_swarm():
    assert told(running(workers=("gpustack",)), cluster="swarm", gpustack_version="") == [
        (
            "models",
            "fail",
            "the container gpustack is a worker of GPUStack, whose models take the NPUs; expected the stack of vLLM alone to use them",
        )
    ]


def said_there(kind: str, message: str, npu_id: int | None = None) -> dict:
    return {"kind": kind, "message": message, "npu_id": npu_id}


def test_what_the_host_itself_finds_wrong_with_its_driver_is_told_and_what_it_says_of_one_npu_only_with_that():
    folder = said_there("device_node", "/dev/davinci8 is no device node; expected a character device. Remove it.")
    chip = said_there("device_node", "NPU 3 has no device node: /dev/davinci3 does not exist.", 3)
    halfway = said_there("driver_file", "The driver's installation is 'installing'; expected 'complete'. Install it again.")
    reboot = said_there("driver_version", "The running driver is 25.2.0, the installed one 25.5.0 (version.info). Reboot the host.")
    assert told(npu=changed(NPU, findings=[folder, chip, halfway, reboot])) == [
        ("npu_devices", "warn", folder["message"].rstrip(".")),
        ("driver_files", "warn", halfway["message"].rstrip(".")),
        ("driver_version", "warn", reboot["message"].rstrip(".")),
    ]


def test_host_without_the_drivers_own_nodes_or_files_is_refused():
    nodes = said_there("device_node", "/dev/hisi_hdc missing: containers can't use an NPU without.")
    file = said_there("driver_file", "/etc/ascend_install.info is missing; expected the driver's file. Install it again.")
    lacking = changed(NPU, findings=[nodes, file], manager_devices=NPU["manager_devices"][:2], missing_files=["/etc/ascend_install.info"])
    assert [(check, result) for check, result, _text in told(npu=lacking)] == [("npu_devices", "fail"), ("driver_files", "fail")]


def test_npu_with_two_faults_is_one_npu_less():
    npu = copy.deepcopy(NPU)
    npu["chips"][5].update(health="UNKNOWN", name=None, memory_total_mb=None)
    (found,) = told(npu=npu)
    assert found[2] == (
        "7 of 8 NPUs are usable: NPU 5 health is UNKNOWN (npu-smi info -t health -i 5); NPU 5 is not described whole by npu-smi"
    )
    usable = usable_npus(npu, EXPECT)
    assert (usable["count"], len(usable["unwell"])) == (7, 1)
    assert [chip["logic_id"] for chip in usable["chips"]] == [0, 1, 2, 3, 4, 6, 7]
    assert usable["problems"] == [f"{found[2]}. Repair it, or set ascend_driver_check_expected_npus: 7 for this host."]


def test_old_driver_is_refused_with_both_versions():
    assert told(npu=changed(NPU, driver_version="23.0.7")) == [
        ("driver_version", "fail", "the driver is 23.0.7; GPUStack 0.7.1's image needs 24.1.rc2 or newer")
    ]


@pytest.mark.parametrize(
    "older, newer", [("24.1.rc2", "24.1.rc3"), ("24.1.rc3.7", "24.1.0"), ("24.1.1", "25.0.rc1"), ("25.5.1", "25.5.1.1")]
)
def test_driver_versions_sort_as_the_vendor_means_them(older, newer):
    assert (drivers.order(older, newer.upper()), drivers.order(newer, older)) == (-1, 1)
    assert drivers.order(older, older.upper()) == 0


@pytest.mark.parametrize(
    ("one", "two", "order"),
    [
        ("25.0.t52.b060", "24.1.rc2", 1),
        ("23.0.t52.b060", "24.1.rc2", -1),
        ("24.1.t52.b060", "24.1.rc2", None),
        ("24.1.t52.b060", "24.1.t52.b061", -1),
        ("24.1.T52.b060", "24.1.t52.b060", 0),
        ("24.1.rc2.t7", "24.1.rc2", 1),
        ("V100R001C15", "24.1.rc2", None),
        ("unknown", "24.1.rc2", None),
    ],
)
def test_driver_of_another_spelling_is_compared_as_far_as_it_tells(one, two, order):
    assert drivers.order(one, two) == order
    assert drivers.order(two, one) == (None if order is None else -order)


def test_driver_that_cannot_be_compared_is_said_to_be_one_with_the_variable_that_settles_it():
    odd = changed(NPU, driver_version="24.1.t52.b060")
    (found,) = [item for item in host_findings(HOST, odd, EXPECT) if item["result"] == "fail"]
    assert Finding(**found).lines == [
        "the driver is 24.1.t52.b060, which can't be compared; GPUStack 0.7.1's image needs 24.1.rc2 or newer. "
        "Set ascend_driver_check_minimum_driver: 24.1.t52.b060 for this host if that is known to be as new; else install a release."
    ]
    assert told(npu=odd, minimum_driver="24.1.t52.b060") == told(npu=changed(NPU, driver_version="25.1.t3")) == []
    assert told(npu=changed(NPU, driver_version=None)) == [
        ("driver_version", "fail", "the driver's version is unknown (None); expected 24.1.rc2 or newer")
    ]


def test_host_that_only_exports_the_store_needs_no_docker():
    assert told(changed(HOST, docker=changed(HOST["docker"], installed=False)), worker=False, node=False) == []


def test_docker_missing_stopped_and_old_are_three_findings():
    docker = HOST["docker"]
    assert told(changed(HOST, docker=changed(docker, installed=False)))[0][2].startswith("Docker is missing")
    assert told(changed(HOST, docker=changed(docker, running=False, error="no socket")))[0][2] == "Docker Engine does not answer: no socket"
    assert told(changed(HOST, docker=changed(docker, server_version="18.09.0")))[0][2].startswith("Docker Engine is 18.09.0")


MADE = {"name": "gpustack", "managed": True, "version": "0.7.2"}
FAULTS = {
    "docker missing": {"docker": changed(HOST["docker"], installed=False, running=False)},
    "docker stopped": {"docker": changed(HOST["docker"], running=False, server_version=None, error="no socket")},
    "docker old": {"docker": changed(HOST["docker"], server_version="19.03.15")},
    "container newer": {"container": MADE},
    "store dead": {"store": {"answers": False, "exists": None, "root_fs": False, "source": "nfs:/m", "error": "no answer within 20 s"}},
    "store missing": {"store": changed(HOST["store"], exists=False, root_fs=True)},
    "data shared": {"data": {"name": "/data/models/own", "path": "/data/models/own", "on_store": True, "worker_uuid": "u"}},
    "address of another": {"addresses": ["127.0.0.1", "172.16.33.107"]},
    "npus held": {"npu_holders": [{"container": "vllm", "npus": [0, 1], "via": "devices"}]},
    "no root": {"root": False},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_step_of_a_node_refuses_with_the_words_of_preflight(fault):
    host = changed(HOST, **FAULTS[fault])
    (found,) = [item for item in host_findings(host, NPU, EXPECT) if item["result"] == "fail"]
    assert node_refusals(host, EXPECT, "atlas1") == [f"atlas1: {Finding(**found).sentence}"]
    if found["check"] in SKIPPABLE:
        assert node_refusals(host, {**EXPECT, "skip": [found["check"]]}, "atlas1") == []


def test_watching_container_and_fit_host_are_refused_by_neither():
    watched = changed(
        HOST, npu_holders=[{"container": "monitor", "npus": [0], "via": "privileged"}], container=changed(MADE, version="0.7.1")
    )
    assert node_refusals(watched, EXPECT, "atlas1") == node_refusals(HOST, EXPECT, "atlas1") == []


def test_container_that_is_newer_than_the_variable_is_told_before_anything_is_changed():
    newer = changed(HOST, container=MADE)
    text = "the container gpustack runs GPUStack 0.7.2, newer than gpustack_version 0.7.1; its database cannot go back"
    assert told(newer) == [("version", "fail", text)]
    assert told(newer, gpustack_version="0.7.2") == told(newer, cluster="swarm") == told(newer, node=False, worker=False) == []
    # What was made by hand is the takeover's.
    assert told(changed(HOST, container=changed(MADE, managed=False, version=None))) == []


def test_no_generation_takes_the_place_of_another_unasked():
    runs = changed(HOST, container=changed(MADE, version="0.7.1"))
    data = changed(HOST["data"], exists=True)
    (found,) = [
        item for item in host_findings(changed(runs, data=data), NPU, {**EXPECT, "gpustack_version": "2.3.0"}) if item["check"] == "version"
    ]
    assert Finding(**found).sentence == (
        "the container gpustack runs GPUStack 0.7.1, whose data GPUStack 2.3.0 does not take; "
        "expected a gpustack_version of its generation. "
        "Set gpustack_version: 0.7.1 to keep it, gpustack_upgrade_migrate: true to take its data along, or gpustack_data_volume to a "
        "new one to begin anew with 2.3.0."
    )

    def of_version(*words, **more):
        return [each for each in told(*words, **more) if each[0] == "version"]

    back = changed(runs, container=changed(MADE, version="2.3.0"), data=data)
    assert [check for check, result, _text in told(back) if result == "fail"] == ["version"]
    # Within a generation it does, and with a volume that is yet to be made.
    assert of_version(changed(back, container=changed(MADE, version="2.2.3")), gpustack_version="2.3.0") == []
    assert of_version(changed(runs, data=changed(data, exists=False)), gpustack_version="2.3.0") == []


@pytest.mark.parametrize(
    ("left", "refused"), [(["database.db", "token"], 1), (["postgresql"], 0), (["database.db", "postgresql"], 0), ([], 0)]
)
def test_data_that_another_generation_left_is_not_begun_anew_with(left, refused):
    host = changed(HOST, data=changed(HOST["data"], exists=True, cluster=left))
    found = [text for check, _result, text in told(host, gpustack_version="2.3.0") if check == "version"]
    assert found == ["the data gpustack-data holds a cluster of GPUStack 0.7, which 2.3.0 does not take"] * refused


ANEW = "or 2.3.0 with a new gpustack_data_volume to begin anew with that."
ALONG = "2.3.0 with gpustack_upgrade_migrate: true to take its data along, "


@pytest.mark.parametrize(
    ("runs", "way"),
    [("0.7.0", ANEW), ("0.7.1", ALONG + ANEW), ("2.2.3", "or 2.3.0 to upgrade it; its data is copied first."), ("2.3.0", "")],
)
def test_what_runs_stays_where_no_version_is_asked_for_and_the_newer_one_is_mentioned(runs, way):
    host = changed(HOST, container=changed(MADE, version=runs))
    found = host_findings(host, NPU, {**EXPECT, "gpustack_version": runs, "version_asked": False})
    assert [(item["result"], item["message"], item["remedy"]) for item in found if item["check"] == "version" and item["remedy"]] == [
        (
            "warn",
            f"the container gpustack runs GPUStack {runs}, which stays, since gpustack_version is not set",
            f"2.3.0 is what new clusters get. Set gpustack_version: {runs} to keep it, {way}",
        )
    ] * bool(way)
    assert "version" not in [check for check, _result, _text in told(host, gpustack_version=runs)]


def test_port_holder_clock_and_store_are_all_found_at_once():
    host = changed(
        HOST,
        listeners=[
            {"port": 8080, "pid": 7, "process": "java", "container": None, "ours": False},
            {"port": 10150, "pid": 9, "process": "python", "container": "gpustack", "ours": True},
        ],
        npu_holders=[{"container": "vllm", "npus": [0, 1], "via": "devices"}],
        clock={"skew_s": -90.0},
        store={"answers": False, "exists": None, "root_fs": False, "source": "nfs:/m", "error": "no answer within 20 s"},
    )
    assert [check for check, _result, _text in told(host)] == ["ports", "npu_holders", "clock", "store"]
    assert "port 8080 is taken by java (pid 7); GPUStack needs it" in [text for _check, _result, text in told(host)]


@pytest.mark.parametrize(
    ("port", "remedy"),
    [
        (5432, "Stop that, or set another port: database_port in gpustack_server_config."),
        (15010, "Stop that; GPUStack has no other for it."),
        (8001, "Stop that, or set another port."),
    ],
)
def test_a_port_that_is_taken_is_told_with_what_moves_it(port, remedy):
    host = changed(HOST, listeners=[{"port": port, "process": "postgres", "pid": 7, "container": None, "ours": False}])
    known = {5432: "database_port in gpustack_server_config", 15010: ""}
    expect = {**EXPECT, "port_settings": known if port in known else {}}
    found = [item for item in host_findings(host, NPU, expect) if item["result"] != "pass"]
    assert [(item["message"], item["remedy"]) for item in found] == [
        (f"port {port} is taken by postgres (pid 7); GPUStack needs it", remedy)
    ]
    # A version that stays needs others than those of the usual one, which were looked at.
    assert host_findings(host, NPU, {**EXPECT, "port_settings": {1: ""}}) == host_findings(HOST, NPU, EXPECT)


def test_what_stays_open_without_a_firewall_is_said():
    assert told(open_ports=["10161", "19090"]) == told(firewall="disable") == []
    assert told(firewall="disable", open_ports=["10161", "19090", "40000-40063"]) == [
        (
            "firewall",
            "warn",
            "without a firewall everyone reaches the ports 10161, 19090 and 40000-40063, "
            "where GPUStack asks for no password or talks without TLS",
        )
    ]


def test_check_is_skipped_by_its_name():
    assert told(changed(HOST, clock={"skew_s": 99.0}), skip=["clock"]) == []


def test_chip_of_another_memory_is_named_with_its_size():
    npu = copy.deepcopy(NPU)
    npu["chips"][3]["memory_total_mb"] = 65536
    assert told(npu=npu, memory_mb=32768) == [("npu_memory", "fail", "NPU 3 has 65536 MB of memory; expected 32768 MB")]
    assert told(npu=npu) == []


def test_room_is_wanted_for_an_image_that_is_yet_to_come_and_for_models_where_the_store_is():
    docker = changed(HOST["docker"], root_dir="/var/lib/docker", root_free_mb=12 * 1024 + 5)
    store = changed(HOST["store"], free_mb=49 * 1024)
    host = changed(HOST, docker=docker, store=store, image={"present": False})
    assert told(host) == [
        ("space", "fail", "Docker's directory /var/lib/docker has 12 GiB free; expected 40 GiB for the image"),
        ("space", "warn", "the model store /data/models has 49 GiB free; expected 50 GiB for models"),
    ]
    assert [result for _check, result, _text in told(changed(host, image={"present": True}))] == ["warn"]
    assert told(host, free_docker_gib=12, free_store_gib=49) == []
    # What lies under a mount point that is yet to be mounted says nothing of the store.
    pending = changed(host, store=changed(store, root_fs=True), image={"present": True})
    assert told(pending, store_type="nfs") == []


def test_no_room_is_wanted_for_an_image_that_a_container_which_stays_does_not_need():
    docker = changed(HOST["docker"], root_dir="/var/lib/docker", root_free_mb=1024)
    stays = changed(MADE, version="0.7.1", image="gpustack/gpustack:v0.7.1-npu")
    host = changed(HOST, docker=docker, container=stays, image={"name": "gpustack/gpustack:v2.3.0", "present": False})
    # The newer version that there is, and no more
    assert [(check, result) for check, result, _text in told(host, version_asked=False)] == [("version", "warn")]
    assert [check for check, _result, _text in told(host)] == ["space"]


def test_store_that_this_host_may_only_read_is_no_place_for_its_cache():
    host = changed(HOST, store=changed(HOST["store"], writable=False))
    assert told(host) == [
        (
            "store",
            "warn",
            "the model store /data/models can't be written from it; expected so for /data/models/gpustack-cache, "
            "where GPUStack keeps what it downloads",
        )
    ]
    assert told(host, cache_dir="/var/lib/gpustack-cache") == told(host, node=False, worker=False) == []


PORT = {
    "link": "UP",
    "address": "192.168.100.11",
    "gateway": "192.168.100.1",
    "tls": False,
    "configured_address": "192.168.100.11",
    "configured_gateway": "192.168.100.1",
}


def ports(first: int = 11, **changes) -> list[dict]:
    addresses = [f"192.168.100.{first + number}" for number in range(8)]
    return [
        {**PORT, "npu_id": number, "number": number, "address": address, "configured_address": address, **changes}
        for number, address in enumerate(addresses)
    ]


def test_network_ports_are_looked_at_only_for_models_on_several_hosts():
    assert told(npu=changed(NPU, network=ports(link="DOWN")), multi_node=False) == []
    assert told(npu=changed(NPU, network=ports()), multi_node=True) == []


def test_port_without_link_with_another_address_or_gateway_is_named():
    network = ports()
    network[2]["link"] = "DOWN"
    network[3]["link"] = None
    network[4]["address"] = "192.168.100.99"
    network[5]["configured_address"] = None
    network[6]["gateway"] = "192.168.100.254"
    network[7].update(gateway=None, configured_gateway=None)
    assert told(npu=changed(NPU, network=network), multi_node=True) == [
        ("hccn_link", "fail", "links of NPUs are not up: NPU 2 DOWN, NPU 3 unknown"),
        (
            "hccn_address",
            "fail",
            "the address of an NPU's port is not the configured one: NPU 4 has 192.168.100.99 and /etc/hccn.conf 192.168.100.15; "
            "NPU 5 has 192.168.100.16 and /etc/hccn.conf none",
        ),
        (
            "hccn_gateway",
            "fail",
            "the gateway of an NPU's port is not the configured one: NPU 6 has 192.168.100.254 and /etc/hccn.conf 192.168.100.1",
        ),
        ("hccn_gateway", "warn", "no gateway: NPU 7; expected one where hosts are in several networks"),
    ]


def dies() -> dict:
    """Four NPUs of A3, with two dies each."""
    numbers = range(8)
    chips = [
        {**CHIP, "npu_id": n // 2, "chip_id": n % 2, "logic_id": n, "name": "Ascend910", "device": f"/dev/davinci{n}"} for n in numbers
    ]
    network = [{**port, "npu_id": port["number"] // 2, "chip_id": port["number"] % 2} for port in ports()]
    return changed(NPU, chips=chips, network=network)


def test_die_is_told_by_npu_chip_and_the_number_that_hccn_tool_takes_and_its_link_is_no_failure():
    npu = dies()
    assert told(npu=npu, multi_node=True) == []
    npu["network"][3]["link"] = "DOWN"
    npu["network"][4].update(link=None, address="192.168.100.99")
    npu["network"][5].update(link="DOWN", address=None, configured_address=None, gateway=None, configured_gateway=None)
    assert told(npu=npu, multi_node=True) == [
        (
            "hccn_link",
            "warn",
            "links of NPUs are not up: NPU 1 chip 1 (-i 3) DOWN, NPU 2 chip 0 (-i 4) unknown, NPU 2 chip 1 (-i 5) DOWN; "
            "HCCS joins the NPUs of A3, too",
        ),
        (
            "hccn_address",
            "fail",
            "the address of an NPU's port is not the configured one: "
            "NPU 2 chip 0 (-i 4) has 192.168.100.99 and /etc/hccn.conf 192.168.100.15",
        ),
    ]
    silent = dies()
    silent["network"] = []
    (found,) = told(npu=silent, multi_node=True)
    assert found == (
        "hccn_link",
        "warn",
        "hccn_tool tells nothing of the NPUs' network ports; expected one with a link for each NPU; HCCS joins the NPUs of A3, too",
    )


def test_dies_with_one_address_are_told_apart():
    network = [{**port, "npu_id": port["number"] // 2, "chip_id": port["number"] % 2, "address": "192.168.100.9"} for port in ports()[:2]]
    found = summary({"atlas1": [], "atlas2": []}, settings={"multi_node": True}, atlas1=with_npus(network=network), atlas2=with_npus())
    assert "192.168.100.9 (atlas1 NPU 0 chip 0 (-i 0), atlas1 NPU 0 chip 1 (-i 1))" in found["report"][1]


def test_port_has_the_number_that_hccn_tool_takes_where_the_npu_has_another():
    network = [{**port, "npu_id": port["npu_id"] + 1} for port in ports()]
    network[2]["link"] = "DOWN"
    assert told(npu=changed(NPU, network=network), multi_node=True) == [
        ("hccn_link", "fail", "links of NPUs are not up: NPU 3 (-i 2) DOWN")
    ]


def test_dies_are_told_apart_wherever_npus_are_counted():
    npu = dies()
    npu["chips"] = npu["chips"][:4]
    npu["chips"][3].update(health="Alarm")
    assert told(npu=npu, memory_mb=65536, expected_npus=8) == [
        (
            "npu_count",
            "fail",
            "3 of 8 NPUs are usable: NPU 1 chip 1 health is Alarm (npu-smi info -t health -i 1); "
            "npu-smi lists 4 NPUs (0, 0 chip 1, 1, 1 chip 1)",
        ),
        (
            "npu_memory",
            "fail",
            "NPU 0 has 32768 MB, NPU 0 chip 1 has 32768 MB, NPU 1 has 32768 MB, NPU 1 chip 1 has 32768 MB of memory; expected 65536 MB",
        ),
    ]


def test_ascend_950_lacks_no_node_that_it_does_not_have():
    nodes = said_there("device_node", "/dev/ummu missing: the NPUs can't talk to each other in a container without.")
    chips = [{**chip, "name": "Ascend950PR", "chip_id": None} for chip in NPU["chips"]]
    npu = changed(NPU, chips=chips, findings=[nodes], manager_devices=["/dev/davinci_manager", "/dev/hisi_hdc"])
    assert [item[:2] for item in told(npu=npu)] == [("npu_devices", "warn")]
    npu["manager_devices"] = ["/dev/davinci_manager"]
    assert [item[:2] for item in told(npu=npu)] == [("npu_devices", "fail")]


@pytest.mark.parametrize("network", [None, [], ports(link=None, address=None)])
def test_silent_hccn_tool_is_one_finding(network):
    assert [check for check, _result, _text in told(npu=changed(NPU, network=network), multi_node=True)] == ["hccn_link"]


def with_npus(driver: str = "25.2.0", **changes) -> dict:
    return {"ascend_driver_check_npu_info": {**NPU, "driver_version": driver, **changes}}


def test_other_driver_than_on_most_workers_is_a_warning_and_a_failure_where_hosts_work_together():
    hosts = {"atlas1": with_npus(), "atlas2": with_npus("25.0.rc1"), "atlas3": with_npus()}
    found = summary(dict.fromkeys(hosts, []), **hosts)
    assert found["report"][1] == (
        "WARN [driver_equal] atlas2: the driver is 25.0.rc1; expected 25.2.0, as on atlas1, atlas3. "
        "Bring all workers to one driver version."
    )
    assert not found["stop"]
    hosts = {name: {"ascend_driver_check_npu_info": {**each["ascend_driver_check_npu_info"]}} for name, each in hosts.items()}
    assert summary(dict.fromkeys(hosts, []), settings={"multi_node": True}, **hosts)["stop"]


def test_ports_of_all_workers_have_addresses_of_their_own_and_one_tls_switch():
    hosts = {
        "atlas1": with_npus(network=ports(11)),
        "atlas2": with_npus(network=ports(18)),
        "atlas3": with_npus(network=ports(100, tls=True)),
    }
    found = summary(dict.fromkeys(hosts, []), settings={"multi_node": True}, **hosts)
    shared = (
        "addresses of its NPUs are also another NPU's: 192.168.100.18 (atlas1 NPU 7, atlas2 NPU 0); expected each once in the cluster. "
        "Give each NPU an address of its own: hccn_tool -i N -ip -s …."
    )
    assert found["report"][1:3] == [
        "FAIL [hccn_tls] atlas3: TLS of the NPUs' ports is on; expected off, as on atlas1, atlas2. "
        "Set it everywhere: hccn_tool -i N -tls -s enable 0",
        f"FAIL [hccn_address] atlas1, atlas2: {shared.removesuffix('.')}",
    ]
    assert not summary(dict.fromkeys(hosts, []), **hosts)["stop"]


def test_unreachable_and_unreadable_hosts_are_findings_like_others():
    unreachable = {
        "unreachable": True,
        "msg": "Failed to connect to the host via ssh: ssh: connect to host 10.0.0.9 port 22: No route to host",
    }
    assert told(unreachable) == [("reachable", "fail", "no way leads to it (No route to host)")]
    assert told({"failed": True, "module_stderr": "bash: python3: not found"})[0][2] == "could not be examined: bash: python3: not found"


def summary(reports: dict[str, list], groups=None, settings=None, **hostvars) -> dict:
    hosts = list(reports)
    groups = groups or {"gpustack_server": hosts[:1], "gpustack_worker": hosts}
    variables = {host: {"ascend_driver_check_report": reports.get(host, []), **hostvars.get(host, {})} for host in [*hosts, *hostvars]}
    given = {"cluster": "gpustack", "skip": [], "continue": False, "limit": "", "multi_node": False}
    return report.preflight_summary(hosts, variables, groups, {**given, **(settings or {})})


BAD = asdict(Finding("clock", "fail", "its clock is off", "Run chronyd."))
ODD = asdict(Finding("npu_table", "warn", "one line is odd", "Look."))


def test_equal_findings_are_grouped_and_the_limit_that_passes_ends_the_report():
    found = summary({"atlas1": [ODD], "atlas2": [BAD], "atlas3": [BAD]})
    assert (found["stop"], found["bad_hosts"]) == (True, ["atlas2", "atlas3"])
    assert found["report"] == [
        f"Preflight found 1 problem and 1 warning on 3 of 3 hosts{signature()}:",
        "WARN [npu_table] atlas1: one line is odd. Look.",
        "FAIL [clock] atlas2, atlas3: its clock is off. Run chronyd.",
        "The others would pass with:",
        "  --limit '!atlas2,!atlas3'",
    ]
    assert found["told"] == {"atlas2": "Told above: clock", "atlas3": "Told above: clock"}
    assert found["stats"] == {
        "collection_version": version(),
        "hosts": 3,
        "bad_hosts": ["atlas2", "atlas3"],
        "findings": [{"host": "atlas1", **ODD}, {"host": "atlas2", **BAD}, {"host": "atlas3", **BAD}],
    }


def test_preflight_that_finds_nothing_says_so_with_the_collections_version():
    found = summary({"atlas1": [], "atlas2": []})
    assert (found["report"], found["bad_hosts"]) == ([f"Preflight found nothing wrong on 2 hosts (ascend.gpustack {version()})."], [])


def test_limit_that_passes_keeps_the_limit_of_this_run():
    found = summary({"atlas2": [], "atlas3": [BAD]}, groups={"gpustack_server": ["atlas1"]}, settings={"limit": "atlas2,atlas3"}, atlas1={})
    assert found["report"][-1] == "  --limit 'atlas2,atlas3,!atlas3'"


def test_server_or_all_hosts_unfit_leaves_no_limit_that_would_pass():
    groups = {"gpustack_server": ["atlas1"]}
    ends = [summary(reports, groups, atlas1={})["report"][-1] for reports in ({"atlas1": [BAD], "atlas2": []}, {"atlas2": [BAD]})]
    assert ends == [
        "The server or the store is among them (atlas1): nothing can go on without it.",
        "FAIL [clock] atlas2: its clock is off. Run chronyd.",
    ]


def test_bad_workers_are_left_out_when_told_to_go_on_but_never_the_server():
    found = summary({"atlas1": [], "atlas2": [BAD, ODD]}, settings={"continue": True})
    assert (found["bad_hosts"], found["stop"]) == (["atlas2"], False)
    assert found["report"] == [
        f"Preflight found 1 problem and 1 warning on 1 of 2 hosts{signature()}:",
        "WARN [npu_table] atlas2: one line is odd. Look.",
        "FAIL [clock] atlas2: its clock is off. Run chronyd.",
        "The run goes on without atlas2.",
    ]
    assert summary({"atlas1": [BAD], "atlas2": []}, settings={"continue": True})["stop"]


def test_one_host_fails_for_what_is_wrong_with_hosts_that_limit_leaves_out():
    groups = {"gpustack_server": ["atlas1", "atlas9"], "gpustack_worker": ["atlas2", "atlas3"]}
    found = summary({"atlas2": [], "atlas3": []}, groups, atlas1={}, atlas9={})
    assert (found["stop"], found["told"]) == (True, {"atlas2": "Told above: inventory"})


def test_line_of_very_many_hosts_stays_readable_and_all_are_in_the_limit():
    found = summary({"atlas0": [], **{f"atlas{number}": [BAD] for number in range(1, 401)}})
    first = ", ".join(f"atlas{number}" for number in range(1, 13))
    assert found["report"][1] == f"FAIL [clock] {first} and 388 more: its clock is off. Run chronyd."
    assert found["report"][-1].count("!") == len(found["told"]) == 400


def told_of_inventory(found: dict) -> list[str]:
    return [line for line in found["report"] if line.startswith("FAIL")]


def test_two_hosts_with_one_address_or_worker_name_are_refused():
    found = summary({"atlas1": [], "atlas2": []}, atlas1={"ansible_host": "10.0.0.1"}, atlas2={"gpustack_address": "10.0.0.1"})
    assert told_of_inventory(found) == [
        "FAIL [address] atlas1, atlas2: gpustack_address 10.0.0.1 is shared by atlas1, atlas2. Give each host an address of its own."
    ]
    found = summary({"atlas1": [], "atlas2": []}, atlas1={"gpustack_worker_name": "w"}, atlas2={"gpustack_worker_name": "w"})
    assert told_of_inventory(found) == [
        "FAIL [worker_name] atlas1, atlas2: gpustack_worker_name w is shared by atlas1, atlas2. Give each worker a name of its own."
    ]


def test_address_shared_with_a_host_outside_the_limit_is_found_and_one_shared_outside_is_not():
    groups = {"gpustack_server": ["atlas1"], "gpustack_worker": ["atlas2", "atlas3"]}
    shared = {name: {"ansible_host": "10.0.0.1"} for name in ("atlas2", "atlas3")}
    assert summary({"atlas2": []}, groups, atlas1={}, **shared)["stats"]["bad_hosts"] == ["atlas2"]
    assert summary({"atlas1": []}, groups, **shared)["stats"]["findings"] == []


def test_loopback_is_refused_as_soon_as_there_are_two_hosts():
    local = {"ansible_host": "127.0.0.1"}
    assert told_of_inventory(summary({"atlas1": []}, atlas1=local)) == []
    assert told_of_inventory(summary({"atlas1": [], "atlas2": []}, atlas1=local)) == [
        "FAIL [address] atlas1: gpustack_address is 127.0.0.1, which other hosts cannot reach. "
        "Set gpustack_address to the one that they use."
    ]


def test_address_that_no_interface_has_is_told_with_those_that_there_are_and_how_to_declare_one_behind_nat():
    host = changed(HOST, resolved={"npu1": "203.0.113.7"}, addresses=["127.0.0.1", "::1", "172.16.33.106", "10.0.0.6", "fe80::1"])
    (found,) = [item for item in host_findings(host, NPU, {**EXPECT, "address": "npu1"}) if item["result"] == "fail"]
    assert Finding(**found).lines == [
        "gpustack_address npu1 (203.0.113.7) is on none of its interfaces beside Docker's; expected one of 172.16.33.106, 10.0.0.6. "
        "Set gpustack_address to the one that the other hosts use; where that leads here through NAT, or moves between hosts, say so with "
        "ascend_driver_check_skip: [own_address] for this host."
    ]
    assert told(host, address="npu1", skip=["own_address"]) == []
    # As Debian has it in /etc/hosts
    assert told(changed(host, resolved={"npu1": "127.0.1.1"}), address="npu1") == []
    # An older iproute, or none: what is not known is no finding.
    assert told(changed(host, addresses=None), address="npu1") == []
    assert told(changed(host, resolved={"npu1": "172.16.33.106"}), address="npu1") == []


def test_name_that_leads_to_the_host_itself_there_is_refused_where_there_are_others():
    """As Debian has a host's own name in its /etc/hosts: GPUStack would be told 127.0.1.1 for the worker's address."""
    named = {"ansible_host": "npu1", "ascend_driver_check_host": {"resolved": {"npu1": "127.0.1.1"}}}
    assert told_of_inventory(summary({"atlas1": []}, atlas1=named)) == []
    assert told_of_inventory(summary({"atlas1": [], "atlas2": []}, atlas1=named)) == [
        "FAIL [address] atlas1: gpustack_address npu1 is 127.0.1.1 on it, which other hosts cannot reach. "
        "Correct its /etc/hosts, or set gpustack_address to the address that they use."
    ]


def test_no_server_or_two_are_refused():
    assert told_of_inventory(summary({"atlas1": []}, groups={"gpustack_worker": ["atlas1"]})) == [
        "FAIL [inventory] atlas1: the group gpustack_server holds no host; expected exactly one. Correct the inventory."
    ]
    found = summary({"atlas1": [], "atlas2": []}, groups={"gpustack_server": ["atlas1", "atlas2"]}, settings={"continue": True})
    assert found["stop"]
    assert told_of_inventory(found) == [
        "FAIL [inventory] atlas1, atlas2: the group gpustack_server holds atlas1, atlas2; expected exactly one. Correct the inventory."
    ]


def test_managers_of_a_swarm_are_an_odd_number_and_no_workers_of_it_besides():
    def swarm(*managers: str, workers=("atlas4",)) -> list[str]:
        groups = {"docker_swarm_manager": list(managers), "docker_swarm_worker": list(workers)}
        return told_of_inventory(summary({"atlas1": []}, groups=groups, settings={"cluster": "swarm"}))

    assert swarm("atlas1") == swarm("atlas1", "atlas2", "atlas3") == []
    assert swarm("atlas1", "atlas2")[0].startswith(
        "FAIL [inventory] atlas1, atlas2, atlas4: the group docker_swarm_manager holds 2 hosts; expected an odd number, such as 1, 3 or 5. "
    )
    assert "holds no host" in swarm()[0]
    assert "atlas1 are both in docker_swarm_manager and docker_swarm_worker" in swarm("atlas1", workers=["atlas1"])[0]


def test_stack_of_vllm_needs_its_ports_and_npus_for_itself():
    host = changed(
        HOST,
        npu_holders=[{"container": "gpustack", "npus": [0, 1], "via": "devices"}],
        listeners=[{"port": 8001, "process": "python3", "pid": 7, "container": None, "ours": False}],
    )
    assert told(host, cluster="swarm") == [
        ("ports", "fail", "port 8001 is taken by python3 (pid 7); the stack of vLLM needs it"),
        ("npu_holders", "fail", "the container gpustack holds NPU 0, 1; an NPU serves one container"),
    ]
    kept = {"docker_swarm_problems": ["its settings are broken."], "vllm_stack_problems": ["two services have port 8001."]}
    found = summary({"atlas1": []}, {"docker_swarm_manager": ["atlas1"]}, {"cluster": "swarm"}, atlas1=kept)
    assert found["report"][1:] == [
        "FAIL [docker_settings] atlas1: its settings are broken.",
        "FAIL [services] atlas1: two services have port 8001.",
        "The first manager is among them (atlas1): nothing can go on without it.",
    ]
    del kept["docker_swarm_problems"]
    found = summary({"atlas1": [], "atlas2": []}, {"docker_swarm_manager": ["atlas1"]}, {"cluster": "swarm"}, atlas1=kept)
    assert found["report"][1:] == ["FAIL [services] atlas1: two services have port 8001."]


def test_command_that_a_role_found_out_stands_alone_and_can_be_copied():
    kept = {"docker_swarm_problems": ["it has a flag; expected none. Take it out, and run:\n  systemctl restart docker"]}
    found = summary({"atlas1": [], "atlas2": []}, {"docker_swarm_manager": ["atlas2"]}, {"cluster": "swarm"}, atlas1=kept)
    assert found["report"][1:] == [
        "FAIL [docker_settings] atlas1: it has a flag; expected none. Take it out, and run:",
        "  systemctl restart docker",
        "The others would pass with:",
        "  --limit '!atlas1'",
    ]


def test_shared_hostname_is_only_a_warning_and_can_be_skipped():
    seen = {"ascend_driver_check_host": {"hostname": "localhost.localdomain"}}
    found = summary({"atlas1": [], "atlas2": []}, atlas1=seen, atlas2=seen)
    assert found["report"][1:] == [
        "WARN [hostname] atlas1, atlas2: the hostname localhost.localdomain is shared by atlas1, atlas2. "
        "Harmless here, since workers have names of their own; hostnamectl set-hostname tells them apart."
    ]
    assert not found["stop"]
    assert summary({"atlas1": [], "atlas2": []}, settings={"skip": ["hostname"]}, atlas1=seen, atlas2=seen)["bad_hosts"] == []


def test_findings_of_a_hand_made_container_join_the_others():
    found = summary({"atlas1": []}, atlas1={"gpustack_takeover_problems": ["--debug would be lost."]})
    assert told_of_inventory(found) == ["FAIL [takeover] atlas1: --debug would be lost."]


GROUPS = {"gpustack_server": ["atlas1"], "gpustack_worker": ["atlas1", "atlas2", "atlas3"]}
ADDRESSES = {f"atlas{number}": {"ansible_host": f"10.0.0.{number}"} for number in (1, 2, 3)}
V0_7 = {"gpustack_version": "0.7.1"}


def test_workers_probe_the_server_and_the_server_the_workers_of_the_play():
    variables = {
        **ADDRESSES,
        "atlas1": {"ansible_host": "10.0.0.1", "gpustack_port": "80"},
        "atlas3": {"ansible_host": "10.0.0.3", "gpustack_worker_config": {"worker_port": 9000, "service_port_range": "50000-50010"}},
    }
    assert cluster.firewall_probes("atlas1", list(variables), variables, GROUPS, "nfs") == [
        {"host": "10.0.0.2", "port": 10150},
        {"host": "10.0.0.3", "port": 9000},
    ]
    variables = {host: {**given, **V0_7} for host, given in variables.items()}
    probes = {host: cluster.firewall_probes(host, list(variables), variables, GROUPS, "nfs") for host in variables}
    assert probes == {
        "atlas1": [
            {"host": "10.0.0.2", "port": 10150},
            {"host": "10.0.0.2", "port": 40000},
            {"host": "10.0.0.3", "port": 9000},
            {"host": "10.0.0.3", "port": 50000},
        ],
        "atlas2": [{"host": "10.0.0.1", "port": 80}],
        "atlas3": [{"host": "10.0.0.1", "port": 80}],
    }
    assert cluster.firewall_probes("atlas1", ["atlas1", "atlas2"], variables, GROUPS, "external") == probes["atlas1"][:2]


def test_hosts_probe_the_nfs_ports_of_the_host_that_exports_the_store():
    groups = {**GROUPS, "gpustack_store": ["atlas3"]}
    probes = cluster.firewall_probes("atlas2", list(ADDRESSES), ADDRESSES, groups, "nfs")
    assert probes[1:] == [{"host": "10.0.0.3", "port": port} for port in (2049, 111, 20048)]
    newer = {**ADDRESSES, "atlas2": {**ADDRESSES["atlas2"], "nfs_client_version": "4.2"}}
    assert cluster.firewall_probes("atlas2", list(ADDRESSES), newer, groups, "nfs")[1:] == probes[1:2]
    assert cluster.firewall_probes("atlas2", list(ADDRESSES), ADDRESSES, groups, "external") == probes[:1]
    assert not [probe for probe in cluster.firewall_probes("atlas3", list(ADDRESSES), ADDRESSES, groups, "nfs") if probe["port"] == 2049]


def probed(*probes: tuple[str, int, str]) -> dict:
    return {"ascend_driver_check_host": {"probes": [{"host": host, "port": port, "result": result} for host, port, result in probes]}}


@pytest.mark.parametrize(
    ("version", "too", "opened"),
    [("0.7.1", " and port 40000", "--add-port=10150/tcp --add-port=40000-40063/tcp"), ("", "", "--add-port=10150/tcp")],
)
def test_closed_ports_are_a_finding_of_the_workers_which_can_be_left_out(version, too, opened):
    reports = {"atlas1": [], "atlas2": [], "atlas3": []}
    models = [("10.0.0.2", 40000, "open"), ("10.0.0.3", 40000, "timeout")] if too else []
    seen = {
        "atlas1": probed(("10.0.0.2", 10150, "refused"), ("10.0.0.3", 10150, "timeout"), *models),
        "atlas2": probed(("10.0.0.1", 8080, "unreachable")),
        "atlas3": probed(("10.0.0.1", 8080, "open")),
    }
    asked = {"gpustack_version": version} if version else {}
    found = summary(reports, GROUPS, **{host: {**ADDRESSES[host], **asked, **seen[host]} for host in reports})
    assert found["report"] == [
        f"Preflight found 2 problems on 2 of 3 hosts{signature()}:",
        "FAIL [firewall] atlas2: it cannot reach port 8080 of the server atlas1 (unreachable). "
        "Set gpustack_firewall: configure, or run on atlas1:",
        "  firewall-cmd --add-port=8080/tcp && firewall-cmd --runtime-to-permanent",
        f"FAIL [firewall] atlas3: port 10150{too} cannot be reached from the server atlas1 (timeout). "
        "Set gpustack_firewall: configure, or run there:",
        f"  firewall-cmd {opened} && firewall-cmd --runtime-to-permanent",
        "The others would pass with:",
        "  --limit '!atlas2,!atlas3'",
    ]


def test_closed_nfs_ports_are_named_with_the_host_that_has_to_open_them():
    seen = probed(("10.0.0.1", 8080, "open"), ("10.0.0.3", 2049, "open"), ("10.0.0.3", 111, "timeout"), ("10.0.0.3", 20048, "timeout"))
    groups = {**GROUPS, "gpustack_store": ["atlas3"]}
    found = summary({"atlas1": [], "atlas2": [], "atlas3": []}, groups, **{**ADDRESSES, "atlas2": {**ADDRESSES["atlas2"], **seen}})
    assert told_of_inventory(found) == [
        "FAIL [firewall] atlas2: it cannot reach port 111, 20048 of the store's host atlas3 (timeout). "
        "Set gpustack_firewall: configure, or run on atlas3:"
    ]


def test_a_chain_that_a_reload_of_firewalld_took_from_docker_is_named_where_nothing_mends_it():
    lost = changed(HOST, docker_chain={"managed": True, "present": False, "running_containers": ["gpustack"]})
    text = "Docker's chain DOCKER is missing from the nat table, as after a reload of firewalld; expected it for networks of containers"
    assert told(lost, firewall="leave") == [("firewall", "warn", text)]
    assert [told(lost, firewall=mode) for mode in ("configure", "disable")] == [[], []]
    unclear = changed(HOST, docker_chain={"managed": True, "present": None, "running_containers": None})
    unmanaged = changed(lost, docker_chain={"managed": False, "present": False, "running_containers": []})
    stopped = changed(lost, docker={**HOST["docker"], "running": False, "error": "no answer"})
    assert [[item for item in told(host, firewall="leave") if item[0] == "firewall"] for host in (unclear, unmanaged, stopped)] == [
        [],
        [],
        [],
    ]


def test_bridge_in_another_zone_of_firewalld_is_told_before_docker_dies_of_it():
    def bridge(zone: str, in_force: bool, name: str = "docker0") -> dict:
        return {"interface": name, "zone": zone, "default": name == "docker0", "in_force": in_force}

    both = changed(HOST, docker_bridges=[bridge("public", False), bridge("trusted", True)])
    (found,) = (item for item in host_findings(both, NPU, EXPECT) if item["result"] != "pass")
    assert found == {
        "check": "firewall",
        "result": "fail",
        "message": "firewalld has docker0 in the zone trusted; expected it in docker, or Docker does not start again (ZONE_CONFLICT)",
        "remedy": "Run there:\n  firewall-cmd --permanent --zone=trusted --remove-interface=docker0; "
        "firewall-cmd --zone=docker --change-interface=docker0 || firewall-cmd --zone=trusted --remove-interface=docker0",
    }
    text = found["message"]
    assert told(both, firewall="leave") == [("firewall", "warn", text)], "nothing restarts Docker"
    assert told(both, firewall="leave", cluster="swarm") == [("firewall", "fail", text)]
    assert told(both, firewall="disable", cluster="swarm") == [], "firewalld is stopped before"
    permanent = changed(HOST, docker_bridges=[bridge("trusted", False)])
    (later,) = (item for item in host_findings(permanent, NPU, EXPECT) if item["result"] != "pass")
    assert (later["result"], later["message"]) == ("warn", text.replace("firewalld has", "firewalld's permanent configuration has"))
    assert later["remedy"] == "Run there:\n  firewall-cmd --permanent --zone=trusted --remove-interface=docker0"
    other = changed(HOST, docker_bridges=[bridge("trusted", True, "docker_gwbridge")])
    text = "firewalld has docker_gwbridge in the zone trusted; expected it in docker, or its network is not there after Docker's next start"
    assert told(other) == [("firewall", "warn", f"{text} (ZONE_CONFLICT)")], "Docker starts"
    assert told(other, cluster="swarm") == [("firewall", "fail", f"{text} (ZONE_CONFLICT)")]


def test_store_that_is_yet_to_be_mounted_is_no_finding():
    missing = changed(HOST["store"], exists=False, root_fs=True)
    assert told(changed(HOST, store=missing), store_type="nfs") == []
    assert told(changed(HOST, store=missing))[0][0] == "store"


def test_what_stands_against_mount_and_export_joins_the_others():
    found = summary({"atlas1": []}, atlas1={"nfs_client_problems": ["/data/models holds old."], "nfs_server_problems": ["async."]})
    assert told_of_inventory(found) == ["FAIL [exports] atlas1: async.", "FAIL [mount] atlas1: /data/models holds old."]


def test_dead_worker_is_not_said_to_have_closed_ports():
    dead = asdict(Finding("reachable", "fail", "no way leads to it", "Start it."))
    seen = {"atlas1": probed(("10.0.0.3", 10150, "unreachable"))}
    found = summary({"atlas1": [], "atlas3": [dead]}, GROUPS, **{host: {**ADDRESSES[host], **seen.get(host, {})} for host in ADDRESSES})
    assert [(item["host"], item["check"]) for item in found["stats"]["findings"]] == [("atlas3", "reachable")]


def test_data_on_the_store_is_refused_with_where_a_link_leads():
    on_store = changed(HOST, data={"name": "/data/models/own", "path": "/data/models/own", "on_store": True, "worker_uuid": "u"})
    text = "the data /data/models/own lies on the model store /data/models, which all hosts share; expected a place of the host's own"
    assert told(on_store) == [("data", "fail", text)]
    linked = changed(HOST, data={"name": "/srv/own/", "path": "/data/models/own", "on_store": True, "worker_uuid": None})
    assert told(linked)[0][2].startswith("the data /srv/own/ (which leads to /data/models/own) lies on the model store")
    assert told(on_store, worker=False, node=False) == told(on_store, skip=["data"]) == []


def with_identity(uuid: str | None, path: str = "/srv/gpustack", container: dict | None = None, on_store: bool = False) -> dict:
    data = {"name": path, "path": path, "on_store": on_store, "worker_uuid": uuid}
    return {"ascend_driver_check_host": {"data": data, "container": container}}


def test_cloned_host_is_named_with_its_twin_and_the_way_out():
    running = {"name": "gpustack"}
    hosts = {"atlas1": with_identity("u1"), "atlas2": with_identity("u2", "/srv/gpu stack", running), "atlas3": with_identity("u2")}
    found = summary({"atlas1": [], "atlas2": [], "atlas3": []}, **hosts)
    told = (
        ", of which one is a copy; expected one of its own. On the copy run this, and site.yml then, which gives it an identity of its own:"
    )
    assert found["report"][1:5] == [
        f"FAIL [identity] atlas2: the worker's identity u2 is also that of atlas3{told}",
        "  docker stop gpustack; rm -f '/srv/gpu stack/worker_uuid'",
        f"FAIL [identity] atlas3: the worker's identity u2 is also that of atlas2{told}",
        "  rm -f /srv/gpustack/worker_uuid",
    ]
    assert not summary({"atlas2": [], "atlas3": []}, settings={"skip": ["identity"]}, **hosts)["stop"]


def test_two_hosts_that_are_one_node_to_a_swarm_are_named():
    node = {
        host: {"ascend_driver_check_host": {"docker": {"swarm_node": identity}}}
        for host, identity in (("a", "n1"), ("b", "n1"), ("c", None))
    }
    found = summary(
        {"a": [], "b": [], "c": []}, {"docker_swarm_manager": ["a"], "docker_swarm_worker": ["b", "c"]}, {"cluster": "swarm"}, **node
    )
    assert found["report"][1:5] == [
        "FAIL [identity] a: its node n1 of the Swarm is also that of b, of which one is a copy; expected one of its own. "
        "On the copy run this, and swarm.yml then, which lets it join as a node of its own:",
        "  docker swarm leave --force",
        "FAIL [identity] b: its node n1 of the Swarm is also that of a, of which one is a copy; expected one of its own. "
        "On the copy run this, and swarm.yml then, which lets it join as a node of its own:",
        "  docker swarm leave --force",
    ]


def test_hosts_without_an_identity_yet_are_no_twins_and_those_that_share_the_store_are_told_so_alone():
    assert not summary({"atlas1": [], "atlas2": []}, atlas1=with_identity(None), atlas2=with_identity(None))["stop"]
    shared = with_identity("u", on_store=True)
    assert not summary({"atlas1": [], "atlas2": []}, atlas1=shared, atlas2=shared)["stop"]
