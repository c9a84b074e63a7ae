# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The cluster token is found where GPUStack itself takes it from, and every way to fail has its own message."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any, Callable

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import api as gpustack_api
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.token import Clock, TokenError
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result
from ansible_collections.ascend.gpustack.plugins.modules import gpustack_token_info

TOKEN = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
OTHER = "ffffffffffffffffffffffffffffffff"
ENTRYPOINT = ["tini", "--", "/usr/bin/bash", "-c", 'source /etc/profile && exec gpustack start "$@"', "--"]


def described(arguments: list[str], environment: list[str], status: str, exit_code: int) -> Result:
    return Result(
        0,
        json.dumps(
            [
                {
                    "Id": "b3c1",
                    "Name": "/gpustack",
                    "State": {"Status": status, "Running": status == "running", "ExitCode": exit_code},
                    "Config": {"Entrypoint": ENTRYPOINT, "Cmd": arguments or None, "Env": environment},
                }
            ]
        ),
    )


class Docker:
    """A docker command with one container, whose files are there from the given second on."""

    def __init__(
        self,
        files: dict[str, str] | None = None,
        arguments: list[str] | None = None,
        environment: list[str] | None = None,
        status: str = "running",
        exit_code: int = 0,
        ready_at: float = 0,
    ) -> None:
        self.files = files or {}
        self.description = described(arguments or [], environment or ["PATH=/usr/bin"], status, exit_code)
        self.ready_at = ready_at
        self.time = 0.0
        self.calls: list[list[str]] = []

    def __call__(self, argv: list[str], timeout: float) -> Result:
        assert timeout > 0
        self.calls.append(argv)
        if argv[:4] == ["docker", "container", "inspect", "gpustack"]:
            return self.description
        if argv[1] == "cp":
            return self.copied(argv)
        assert argv[:4] == ["docker", "exec", "gpustack", "cat"]
        if argv[4] in self.files and self.time >= self.ready_at:
            return Result(0, self.files[argv[4]])
        return Result(1, "", f"cat: {argv[4]}: No such file or directory\n")

    def copied(self, argv: list[str]) -> Result:
        assert argv[:3] + argv[4:] == ["docker", "cp", "--follow-link", "-"]
        name, _colon, path = argv[3].partition(":")
        if path not in self.files:
            return Result(1, "", f"Error response from daemon: Could not find the file {path} in container {name}\n")
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            entry = tarfile.TarInfo(path.rpartition("/")[2])
            entry.size = len(self.files[path])
            archive.addfile(entry, io.BytesIO(self.files[path].encode()))
        return Result(0, stream.getvalue().decode())

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def gather(docker: Any, unchanged: Callable = lambda url, token: True, **params: Any) -> dict[str, Any]:
    defaults = {"container": "gpustack", "data_dir": "/var/lib/gpustack", "wait": 0, "allow_stopped": False, "initial_password": False}
    clock = Clock(lambda: 0.0, lambda _seconds: None)
    if isinstance(docker, Docker):
        clock = Clock(lambda: docker.time, docker.sleep)
    return gpustack_token_info.gather(docker, {**defaults, "url": None, **params}, clock, unchanged)


def refusal(docker: Any, **params: Any) -> tuple[str, str]:
    with pytest.raises(TokenError) as caught:
        gather(docker, **params)
    return caught.value.reason, str(caught.value)


def test_the_generated_token_comes_from_the_data_directory() -> None:
    docker = Docker({"/var/lib/gpustack/token": TOKEN + "\n"}, ["--port", "8080"])
    assert gather(docker) == {"token": TOKEN, "source": "file", "generated": True}


@pytest.mark.parametrize(
    "arguments",
    [["--token", TOKEN], ["--token=" + TOKEN], ["-t", TOKEN], ["-t" + TOKEN], ["--token", OTHER, "--token", TOKEN]],
)
def test_a_hand_made_server_with_a_token_on_its_command_line(arguments: list[str]) -> None:
    docker = Docker({"/var/lib/gpustack/token": OTHER}, ["--port", "8080", *arguments], ["GPUSTACK_TOKEN=" + OTHER])
    assert gather(docker) == {"token": TOKEN, "source": "argument", "generated": False}


def test_a_value_that_begins_with_a_dash_is_no_token() -> None:
    docker = Docker({"/var/lib/gpustack/token": TOKEN}, ["--bootstrap-password", "-tricky"], status="restarting", exit_code=2)
    assert refusal(docker, wait=60) == (
        "arguments_refused",
        "GPUStack refuses the arguments of the container gpustack (argument --bootstrap-password; expected one argument); expected ones"
        " that it can read; correct them, a value that begins with a dash as --option=VALUE",
    )
    assert docker.time == 0


def test_a_shortened_option_counts_as_gpustack_takes_it() -> None:
    docker = Docker({"/var/lib/gpustack/token": OTHER}, ["--tok", TOKEN])
    assert gather(docker) == {"token": TOKEN, "source": "argument", "generated": False}


def test_the_environment_comes_before_the_configuration_file() -> None:
    docker = Docker(
        {"/etc/gpustack/config.yaml": f"token: {OTHER}\n"},
        ["--config-file", "/etc/gpustack/config.yaml"],
        [f"GPUSTACK_TOKEN={TOKEN}"],
    )
    assert gather(docker) == {"token": TOKEN, "source": "environment", "generated": False}


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--config-file", "/etc/gpustack/config.yaml"], []),
        (["--config-file=/etc/gpustack/config.yaml"], []),
        ([], ["GPUSTACK_CONFIG_FILE=/etc/gpustack/config.yaml"]),
    ],
)
@pytest.mark.parametrize("line", ["token: {}", 'token: "{}"', "token: '{}'  # the cluster's"])
def test_the_configuration_file_comes_before_the_data_directory(arguments: list[str], environment: list[str], line: str) -> None:
    files = {
        "/etc/gpustack/config.yaml": "# GPUStack\nport: 8080\n" + line.format("a-chosen.token") + "\n",
        "/var/lib/gpustack/token": OTHER,
    }
    docker = Docker(files, arguments, environment)
    assert gather(docker) == {"token": "a-chosen.token", "source": "config", "generated": False}


@pytest.mark.parametrize(
    ("arguments", "environment", "config"),
    [
        (["--data-dir", "/srv/gpustack"], ["GPUSTACK_DATA_DIR=/elsewhere"], "data_dir: /elsewhere\n"),
        ([], ["GPUSTACK_DATA_DIR=/srv/gpustack/"], "data_dir: /elsewhere\n"),
        ([], [], "data_dir: /srv/gpustack\ntoken: null\n"),
    ],
)
def test_a_data_directory_of_its_own_is_respected(arguments: list[str], environment: list[str], config: str) -> None:
    files = {"/c.yaml": config, "/srv/gpustack/token": TOKEN}
    docker = Docker(files, [*arguments, "--config-file", "/c.yaml"], environment)
    assert gather(docker) == {"token": TOKEN, "source": "file", "generated": True}


def test_a_chosen_token_in_the_file_is_taken_and_not_called_generated() -> None:
    docker = Docker({"/var/lib/gpustack/token": "gpustack-of-lab-3\n"})
    assert gather(docker) == {"token": "gpustack-of-lab-3", "source": "file", "generated": False}


def test_no_secret_is_ever_on_a_command_line() -> None:
    docker = Docker({"/c.yaml": f"token: {TOKEN}"}, ["--config-file", "/c.yaml"], ["GPUSTACK_BOOTSTRAP_PASSWORD=Secret1!"])
    gather(docker, initial_password=True)
    assert not [argv for argv in docker.calls if TOKEN in " ".join(argv) or "Secret1!" in " ".join(argv)]


def test_the_token_of_a_starting_server_is_waited_for() -> None:
    docker = Docker({"/var/lib/gpustack/token": TOKEN}, ready_at=42)
    assert gather(docker, wait=120)["token"] == TOKEN
    assert docker.time == 42


def test_docker_missing() -> None:
    assert refusal(lambda argv, timeout: Result(127, "", "[Errno 2] No such file or directory: 'docker'"), wait=60) == (
        "docker_missing",
        "the command docker is not on this host; expected it where the GPUStack server runs;"
        " install Docker, or run this on the server's host",
    )


@pytest.mark.parametrize(
    ("answer", "finding"),
    [
        (
            Result(
                1,
                "[]\n",
                "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n",
            ),
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        ),
        (
            Result(
                1,
                "",
                "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
            ),
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
        ),
        (Result(-9, "", "", timed_out=True), "docker container inspect did not answer within 30 s"),
    ],
)
def test_docker_daemon_not_answering(answer: Result, finding: str) -> None:
    assert refusal(lambda argv, timeout: answer) == (
        "docker_unreachable",
        f"the Docker daemon does not answer ({finding}); expected it to run and this user to be allowed to ask it;"
        " see systemctl status docker",
    )


@pytest.mark.parametrize("stdout", ["", "[]", "[{}]", "not JSON", '[{"Config": null, "State": {}}]', '["x"]', "{}"])
def test_docker_that_answers_garbage_gives_one_clear_error(stdout: str) -> None:
    reason, message = refusal(lambda argv, timeout: Result(0, stdout))
    assert reason == "docker_unreachable"
    assert message.startswith("docker inspect of the container gpustack failed (")


@pytest.mark.parametrize(
    "stderr",
    ["Error: No such container: gpustack\n", "Error response from daemon: No such container: gpustack\n"],
)
def test_container_missing_fails_at_once(stderr: str) -> None:
    assert refusal(lambda argv, timeout: Result(1, "[]\n", stderr), wait=60) == (
        "container_missing",
        "there is no container gpustack on this host; expected the GPUStack server's;"
        " start it, or name the one that is there (docker ps -a)",
    )


@pytest.mark.parametrize(
    ("status", "exit_code", "finding", "waited"),
    [
        ("exited", 137, "exited, exit code 137", 0),
        ("restarting", 1, "restarting, exit code 1", 30),
        ("created", 0, "created", 30),
        ("paused", 0, "paused", 0),
    ],
)
def test_container_not_running(status: str, exit_code: int, finding: str, waited: float) -> None:
    docker = Docker(status=status, exit_code=exit_code)
    assert refusal(docker, wait=30) == (
        "container_not_running",
        f"the container gpustack is not running ({finding}); expected running;"
        " see docker logs --tail 50 gpustack, then docker start gpustack",
    )
    assert docker.time == waited


@pytest.mark.parametrize("status", ["exited", "created", "dead", "paused", "restarting"])
def test_a_stopped_server_tells_its_token_when_that_is_allowed(status: str) -> None:
    config = {"/c.yaml": f"token: {TOKEN}\n", "/var/lib/gpustack/token": OTHER}
    assert gather(Docker({}, ["--token", TOKEN], status=status), allow_stopped=True)["token"] == TOKEN
    assert gather(Docker({}, [], [f"GPUSTACK_TOKEN={TOKEN}"], status=status), allow_stopped=True)["source"] == "environment"
    assert gather(Docker(config, ["--config-file", "/c.yaml"], status=status), allow_stopped=True) == {
        "token": TOKEN,
        "source": "config",
        "generated": False,
    }
    assert gather(Docker({"/var/lib/gpustack/token": TOKEN}, status=status), allow_stopped=True)["source"] == "file"


def test_a_stopped_server_whose_configuration_file_is_gone() -> None:
    assert refusal(Docker({}, ["--config-file", "/c.yaml"], status="exited"), allow_stopped=True) == (
        "token_not_there",
        "the container gpustack is told to read /c.yaml, which is not there; expected GPUStack's configuration file; mount it"
        " into the container",
    )


def test_a_stopped_server_whose_mounts_are_gone() -> None:
    error = 'Error response from daemon: invalid mount config for type "bind": bind source path does not exist: /etc/c.yaml\n'
    docker = Docker({}, ["--config-file", "/c.yaml"], status="exited")
    docker.copied = lambda argv: Result(1, "", error)  # type: ignore[method-assign]
    assert refusal(docker, allow_stopped=True) == (
        "token_not_there",
        f"/c.yaml can't be copied out of the stopped container gpustack ({error.strip()}); expected a text file; put it where it"
        " was, or run docker start gpustack",
    )


def test_container_that_stops_between_two_calls() -> None:
    running = Docker().description

    def docker(argv: list[str], timeout: float) -> Result:
        if argv[1] == "container":
            return running
        return Result(1, "", "Error response from daemon: container b3c1 is not running\n")

    assert refusal(docker)[0] == "container_not_running"


def test_token_file_not_there_until_the_deadline() -> None:
    docker = Docker()
    assert refusal(docker, wait=120) == (
        "token_not_there",
        "/var/lib/gpustack/token is not yet there in the container gpustack; expected GPUStack to write it when it"
        " starts; see docker logs --tail 50 gpustack",
    )
    assert docker.time == 120


def test_a_configuration_file_that_is_not_mounted() -> None:
    reason, message = refusal(Docker({"/var/lib/gpustack/token": TOKEN}, ["--config-file", "/c.yaml"]))
    assert reason == "token_not_there"
    assert message.startswith("the container gpustack is told to read /c.yaml, which is not there; ")


@pytest.mark.parametrize("text", ["", "\n", "  \n"])
def test_token_file_empty_until_the_deadline(text: str) -> None:
    docker = Docker({"/var/lib/gpustack/token": text})
    reason, message = refusal(docker, wait=7)
    assert (reason, docker.time) == ("token_empty", 7)
    assert message.startswith("the cluster token of the container gpustack is empty (/var/lib/gpustack/token); ")


@pytest.mark.parametrize(
    ("arguments", "environment", "config", "place"),
    [
        (["--token="], [], "", "its --token"),
        ([], ["GPUSTACK_TOKEN="], "", "its GPUSTACK_TOKEN"),
        ([], [], 'token: ""\n', "token in its configuration file"),
    ],
)
def test_an_empty_token_that_gpustack_was_given_is_found_at_once(
    arguments: list[str], environment: list[str], config: str, place: str
) -> None:
    files = {"/c.yaml": config, "/var/lib/gpustack/token": TOKEN}
    docker = Docker(files, [*arguments, "--config-file", "/c.yaml"], environment)
    reason, message = refusal(docker, wait=60)
    assert (reason, docker.time) == ("token_empty", 0)
    assert f"is empty ({place}); " in message


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("two words", "it has white space in it"),
        ("two\nlines", "it has white space in it"),
        ("bell\x07", "it has control characters in it"),
        ("\x00" * 33, "it has control characters in it"),
        ("\ufeffmark", "it has control characters in it"),
    ],
)
def test_token_malformed_is_told_without_the_token(text: str, fault: str) -> None:
    docker = Docker({"/var/lib/gpustack/token": text})
    assert refusal(docker, wait=60) == (
        "token_malformed",
        f"the cluster token of the container gpustack is malformed (/var/lib/gpustack/token: {fault}); expected a text"
        " without white space and control characters, such as the output of openssl rand -hex 16; correct it and"
        " restart the container",
    )
    assert docker.time == 0


@pytest.mark.parametrize("line", ["token: |\n  abc\n", "token: &x abc\n", "token: 12345\n", "token: [a]\n"])
def test_a_token_in_yaml_that_is_no_plain_text_is_malformed(line: str) -> None:
    reason, message = refusal(Docker({"/c.yaml": line}, ["--config-file", "/c.yaml"]))
    assert reason == "token_malformed"
    assert "(token in its configuration file: it can't be read as a text on one line)" in message


FILES = {"/var/lib/gpustack/token": TOKEN, "/var/lib/gpustack/initial_admin_password": "Ab1!wxyz\n"}


def test_the_initial_password_is_told_while_it_is_valid() -> None:
    asked = []
    result = gather(Docker(FILES), lambda *given: asked.append(given) or True, initial_password=True, url="http://a:8080")
    assert (result["initial_password"], result["initial_password_reason"]) == ("Ab1!wxyz", None)
    assert asked == [("http://a:8080", TOKEN)]


def test_a_changed_password_is_not_told() -> None:
    result = gather(Docker(FILES), lambda url, token: False, initial_password=True, url="http://a:8080")
    assert result["initial_password"] is None
    assert result["initial_password_reason"] == "the password of admin has been changed"


def test_a_password_that_can_not_be_checked_is_told_with_the_doubt() -> None:
    def refused(url: str, token: str) -> bool:
        raise gpustack_api.ApiError("refused", "nothing listens")

    result = gather(Docker(FILES), refused, initial_password=True, url="http://a:8080")
    assert result["initial_password"] == "Ab1!wxyz"
    assert result["initial_password_reason"] == ("GPUStack could not be asked whether the password has been changed: nothing listens")


def test_a_password_given_by_variable_is_not_waited_for() -> None:
    files = {"/var/lib/gpustack/token": TOKEN, "/c.yaml": "bootstrap_password: Given1!\n"}
    docker = Docker(files, ["--config-file", "/c.yaml"])
    result = gather(docker, initial_password=True, wait=60)
    assert (result["initial_password"], docker.time) == (None, 0)
    assert result["initial_password_reason"] == ("the password of admin was given (bootstrap_password), and GPUStack then writes no file")


def test_a_password_file_that_was_removed_is_not_waited_for_once_gpustack_answers() -> None:
    docker = Docker({"/var/lib/gpustack/token": TOKEN})
    result = gather(docker, lambda url, token: False, initial_password=True, url="http://a:8080", wait=60)
    assert (result["initial_password"], docker.time) == (None, 0)


def test_a_password_that_never_comes_does_not_cost_the_token() -> None:
    docker = Docker({"/var/lib/gpustack/token": TOKEN})
    result = gather(docker, initial_password=True, wait=9)
    assert result == {
        "token": TOKEN,
        "source": "file",
        "generated": True,
        "initial_password": None,
        "initial_password_reason": "there is no /var/lib/gpustack/initial_admin_password in the container gpustack",
    }
    assert docker.time == 9


def test_a_server_that_is_run_by_another_entry_point_tells_its_token_too() -> None:
    docker = Docker({"/etc/gpustack/config.yaml": f'token: "{TOKEN}"\n'}, ["--enable-worker", "--config-file", "/etc/gpustack/config.yaml"])
    (container,) = json.loads(docker.description.stdout)
    container["Config"]["Entrypoint"] = ["/usr/bin/bash", "-c", 'test -s /id || exit 1; exec /usr/bin/entrypoint.sh "$@"', "--"]
    for label, image in ({"ascend.gpustack.version": "2.3.0"}, "mirror/gpustack:own"), ({}, "mirror:5000/gpustack/gpustack:v2.3.0"):
        container["Config"].update(Labels=label, Image=image)
        docker.description = Result(0, json.dumps([container]))
        assert gather(docker) == {"token": TOKEN, "source": "config", "generated": False}
