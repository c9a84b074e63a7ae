"""What is said of workers that rest or leave, and of a token that is exchanged; and what the roles make of it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.v2_token import FORGET_TOKEN
from ansible_collections.ascend.gpustack.plugins.plugin_utils import leave, ports, rules
from ansible_collections.ascend.gpustack.plugins.plugin_utils.given import _trusted
from shared import ROOT, tasks
from test_node_spec import STORE, variables_of

GROUPS = {"gpustack_server": ["atlas1"], "gpustack_worker": ["atlas1", "atlas2", "atlas3"], "gpustack_store": ["atlas2"]}
PLAY = ["atlas1", "atlas2", "atlas3"]
VERSIONS = {each.data.given_token: each.release for each in generation.DEPLOYED}
TOKEN = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


def refused(*named: str, variable: str = "gpustack_remove", play: list[str] | None = None, rests: bool = True) -> list[str]:
    return leave.refusals(list(named), GROUPS, {"variable": variable, "play": play or PLAY, "rests": rests})


def test_only_who_is_named_leaves():
    assert refused() == [
        "gpustack_remove names no host; expected the workers that leave, by their names in the inventory. "
        "Give them: -e gpustack_remove=atlas3"
    ]
    assert refused("atlas3") == []
    assert refused("atlas33") == [
        "gpustack_remove names atlas33, which is no host of the group gpustack_worker; expected one. Did you mean atlas3?"
    ]
    assert refused("old-npu-7") == [
        "gpustack_remove names old-npu-7, which is no host of the group gpustack_worker; expected one. "
        "What only GPUStack has, the playbook workers removes with gpustack_worker_replace_stale: true."
    ]


def test_server_and_store_never_leave():
    assert refused("atlas1", "atlas2", "atlas3") == [
        "atlas1 is the server; expected hosts that only work. It goes with the whole cluster: run reset.",
        "atlas2 exports the model store; expected hosts that do not. Move the store first.",
    ]


def test_server_rests_where_its_container_may_run_on():
    assert refused("atlas1", variable="gpustack_drain") == []
    assert refused("atlas1", variable="gpustack_drain", rests=False) == [
        "atlas1 is the server, whose container has to run, and this GPUStack has no worker that rests while it does; expected hosts that "
        "only work. Leave it out."
    ]
    assert refused("atlas2", variable="gpustack_drain") == []


def test_a_limit_leaves_nobody_out_that_is_named():
    assert refused("atlas3", play=["atlas2", "atlas3"]) == [
        "this run leaves out atlas1; expected the server and every host of gpustack_remove. Run it without --limit."
    ]
    assert refused("atlas2", "atlas3", variable="gpustack_drain", play=["atlas1", "atlas2"]) == [
        "this run leaves out atlas3; expected the server and every host of gpustack_drain. Run it without --limit."
    ]


MOVES = {"name": "bge-m3-1", "model": "bge-m3", "workers": ["npu-3"], "to": ["npu-2"], "why": ""}
STOPS = {"name": "qwen3-2", "model": "qwen3", "workers": ["npu-3"], "to": [], "why": "no other worker is ready"}
PLAN = {"workers": [{"id": 3, "name": "npu-3", "ip": "172.16.33.108", "state": "ready", "npu_count": 8}], "instances": [MOVES, STOPS]}
SETTINGS = {"store_type": "nfs", "models_dir": "/data/models", "store": "atlas2", "firewall": "configure"}
RESET = {
    "goes": ["the container gpustack (running)", "the model instance bge-m3-1 (bge-m3-1-run-0)", "the mount /data/models", "/etc/gpustack"],
    "stays": [["the volume gpustack-data", "docker volume rm gpustack-data"]],
}
HOSTVARS: dict[str, Any] = {"atlas3": {"gpustack_worker_name": "npu-3", "gpustack_reset_plan": RESET}, "atlas4": {}}


def test_what_goes_is_said_by_the_hosts_name_and_nothing_twice():
    assert leave.removal(["atlas3"], HOSTVARS, PLAN, SETTINGS) == [
        "atlas3: GPUStack's record of the worker npu-3 (id 3, 172.16.33.108, ready)",
        "atlas3: the model instance bge-m3-1, for which npu-2 has room",
        "atlas3: the model instance qwen3-2, which stops: no other worker is ready",
        "atlas3: the container gpustack (running)",
        "atlas3: the mount /data/models",
        "atlas3: /etc/gpustack",
        "atlas2: atlas3 in the export of /data/models",
        "the other hosts: atlas3 in firewalld",
    ]


def test_a_dead_host_leaves_and_what_is_on_it_is_said():
    plan = {"workers": [], "instances": []}
    settings = {**SETTINGS, "store_type": "external", "firewall": "leave"}
    assert leave.removal(["atlas4"], HOSTVARS, plan, settings) == ["atlas4: not known, it does not answer; what is on it stays there"]
    assert leave.removed(["atlas4"], HOSTVARS, {}, {"inventory": []}) == [
        "WARN no answer from atlas4, where all is as it was. What comes back from there joins again, unless the cluster gets "
        "another token:",
        "  ansible-playbook ascend.gpustack.rotate_token",
        "WARN left the cluster, and still in the inventory, so that site would bring it back: atlas4. Take it out of there.",
    ]


def test_what_stays_is_told_with_its_command_and_what_is_not_up_yet_as_a_warning():
    assert leave.removed(["atlas3"], HOSTVARS, {"pending": ["model bge-m3: 0 of 1 run elsewhere"]}, {"inventory": []}) == [
        "What stays, and the command that removes it there:",
        "atlas3: the volume gpustack-data",
        "  docker volume rm gpustack-data",
        "WARN model bge-m3: 0 of 1 run elsewhere.",
        "WARN left the cluster, and still in the inventory, so that site would bring it back: atlas3. Take it out of there.",
    ]


def test_models_that_stop_are_named_once():
    assert leave.stopping([MOVES, STOPS, {**STOPS, "name": "qwen3-4"}]) == ["qwen3"]


def test_drain_ends_with_the_way_back():
    assert leave.drained(["atlas3"], {"pending": []}, "undrain it") == [
        "atlas3 rests, and GPUStack places no models there. To go on:",
        "  undrain it",
    ]


RUNNING = {"container": {"managed": True, "running": True, "status": "running"}}
PLAIN = {"container": "gpustack", "database": True, "config": {}, "env": {}}


def test_a_token_is_exchanged_where_it_can_be_as_a_whole():
    assert leave.rotation_refusal(RUNNING, PLAIN) == ""
    elsewhere = {**PLAIN, "config": {"database_url": "postgresql://db"}}
    assert leave.rotation_refusal(RUNNING, elsewhere) == (
        "the token stands in the cluster's database too, which is not the one in the server's container (database_url); expected that. "
        "The token stays as it is"
    )
    assert leave.rotation_refusal(RUNNING, {**PLAIN, "env": {"GPUSTACK_DATABASE_URL": "postgresql://db"}})
    assert leave.rotation_refusal(RUNNING, {**elsewhere, "database": False}) == ""


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (None, "is not there"),
        ({"managed": False, "running": True, "status": "running"}, "was made by hand"),
        ({"managed": True, "running": False, "status": "exited"}, "is exited"),
    ],
)
def test_a_token_is_exchanged_on_a_server_that_runs(found, state):
    assert leave.rotation_refusal({"container": found}, PLAIN).startswith(f"the container gpustack {state}; expected the server")


def test_a_token_that_another_setting_beats_is_not_exchanged():
    given = {**PLAIN, "config": {"token": TOKEN}, "env": {"GPUSTACK_TOKEN": TOKEN}}
    assert leave.rotation_refusal(RUNNING, given) == (
        "the token is set in gpustack_server_config (token) and gpustack_env (GPUSTACK_TOKEN), before which no other counts; expected it "
        "in gpustack_token. Move it there"
    )


def test_clients_are_warned_before_the_token_changes():
    (cut,) = leave.rotation({"every_request": True, "at_once": 1, "same": False, "read": True})
    (kept,) = leave.rotation({"every_request": False, "at_once": 2, "same": False, "read": True})
    assert "all workers at once" in cut and "their models start anew" in cut and "Clients that use the token are refused" in cut
    assert "its workers, 2 at a time; models run on" in kept and "also taken for an API key, are refused" in kept
    assert "already" in leave.rotation({"every_request": False, "at_once": 2, "same": True, "read": True})[0]
    *_told, warned = leave.rotation({"every_request": True, "at_once": 1, "same": False, "read": False})
    assert warned == "WARN the token that it has could not be read, so that nobody tries afterwards whether it is refused."


def test_a_host_that_was_off_is_named_with_what_brings_it_over():
    assert leave.outdated(["atlas3", "atlas4"], ["atlas3"], []) == [
        "WARN the old token is left on atlas3, at rest: undrain brings the new one.",
        "WARN the old token is left on atlas4. Once up again, run:",
        "  ansible-playbook ascend.gpustack.site --limit atlas4",
    ]


def test_a_statement_is_one_so_that_the_database_has_all_of_it_or_nothing():
    sql = FORGET_TOKEN.split("-c '", 1)[1].removesuffix("'")
    body = sql.strip().removeprefix("DO $do$").removesuffix("$do$")
    assert len(body) == len(sql.strip()) - len("DO $do$") - len("$do$") and "$do$" not in body
    # Inside a shell's quotes
    assert "'" not in sql and "$$" not in body.replace("$text$$text$", "")


def templated(expression: str, given_token: bool = True, role: str = "server", **given: Any) -> Any:
    groups = "both" if role == "server" else "worker"
    variables = variables_of(role, groups, "1.45", STORE, {"gpustack_version": VERSIONS[given_token], **given})
    variables["__gpustack_host"]["data"] = {"path": "/srv/data", "cluster": ["token"]}
    return Templar(loader=DataLoader(), variables=variables).template(_trusted(expression))


def written(**given: Any) -> dict[str, Any]:
    (task,) = [
        each for each in yaml.safe_load((ROOT / "roles/gpustack/tasks/container.yml").read_text()) if each["name"].startswith("Write ")
    ]
    arguments = task["ascend.gpustack.gpustack_config"]
    return {name: templated(arguments[name], **given) for name in ("keep", "make")}


def test_the_old_token_is_not_kept_when_another_is_made():
    assert written(_gpustack_rotating=True) == {"keep": [], "make": ["token"]}
    assert written(_gpustack_rotating=True, gpustack_token=TOKEN)["keep"] == []
    assert written()["keep"] == ["token"]
    assert written(_gpustack_rotating=True, role="worker")["keep"] == ["token"]


def test_another_token_is_refused_but_for_its_exchange():
    differs = {"gpustack_token": TOKEN, "__gpustack_token_differs": True}
    assert len(templated("{{ _gpustack_token_problems }}", **differs)) == 1
    assert templated("{{ _gpustack_token_problems }}", **differs, _gpustack_rotating=True) == []


@pytest.mark.parametrize("differs", [True, False])
def test_a_given_token_that_is_there_already_is_exchanged_only_where_the_database_has_another(differs):
    before = {"gpustack_token": TOKEN, "__gpustack_token_before": {"token": TOKEN}, "__gpustack_token_differs": differs}
    assert templated("{{ _gpustack_token_same | bool }}", **before) is not differs
    assert templated("{{ _gpustack_token_same | bool }}", __gpustack_token_before={"token": TOKEN}) is False


def throttle(given_token: bool, **given: Any) -> int:
    (task,) = [each for each in yaml.safe_load((ROOT / "roles/gpustack/tasks/container.yml").read_text()) if "throttle" in each]
    return int(
        templated(task["throttle"], given_token, "worker", __gpustack_plan={"action": "restart"}, gpustack_restart_at_once=2, **given)
    )


@pytest.mark.parametrize(("said", "workers", "many"), [(3, 9, 3), ("3", 9, 3), ("10%", 500, 50), ("10%", 9, 1), ("100%", 9, 9)])
def test_a_percentage_of_the_workers_is_restarted_at_once_and_one_at_least(said, workers, many):
    groups = {"gpustack_worker": [f"worker{number}" for number in range(workers)]}
    assert int(templated("{{ _gpustack_at_once }}", gpustack_restart_at_once=said, groups=groups)) == many


def test_workers_that_are_cut_off_wait_for_no_other():
    assert (throttle(True), throttle(False)) == (2, 2)
    assert (throttle(True, _gpustack_rotating=True), throttle(False, _gpustack_rotating=True)) == (2, 0)


@pytest.mark.parametrize("given_token", [True, False])
def test_a_worker_that_rests_is_left_alone_where_its_container_is_stopped(given_token):
    def alone(drained: bool) -> bool:
        workers = [{"name": "atlas2", "drained": drained}]
        found = {"__gpustack_cluster": {"workers": workers}, "gpustack_worker_name": "atlas2"}
        return templated("{{ _gpustack_left_alone | bool }}", given_token, "worker", **found)

    assert (alone(True), alone(False)) == (not given_token, False)


@pytest.mark.parametrize("text", ["atlas2, atlas3", ["atlas2", "atlas3"]])
def test_names_come_as_a_list_or_as_awx_sends_them(text):
    rule = yaml.safe_load((ROOT / "roles/gpustack/meta/rules.yml").read_text())["gpustack_remove"]
    assert list(rules.judge(text, rule)) == []
    assert templated("{{ gpustack_remove_hosts }}", gpustack_remove=text) == ["atlas2", "atlas3"]
    assert templated("{{ gpustack_drain_hosts }}", gpustack_drain=text) == ["atlas2", "atlas3"]


def test_no_name_is_none():
    assert templated("{{ gpustack_remove_hosts }}", gpustack_remove="") == []


def test_who_stays_forgets_the_address_of_who_leaves():
    hostvars = {name: {"ansible_host": f"172.16.33.{number}"} for number, name in enumerate(("atlas1", "atlas2", "atlas3"), 106)}

    def of(role: str, expression: str, gone: list[str]) -> Any:
        variables = yaml.safe_load((ROOT / f"roles/{role}/vars/main.yml").read_text())
        given = {f"_{role}_gone": gone} if gone else {}
        known = {**variables, **given, "groups": GROUPS, "hostvars": hostvars, "inventory_hostname": "atlas2", "nfs_server_clients": []}
        return Templar(loader=DataLoader(), variables={key: _trusted(value) for key, value in known.items()}).template(_trusted(expression))

    assert of("nfs_server", "{{ _nfs_server_cluster }}", []) == ["atlas1", "atlas3"]
    assert of("nfs_server", "{{ _nfs_server_cluster }}", ["atlas3"]) == ["atlas1"]
    left = of("firewalld_configure", "{{ _firewalld_configure_groups }}", ["atlas3"])
    assert left["gpustack_worker"] == ["atlas1", "atlas2"] and left["gpustack_server"] == ["atlas1"]
    assert ports.firewall_access("atlas2", hostvars, left, "nfs")["services"][0]["sources"] == ["172.16.33.106", "172.16.33.107"]
    assert ports.firewall_access("atlas3", hostvars, left, "nfs")["services"] == []


def test_every_change_in_gpustack_is_one_of_the_run_and_no_secret_is_shown():
    found = [task for path in (ROOT / "roles/gpustack/tasks").glob("*.yml") for task in tasks(yaml.safe_load(path.read_text()))]
    asked = [task for task in found if "ascend.gpustack.gpustack_worker" in task]
    assert len(asked) == 3 and all("no_log" in task and task["run_once"] and "delegate_to" in task for task in asked)


@pytest.mark.parametrize(
    ("moved", "left", "goes_on"),
    [
        ({"left": ["tiny-1"], "pending": []}, 20, True),
        ({"left": [], "pending": ["model tiny: 0 of 1 run elsewhere"]}, 20, True),
        ({"left": [], "pending": []}, 20, False),
        ({"left": ["tiny-1"], "pending": []}, 0, False),
        # An answer that failed
        ({"msg": "no answer"}, 20, True),
    ],
)
def test_a_move_is_waited_for_as_long_as_something_is_to_come(moved, left, goes_on):
    conditions = yaml.safe_load((ROOT / "roles/gpustack/tasks/rest_move.yml").read_text())[1]["when"]
    known = {"__gpustack_moved": moved, "_gpustack_wait_left": left}
    found = [Templar(loader=DataLoader(), variables=known).template(_trusted("{{ " + each + " }}")) for each in conditions]
    assert all(found) is goes_on


@pytest.mark.parametrize("file", ["rest_apply.yml"])
@pytest.mark.parametrize(("given_token", "host", "stops"), [(False, "atlas2", True), (False, "atlas1", False), (True, "atlas2", False)])
def test_only_the_container_of_a_worker_that_is_named_is_stopped_and_only_where_it_has_to(file, given_token, host, stops):
    found = yaml.safe_load((ROOT / "roles/gpustack/tasks" / file).read_text())
    (task,) = [each for each in found if "community.docker.docker_container" in each]
    for named in ({"gpustack_drain": "atlas2"}, {"gpustack_remove": "atlas2", "_gpustack_leaving_hosts": ["atlas2"]}):
        told = [templated("{{ " + each + " }}", given_token, "worker", inventory_hostname=host, **named) for each in task["when"]]
        assert all(told) is stops


def test_record_of_a_worker_whose_container_could_not_be_removed_stays():
    given = {"gpustack_remove": ["atlas1", "atlas2"], "ansible_play_hosts": ["atlas1"]}
    assert templated("{{ _gpustack_gone }}", **given) == ["atlas1"]
