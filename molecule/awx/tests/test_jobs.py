"""From an empty AWX project to a cluster and back, by the job templates that people see; each test goes on where the one before ended."""

from __future__ import annotations

import json

import environment
import pytest
from conftest import lab
from jobs import TOKEN, Controller, call, operators_project

# What the surveys hand over when nobody changes anything: texts, also for booleans and numbers.
DEPLOY = {"gpustack_preflight_continue": "false", "gpustack_restart_at_once": "1", "gpustack_worker_replace_stale": "false"}
DEPLOY |= {"gpustack_takeover_upgrade": "false"}
MODELS = ("Qwen/Qwen3-30B-A3B", "Qwen/Qwen2.5-Coder-32B-Instruct")


@pytest.fixture(scope="module")
def controller(tmp_path_factory):
    folder = tmp_path_factory.mktemp("awx")
    return Controller(folder, operators_project(folder))


@pytest.fixture
def job(controller, capsys):
    """A function that runs a job template, prints its artifacts, and sees that it printed no secret."""

    def run(template: str, answers: dict | None = None, **prompts):
        done = controller.run(template, answers or {}, **prompts)
        assert TOKEN not in done.output
        print(done.output)
        with capsys.disabled():
            print(f"\n{template}: exit {done.rc}, artifacts {json.dumps(done.artifacts)}")
        return done

    return run


@pytest.fixture(scope="module")
def image(controller):
    return environment.build(controller.project, controller.folder / "environment")


def containers(host) -> str:
    return host.check_output("docker ps --format '{{.Names}} {{.Status}}'")


def test_collections_come_with_the_project(controller):
    listed = json.loads(call(["ansible-galaxy", "collection", "list", "--format", "json"], controller.project, **controller.environment))
    found = {name for path, names in listed.items() if path == str(controller.collections / "ansible_collections") for name in names}
    assert found == {"ascend.gpustack", "ansible.posix", "community.docker", "community.library_inventory_filtering_v1"}


def test_preflight_that_fails_hands_its_findings_on(job):
    lab("exec", "atlas2", "npu-sim", "set", "health", "5", "Alarm")
    done = job("GPUStack: preflight", {"ascend_driver_check_skip": ["clock"]})
    lab("exec", "atlas2", "npu-sim", "set", "health", "5", "OK")
    assert done.rc != 0
    found = done.artifacts["ascend_driver_check"]
    assert (found["hosts"], found["bad_hosts"]) == (2, ["atlas2"])
    assert [(item["host"], item["check"]) for item in found["findings"] if item["result"] == "fail"] == [("atlas2", "npu_count")]


def test_execution_environment_has_all_that_preflight_needs(job, image):
    done = job("GPUStack: preflight", image=image)
    assert done.rc == 0
    assert (done.artifacts["ascend_driver_check"]["hosts"], done.artifacts["ascend_driver_check"]["bad_hosts"]) == (2, [])


def test_deploy_goes_on_from_preflights_artifacts_and_keeps_to_its_limit(job, atlas):
    preflight = job("GPUStack: preflight")
    assert preflight.rc == 0
    assert preflight.artifacts["ascend_driver_check"]["bad_hosts"] == []
    done = job("GPUStack: deploy", {**DEPLOY, **preflight.artifacts}, limit="atlas1", forks=1)
    assert done.rc == 0
    cluster = done.artifacts["gpustack_cluster"]
    assert (cluster["ok"], cluster["workers"], cluster["npus"], cluster["problems"]) == (True, ["atlas1"], 8, [])
    assert containers(atlas("atlas2")) == ""


def test_worker_joins_by_the_limit(job):
    done = job("GPUStack: add worker", {"gpustack_worker_replace_stale": "false"}, limit="atlas2")
    assert done.rc == 0
    cluster = done.artifacts["gpustack_cluster"]
    assert (cluster["workers"], cluster["npus"]) == (["atlas1", "atlas2"], 16)
    assert "atlas1" not in done.output.split("PLAY RECAP")[1]


def test_verify_tells_url_workers_npus_and_problems(job):
    done = job("GPUStack: verify")
    assert done.rc == 0
    assert done.artifacts["gpustack_cluster"]["url"].endswith(":8080")
    assert sorted(done.artifacts["gpustack_cluster"]) == ["collection_version", "npus", "ok", "problems", "url", "workers"]


def test_what_one_job_of_a_workflow_hands_on_is_no_misspelt_variable_to_the_next(job):
    verify = job("GPUStack: verify")
    preflight = job("GPUStack: preflight", verify.artifacts)
    assert preflight.rc == 0
    assert [item for item in preflight.artifacts["ascend_driver_check"]["findings"] if item["check"] == "variables"] == []


def test_deploy_again_changes_nothing(job):
    done = job("GPUStack: deploy", DEPLOY)
    assert done.rc == 0
    assert "changed=0" in done.text and "changed=1" not in done.text


def test_reset_says_first_what_it_would_remove_and_removes_it_when_approved(job, atlas):
    refused = job("GPUStack: reset", {"gpustack_reset_confirm": "false", "gpustack_reset_data": "false"})
    assert refused.rc != 0
    assert "Reset would remove: atlas1, atlas2: the container gpustack (running)" in refused.text
    assert "the job template of the playbook reset with the extra variables" in refused.text
    preview = job("GPUStack: reset", {"gpustack_reset_confirm": "true", "gpustack_reset_data": "true"}, job_type="check")
    assert preview.rc == 0
    assert "gpustack" in containers(atlas("atlas2"))
    done = job("GPUStack: reset", {"gpustack_reset_confirm": "true", "gpustack_reset_data": "true"})
    assert done.rc == 0
    assert [containers(atlas(name)) for name in ("atlas1", "atlas2")] == ["", ""]


def test_swarm_takes_the_servers_over_and_hands_its_services_on(job, atlas):
    atlas("atlas1").check_output(f"mkdir -p {' '.join(f'/data/models/{model}' for model in MODELS)}")
    done = job("GPUStack: Swarm")
    assert done.rc == 0
    stack = done.artifacts["vllm_stack"]
    assert (stack["ok"], stack["problems"]) == (True, [])
    assert "[WARNING]" not in done.output
    assert atlas("atlas2").check_output("docker ps -q --filter label=com.docker.swarm.service.name=vllm_qwen3") != ""


def test_nothing_is_left_on_the_controller(controller):
    for project in controller.folder.glob("awx_*/project"):
        assert call(["git", "status", "--porcelain", "--ignored"], project) == ""
    assert [path for path in (controller.folder / "home").rglob("*") if path.is_file()] == []
