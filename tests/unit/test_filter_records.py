"""What GPUStack no longer knows, and what it knows that the inventory does not: told with the command, and nobody else's is removable."""

from __future__ import annotations

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.ascend.gpustack.plugins.plugin_utils import records
from ansible_collections.ascend.gpustack.plugins.plugin_utils.given import _trusted
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight import kept
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.cluster import Play
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Finding
from test_node_spec import STORE, variables_of

GROUPS = {"gpustack_worker": ["atlas1", "atlas2", "atlas3"]}
HOSTVARS = {"atlas1": {}, "atlas2": {"gpustack_worker_name": "npu-2"}, "atlas3": {}}


def worker(number: int, name: str, ip: str, state: str = "ready", port: int = 10150, npus: int = 8) -> dict:
    return {"id": number, "name": name, "ip": ip, "state": state, "port": port, "npu_count": npus}


CLUSTER = [worker(1, "atlas1", "10.0.0.1"), worker(2, "npu-2", "10.0.0.2"), worker(3, "atlas3", "10.0.0.3", "not_ready")]


def old(*others: dict) -> list[tuple[int, bool]]:
    return [(each["id"], each["removable"]) for each in records.old_workers([*CLUSTER, *others], HOSTVARS, GROUPS)]


def test_nothing_is_old_where_the_inventory_knows_all():
    assert old() == [] and records.old_worker_lines([], "command") == []


def test_what_a_renamed_host_left_can_be_removed_and_so_can_what_is_not_ready():
    assert old(worker(7, "atlas2", "10.0.0.2", "ready"), worker(8, "gone", "10.9.9.9", "not_ready", npus=1)) == [(7, True), (8, True)]
    assert old(worker(8, "off", "10.9.9.9", "unreachable")) == [(8, True)]


def test_ready_worker_of_somebody_else_is_never_removable():
    # Not even at the address of a host of ours: another port, or ours is not up, so that it may be what answers there.
    others = [worker(9, "theirs", "10.9.9.9"), worker(10, "beside", "10.0.0.2", port=10160), worker(11, "instead", "10.0.0.3")]
    assert old(*others) == [(9, False), (10, False), (11, False)]


def test_worker_that_another_inventory_has_rest_is_no_worker_that_is_gone():
    assert old({**worker(8, "theirs", "10.9.9.9", "maintenance"), "drained": True}) == [(8, False)]


def test_old_workers_are_told_with_one_command_for_those_that_can_go():
    found = records.old_workers(
        [
            *CLUSTER,
            worker(9, "theirs", "10.9.9.9"),
            worker(7, "atlas2", "10.0.0.2", "not_ready"),
            worker(8, "gone", "10.9.9.8", "unreachable", npus=1),
        ],
        HOSTVARS,
        GROUPS,
    )
    assert records.old_worker_lines(found, "run this") == [
        "WARN worker theirs (10.9.9.9, ready, 8 NPUs) is in GPUStack and not in the inventory. Let it be if another inventory has it.",
        "WARN worker atlas2 (10.0.0.2, not_ready, 8 NPUs) is in GPUStack and not in the inventory; "
        "it has the address of atlas2, and is what is left of it under another name.",
        "WARN worker gone (10.9.9.8, unreachable, 1 NPU) is in GPUStack and not in the inventory. To remove it, run:",
        "run this",
    ]


def test_loss_is_told_with_the_place_of_the_copies_and_the_way_to_say_that_it_was_meant():
    lost = {"workers": ["npu7"], "models": [f"m{number}" for number in range(7)]}
    assert records.loss(lost, "atlas1", "/srv/backup", "verify this") == [
        "GPUStack on atlas1 no longer has what it had at the last run that found all well: models m0, m1, m2, m3, m4 and 2 more; "
        "workers npu7; expected all of it",
        "If its database was cut off or is gone, run the playbook restore, which takes the newest backup in /srv/backup on atlas1. "
        "If it was removed on purpose, run once:",
        "verify this",
    ]
    assert records.loss({}, "atlas1", "/srv/backup", "verify this") == []


EMPTY = {"worker_uuid": None, "worker_name": None}
KNOWN = {"id": 4, "name": "atlas2", "ip": "10.0.0.2", "state": "not_ready", "worker_uuid": None}


def stale(data: dict, resolved: str = "10.0.0.2", **record: object) -> dict:
    host = {"data": {**EMPTY, **data}, "resolved": {"atlas2.example": resolved}}
    return records.stale_worker([{**KNOWN, "name": "other"}, {**KNOWN, **record}], "atlas2", host)


@pytest.mark.parametrize("uuid", [None, "another"])
def test_worker_that_lost_its_data_is_known_by_its_identity_where_gpustack_tells_it(uuid):
    assert stale({"worker_uuid": uuid, "worker_name": "atlas2"}, worker_uuid="u") == {**KNOWN, "worker_uuid": "u", "here": True}
    assert stale({"worker_uuid": "u"}, worker_uuid="u") == {}


def test_worker_that_lost_its_data_is_known_by_its_empty_data_directory_where_gpustack_tells_no_identities():
    assert stale({}) == {**KNOWN, "here": True}
    assert stale({}, resolved="10.0.0.9") == {**KNOWN, "here": False}
    assert stale({}, name="free") == {}
    # Its own, also where an older generation wrote no name
    assert stale({"worker_uuid": "u", "worker_name": "atlas2"}) == stale({"worker_uuid": "u"}) == {}


def test_worker_that_is_to_get_the_name_of_another_is_refused():
    assert stale({"worker_uuid": "u", "worker_name": "earlier"})["id"] == 4


def test_run_that_was_ended_while_it_took_a_record_over_goes_on_and_takes_none_that_is_anothers_by_now():
    named = {"worker_name": "atlas2"}
    assert stale(named) == stale(named, state="ready") == stale(named, resolved="10.0.0.9") == {}
    assert stale(named, resolved="10.0.0.9", state="ready")["id"] == 4


HELD = "GPUStack already has a worker atlas2 (id 4, 10.0.0.2, {}), registered from another data directory; expected a free name. {}"
OTHER = "give this host another gpustack_worker_name"
ASK = f"If it is what is left of this host, set gpustack_worker_replace_stale: true to remove it; else {OTHER}."
NEVER = f"{{}}, so that it is another host's, or was until now: {OTHER}, or remove the worker on GPUStack's page."
LATER = "GPUStack has not noticed yet that it is gone: run this again in three minutes."


@pytest.mark.parametrize(
    ("here", "state", "answers", "replace", "told"),
    [
        (True, "not_ready", False, False, ASK),
        (True, "not_ready", False, True, None),
        (True, "unreachable", False, True, None),
        (True, "ready", False, False, ASK),
        (True, "ready", False, True, LATER),
        (False, "not_ready", False, False, ASK),
        (False, "not_ready", False, True, None),
        (False, "not_ready", True, False, NEVER.format("10.0.0.2 answers")),
        (False, "not_ready", True, True, NEVER.format("10.0.0.2 answers")),
        (False, "ready", False, False, NEVER.format("It is ready")),
        (False, "ready", False, True, NEVER.format("It is ready")),
        (False, "ready", True, True, NEVER.format("It is ready")),
    ],
)
def test_record_of_a_worker_that_may_be_another_hosts_is_never_taken(here, state, answers, replace, told):
    record = {**KNOWN, "state": state, "here": here}
    assert records.stale_refusal(record, answers, replace, adopts=False) == (HELD.format(state, told) if told else "")


def test_what_the_variable_does_to_a_record_is_said_as_this_gpustack_does_it():
    record = {**KNOWN, "here": True}
    told = [records.stale_refusal(record, False, False, adopts) for adopts in (False, True)]
    assert told[0].endswith(ASK)
    assert told[1] == told[0].replace("to remove it;", "to take its record over;")


FIRST = {"known": {}}


@pytest.mark.parametrize(
    ("of_server", "cluster", "due"),
    [
        ({"__gpustack_plan": {"action": "create"}, "__gpustack_host": {"data": {"exists": False}}}, {}, True),
        # The run that made it was ended, and the next one finds it there.
        ({"__gpustack_plan": {"action": "wait"}}, FIRST, True),
        ({"__gpustack_plan": {"action": "none"}}, FIRST, True),
        ({}, FIRST, True),
        # Found all well before
        ({"__gpustack_plan": {"action": "none"}}, {"known": {"workers": {"atlas1": "u"}}}, False),
        # Its data was there before, and people may have logged in.
        ({"__gpustack_plan": {"action": "create"}, "__gpustack_host": {"data": {"exists": True}}}, FIRST, False),
        ({"__gpustack_plan": {"action": "replace"}, "__gpustack_takeover": {"hand_made": True}}, FIRST, False),
        ({}, {"msg": "no answer"}, False),
    ],
)
def test_how_to_log_in_is_told_until_a_run_has_found_all_well(of_server, cluster, due):
    variables = variables_of("server", "both", "1.45", STORE, {"__gpustack_cluster": cluster})
    variables["hostvars"] = {**variables["hostvars"], "atlas2": {**variables["hostvars"].get("atlas2", {}), **of_server}}
    templar = Templar(loader=DataLoader(), variables=variables)
    assert templar.template(_trusted("{{ _gpustack_login_due | bool }}")) is due
    variables["ansible_check_mode"] = True
    assert not Templar(loader=DataLoader(), variables=variables).template(_trusted("{{ _gpustack_login_due | bool }}"))


SERVER = {"container": {"running": True}, "data": {"worker_uuid": None, "worker_name": None}, "resolved": {"10.0.0.2": "10.0.0.2"}}


def asked(name: str, seen: dict, **given: object):
    variables = variables_of("server", "both", "1.45", STORE, {"gpustack_worker_name": "atlas2", **given})
    variables["__gpustack_host"] = {**variables["__gpustack_host"], **SERVER, **seen}
    return Templar(loader=DataLoader(), variables=variables).template(_trusted("{{ " + name + " }}"))


@pytest.mark.parametrize(
    ("seen", "given", "new"),
    [
        ({}, {}, True),
        ({"data": {"worker_uuid": "u", "worker_name": "earlier"}}, {}, True),
        ({"data": {"worker_uuid": "u", "worker_name": "atlas2"}}, {}, False),
        # An older generation writes no name
        ({"data": {"worker_uuid": "u", "worker_name": None}}, {}, False),
        ({"container": {"running": False}}, {}, False),
        ({"container": None}, {}, False),
        ({}, {"groups": {"gpustack_server": ["atlas2"], "gpustack_worker": ["atlas3"]}}, False),
    ],
)
def test_server_is_asked_whose_name_its_own_worker_takes_where_its_data_does_not_tell(seen, given, new):
    assert asked("_gpustack_worker_new | bool", seen, **given) is new


def test_name_that_another_worker_has_is_found_before_the_server_gets_a_worker_of_that_name():
    cluster = {"workers": [{**KNOWN, "ip": "10.0.0.9"}]}
    found = asked("_gpustack_stale", {}, __gpustack_cluster=cluster)
    assert found == {**KNOWN, "ip": "10.0.0.9", "here": False}
    assert asked("_gpustack_stale", {}, __gpustack_cluster={"skipped": True}) == {}
    adopts = {version: asked("_gpustack_adopts | bool", {}, gpustack_version=version) for version in ("0.7.1", "2.3.0")}
    assert adopts == {"0.7.1": False, "2.3.0": True}


def test_name_that_another_worker_has_is_a_finding_of_preflight():
    play = Play(["atlas2"], {"atlas2": {"gpustack_worker_name_problems": ["GPUStack already has it."]}}, {}, {})
    assert kept.CHECKS.run(play) == [("atlas2", Finding("worker_name", "fail", "GPUStack already has it"))]
