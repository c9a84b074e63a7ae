"""Nodes of a Swarm: made, joined, held against the inventory and taken out, against a stand-in for Docker Engine's API."""

from __future__ import annotations

import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import api as docker_api
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.api import ApiError
from ansible_collections.ascend.gpustack.plugins.modules import docker_swarm_node, docker_swarm_nodes
from ansible_collections.ascend.gpustack.plugins.plugin_utils.swarm import swarm_to_join

SWARM = {"Cluster": {"ID": "c1"}, "Nodes": 1}
# What is told of a host that does not manage a Swarm
PLAIN = {"manager": False, "swarm": None, "nodes": 0}
TOKENS = {"Manager": "SWMTKN-1-manager", "Worker": "SWMTKN-1-worker"}


class Engine:
    """Answers as Docker does, from the state of one engine and of the nodes of its Swarm."""

    def __init__(self, state: str = "inactive", manager: bool = True, nodes: dict | None = None, **info) -> None:
        active = {"NodeID": "id1", "ControlAvailable": manager, **(SWARM if manager else {})} if state == "active" else {}
        self.swarm = {"LocalNodeState": state, **active, **info}
        self.nodes = nodes or {}
        self.asked: list[tuple] = []
        self.raft = 0

    def __call__(self, method: str, where: str, body: dict | None = None):
        if method != "GET":
            self.asked.append((method, where, body))
        if (method, where) == ("GET", "/info"):
            return {"Swarm": self.swarm}
        if (method, where) == ("GET", "/swarm"):
            return {"JoinTokens": TOKENS}
        if (method, where) == ("GET", "/nodes"):
            return list(self.nodes.values())
        if where in ("/swarm/init", "/swarm/join"):
            made = where == "/swarm/init"
            self.swarm = {"LocalNodeState": "active", "NodeID": "id1", "ControlAvailable": made, **(SWARM if made else {})}
        if where.startswith("/swarm/leave"):
            self.swarm = {"LocalNodeState": "inactive"}
        if method == "DELETE" and where.startswith("/nodes/") and self.raft:
            self.raft -= 1
            raise ApiError("rpc error: node id2 is a member of the raft cluster", 400)
        return None


def node(name: str, state: str = "ready", role: str = "worker", index: int = 7, **labels) -> dict:
    return {
        "ID": name,
        "Version": {"Index": index},
        "Spec": {"Labels": {"gpustack.name": name.replace("id", "atlas"), **labels}, "Role": role, "Availability": "active"},
        "Description": {"Hostname": "localhost.localdomain"},
        "Status": {"State": state},
    }


def present(engine: Engine, check_mode: bool = False, **parameters) -> dict:
    return docker_swarm_node.present(engine, {"address": "10.0.0.1", "managers": [], "token": None, "timeout": 0, **parameters}, check_mode)


def test_swarm_is_made_once_and_tells_how_to_join():
    engine = Engine()
    tokens = {"manager": TOKENS["Manager"], "worker": TOKENS["Worker"]}
    assert present(engine) == {"changed": True, "node_id": "id1", "manager": True, "swarm": "c1", "nodes": 1, "tokens": tokens}
    assert engine.asked == [("POST", "/swarm/init", {"ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "10.0.0.1"})]
    assert present(engine)["changed"] is False and len(engine.asked) == 1


def test_host_joins_with_the_token_and_over_ipv6_too():
    engine = Engine()
    assert present(engine, address="fd00::2", managers=["fd00::1"], token="SWMTKN-1-worker") == {
        "changed": True,
        "node_id": "id1",
        **PLAIN,
    }
    request = {"ListenAddr": "[::]:2377", "AdvertiseAddr": "fd00::2", "RemoteAddrs": ["[fd00::1]:2377"], "JoinToken": "SWMTKN-1-worker"}
    assert engine.asked == [("POST", "/swarm/join", request)]


def test_check_changes_nothing_and_knows_no_node():
    engine = Engine()
    assert present(engine, check_mode=True) == {"changed": True, "node_id": None, **PLAIN}
    assert docker_swarm_node.absent(Engine("active"), True) == {
        "changed": True,
        "node_id": "id1",
        "manager": True,
        "swarm": "c1",
        "nodes": 1,
    }
    assert engine.asked == []


def test_node_that_lost_its_swarm_is_no_node_to_go_on_with():
    with pytest.raises(ApiError, match=r"its part of the Swarm is locked \(swarm is encrypted\); expected active"):
        present(Engine("locked", Error="swarm is encrypted"))


def test_host_is_taken_out_with_the_bridge_that_docker_made_for_the_swarm():
    engine = Engine("active")
    assert docker_swarm_node.absent(engine, False)["changed"]
    assert [each[:2] for each in engine.asked] == [("POST", "/swarm/leave?force=1"), ("DELETE", "/networks/docker_gwbridge")]
    assert not docker_swarm_node.absent(engine, False)["changed"]


def hold(engine: Engine, nodes=(), remove=(), check_mode: bool = False) -> list[str]:
    return docker_swarm_nodes.hold(engine, {"nodes": list(nodes), "remove": list(remove), "wait": 0}, check_mode, 0)


def wanted(name: str, manager: bool = False, **labels) -> dict:
    return {"name": name.replace("id", "atlas"), "id": name, "manager": manager, "labels": labels}


def test_labels_and_roles_are_held_by_id_and_other_peoples_labels_stay():
    engine = Engine(nodes={"id1": node("id1", rack="r1", **{"gpustack.npu.count": "8", "gpustack.old": "x"})})
    lines = hold(engine, [wanted("id1", manager=True, **{"gpustack.npu.count": 7})])
    assert lines == ["atlas1: label gpustack.npu.count is 7", "atlas1: label gpustack.old is removed", "atlas1: becomes a manager"]
    spec = {
        "Labels": {"rack": "r1", "gpustack.npu.count": "7", "gpustack.name": "atlas1"},
        "Role": "manager",
        "Availability": "active",
    }
    assert engine.asked == [("POST", "/nodes/id1/update?version=7", spec)]
    assert hold(Engine(nodes={"id1": {**node("id1"), "Spec": spec}}), [wanted("id1", manager=True, **{"gpustack.npu.count": 7})]) == []
    assert hold(checked := Engine(nodes={"id1": node("id1")}), [wanted("id1", x=1)], check_mode=True) and checked.asked == []


def test_node_of_another_swarm_or_one_that_is_down_is_refused():
    engine = Engine(nodes={"id1": node("id1", "down")})
    with pytest.raises(ApiError) as refusal:
        hold(engine, [wanted("id1"), wanted("id9")])
    assert "atlas1: the Swarm has it as down; expected ready." in str(refusal.value)
    assert "atlas9: it is in another Swarm (its node ID there is id9); expected this one, which has 1 node." in str(refusal.value)
    assert engine.asked == []


def test_dead_node_is_forgotten_by_name_or_id_and_a_live_one_is_not():
    engine = Engine(nodes={"id2": node("id2", "down", "manager"), "id3": node("id3", "down"), "id4": node("id4")})
    engine.raft = 2
    engine.__dict__["nodes"]["id2"]["Version"] = {"Index": 3}
    assert docker_swarm_nodes.hold(engine, {"nodes": [], "remove": ["atlas2", "id3", "atlas8"], "wait": 5}, False, 0) == [
        "atlas2: removed",
        "atlas3: removed",
    ]
    assert [each[:2] for each in engine.asked] == [
        ("POST", "/nodes/id2/update?version=3"),
        *[("DELETE", "/nodes/id2?force=1")] * 3,
        ("DELETE", "/nodes/id3?force=1"),
    ]
    with pytest.raises(ApiError, match="atlas4 is to be removed from the Swarm and still up"):
        hold(engine, remove=["atlas4"])


def test_former_node_of_a_host_that_was_installed_anew_is_removed_and_no_live_one():
    former = {"id9": node("id9", "down", "manager"), "id8": node("id8", "down"), "id7": node("id7")}
    for each in ("id9", "id7"):
        former[each]["Spec"]["Labels"]["gpustack.name"] = "atlas1"
    engine = Engine(nodes={"id1": node("id1", role="manager"), **former})
    lines = ["atlas1: its former node id9, which is down, is removed"]
    assert hold(engine, [wanted("id1", manager=True)], check_mode=True) == lines and engine.asked == []
    assert hold(engine, [wanted("id1", manager=True)]) == lines
    assert [each[:2] for each in engine.asked] == [("POST", "/nodes/id9/update?version=7"), ("DELETE", "/nodes/id9?force=1")]


MANAGERS = ["atlas1", "atlas2", "atlas3"]
FRESH = {"node_id": None, **PLAIN}


def of(swarm: str, nodes: int = 5) -> dict:
    return {"node_id": f"node-in-{swarm}", "manager": True, "swarm": swarm, "nodes": nodes}


@pytest.mark.parametrize(
    ("answers", "through", "agreed"),
    [
        ([of("a"), of("a"), of("a")], "atlas1", True),
        ([FRESH, of("a"), of("a")], "atlas2", True),
        ([of("new", 1), of("a"), of("a")], "atlas2", True),
        ([of("new", 1), None, of("a")], "atlas3", False),
        ([of("a"), FRESH, None], "atlas1", False),
        ([{"msg": "timed out", "unreachable": True}, None, of("a")], "atlas3", False),
        ([{"node_id": "w", **PLAIN}, of("a"), of("a")], "atlas2", True),
        ([FRESH, FRESH, FRESH], "", False),
    ],
    ids=["all", "first installed anew", "second Swarm on the first", "tie", "growing", "first is away", "worker first", "none yet"],
)
def test_host_joins_the_swarm_that_most_managers_are_in_and_none_is_made_beside_it(answers, through, agreed):
    given = {name: answer for name, answer in zip(MANAGERS, answers) if answer}
    assert swarm_to_join(given, MANAGERS, {}) == {"through": through, "agreed": agreed, "problems": []}


def test_no_swarm_is_made_while_a_manager_may_be_in_one():
    answers = {"atlas1": FRESH, "atlas2": {"msg": "Docker Engine does not answer at /var/run/docker.sock."}}
    silent = (
        "expected an answer of every manager before a Swarm is made, so that there are never two. "
        "Start it, or take it out of docker_swarm_manager."
    )
    assert swarm_to_join(answers, MANAGERS, {})["problems"] == [
        f"atlas2: it does not say whether it is in a Swarm (Docker Engine does not answer at /var/run/docker.sock); {silent}",
        f"atlas3: it does not say whether it is in a Swarm (no answer); {silent}",
    ]
    assert swarm_to_join({"atlas1": {"node_id": "x", **PLAIN}}, ["atlas1"], {})["problems"] == [
        "atlas1: it is a worker of a Swarm; expected a manager, which the others join through. Name one that is a manager of that Swarm in "
        "docker_swarm_manager, or take this one out of it (docker swarm leave)."
    ]


def test_no_swarm_is_made_beside_one_whose_managers_are_not_in_the_group():
    none = {"atlas9": {"node_id": "", **PLAIN}}
    found = swarm_to_join(none, ["atlas9"], {"atlas1": "a1", "atlas2": "", "atlas3": "a3"})
    assert found["problems"][0].startswith("atlas1, atlas3: in a Swarm of which no host of docker_swarm_manager is a manager; expected")
    assert swarm_to_join(none, ["atlas9"], {"atlas1": ""})["problems"] == []


def test_swarm_that_has_lost_its_majority_is_told_as_that():
    answers = {"atlas1": {"msg": "Error response from daemon: rpc error: code = Unknown desc = The swarm does not have a leader."}}
    (problem,) = swarm_to_join(answers, ["atlas1"], {})["problems"]
    assert problem.endswith("run there: docker swarm init --force-new-cluster") and "lost more than half of its managers" in problem


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, text = {"/swarm/init": (200, '"id1"'), "/swarm/join": (503, '{"message": "the token\\n is expired"}')}[self.path]
        assert body == {"AdvertiseAddr": "10.0.0.1"}
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_words) -> None:
        pass


def test_engine_is_asked_over_its_socket(tmp_path):
    path = str(tmp_path / "docker.sock")
    with socketserver.UnixStreamServer(path, Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ask = docker_api.api(5, path)
        assert ask("POST", "/swarm/init", {"AdvertiseAddr": "10.0.0.1"}) == "id1"
        with pytest.raises(ApiError) as refusal:
            ask("POST", "/swarm/join", {"AdvertiseAddr": "10.0.0.1"})
        assert (str(refusal.value), refusal.value.status) == ("the token is expired", 503)
        server.shutdown()
    with pytest.raises(ApiError, match="Docker Engine does not answer at .*none"):
        docker_api.api(5, str(tmp_path / "none"))("GET", "/info")
