"""From a cluster to empty servers, in the steps that an operator may take; each test goes on where the one before ended."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
import small_model
from conftest import EARLIER, IMAGE, INVENTORY, LAB, OLD, ROOT, VERSION, identity, inspect, log_in, run_playbook

TWO = ("--limit", "atlas1,atlas2")
TOKEN = "an-operators.token/of+its=own"
PASSWORD = "Correct-Horse-9"
GIVEN = {"gpustack_token": TOKEN, "gpustack_bootstrap_password": PASSWORD}


CACHE = "/data/models/gpustack-cache"


@pytest.fixture(scope="module")
def site():
    # On these hosts nobody serves the store; an NFS server makes the directory as this does.
    made = ["ansible", "-i", INVENTORY, "atlas1", "-m", "ascend.gpustack.gpustack_directory", "-a", f"path={CACHE} store=/data/models"]
    subprocess.run(made, cwd=ROOT, check=True)
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


def test_given_token_and_password_work_and_are_printed_nowhere(site, atlas, workers):
    assert [worker["state"] for worker in workers().values()] == ["ready", "ready"]
    server = atlas("atlas1")
    assert (log_in(server, PASSWORD), log_in(server, "not-the-word")) == ("200", "401")
    for secret in (TOKEN, PASSWORD):
        assert secret not in site.output
        for name in ("atlas1", "atlas2"):
            assert secret not in atlas(name).check_output("docker inspect gpustack; ps -ef ww")
    # GPUStack writes no file for what it was given.
    assert server.run("docker exec gpustack ls /var/lib/gpustack/token /var/lib/gpustack/initial_admin_password").rc != 0


def test_reset_without_confirmation_says_what_it_would_remove(site, atlas):
    run = run_playbook("reset", *TWO, variables={**GIVEN, "gpustack_reset_confirm": "false", "gpustack_reset_data": "false"})
    assert run.rc != 0
    assert "Reset would remove:" in run.output and run.output.count("the container gpustack (running)") == 1
    for thing in ("the container gpustack (running)", "/etc/gpustack/config.yaml", "/etc/gpustack"):
        assert f"\natlas1, atlas2: {thing}\n" in run.output
    inventories = f"{INVENTORY} -i {EARLIER}" if OLD else INVENTORY
    command = rf"ansible-playbook -i {inventories} ascend.gpustack.reset --limit atlas1,atlas2 -e @/\S+ -e gpustack_reset_confirm=true"
    assert re.search(rf"^{command}$", run.output, re.MULTILINE) and run.output.count("fatal: ") == 1
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
    before = {name: identity(atlas(name)) for name in ("atlas1", "atlas2")}
    atlas("atlas1").check_output("echo weights > /data/models/own-model")
    run = run_playbook("reset", *TWO, variables={**GIVEN, "gpustack_reset_confirm": True})
    assert run.rc == 0, run.output
    for stays in ("docker volume rm gpustack-data", f"rm -rf -- {CACHE}", f"docker image rm {IMAGE}"):
        assert run.output.count(stays) == 1
    for name in ("atlas1", "atlas2"):
        host = atlas(name)
        assert host.check_output("docker ps -aq") == ""
        assert not host.file("/etc/gpustack").exists
        assert "gpustack-data" in volumes(host)
    assert run_playbook("site", *TWO, variables=GIVEN).rc == 0
    assert {name: identity(atlas(name)) for name in ("atlas1", "atlas2")} == before
    assert sorted(worker["name"] for worker in api("workers")["items"]) == ["atlas1", "atlas2"]


@pytest.mark.long
def test_what_a_renamed_host_left_and_what_a_lost_database_had_are_told(site, atlas, api, tmp_path):
    server, names = atlas("atlas1"), tmp_path / "names.yml"
    names.write_text("all: {hosts: {atlas2: {gpustack_worker_name: npu-2}}}")
    renamed = (*TWO, "-i", str(names))
    model = {"source": "local_path", "local_path": "/data/models/none"} if OLD else small_model.MODEL
    api("models", "POST", {**model, "name": "kept", "replicas": 0})
    assert run_playbook("verify", *TWO, variables=GIVEN).rc == 0
    known = server.file("/etc/gpustack/known.json")
    assert (known.mode, json.loads(known.content_string)["models"]) == (0o600, ["kept"])
    # With its data a host loses the identity by which GPUStack would know it again.
    atlas("atlas2").check_output("docker rm -f gpustack && docker volume rm gpustack-data")
    assert run_playbook("workers", *renamed, variables=GIVEN).rc == 0
    run = run_playbook("verify", *renamed, variables=GIVEN)
    assert run.rc == 0 and "it has the address of atlas2, and is what is left of it under another name. To remove it, run:" in run.text
    assert run_playbook("workers", *renamed, variables={**GIVEN, "gpustack_worker_replace_stale": True}).rc == 0
    assert sorted(worker["name"] for worker in api("workers")["items"]) == ["atlas1", "npu-2"]
    database = "database.db*" if OLD else "postgresql"
    server.check_output(f"docker stop gpustack && rm -r /var/lib/docker/volumes/gpustack-data/_data/{database} && docker start gpustack")
    atlas("atlas2").check_output("docker restart gpustack")
    run = run_playbook("verify", *renamed, variables=GIVEN)
    assert run.rc != 0 and "at the last run that found all well: models kept; expected all of it" in run.text
    assert re.search(r" ascend\.gpustack\.verify -e @/\S+ -e gpustack_accept_removed=true$", run.output, re.MULTILINE)
    assert "run the playbook restore, which takes the newest backup in /var/lib/gpustack-backup on atlas1" in run.text
    assert run_playbook("verify", *renamed, variables={**GIVEN, "gpustack_accept_removed": "true"}).rc == 0
    assert run_playbook("verify", *renamed, variables=GIVEN).rc == 0


def goes(run) -> list[str]:
    """The lines that say what reset removes."""
    told = run.output.split("Reset removes:\n", 1)[1].split("\nok: ", 1)[0]
    return told.splitlines()


def test_reset_of_data_leaves_what_the_operator_put_on_the_store_and_its_check_says_so(site, atlas):
    server, everything = atlas("atlas1"), {**GIVEN, "gpustack_reset_confirm": "true", "gpustack_reset_data": "true"}
    server.check_output(
        f"mkdir -p {CACHE}/huggingface/Qwen {CACHE}/own && echo weights > {CACHE}/own/model && echo key > /etc/gpustack/tls.key"
    )
    before = server.check_output("find /data/models /etc/gpustack | sort")
    # The store itself as the cache: nothing of it goes.
    checked = run_playbook("reset", *TWO, "--check", variables={**everything, "gpustack_cache_dir": "/data/models"})
    assert checked.rc == 0 and not any("/data/models" in line for line in goes(checked)), checked.output
    assert "/data/models, which is the model store /data/models, or holds it" in checked.text
    checked = run_playbook("reset", *TWO, "--check", variables=everything)
    assert checked.rc == 0 and server.check_output("find /data/models /etc/gpustack | sort") == before
    run = run_playbook("reset", *TWO, variables=everything)
    assert run.rc == 0, run.output
    assert goes(run) == goes(checked) and f"atlas1: {CACHE}/huggingface" in goes(run)
    for kept in (f"{CACHE}/own", "/etc/gpustack/tls.key"):
        assert run.output.count(f"rm -rf -- {kept}") == 1
    assert "gpustack-data" not in volumes(server)
    left = [".gpustack-store-id", "gpustack-cache", "gpustack-cache/.ascend-gpustack", "gpustack-cache/own", "gpustack-cache/own/model"]
    assert server.check_output("cd /data/models && find * .g* | sort").split() == sorted([*left, "own-model"])
    assert server.file("/etc/gpustack/tls.key").exists and not server.file("/etc/gpustack/config.yaml").exists
    assert run_playbook("reset", *TWO, variables={"gpustack_reset_confirm": True}).recap["atlas1"]["changed"] == 0


def test_worker_is_removed_even_when_the_server_is_gone(site, atlas):
    # A volume that somebody else made under this name is not the collection's to remove.
    atlas("atlas2").check_output("docker volume create gpustack-data")
    run = run_playbook("reset", "--limit", "atlas2", variables={"gpustack_reset_confirm": True, "gpustack_reset_data": True})
    assert run.rc == 0, run.output
    assert "atlas2: the volume gpustack-data, which was not made by this collection" in run.text
    assert "gpustack-data" in volumes(atlas("atlas2"))
    assert "atlas2: GPUStack on atlas1 could not be asked (there is no container gpustack on this host" in run.text


def test_container_made_by_hand_is_not_removed(site, atlas):
    host = atlas("atlas2")
    image = host.check_output(f"docker images --format '{{{{.Repository}}}}:{{{{.Tag}}}}' | grep gpustack:v{VERSION}")
    host.check_output(f"docker create --name gpustack {image}")
    run = run_playbook("reset", "--limit", "atlas2", variables={"gpustack_reset_confirm": True})
    assert run.rc != 0
    assert "atlas2: the container gpustack was made by hand, not by this collection; expected one of its own." in run.text
    assert (
        subprocess.run(["docker", "exec", f"{LAB}-atlas2", "docker", "inspect", "gpustack"], capture_output=True, check=False).returncode
        == 0
    )
