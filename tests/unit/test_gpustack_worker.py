"""Workers that rest: what GPUStack is told, what becomes of their models, and what is said of it."""

from __future__ import annotations

import http.server
import threading
from typing import Any

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import rest
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.answers import DRAINED_LABEL, DRAINED_REASON
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.api import ApiError, Client, fetcher
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.workers import compare
from ansible_collections.ascend.gpustack.plugins.modules import gpustack_worker
from moving_gpustack import Fake

BOTH = pytest.mark.parametrize("generation", [0, 2], ids=["0.7", "2.3"])


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time += seconds


def told(fake: Fake, *names: str, check: bool = False, **params: Any) -> dict[str, Any]:
    given = {"workers": list(names), "state": "drained", "move": False, "models": {}, "hurry": False, "wait": 0, **params}
    return gpustack_worker.settle(fake.client, given, check)


def moved(fake: Fake, *names: str, models: dict[str, int], wait: float = 0, hurry: bool = False) -> rest.Move:
    move, clock = rest.Move(fake.client, list(names), models, hurry), Clock()
    move.go(wait, clock.now, clock.sleep)
    return move


def drained(generation: int, *names: str, starts: int = 0, resting: str = "atlas3") -> Fake:
    """Workers of which one rests already; the container of one of 0.7 is stopped besides."""
    fake = Fake(generation, *names, starts=starts)
    told(fake, resting)
    fake.trail.clear()
    if generation == 0:
        fake.worker(resting)["state"] = "not_ready"
    return fake


@BOTH
def test_a_worker_rests_and_keeps_its_labels(generation):
    fake = Fake(generation, "atlas1", "atlas3")
    fake.worker("atlas3")["labels"]["rack"] = "r1"
    assert told(fake, "atlas3")["settled"] == ["atlas3"]
    record = fake.worker("atlas3")
    assert record["labels"]["rack"] == "r1" and record["labels"]["worker-name"] == "atlas3"
    if generation:
        assert (record["state"], record["maintenance"]) == ("maintenance", {"enabled": True, "message": DRAINED_REASON})
    else:
        assert record["labels"][DRAINED_LABEL] == "true" and record["status"]["gpu_devices"]
    assert [worker.drained for worker in fake.client.workers()] == [False, True]


@BOTH
def test_it_is_told_once_and_another_run_changes_nothing(generation):
    fake = Fake(generation, "atlas1", "atlas3")
    assert told(fake, "atlas3")["changed"] and not told(fake, "atlas3")["changed"]
    assert fake.trail == [("PUT", "workers", "atlas3")]


@BOTH
def test_undrain_ends_it(generation):
    fake = drained(generation, "atlas1", "atlas3")
    assert told(fake, "atlas3", state="active")["settled"] == ["atlas3"]
    record = fake.worker("atlas3")
    assert DRAINED_LABEL not in record["labels"] and not (record.get("maintenance") or {}).get("enabled")
    assert not told(fake, "atlas3", state="active")["changed"]


def test_undrain_ends_what_somebody_began_on_the_page_and_drain_makes_it_its_own():
    fake = Fake(2, "atlas1", "atlas3")
    fake.worker("atlas3").update({"state": "maintenance", "maintenance": {"enabled": True, "message": "fan"}})
    assert not fake.client.workers()[1].drained
    assert told(fake, "atlas3")["changed"] and fake.client.workers()[1].drained
    fake.worker("atlas3")["maintenance"]["message"] = "fan"
    assert told(fake, "atlas3", state="active")["changed"]
    assert fake.worker("atlas3")["state"] == "ready"


@BOTH
def test_check_changes_nothing_and_says_where_models_go_and_which_stop(generation):
    fake, kind = Fake(generation, "atlas1", "atlas2", "atlas3"), "cann" if generation else "npu"
    fake.serve("bge-m3", "atlas3", npus=1)
    fake.serve("qwen3", "atlas1", "atlas3", npus=4)
    fake.serve("bound", "atlas3", gpu_selector={"gpu_ids": [f"atlas3:{kind}:7"]})
    fake.serve("racked", "atlas3", worker_selector={"rack": "r9"})
    fake.serve("giant", "atlas3", npus=8, size=40)
    found = told(fake, "atlas3", check=True)
    assert fake.trail == [] and found["settled"] == ["atlas3"] and found["changed"]
    became = {each["name"].rsplit("-", 1)[0]: each["to"] or each["why"] for each in found["instances"]}
    assert became == {
        "bge-m3": ["atlas1"],
        "qwen3": ["atlas2"],
        "bound": "its NPUs are given by name, and no other worker has one of them",
        "racked": "no other worker that is ready has the labels rack=r9",
        "giant": "it takes 8 NPUs of 40 GiB each, which no other worker has free",
    }
    assert found["models"] == {"bge-m3": 1, "qwen3": 2}


@BOTH
def test_two_models_are_not_promised_the_same_npus(generation):
    fake = Fake(generation, "atlas2", "atlas3")
    fake.serve("one", "atlas3", npus=8)
    fake.serve("two", "atlas3", npus=8)
    found = told(fake, "atlas3", check=True)["instances"]
    assert [(each["model"], each["to"]) for each in found] == [("one", ["atlas2"]), ("two", [])]


def test_two_workers_that_rest_are_no_place_for_each_other():
    fake = Fake(2, "atlas1", "atlas3")
    fake.serve("one", "atlas1")
    found = told(fake, "atlas1", "atlas3", check=True)
    assert [each["why"] for each in found["instances"]] == ["no other worker is ready"] and found["models"] == {}


def test_a_model_over_two_workers_needs_two_others():
    fake = Fake(2, "atlas1", "atlas2", "atlas3")
    fake.serve("big", "atlas3", npus=8)
    part = {"worker_id": 1, "computed_resource_claim": {"vram": dict.fromkeys(map(str, range(8)), 20 * 2**30)}}
    fake.instances[0]["distributed_servers"] = {"subordinate_workers": [part]}
    for device in fake.worker("atlas1")["status"]["gpu_devices"]:
        device["memory"]["allocated"] = 20 * 2**30
    assert told(fake, "atlas3", check=True)["instances"][0]["to"] == ["atlas1", "atlas2"]
    fake.worker("atlas2")["state"] = "unreachable"
    assert told(fake, "atlas3", check=True)["instances"][0]["why"] == (
        "it takes 8 NPUs of 20 GiB each on each of 2 workers, which no other worker has free"
    )


def test_a_worker_that_gives_no_sign_of_life_is_no_place():
    fake = Fake(2, "atlas2", "atlas3")
    fake.worker("atlas2")["heartbeat_time"] = "2026-11-27T03:00:00Z"
    fake.serve("one", "atlas3")
    assert told(fake, "atlas3", check=True)["instances"][0]["why"] == "no other worker is ready"


@BOTH
def test_models_go_elsewhere_and_are_waited_for(generation):
    fake = drained(generation, "atlas2", "atlas3", starts=3)
    fake.serve("bge-m3", "atlas3")
    move = moved(fake, "atlas3", models={"bge-m3": 1}, wait=60)
    assert (move.left, move.pending, move.ended) == ([], [], ["bge-m3-1"])
    assert [(each["worker_id"], each["state"]) for each in fake.instances] == [(1, "running")]


def test_a_worker_whose_container_still_runs_keeps_its_models():
    fake = Fake(0, "atlas2", "atlas3")
    told(fake, "atlas3")
    fake.serve("bge-m3", "atlas3")
    move = moved(fake, "atlas3", models={"bge-m3": 1}, wait=10)
    assert move.left == ["bge-m3-1"] and ("DELETE", "model-instances", "bge-m3-1") not in fake.trail


@BOTH
def test_a_model_that_nobody_else_serves_ends_one_instance_after_the_other(generation):
    fake = drained(generation, "atlas2", "atlas3", starts=4)
    fake.serve("qwen3", "atlas3", "atlas3")
    first = moved(fake, "atlas3", models={"qwen3": 2})
    assert first.ended == ["qwen3-1"] and moved(fake, "atlas3", models={"qwen3": 2}).ended == []
    done = moved(fake, "atlas3", models={"qwen3": 2}, wait=60)
    assert (done.ended, done.left, done.pending) == (["qwen3-2"], [], [])


def test_a_model_that_others_serve_ends_at_once():
    fake = drained(2, "atlas2", "atlas3", starts=9)
    fake.serve("qwen3", "atlas2", "atlas3", "atlas3")
    assert moved(fake, "atlas3", models={"qwen3": 3}).ended == ["qwen3-2", "qwen3-3"]


def test_one_that_does_not_come_up_keeps_no_other_for_ever():
    fake = drained(2, "atlas2", "atlas3", starts=1000)
    fake.serve("qwen3", "atlas3", "atlas3")
    assert moved(fake, "atlas3", models={"qwen3": 2}, wait=10).left == ["qwen3-2"]
    move = moved(fake, "atlas3", models={"qwen3": 2}, hurry=True, wait=4)
    assert move.left == []
    assert move.pending == ["model qwen3: 0 of 2 run elsewhere: qwen3-3 is starting, qwen3-4 is starting"]


def test_a_model_without_a_place_ends_and_is_not_waited_for():
    fake = drained(2, "atlas2", "atlas3")
    fake.serve("bound", "atlas3", "atlas3", gpu_selector={"gpu_ids": ["atlas3:cann:0"]})
    move = moved(fake, "atlas3", models={}, wait=60)
    assert (move.ended, move.pending) == (["bound-1", "bound-2"], [])
    assert {each["state"] for each in fake.instances} == {"pending"}


def test_why_one_does_not_come_up_is_told():
    fake = drained(2, "atlas3")
    fake.serve("bge-m3", "atlas3")
    assert moved(fake, "atlas3", models={"bge-m3": 1}, wait=2).pending == [
        "model bge-m3: 0 of 1 run elsewhere: bge-m3-2 is pending (No suitable workers. Details:)"
    ]


@BOTH
def test_a_worker_that_gpustack_does_not_have_is_named(generation):
    found = told(Fake(generation, "atlas1"), "atlas1", "atlas9")
    assert found["unknown"] == ["atlas9"]
    assert found["workers"] == [{"id": 1, "name": "atlas1", "ip": "172.16.33.106", "state": "ready", "npu_count": 8}]


def test_what_gpustack_refuses_is_said_with_its_answer():
    def refusing(url: str, timeout: float, method: str = "GET", body: Any = None) -> Any:
        return fake.fetch(url, timeout) if method == "GET" else fake._answer(422, {})

    fake = Fake(2, "atlas3")
    with pytest.raises(ApiError) as caught:
        rest.settle(_speaking(refusing), ["atlas3"], True, False)
    assert (
        str(caught.value)
        == "GPUStack at http://127.0.0.1:8080 answers PUT /v2/workers/1 with 422; expected it done. See docker logs on the server's host"
    )


def _speaking(fetch: Any) -> Client:
    client = Client("http://127.0.0.1:8080", fetch, 10)
    client.version()
    return client


@BOTH
def test_a_worker_that_rests_is_no_problem_of_verify(generation):
    fake = drained(generation, "atlas1", "atlas3")
    found = compare(fake.client.workers(), {"atlas1": 8, "atlas3": 8}, fake.client.api)
    assert (found.problems, found.pending) == ([], False)


def test_one_that_is_to_rest_and_runs_is_told_and_not_waited_for():
    fake = Fake(0, "atlas3")
    told(fake, "atlas3")
    found = compare(fake.client.workers(), {"atlas3": 8}, fake.client.api)
    assert found.problems == [
        "worker atlas3: it is to rest, and its container runs; expected that stopped. Run drain again, or undrain",
    ]
    assert not found.pending


def test_a_change_is_sent_as_json_with_the_token_and_no_answer_is_needed():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            seen.update({name: self.headers.get(name) for name in ("Authorization", "Content-Type")})
            seen["body"] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    seen: dict[str, Any] = {}
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        client = Client(f"http://127.0.0.1:{server.server_port}", fetcher("0f1e2d3c"), 10)
        assert client.change("PUT", "/workers/3", {"name": "atlas3"})
    assert seen == {
        "Authorization": "Basic c3lzdGVtL3dvcmtlci9hbnNpYmxlOjBmMWUyZDNj",
        "Content-Type": "application/json",
        "body": b'{"name": "atlas3"}',
    }
