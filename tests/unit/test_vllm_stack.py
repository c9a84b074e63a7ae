# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stack is deployed where it differs from what Swarm has, and only there; what Swarm has is compared setting by setting."""

from __future__ import annotations

import base64
import copy
import json
import pathlib
from typing import Any

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result
from ansible_collections.ascend.gpustack.plugins.module_utils.swarm import stack as swarm_stack
from ansible_collections.ascend.gpustack.plugins.modules import vllm_stack, vllm_stack_info

SAMPLES = pathlib.Path(__file__).resolve().parent / "samples/swarm"
# A compose file as the filter vllm_stack_compose writes it, and what Docker Engine 26.1.5 made of it
COMPOSE = json.loads((SAMPLES / "compose.json").read_text())
INSPECTED = json.loads((SAMPLES / "services.json").read_text())
NETWORKS = json.loads((SAMPLES / "networks.json").read_text())
CONFIG, SECRET = "vllm_gateway_0f1e2d3c4b5a", "vllm_gateway_api_key_5a4b3c2d1e0f"
TEXT, KEY = "frontend models\n  bind :8000\n", "Bearer 0f1e2d3c\n"


class Swarm:
    """Docker's command line on a manager, with the services that a deployment of COMPOSE leads to."""

    def __init__(self, state: str = "active", manager: bool = True) -> None:
        self.swarm = {"LocalNodeState": state, "ControlAvailable": manager, "Error": ""}
        self.services: list[dict[str, Any]] = []
        self.objects: dict[str, dict[str, str]] = {"config": {}, "secret": {}}
        self.stderr, self.deploy_rc, self.help = "", 0, ""
        self.commands: list[list[str]] = []
        self.deployed: dict[str, Any] | None = None
        self.left, self.stays = 0, False

    def __call__(self, argv: list[str], timeout: float, stdin: str | None = None) -> Result:
        self.commands.append(argv)
        name = "_".join(argv[1:3]).replace("-", "")
        return getattr(self, f"do_{name}")(argv, stdin)

    def do_info___format(self, _argv, _stdin):
        return Result(0, json.dumps(self.swarm))

    do_info_format = do_info___format

    def do_service_ls(self, argv, _stdin):
        assert f"label={swarm_stack.NAMESPACE}=vllm" in argv
        return Result(0, "".join(service["ID"] + "\n" for service in self.services))

    def do_inspect_type(self, argv, _stdin):
        known = self.services if argv[3] == "service" else NETWORKS
        return Result(0, json.dumps([item for item in known if (item.get("ID") or item.get("Id")) in argv[4:]]))

    def _objects(self, argv, stdin):
        kind, verb = argv[1:3]
        if verb == "ls":
            return Result(0, "".join(name + "\n" for name in self.objects[kind]))
        if verb == "create":
            assert argv[-1] == "-" and f"{docker_cli.LABEL_MANAGED}=true" in argv
            self.objects[kind][argv[-2]] = stdin
        if verb == "rm":
            for name in argv[3:]:
                del self.objects[kind][name]
        if verb == "inspect":
            data = base64.b64encode(self.objects[kind][argv[3]].encode()).decode()
            return Result(0, json.dumps([{"Spec": {"Data": data}}]))
        return Result(0)

    do_config_ls = do_config_create = do_config_rm = do_config_inspect = _objects
    do_secret_ls = do_secret_create = do_secret_rm = _objects

    def do_stack_deploy(self, argv, stdin):
        if "--help" in argv:
            return Result(0, self.help)
        self.deployed = json.loads(stdin)
        self.services = copy.deepcopy(INSPECTED)
        return Result(self.deploy_rc, "", self.stderr)

    def do_service_rm(self, argv, _stdin):
        self.services = [service for service in self.services if service["Spec"]["Name"] not in argv]
        self.left = 100 if self.stays else 2
        return Result(0)

    def do_stack_rm(self, _argv, _stdin):
        self.services, self.objects = [], {"config": {}, "secret": {}}
        return Result(0)

    def do_stack_ps(self, _argv, _stdin):
        self.left -= 1
        return Result(0, "task\n") if self.left >= 0 else Result(1, "", "nothing found in stack: vllm\n")

    def did(self, *words: str) -> bool:
        return any(command[1 : 1 + len(words)] == list(words) and "--help" not in command for command in self.commands)


def parameters(**changes: Any) -> dict[str, Any]:
    given = {"name": "vllm", "compose": COMPOSE, "configs": {CONFIG: TEXT}, "secrets": {SECRET: KEY}, "timeout": 5}
    return {**given, **changes}


def present(swarm: Swarm, check_mode: bool = False, **changes: Any) -> dict[str, Any]:
    swarm.commands.clear()
    return vllm_stack.present(parameters(**changes), swarm, check_mode, lambda _seconds: None)


@pytest.fixture
def swarm() -> Swarm:
    """One that has the stack."""
    found = Swarm()
    present(found)
    return found


def test_what_docker_made_of_the_compose_file_is_described_as_the_compose_file_is():
    networks = {network["Id"]: network["Name"] for network in NETWORKS}
    made = {service["Spec"]["Name"][5:]: swarm_stack.present(service, networks) for service in INSPECTED}
    assert made == swarm_stack.wanted(COMPOSE)


def test_stack_is_deployed_once():
    swarm = Swarm()
    first, second = present(swarm), present(swarm)
    assert first["changes"] == [
        *(f"service {name}: created" for name in COMPOSE["services"]),
        f"config {CONFIG}: created",
        f"secret {SECRET}: created",
    ]
    assert first["changed"] and not second["changed"] and second["changes"] == []
    assert not swarm.did("stack", "deploy")
    assert second["diff"][0]["before"] == second["diff"][0]["after"]


def test_check_changes_nothing_and_says_the_same_as_the_run():
    swarm = Swarm()
    checked = present(swarm, check_mode=True)
    assert not any(swarm.did(*words) for words in (("stack", "deploy"), ("config", "create"), ("secret", "create")))
    assert checked == present(swarm)


def test_check_on_a_host_that_is_in_no_swarm_yet_says_that_all_is_created():
    assert present(Swarm("inactive", manager=False), check_mode=True) == present(Swarm())


@pytest.mark.parametrize("state, told", [("inactive", "inactive"), ("active", "worker")])
def test_host_that_is_no_manager_is_refused(state, told):
    with pytest.raises(swarm_stack.StackError, match=f"this host's part in a Swarm is: {told}; expected a manager"):
        present(Swarm(state, manager=False))


CHANGES = {
    "image": ("image", "vllm:2"),
    "command": ("command", ["vllm", "serve", "/models/other"]),
    "entrypoint": ("entrypoint", ["/bin/sh"]),
    "user": ("user", "root"),
    "environment": ("environment", {}),
    "init": ("init", False),
    "networks": ("networks", []),
    "mounts": ("volumes", [{"type": "tmpfs", "target": "/dev/shm", "tmpfs": {"size": 1024}}]),
    "stop_grace_period": ("stop_grace_period", "1m30s"),
    "healthcheck": ("healthcheck", {"test": ["CMD", "true"], "interval": "500ms"}),
    "configs": ("configs", [{"source": "gateway", "target": "/etc/other"}]),
    "secrets": ("secrets", [{"source": "gateway_api_key", "target": "other"}]),
}
DEPLOY_CHANGES = {
    "mode": {"mode": "replicated", "replicas": 2},
    "labels": {"labels": {"ascend.gpustack.managed": "true", "more": "1"}},
    "constraints": {"placement": {"constraints": []}},
    "max_replicas_per_node": {"placement": {"constraints": ["node.labels.gpustack.npu == true"], "max_replicas_per_node": 1}},
    "reservations": {"resources": {"reservations": {"generic_resources": [{"discrete_resource_spec": {"kind": "NPU", "value": 2}}]}}},
    "update": {"update_config": {"parallelism": 2}},
    "restart": {"restart_policy": {"condition": "none"}},
}


@pytest.mark.parametrize("field", [*CHANGES, *DEPLOY_CHANGES])
def test_one_changed_setting_changes_one_service(swarm, field):
    compose = copy.deepcopy(COMPOSE)
    # The one with replicas gets another one.
    name = "coder" if field == "mode" else "qwen"
    if field in CHANGES:
        key, value = CHANGES[field]
        compose["services"][name][key] = value
    else:
        compose["services"][name]["deploy"].update(DEPLOY_CHANGES[field])
    found = present(swarm, compose=compose)
    assert found["changes"] == [f"service {name}: {field} changed"]
    assert swarm.did("stack", "deploy")
    assert found["diff"][0]["before"] != found["diff"][0]["after"]


LOGGING = {"driver": "json-file", "options": {"max-size": "100m", "max-file": "3"}}


def test_only_services_that_get_new_containers_anyway_get_bounded_logs(swarm):
    compose = copy.deepcopy(COMPOSE)
    for service in compose["services"].values():
        service["logging"] = LOGGING
    # All of them stay as they are, and so does the stack.
    assert present(swarm, compose=compose)["changes"] == [] and not swarm.did("stack", "deploy")
    by_hand = next(service for service in swarm.services if service["Spec"]["Name"] == "vllm_coder")
    by_hand["Spec"]["TaskTemplate"]["LogDriver"] = {"Name": "journald"}
    compose["services"]["qwen"]["image"] = "vllm:2"
    assert present(swarm, compose=compose)["changes"] == ["service qwen: image changed"]
    deployed = {name: service.get("logging") for name, service in swarm.deployed["services"].items()}
    assert deployed == {"qwen": LOGGING, "coder": {"driver": "journald", "options": {}}, "gateway": None}
    new = Swarm()
    present(new, compose=compose)
    assert {service["logging"]["driver"] for service in new.deployed["services"].values()} == {"json-file"}


def test_every_setting_has_a_test_of_its_change():
    assert set(swarm_stack.wanted(COMPOSE)["qwen"]) == set(CHANGES) | set(DEPLOY_CHANGES) | {swarm_stack.BY_HAND}


def test_what_was_changed_by_hand_is_changed_back(swarm):
    swarm.services[0]["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] = "vllm:by-hand"
    assert [line.split(": ")[1] for line in present(swarm)["changes"]] == ["image changed"]


def test_what_was_added_by_hand_is_taken_away(swarm):
    template = swarm.services[0]["Spec"]["TaskTemplate"]
    template["ContainerSpec"]["Hostname"] = "mine"
    template["Resources"]["Limits"] = {"MemoryBytes": 1}
    (change,) = present(swarm)["changes"]
    assert change.endswith(": settings added by hand changed") and swarm.did("stack", "deploy")


def test_paused_update_is_resumed(swarm):
    swarm.services[0]["UpdateStatus"] = {"State": "paused", "Message": "update paused"}
    name = swarm.services[0]["Spec"]["Name"][5:]
    assert present(swarm)["changes"] == [f"service {name}: its paused update resumed"]
    swarm.services[0]["UpdateStatus"] = {"State": "completed"}
    assert present(swarm)["changes"] == []


def test_service_that_is_no_longer_wanted_is_removed(swarm):
    compose = {**COMPOSE, "services": {name: service for name, service in COMPOSE["services"].items() if name != "coder"}}
    assert present(swarm, compose=compose)["changes"] == ["service coder: removed"]
    assert any("--prune" in command for command in swarm.commands)


def test_service_that_gets_replicas_is_removed_and_made_anew(swarm):
    """Swarm: service mode change is not allowed."""
    qwen = COMPOSE["services"]["qwen"]
    replicas = {"mode": "replicated", "replicas": 2}
    assert qwen["deploy"]["mode"] == "global"
    compose = {**COMPOSE, "services": {**COMPOSE["services"], "qwen": {**qwen, "deploy": {**qwen["deploy"], **replicas}}}}
    told = "service qwen: removed and made anew, all its containers at once, since Swarm does not change global to replicated 2"
    assert present(swarm, check_mode=True, compose=compose)["changes"] == [told]
    assert not swarm.did("service", "rm")
    assert present(swarm, compose=compose)["changes"] == [told]
    done = [command[1:] for command in swarm.commands if command[1:3] in (["service", "rm"], ["stack", "ps"], ["stack", "deploy"])]
    gone = ["stack", "ps", "--quiet", "--filter", "name=vllm_qwen.", "vllm"]
    assert done[:4] == [["service", "rm", "vllm_qwen"], gone, gone, gone]
    assert swarm.did("stack", "deploy")


def test_service_is_made_anew_also_while_a_host_is_down_that_had_it(swarm):
    compose = copy.deepcopy(COMPOSE)
    compose["services"]["qwen"]["deploy"] |= {"mode": "replicated", "replicas": 2}
    swarm.stays = True
    present(swarm, compose=compose)
    assert swarm.did("stack", "deploy")


def test_new_content_replaces_the_old_config_and_secret_after_the_services_have_changed(swarm):
    found = present(swarm, configs={"vllm_gateway_new": "new\n"}, secrets={"vllm_gateway_api_key_new": "Bearer new\n"})
    assert found["changes"] == [
        "config vllm_gateway_new: created",
        "secret vllm_gateway_api_key_new: created",
        f"config {CONFIG}: removed",
        f"secret {SECRET}: removed",
    ]
    assert swarm.objects == {"config": {"vllm_gateway_new": "new\n"}, "secret": {"vllm_gateway_api_key_new": "Bearer new\n"}}
    assert (found["diff"][1]["before"], found["diff"][1]["after"]) == (TEXT, "new\n")


def test_secret_is_given_on_standard_input_alone_and_is_in_no_result(swarm):
    results = [present(Swarm()), present(swarm, secrets={"vllm_gateway_api_key_new": KEY})]
    assert KEY.strip() not in json.dumps([swarm.commands, *results])


def test_secrets_in_environment_and_arguments_are_not_in_the_diff(swarm):
    compose = copy.deepcopy(COMPOSE)
    compose["services"]["qwen"]["environment"]["HF_TOKEN"] = "hf_abc"
    compose["services"]["qwen"]["command"] += ["--api-key", "sk-1", "--hf-token=sk-2", "--max-num-batched-tokens", "4096"]
    after = present(swarm, compose=compose)["diff"][0]["after"]
    assert '"HF_TOKEN": "***"' in after and '"--hf-token=***"' in after and '"4096"' in after
    assert "hf_abc" not in after and "sk-1" not in after and "sk-2" not in after


def test_dollar_stands_for_itself_and_other_alphabets_as_they_are():
    swarm = Swarm()
    compose = copy.deepcopy(COMPOSE)
    compose["services"]["qwen"]["environment"]["PROMPT"] = "cost: $5 模型 𝕏"
    present(swarm, compose=compose)
    assert swarm.deployed["services"]["qwen"]["environment"]["PROMPT"] == "cost: $$5 模型 𝕏"


@pytest.mark.parametrize("told, given", [("  -d, --detach  Exit immediately", True), ("", False)])
def test_newer_docker_is_told_not_to_wait(told, given):
    swarm = Swarm()
    swarm.help = told
    present(swarm)
    assert ("--detach=true" in swarm.commands[-1]) is given


def test_option_that_swarm_ignores_is_no_success():
    swarm = Swarm()
    swarm.stderr = "Ignoring unsupported options: devices, shm_size\n\nCreating service vllm_qwen\n"
    with pytest.raises(swarm_stack.StackError, match="Ignoring unsupported options: devices, shm_size; expected"):
        present(swarm)


def test_setting_that_would_not_be_compared_is_refused():
    compose = copy.deepcopy(COMPOSE)
    compose["services"]["qwen"]["devices"] = ["/dev/davinci0"]
    compose["services"]["qwen"]["deploy"]["endpoint_mode"] = "vip"
    with pytest.raises(swarm_stack.StackError, match="the service qwen of the compose file has deploy.endpoint_mode, devices; expected"):
        present(Swarm(), compose=compose)


def test_duration_that_is_none_is_refused():
    compose = copy.deepcopy(COMPOSE)
    compose["services"]["qwen"]["stop_grace_period"] = "soon"
    with pytest.raises(swarm_stack.StackError, match="the duration 'soon'"):
        present(Swarm(), compose=compose)


def test_failed_deployment_is_told_in_dockers_words():
    swarm = Swarm()
    swarm.deploy_rc, swarm.stderr = 1, "services.qwen Additional property gpus is not allowed\n"
    with pytest.raises(swarm_stack.StackError, match="fails .services.qwen Additional property gpus is not allowed.; expected"):
        present(swarm)


def test_stack_made_by_hand_is_neither_changed_nor_removed(swarm):
    swarm.services[0]["Spec"]["Labels"] = {swarm_stack.NAMESPACE: "vllm"}
    name = swarm.services[0]["Spec"]["Name"][5:]
    for act in (lambda: present(swarm), lambda: vllm_stack.absent(parameters(), swarm, False, lambda _s: None)):
        with pytest.raises(swarm_stack.StackError, match=f"services that were made by hand .{name}.; expected none"):
            act()
    assert not swarm.did("stack", "rm")


def test_removal_waits_for_the_containers_and_names_the_volumes_that_stay(swarm):
    swarm.left, naps = 2, []
    checked = vllm_stack.absent(parameters(), swarm, True, naps.append)
    assert not swarm.did("stack", "rm")
    removed = vllm_stack.absent(parameters(), swarm, False, naps.append)
    assert removed == checked and len(naps) == 2
    assert removed["volumes"] == ["vllm_coder_cache", "vllm_qwen_cache"]
    assert f"secret {SECRET}: removed" in removed["changes"]
    again = vllm_stack.absent(parameters(), swarm, False, naps.append)
    assert (again["changed"], again["volumes"]) == (False, [])
    assert not vllm_stack.absent(parameters(), Swarm("inactive", False), False, naps.append)["changed"]


def test_container_that_does_not_stop_is_told(swarm):
    swarm.left = 100
    with pytest.raises(swarm_stack.StackError, match="are left 5 s after its removal; expected them to stop"):
        vllm_stack.absent(parameters(), swarm, False, lambda _seconds: None)


# Reading


class RunningSwarm(Swarm):
    """One host on which the gateway runs and the models do not."""

    node = {
        "ID": "id1",
        "Spec": {"Labels": {"gpustack.name": "atlas1", "gpustack.npu": "true"}, "Availability": "active"},
        "Description": {"Resources": {"GenericResources": [{"NamedResourceSpec": {"Kind": "NPU", "Value": "Ascend910-0"}}]}},
        "Status": {"State": "ready"},
    }

    def do_node_ls(self, _argv, _stdin):
        return Result(0, "id1\n")

    def do_service_ps(self, argv, _stdin):
        assert "--no-trunc" in argv
        # One that has gone away meanwhile
        return Result(0, "task1\ntask2\n")

    def do_inspect_type(self, argv, stdin):
        if argv[3] == "node":
            return Result(0, json.dumps([self.node]))
        if argv[3] != "task":
            return super().do_inspect_type(argv, stdin)
        (gateway,) = [service for service in self.services if service["Spec"]["Name"] == "vllm_gateway"]
        status = {"State": "running", "Timestamp": "2026-05-26T12:00:00Z"}
        task = {"ServiceID": gateway["ID"], "NodeID": "id1", "Spec": gateway["Spec"]["TaskTemplate"], "Status": status}
        return Result(1, json.dumps([{**task, "CreatedAt": status["Timestamp"], "DesiredState": "running"}]), "no such task: task2")


def test_answer_says_of_each_service_how_it_stands():
    swarm = RunningSwarm()
    empty = vllm_stack_info.read(swarm, "vllm", None, 1779800000.0, 5)
    assert (empty["healthy"], empty["finished"], empty["services"], empty["npu_nodes"]) == (False, False, [], {"atlas1": 1})
    present(swarm)
    found = vllm_stack_info.read(swarm, "vllm", None, 1779800000.0, 5)
    assert (found["progress"], found["healthy"], found["finished"]) == ("coder 0 of 1, gateway 1 of 1, qwen 0 of 1", False, False)
    assert [problem.split(";")[0] for problem in found["problems"]] == [
        "Swarm: service coder has no task yet",
        "atlas1: service qwen has no task yet",
    ]
    assert found["services"][1] == {"name": "gateway", "wanted": 1, "running": 1, "starting": 0, "hosts": ["atlas1"], "update": None}


def test_host_that_is_no_manager_can_not_be_asked():
    with pytest.raises(swarm_stack.StackError, match="expected a manager"):
        vllm_stack_info.gather({"timeout": 5}, Swarm(manager=False), lambda: 0.0, lambda _seconds: None)


# Waiting


class Clock:
    def __init__(self) -> None:
        self.now = 1779800000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def wait(monkeypatch, answers: list[dict[str, Any]], **given: Any) -> tuple[dict[str, Any], float]:
    """What is returned, and after how many seconds. The last answer is given for ever."""
    clock, left = Clock(), list(answers)

    def read(_runner, _stack, _since, now, _timeout):
        return {"finished": False, **(left.pop(0) if len(left) > 1 else left[0]), "now": now}

    monkeypatch.setattr(vllm_stack_info, "read", read)
    asked = {"name": "vllm", "wait": 0, "known": "", "pace": 0, "since": None, "timeout": 5, **given}
    return vllm_stack_info.gather(asked, Swarm(), lambda: clock.now, clock.sleep), clock.now - 1779800000.0


def test_without_waiting_the_first_answer_is_given(monkeypatch):
    assert wait(monkeypatch, [{"progress": "qwen 0 of 5"}], known="qwen 0 of 5")[1] == 0


def test_wait_ends_with_another_progress(monkeypatch):
    found, seconds = wait(monkeypatch, [{"progress": "0"}] * 3 + [{"progress": "1"}], wait=300, known="0")
    assert (found["progress"], seconds) == ("1", 15)


def test_changes_within_the_pace_come_as_one(monkeypatch):
    answers = [{"progress": str(number)} for number in range(9)]
    found, seconds = wait(monkeypatch, answers, wait=300, known="0", pace=30)
    assert (found["progress"], seconds) == ("6", 30)


def test_end_is_told_at_once_whatever_the_pace(monkeypatch):
    found, seconds = wait(monkeypatch, [{"progress": "0"}, {"progress": "0", "finished": True}], wait=300, known="0", pace=60)
    assert (found["finished"], seconds) == (True, 5)


def test_wait_never_takes_longer_than_asked(monkeypatch):
    assert wait(monkeypatch, [{"progress": "0"}], wait=12, known="0")[1] == 10
