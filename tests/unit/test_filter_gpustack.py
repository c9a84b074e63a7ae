"""What a node needs is derived from what is there, so that a run killed anywhere converges and nothing else restarts a container."""

from __future__ import annotations

import pytest
from ansible_collections.ascend.gpustack.plugins.filter import gpustack
from ansible_collections.ascend.gpustack.plugins.plugin_utils import node
from ansible_collections.ascend.gpustack.plugins.plugin_utils.collection import signature, version
from ansible_collections.ascend.gpustack.plugins.plugin_utils.plan import node_plan
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.data import copy_refusals
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.host import node_refusals

CONTAINER = {
    "managed": True,
    "version": "0.7.1",
    "running": True,
    "status": "running",
    "health": "healthy",
    "started_at": 1000.0,
}
HOST = {
    "container": CONTAINER,
    "image": {"present": True},
    "config": {"exists": True, "path": "/etc/gpustack/config.yaml"},
    "data": {"name": "gpustack-data", "exists": True, "path": "/var/lib/docker/volumes/gpustack-data/_data", "on_store": False},
    "docker": {"installed": True, "running": True, "server_version": "26.1.3", "error": None},
    "store": {"answers": True, "exists": True, "root_fs": False, "source": "nfs"},
}
SAME = {"changed": False, "changed_keys": [], "mtime": 900.0}


def plan(host=None, config=None, compared=None, takeover=None, image_due=False, version="0.7.1", **container) -> dict:
    present = {**HOST, **(host or {})}
    if container and present["container"]:
        present["container"] = {**CONTAINER, **container}
    return node_plan(present, config or SAME, compared or {}, takeover or {}, "gpustack:v", image_due, version, "gpustack", "gpustack-data")


def test_nothing_is_done_to_a_container_that_is_as_it_should_be():
    assert plan() == {"action": "none", "lines": [], "backup": False, "version_before": "0.7.1"}


def test_empty_host_gets_image_file_volume_and_container():
    empty = {
        "container": None,
        "image": {"present": False},
        "config": {"exists": False, "path": "/etc/gpustack/config.yaml"},
        "data": {"exists": False},
    }
    assert plan(empty) == {
        "action": "create",
        "lines": [
            "image gpustack:v: brought to the host",
            "file /etc/gpustack/config.yaml: created",
            "volume gpustack-data: created",
            "container gpustack: created",
        ],
        "backup": False,
        "version_before": "",
    }


def test_changed_configuration_restarts_the_container_and_says_what_changed():
    assert plan(config={**SAME, "changed_keys": ["debug"]})["lines"] == ["container gpustack: restarted to read its configuration (debug)"]


def test_configuration_written_by_a_killed_run_restarts_the_container():
    assert plan(config={**SAME, "mtime": 1000.5})["action"] == "restart"


def test_container_that_started_after_its_configuration_is_left_alone():
    assert plan(config={**SAME, "mtime": 999.5})["action"] == "none"


def test_stopped_container_is_started_and_an_unhealthy_one_waited_for():
    assert plan(running=False, status="exited")["lines"] == ["container gpustack: started, it was exited"]
    assert plan(health="starting")["action"] == "wait"


def test_changed_definition_replaces_it_and_hides_secrets():
    diff = {
        "before": {"env": ["HF_TOKEN=abc", "A=1", "TZ=UTC"], "command": ["--token", "0123", "--debug"], "running": True},
        "after": {"env": ["A=2", "TZ=Asia/Shanghai"], "command": [], "running": True},
    }
    assert plan(compared={"diff": diff}) == {
        "action": "replace",
        "lines": [
            "container gpustack: replaced",
            '  command: ["--token", "***", "--debug"] -> []',
            "  env: - HF_TOKEN=***",
            "  env: - TZ=UTC",
            "  env: A changed",
            "  env: + TZ=Asia/Shanghai",
        ],
        "backup": False,
        "version_before": "0.7.1",
    }


@pytest.mark.parametrize(
    "entry, told",
    [
        ("HTTPS_PROXY=http://operator:pa@ss@10.0.0.1:3128", "HTTPS_PROXY=http://***@10.0.0.1:3128"),
        ("http_proxy=operator:pass@10.0.0.1:3128", "http_proxy=***@10.0.0.1:3128"),
        ("HF_ENDPOINT=https://pass@mirror.example.com/hf", "HF_ENDPOINT=https://***@mirror.example.com/hf"),
        ("INDEXES=https://a:pass@x/1,https://b:pass@y/2", "INDEXES=***"),
        ("OPENAI_API_KEY=pass", "OPENAI_API_KEY=***"),
        ("TZ=Asia/Shanghai", "TZ=Asia/Shanghai"),
        ("IMAGE=haproxy:2.6@sha256:0123", "IMAGE=***"),
    ],
)
def test_environment_is_shown_without_keys_and_logins(entry, told):
    diff = {"before": {"env": []}, "after": {"env": [entry]}}
    assert plan(compared={"diff": diff})["lines"][1:] == [f"  env: + {told}"]


def test_newer_version_copies_the_data_first():
    result = plan(version="0.7.2", compared={"diff": {"before": {"image": "a"}, "after": {"image": "b"}}})
    assert (result["action"], result["backup"], result["version_before"]) == ("replace", True, "0.7.1")


def test_hand_made_container_is_replaced_and_what_is_kept_is_said():
    result = plan(takeover={"hand_made": True, "version": "0.7.0", "notes": ["the token is kept"]}, managed=False, version="0.7.1")
    assert result["lines"] == ["container gpustack: the one made by hand is replaced", "the token is kept"]
    assert result["backup"]


def refusals(version="0.7.1", works=True, skip=(), **host) -> list[str]:
    expect = {"gpustack_version": version, "models_dir": "/data/models", "container": "gpustack", "worker": works, "skip": skip}
    return node_refusals({"npu_holders": [], "models": {"workers": [], "nodes": [], "workloads": []}, **HOST, **host}, expect, "atlas1")


def test_npus_that_another_container_holds_are_not_given_to_gpustack_too():
    holders = [
        {"container": "vllm_qwen.x.y", "npus": [0, 1], "via": "environment"},
        {"container": "watch", "npus": [0], "via": "privileged"},
    ]
    assert refusals(npu_holders=holders) == [
        "atlas1: the container vllm_qwen.x.y holds NPU 0, 1; an NPU serves one container. "
        "Stop it; of what Swarm runs, remove the service: docker stop vllm_qwen.x.y"
    ]
    assert refusals(npu_holders=holders, works=False) == refusals(npu_holders=holders, skip=["npu_holders"]) == []


def test_data_on_the_store_is_refused_by_the_role_too():
    (refusal,) = refusals(data={"name": "/data/models/own", "path": "/data/models/own", "on_store": True})
    assert refusal.startswith("atlas1: the data /data/models/own lies on the model store /data/models, which all hosts share; expected")


def test_host_whose_data_is_a_copy_of_another_workers_is_refused_with_the_way_out():
    host = {**HOST, "data": {**HOST["data"], "path": "/srv/own", "worker_uuid": "u"}, "container": {**CONTAINER, "name": "gpustack"}}
    host["resolved"] = {"npu7": "10.0.0.7"}
    known = {"name": "npu-1", "ip": "10.0.0.1", "worker_uuid": "u"}
    groups = {"gpustack_worker": ["atlas1", "atlas7"]}

    def told(**worker: str) -> list[str]:
        return copy_refusals(host, [{**known, **worker}], "atlas7", {"atlas1": {"gpustack_worker_name": "npu-1"}, "atlas7": {}}, groups)

    assert told() == [
        "atlas7: its data has the identity of the worker npu-1 (10.0.0.1); expected one of its own. On the copy run this, and "
        "site.yml then, which gives it an identity of its own: docker stop gpustack; rm -f /srv/own/worker_uuid"
    ]
    # The host itself, by an earlier name or at an earlier address, and others.
    assert told(ip="10.0.0.7") == told(name="atlas7") == told(name="by-hand") == told(worker_uuid="v") == []
    host["data"] = {**host["data"], "worker_uuid": None}
    assert told(worker_uuid="") == []


def test_copy_of_another_workers_data_is_refused_also_where_gpustack_tells_no_identities():
    host = {**HOST, "data": {**HOST["data"], "path": "/srv/own", "worker_uuid": "u", "worker_name": "npu-1"}, "container": None}
    host["resolved"] = {"npu7": "10.0.0.7"}
    groups = {"gpustack_worker": ["atlas1", "atlas7"]}

    def told(**worker: str) -> list[str]:
        known = {"name": "npu-1", "ip": "10.0.0.1", "worker_uuid": None, **worker}
        return copy_refusals(host, [known], "atlas7", {"atlas1": {"gpustack_worker_name": "npu-1"}, "atlas7": {}}, groups)

    assert told() == [
        "atlas7: its data has the identity of the worker npu-1 (10.0.0.1); expected one of its own. On the copy run this, and "
        "site.yml then, which gives it an identity of its own: rm -f /srv/own/worker_uuid"
    ]
    # The host itself, and another.
    assert told(ip="10.0.0.7") == told(name="npu-2") == []
    # Data of an older generation has no name in it, and data without an identity is nobody's.
    host["data"]["worker_name"] = None
    assert told() == []
    host["data"].update(worker_uuid=None, worker_name="npu-1")
    assert told() == []


def test_fit_host_is_not_refused():
    assert refusals() == []


def test_downgrade_is_always_refused():
    assert refusals("0.7.0") == [
        "atlas1: the container gpustack runs GPUStack 0.7.1, newer than gpustack_version 0.7.0; its database cannot go back. "
        "Set gpustack_version to 0.7.1 or newer."
    ]


def test_another_generation_docker_and_store_are_refused_together():
    found = refusals(
        "2.0.3",
        docker={"installed": True, "running": False, "server_version": None, "error": "no socket"},
        store={"answers": False, "source": "nfs:/m", "exists": None, "error": "no answer within 20 s"},
    )
    assert [line.split(";", 1)[0] for line in found] == [
        "atlas1: Docker Engine does not answer: no socket. Start it: systemctl start docker",
        "atlas1: gpustack_version is 2.0.3",
        "atlas1: the model store /data/models (nfs:/m) does not answer (no answer within 20 s)",
    ]


def test_version_that_is_none_is_named():
    assert refusals("latest") == [
        "atlas1: gpustack_version is latest; this collection deploys GPUStack 0.7, 2.2.3 and 2.3. Set gpustack_version to 0.7.1 or 2.3.0."
    ]


def test_proxy_never_stands_between_the_nodes():
    env = node.with_no_proxy({"HTTP_PROXY": "http://p:3128", "no_proxy": "x.org"}, ["10.0.0.2", "10.0.0.1"])
    assert env["NO_PROXY"] == env["no_proxy"] == "x.org,localhost,127.0.0.1,10.0.0.1,10.0.0.2"
    assert node.with_no_proxy({"A": 1}, ["10.0.0.1"]) == {"A": "1"}


def test_worker_that_models_name_keeps_its_name():
    models = [
        {"name": "qwen", "gpu_ids": ["localhost.localdomain:npu:0"], "worker_selector": None},
        {"name": "other", "gpu_ids": ["b:npu:0"], "worker_selector": {"worker-name": "localhost.localdomain"}},
        {"name": "free", "gpu_ids": [], "worker_selector": {}},
    ]
    (text,) = gpustack.rename_problems({"models": models}, "localhost.localdomain", "atlas1")
    assert "other, qwen name the worker 'localhost.localdomain'" in text and "gpustack_worker_name: localhost.localdomain" in text
    assert gpustack.rename_problems({"models": models[2:]}, "localhost.localdomain", "atlas1") == []
    assert "can't be asked" in gpustack.rename_problems({"msg": "refused"}, "a", "b")[0]


def test_user_without_root_rights_is_one_refusal():
    host = {"root": False, "docker": {"installed": True, "running": False, "error": "permission denied"}}
    assert node_refusals(host, {"gpustack_version": "0.7.1", "skip": []}, "atlas1") == [
        "atlas1: its user has no root rights; expected root, or one who becomes root. "
        "Set ansible_become: true, with ansible_become_password or --ask-become-pass where sudo asks for a password."
    ]


def worker(name: str, state: str = "ready", npus: int = 8) -> dict:
    memory = [{"memory_total_bytes": 32 * 2**30}] * npus
    return {"name": name, "ip": f"10.0.0.{len(name)}", "state": state, "npu_count": npus, "npus": memory}


ALARM = {
    "count": 7,
    "problems": ["7 of 8 NPUs are usable: NPU 5 health is Alarm (npu-smi info -t health -i 5). Repair it."],
    "unwell": ["NPU 5 health is Alarm (npu-smi info -t health -i 5)"],
}
WELL = {"count": 8, "problems": [], "unwell": []}
AWAY = {"unreached": True, "msg": "ssh: connect to host 10.0.0.9 port 22: No route to host"}


def verified(
    workers: list[dict] | None, hostvars: dict, problems: list[str] | None = None, live: list[str] | None = None, **settings
) -> dict:
    hosts = list(hostvars)
    info = {} if workers is None else {"workers": workers, "version": "v0.7.1", "problems": problems or []}
    given = {"live": hosts if live is None else live, "server": "atlas1", "url": "http://a:8080", "check": False}
    return gpustack.verify_summary(
        {**info, **({"msg": "refused"} if workers is None else {})}, hosts, hostvars, {"gpustack_worker": hosts}, {**given, **settings}
    )


def test_table_of_a_whole_cluster_has_a_row_for_each_worker_and_the_sum():
    found = verified([worker("atlas2"), worker("atlas1")], {"atlas1": {"ascend_driver_check_npus": WELL}, "atlas2": {}})
    assert found["lines"] == [
        "WORKER  ADDRESS   STATE  NPUS  UNWELL  NPU MEMORY",
        "atlas1  10.0.0.6  ready  8     0       256 GiB",
        "atlas2  10.0.0.6  ready  8     -       256 GiB",
        f"2 of 2 workers ready, 16 NPUs, GPUStack v0.7.1 at http://a:8080{signature()}",
    ]
    assert (found["told"], found["stats"]["ok"], found["stats"]["npus"]) == ({}, True, 16)
    assert found["stats"]["collection_version"] == version()


def test_worker_that_is_ready_for_gpustack_and_silent_is_not_counted_as_ready():
    silent = {**worker("atlas1"), "silent": True}
    found = verified([silent, worker("atlas2")], {"atlas1": {"ascend_driver_check_npus": WELL}, "atlas2": {}})
    assert found["lines"][1:4] == [
        "atlas1  10.0.0.6  silent  8     0       256 GiB",
        "atlas2  10.0.0.6  ready   8     -       256 GiB",
        f"1 of 2 workers ready, 16 NPUs, GPUStack v0.7.1 at http://a:8080{signature()}",
    ]
    found = verified([silent], {"atlas1": {"ascend_driver_check_npus": ALARM}})
    assert "FAIL [worker] atlas1: GPUStack has it as silent." in found["lines"]


def test_worker_that_lags_behind_the_servers_version_is_noted():
    workers = [{**worker("atlas1"), "worker_version": "v0.7.1"}, {**worker("atlas2"), "worker_version": "v0.7.0"}]
    found = verified(workers, {"atlas1": {}, "atlas2": {"ascend_driver_check_npus": {**WELL, "unwell": ["NPU 5 Alarm"]}}})
    assert found["lines"][:3] == [
        "WORKER  ADDRESS   STATE  NPUS  UNWELL  NPU MEMORY  NOTE",
        "atlas1  10.0.0.6  ready  8     -       256 GiB",
        "atlas2  10.0.0.6  ready  8     1       256 GiB     NPU 5 Alarm, runs v0.7.0",
    ]
    told = "its worker runs GPUStack 0.7.0, the server 0.7.1"
    assert f"WARN [version] atlas2: {told}. It serves; the playbook upgrade brings it up." in found["lines"]
    assert found["stats"]["ok"]


def test_worker_that_is_newer_than_the_server_is_a_failure():
    found = verified([{**worker("atlas1"), "worker_version": "v0.8.0"}], {"atlas1": {}})
    assert found["stats"]["problems"] == ["atlas1: its worker runs GPUStack 0.8.0, the server 0.7.1; expected none newer than the server"]


def test_lost_records_are_the_servers_problem_and_the_command_to_copy_comes_last():
    lost, old = ["models m1 are gone; expected them", "Put a copy back, or run:", "run this"], ["WARN worker b is old."]
    found = verified([worker("a")], {"a": {}, "atlas1": {}}, lost=lost, old=old)
    assert found["lines"][2:4] == [f"1 of 1 workers ready, 8 NPUs, GPUStack v0.7.1 at http://a:8080{signature()}", "WARN worker b is old."]
    assert found["lines"][-2:] == ["FAIL [records] atlas1: models m1 are gone; expected them. Put a copy back, or run:", "run this"]
    assert list(found["told"]) == ["atlas1"] and not found["stats"]["ok"]


def test_columns_stand_below_one_another_also_where_names_are_chinese():
    found = verified([worker("节点一"), worker("atlas22")], {"atlas22": {}, "x": {"gpustack_worker_name": "节点一"}})
    assert found["lines"][:3] == [
        "WORKER   ADDRESS   STATE  NPUS  UNWELL  NPU MEMORY",
        "atlas22  10.0.0.7  ready  8     -       256 GiB",
        "节点一   10.0.0.3  ready  8     -       256 GiB",
    ]


def test_host_that_is_away_is_not_counted_and_its_line_says_why():
    hostvars = {"atlas1": {}, "atlas2": {"ascend_driver_check_npu_info": AWAY}, "atlas3": {"ansible_host": "10.0.0.3"}}
    found = verified([worker("atlas1"), worker("atlas2")], hostvars, live=["atlas1", "atlas2"])
    assert found["lines"] == [
        "WORKER  ADDRESS   STATE  NPUS  UNWELL  NPU MEMORY  NOTE",
        "atlas1  10.0.0.6  ready  8     -       256 GiB",
        "atlas2  10.0.0.6  away   -     -       -           no way leads to it (No route to host)",
        "atlas3  10.0.0.3  away   -     -       -           failed earlier in this run",
        f"1 of 3 workers ready, 8 NPUs, GPUStack v0.7.1 at http://a:8080{signature()}",
        "Verification found 1 problem on 1 of 3 hosts:",
        "FAIL [reachable] atlas2: no way leads to it (No route to host). Start it, correct ansible_host or this machine's routes, "
        "or leave it out with --limit.",
    ]
    assert (found["told"], found["stats"]["npus"]) == ({"atlas2": "Told above: reachable"}, 8)


def test_npu_in_alarm_is_named_and_the_other_seven_are_not():
    found = verified([worker("atlas1")], {"atlas1": {"ascend_driver_check_npus": ALARM}})
    assert found["lines"][:2] + found["lines"][3:] == [
        "WORKER  ADDRESS   STATE  NPUS  UNWELL  NPU MEMORY  NOTE",
        "atlas1  10.0.0.6  ready  8     1       256 GiB     NPU 5 health is Alarm",
        "Verification found 1 problem on 1 of 1 host:",
        "FAIL [npus] atlas1: 7 of 8 NPUs are usable: NPU 5 health is Alarm (npu-smi info -t health -i 5). Repair it.",
    ]


def test_each_problem_is_its_hosts_and_that_of_the_server_the_servers():
    problems = ["worker bee: not registered; expected ready with 8 NPUs", "GPUStack stopped answering: refused"]
    found = verified([worker("atlas1")], {"atlas1": {}, "atlas2": {"gpustack_worker_name": "bee"}}, problems)
    assert found["told"] == {"atlas2": "Told above: worker", "atlas1": "Told above: server"}
    assert "FAIL [worker] atlas2: not registered; expected ready with 8 NPUs." in found["lines"]
    silent = verified(None, {"atlas1": {}, "atlas2": {}})
    assert silent["lines"] == [
        f"Verification found 1 problem on 1 of 2 hosts{signature()}:",
        "FAIL [server] atlas1: GPUStack could not be asked for its workers: refused.",
    ]
    assert not silent["stats"]["ok"]
    # With --limit the server is not there to fail.
    assert list(verified(None, {"atlas2": {}})["told"]) == ["atlas2"]


def test_twins_are_both_named_and_the_one_that_is_well_is_not_told_to_open_its_port():
    """GPUStack has one record for the two, of the one that spoke last."""
    data = {"path": "/srv/own", "worker_uuid": "u", "on_store": False}
    seen = {"gpustack_data_seen": {"data": data, "container": {"name": "gpustack"}}}
    hostvars = {"atlas1": {"gpustack_data_seen": {"data": {**data, "worker_uuid": "v"}}}, "atlas2": seen, "atlas3": {**seen}}
    problems = ["worker atlas2: not registered; expected ready with 8 NPUs. See docker logs of its GPUStack container"]
    found = verified([worker("atlas1"), worker("atlas3")], hostvars, problems)
    way_out = (
        ", of which one is a copy; expected one of its own. On the copy run this, and site.yml then, which gives it an identity of its own:"
    )
    assert found["lines"][4:] == [
        "Verification found 2 problems on 2 of 3 hosts:",
        f"FAIL [identity] atlas2: the worker's identity u is also that of atlas3{way_out}",
        "  docker stop gpustack; rm -f /srv/own/worker_uuid",
        f"FAIL [identity] atlas3: the worker's identity u is also that of atlas2{way_out}",
        "  docker stop gpustack; rm -f /srv/own/worker_uuid",
    ]
    assert found["told"] == {"atlas2": "Told above: identity", "atlas3": "Told above: identity"}


def test_worker_that_is_unfit_is_still_held_against_gpustack():
    unfit = {"atlas1": {"ascend_driver_check_npus": ALARM}}
    assert verified([worker("atlas1", "not_ready")], unfit)["told"] == {"atlas1": "Told above: npus, worker"}
    assert verified([], unfit)["told"] == {"atlas1": "Told above: npus, worker"}


def still(status: str | None, error: str | None = None) -> dict:
    seen = {"name": "gpustack", "status": status, "stands_still": status not in ("running", "restarting", None), "error": error}
    return {"ascend_driver_check_npus": WELL, "gpustack_store_seen": {"store": {"answers": True}, "container": seen}}


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (still("exited"), ["FAIL [container] atlas2: the container gpustack is exited; expected it to run. Start it there:", "start"]),
        (still("paused"), ["FAIL [container] atlas2: the container gpustack is paused; expected it to run. Start it there:", "unpause"]),
        (
            still("missing"),
            ["FAIL [container] atlas2: there is no container gpustack; expected one that runs. Make it with the playbook site."],
        ),
    ],
)
def test_worker_whose_container_stands_still_is_not_taken_for_ready_whatever_gpustack_says(seen, told):
    hostvars = {"atlas1": still("running"), "atlas2": seen}
    found = verified([worker("atlas1"), worker("atlas2")], hostvars)
    status = seen["gpustack_store_seen"]["container"]["status"]
    rows = [line.split() for line in found["lines"]]
    assert [row[2] for row in rows[1:3]] == ["ready", status]
    assert rows[3][:4] == ["1", "of", "2", "workers"]
    assert found["lines"][5:] == [*told[:1], *(f"  docker {word} gpustack" for word in told[1:])]
    assert found["told"] == {"atlas2": "Told above: container"} and not found["stats"]["ok"]
    assert gpustack.expected_workers(list(hostvars), hostvars, {"gpustack_worker": list(hostvars)}, list(hostvars)) == {
        "atlas1": 8,
        "atlas2": None,
    }


def test_container_that_docker_starts_again_is_left_to_what_gpustack_says_of_its_worker():
    assert verified([worker("atlas1")], {"atlas1": still("restarting")})["stats"]["ok"]
    silent = verified([worker("atlas1")], {"atlas1": still(None, "docker container inspect did not answer within 20 s")})
    assert silent["stats"]["problems"] == [
        "atlas1: Docker does not tell whether the container gpustack runs (docker container inspect did not answer within 20 s); "
        "expected it to run"
    ]


@pytest.mark.parametrize("state", ["not_ready", "ready"])
def test_worker_that_rests_is_shown_as_such_and_its_stopped_container_is_no_problem(state):
    resting = {**worker("atlas2", state), "drained": True}
    found = verified([worker("atlas1"), resting], {"atlas1": still("running"), "atlas2": still("exited")})
    assert found["stats"]["ok"] and found["told"] == {}
    assert [line.split()[2] for line in found["lines"][1:3]] == ["ready", "drained"]
    assert "1 of 2 workers ready, 1 drained, " in found["lines"][3] and len(found["lines"]) == 4


def test_what_is_wrong_with_a_host_whose_worker_rests_is_a_warning():
    resting = {**worker("atlas2", "maintenance"), "drained": True}
    hostvars = {"atlas1": still("running"), "atlas2": {**still("running"), "ascend_driver_check_npus": ALARM}}
    found = verified([worker("atlas1"), resting], hostvars)
    assert found["stats"]["ok"] and found["told"] == {} and found["stats"]["problems"] == []
    assert [line for line in found["lines"] if line.startswith("WARN [npus] atlas2: ")]


def test_stopped_server_is_told_once():
    found = verified(None, {"atlas1": still("exited"), "atlas2": still("running")})
    assert [line for line in found["lines"] if line.startswith("FAIL")] == [
        "FAIL [container] atlas1: the container gpustack is exited; expected it to run. Start it there:"
    ]


def test_check_judges_nothing():
    found = verified([worker("atlas1", "not_ready")], {"atlas1": {}}, ["worker atlas1: state is not_ready"], check=True)
    assert len(found["lines"]) == 3


def test_expected_npus_are_those_found_else_those_that_should_be_there_and_none_of_hosts_not_to_wait_for():
    hostvars = {"a": {"ascend_driver_check_npus": {"count": 7}}, "b": {"gpustack_worker_name": "bee"}, "s": {}}
    hostvars |= {"c": {"gpustack_store_seen": AWAY}, "d": {}, "e": {"ascend_driver_check_npus": ALARM}}
    workers = {"gpustack_worker": ["a", "b", "c", "d", "e"]}
    assert gpustack.expected_workers(list(hostvars), hostvars, workers, ["s", "a", "b", "c", "e"]) == {
        "a": 7,
        "bee": 8,
        "c": None,
        "d": None,
        "e": None,
    }


def test_cause_that_a_worker_tells_takes_the_place_of_a_guess():
    problem = (
        "worker atlas1: state is not_ready (no heartbeat); expected ready. See docker logs, and compare its clock with the server's (date)"
    )
    hostvars = {"atlas1": {"ascend_driver_check_npus": WELL, "gpustack_cause": "the server refuses the token. Run workers."}}
    text = verified([worker("atlas1", "not_ready")], hostvars, [problem])["stats"]["problems"]
    assert text == ["atlas1: state is not_ready (no heartbeat); the server refuses the token. Run workers"]
