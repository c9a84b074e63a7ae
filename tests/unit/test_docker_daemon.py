"""The NPUs as a resource of Swarm: Docker's settings with and without them, and the runtime that gives them to containers."""

from __future__ import annotations

import json
import os
import pathlib
import stat
import subprocess

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import daemon as docker_daemon
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import flags as daemon_flags
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result
from ansible_collections.ascend.gpustack.plugins.modules import docker_npu_resource

FILES = pathlib.Path(__file__).resolve().parents[2] / "roles/docker_swarm/files/runtime"
WRAPPER = "/usr/local/lib/gpustack/npu-runtime"
PATH = "/etc/docker/daemon.json"
FOREIGN = {"registry-mirrors": ["https://mirror.example.com"], "log-opts": {"max-size": "100m"}}
VENDOR = {"path": "/usr/local/Ascend/Ascend-Docker-Runtime/ascend-docker-runtime", "runtimeArgs": []}


def with_npus(settings: dict, numbers=range(2)) -> dict:
    return docker_daemon.with_npus(settings, list(numbers), WRAPPER, PATH)


def arguments(settings: dict) -> list[str]:
    return with_npus(settings)["runtimes"][docker_daemon.RUNTIME]["runtimeArgs"]


BEFORE = [
    {},
    FOREIGN,
    {"default-runtime": "runc"},
    {"default-runtime": "nvidia", "runtimes": {"nvidia": {"path": "/usr/bin/nvidia-container-runtime", "runtimeArgs": ["--quiet", "-x"]}}},
    {"default-runtime": "ascend", "runtimes": {"ascend": VENDOR}, **FOREIGN},
    {"node-generic-resources": ["FPGA=one"], **FOREIGN},
]


@pytest.mark.parametrize("settings", BEFORE)
def test_what_others_wrote_stays_and_comes_back(settings):
    added = with_npus(settings)
    assert {key: added[key] for key in FOREIGN if key in settings} == {key: FOREIGN[key] for key in FOREIGN if key in settings}
    assert (added["default-runtime"], added["runtimes"][docker_daemon.RUNTIME]["path"]) == (docker_daemon.RUNTIME, WRAPPER)
    assert [entry for entry in added["node-generic-resources"] if entry.startswith("NPU=")] == ["NPU=Ascend910-0", "NPU=Ascend910-1"]
    assert with_npus(added) == added
    kept = {key: value for key, value in settings.items() if (key, value) != ("default-runtime", "runc")}
    assert docker_daemon.without_npus(added) == kept
    # Docker gives each container the default that there is when it is made.
    bound = docker_daemon.without_npus(added, bound=True)
    assert bound.pop("runtimes")[docker_daemon.RUNTIME] == added["runtimes"][docker_daemon.RUNTIME]
    assert bound == {key: value for key, value in kept.items() if key != "runtimes"}
    assert docker_daemon.without_npus(settings) == settings


def test_lost_npu_leaves_the_resource():
    assert with_npus(with_npus(FOREIGN, range(8)), [0, 2])["node-generic-resources"] == ["NPU=Ascend910-0", "NPU=Ascend910-2"]


def test_runtime_that_was_the_default_is_called_in_turn_and_the_vendors_gives_the_npus():
    assert arguments({}) == ["--"]
    assert arguments(BEFORE[3]) == ["--was=nvidia", "--next=/usr/bin/nvidia-container-runtime", "--quiet", "-x", "--"]
    assert arguments({"runtimes": {"ascend": VENDOR}}) == [f"--vendor={VENDOR['path']}", "--"]
    assert arguments(BEFORE[4]) == ["--was=ascend", f"--vendor={VENDOR['path']}", f"--next={VENDOR['path']}", "--"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"log-driver": "journald",}', "is no valid JSON"),
        ("[]", "holds no JSON object"),
        ('{"default-runtime": "kata", "runtimes": {"kata": {"runtimeType": "io.containerd.kata.v2"}}}', "kata, which is no program"),
    ],
)
def test_settings_that_cannot_be_built_upon_are_refused_by_what_is_wrong(text, words):
    with pytest.raises(docker_daemon.SettingsError) as refusal:
        with_npus(docker_daemon.parse(text, PATH))
    assert words in str(refusal.value) and PATH in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ('{"runtimes": ["runc"]}', "a list as runtimes", "an object with runtimes by name"),
        ('{"runtimes": {"kata": ["kata"]}}', "a list as runtimes.kata", "an object with a path"),
        ('{"runtimes": {"kata": {"path": 5}}}', "a number as runtimes.kata.path", "the path of a program"),
        ('{"runtimes": {"kata": {"runtimeArgs": "-x"}}}', "a text as runtimes.kata.runtimeArgs", "a list of texts"),
        ('{"runtimes": {"kata": {"runtimeArgs": [1]}}}', "a list with more than texts as runtimes.kata.runtimeArgs", "a list of texts"),
        ('{"default-runtime": {}}', "an object as default-runtime", "the name of a runtime"),
        ('{"node-generic-resources": "NPU=x"}', "a text as node-generic-resources", "a list of texts"),
        ('{"node-generic-resources": [null]}', "a list with more than texts as node-generic-resources", "a list of texts"),
        ('{"live-restore": "true"}', "a text as live-restore", "true or false"),
    ],
)
def test_settings_of_another_shape_are_refused_by_key(text, found, expected):
    with pytest.raises(docker_daemon.SettingsError) as refusal:
        docker_daemon.parse(text, PATH)
    assert str(refusal.value) == f"{PATH} has {found}; expected {expected}. Correct it; nothing was changed."


@pytest.mark.parametrize(
    "text",
    [
        '{"runtimes": null, "default-runtime": null, "node-generic-resources": null, "live-restore": null}',
        '{"runtimes": {"x": null}}',
        '{"runtimes": {"x": {"path": null, "runtimeArgs": null}}}',
        '{"default-runtime": "x", "runtimes": {"x": {"path": "/bin/x", "runtimeArgs": null}}}',
        '\ufeff{"log-driver": "journald"}',
    ],
)
def test_null_and_the_mark_of_an_editor_are_to_docker_as_if_they_were_not_there(text):
    settings = docker_daemon.parse(text, PATH)
    added = with_npus(settings)
    assert added["default-runtime"] == docker_daemon.RUNTIME
    told = [{key: each[key] for key in each if each[key] is not None} for each in (docker_daemon.without_npus(added), settings)]
    assert told[0] == told[1]


def test_host_without_npus_has_its_settings_as_they_are():
    assert with_npus(FOREIGN, []) == FOREIGN
    assert with_npus(with_npus(FOREIGN), []) == FOREIGN


def runner(**answers):
    """dockerd and docker, by the first option after their names; what is not given fails."""
    return lambda argv, timeout: answers.get(argv[1].lstrip("-"), Result(1, stderr="no answer"))


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (Result(0, "Docker version 26.1.5, build 411e817"), None),
        (Result(0, "Docker version 23.0.0, build 1"), None),
        (
            Result(0, "Docker version 20.10.24, build 1"),
            "Docker Engine is 20.10, which can't try its settings before it takes them; expected 23.0",
        ),
        (Result(127, stderr="dockerd: not found"), "dockerd does not tell its version (no answer)"),
    ],
)
def test_engine_that_cannot_try_its_settings_is_refused(version, words):
    problem = docker_npu_resource.engine_problem(runner(version=version), 5)
    assert problem is None if words is None else words in problem


def test_running_engine_that_has_other_settings_is_to_be_restarted():
    def info(resources: list[str], default: str) -> Result:
        specs = [{"NamedResourceSpec": dict(zip(("Kind", "Value"), entry.split("=")))} for entry in resources]
        return Result(0, json.dumps({"ServerVersion": "26.1.5", "GenericResources": specs, "DefaultRuntime": default}))

    def in_force(answer: Result) -> bool:
        return docker_npu_resource.in_force(docker_npu_resource.running_info(runner(info=answer), 5), with_npus(FOREIGN))

    both = ["NPU=Ascend910-1", "NPU=Ascend910-0", "FPGA=one"]
    assert in_force(info(both, docker_daemon.RUNTIME))
    assert not in_force(info(both[:1], docker_daemon.RUNTIME))
    assert not in_force(info(both, "runc"))
    assert in_force(Result(1, '{"ServerErrors": ["no daemon"]}')), "it takes them when it starts"
    assert docker_npu_resource.in_force(docker_npu_resource.running_info(runner(info=info([], "runc")), 5), FOREIGN)


def test_running_engine_without_a_variable_is_to_be_restarted(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7/environ").write_bytes(b"PATH=/bin\0OFFLINE=1\0")
    (tmp_path / "pid").write_text("7\n")
    given = {"pid_file": str(tmp_path / "pid"), "proc": str(tmp_path)}
    assert docker_npu_resource.has_variables({"OFFLINE": "1"}, **given)
    assert docker_npu_resource.has_variables({}, **given)
    assert not docker_npu_resource.has_variables({"OFFLINE": "0"}, **given)
    assert docker_npu_resource.has_variables({"OFFLINE": "0"}, str(tmp_path / "none"))


REMEDY = ":\n  systemctl daemon-reload && systemctl restart docker"


def problem(settings: dict, *words: str, numbers=range(2)) -> str | None:
    wanted = with_npus(settings, numbers)
    return daemon_flags.problem(settings, daemon_flags.flags_of(["dockerd", *words]), wanted, PATH, lambda flag: "/etc/default/docker")


@pytest.mark.parametrize(
    ("settings", "words", "sentence"),
    [
        (
            {},
            ["-H", "fd://", "--default-runtime=nvidia"],
            "dockerd runs with the flag --default-runtime=nvidia (/etc/default/docker), and does not start with default-runtime in "
            f"{PATH} beside it; expected it there alone. Move it into that file, and run" + REMEDY,
        ),
        (
            FOREIGN,
            ["--node-generic-resource", "FPGA=one", "--debug"],
            "dockerd runs with the flag --node-generic-resource=FPGA=one (/etc/default/docker), and does not start with "
            f"node-generic-resources in {PATH} beside it; expected it there alone. Move it into that file, and run" + REMEDY,
        ),
        (
            {},
            ["--config-file", "/etc/dockerd.json"],
            f"dockerd runs with the flag --config-file=/etc/dockerd.json (/etc/default/docker), and does not read {PATH}; "
            "expected its settings there. Move them, take the flag out, and run" + REMEDY,
        ),
        (
            {},
            ["--live-restore"],
            "dockerd runs with the flag --live-restore (/etc/default/docker), with which Docker refuses to join a Swarm; "
            "expected it without. Take it out there, and run" + REMEDY,
        ),
        (
            {"live-restore": True},
            ["--live-restore"],
            f'{PATH} has "live-restore": true, with which Docker refuses to join a Swarm; expected it not to be set. Remove that line.',
        ),
    ],
)
def test_flag_of_the_daemon_that_stands_against_its_file_is_told_before_a_restart(settings, words, sentence):
    assert problem(settings, *words) == sentence


@pytest.mark.parametrize(
    "words",
    [
        ["-H", "fd://", "--containerd=/run/containerd/containerd.sock"],
        ["--live-restore=false", "--add-runtime=nvidia=/usr/bin/nvidia-container-runtime", "--log-opt", "max-size=1m"],
        [f"--config-file={PATH}", "--default-ulimit", "nofile=1024", "--iptables=false"],
    ],
)
def test_flags_that_docker_bears_beside_its_file_are_let_be(words):
    assert problem(FOREIGN, *words) is None


def test_flags_stand_against_nothing_where_nothing_is_written():
    written = with_npus({})
    assert problem(written, "--default-runtime=nvidia") is None, "such a Docker is down, and reads what it has"
    assert problem({}, "--default-runtime=nvidia", numbers=[]) is None, "a host without NPUs"
    assert "--live-restore" in problem({}, "--live-restore", numbers=[]), "a Swarm takes in no such host, with NPUs or without"


def test_file_that_gives_a_flag_is_named(tmp_path):
    unit, drop_in, variables = (tmp_path / name for name in ("docker.service", "own.conf", "sysconfig"))
    unit.write_text("[Service]\nEnvironmentFile=-/etc/sysconfig/docker\nExecStart=/usr/bin/dockerd -H fd:// $OPTIONS\n")
    drop_in.write_text("[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --live-restore-none $OPTIONS\n")
    variables.write_text("OPTIONS='--selinux-enabled --live-restore'\n")
    shown = f"FragmentPath={unit}\nDropInPaths={tmp_path}/none {drop_in}\nEnvironmentFiles={variables} (ignore_errors=yes)\n"
    answers = {"show": Result(0, shown)}
    assert daemon_flags.given_in(runner(**answers), "live-restore", 5) == str(variables)
    assert daemon_flags.given_in(runner(**answers), "default-runtime", 5) == "systemctl cat docker"
    assert daemon_flags.given_in(runner(), "live-restore", 5) == "systemctl cat docker"


def test_settings_that_docker_started_with_are_kept_until_it_starts_with_others(tmp_path):
    path = tmp_path / "daemon.json"
    path.write_text("first")
    path.chmod(0o600)
    docker_daemon.keep(str(path))
    for text in ("second", "third"):
        draft = tmp_path / "draft"
        draft.write_text(text)
        draft.replace(path)
        docker_daemon.keep(str(path))
    assert docker_daemon.go_back(str(path))
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode), os.listdir(tmp_path)) == ("first", 0o600, ["daemon.json"])
    assert not docker_daemon.go_back(str(path))
    path.unlink()
    docker_daemon.keep(str(path))
    path.write_text("made")
    assert docker_daemon.go_back(str(path)) and os.listdir(tmp_path) == [], "there was none"
    docker_daemon.keep(str(path))
    docker_daemon.forget(str(path))
    assert not docker_daemon.go_back(str(path))


class Host:
    """The runtime, installed, with a stand-in for runc that says what it was called with; /dev/null and /dev/zero stand for NPUs."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        for name in ("npu-runtime", "npu-claim"):
            text = (FILES / name).read_text().replace("/dev/davinci{number}", str(root) + "/davinci{number}")
            (root / name).write_text(text)
            (root / name).chmod(0o755)
        self.describe(managers=["/dev/null"], mounts=[str(root / "driver"), str(root / "none")])
        (root / "driver").mkdir()
        (root / "davinci0").symlink_to("/dev/zero")
        (root / "davinci3").symlink_to("/dev/full")
        self.program("runc")

    def describe(self, **host) -> None:
        (self.root / "npu-host.json").write_text(json.dumps(host))

    def program(self, name: str) -> pathlib.Path:
        path = self.root / name
        path.write_text(f'#!/bin/sh\necho {name} "$@"\n')
        path.chmod(0o755)
        return path

    def create(self, *own: str, env=(), **config) -> tuple[int, str, dict, str]:
        bundle = self.root / "bundle"
        bundle.mkdir(exist_ok=True)
        (bundle / "config.json").write_text(json.dumps({"process": {"env": [f"{pair}" for pair in env]}, **config}))
        log = self.root / "log.json"
        log.write_text("")
        words = [f"--next={self.root}/runc", *own, "--", "--root", "/run", "--log", str(log), "create", "--bundle", str(bundle), "f00"]
        done = subprocess.run([str(self.root / "npu-runtime"), *words], capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout.strip(), json.loads((bundle / "config.json").read_text()), log.read_text()


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


@pytest.mark.parametrize("env", [[], ["PATH=/bin"], ["ASCEND_VISIBLE_DEVICES="], ["ASCEND_VISIBLE_DEVICES=void"]])
def test_container_without_a_claim_is_handed_over_as_it_came(host, env):
    rc, called, config, _log = host.create("--debug", env=env)
    assert (rc, config) == (0, {"process": {"env": env}})
    assert called == f"runc --debug --root /run --log {host.root}/log.json create --bundle {host.root}/bundle f00"


def test_container_without_a_claim_starts_though_all_else_is_broken(host):
    (host.root / "npu-claim").unlink()
    (host.root / "npu-host.json").unlink()
    assert host.create(env=["PATH=/bin"])[0] == 0
    rc, called, _config, _log = host.create(env=["DOCKER_RESOURCE_NPU=Ascend910-0"])
    assert (rc != 0, called) == (True, "")


@pytest.mark.parametrize(
    "env",
    [
        ["DOCKER_RESOURCE_NPU=Ascend910-0,Ascend910-3"],
        ["ASCEND_VISIBLE_DEVICES=1", "ASCEND_VISIBLE_DEVICES=0,3"],
        ["ASCEND_VISIBLE_DEVICES=0-1", "DOCKER_RESOURCE_NPU=Ascend910-3,Ascend910-0"],
        ["ASCEND_VISIBLE_DEVICES=Ascend910B4-0,npu-3"],
    ],
)
def test_claimed_npus_come_with_nodes_rules_and_driver_files(host, env):
    mounted = {"destination": "/data", "type": "bind", "source": "/data", "options": ["rbind"]}
    rc, called, config, _log = host.create(env=env, mounts=[mounted], linux={"resources": {"devices": [{"allow": False, "access": "rwm"}]}})
    assert rc == 0 and called.startswith("runc ")
    devices = config["linux"]["devices"]
    assert {device["path"] for device in devices} == {f"{host.root}/davinci0", f"{host.root}/davinci3", "/dev/null"}
    zero = os.stat("/dev/zero")
    (first,) = [device for device in devices if device["path"].endswith("davinci0")]
    assert (first["type"], first["major"], first["minor"]) == ("c", os.major(zero.st_rdev), os.minor(zero.st_rdev))
    assert first["fileMode"] == stat.S_IMODE(zero.st_mode)
    rules = config["linux"]["resources"]["devices"]
    assert rules[0] == {"allow": False, "access": "rwm"}
    assert [(rule["allow"], rule["type"], rule["access"]) for rule in rules[1:]] == [(True, "c", "rwm")] * 3
    assert (first["major"], first["minor"]) in [(rule.get("major"), rule.get("minor")) for rule in rules]
    assert config["mounts"] == [
        mounted,
        {"destination": f"{host.root}/driver", "type": "bind", "source": f"{host.root}/driver", "options": ["rbind", "rprivate", "ro"]},
    ]
    assert config["process"]["env"] == env


def test_directory_of_a_fabric_stands_for_the_device_nodes_below_it(host):
    (host.root / "uburma/sub").mkdir(parents=True)
    (host.root / "uburma/udma0").symlink_to("/dev/null")
    (host.root / "uburma/sub/udma1").symlink_to("/dev/zero")
    (host.root / "uburma/version").write_text("1")
    (host.root / "ummu").mkdir()
    host.describe(managers=["/dev/null", f"{host.root}/uburma", f"{host.root}/ummu"], mounts=[])
    rc, _called, config, _log = host.create(env=["ASCEND_VISIBLE_DEVICES=0"])
    names = [f"{host.root}/davinci0", "/dev/null", f"{host.root}/uburma/sub/udma1", f"{host.root}/uburma/udma0"]
    assert (rc, [device["path"] for device in config["linux"]["devices"]]) == (0, names)
    assert len(config["linux"]["resources"]["devices"]) == 4


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ("DOCKER_RESOURCE_NPU=Ascend910-7", "davinci7 can't be used (No such file or directory)"),
        ("ASCEND_VISIBLE_DEVICES=all", "ASCEND_VISIBLE_DEVICES is 'all'; expected names such as Ascend910-0"),
        ("ASCEND_VISIBLE_DEVICES=3-0", "expected ranges that go upwards"),
    ],
)
def test_claim_that_cannot_be_met_ends_the_start_with_a_sentence_where_docker_looks(host, env, words):
    rc, called, config, log = host.create(env=[env])
    assert (rc, called, config) == (1, "", {"process": {"env": [env]}})
    told = json.loads(log)
    assert told["level"] == "error" and words in told["msg"]


def test_node_that_is_a_plain_file_is_no_npu(host):
    (host.root / "davinci1").write_text("")
    rc, _called, _config, log = host.create(env=["ASCEND_VISIBLE_DEVICES=1"])
    assert rc == 1 and "is no device node" in log


def test_vendors_runtime_gives_the_npus_itself(host):
    vendor = host.program("ascend-docker-runtime")
    rc, called, config, _log = host.create(f"--vendor={vendor}", env=["ASCEND_VISIBLE_DEVICES=void", "DOCKER_RESOURCE_NPU=Ascend910-3"])
    assert rc == 0 and called.startswith("ascend-docker-runtime --root ")
    assert config == {"process": {"env": ["DOCKER_RESOURCE_NPU=Ascend910-3", "ASCEND_VISIBLE_DEVICES=3"]}}
    assert host.create(f"--vendor={vendor}", env=["PATH=/bin"])[1].startswith("runc ")


def test_other_commands_are_handed_over_at_once(host):
    words = [f"--next={host.root}/runc", "--was=nvidia", "--", "--root", "/run", "exec", "--process", "a b", "f00"]
    done = subprocess.run([str(host.root / "npu-runtime"), *words], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "runc --root /run exec --process a b f00\n"


def test_containers_that_were_made_with_the_runtime_are_known_but_for_those_of_services():
    def made(name: str, runtime: str, **labels: str) -> dict:
        return {"Name": f"/{name}", "HostConfig": {"Runtime": runtime}, "Config": {"Labels": labels}}

    service = made("qwen.1", docker_daemon.RUNTIME, **{"com.docker.swarm.task.id": "t1"})
    containers = [made("registry", docker_daemon.RUNTIME), made("older", "runc"), service]
    assert docker_npu_resource.bound_containers(containers) == ["registry"]
