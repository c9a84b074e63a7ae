"""The models of one cluster, in the order of its life."""

from __future__ import annotations

import json
import re

import pytest
import small_model
import yaml
from conftest import Run, run_playbook, wait_until

HOSTS = ["atlas1", "atlas2", "atlas3"]
LIMIT = ("--limit", ",".join(HOSTS))
SECRET = "hf_VeryPrivate0815abcdefgh"
STORE = "/data/models"
TINY = {
    "name": "tiny",
    "path": f"{STORE}/tiny",
    "version": "0.18.0",
    "npus": 2,
    "chips": {"atlas2": [0, 1]},
    "categories": ["llm"],
    "env": {"HF_TOKEN": "{{ vault_tiny_hf_token }}"},
}
OTHER = {"name": "other", "path": "/models/tiny", "version": "0.18.0", "npus": 1, "hosts": ["atlas3"], "categories": ["llm"]}
BASE = {
    "gpustack_runners": [small_model.RUNNER],
    "gpustack_models_wait": 1200,
    "vault_tiny_hf_token": SECRET,
}


def models(*items: dict, playbook: str = "models", arguments: tuple = (), **variables) -> Run:
    return run_playbook(playbook, *LIMIT, *arguments, variables={**BASE, "gpustack_models": list(items), **variables})


@pytest.fixture(scope="module")
def site(atlas) -> tuple[Run, Run]:
    prepare = f"mkdir -p {STORE}/tiny {STORE}/bare && echo '{json.dumps(small_model.CONFIG)}' > {STORE}/tiny/config.json"
    atlas("atlas1").check_output(prepare)
    return models(TINY, OTHER, playbook="site", arguments=("-vvv", "--diff")), models(TINY, OTHER, playbook="site")


@pytest.fixture
def known(atlas, token):
    """A function that returns GPUStack's models by name."""

    def ask() -> dict[str, dict]:
        command = f"printf 'user = \"system/worker/x:{token}\"' | curl -sS -K - 'http://127.0.0.1:8080/v2/models?perPage=100'"
        return {each["name"]: each for each in json.loads(atlas("atlas1").check_output(command))["items"]}

    return ask


def changed(run: Run) -> int:
    return sum(counts["changed"] for counts in run.recap.values())


def test_two_models_answer_at_the_end_of_site(site, known):
    first, _second = site
    assert first.rc == 0, first.failure
    assert re.search(r"^tiny +created +1 running +atlas2 +first token after \d+ ms", first.output, flags=re.M)
    assert re.search(r"^other +created +1 running +atlas3 +first token after \d+ ms", first.output, flags=re.M)
    assert {name: model["ready_replicas"] for name, model in known().items()} == {"tiny": 1, "other": 1}


def test_second_run_changes_nothing(site):
    _first, second = site
    assert second.rc == 0, second.failure
    assert changed(second) == 0


def test_no_secret_is_printed(site, token):
    for run in site:
        assert SECRET not in run.output and token not in run.output


def test_a_list_that_the_cluster_tells_changes_nothing(site, tmp_path):
    file = tmp_path / "models.yml"
    told = models(playbook="models_export", gpustack_models_file=str(file))
    assert told.rc == 0, told.failure
    listed = yaml.safe_load(file.read_text())["gpustack_models"]
    assert SECRET not in file.read_text() and listed[0]["env"]["HF_TOKEN"] == "{{ vault_tiny_hf_token }}"
    again = models(*listed)
    assert again.rc == 0 and changed(again) == 0, again.failure


def test_a_check_shows_exactly_the_change_and_changes_nothing(site, known):
    before = known()
    run = models({**TINY, "context": 4096}, OTHER, arguments=("--check", "--diff"))
    added = [line for line in run.output.splitlines() if line.startswith("+ ")]
    assert added == ['+  "context": 4096,'] and changed(run) == 1
    assert known() == before


def test_a_changed_argument_changes_one_model(site, known):
    before = known()
    run = models({**TINY, "context": 4096}, OTHER)
    assert run.rc == 0, run.failure
    assert re.search(r"^tiny +restarted +1 running", run.output, flags=re.M) and re.search(r"^other +none", run.output, flags=re.M)
    assert "--max-model-len=4096" in known()["tiny"]["backend_parameters"]
    assert known()["other"]["updated_at"] >= before["other"]["updated_at"]


def test_a_model_is_scaled_without_a_stop(site, known):
    run = models(TINY | {"context": 4096}, {**OTHER, "replicas": 2})
    assert run.rc == 0, run.failure
    assert re.search(r"^other +scaled +2 running", run.output, flags=re.M)


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"name": "a", "path": f"{STORE}/gone"}, "and there is nothing; expected its folder in the store"),
        ({"name": "a", "path": f"{STORE}/bare"}, "where no config.json is"),
        (
            {"name": "a", "path": f"{STORE}/tiny", "npus": 16},
            "asks for 16 NPUs for each instance, and the largest host",
        ),
        ({"name": "a", "path": f"{STORE}/tiny", "npus": 4}, "which do not divide the 14 attention heads"),
        ({"name": "tiny", "path": f"{STORE}/tiny"}, "expected another one than that of [1]"),
        ({"name": "a", "path": f"{STORE}/tiny", "npu": 1}, "Did you mean npus?"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_can_not_run_is_refused_before_anything_is_sent(site, known, item, text):
    before = set(known())
    run = models(TINY, item)
    assert run.rc != 0 and text in run.text
    assert set(known()) == before


def test_an_engine_that_the_driver_can_not_run_is_refused(site, known, atlas, token):
    before, host = set(known()), atlas("atlas3")
    host.check_output("npu-sim set driver 25.0.rc1")
    ask = f"printf 'user = \"system/worker/x:{token}\"' | curl -sS -K - 'http://127.0.0.1:8080/v2/workers?perPage=100'"
    try:
        wait_until("GPUStack knows that driver", lambda: "25.0.rc1" in atlas("atlas1").check_output(ask), pause=3)
        run = models(TINY, {"name": "a", "path": f"{STORE}/tiny", "version": "0.30.0", "npus": 1, "hosts": ["atlas3"]})
    finally:
        host.check_output("npu-sim set driver 25.2.0")
    assert run.rc != 0 and "asks for version: 0.30.0, which needs the driver 25.2 or newer, and that of atlas3 is 25.0.rc1" in run.text
    assert set(known()) == before


def test_a_model_whose_engine_fails_ends_the_wait_with_its_log(site):
    # Less shared memory than the engine needs
    bad = {"name": "bad", "path": f"{STORE}/tiny", "version": "0.18.0", "npus": 1, "env": {"GPUSTACK_MODEL_RUNTIME_SHM_SIZE_GIB": "0.5"}}
    run = models(bad)
    assert run.rc != 0
    assert re.search(r"model bad: its instance bad-\S+ has failed on atlas\d", run.text) and "too little shared memory" in run.text
    assert models({"name": "bad", "state": "absent"}).rc == 0


def test_a_model_that_is_late_is_told_as_that(site):
    late = {"name": "late", "path": f"{STORE}/tiny", "version": "0.18.0", "npus": 1, "env": {"VLLM_STANDIN_LOAD_S": "900"}}
    run = models(late, gpustack_models_wait=60)
    assert run.rc != 0 and "model late: it does not run yet" in run.text


def test_what_the_list_does_not_name_goes_only_when_it_may(site, known, atlas):
    asked = models(OTHER, gpustack_models_exclusive=True)
    assert asked.rc != 0 and "expected your word for it" in asked.text
    assert "tiny" in known()
    assert models(gpustack_models_exclusive=True, gpustack_models_remove_confirm=True).rc != 0
    run = models({**OTHER, "replicas": 2}, gpustack_models_exclusive=True, gpustack_models_remove_confirm=True)
    assert run.rc == 0, run.failure
    assert set(known()) == {"other"}
    assert atlas("atlas1").file(f"{STORE}/tiny/config.json").exists
