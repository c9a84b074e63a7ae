"""The drill with GPUStack 2.3, whose database is PostgreSQL."""

from __future__ import annotations

import drill
import pytest
from conftest import lab, run_playbook
from drill import LIMIT, PASSWORD, Api

VARIABLES = {
    "gpustack_version": "2.3.0",
    "gpustack_bootstrap_password": PASSWORD,
    # The lab's own are 0.7's.
    "gpustack_server_config": {},
    "gpustack_worker_config": {},
}
MODEL = {"backend": "vLLM", "backend_version": "0.18.0", "categories": ["llm"], "cluster_id": 1}


@pytest.fixture(scope="module")
def server(atlas):
    return atlas("atlas1")


@pytest.fixture(scope="module")
def api(server):
    return Api(server, "v2")


@pytest.fixture(scope="module")
def story(server, api) -> dict:
    """A cluster on empty hosts, that people use, its state, and its backup."""
    lab("reset", "3")
    assert run_playbook("site", *LIMIT, variables=VARIABLES).rc == 0
    key = drill.fill(api, MODEL)
    before, runs = api.state(), drill.started(server)
    made = run_playbook("backup", variables=VARIABLES)
    assert made.rc == 0, made.failure
    assert drill.started(server) == runs
    return {"key": key, "state": before}


def test_destroyed_server_is_as_before(story, api, server):
    drill.destroy(server)
    run = drill.restored(VARIABLES)
    assert run.rc == 0, run.failure
    assert drill.settled(api, story["state"])
    code = f"curl -s -o /dev/null -w '%{{http_code}}' -H 'Authorization: Bearer {story['key']}' http://127.0.0.1:8080/v1/models"
    assert server.check_output(code) == "200"


def test_run_after_it_changes_nothing(story):
    run = run_playbook("site", *LIMIT, variables=VARIABLES)
    assert run.rc == 0, run.failure
    assert {name: counts["changed"] for name, counts in run.recap.items()} == dict.fromkeys(drill.THREE, 0)


def test_restore_that_fails_leaves_what_was_there(story, api, server):
    now = api.state()
    run = drill.restored(VARIABLES, gpustack_restore_confirm=True, gpustack_wait=1)
    assert run.rc != 0 and "What was there was put back, and runs again" in run.text, run.failure
    assert drill.containers(server) == ["gpustack"]
    assert drill.settled(api, now)


def test_backup_of_another_generation_is_refused(story, server):
    run = drill.restored({**VARIABLES, "gpustack_version": "0.7.1"}, gpustack_restore_confirm=True)
    assert run.rc != 0 and "and 0.7.1 is to run here, which does not take its data" in run.text
