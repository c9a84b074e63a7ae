"""What is said of upgrades and of their way back, who gets them in which order, and when a server migrates."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation
from ansible_collections.ascend.gpustack.plugins.plugin_utils import upgrade
from ansible_collections.ascend.gpustack.plugins.plugin_utils.given import _trusted
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight import version
from shared import ROOT, tasks
from test_node_spec import STORE, TOKEN, V2, rendered

GROUPS = {"gpustack_server": ["atlas1"], "gpustack_worker": ["atlas1", "atlas2", "atlas3"]}
ALL = ["atlas1", "atlas2", "atlas3"]
SETTINGS = {"upgrade": False, "at_once": 1, "inventory": ["hosts.yml"], "live": ALL}


def host(runs: str | None = "2.2.3", state: str = "", before: str = "2.2.3", wanted: str = "2.3.0", managed: bool = True) -> dict[str, Any]:
    told = {"state": state, "before": before, "wanted": wanted, "backup": "/b.tar.gz", "moment": "2026-11-28 01:00 UTC"}
    return {
        "container": {"version": runs, "managed": managed} if runs else None,
        "data": {"name": "gpustack-data", "exists": True, "cluster": [], "upgrade": told if state else None},
    }


def hostvars(wanted: str = "2.3.0", **hosts: dict) -> dict[str, dict]:
    return {
        name: {
            "gpustack_version": wanted,
            "ascend_driver_check_host": hosts.get(name, host()),
            "gpustack_rollback_seen": hosts.get(name, host()),
        }
        for name in ALL
    }


def test_version_that_rises_is_told_before_anything_is_touched():
    found = upgrade.plan(ALL, hostvars(atlas3=host("2.3.0")), GROUPS, SETTINGS)
    assert found == {
        "hosts": ["atlas1", "atlas2"],
        "lines": [
            "Upgrade of GPUStack; what runs now is kept, to go back to, and workers follow the server 1 at a time:",
            "  atlas1: 2.2.3 -> 2.3.0 (server)",
            "  atlas2: 2.2.3 -> 2.3.0",
        ],
        "refusals": [],
        "migrates": False,
    }
    assert upgrade.plan(ALL, hostvars(**{name: host("0.7.1") for name in ALL}), GROUPS, SETTINGS)["migrates"]


def test_server_that_was_killed_while_it_migrated_is_not_asked_for_its_models():
    killed = {"atlas1": host("2.3.0", "kept", "0.7.1"), "atlas2": host("0.7.1"), "atlas3": host("0.7.1")}
    found = upgrade.plan(ALL, hostvars(**killed), GROUPS, SETTINGS)
    assert found["hosts"] == ALL and not found["migrates"]


def test_run_that_leaves_a_worker_out_is_refused_where_the_version_rises():
    found = upgrade.plan(["atlas1", "atlas2"], hostvars(), GROUPS, SETTINGS)
    assert found["refusals"] == [
        "atlas1: GPUStack goes from 2.2.3 to 2.3.0, and this run leaves out atlas3; expected the server and every worker. "
        "Run it without --limit; where one has to stay out, -e gpustack_preflight_continue=true has the others go on."
    ]
    assert upgrade.plan(["atlas1", "atlas2"], hostvars("2.2.3"), GROUPS, SETTINGS)["hosts"] == []


def test_worker_waits_for_its_server():
    worker = {"serves": False, "planned": False}
    assert upgrade.early_refusals(host(), "atlas2", "2.3.0", {**worker, "on_server": "2.2.3"}) == [
        "atlas2: the server runs GPUStack 2.2.3, and gpustack_version is 2.3.0; expected the server to have it first. "
        "Run the playbook upgrade without --limit."
    ]
    assert upgrade.early_refusals(host(), "atlas2", "2.3.0", {**worker, "on_server": "2.3.0"}) == []
    assert upgrade.early_refusals(host(), "atlas2", "2.3.0", {**worker, "on_server": ""}) == []


def test_server_waits_for_a_run_that_looks_at_the_whole_cluster():
    server = {"serves": True, "on_server": "", "planned": False}
    assert upgrade.early_refusals(host(), "atlas1", "2.3.0", server) == [
        "atlas1: GPUStack goes from 2.2.3 to 2.3.0 here; expected a run that looks at the whole cluster first. Run the playbook upgrade."
    ]
    assert upgrade.early_refusals(host(), "atlas1", "2.3.0", {**server, "planned": True}) == []
    assert upgrade.early_refusals(host("2.3.0"), "atlas1", "2.3.0", server) == []


def test_what_does_not_come_along_is_told_before_anything_is_touched():
    # GPUStack's own choice for such a file is not said by a model.
    models = [{"name": "a", "path": "/data/models/a.gguf"}, {"name": "b", "version": "0.9.1"}, {"name": "c"}]
    found = upgrade.left_behind(models, [{"name": "atlas3", "drained": True}, {"name": "atlas2", "drained": False}], "0.7.1", "2.3.0")
    assert found == {
        "lines": [
            "WARN the model a has the backend llama_box, which GPUStack 2.3.0 does not have: it will not run",
            "WARN the model b names the version 0.9.1 of its engine, which may not be among the images of GPUStack 2.3.0: "
            "take it out, and it gets the newest that the driver carries",
        ],
        "refusals": [
            "workers at rest, which the next generation does not take over: atlas3; expected all to run. "
            "Run the playbook undrain for them, or remove."
        ],
    }


def test_upgrade_says_where_there_is_nothing_to_do():
    assert upgrade.plan(ALL, hostvars("2.2.3"), GROUPS, {**SETTINGS, "upgrade": True})["lines"] == [
        "Nothing to upgrade: GPUStack 2.2.3 runs, and gpustack_version asks for no newer one. Set it to that which is to run."
    ]


def test_upgrade_that_was_cut_off_goes_on():
    assert upgrade.rises(host(None, "kept"), "2.3.0") and upgrade.rises(host("2.3.0", "kept"), "2.3.0")
    assert upgrade.rises(host(None, "begun"), "2.3.0")
    assert not upgrade.rises(host("2.3.0", "done"), "2.3.0")
    assert not upgrade.rises(host("2.2.3", managed=False), "2.3.0")


def rising(runs: str = "2.2.3") -> dict[str, dict]:
    return {name: {"gpustack_upgrade_here": {"before": runs, "wanted": "2.3.0"}} if name != "atlas1" else {} for name in ALL}


def test_workers_follow_some_at_a_time_and_all_at_once_into_another_generation():
    assert upgrade.batches(ALL, rising(), 1) == [["atlas2"], ["atlas3"]]
    assert upgrade.batches(ALL, rising(), 5) == [["atlas2", "atlas3"]]
    assert upgrade.batches(ALL, rising("0.7.1"), 1) == [["atlas2", "atlas3"]]


def test_roll_out_stops_also_where_a_host_was_lost_in_the_middle():
    given = {**rising(), "atlas3": {}}
    assert upgrade.stopped_by(ALL, given, ["atlas1", "atlas3"]) == ["atlas2"]
    assert upgrade.stopped_by(ALL, {**given, "atlas1": {"gpustack_upgrade_failed": True}}, ALL) == ["atlas1"]
    # One that was lost before anything was done to it
    assert upgrade.stopped_by(ALL, given, ["atlas1", "atlas2"]) == []


def test_host_that_preflight_refused_is_left_out_of_an_upgrade_that_goes_on():
    found = upgrade.plan(ALL, hostvars(), GROUPS, {**SETTINGS, "live": ["atlas1", "atlas2"]})
    assert found["hosts"] == ["atlas1", "atlas2"] and found["refusals"] == []


def findings(read: dict, wanted: str = "2.3.0", **expect: Any) -> list[tuple[str, str, str]]:
    given = {"gpustack_version": wanted, "container": "gpustack", "version_asked": True, "server": True, **expect}
    return [(item.result, item.message, item.remedy) for item in version.findings(read, given)]


def test_other_generation_takes_data_along_only_where_that_is_asked_for():
    text = (
        "the container gpustack runs GPUStack 0.7.1, whose data GPUStack 2.3.0 does not take; expected a gpustack_version of its generation"
    )
    remedy = (
        "Set gpustack_version: 0.7.1 to keep it, gpustack_upgrade_migrate: true to take its data along, or gpustack_data_volume to a new "
        "one to begin anew with 2.3.0."
    )
    assert findings(host("0.7.1")) == [("fail", text, remedy)]
    assert findings(host("0.7.1"), migrate=True)[0][0] == "pass"
    # GPUStack migrates from 0.7.1 alone.
    assert findings(host("0.7.0"), migrate=True)[0][0] == "fail"
    assert not generation.migrates("2.3.0", "0.7.1")


def test_what_was_taken_back_is_upgraded_by_the_playbook_upgrade_alone():
    back = host("2.2.3", "rolled_back")
    text = "GPUStack 2.3.0 was taken back here to 2.2.3, and gpustack_version asks for it"
    remedy = "Set gpustack_version: 2.2.3, or run the playbook upgrade to try it again."
    assert findings(back, upgrading=False) == [("fail", text, remedy)]
    assert findings(back, upgrading=True)[0][0] == "pass" and findings(back, "2.2.3", upgrading=False)[0][0] == "pass"
    # Workers follow a server that has it again.
    assert findings(back, upgrading=False, server=False)[0][0] == "pass"
    assert upgrade.plan(ALL, hostvars(atlas1=back), GROUPS, SETTINGS)["refusals"] == [f"atlas1: {text}. {remedy}"]
    assert upgrade.plan(ALL, hostvars(atlas1=back), GROUPS, {**SETTINGS, "upgrade": True})["refusals"] == []
    old = host("0.7.1", "rolled_back", "0.7.1")
    assert len(upgrade.plan(ALL, hostvars(atlas1=old), GROUPS, SETTINGS)["refusals"]) == 1


def test_upgrade_that_was_cut_off_is_no_data_of_another_generation():
    cut = host(None, "kept", "0.7.1")
    cut["data"]["cluster"] = ["database.db", "token"]
    assert findings(cut, migrate=True)[0][0] == "pass"
    text = "the upgrade to GPUStack 2.3.0 was cut off, and gpustack_version is 2.2.3; expected that of the upgrade"
    remedy = "Set gpustack_version: 2.3.0; the playbook rollback takes it back afterwards."
    assert findings(host(None, "kept"), "2.2.3") == [("fail", text, remedy)]
    text = "the rollback to GPUStack 2.2.3 was cut off; expected one that came to its end"
    assert findings(host(None, "returning")) == [("fail", text, "Run the playbook rollback again.")]


def test_newer_container_names_the_way_back_where_there_is_one():
    (found,) = findings(host("2.3.0", "done"), "2.2.3")
    assert found[2] == "Set gpustack_version to 2.3.0 or newer, or go back to 2.2.3 with the playbook rollback."
    assert findings(host("2.3.0"), "2.2.3")[0][2] == "Set gpustack_version to 2.3.0 or newer."


def rollback(hosts: dict, confirmed: bool = False, play: list[str] | None = None, **other: Any) -> dict:
    settings = {"confirmed": confirmed, "models": ["qwen", "later"], "kept": ["qwen"], "inventory": ["hosts.yml"], **other}
    return upgrade.rollback(play or ALL, hostvars(**hosts), GROUPS, settings)


def test_rollback_says_what_is_lost_and_does_no_more_unasked():
    found = rollback({"atlas1": host("2.3.0", "done"), "atlas2": host("2.3.0", "done"), "atlas3": host("2.3.0")})
    assert found["before"] == "2.2.3"
    assert found["lines"] == [
        "Rollback of GPUStack 2.3.0 to 2.2.3, as it was at 2026-11-28 01:00 UTC:",
        "  lost: what users made since, accounts, API keys, models, usage; a backup of it is made first",
        "  the cluster's token is again that of then",
        "  WARN models that came since, and end: later",
        "  atlas1: GPUStack 2.2.3 runs again",
        "  atlas2: GPUStack 2.2.3 runs again",
        "  atlas3: WARN joined since with 2.3.0, and stays so; run reset there, and site then",
    ]
    assert found["refusals"] == [
        "Nothing was changed; expected gpustack_rollback_confirm: true for what is told above:\n\n"
        "  ansible-playbook -i hosts.yml ascend.gpustack.rollback -e gpustack_rollback_confirm=true\n"
    ]


def test_rollback_is_done_once():
    assert rollback({"atlas1": host("2.3.0", "done")}, confirmed=True)["refusals"] == []
    text = "atlas1: there is no upgrade to take back, GPUStack 2.2.3 runs; expected one that this collection made. "
    assert rollback({"atlas1": host("2.2.3", "rolled_back")}, confirmed=True)["refusals"] == [
        text + "The playbook restore brings back a backup."
    ]
    assert rollback({}, confirmed=True)["refusals"] == [text + "The playbook restore brings back a backup."]


def test_worker_that_a_rollback_did_not_reach_goes_back_alone():
    found = rollback({"atlas1": host("2.2.3", "rolled_back"), "atlas2": host("2.3.0", "done")}, confirmed=True)
    assert found["hosts"] == ["atlas2"] and found["refusals"] == [] and not any("lost" in line for line in found["lines"])
    assert "  atlas1: stays as it is" in found["lines"] and "  atlas2: GPUStack 2.2.3 runs again" in found["lines"]


def test_worker_whose_turn_never_came_does_not_go_back_to_what_an_earlier_upgrade_left():
    before = host("2.2.3", "done", before="2.1.0", wanted="2.2.3")
    found = rollback({"atlas1": host("2.3.0", "done"), "atlas2": host("2.3.0", "done"), "atlas3": before}, confirmed=True)
    assert found["hosts"] == ["atlas1", "atlas2"] and "  atlas3: stays as it is" in found["lines"]


def test_rollback_names_a_host_that_is_away_and_how_to_leave_it_out():
    found = rollback({"atlas1": host("2.3.0", "done"), "atlas3": {"unreachable": True}}, confirmed=True)
    assert found["refusals"] == [
        "atlas3: no answer; expected every host of the cluster. To leave out what is away, and bring it back later:\n\n"
        "  ansible-playbook -i hosts.yml ascend.gpustack.rollback --limit 'all,!atlas3'\n"
    ]


def test_rollback_without_the_server_is_refused():
    assert rollback({}, True, ["atlas2"])["refusals"] == [
        "this run leaves out atlas1 (--limit); expected the server. Run it without --limit."
    ]


def test_server_migrates_what_its_upgrade_found_and_goes_on_saying_so():
    def migration(state: str, before: str, role: str = "server") -> str | None:
        read = {"docker": {"api_version": "1.45"}, "store": STORE, "resolved": {"10.0.0.2": "10.0.0.2"}}
        read["data"] = {"upgrade": {"state": state, "before": before}}
        case = (role, "both" if role == "server" else "worker", "1.45", STORE, {**V2, **TOKEN, "__gpustack_host": read})
        return rendered(case)["container"]["env"].get("GPUSTACK_DATA_MIGRATION")

    assert [migration(state, "0.7.1") for state in ("kept", "done")] == ["true", "true"]
    assert migration("done", "2.2.3") is None and migration("rolled_back", "0.7.1") is None
    assert migration("done", "0.7.1", "worker") is None


def test_server_is_backed_up_before_anything_of_it_stops():
    names = [task["name"] for task in tasks(yaml.safe_load((ROOT / "roles/gpustack/tasks/upgrade_node.yml").read_text()))]
    assert names.index("Back the server up while it runs") < names.index("Have the newer version, or what was there before")


def test_what_a_killed_run_kept_is_gone_on_with_and_backed_up_once():
    """The newer server may just be starting."""
    named = {task["name"]: task for task in tasks(yaml.safe_load((ROOT / "roles/gpustack/tasks/upgrade_node.yml").read_text()))}
    kept = "(__gpustack_host.data.upgrade or {}).state | default('') != 'kept'"
    assert kept in named["Back the server up while it runs"]["when"] and kept == named["Stop what runs, and keep all of it"]["when"]


@pytest.mark.parametrize(
    "seen", [host(), host(None, "kept"), host("2.3.0", "kept"), host(None, "begun")], ids=["whole", "none", "newer one made", "begun"]
)
def test_what_a_host_comes_from_is_known_wherever_a_run_was_cut_off(seen):
    (task,) = [each for each in yaml.safe_load((ROOT / "roles/gpustack/tasks/main.yml").read_text()) if "newer version" in each["name"]]
    told = task["ansible.builtin.set_fact"]["gpustack_upgrade_here"]["before"]
    assert Templar(loader=DataLoader(), variables={"__gpustack_host": seen}).template(_trusted(told)) == "2.2.3" == upgrade.before(seen)
