"""The NPUs as a resource of Swarm: Docker's settings with and without them, and the runtime that gives them to containers."""

from __future__ import annotations

import json
import os
import pathlib
import stat
import subprocess

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils import docker_daemon

FILES = pathlib.Path(__file__).resolve().parents[2] / "roles/docker_swarm/files"
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
        ('{"live-restore": true}', 'has "live-restore": true, with which Docker refuses to join a Swarm'),
        ('{"default-runtime": "kata", "runtimes": {"kata": {"runtimeType": "io.containerd.kata.v2"}}}', "kata, which is no program"),
    ],
)
def test_settings_that_cannot_be_built_upon_are_refused_by_what_is_wrong(text, words):
    with pytest.raises(docker_daemon.SettingsError) as refusal:
        with_npus(docker_daemon.parse(text, PATH))
    assert words in str(refusal.value) and PATH in str(refusal.value)


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
