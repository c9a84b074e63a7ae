"""Weights as a list: who brings what, what is refused before anything is brought, and what is told at the end."""

from __future__ import annotations

import pytest
from ansible_collections.ascend.gpustack.plugins.plugin_utils import weights

GROUPS = {"gpustack_server": ["atlas1"], "gpustack_worker": ["atlas1", "atlas2"], "gpustack_store": ["nas"]}
HOSTVARS = {"nas": {"gpustack_models_dir": "/export/models"}, "atlas1": {}, "atlas2": {}}
HUBS = {"model_scope": "https://m.example.com", "hugging_face": "https://h.example.com"}
FOLDER = {"path": "/data/models/Qwen/Tiny", "folder": "/mnt/tiny"}


def listed(*given: dict, store_host: str = "nas") -> list[dict]:
    return weights.items(
        list(given), HOSTVARS, GROUPS, {"server": "atlas1", "store_host": store_host, "models_dir": "/data/models", **HUBS}
    )


def result(item: dict, **answer) -> dict:
    return {"ansible_loop_var": "each", "each": item, **answer}


def planned(items: list[dict], looked: list[dict], models: list[dict] | None = None, to_come: bool = False) -> dict:
    settings = {"server": "atlas1", "models_dir": "/data/models", "to_come": to_come}
    return weights.plan(items, looked, {"models": models or []}, settings)


def test_store_s_host_brings_what_the_controller_has_to_where_the_store_is_there():
    (item,) = listed(FOLDER)
    assert (item["writer"], item["on_host"], item["store"], item["on_controller"]) == (
        "nas",
        "/export/models/Qwen/Tiny",
        "/export/models",
        True,
    )
    (item,) = listed(FOLDER, store_host="")
    assert (item["writer"], item["on_host"]) == ("atlas1", "/data/models/Qwen/Tiny")
    (item,) = listed({**FOLDER, "path": "/models/Qwen/Tiny/", "host": "atlas2"})
    assert (item["writer"], item["on_host"], item["on_controller"]) == ("atlas2", "/data/models/Qwen/Tiny", False)


def test_hub_is_asked_by_the_store_s_host_at_its_address():
    (item,) = listed({"path": "/data/models/x", "model_scope": "Qwen/Tiny", "files": ["*.json"], "revision": "v1"})
    assert (item["kind"], item["source"], item["address"], item["on_controller"]) == (
        "model_scope",
        "Qwen/Tiny",
        HUBS["model_scope"],
        False,
    )
    assert (item["files"], item["revision"], item["writer"]) == (["*.json"], "v1", "nas")


@pytest.mark.parametrize(
    "given, words",
    [
        ([{"path": "/elsewhere/x", "folder": "/a"}], "is to come to a place outside of the store; expected a folder below /data/models"),
        ([{"path": "/data/models", "folder": "/a"}], "is to come to a place outside of the store"),
        ([{"path": "/data/models/x"}], "has no source; expected one of folder, archive, model_scope, hugging_face"),
        ([{"path": "/data/models/x", "folder": "/a", "archive": "/b"}], "has folder and archive; expected one of"),
        ([{"path": "/data/models/x", "folder": "/a", "host": "atlas9"}], "names the host atlas9, which is none of the cluster"),
        ([FOLDER, {"path": "/data/models/Qwen/Tiny/sub", "folder": "/a"}], "lies in the folder of another of the list"),
        ([FOLDER, {"path": "/models/Qwen/Tiny", "folder": "/a"}], "lies in the folder of another of the list"),
    ],
)
def test_what_the_list_says_wrong_is_refused_before_anything_is_brought(given, words):
    items = listed(*given)
    looked = [result(item, action="bring", damaged={}) for item in items if not item["problems"]]
    plan = planned(items, looked)
    assert any(words in line for line in plan["lines"]) and plan["told"] == {"atlas1": "Told above: weights"}


@pytest.mark.parametrize("action", ["mend", "replace"])
@pytest.mark.parametrize("path", ["/data/models/Qwen/Tiny", "/models/Qwen/Tiny", "/data/models/Qwen/Tiny/model.gguf"])
def test_folder_that_a_running_model_uses_is_not_exchanged(action, path):
    items = listed(FOLDER)
    looked = [result(items[0], action=action, damaged={"a": "is missing"} if action == "mend" else {})]
    plan = planned(items, looked, [{"name": "tiny", "path": path}, {"name": "other", "path": "/data/models/Qwen/Tiny2"}])
    assert plan["exchanged"] == ["/data/models/Qwen/Tiny"] and plan["told"]
    assert ", and tiny runs with it; expected no running model there. Stop it first (replicas: 0)." in plan["lines"][-1]
    assert not planned(items, looked, [{"name": "tiny", "path": path, "replicas": 0}])["told"]
    new = [result(items[0], action="bring", damaged={})]
    assert not planned(items, new, [{"name": "tiny", "path": path}])["told"]


def test_what_lacks_is_a_warning_and_what_is_damaged_is_an_error_of_verify():
    items = listed(FOLDER)
    plan = planned(items, [result(items[0], action="bring", damaged={})], to_come=True)
    assert plan["lines"][-1] == (
        "WARN [weights] nas: the folder /data/models/Qwen/Tiny is not in the store. Run the playbook weights, which brings it."
    )
    assert plan["told"] == {}
    damaged = {f"model-{number}": "is missing" for number in range(5)}
    plan = planned(items, [result(items[0], action="mend", damaged=damaged)], to_come=True)
    text = "is damaged: model-0 is missing, model-1 is missing, model-2 is missing and 2 more; expected what was brought"
    assert text in plan["lines"][-1] and plan["told"] and plan["damaged"] == {"/data/models/Qwen/Tiny": damaged}
    assert planned(items, [result(items[0], action="none", damaged={})], to_come=True)["lines"] == []


def test_host_that_can_not_be_asked_is_told():
    items = listed(FOLDER)
    plan = planned(items, [result(items[0], unreachable=True, msg="No route to host")])
    assert "FAIL [weights] nas: No route to host." in plan["lines"]
    plan = planned(
        items, [result(items[0], failed=True, msg="the folder /mnt/tiny is not there; expected the model's files. Correct its path")]
    )
    assert plan["lines"][-1] == "FAIL [weights] nas: the folder /mnt/tiny is not there; expected the model's files. Correct its path."


def test_end_of_a_run_tells_each_folder_once():
    items = listed(
        FOLDER, {"path": "/data/models/b", "hugging_face": "a/b"}, {"path": "/data/models/c", "archive": "/c.tar", "host": "atlas2"}
    )
    looked = [result(items[0], action="none"), result(items[1], action="bring"), result(items[2], action="replace")]
    settings = {"server": "atlas1", "check": True}
    told = weights.summary(items, looked, [], settings)
    assert [row["action"] for row in told["stats"]["folders"].values()] == ["none", "bring", "replace"] and "to be brought" in told[
        "lines"
    ][2]
    brought = [
        result(items[1], action="bring"),
        result(items[2], failed=True, msg="the archive /c.tar can't be read (x); expected a whole tar or zip. Copy it again"),
    ]
    told = weights.summary(items, looked, brought, {"server": "atlas1", "check": False})
    assert "brought" in told["lines"][2] and "failed" in told["lines"][3] and told["told"] == {"atlas1": "Told above: weights"}
    assert told["stats"]["ok"] is False and "/c.tar can't be read" in told["stats"]["problems"][0]
    skipped = [{"skipped": True, "ansible_loop_var": "each", "each": item} for item in items]
    assert weights.summary(items, looked, skipped, settings)["stats"]["ok"]
