"""A server, from its first backup to another host that takes its place."""

from __future__ import annotations

import json

import drill
import pytest
from conftest import OLD, ROOT, run_playbook, wait_until
from drill import LIMIT, PASSPHRASE, PASSWORD, Api

VARIABLES = {"gpustack_bootstrap_password": PASSWORD}
# Of no engine that would have to run, since it has no replica
MODEL = {"backend": "llama-box"} if OLD else {"backend": "vLLM", "backend_version": "0.18.0", "categories": ["llm"], "cluster_id": 1}
COPIES = {"gpustack_backup_copy_hosts": ["atlas2"], "gpustack_backup_passphrase": PASSPHRASE}


@pytest.fixture(scope="module")
def server(atlas):
    return atlas("atlas1")


@pytest.fixture(scope="module")
def api(server):
    return Api(server)


@pytest.fixture(scope="module")
def story(server, api) -> dict:
    """A cluster that people use, its state, and its backup."""
    assert run_playbook("site", *LIMIT, variables=VARIABLES).rc == 0
    key = drill.fill(api, MODEL)
    before, runs = api.state(), drill.started(server)
    made = run_playbook("backup", variables=VARIABLES)
    return {"key": key, "state": before, "runs": runs, "backup": made}


def test_backup_stops_nothing_and_is_roots_alone(story, server):
    assert story["backup"].rc == 0, story["backup"].failure
    assert drill.started(server) == story["runs"]
    (path,) = drill.backups(server)
    assert server.check_output(f"stat -c '%a %U' {path}") == "600 root"
    assert path in story["backup"].text
    server.check_output(
        f"mkdir /tmp/seen && cd /tmp/seen && python3 -m tarfile -e {path} && sha256sum -c --quiet SHA256SUMS && rm -r /tmp/seen"
    )


def test_server_that_runs_is_not_replaced_unasked_and_what_ends_is_named(story, api, server):
    drill.add_model(api, "later", MODEL)
    run = drill.restored(VARIABLES)
    assert run.rc != 0 and "the container gpustack runs; expected gpustack_restore_confirm: true" in run.text
    assert "models that are not in the backup, and end: later" in run.text
    assert drill.started(server) == story["runs"]


def test_restore_that_fails_leaves_what_was_there(story, api, server):
    now = api.state()
    run = drill.restored(VARIABLES, gpustack_restore_confirm=True, gpustack_wait=1)
    assert run.rc != 0 and "What was there was put back, and runs again" in run.text, run.failure
    assert drill.containers(server) == ["gpustack"]
    assert drill.settled(api, now)


def test_damaged_backup_is_refused(story, server):
    (path,) = drill.backups(server)
    server.check_output(f"head -c 2000 {path} > /root/damaged.tar.gz")
    run = drill.restored(VARIABLES, gpustack_restore_file="/root/damaged.tar.gz", gpustack_restore_confirm=True)
    assert run.rc != 0 and "is damaged or unfinished" in run.text


def test_backup_of_another_generation_is_refused(story):
    other = "2.3.0" if OLD else "0.7.1"
    # Settings of the one that the other does not have are refused before.
    plain = {**VARIABLES, "gpustack_server_config": {}, "gpustack_worker_config": {}}
    run = drill.restored({**plain, "gpustack_version": other}, gpustack_restore_confirm=True)
    assert run.rc != 0 and f"and {other} is to run here, which does not take its data" in run.text


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


def test_timer_makes_backups_without_a_controller_and_goes_again(story, server):
    assert run_playbook("backup", variables={**VARIABLES, "gpustack_backup_schedule": "*-*-* 03:00:00"}).rc == 0
    assert "gpustack-backup.timer" in server.check_output("systemctl list-timers --no-legend gpustack-backup.timer")
    server.check_output("systemctl start gpustack-backup.service")
    assert drill.backups(server, "*-scheduled.tar.gz")
    server.check_output("docker stop gpustack")
    assert server.run("systemctl start gpustack-backup.service").rc != 0
    assert "no backup was made: the container gpustack does not run" in server.check_output("journalctl -u gpustack-backup --no-pager")
    server.check_output("docker start gpustack")
    wait_until("it runs again", lambda: server.run("docker inspect gpustack").stdout.count('"healthy"'))
    assert run_playbook("backup", variables=VARIABLES).rc == 0
    assert not server.file("/etc/systemd/system/gpustack-backup.timer").exists


def test_copy_without_a_passphrase_is_refused_before_anything(story, server):
    found = drill.backups(server)
    run = run_playbook("backup", variables={**VARIABLES, "gpustack_backup_copy_dir": "/data/models/backup"})
    assert run.rc != 0 and "gpustack_backup_passphrase is not set" in run.text
    assert drill.backups(server) == found


@pytest.fixture(scope="module")
def moved(story, atlas, server, tmp_path_factory):
    """The inventory of atlas2 as the server, and the restore there of what atlas1 had."""
    folder = tmp_path_factory.mktemp("moved")
    groups = {"gpustack_server": {"hosts": {"atlas2": None}}, "gpustack_store": {"hosts": {}}}
    groups["gpustack_worker"] = {"hosts": {name: {"ansible_host": "{{ lab_net }}." + str(105 + int(name[-1]))} for name in drill.THREE}}
    (folder / "hosts.yml").write_text(json.dumps({"all": {"children": groups}}))
    (folder / "group_vars").symlink_to(ROOT / "inventories/lab/group_vars")
    assert run_playbook("backup", variables={**VARIABLES, **COPIES}).rc == 0
    (copy,) = drill.backups(atlas("atlas2"), "*.gpg")
    given = {**VARIABLES, **COPIES, "gpustack_restore_file": copy, "gpustack_restore_confirm": True}
    refused = run_playbook("restore", "--limit", "atlas2,atlas3", variables=given, inventory=str(folder / "hosts.yml"))
    server.check_output("docker stop gpustack")
    run = run_playbook("restore", "--limit", "atlas2,atlas3", variables=given, inventory=str(folder / "hosts.yml"))
    return {"refused": refused, "run": run, "inventory": str(folder / "hosts.yml")}


def test_copy_on_another_host_tells_nothing(moved, atlas, story):
    (copy,) = drill.backups(atlas("atlas2"), "*.gpg")
    assert atlas("atlas2").run(f"grep -c {story['state']['token']} {copy}").stdout.strip() == "0"


def test_second_server_is_refused_while_the_first_one_answers(moved):
    assert moved["refused"].rc != 0
    assert "the server of the backup, atlas1, still answers at" in moved["refused"].text


def test_another_host_serves_what_the_first_one_did(moved, atlas, story):
    assert moved["run"].rc == 0, moved["run"].failure
    state = Api(atlas("atlas2")).state()
    assert {key: state[key] for key in ("users", "keys", "models", "token")} == {
        key: story["state"][key] for key in ("users", "keys", "models", "token")
    }
    assert {name: state["workers"][name] for name in ("atlas2", "atlas3")} == {
        name: story["state"]["workers"][name] for name in ("atlas2", "atlas3")
    }


def test_first_server_is_refused_when_it_returns_and_then_works(moved, atlas, server, story):
    server.check_output("docker start gpustack")
    run = run_playbook("preflight", *LIMIT, variables=VARIABLES, inventory=moved["inventory"])
    assert run.rc != 0 and "the container gpustack is a server, and the inventory has another host for it" in run.text
    server.check_output("docker rm -f gpustack")
    run = run_playbook("site", *LIMIT, variables=VARIABLES, inventory=moved["inventory"])
    assert run.rc == 0, run.failure
    assert Api(atlas("atlas2")).state()["workers"] == story["state"]["workers"]
