"""GPUStack 2.2.3 as its own documentation starts it, with a model that runs, and the run that takes it over."""

from __future__ import annotations

import json
import shlex

import pytest
import small_model
import yaml
from conftest import Run, api_of, inspect, reached, run_playbook, wait_until

BOTH = ("--limit", "atlas1,atlas2")
TOKEN = "chosen-by-an-operator-2026"
IMAGE = "gpustack/gpustack:v2.2.3"
SERVER, WORKER = "gpustack-server", "gpustack-worker"
# What GPUStack's page has in the command for a host with Ascend NPUs
MOUNTS = (
    *("/var/run/docker.sock", "/usr/local/dcmi", "/usr/local/bin/npu-smi", "/usr/local/Ascend/driver", "/etc/ascend_install.info"),
    *("/etc/hccn.conf", "/data/models"),
)
ACCEPTED = {
    "gpustack_takeover_upgrade": "true",
    "gpustack_takeover_drop": ["--network"],
    "gpustack_runners": [small_model.RUNNER],
}


def run_by_hand(host, name: str, *arguments: str, options: tuple[str, ...]) -> None:
    words = ["docker", "run", "-d", "--name", name, "--restart=unless-stopped", "-v", "gpustack-data:/var/lib/gpustack", *options]
    host.check_output("systemctl disable --now firewalld && systemctl restart docker")
    host.check_output(shlex.join([*words, IMAGE, *arguments]))


@pytest.fixture(scope="module")
def inventory(tmp_path_factory) -> list[str]:
    """The names of the containers that are there. From then on the server's host works, too."""
    path = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    names = {"atlas1": {"gpustack_container_name": SERVER}, "atlas2": {"gpustack_container_name": WORKER}}
    path.write_text(yaml.safe_dump({"all": {"hosts": names}}))
    return ["-i", str(path)]


@pytest.fixture(scope="module")
def before(atlas):
    server, worker = atlas("atlas1"), atlas("atlas2")
    publish = ("-p", "8080:80", "-p", "10161:10161", "-e", f"GPUSTACK_TOKEN={TOKEN}")
    run_by_hand(server, SERVER, options=publish)
    url = f"http://{server.interface('eth0').addresses[0]}:8080"
    given = ("--server-url", url, "--worker-name", "atlas2", "--worker-ip", worker.interface("eth0").addresses[0])
    environment = (f"GPUSTACK_RUNTIME_DEPLOY_MIRRORED_NAME={WORKER}", f"GPUSTACK_TOKEN={TOKEN}")
    options = [word for mount in MOUNTS for word in ("-v", f"{mount}:{mount}")] + [word for each in environment for word in ("-e", each)]
    run_by_hand(worker, WORKER, *given, options=("--privileged", "--network=host", *options))
    ask = api_of(server, TOKEN)
    wait_until("the server answers", lambda: server.run("curl -fsS http://127.0.0.1:8080/readyz").rc == 0, pause=2)
    found = wait_until("the worker is ready", lambda: [each for each in ask("workers")["items"] if each["state"] == "ready"], pause=2)
    container = small_model.deploy(ask, {"atlas2": worker}, {"atlas2": 4})["atlas2"]
    return {"worker": found[0]["id"], "model": inspect(worker, container)["Id"], "container": container}


@pytest.fixture(scope="module")
def refused(before, inventory) -> Run:
    return run_playbook("preflight", *inventory, *BOTH, variables={"gpustack_takeover_upgrade": "false"})


@pytest.fixture(scope="module")
def taken_over(refused, inventory) -> Run:
    return run_playbook("site", *inventory, *BOTH, "-vvv", "--diff", variables=ACCEPTED)


def test_preflight_says_what_would_be_lost_and_that_it_would_be_an_upgrade(refused, before):
    assert refused.rc != 0
    told = [line for line in refused.output.splitlines() if line.startswith("FAIL [takeover]")]
    print("\n".join(told))
    assert any("runs GPUStack 2.2.3; 2.3.0 would change its data for good" in line for line in told)


def test_server_and_worker_are_the_same_ones_at_the_new_version(taken_over, before, atlas):
    assert taken_over.rc == 0, taken_over.failure
    ask = api_of(atlas("atlas1"), TOKEN)
    found = reached(lambda: {worker["name"]: worker for worker in ask("workers?perPage=100")["items"]})
    assert {name: worker["state"] for name, worker in found.items()} == {"atlas1": "ready", "atlas2": "ready"}
    assert found["atlas2"]["id"] == before["worker"]
    assert "2 of 2 workers ready, 16 NPUs, GPUStack v2.3.0" in taken_over.text
    assert TOKEN not in taken_over.output


def test_model_that_runs_is_left_alone_and_answers(taken_over, before, atlas):
    state = inspect(atlas("atlas2"), before["container"])
    assert (state["Id"], state["State"]["Running"]) == (before["model"], True)
    answer = small_model.chat(atlas("atlas1"), TOKEN, "tiny-atlas2", "http://127.0.0.1:8080")
    assert answer.count("data: {") > 2, answer


def test_new_containers_have_no_secret_in_their_environment(taken_over, atlas):
    for name, container in (("atlas1", SERVER), ("atlas2", WORKER)):
        assert TOKEN not in json.dumps(inspect(atlas(name), container))


def test_run_after_the_takeover_changes_nothing(taken_over, inventory):
    run = run_playbook("site", *inventory, *BOTH, variables=ACCEPTED)
    assert (run.rc, {host: counts["changed"] for host, counts in run.recap.items()}) == (0, {"atlas1": 0, "atlas2": 0})


def test_reset_removes_the_containers_of_the_models_that_the_host_runs_and_no_other(taken_over, before, inventory, atlas):
    host = atlas("atlas2")
    host.check_output("docker run --detach --name=mine --entrypoint=sleep quay.io/ascend/vllm-ascend:v0.9.2rc1 infinity")
    asked = run_playbook("reset", *inventory, "--limit", "atlas2")
    (line,) = [line for line in asked.output.splitlines() if line.startswith("atlas2: the model instance tiny-atlas2-")]
    assert asked.rc != 0 and before["container"] in line
    run = run_playbook("reset", *inventory, "--limit", "atlas2", variables={"gpustack_reset_confirm": True})
    assert run.rc == 0, run.failure
    assert host.check_output("docker ps --all --format '{{.Names}}'") == "mine"
