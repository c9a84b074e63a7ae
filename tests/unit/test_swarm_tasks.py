"""How the services of a stack stand, read from Swarm's nodes and tasks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.swarm import tasks as swarm_tasks

NPU_NODES = ["node.labels.gpustack.npu == true"]


def at(seconds: float) -> str:
    return f"2026-05-26T12:{int(seconds) // 60:02d}:{int(seconds) % 60:02d}.5Z"


def node(number: int, npus: int = 8, state: str = "ready", availability: str = "active", **labels: str) -> dict[str, Any]:
    named = [{"NamedResourceSpec": {"Kind": "NPU", "Value": f"Ascend910-{npu}"}} for npu in range(npus)]
    return {
        "ID": f"id{number}",
        "Spec": {"Labels": {"gpustack.name": f"atlas{number}", "gpustack.npu": "true", **labels}, "Availability": availability},
        "Description": {"Hostname": "localhost.localdomain", "Resources": {"GenericResources": named}},
        "Status": {"State": state},
    }


def template(image: str = "vllm:1") -> dict[str, Any]:
    return {"ContainerSpec": {"Image": image, "DNSConfig": {}}, "Placement": {"Constraints": NPU_NODES}, "ForceUpdate": 0}


def service(replicas: int | None = None, update: dict | None = None, image: str = "vllm:1") -> dict[str, Any]:
    mode = {"Global": {}} if replicas is None else {"Replicated": {"Replicas": replicas}}
    found = {"ID": "service1", "Spec": {"Name": "vllm_qwen", "Mode": mode, "TaskTemplate": template(image)}}
    return {**found, "UpdateStatus": update} if update else found


def task(host: int, state: str = "running", second: int = 0, error: str = "", slot: int | None = None, **more: Any) -> dict[str, Any]:
    status = {"State": state, "Timestamp": at(second), "Message": "started", **({"Err": error} if error else {})}
    ended = state in ("failed", "rejected", "complete", "shutdown")
    return {
        "ServiceID": "service1",
        "CreatedAt": at(second),
        "NodeID": f"id{host}",
        "Spec": {**template(), "ContainerSpec": {"Image": "vllm:1"}},
        "Status": status,
        "DesiredState": "shutdown" if ended else "running",
        **({"Slot": slot} if slot else {}),
        **more,
    }


NODES = [node(1), node(2), node(3)]
ORIGIN = swarm_tasks.epoch(at(0))


def judge(tasks: list, found: dict | None = None, nodes: list | None = None, since: float = 0, now: float = 30) -> swarm_tasks.Service:
    return swarm_tasks.judge("qwen", found or service(), tasks, nodes or NODES, ORIGIN + since, ORIGIN + now)


def test_service_that_runs_on_every_host_is_healthy():
    found = judge([task(1), task(2), task(3)])
    assert found == swarm_tasks.Service("qwen", 3, 3, 0, ["atlas1", "atlas2", "atlas3"], None, [], False)


def test_hosts_are_told_by_their_label_and_known_by_their_id():
    (problem,) = judge([task(1), task(3)]).problems
    assert problem == "atlas2: service qwen has no task yet; expected it running. See: docker service ps vllm_qwen"


def test_task_that_still_loads_does_not_run():
    found = judge([task(1), task(2), task(3, "starting")])
    assert (found.running, found.starting, found.stuck) == (2, 1, False)
    assert found.problems == [
        "atlas3: service qwen is starting since 30 s; expected it healthy. Its log says why: docker service logs --tail 50 vllm_qwen"
    ]


def test_task_of_the_definition_before_does_not_count_as_running():
    old = [task(1), task(2), task(3)]
    found = judge([*old[1:], task(1, second=5, Spec=template("vllm:2"))], service(image="vllm:2"))
    assert (found.running, found.wanted) == (1, 3)


def test_task_that_only_the_placement_tells_from_the_definition_runs():
    moved = service()
    moved["Spec"]["TaskTemplate"]["Placement"] = {"Constraints": NPU_NODES, "MaxReplicas": 1}
    assert judge([task(1), task(2), task(3)], moved).problems == []


@pytest.mark.parametrize(
    "state, error, words, remedy",
    [
        (
            "rejected",
            'invalid mount config for type "bind": bind source path does not exist: /data/models',
            'is rejected: invalid mount config for type "bind": bind source path does not exist: /data/models; expected it running.',
            "Mount the model store there: run playbooks/storage.yml.",
        ),
        ("rejected", "No such image: vllm:1", "is rejected: No such image: vllm:1;", "Bring the image to this host."),
        (
            "rejected",
            "error creating external connectivity network: Failed to Setup IP tables: (iptables failed: "
            "iptables --wait -t nat -I DOCKER: iptables: No chain/target/match by that name.\n (exit status 1))",
            "iptables: No chain/target/match by that name. (exit status 1));",
            "A firewall removed Docker's iptables chains: run playbooks/firewall.yml for this host.",
        ),
        ("failed", "task: non-zero exit (1)", "ended: task: non-zero exit (1);", "docker service logs --tail 50 vllm_qwen"),
        (
            "failed",
            "task: non-zero exit (143): dockerexec: unhealthy container",
            "ended: task: non-zero exit (143): dockerexec: unhealthy container;",
            "raise the service's start_period",
        ),
        (
            "failed",
            "starting container failed: npu-runtime: no node.",
            "npu-runtime: no node;",
            "Run playbooks/preflight.yml for this host.",
        ),
    ],
)
def test_task_that_ended_is_told_with_its_own_words_and_a_remedy(state, error, words, remedy):
    (problem,) = judge([task(1), task(2), task(3, state, 5, error)]).problems
    assert problem.startswith("atlas3: service qwen ")
    assert words in problem and remedy in problem and "\n" not in problem


def test_error_of_the_task_before_is_told_while_the_next_one_starts():
    (problem,) = judge([task(1), task(2), task(3, "failed", 5, "task: non-zero exit (137)"), task(3, "starting", 15)]).problems
    assert "ended: task: non-zero exit (137)" in problem


def test_exit_code_that_the_error_does_not_tell_is_added():
    status = {"State": "failed", "Err": "oops", "ContainerStatus": {"ExitCode": 139}, "Timestamp": at(1)}
    (problem,) = judge([task(1), task(2), task(3, "failed", 5, Status=status)]).problems
    assert "oops (exit code 139)" in problem


def test_waiting_is_in_vain_after_three_ends_in_one_place_and_not_before():
    ends = [task(3, "failed", second, "task: non-zero exit (1)") for second in (5, 15, 25)]
    running = [task(1), task(2)]
    assert not judge([*running, *ends[:2]]).stuck
    assert judge([*running, *ends]).stuck
    assert "ends again and again: task: non-zero exit (1)" in judge([*running, *ends]).problems[0]
    spread = [copy.deepcopy(end) for end in ends]
    spread[0]["NodeID"], spread[1]["NodeID"] = "id1", "id2"
    assert not judge(spread).stuck


def test_what_ended_before_the_wait_began_is_not_counted():
    ends = [task(3, "rejected", second, "No such image: vllm:1") for second in (5, 15, 25)]
    assert not judge([task(1), task(2), *ends, task(3, "preparing", 35)], since=30).stuck


def test_end_before_the_wait_is_told_where_the_definition_is_still_the_same():
    first = [task(1), task(2), task(3, "failed", 1, "task: non-zero exit (3)"), task(3, "ready", 4)]
    assert "atlas3: service qwen ended: task: non-zero exit (3);" in judge(first, since=3).problems[0]
    assert "is ready since" in judge([*first[:2], {**first[2], "Spec": template("vllm:0")}, first[3]], since=3).problems[0]


def test_task_without_a_host_for_long_is_in_vain_unless_an_update_goes_on():
    pending = [task(1), task(2), task(3, "pending", 0, "no suitable node (insufficient resources on 1 node)")]
    early, late = judge(pending, now=60), judge(pending, now=150)
    assert (early.stuck, late.stuck) == (False, True)
    assert late.problems == [
        "atlas3: service qwen cannot be placed: no suitable node (insufficient resources on 1 node); expected it running. See what holds"
        " the NPUs there, or lower the service's npus."
    ]
    assert not judge(pending, service(update={"State": "updating"}), now=150).stuck


def test_paused_update_is_told_with_its_message():
    update = {"State": "paused", "Message": "update paused due to failure or early termination of task abc"}
    found = judge([task(1), task(2), task(3)], service(update=update))
    assert found.stuck
    assert found.problems[0].startswith(
        "Swarm: the update of service qwen is paused (update paused due to failure or early termination of task abc)"
    )


def test_host_that_is_down_or_drained_is_not_waited_for_and_noted():
    nodes = [node(1), node(2, state="down"), node(3, availability="drain")]
    found = judge([task(1), task(2), task(3, "shutdown")], nodes=nodes)
    assert (found.wanted, found.running, found.hosts) == (1, 1, ["atlas1"])
    assert swarm_tasks.node_notes(nodes) == [
        "atlas2: it is down in the Swarm, and runs none of the services.",
        "atlas3: it is drain in the Swarm, and runs none of the services.",
    ]


def test_service_without_any_host_is_no_healthy_one():
    found = judge([], nodes=[node(1, **{"gpustack.npu": "false"})])
    assert (found.wanted, found.stuck) == (0, True) and "has no host that is ready" in found.problems[0]


def test_replicas_are_counted_by_slot_wherever_they_run():
    tasks = [task(1, slot=1), task(2, "failed", 3, "task: non-zero exit (1)", slot=2), task(3, second=9, slot=2)]
    found = judge(tasks, service(replicas=2))
    assert (found.wanted, found.running, found.hosts, found.problems) == (2, 2, ["atlas1", "atlas3"], [])


def test_replica_without_a_host_is_swarms_own_problem():
    waiting = task(1, "pending", 0, "no suitable node (scheduling constraints not satisfied on 3 nodes)", slot=1, NodeID="")
    (problem,) = judge([waiting], service(replicas=1)).problems
    assert problem.startswith("Swarm: service qwen cannot be placed: no suitable node")


def test_npus_are_those_that_swarm_has_of_hosts_that_may_be_used():
    counted = {**node(4), "Description": {"Resources": {"GenericResources": [{"DiscreteResourceSpec": {"Kind": "NPU", "Value": 2}}]}}}
    nodes = [node(2, 7), node(1), node(3, **{"gpustack.npu": "false"}), counted]
    assert swarm_tasks.npu_nodes(nodes) == {"atlas1": 8, "atlas2": 7, "atlas4": 2}


@pytest.mark.parametrize(
    "constraint, expected",
    [
        ("node.labels.gpustack.npu == true", True),
        ("node.labels.gpustack.npu==true", True),
        ("node.labels.gpustack.npu != true", False),
        ("node.labels.rack == a", False),
        ("node.role == manager", True),
    ],
)
def test_constraint_on_a_label(constraint, expected):
    assert swarm_tasks.matches(node(1), [constraint]) is expected
