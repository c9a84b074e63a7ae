"""Models on GPUStack 0.7, whose engines run in its own container."""

from __future__ import annotations

import json
import re

import pytest
import small_model
from conftest import EARLIER, Run, run_playbook

LIMIT = ("--limit", "atlas1,atlas2", "-i", EARLIER)
STORE = "/data/models"
TINY = {"name": "tiny", "path": f"{STORE}/tiny", "npus": 2, "chips": {"atlas2": [0, 1]}, "categories": ["llm"]}
OTHER = {"name": "other", "path": "/models/tiny", "npus": 1, "hosts": ["atlas1"], "categories": ["llm"]}


def models(*items: dict, playbook: str = "models", arguments: tuple = (), **variables) -> Run:
    given = {"gpustack_models_wait": 1200, "gpustack_models": list(items), **variables}
    return run_playbook(playbook, *LIMIT, *arguments, variables=given)


@pytest.fixture(scope="module")
def site(atlas) -> tuple[Run, Run]:
    prepare = f"mkdir -p {STORE}/tiny && echo '{json.dumps(small_model.CONFIG)}' > {STORE}/tiny/config.json"
    atlas("atlas1").check_output(prepare)
    return models(TINY, OTHER, playbook="site"), models(TINY, OTHER, playbook="models")


def test_two_models_answer_and_a_second_run_changes_nothing(site):
    first, second = site
    assert first.rc == 0, first.failure
    assert re.search(r"^tiny +created +1 running +atlas2 +first token after \d+ ms, [\d.]+ tokens/s", first.output, flags=re.M)
    assert re.search(r"^other +created +1 running +atlas1 +first token after \d+ ms", first.output, flags=re.M)
    assert second.rc == 0 and sum(counts["changed"] for counts in second.recap.values()) == 0, second.failure


@pytest.mark.parametrize("base", ["/v1", "/v1-openai"])
def test_openai_s_client_is_answered_at_both_addresses(site, token, base):
    asked = small_model.client(token, base, bearer=False)
    assert small_model.hello(asked, "tiny").startswith("An NPU answers")
    assert small_model.hello(asked, "other", stream=True).startswith("An NPU answers")


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"hosts": ["atlas1", "atlas2"]}, "names 2 hosts, and GPUStack 0.7 keeps a model to one host or to none; expected one"),
        ({"chips": {"atlas1": [0, 1]}, "npus": 1, "replicas": 2}, "names chips for 2 replicas, and GPUStack 0.7 gives all of them to each"),
        ({"backend": "sglang"}, "has backend: sglang, which GPUStack 0.7 does not have; expected one of"),
        ({"npus": 4}, "which do not divide the 14 attention heads"),
    ],
    ids=["hosts", "replicas", "backend", "heads"],
)
def test_what_this_gpustack_can_not_do_is_refused(site, item, text):
    run = models({"name": "a", "path": f"{STORE}/tiny", **item})
    assert run.rc != 0 and text in run.text


def test_a_model_whose_engine_fails_ends_the_wait(site):
    run = models({"name": "bad", "path": f"{STORE}/tiny", "npus": 1, "env": {"NPU_SIM_ROOT": "/nowhere"}})
    assert run.rc != 0 and re.search(r"model bad: its instance bad-\S+ has failed on atlas\d", run.text)
    assert models({"name": "bad", "state": "absent"}).rc == 0


def test_a_model_that_is_late_is_told_as_that(site):
    late = {"name": "late", "path": f"{STORE}/tiny", "npus": 1, "env": {"VLLM_STANDIN_LOAD_S": "900"}}
    run = models(late, gpustack_models_wait=60)
    assert run.rc != 0 and "model late: it does not run yet" in run.text
    assert models({"name": "late", "state": "absent"}).rc == 0
