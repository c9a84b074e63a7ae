"""What --check says before the first run, held against what that run does to the hosts, and what it says of a running cluster."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
from conftest import OLD, Run, inspect, run_playbook

NAMES = ("atlas1", "atlas2")
# None of these may be printed, however much is asked for.
SECRETS = {name: f"{name}-not-to-be-seen" for name in ("bootstrap", "registry", "server", "worker", "environment", "url")}
LESS = {"disable_rpc_servers": True} if OLD else {}
# A NPU of atlas2 is missing; both hosts may work with the seven that are left.
VARIABLES = {
    "ascend_driver_check_expected_npus": 7,
    "gpustack_firewall": "disable",
    "gpustack_bootstrap_password": SECRETS["bootstrap"],
    "gpustack_registry_username": "operator",
    "gpustack_registry_password": SECRETS["registry"],
    "gpustack_server_config": {**LESS, "huggingface_token": SECRETS["server"]},
    "gpustack_worker_config": {**LESS, "huggingface_token": SECRETS["worker"]},
}
MARKER = "/run/check-mode-marker"
# A note of what the last run saw, which is no change of the host.
NOTE = "/etc/gpustack/known.json"
# What Docker, systemd and dnf keep for themselves
OWN = ("docker", "containerd", "systemd", "dnf")
OBJECTS_OF_TASKS = {
    "Stop and disable firewalld": "service firewalld: stopped and disabled",
    "Restart Docker, which makes its chains anew": "service docker: restarted",
    "Give the model store its id, once and for all": "file /data/models/.gpustack-store-id",
    "Install python3-requests, which Ansible's Docker modules need": "package python3-requests",
}


@dataclass(frozen=True)
class State:
    """What a host has: packages, containers, volumes, images; its services; files that are newer than the marker."""

    objects: frozenset[str]
    services: dict[str, str]
    files: frozenset[str]


def read_state(host) -> State:
    commands = (
        "rpm --query --all --queryformat 'package %{NAME}\\n'",
        "docker ps --all --format 'container {{.Names}}'",
        "docker volume ls --format 'volume {{.Name}}'",
        "docker image ls --format 'image {{.Repository}}:{{.Tag}}'",
    )
    show = "systemctl show --property=ActiveState,UnitFileState,ActiveEnterTimestampMonotonic --value"
    pruned = " -o ".join(f"-path /var/lib/{name}" for name in OWN)
    files = host.check_output(f"find /etc /var/lib /data \\( {pruned} \\) -prune -o -newer {MARKER} -print")
    return State(
        frozenset(line for command in commands for line in host.check_output(command).splitlines()),
        {name: host.check_output(f"{show} {name}") for name in ("firewalld", "docker")},
        frozenset(files.splitlines()),
    )


def created(before: State, after: State) -> set[str]:
    """The objects that a run made of the first state into the second, by what the host itself says."""
    found = set(after.objects - before.objects)
    if before.services["firewalld"].split()[0] == "active" and after.services["firewalld"].split()[:2] == ["inactive", "disabled"]:
        found.add("service firewalld: stopped and disabled")
    if after.services["docker"] != before.services["docker"]:
        found.add("service docker: restarted")
    folders = {path.rpartition("/")[0] for path in after.files}
    folders |= {"/".join(path.split("/")[:depth]) for path in folders for depth in range(path.count("/") + 1)}
    found |= {f"file {path}" for path in after.files - folders if path.startswith("/etc/gpustack/") and path != NOTE}
    found |= {f"directory {path}" for path in after.files if re.fullmatch(r"/data/models/[^/.]+", path)}
    found |= {f"file {path}" for path in after.files if path == "/data/models/.gpustack-store-id"}
    return found


def results(run: Run) -> list[tuple[str, str, dict]]:
    """(task, host, result) of each task that reports a change."""
    start = re.search(r"^\{$", run.output, re.MULTILINE).start()
    plays = json.JSONDecoder().raw_decode(run.output, start)[0]["plays"]
    tasks = [(task["task"]["name"].split(" : ")[-1], task["hosts"]) for play in plays for task in play["tasks"]]
    return [(task, host, result) for task, hosts in tasks for host, result in hosts.items() if result.get("changed")]


def named(run: Run, host: str) -> set[str]:
    """The objects that a check names for a host."""
    found = set()
    for task, own, result in results(run):
        if own != host:
            continue
        if task == "Show what changes on this host":
            found |= {line.removesuffix(": created") for line in result["msg"] if line.endswith(": created")}
        elif task.startswith("Write /etc/gpustack/config.yaml"):
            found |= {f"directory {path}" for path in re.findall(r'^cache_dir: "(.*)"$', result["diff"]["after"], re.MULTILINE)}
            found |= {f"file {path}" for path in re.findall(r"^# (/.*): as given$", result["diff"]["after"], re.MULTILINE)}
        else:
            found.add(OBJECTS_OF_TASKS[task])
    return found


def site(*args: str, variables: dict, **environment: str) -> Run:
    """A run that prints all that it can."""
    return run_playbook("site", "-vvvv", "--diff", "--limit", ",".join(NAMES), *args, variables=variables, **environment)


def check(**variables) -> Run:
    return site("--check", variables={**VARIABLES, **variables}, ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")


@dataclass(frozen=True)
class Story:
    """The states of the hosts before, after the check and after the run, both runs, and one of a worker that has no server yet."""

    empty: dict[str, State]
    checked: dict[str, State]
    deployed: dict[str, State]
    alone: Run
    check: Run
    run: Run


@pytest.fixture(scope="module")
def story(atlas) -> Story:
    for name in NAMES:
        atlas(name).check_output(f"touch {MARKER}")
    atlas("atlas2").check_output("npu-sim set missing 3")
    empty = {name: read_state(atlas(name)) for name in NAMES}
    alone = run_playbook("workers", "--limit", "atlas2", variables={**VARIABLES, "gpustack_wait": 1})
    first = check()
    checked = {name: read_state(atlas(name)) for name in NAMES}
    run = site(variables=VARIABLES)
    return Story(empty, checked, {name: read_state(atlas(name)) for name in NAMES}, alone, first, run)


def test_hosts_start_without_what_the_roles_bring(story):
    for state in story.empty.values():
        assert "package python3-requests" not in state.objects
        assert state.services["firewalld"].split()[:2] == ["active", "enabled"]


def test_refusal_of_a_task_that_hides_its_result_is_read_on_every_ansible(story):
    assert story.alone.rc == 2
    assert "atlas1: the cluster token cannot be read: there is no container gpustack on this host" in story.alone.text
    assert "censored" not in story.alone.output


def test_check_changes_nothing(story):
    assert story.check.rc == 0
    assert story.checked == story.empty


def test_check_names_every_object_that_the_run_creates_and_no_other(story):
    assert story.run.rc == 0, story.run.output
    made = {name: created(story.empty[name], story.deployed[name]) for name in NAMES}
    # One store, so that both see the file; the first host writes it.
    made["atlas2"].remove("file /data/models/.gpustack-store-id")
    assert {name: named(story.check, name) for name in NAMES} == made
    assert named(story.check, "atlas2") == {
        "package python3-requests",
        "service firewalld: stopped and disabled",
        "service docker: restarted",
        "file /etc/gpustack/config.yaml",
        "volume gpustack-data",
        "container gpustack",
        "directory /data/models/gpustack-cache",
        # Which CANN the driver carries, for models without a version
        *([] if OLD else ["file /etc/gpustack/managed/ascend-toolkit/latest/runtime/version.info"]),
    }


def test_token_that_is_yet_to_be_made_is_said_to_be(story):
    told = {host: result["msg"] for task, host, result in results(story.check) if task == "Show what changes on this host"}
    created_lines = ["file /etc/gpustack/config.yaml: created", "volume gpustack-data: created", "container gpustack: created"]
    with_token = [*created_lines, "  token: <known once the server runs>"]
    # A server of GPUStack 0.7 makes its own.
    assert told == {"atlas1": created_lines if OLD else with_token, "atlas2": with_token}


def test_host_without_npu_3_joins_with_the_seven_that_it_has(story, workers, atlas):
    found = workers()
    assert {name: worker["state"] for name, worker in found.items()} == {"atlas1": "ready", "atlas2": "ready"}
    counts = {name: len(worker["status"]["gpu_devices"]) for name, worker in found.items()}
    assert counts == {"atlas1": 8, "atlas2": 7}
    container = inspect(atlas("atlas2"))["HostConfig"]
    # A worker of GPUStack 2 is privileged, and makes the containers of models, which have every NPU that is there.
    assert container["Privileged"] is not OLD
    devices = [device["PathOnHost"] for device in container["Devices"] or []]
    left = [f"/dev/davinci{number}" for number in (0, 1, 2, 4, 5, 6, 7)]
    assert [path for path in devices if re.fullmatch(r"/dev/davinci\d", path)] == (left if OLD else [])


def test_nothing_printed_holds_a_secret_and_nothing_is_deprecated(story, token):
    for run in (story.check, story.run):
        assert [name for name, secret in {**SECRETS, "token": token}.items() if secret in run.output] == []
        assert "DEPRECATION" not in run.output
    assert "skipping: [" not in story.run.output


def test_check_of_the_running_cluster_shows_exactly_the_pending_change(story, atlas, token):
    before = {name: (inspect(atlas(name))["State"]["StartedAt"], read_state(atlas(name))) for name in NAMES}
    given = {**VARIABLES["gpustack_worker_config"], "system_reserved": {"ram": 3, "vram": 1}}
    environment = {
        "HF_TOKEN": SECRETS["environment"],
        "INDEX": f"https://reader:{SECRETS['url']}@mirror.example.com",
        "TZ": "Asia/Shanghai",
    }
    run = check(gpustack_worker_config=given, gpustack_env=environment)
    assert run.rc == 0
    changes = {(host, task): result for task, host, result in results(run)}
    replaced = [
        "container gpustack: replaced",
        # None of them is to reach a model's container.
        *([] if OLD else ["  env: GPUSTACK_RUNTIME_DEPLOY_MIRRORED_DEPLOYMENT_IGNORE_ENVIRONMENTS changed"]),
        "  env: + HF_TOKEN=***",
        "  env: + INDEX=***",
        "  env: + TZ=Asia/Shanghai",
    ]
    show, write = "Show what changes on this host", "Write /etc/gpustack/config.yaml"
    assert sorted(changes) == [("atlas1", show), ("atlas2", show), ("atlas2", write)]
    assert [changes[name, show]["msg"] for name in NAMES] == [replaced, replaced]
    diff = changes["atlas2", write]["diff"]
    assert set(diff["after"].splitlines()) - set(diff["before"].splitlines()) == {'system_reserved: {"ram": 3, "vram": 1}'}
    assert set(diff["before"].splitlines()) <= set(diff["after"].splitlines())
    assert "token: ***" in diff["after"].splitlines()
    assert [name for name, secret in {**SECRETS, "token": token}.items() if secret in run.output] == []
    assert {name: (inspect(atlas(name))["State"]["StartedAt"], read_state(atlas(name))) for name in NAMES} == before
