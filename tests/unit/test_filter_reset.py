"""What a reset says before and after: once for all hosts, with the commands to copy."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.ascend.gpustack.plugins.filter import reset
from ansible_collections.ascend.gpustack.plugins.plugin_utils import command_line
from ansible_collections.ascend.gpustack.plugins.plugin_utils.given import _trusted
from test_node_spec import ROOT, STORE, variables_of

SETTINGS = {
    "container": "gpustack",
    "reset_data": True,
    "confirmed": False,
    "firewall": "configure",
    "models_dir": "/data/models",
    "store_type": "nfs",
    "exports": False,
    "inventory": ["/nowhere/my hosts.yml"],
    "limit": "",
    "instances": [],
}
HOST = {
    "docker": {"installed": True, "running": True, "error": None},
    "container": {"name": "gpustack", "status": "running", "managed": True},
    "data": {"name": "gpustack-data", "exists": True, "managed": True},
    "image": {"name": "gpustack/gpustack:v0.7.1-npu", "present": True},
    "images": {},
    "firewalld": {"installed": True, "running": True},
    "store": {"is_mount": True},
    "models": {"workers": [], "workloads": []},
}
CONFIG = {"removed": ["/etc/gpustack"], "kept": [], "item": {"path": "/etc/gpustack", "what": "the configuration", "goes": True}}
BY_HAND = {"path": "/data/models/cache", "why": "was not made by this collection", "command": "rm -rf -- /data/models/cache"}
CACHE = {"removed": [], "kept": [BY_HAND], "item": {"path": "/data/models/cache", "what": "the downloaded models", "goes": True}}
PLAYBOOK = "ansible-playbook -i '/nowhere/my hosts.yml' ascend.gpustack"


def of_host(directories: list[dict] | None = None, settings: dict | None = None, **host: Any) -> dict:
    return reset.reset_of_host({**HOST, **host}, directories or [CONFIG], {**SETTINGS, **(settings or {})})


def report(hosts: dict[str, dict | None], **settings: Any) -> dict:
    plans = {host: {"gpustack_reset_plan": found} if found else {} for host, found in hosts.items()}
    return reset.reset_report(list(hosts), plans, {**SETTINGS, **settings})


def test_timer_of_backups_goes_and_is_named_before():
    assert "the timer gpustack-backup" in of_host(settings={"timer": True})["goes"]
    assert "the timer gpustack-backup" not in of_host()["goes"]


def test_images_with_engines_are_not_left_behind_unsaid():
    runner, absent = "gpustack/runner:cann8.5-910b-vllm0.18.0", "gpustack/runtime:pause"
    images = {runner: {"name": runner, "present": True}, absent: {"name": absent, "present": False}}
    stays = [thing for thing in of_host(images=images)["stays"] if "image" in thing[0]]
    assert stays[1:] == [[f"the image {runner}", f"docker image rm {runner}"]] and len(stays) == 2


def test_all_hosts_are_told_together_with_the_command_that_goes_on():
    found = report({"atlas1": of_host([CONFIG, CACHE]), "atlas2": of_host(), "atlas3": of_host(container=None)}, limit="atlas[1:3]")
    assert found == {
        "goes": [
            "atlas1, atlas2: the container gpustack (running)",
            "atlas1, atlas2, atlas3: /etc/gpustack",
            "atlas1, atlas2, atlas3: the volume gpustack-data",
        ],
        "stays": [
            "atlas1: /data/models/cache, which was not made by this collection",
            "  rm -rf -- /data/models/cache",
            "atlas1, atlas2, atlas3: the image gpustack/gpustack:v0.7.1-npu",
            "  docker image rm gpustack/gpustack:v0.7.1-npu",
            "atlas1, atlas2, atlas3: the ports opened in firewalld",
            f"  {PLAYBOOK}.firewall -e firewalld_configure_state=absent",
            "atlas1, atlas2, atlas3: the mount /data/models",
            f"  {PLAYBOOK}.storage -e nfs_client_state=absent",
        ],
        "command": f"{PLAYBOOK}.reset --limit 'atlas[1:3]' -e gpustack_reset_data=true -e gpustack_reset_confirm=true",
    }


def test_many_hosts_are_counted_where_all_have_it_and_named_where_not():
    hosts = {f"atlas{number}": of_host() for number in range(500)}
    hosts["atlas7"] = of_host(container=None)
    found = report(hosts)
    assert found["goes"][1] == "all 500 hosts: /etc/gpustack" and "atlas6, atlas8" in found["goes"][0]
    assert len(found["goes"]) + len(found["stays"]) == 9


def test_data_that_is_to_stay_is_named_with_the_command_that_removes_it():
    data = {"removed": ["/srv/my data"], "kept": [], "item": {"path": "/srv/my data", "what": "the data", "goes": False}}
    none = {"removed": [], "kept": [], "item": {"path": "/srv/none", "what": "copies of older data", "goes": False}}
    found = of_host([CONFIG, data, none], {"reset_data": False})
    assert found["goes"] == ["the container gpustack (running)", "/etc/gpustack"] and not found["volume"]
    assert found["stays"][:2] == [
        ["the data /srv/my data", "rm -rf -- '/srv/my data'"],
        ["the volume gpustack-data", "docker volume rm gpustack-data"],
    ]


@pytest.mark.parametrize(
    ("removed", "kept", "told"),
    [
        # Nobody's directory but GPUStack's
        (["/m/cache/huggingface", "/m/cache"], [], ["the models, /m/cache", "rm -rf -- /m/cache"]),
        # An operator's model beside those that GPUStack downloaded
        (
            ["/m/cache/huggingface", "/m/cache/model_scope"],
            [{"path": "/m/cache/mine", "why": "is not GPUStack's own", "command": "rm -rf -- /m/cache/mine"}],
            ["the models, /m/cache", "rm -rf -- /m/cache/huggingface /m/cache/model_scope"],
        ),
        # On an external store, where GPUStack made it itself
        (
            [],
            [{"path": "/m/cache", "why": "was not made by this collection", "command": "rm -rf -- /m/cache/huggingface"}],
            ["the models, /m/cache", "rm -rf -- /m/cache/huggingface"],
        ),
        (
            [],
            [{"path": "/m/cache", "why": "is the model store /m/cache, or holds it", "command": ""}],
            ["the models, /m/cache, which is the model store /m/cache, or holds it", ""],
        ),
        # Copies of older data
        (
            [],
            [{"path": "/m/cache/0.7.0", "why": "is not GPUStack's own", "command": "rm -rf -- /m/cache/0.7.0"}],
            ["the models, /m/cache", "rm -rf -- /m/cache"],
        ),
    ],
)
def test_command_that_removes_what_stays_takes_nothing_else_with_it(removed, kept, told):
    result = {"removed": removed, "kept": kept, "item": {"path": "/m/cache", "what": "the models,", "goes": False}}
    assert of_host([CONFIG, result], {"reset_data": False})["stays"][0] == told


def test_volume_without_the_label_stays():
    found = of_host(data={"name": "gpustack-data", "exists": True, "managed": False})
    assert not found["volume"] and "the volume gpustack-data" not in found["goes"]
    assert found["stays"][0][0] == "the volume gpustack-data, which was not made by this collection"


@pytest.mark.parametrize(
    "settings, firewalld, thing",
    [
        ({"firewall": "disable"}, {"installed": True, "running": False}, "systemctl enable --now firewalld"),
        ({"firewall": "leave"}, {"installed": True, "running": True}, None),
        ({}, {"installed": False, "running": False}, None),
    ],
)
def test_state_of_the_firewall_is_named_where_the_collection_set_it(settings, firewalld, thing):
    stays = of_host(settings={**settings, "store_type": "external"}, firewalld=firewalld)["stays"]
    assert [command for what, command in stays if "firewalld" in what] == ([thing] if thing else [])


def test_store_host_keeps_its_models_and_is_told_how_the_export_goes_from_all_hosts_at_once():
    assert of_host(settings={"exports": True, "limit": "atlas1"})["stays"][-2:] == [
        ["the export of /data/models", f"{PLAYBOOK}.storage -e nfs_client_state=absent -e nfs_server_state=absent"],
        ["the models in /data/models", ""],
    ]


@pytest.mark.parametrize(
    "host, refusal",
    [
        ({"container": {**HOST["container"], "managed": False}}, "the container gpustack was made by hand, not by this collection"),
        ({"docker": {"installed": True, "running": False, "error": "no answer"}}, "Docker Engine does not answer (no answer)"),
    ],
)
def test_host_on_which_nothing_can_be_removed_is_told_once_and_loses_nothing(host, refusal):
    found = of_host(**host)
    assert found["refusal"].startswith(refusal) and found["goes"] == [] and not found["volume"]
    hosts = {"atlas1": of_host(container=None, settings={"reset_data": False}), "atlas2": found}
    assert report(hosts)["goes"] == ["atlas1: /etc/gpustack", f"atlas2: nothing, {found['refusal']}"]
    assert report(hosts, confirmed=True)["goes"] == ["atlas1: /etc/gpustack"]


def test_command_names_the_inventory_as_one_would_from_here():
    line = command_line.playbook("verify", ["/home/op/site/hosts.yml", "/etc/hosts.yml", "atlas1,"], "!atlas2", directory="/home/op")
    assert line == "ansible-playbook -i site/hosts.yml -i /etc/hosts.yml -i atlas1, ascend.gpustack.verify --limit '!atlas2'"
    assert command_line.playbook("verify", [], extra={"a": "b c"}) == "ansible-playbook ascend.gpustack.verify -e 'a=b c'"


def test_job_of_awx_names_what_to_launch_and_not_its_own_inventory(monkeypatch):
    monkeypatch.setenv("AWX_HOST", "https://awx.example.com")
    line = command_line.playbook("reset", ["/runner/inventory/hosts"], "atlas1", {"gpustack_reset_confirm": "true"})
    assert line == 'the job template of the playbook reset with the extra variables {"gpustack_reset_confirm": "true"} and the limit atlas1'


def test_host_that_is_away_is_named_and_the_command_leaves_it_out():
    found = report({"atlas1": of_host(), "atlas2": None, "atlas3": of_host()}, limit="gpustack_worker")
    assert found["goes"][-1] == "atlas2: not known, it could not be read"
    assert "--limit atlas1,atlas3 " in found["command"]


def test_command_repeats_what_this_run_was_given_but_no_secret(monkeypatch):
    given = ("gpustack_data_volume=/srv/gpdata", "@site vars.yml", "gpustack_token=0123456789abcdef", "gpustack_reset_confirm=true")
    monkeypatch.setattr(command_line.context, "CLIARGS", {"extra_vars": given})
    line = command_line.playbook("reset", [], extra={"gpustack_reset_confirm": "true"})
    assert (
        line
        == "ansible-playbook ascend.gpustack.reset -e gpustack_data_volume=/srv/gpdata -e '@site vars.yml' -e gpustack_reset_confirm=true"
    )


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (("gpustack_reset_confirm=true", "gpustack_reset_data=true"), ""),
        (("gpustack_data_volume='/srv/gp data' gpustack_reset_confirm=true",), " -e 'gpustack_data_volume='\"'\"'/srv/gp data'\"'\"''"),
        (('{"gpustack_reset_confirm": true, "gpustack_port": 8081}',), " -e '{\"gpustack_port\": 8081}'"),
        (("{gpustack_reset_confirm: true}", "@vars.yml"), " -e @vars.yml"),
    ],
)
def test_command_of_another_playbook_repeats_nothing_that_was_said_to_the_reset(monkeypatch, given, left):
    monkeypatch.setattr(command_line.context, "CLIARGS", {"extra_vars": given})
    line = command_line.playbook("firewall", [], extra={"firewalld_configure_state": "absent"})
    assert line == f"ansible-playbook ascend.gpustack.firewall{left} -e firewalld_configure_state=absent"


def workload(name: str, ours: bool) -> dict:
    return {"name": name, "containers": [f"{name}-pause", f"{name}-run-0"], "running": True, "ours": ours, "npus": [0]}


def test_models_of_this_node_go_with_it_and_those_of_another_gpustack_stay():
    models = {"workers": [], "workloads": [workload("mine", True), workload("known", False), workload("theirs", False)]}
    found = of_host(models=models, settings={"instances": ["known", "elsewhere"]})
    assert found["models"] == ["mine-pause", "mine-run-0", "known-pause", "known-run-0"]
    assert found["goes"][:3] == [
        "the container gpustack (running)",
        "the model instance mine (mine-pause, mine-run-0)",
        "the model instance known (known-pause, known-run-0)",
    ]
    assert found["stays"][0] == ["the model instance theirs, which is another GPUStack's", "docker rm -f theirs-pause theirs-run-0"]
    # Also where the worker is gone
    assert of_host(models=models, container=None)["models"] == ["mine-pause", "mine-run-0"]


def test_nothing_is_removed_beside_another_worker_whose_models_may_be_mistaken_for_this_ones():
    models = {"workers": ["gpustack-worker"], "workloads": [workload("mine", True), workload("theirs", False)]}
    found = of_host(models=models)
    assert (found["goes"], found["models"]) == ([], []) and found["refusal"] == (
        "another worker of GPUStack is on this host (gpustack-worker), and models that are one's or the other's (mine, theirs); "
        "expected no other. Remove that worker and its models first"
    )
    assert of_host(models={"workers": ["gpustack-worker"], "workloads": []})["refusal"] == ""


def test_instances_that_gpustack_runs_on_a_host_are_known_by_its_workers_name():
    variables = variables_of("worker", "worker", "1.45", STORE, {"gpustack_worker_name": "npu.2"})
    variables["__gpustack_cluster"] = {
        "instances": [
            {"model": "tiny", "workloads": {"npu.2": "tiny-050qc"}},
            {"model": "big", "workloads": {"npu-1": "big-1b2c3", "npu.2": "big-1b2c3-f0"}},
            {"model": "new", "workloads": {}},
        ]
    }
    templar = Templar(loader=DataLoader(), variables=variables)
    assert templar.template(_trusted("{{ _gpustack_reset_settings.instances }}")) == ["tiny-050qc", "big-1b2c3-f0"]
    variables.pop("__gpustack_cluster")
    assert Templar(loader=DataLoader(), variables=variables).template(_trusted("{{ _gpustack_reset_settings.instances }}")) == []


def test_models_that_are_left_without_their_worker_go_too():
    (task,) = (
        task for task in yaml.safe_load((ROOT / "roles/gpustack/tasks/reset_apply.yml").read_text()) if task["name"].endswith("worker ran")
    )
    left = {**HOST, "container": None, "models": {"workers": [], "workloads": [workload("late", True), workload("theirs", False)]}}
    plan = {"gpustack_reset_plan": {"models": ["mine-run-0"]}, "_gpustack_reset_settings": SETTINGS}

    def removed(found: dict) -> list[str]:
        return Templar(loader=DataLoader(), variables={**plan, "__gpustack_left": found}).template(_trusted(task["loop"]))

    assert removed(left) == ["mine-run-0", "late-pause", "late-run-0"]
    assert removed({"skipped": True, "changed": False}) == ["mine-run-0"]
