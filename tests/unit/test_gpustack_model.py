"""A model is created, changed, scaled, started again and removed once, and never left worse than it was."""

from __future__ import annotations

import json
from typing import Any

import fake_gpustack
import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import api as gpustack_api
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import model_change
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.models_api import ModelsClient
from ansible_collections.ascend.gpustack.plugins.modules import gpustack_model
from fake_gpustack import TOKEN, V0_7, V2, Cluster

DEFAULTS = {name: spec.get("default") for name, spec in gpustack_model.SPEC.items()}
QWEN = {"name": "qwen3-32b", "path": "/data/models/Qwen/Qwen3-32B", "npus": 4}


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture(params=[V0_7, V2], ids=["0.7", "2.3"])
def cluster(request):
    found = Cluster(request.param)
    with fake_gpustack.running(found) as url:
        found.url = url
        yield found


def change(cluster: Cluster, check: bool = False, clock: Clock | None = None, **item: Any) -> dict[str, Any]:
    client = ModelsClient(cluster.url, gpustack_api.fetcher(TOKEN), 10)
    return model_change.change(client, {**DEFAULTS, **item}, check, clock or Clock())


def test_a_new_model_is_created_once(cluster):
    first = change(cluster, **QWEN)
    assert (first["changed"], first["action"], first["id"]) == (True, "created", 1)
    (record,) = cluster.models
    assert record["name"] == "qwen3-32b" and record["local_path"] == QWEN["path"]
    assert cluster.routes == {"qwen3-32b"}
    again = change(cluster, **QWEN)
    assert (again["changed"], again["action"], again["changes"]) == (False, "none", [])
    assert len(cluster.writes) == 1


def test_a_check_sends_nothing_and_tells_the_same(cluster):
    told = change(cluster, check=True, **QWEN)
    assert told["action"] == "created" and cluster.writes == []
    assert json.loads(told["diff"]["after"]) == {**QWEN} and told["diff"]["before"] == ""


def test_a_diff_shows_exactly_what_differs(cluster):
    change(cluster, **QWEN)
    told = change(cluster, check=True, **{**QWEN, "context": 8192})
    lines = [set(told["diff"][side].splitlines()) for side in ("before", "after")]
    assert {line.strip(' ,"') for line in lines[1] - lines[0]} == {'context": 8192'}
    assert told["changes"] == ["backend_parameters"] and len(cluster.writes) == 1


def test_other_parameters_stop_the_old_instances_and_start_new_ones(cluster):
    change(cluster, **QWEN)
    old = {each["id"] for each in cluster.instances}
    assert change(cluster, **{**QWEN, "context": 8192})["action"] == "restarted"
    assert [each[2]["replicas"] for each in cluster.writes[1:]] == [0, 1]
    assert len(cluster.instances) == 1 and not old & {each["id"] for each in cluster.instances}
    assert "0.8" in str(cluster.writes[1][2]["backend_parameters"]) and "8192" not in str(cluster.writes[1][2]["backend_parameters"])
    assert change(cluster, **{**QWEN, "context": 8192})["changed"] is False


def test_more_replicas_leave_those_that_run_alone(cluster):
    change(cluster, **QWEN)
    old = {each["id"] for each in cluster.instances}
    assert change(cluster, **QWEN, replicas=2)["action"] == "scaled"
    assert len(cluster.instances) == 2 and old < {each["id"] for each in cluster.instances}
    assert change(cluster, **QWEN, replicas=0)["action"] == "scaled"
    assert cluster.instances == []


def test_a_run_that_ended_between_stopping_and_starting_is_completed(cluster):
    change(cluster, **QWEN)
    cluster.models[0]["replicas"] = 0
    cluster.instances.clear()
    assert change(cluster, **QWEN, context=8192)["action"] == "restarted"
    assert cluster.models[0]["replicas"] == 1 and len(cluster.instances) == 1


def test_a_refused_change_leaves_the_model_as_it_was(cluster):
    change(cluster, **QWEN)
    before = dict(cluster.models[0])
    with pytest.raises(gpustack_api.ApiError, match="Worker atlas9 not found") as caught:
        change(cluster, **QWEN, chips={"atlas9": [0, 1, 2, 3]})
    assert caught.value.kind == "rejected"
    assert cluster.models[0] == before and len(cluster.instances) == 1


def test_instances_that_do_not_stop_are_named(cluster):
    change(cluster, **QWEN)
    cluster.lingering = 1000
    with pytest.raises(gpustack_api.ApiError, match=r"its instance qwen3-32b-x2 is still running after 180 s"):
        change(cluster, **QWEN, context=8192)


def test_what_a_click_has_set_besides_stays(cluster):
    change(cluster, **QWEN)
    kept = {"description": "ours", "restart_on_error": False, "distributable": True, "cpu_offloading": True}
    cluster.models[0].update(kept)
    change(cluster, **QWEN, context=8192)
    assert {key: cluster.models[0][key] for key in kept} == kept


def test_chips_are_taken_in_the_cluster_of_their_workers(cluster):
    change(cluster, **QWEN, chips={"atlas2": [0, 1, 2, 3]})
    assert cluster.models[0]["gpu_selector"]["gpu_ids"] == [f"atlas2:{cluster.of.kind}:{number}" for number in range(4)]


def test_a_model_is_removed_once(cluster):
    change(cluster, **QWEN)
    assert change(cluster, check=True, name="qwen3-32b", state="absent")["action"] == "removed"
    assert len(cluster.models) == 1
    assert change(cluster, name="qwen3-32b", state="absent")["changed"] is True
    assert cluster.models == [] and cluster.routes == set()
    assert change(cluster, name="qwen3-32b", state="absent")["changed"] is False


def test_a_secret_that_differs_is_not_told(cluster):
    change(cluster, **QWEN, env={"HF_TOKEN": "first-secret-1"})
    told = change(cluster, **QWEN, env={"HF_TOKEN": "second-secret-2"})
    assert told["changes"] == ["env"] and "secret-" not in json.dumps(told)
    assert '"env, where a secret": "differs"' in told["diff"]["after"]


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"path": None}, "the model m has no source; expected one of path, model_scope and hugging_face. Give that one."),
        ({"model_scope": "Qwen/Qwen3-8B"}, "the model m has path and model_scope; expected one of path, model_scope and hugging_face."),
        ({"path": None, "settings": {"source": "ollama_library"}}, ""),
        ({"path": None, "state": "absent"}, ""),
        ({}, ""),
    ],
)
def test_a_model_has_one_source(item, text):
    assert gpustack_model.fault({**DEFAULTS, "name": "m", "path": "/data/models/m", **item}).startswith(text)


def test_what_gpustack_has_against_a_model_is_told_in_its_words(cluster):
    with pytest.raises(gpustack_api.ApiError) as caught:
        change(cluster, **QWEN, parameters=["--port=1"])
    assert gpustack_model.told("qwen3-32b", caught.value) == (
        "model qwen3-32b: GPUStack refuses it (Setting the port using --port is not supported); expected it to take what is said of the"
        " model. Correct that."
    )


def test_how_the_module_was_called_is_told_without_secrets():
    params = {
        **DEFAULTS,
        "token": TOKEN,
        "env": {"HF_TOKEN": "abcdef123", "MINE": "x", "TASK_QUEUE_ENABLE": 1},
        "parameters": ["--api-key=abcdef1"],
    }
    shown = gpustack_model.without_secrets(params)
    assert shown["env"] == {"HF_TOKEN": "***", "MINE": "***", "TASK_QUEUE_ENABLE": "1"}
    assert shown["parameters"] == ["--api-key=***"] and shown["token"] == "***"
