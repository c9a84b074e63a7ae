"""What the docker command tells: the engine, containers, who holds NPUs."""

from __future__ import annotations

import json

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.npu import holders as npu_holders
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result
from shared import answers

ID = "b76b9e4cc4ab0b780c82732c9e868f232a4183e369af58892e3b25cb4fb77744"
VERSION = json.dumps(
    {
        "Client": {"Version": "26.1.3", "ApiVersion": "1.45", "Context": "default"},
        "Server": {
            "Platform": {"Name": "Docker Engine - Community"},
            "Components": [{"Name": "Engine", "Version": "26.1.3", "Details": {"ApiVersion": "1.45"}}],
            "Version": "26.1.3",
            "ApiVersion": "1.45",
            "MinAPIVersion": "1.24",
            "Os": "linux",
            "Arch": "arm64",
        },
    }
)
INFO = {
    "ID": "KXCD:F6IO",
    "Containers": 1,
    "Driver": "overlay2",
    "LoggingDriver": "json-file",
    "CgroupVersion": "1",
    "DockerRootDir": "/var/lib/docker",
    "Name": "localhost.localdomain",
    "ServerVersion": "26.1.3",
    "Runtimes": {
        "runc": {"path": "runc"},
        "io.containerd.runc.v2": {"path": "runc"},
        "ascend": {"path": "/usr/local/Ascend/Ascend-Docker-Runtime/ascend-docker-runtime"},
    },
    "DefaultRuntime": "ascend",
    "Swarm": {"NodeID": "", "LocalNodeState": "inactive", "ControlAvailable": False},
    "LiveRestoreEnabled": True,
    "Warnings": None,
}
DEAD = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"


def test_a_working_engine_is_described():
    runner = answers({"docker version": Result(0, VERSION), "docker info": Result(0, json.dumps(INFO))})
    assert docker_cli.read_engine(runner, 10) == docker_cli.Engine(
        installed=True,
        running=True,
        server_version="26.1.3",
        api_version="1.45",
        root_dir="/var/lib/docker",
        live_restore=True,
        swarm="inactive",
        log_driver="json-file",
        default_runtime="ascend",
        runtimes=["ascend", "io.containerd.runc.v2", "runc"],
        firewall_backend=None,
        error=None,
    )


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            Result(127, stderr="[Errno 2] No such file or directory: 'docker'"),
            docker_cli.Engine(installed=False, error="the command docker is not there"),
        ),
        (
            Result(1, '{"Client":{"Version":"26.1.3"},"Server":null}\n', DEAD + "\n"),
            docker_cli.Engine(installed=True, error=DEAD),
        ),
        (
            Result(-9, "", "", timed_out=True),
            docker_cli.Engine(installed=True, error="docker version did not answer within 10 s"),
        ),
        (Result(0, "no JSON"), docker_cli.Engine(installed=True, error="docker version ended with 0 and no message")),
    ],
    ids=["missing", "stopped", "hanging", "something else"],
)
def test_an_engine_that_does_not_answer_says_why(result, expected):
    assert docker_cli.read_engine(answers({"docker version": result}), 10) == expected


def test_an_engine_that_hangs_at_its_details_still_counts_as_running():
    runner = answers({"docker version": Result(0, VERSION), "docker info": Result(-9, timed_out=True)})
    assert docker_cli.read_engine(runner, 10) == docker_cli.Engine(
        installed=True,
        running=True,
        server_version="26.1.3",
        api_version="1.45",
        error="docker info did not answer within 10 s",
    )


def test_a_container_that_goes_away_while_they_are_read_is_left_out():
    other = "c" * 64
    runner = answers(
        {
            "docker ps --all --quiet --no-trunc": Result(0, f"{ID}\n{other}\n"),
            f"docker container inspect {ID} {other}": Result(
                1,
                json.dumps([{"Id": ID, "Name": "/gpustack"}]),
                f"Error response from daemon: No such container: {other}",
            ),
        }
    )
    assert docker_cli.read_containers(runner, 10) == [{"Id": ID, "Name": "/gpustack"}]


def test_no_containers_need_no_second_call():
    assert docker_cli.read_containers(answers({"docker ps": Result(0, "")}), 10) == []


def test_containers_that_cannot_be_read_say_why():
    with pytest.raises(docker_cli.DockerError, match="docker ps did not answer within 10 s"):
        docker_cli.read_containers(answers({"docker ps": Result(-9, timed_out=True)}), 10)
    with pytest.raises(docker_cli.DockerError, match="Cannot connect to the Docker daemon"):
        docker_cli.read_containers(answers({"docker ps": Result(0, ID), "docker container": Result(1, "", DEAD)}), 10)


def test_an_image_is_present_or_not_or_unknown():
    image = {"Id": "sha256:f41f", "RepoDigests": ["gpustack/gpustack@sha256:ab"]}
    assert docker_cli.read_image(answers({"docker image inspect x": Result(0, json.dumps([image]))}), "x", 10) == image
    missing = Result(1, "[]\n", "Error response from daemon: No such image: x:latest\n")
    assert docker_cli.read_image(answers({"docker image inspect x": missing}), "x", 10) is None
    with pytest.raises(docker_cli.DockerError, match="Cannot connect"):
        docker_cli.read_image(answers({"docker image inspect x": Result(1, "[]\n", DEAD)}), "x", 10)


def test_a_volume_is_described_or_is_not_there_or_is_unknown():
    def asked(result):
        return docker_cli.read_volume(answers({"docker volume inspect": result}), "gpustack-data", 10)

    assert asked(Result(0, '[{"Mountpoint": "/var/lib/docker/volumes/gpustack-data/_data"}]')) == {
        "Mountpoint": "/var/lib/docker/volumes/gpustack-data/_data"
    }
    assert asked(Result(1, "", "Error response from daemon: get gpustack-data: no such volume\n")) is None
    with pytest.raises(docker_cli.DockerError):
        asked(Result(1, "", DEAD))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:01:40.435193113Z", 100.435193),
        ("1970-01-01T08:01:40+08:00", 100.0),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
    ],
)
def test_a_time_of_docker_becomes_seconds(text, expected):
    assert docker_cli.epoch(text) == expected


def test_a_summary_holds_no_argument_and_no_environment():
    container = {
        "Id": ID,
        "Created": "1970-01-01T00:00:10Z",
        "Name": "/gpustack",
        "Image": "sha256:f41f",
        "Path": "tini",
        "Args": ["--", "/usr/bin/bash", "-c", "exec", "--", "--token", "s3cret"],
        "State": {
            "Status": "restarting",
            "Running": True,
            "Restarting": True,
            "Pid": 9100,
            "ExitCode": 3,
            "StartedAt": "1970-01-01T00:00:20.5Z",
            "Health": {"Status": "unhealthy", "Log": [{"Output": "s3cret"}]},
        },
        "HostConfig": {"RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0}},
        "Config": {
            "Image": "gpustack/gpustack:v0.7.1-npu",
            "Env": ["GPUSTACK_TOKEN=s3cret"],
            "Cmd": ["--token", "s3cret"],
            "Labels": {"ascend.gpustack.managed": "true", "ascend.gpustack.version": "0.7.1", "other": "s3cret"},
        },
    }
    assert docker_cli.summary(container) == {
        "id": ID,
        "name": "gpustack",
        "image": "gpustack/gpustack:v0.7.1-npu",
        "image_id": "sha256:f41f",
        "status": "restarting",
        "running": True,
        "restarting": True,
        "exit_code": 3,
        "created": 10.0,
        "started_at": 20.5,
        "health": "unhealthy",
        "restart_policy": "unless-stopped",
        "managed": True,
        "version": "0.7.1",
        "labels": {"ascend.gpustack.managed": "true", "ascend.gpustack.version": "0.7.1"},
    }


def test_npus_are_held_through_devices_the_ascend_runtime_or_privilege():
    devices = [{"PathOnHost": f"/dev/{name}"} for name in ("davinci3", "davinci10", "davinci_manager", "hisi_hdc")]
    visible = {"Env": ["PATH=/bin", "ASCEND_VISIBLE_DEVICES=0-2,4"]}
    assert npu_holders.held_npus({"HostConfig": {"Devices": devices, "Runtime": "runc"}}, [3, 10]) == (
        [3, 10],
        "devices",
    )
    assert npu_holders.held_npus({"HostConfig": {"Runtime": "ascend"}, "Config": visible}, []) == (
        [0, 1, 2, 4],
        "environment",
    )
    assert npu_holders.held_npus({"HostConfig": {"Runtime": "runc"}, "Config": visible}, []) == ([], "devices")
    assert npu_holders.held_npus({"HostConfig": {"Privileged": True}}, [1, 0]) == ([0, 1], "privileged")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0,2", [0, 2]),
        ("0-3", [0, 1, 2, 3]),
        ("Ascend910-0,Ascend910-7", [0, 7]),
        ("npu-5", [5]),
        ("void", []),
        ("", []),
    ],
)
def test_visible_devices_are_read_in_every_form(text, expected):
    assert npu_holders.visible_devices(text) == expected


def test_published_ports_map_the_host_to_the_container():
    bindings = {
        "80/tcp": [{"HostIp": "", "HostPort": "8080"}],
        "53/udp": [{"HostIp": "", "HostPort": "53"}],
        "443/tcp": None,
    }
    assert docker_cli.published_ports({"HostConfig": {"PortBindings": bindings}}) == {8080: 80}
