"""A cluster of GPUStack 0.7 becomes one of 2.3, goes back, and forward again. The tests stand in the order of one life."""

from __future__ import annotations

import json
import shlex
import signal

import pytest
import three
from conftest import reached, wait_until
from three import NAMES, PASSWORD, running, versions

BEFORE, AFTER = "0.7.1", "2.3.0"
# Eight RPC servers a host serve llama-box alone, which the lab has only as a stand-in.
OLD = {"gpustack_server_config": {"disable_rpc_servers": True}, "gpustack_worker_config": {"disable_rpc_servers": True}}
NEW = {"gpustack_upgrade_migrate": True}
MODEL = {"name": "kept", "source": "local_path", "local_path": "/data/models/none", "replicas": 0, "backend": "vllm"}


@pytest.fixture(scope="module")
def hosts(atlas) -> dict:
    return {name: atlas(name) for name in NAMES}


def ask(host, path: str, body: dict | None = None) -> dict:
    """GPUStack's answer to the administrator."""
    data = f"-H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}" if body is not None else ""
    return json.loads(host.check_output(f"printf 'user = \"admin:{PASSWORD}\"' | curl -fsS -K - {data} http://127.0.0.1:8080/{path}"))


def state(host, prefix: str) -> dict:
    def names(kind: str, key: str) -> list[str]:
        return sorted(item[key] for item in ask(host, f"{prefix}/{kind}?perPage=100")["items"])

    workers = reached(lambda: {each["name"]: each for each in ask(host, f"{prefix}/workers?perPage=100")["items"]})
    return {
        "users": [name for name in names("users", "username") if not name.startswith("system/")],
        "models": names("models", "name"),
        "workers": {name: (each["id"], each["state"]) for name, each in workers.items()},
        "token": host.check_output("docker exec gpustack cat /var/lib/gpustack/token"),
    }


def code(host, key: str) -> str:
    """With which status a key of somebody's is answered."""
    quiet = "curl -sS -o /dev/null -w '%{http_code}'"
    return host.check_output(f"printf 'header = \"Authorization: Bearer {key}\"' | {quiet} -K - http://127.0.0.1:8080/v1/models")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> three.Cluster:
    found = three.Cluster(tmp_path_factory.mktemp("cluster"), BEFORE, **OLD)
    run = found.play("site")
    assert run.rc == 0, run.failure
    return found


@pytest.fixture(scope="module")
def before(cluster, hosts) -> dict:
    """What people have made of it, and a key of theirs."""
    server = hosts["atlas1"]
    ask(server, "v1/users", {"username": "alice", "password": "Alice_4711!x", "full_name": "Alice", "is_admin": False})
    ask(server, "v1/models", MODEL)
    key = ask(server, "v1/api-keys", {"name": "ops", "description": "", "expires_in": 0})["value"]
    return {"key": key, "state": state(server, "v1")}


def test_other_generation_is_refused_unless_it_is_asked_for(cluster, before, hosts):
    cluster.ask_for(AFTER)
    run = cluster.play("site")
    assert run.rc != 0 and "gpustack_upgrade_migrate: true to take its data along" in run.text
    assert versions(hosts) == running(BEFORE, BEFORE, BEFORE)


def test_settings_of_the_older_generation_are_refused_before_anything_is_touched(cluster, before, hosts):
    cluster.ask_for(AFTER, **OLD, **NEW)
    run = cluster.play("upgrade")
    assert run.rc != 0 and "disable_rpc_servers" in run.text
    assert versions(hosts) == running(BEFORE, BEFORE, BEFORE)


@pytest.mark.parametrize("seconds", [3, 10])
def test_server_and_run_are_killed_while_the_database_is_migrated(cluster, before, hosts, seconds):
    """What they leave, the test below goes on with."""
    cluster.ask_for(AFTER, **NEW)
    run = cluster.killed("upgrade", "atlas1", seconds, "Run the container", hosts)
    hosts["atlas1"].run("docker kill gpustack")
    assert run.rc == -signal.SIGKILL


def test_all_that_people_made_is_there_in_the_newer_generation(cluster, before, hosts):
    cluster.ask_for(AFTER, **NEW)
    run = cluster.play("upgrade")
    assert run.rc == 0, run.failure
    assert versions(hosts) == running(AFTER, AFTER, AFTER)
    assert state(hosts["atlas1"], "v2") == before["state"] and code(hosts["atlas1"], before["key"]) == "200"


def test_run_after_it_changes_nothing(cluster, before):
    run = cluster.play("site")
    assert run.rc == 0, run.failure
    assert {name: counts["changed"] for name, counts in run.recap.items()} == dict.fromkeys(NAMES, 0)


def test_older_generation_comes_back_as_it_was(cluster, before, hosts):
    run = cluster.play("rollback", gpustack_rollback_confirm=True)
    assert run.rc == 0, run.failure
    assert versions(hosts) == running(BEFORE, BEFORE, BEFORE)
    wait_until("all is as it was", lambda: state(hosts["atlas1"], "v1") == before["state"], pause=3)


def test_variable_that_was_left_migrates_nothing_again(cluster, before, hosts):
    run = cluster.play("site")
    assert run.rc != 0 and "GPUStack 2.3.0 was taken back here to 0.7.1" in run.text
    assert versions(hosts) == running(BEFORE, BEFORE, BEFORE)


def test_forward_again_takes_along_what_was_made_since(cluster, before, hosts):
    ask(hosts["atlas1"], "v1/users", {"username": "bob", "password": "Bob_4711!xx", "full_name": "Bob", "is_admin": False})
    run = cluster.play("upgrade")
    assert run.rc == 0, run.failure
    assert versions(hosts) == running(AFTER, AFTER, AFTER)
    assert "bob" in state(hosts["atlas1"], "v2")["users"]
