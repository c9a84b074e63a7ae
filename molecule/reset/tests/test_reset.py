"""From a cluster to empty servers, in the steps that an operator may take; each test goes on where the one before ended."""

from __future__ import annotations

import json
import subprocess

import pytest
from conftest import LAB, inspect, run_playbook

TWO = ("--limit", "atlas1,atlas2")
TOKEN = "an-operators.token/of+its=own"
PASSWORD = "Correct-Horse-9"
GIVEN = {"gpustack_token": TOKEN, "gpustack_bootstrap_password": PASSWORD}


@pytest.fixture(scope="module")
def site():
    run = run_playbook("site", "-vvv", "--diff", *TWO, variables=GIVEN)
    assert run.rc == 0, run.output
    return run


@pytest.fixture
def token() -> str:
    return TOKEN


def volumes(host) -> list[str]:
    return host.check_output("docker volume ls -q").split()


def test_servers_are_debian(atlas):
    assert "ID=debian" in atlas("atlas1").file("/etc/os-release").content_string


def test_given_token_and_password_work_and_are_printed_nowhere(site, atlas, api):
    assert [worker["state"] for worker in api("workers")["items"]] == ["ready", "ready"]
    server = atlas("atlas1")
    login = f"printf 'user = \"admin:{PASSWORD}\"' | curl -fsS -K - http://127.0.0.1:8080/v1/users/me"
    assert json.loads(server.check_output(login))["username"] == "admin"
    for secret in (TOKEN, PASSWORD):
        assert secret not in site.output
        for name in ("atlas1", "atlas2"):
            assert secret not in atlas(name).check_output("docker inspect gpustack; ps -ef ww")
    # GPUStack writes no file for what it was given.
    assert server.run("docker exec gpustack ls /var/lib/gpustack/token /var/lib/gpustack/initial_admin_password").rc != 0


def test_reset_without_confirmation_says_what_it_would_remove(site, atlas):
    run = run_playbook("reset", *TWO, variables={**GIVEN, "gpustack_reset_confirm": "false", "gpustack_reset_data": "false"})
    assert run.rc != 0
    assert (
        "atlas2: reset would remove the container gpustack (running), /etc/gpustack. "
        "Expected gpustack_reset_confirm: true; set it to go on." in run.text
    )
    assert inspect(atlas("atlas2"))["State"]["Running"]


def test_one_worker_is_removed_and_its_name_is_free(site, atlas, api):
    run = run_playbook("reset", "--limit", "atlas2", variables={**GIVEN, "gpustack_reset_confirm": True, "gpustack_reset_data": True})
    assert run.rc == 0, run.output
    assert [worker["name"] for worker in api("workers")["items"]] == ["atlas1"]
    assert "gpustack-data" not in volumes(atlas("atlas2"))
    run = run_playbook("site", *TWO, variables=GIVEN)
    assert run.rc == 0, run.output
    assert sorted(worker["name"] for worker in api("workers")["items"]) == ["atlas1", "atlas2"]


def test_reset_keeps_data_and_a_new_run_finds_it(site, atlas, api):
    before = {worker["name"]: worker["worker_uuid"] for worker in api("workers")["items"]}
    atlas("atlas1").check_output("echo weights > /data/models/own-model")
    run = run_playbook("reset", *TWO, variables={**GIVEN, "gpustack_reset_confirm": True})
    assert run.rc == 0, run.output
    for name in ("atlas1", "atlas2"):
        host = atlas(name)
        assert host.check_output("docker ps -aq") == ""
        assert not host.file("/etc/gpustack").exists
        assert "gpustack-data" in volumes(host)
    assert run_playbook("site", *TWO, variables=GIVEN).rc == 0
    assert {worker["name"]: worker["worker_uuid"] for worker in api("workers")["items"]} == before


def test_reset_of_data_leaves_what_the_operator_put_on_the_store(site, atlas):
    run = run_playbook("reset", *TWO, variables={**GIVEN, "gpustack_reset_confirm": "true", "gpustack_reset_data": "true"})
    assert run.rc == 0, run.output
    server = atlas("atlas1")
    assert "gpustack-data" not in volumes(server)
    assert not server.file("/data/models/gpustack-cache").exists
    assert server.file("/data/models/own-model").content_string == "weights\n"
    assert run_playbook("reset", *TWO, variables={"gpustack_reset_confirm": True}).recap["atlas1"]["changed"] == 0


def test_worker_is_removed_even_when_the_server_is_gone(site, atlas):
    run = run_playbook("reset", "--limit", "atlas2", variables={"gpustack_reset_confirm": True})
    assert run.rc == 0, run.output
    assert "atlas2: GPUStack on atlas1 could not be asked (there is no container gpustack on this host" in run.text


def test_container_made_by_hand_is_not_removed(site, atlas):
    host = atlas("atlas2")
    image = host.check_output("docker images --format '{{.Repository}}:{{.Tag}}' | grep v0.7.1")
    host.check_output(f"docker create --name gpustack {image}")
    run = run_playbook("reset", "--limit", "atlas2", variables={"gpustack_reset_confirm": True})
    assert run.rc != 0
    assert "atlas2: the container gpustack was made by hand, not by this collection; expected one of its own." in run.text
    assert (
        subprocess.run(["docker", "exec", f"{LAB}-atlas2", "docker", "inspect", "gpustack"], capture_output=True, check=False).returncode
        == 0
    )
