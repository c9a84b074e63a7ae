"""What can't run is said before anything is sent, each with its remedy; what only may not is a warning; and the end tells all of it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.ascend.gpustack.plugins.filter import models as filters
from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.plugin_utils import models, rules, runners
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight import checks, variables
from shared import ROOT

GROUPS = {"gpustack_server": ["atlas1"], "gpustack_worker": ["atlas1", "atlas2"]}
HOSTVARS = {"atlas1": {}, "atlas2": {"gpustack_worker_name": "npu02"}}
PATH = "/data/models/Qwen/Qwen3-32B"
QWEN = {"name": "qwen3-32b", "path": PATH, "npus": 4}
FOLDER = {"kind": "directory", "config": True, "heads": 64, "weights_mib": 62500}
SETTINGS = {
    "version": "2.3.0",
    "server": "atlas1",
    "models_dir": "/data/models",
    "volumes": ["/data/lora:/data/lora:ro"],
    "exclusive": False,
    "confirm": False,
    "check": False,
}


def worker(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "chips": list(range(8)), "chip": "910B4", "memory_mib": 32768, "driver": "25.2.0", **changes}


def info(version: str = "v2.3.0", files: dict | None = None, **more: Any) -> dict[str, Any]:
    files = {PATH: FOLDER, **(files or {})}
    return {"version": version, "workers": [worker("atlas1"), worker("npu02")], "files": files, "models": [], **more}


def plan(*items: dict, seen: dict | None = None, **settings: Any) -> dict[str, Any]:
    return filters.model_plan(list(items), info() if seen is None else seen, HOSTVARS, GROUPS, {**SETTINGS, **settings})


def told(*items: dict, seen: dict | None = None, **settings: Any) -> list[str]:
    return [line.replace("[models] atlas1: the model qwen3-32b ", "") for line in plan(*items, seen=seen, **settings)["lines"][1:]]


def test_what_can_run_is_done_and_what_goes_goes_first():
    found = plan(QWEN, {"name": "old", "state": "absent"})
    assert found == {"lines": [], "told": {}, "names": ["old", "qwen3-32b"], "watched": ["qwen3-32b"]}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"path": "/home/q"},
            "FAIL has path: /home/q, which is not in /data/models; expected it in the store, which GPUStack's containers see."
            " Copy it there, and correct path.",
        ),
        (
            {"path": "/data/models/gone"},
            "FAIL has path: /data/models/gone, and there is nothing; expected its folder in the store. Copy it there, or correct path.",
        ),
        (
            {"path": "/data/models/bare"},
            "FAIL has path: /data/models/bare, where no config.json is; expected the folder with the config.json of the model, which the"
            " backend vLLM reads. Correct path, or copy the rest of the model.",
        ),
        (
            {"npus": 16},
            "FAIL asks for 16 NPUs for each instance, and the largest host that it may run on has 8; expected that many at most."
            " Set fewer npus, or across_hosts: true, which needs the NPUs' network between the hosts.",
        ),
        (
            {"npus": 3},
            "FAIL asks for npus: 3, which do not divide the 64 attention heads of its config.json; expected a number that does."
            " Set npus: 2.",
        ),
        (
            {"npus": 2},
            "FAIL has 61.0 GiB of weights, and 2 NPUs at memory: 0.8 hold 51.2 GiB; expected them to fit. Set npus: 4.",
        ),
        (
            {"hosts": ["atlas9"]},
            "FAIL names the host atlas9, which is no worker of GPUStack; expected one of atlas1, npu02. Correct it, or join that host"
            " first.",
        ),
        (
            {"chips": {"atlas2": [6, 7, 8, 9]}},
            "FAIL names chips 8, 9 of npu02, where GPUStack has 0, 1, 2, 3, 4, 5, 6, 7; expected some of these. Correct chips.",
        ),
        (
            {"chips": {"atlas1": [0, 1, 2, 3]}, "replicas": 2},
            "FAIL names 4 chips, and npus: 4 for replicas: 2 are 8; expected as many. Correct chips, npus or replicas.",
        ),
        (
            {"hosts": ["atlas1", "atlas2"], "npus": None},
            "FAIL names several hosts and no npus; expected the number of NPUs of each instance. Set npus.",
        ),
        (
            {"version": "0.30.0"},
            "FAIL asks for version: 0.30.0, which needs the driver 25.2 or newer, and that of atlas1 is 25.0.rc1; expected one that it"
            ' carries. Set version: "0.20.2", the newest that it carries.',
        ),
        (
            {"backend": "llama_box"},
            "FAIL has backend: llama_box, which GPUStack 2.3 does not have; expected one of custom, mindie, sglang, vllm, vox_box."
            " Set another one.",
        ),
        (
            {"parameters": ["--port=1"]},
            "FAIL has --port in parameters, which GPUStack sets itself; expected none. Remove it.",
        ),
        (
            {"parameters": ["--tensor-parallel-size", "4"]},
            "FAIL has npus and --tensor-parallel-size in parameters, which say the same; expected one of them."
            " Remove --tensor-parallel-size.",
        ),
        (
            {"backend": "custom", "context": 8192, "npus": None},
            "FAIL has context, for which the backend Custom has no parameter; expected none. Remove context.",
        ),
        ({"path": None}, "FAIL has no source; expected one of path, model_scope, hugging_face. Give that one."),
    ],
    ids=str,
)
def test_what_can_not_run_is_refused_with_its_remedy(changes, line):
    files = {"/data/models/gone": {"kind": "none", "config": False, "heads": None, "weights_mib": 0}}
    files["/data/models/bare"] = {"kind": "directory", "config": False, "heads": None, "weights_mib": 5}
    seen = info(files=files)
    if "version" in changes:
        seen["workers"][0]["driver"] = "25.0.rc1"
    found = plan({**QWEN, **changes}, seen=seen)
    assert [each.replace("[models] atlas1: the model qwen3-32b ", "") for each in found["lines"][1:]] == [line]
    assert found["told"] == {"atlas1": "Told above: models"}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"hosts": ["atlas1", "atlas2"]}, "names 2 hosts, and GPUStack 0.7 keeps a model to one host or to none; expected one."),
        (
            {"chips": {"atlas1": [0, 1, 2, 3]}, "replicas": 2},
            "names chips for 2 replicas, and GPUStack 0.7 gives all of them to each; expected one replica.",
        ),
        ({"chips": {"atlas1": [0, 1]}}, "names 2 chips, and npus: 4 for replicas: 1 are 4; expected as many."),
        ({"backend": "sglang"}, "has backend: sglang, which GPUStack 0.7 does not have; expected one of llama_box, mindie, vllm, vox_box."),
        ({"backend": "my-engine"}, "has backend: my-engine, which GPUStack 0.7 does not have;"),
    ],
    ids=str,
)
def test_what_one_generation_can_not_do_is_refused_there_alone(changes, line):
    (first,) = told({**QWEN, **changes}, seen=info("v0.7.1"))
    assert first.startswith(f"FAIL {line}")


@pytest.mark.parametrize(
    "item",
    [
        {"name": "g", "path": "/data/models/g.gguf"},
        {"name": "g", "path": "/models/g.gguf"},
        {"name": "a", "path": "/data/models/whisper", "categories": ["speech_to_text"]},
        {"name": "h", "model_scope": "Qwen/Qwen3-8B", "npus": 2},
        {"name": "l", "path": "/data/lora/base", "npus": 1},
        {"name": "x", "path": PATH, "npus": 4, "parameters": ["--pipeline-parallel-size=2"], "across_hosts": True},
        {"name": "o", "settings": {"source": "ollama_library", "ollama_library_model_name": "q"}},
    ],
    ids=lambda item: item["name"],
)
@pytest.mark.parametrize("version", ["v0.7.1", "v2.3.0"])
def test_what_works_today_is_not_refused(item, version):
    files = {path: {"kind": "file", "config": False, "heads": None, "weights_mib": 0} for path in ("/data/models/g.gguf",)}
    files["/data/models/whisper"] = {"kind": "directory", "config": False, "heads": None, "weights_mib": 3000}
    assert plan(item, seen=info(version, files))["lines"] == []


def test_what_is_only_doubtful_is_a_warning_and_goes_on():
    tight = info(files={PATH: {**FOLDER, "weights_mib": 95000}})
    silent = info(files={PATH: {"kind": "unknown", "config": False, "heads": None, "weights_mib": 0}})
    for seen, text in ((tight, "expected more room beside them. Set npus: 8."), (silent, "and the store did not answer in time")):
        found = plan(QWEN, seen=seen)
        assert found["lines"][1].startswith("WARN [models] atlas1: the model qwen3-32b ") and text in found["lines"][1]
        assert found["told"] == {}


def test_all_is_told_at_once():
    assert len(told({**QWEN, "npus": 3}, {**QWEN, "name": "b", "path": "/x"}, {"name": "c"})) == 3


def test_a_check_of_hosts_without_a_cluster_names_what_would_be_made():
    assert plan(QWEN, seen={}) == {"lines": [], "told": {}, "names": ["qwen3-32b"], "watched": ["qwen3-32b"]}


def test_workers_are_named_as_gpustack_knows_them():
    items = filters.model_items([{**QWEN, "chips": {"atlas2": ["0", 1]}, "hosts": ["atlas2", "other"]}], HOSTVARS, GROUPS)
    assert items["qwen3-32b"]["chips"] == {"npu02": [0, 1]} and items["qwen3-32b"]["hosts"] == ["npu02", "other"]


def test_folders_are_looked_for_where_the_host_has_them():
    given = [QWEN, {"name": "m", "path": "/models/b"}, {"name": "x", "path": "/home/x"}, {**QWEN, "name": "o", "state": "absent"}]
    assert filters.model_files(given, HOSTVARS, GROUPS, "/data/models/") == [PATH, "/data/models/b"]


OTHERS = {"models": [{"name": "qwen3-32b"}, {"name": "clicked"}, {"name": "tried"}]}


def test_what_the_list_does_not_name_stays():
    assert plan(QWEN, seen=info(**OTHERS))["names"] == ["qwen3-32b"]


def test_what_the_list_does_not_name_goes_only_when_it_may():
    asked = plan(QWEN, seen=info(**OTHERS), exclusive=True)
    assert asked["lines"][1:] == [
        "FAIL [models] atlas1: gpustack_models does not name clicked, tried, which gpustack_models_exclusive removes; expected your"
        " word for it. Name those that are to stay, or give your word:",
        "  -e gpustack_models_exclusive=true -e gpustack_models_remove_confirm=true",
    ]
    assert asked["told"]
    confirmed = plan(QWEN, seen=info(**OTHERS), exclusive=True, confirm=True)
    assert (confirmed["lines"], confirmed["names"]) == ([], ["qwen3-32b", "clicked", "tried"])
    assert plan(QWEN, seen=info(**OTHERS), exclusive=True, check=True)["told"] == {}


def test_an_empty_list_never_removes_everything():
    found = plan(seen=info(**OTHERS), exclusive=True, confirm=True)
    assert "gpustack_models is empty, and gpustack_models_exclusive would remove every model" in found["lines"][1]
    assert found["told"]


def wrong(*items: Any) -> list[str]:
    rule = variables.role_rules(str(ROOT / "roles"), checks.SKIPPABLE)["gpustack_models"]
    return [f"{each.where} {each.found}; expected {each.expected}. {each.remedy}" for each in rules.judge(list(items), rule)]


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([QWEN, QWEN], '[2].name "qwen3-32b"; expected another one than that of [1]. Give it once, or another name.'),
        ([{**QWEN, "npu": 2}], "[1].npu 2; expected a name that there is. Did you mean npus?"),
        ([{"path": PATH}], "[1] a mapping without name; expected name in it. Add what is missing."),
        ([{**QWEN, "memory": 80}], "[1].memory 80; expected a number from 0 to 1, such as 0.8. Correct it."),
        ([{**QWEN, "version": 0.18}], "[1].version 0.18; expected one word, as a text. Put it in quotes."),
        ([{**QWEN, "name": "a b"}], '[1].name "a b"; expected letters, digits, and . _ - between them. Correct it.'),
        ([{**QWEN, "chips": {"atlas1": []}}], "[1].chips.atlas1 an empty list; expected one item at least. Correct it."),
        ([{"name": "m", "model_scope": "Qwen3"}], '[1].model_scope "Qwen3"; expected owner/name, such as Qwen/Qwen3-32B. Correct it.'),
    ],
    ids=str,
)
def test_a_slip_in_the_list_is_told_before_any_host_is_asked(items, text):
    assert wrong(*items) == [text]


def test_a_list_as_it_is_meant_is_taken():
    full = {
        **QWEN,
        "state": "present",
        "replicas": 0,
        "chips": {"atlas1": [0, 1, 2, 3]},
        "memory": 0,
        "env": {"A": "1"},
        "version": "0.18.0",
    }
    assert (
        wrong(full, {"name": "b", "hugging_face": "a/b", "file": "q.gguf", "memory": 0.85, "settings": {"restart_on_error": False}}) == []
    )


DONE = {"ansible_loop_var": "name", "name": "qwen3-32b", "action": "created", "changed": True}
SEEN = {
    "models": [],
    "problems": [],
    "instances": [
        {"model": "qwen3-32b", "state": "running", "worker": "atlas1"},
        {"model": "qwen3-32b", "state": "running", "worker": "npu02"},
    ],
    "answers": {"qwen3-32b": {"ok": True, "kind": "chat", "first_token_ms": 212, "tokens_per_second": 41.5, "error": ""}},
}


def summary(applied: list, seen: dict, names: list[str]) -> dict[str, Any]:
    return filters.model_summary(applied, seen, {"names": names}, {"server": "atlas1", "url": "http://172.16.33.106:8080"})


def test_the_end_tells_each_model_with_its_figures():
    found = summary([DONE], SEEN, ["qwen3-32b"])
    assert found["lines"] == [
        "MODEL      CHANGE   STATE      ON             ANSWER",
        "qwen3-32b  created  2 running  atlas1, npu02  first token after 212 ms, 41.5 tokens/s",
    ]
    assert found["stats"]["ok"] is True and found["told"] == {}
    assert found["stats"]["models"]["qwen3-32b"]["answer"]["tokens_per_second"] == 41.5


def test_the_end_tells_what_failed_and_the_host_fails():
    problem = "model b: its instance b-x1 has failed on atlas1; expected it to run. Its log ends with:\n  out of memory"
    refused = {"ansible_loop_var": "name", "name": "c", "reason": "rejected"}
    refused["msg"] = "model c: GPUStack refuses it (Worker npu09 not found); expected it to take what is said of the model. Correct that."
    found = summary([DONE, refused], {**SEEN, "problems": [problem]}, ["qwen3-32b", "b", "c"])
    assert found["lines"][4:] == [
        "The models found 2 problems on 1 of 1 host:",
        f"FAIL [models] atlas1: {refused['msg']}",
        "FAIL [models] atlas1: model b: its instance b-x1 has failed on atlas1; expected it to run. Its log ends with:",
        "  out of memory",
    ]
    assert found["told"] == {"atlas1": "Told above: models"} and found["stats"]["ok"] is False
    assert found["stats"]["models"]["c"]["action"] == "failed"


def test_the_end_tells_that_gpustack_fell_silent():
    found = summary([DONE], {"msg": "http://127.0.0.1:8080 did not answer in 30 s"}, ["qwen3-32b"])
    assert "GPUStack could not be asked for its models: http://127.0.0.1:8080 did not answer in 30 s." in found["lines"][-1]


def test_an_exported_list_is_read_as_it_was():
    listed = [
        {**QWEN, "env": {"HF_TOKEN": "{{ vault_qwen3_32b_hf_token }}"}, "parameters": ["--a='b': c"], "memory": 0},
        {"name": "名", "path": "/data/models/x", "chips": {"atlas1": [0]}},
    ]
    assert yaml.safe_load(filters.model_list({"models": listed})) == {"gpustack_models": listed}
    assert yaml.safe_load(filters.model_list({})) == {"gpustack_models": []}


def test_an_exported_list_that_is_printed_can_be_copied():
    env, said = {"HF_TOKEN": "{{ vault_m_hf_token }}"}, ["--api-key={{ vault_m_api_key }}"]
    text = filters.model_list({"models": [{"name": "m", "path": "/data/models/m", "env": env, "parameters": said}]})
    assert redact.text(text) == text
    assert [redact.text(line) for line in text.splitlines()] == text.splitlines()
    assert "hunter2hunter2" not in redact.text('env: {"HF_TOKEN": "hunter2hunter2"}')


@pytest.mark.parametrize(
    ("engine", "wanted", "driver", "found"),
    [
        ("vllm", "0.13.0", "24.1.rc3", ("25.0", "0.10.2")),
        ("vllm", "0.18.0", "25.2.0", ("", "")),
        ("vllm", "0.30.0", "25.0.0", ("25.2", "0.20.2")),
        ("vllm", "0.31.0", "25.0.0", ("", "")),
        ("mindie", "2.3.0", "24.1.rc2", ("25.0", "2.1.rc2")),
        ("mindie", "2.1.rc1", "24.1.rc2", ("", "")),
        ("sglang", "0.5.20", "24.1.0", ("25.0", "")),
        ("vllm", "0.30.0", "", ("", "")),
    ],
)
def test_an_engine_needs_the_driver_of_its_cann(engine, wanted, driver, found):
    table = models.generations.of("2.3.0").runners
    assert runners.needed(table, "2.3.0", "910B4", engine, wanted, driver) == found
