"""The guide's two containers of GPUStack 0.7.0, with some of an operator's own on top, as one run after the other meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile

import by_hand
import pytest
from conftest import DATA, ROOT, Run, inspect, playbook_command, run_playbook, wait_until

BOTH = ("--limit", "atlas1,atlas2")
EXTRAS = ("--shm-size=16g", "-e", "HF_ENDPOINT=https://hf-mirror.com", "-v", "/opt/tools:/opt/tools")
BACKUP = "/var/lib/gpustack-backup"
ACCEPTED = {
    "gpustack_takeover_upgrade": "true",
    "gpustack_takeover_drop": ["--shm-size", "/opt/tools"],
    "gpustack_server_config": {"debug": True},
    "gpustack_env": {"HF_ENDPOINT": "https://hf-mirror.com"},
}


@pytest.fixture(scope="module")
def server(atlas):
    return atlas("atlas1")


@pytest.fixture(scope="module")
def before(server, atlas):
    """The cluster made by hand: its token, its password, its workers, and a model that is bound to an NPU of the second one."""
    by_hand.docker_run(server, "0.7.0", "--port", "8080", *by_hand.CACHE, "--debug", options=EXTRAS)
    token = by_hand.token_of(server)
    by_hand.joined(server, server, token)
    by_hand.docker_run(atlas("atlas2"), "0.7.0", "--server-url", by_hand.url(server), "--token", token, *by_hand.CACHE)
    second = by_hand.joined(atlas("atlas2"), server, token)
    model = {"name": "qwen", "source": "local_path", "local_path": "/models/qwen.gguf", "backend": "llama-box", "replicas": 0}
    by_hand.ask(server, token, "/v1/models", {**model, "gpu_selector": {"gpu_ids": [f"{second}:npu:0"]}})
    return {
        "token": token,
        "password": server.check_output(f"docker exec gpustack cat {DATA}/initial_admin_password"),
        "workers": by_hand.workers(server, token),
        "second": second,
    }


@pytest.fixture(scope="module")
def refused(before):
    """Preflight of both hosts. The upgrade is off: AWX hands over booleans as texts."""
    return run_playbook("preflight", *BOTH, variables={"gpustack_takeover_upgrade": "false"})


@pytest.fixture(scope="module")
def cut_off(refused, before, server, tmp_path_factory):
    """A run that was killed, with all of its processes, as soon as it had stopped the old server; and the inventory for all runs."""
    inventory = tmp_path_factory.mktemp("inventory") / "names.yml"
    inventory.write_text(json.dumps({"all": {"hosts": {"atlas2": {"gpustack_worker_name": before["second"]}}}}))
    arguments = ["-i", str(inventory), *BOTH, "--extra-vars", json.dumps(ACCEPTED)]
    command = [*playbook_command("site"), *arguments]
    env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output, start_new_session=True)
        stopped = "docker inspect --format '{{.State.Status}}' gpustack | grep exited"
        wait_until("the old server is stopped", lambda: process.poll() is not None or server.run(stopped).rc == 0)
        finished = process.poll() is not None
        if not finished:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        print(output.read())
    assert not finished
    return arguments, inspect(server)


@pytest.fixture(scope="module")
def taken_over(cut_off, before):
    arguments, _container = cut_off
    return run_playbook("site", "-vvv", "--diff", *arguments)


@pytest.fixture(scope="module")
def after(taken_over, server):
    """What GPUStack knows of its workers after the takeover."""
    assert taken_over.rc == 0
    return by_hand.reached_workers(server, by_hand.token_of(server))


def problems(run: Run) -> list[str]:
    """What the last task that failed said, a line each."""
    return sorted({line.strip() for line in run.output.splitlines() if line.strip().startswith("FAIL [takeover]")})


EXTRA = (
    "The container gpustack was made by hand with what the variables do not say: --debug, -e HF_ENDPOINT=https://hf-mirror.com, "
    "-v /opt/tools:/opt/tools, --shm-size=16g. Set gpustack_server_config.debug, gpustack_env.HF_ENDPOINT, gpustack_volumes, "
    "gpustack_container_options.shm_size to the same, or give them up with gpustack_takeover_drop: "
    '["--debug", "HF_ENDPOINT", "/opt/tools", "--shm-size"].'
)
OLDER = (
    "The container gpustack runs GPUStack 0.7.0; 0.7.1 would change its data for good. Set gpustack_takeover_upgrade: true to upgrade it "
    "(its data is copied first), or gpustack_version: 0.7.0 to stay."
)


def test_preflight_lists_on_each_host_what_would_be_lost(refused, before):
    name = before["second"]
    assert refused.rc != 0
    assert problems(refused) == sorted(
        [
            f"FAIL [takeover] atlas1: {EXTRA}",
            f"FAIL [takeover] atlas1, atlas2: {OLDER}",
            f"FAIL [takeover] atlas2: the models qwen name the worker '{name}', which would be called 'atlas2'. Keep its name with "
            f"gpustack_worker_name: {name} for this host, or free the models of their selectors first.",
        ]
    )


def test_server_playbook_alone_refuses_the_same_and_changes_nothing(refused, server):
    was = inspect(server)
    run = run_playbook("server")
    assert run.rc != 0
    assert f"- 'atlas1: {EXTRA}' - 'atlas1: {OLDER}'" in run.text
    assert [inspect(server)[key] for key in ("Id", "State", "HostConfig")] == [was[key] for key in ("Id", "State", "HostConfig")]
    assert not server.file("/etc/gpustack").exists


def test_killed_run_leaves_the_stopped_container_of_the_operator(cut_off):
    _arguments, container = cut_off
    assert container["State"]["Status"] == "exited"
    assert container["Config"]["Image"] == "gpustack/gpustack:latest-npu"


def test_next_run_goes_on_and_says_what_is_kept_and_what_changes(taken_over, before):
    assert taken_over.rc == 0
    for line in (
        "container gpustack: the one made by hand is replaced",
        "The data in gpustack-data is kept.",
        "The cluster token in its data stays the same.",
        "Its image gpustack/gpustack:latest-npu becomes gpustack/gpustack:v0.7.1-npu.",
        "GPUStack 0.7.0 becomes 0.7.1.",
        "Given up: --shm-size=16g, -v /opt/tools:/opt/tools.",
        "2 of 2 workers ready, 16 NPUs, GPUStack v0.7.1",
    ):
        assert line in taken_over.text


def test_takeover_that_prints_everything_prints_no_secret(taken_over, before):
    assert len(before["token"]) == 32 and len(before["password"]) >= 8
    assert before["token"] not in taken_over.output
    assert before["password"] not in taken_over.output


def test_data_was_copied_first_for_root_alone(taken_over, atlas):
    for name in ("atlas1", "atlas2"):
        copy = atlas(name).file(f"{BACKUP}/gpustack-0.7.0.tar")
        assert (copy.mode, copy.user) == (0o600, "root")
        assert atlas(name).file(BACKUP).mode == 0o700
        assert atlas(name).file(BACKUP).listdir() == ["gpustack-0.7.0.tar"]
        assert "./worker_uuid" in atlas(name).check_output(f"tar -tf {copy.path}").splitlines()


def test_copy_holds_the_old_database_whole(taken_over, server):
    question = "import sqlite3; print(sqlite3.connect('database.db').execute('select name from models').fetchall())"
    folder = server.check_output("mktemp -d")
    server.check_output(f"tar -C {folder} -xf {BACKUP}/gpustack-0.7.0.tar")
    assert server.check_output(f'cd {folder} && python3 -c "{question}"') == "[('qwen',)]"


def test_token_and_workers_are_the_same_ones(after, before, server):
    assert by_hand.token_of(server) == before["token"]
    assert by_hand.identities(after) == by_hand.identities(before["workers"])


def test_worker_that_a_model_names_keeps_its_name_and_the_other_gets_that_of_the_inventory(after, before):
    assert {name: (worker["state"], len(worker["status"]["gpu_devices"])) for name, worker in after.items()} == {
        "atlas1": ("ready", 8),
        before["second"]: ("ready", 8),
    }


def test_model_is_still_bound_to_the_same_npu(after, before, server):
    (model,) = by_hand.ask(server, before["token"], "/v1/models")["items"]
    assert (model["name"], model["gpu_selector"]) == ("qwen", {"gpu_ids": [f"{before['second']}:npu:0"]})


def test_new_containers_run_the_new_version_without_a_secret_on_the_command_line(after, before, atlas, server):
    assert by_hand.ask(server, before["token"], "/version")["version"] == "v0.7.1"
    for name in ("atlas1", "atlas2"):
        container = inspect(atlas(name))
        assert container["Config"]["Image"] == "gpustack/gpustack:v0.7.1-npu"
        assert "HF_ENDPOINT=https://hf-mirror.com" in container["Config"]["Env"]
        assert before["token"] not in json.dumps(container)
    assert "debug: true" in server.file("/etc/gpustack/config.yaml").content_string


def test_run_after_the_takeover_changes_nothing(cut_off, after):
    arguments, _container = cut_off
    run = run_playbook("site", *arguments)
    assert (run.rc, {host: counts["changed"] for host, counts in run.recap.items()}) == (0, {"atlas1": 0, "atlas2": 0})
