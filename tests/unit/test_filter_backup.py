"""What a restore says before it does anything, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.ascend.gpustack.plugins.filter.backup import backup_refusals, backup_settings, superfluous_backups
from ansible_collections.ascend.gpustack.plugins.plugin_utils.backup import restore_plan
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.host import node_refusals
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.restored import findings

MANIFEST = {
    "created": "20261127T201745Z",
    "host": "atlas1",
    "version": "2.3.0",
    "container": "gpustack",
    "address": "198.18.0.11",
    "port": 8080,
    "names": {"models": ["qwen"], "workers": ["atlas1", "atlas2"]},
}
CONTAINER = {"name": "gpustack", "status": "running", "running": True, "managed": True}


def plan(manifest: dict[str, Any] | None = None, backup: dict[str, Any] | None = None, **node: Any) -> dict[str, Any]:
    read = {
        "path": "/b/x.tar.gz",
        "manifest": {**MANIFEST, **(manifest or {})},
        "token_differs": False,
        **(backup or {}),
    }
    usual = {"host": "atlas1", "version": "", "container": None, "models": None, "answers": False, "confirmed": False}
    usual |= {"token_kept": True, "token_given": True}
    return restore_plan(read, {**usual, **node})


def test_restore_on_an_empty_host_takes_the_version_of_the_backup():
    assert plan() == {
        "version": "2.3.0",
        "same_host": True,
        "lines": [
            "Restore on atlas1: GPUStack 2.3.0 of atlas1, as it was at 2026-11-27 20:17 UTC",
            "  from /b/x.tar.gz",
            "  workers: atlas1, atlas2; models: qwen",
        ],
        "refusals": [],
    }


def test_server_that_runs_is_replaced_when_it_is_said_and_models_that_end_are_named_first():
    found = plan(container=CONTAINER, models=["tiny", "qwen", "later"])
    assert found["lines"][-2:] == [
        "What goes with what is there: the container gpustack (running), its data and its settings.",
        "WARN models that are not in the backup, and end: later, tiny",
    ]
    assert found["refusals"] == ["atlas1: the container gpustack runs; expected gpustack_restore_confirm: true. Set it to replace it."]
    assert plan(container=CONTAINER, models=["tiny"], confirmed=True)["refusals"] == []
    assert plan(container={**CONTAINER, "running": False, "status": "exited"})["refusals"] == []


def test_models_are_named_where_it_is_not_known_which_the_backup_has():
    found = plan(manifest={"names": None}, container=CONTAINER, models=["tiny"])
    assert found["lines"][-1] == "WARN which models the backup has is not known; those that it has not will end, of: tiny"


@pytest.mark.parametrize(
    ("backed_up", "to_run", "refusal"),
    [
        (
            "2.3.0",
            "2.2.3",
            "and 2.2.3 is to run here; expected a backup of no newer one. Set gpustack_version: 2.3.0, or take an older backup.",
        ),
        (
            *("2.3.0", "0.7.1"),
            "and 0.7.1 is to run here, which does not take its data; expected one generation. "
            "Set gpustack_version: 2.3.0, or take another backup.",
        ),
        (
            *("0.7.1", "2.3.0"),
            "and 2.3.0 is to run here, which does not take its data; expected one generation. "
            "Set gpustack_version: 0.7.1, or take another backup.",
        ),
        ("3.0.0", "3.0.0", "which this collection does not deploy; expected one that it does. Take another backup."),
    ],
)
def test_backup_that_cannot_be_run_is_refused(backed_up, to_run, refusal):
    (told,) = plan(manifest={"version": backed_up}, version=to_run)["refusals"]
    assert told == f"atlas1: the backup is of GPUStack {backed_up}, {refusal}"


def test_older_backup_of_the_same_generation_is_taken_along():
    found = plan(manifest={"version": "2.2.3"}, version="2.3.0")
    assert found["refusals"] == [] and found["version"] == "2.3.0"
    assert found["lines"][-1] == "GPUStack 2.3.0 takes these data along when it starts."


def test_two_servers_are_refused_and_another_host_keeps_its_worker():
    found = plan(host="atlas2", answers=True)
    assert found["same_host"] is False
    assert found["lines"][-1] == "The worker of atlas2 keeps its own identity; atlas1 is the server no more."
    assert found["refusals"] == [
        "atlas2: the server of the backup, atlas1, still answers at 198.18.0.11:8080; expected one server. "
        "Stop it there: docker stop gpustack"
    ]
    assert plan(host="atlas2")["refusals"] == []
    # Another machine under the old name, and not the host itself by its former address
    assert plan(answers=True)["refusals"] and not plan(answers=True, container=CONTAINER, confirmed=True)["refusals"]


def test_token_that_comes_back_is_told_where_the_inventory_has_none():
    told = "The cluster's token is again that of then; the playbook rotate_token exchanges one that is not to be valid."
    assert told in plan(token_given=False)["lines"] and told not in plan()["lines"]


def test_another_token_is_refused_where_a_cluster_keeps_its_first():
    differs = {"token_differs": True}
    assert "gpustack_token is another than the backup's" in plan(backup=differs)["refusals"][0]
    assert plan(backup=differs, token_kept=False)["refusals"] == []


def test_database_of_others_and_copies_that_tell_secrets_are_refused():
    fine = {"external": False, "copy": True, "passphrase": True, "strangers": []}
    assert backup_refusals(fine, "atlas1") == []
    told = backup_refusals({"external": True, "copy": True, "passphrase": False, "strangers": ["atlas9"]}, "atlas1")
    assert told == [
        "atlas1: its database is the one of database_url; expected GPUStack's own. Back it up with its own tools, such as pg_dump.",
        "atlas1: a copy of its backups is to leave the host, and gpustack_backup_passphrase is not set; expected it, since a backup holds "
        "every secret of the cluster. Set it, and keep it in a vault.",
        "atlas1: gpustack_backup_copy_hosts names atlas9; expected hosts of the inventory. Correct it.",
    ]


def test_program_is_told_how_each_generation_copies_its_database():
    told = json.loads(json.dumps(backup_settings({"name": "atlas1"})))
    assert told["name"] == "atlas1"
    assert {json.dumps(each["series"]): "pg_dump" in each["dump"] for each in told["generations"]} == {
        "[[0, 7]]": False,
        "[[2, 2, 3], [2, 3]]": True,
    }


def test_only_what_has_the_name_of_a_backup_is_ever_too_much():
    names = [
        "gpustack-atlas1-20260101T000000Z-2.3.0.tar.gz.gpg",
        "gpustack-atlas1-20260102T000000Z-2.3.0.tar.gz.gpg",
        "a",
        "gpustack-atlas1",
    ]
    assert superfluous_backups(names, "atlas1", "", 1) == names[:1]
    assert superfluous_backups(names, "atlas", "", 1) == []


HOST = {"data": {"name": "gpustack-data", "restoring": False}, "container": None, "config": {"joins": None}}
EXPECT = {"node": True, "cluster": "gpustack", "server": False, "container": "gpustack"}


def sentences(host: dict[str, Any], **expect: Any) -> list[str]:
    return [item.sentence for item in findings({**HOST, **host}, {**EXPECT, **expect}) if item.result == "fail"]


def test_restore_that_was_cut_off_keeps_everything_else_from_the_host():
    cut = {"data": {"name": "gpustack-data", "restoring": True}}
    assert sentences(cut, server=True) == [
        "a restore of gpustack-data was cut off; expected one that came to its end. "
        "Run the playbook restore again, which begins by putting back what was there."
    ]
    assert sentences(cut, restoring=True) == []


def test_old_server_that_is_back_is_no_worker_until_its_container_is_gone():
    old = {"container": CONTAINER, "config": {"joins": False}}
    assert sentences(old) == [
        "the container gpustack is a server, and the inventory has another host for it; expected a worker. "
        "Once the other one serves what this one did, run on it: docker rm -f gpustack"
    ]
    assert sentences(old, server=True) == sentences({**old, "container": None}) == []
    assert sentences({"container": CONTAINER, "config": {"joins": True}}) == []
    assert sentences({"container": {**CONTAINER, "managed": False}, "config": {"joins": False}}) == []


def test_a_node_s_own_steps_refuse_it_too():
    host = {
        **HOST,
        **{"root": True, "docker": {"installed": True, "running": True, "server_version": "26.1.3", "error": None}},
        **{"data": {"name": "gpustack-data", "restoring": True, "on_store": False}, "store": None, "npu_holders": []},
        "models": {"workers": [], "nodes": [], "workloads": []},
    }
    expect = {
        "container": "gpustack",
        "models_dir": "/data/models",
        "gpustack_version": "2.3.0",
        "worker": True,
        "server": True,
        "skip": [],
    }
    assert [told for told in node_refusals(host, expect, "atlas1") if "was cut off" in told]
    assert not [told for told in node_refusals(host, {**expect, "restoring": True}, "atlas1") if "was cut off" in told]
