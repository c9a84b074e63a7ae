# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A GPUStack container as Docker describes it: its state, its settings, and the files in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import config_file
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import RC_NOT_FOUND, Result, Runner

# Seconds for one call of docker: it answers in tenths of a second, and in some seconds on a busy host.
CALL_LIMIT = 30.0


def worker_uuid(run: Runner, data: str, timeout: float) -> str | None:
    """The identity that a GPUStack worker keeps in its data directory."""
    result = run(["head", "-c", "64", f"{data}/worker_uuid"], timeout)
    return result.stdout.strip() or None if result.rc == 0 and not result.timed_out else None


class TokenError(Exception):
    """A sentence for the user. transient: waiting can mend it."""

    def __init__(self, reason: str, message: str, transient: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.transient = transient


@dataclass(frozen=True)
class Container:
    """What docker knows of a container; exit_code is that of its last run."""

    name: str
    arguments: list[str]
    environment: dict[str, str]
    status: str
    exit_code: int


@dataclass(frozen=True)
class Setting:
    """A GPUStack setting and where it stands: argument, environment or config."""

    value: Any
    source: str


def inspect(run: Runner, name: str) -> Container:
    result = run(["docker", "container", "inspect", name], CALL_LIMIT)
    if result.rc == RC_NOT_FOUND:
        raise TokenError(
            "docker_missing",
            "the command docker is not on this host: expected it where the GPUStack server runs;"
            " install Docker, or run this on the server's host",
        )
    _refuse_silence(result)
    if result.rc != 0 and "no such container" in result.stderr.lower():
        raise TokenError(
            "container_missing",
            f"there is no container {name} on this host: expected the GPUStack server's;"
            " start it, or name the one that is there (docker ps -a)",
        )
    try:
        if result.rc != 0:
            raise ValueError(_first_line(result.stderr))
        return _container(name, json.loads(result.stdout)[0])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise TokenError(
            "docker_unreachable",
            f"docker inspect of the container {name} failed ({error}): expected its description; see docker info",
            transient=True,
        ) from error


def _refuse_silence(result: Result) -> None:
    error = result.stderr.lower()
    if result.timed_out or "docker daemon" in error or "docker api" in error:
        finding = f"no answer in {CALL_LIMIT:g} s" if result.timed_out else _first_line(result.stderr)
        raise TokenError(
            "docker_unreachable",
            f"the Docker daemon does not answer ({finding}): expected it to run and this user to be allowed to ask it;"
            " see systemctl status docker",
            transient=True,
        )


def _container(name: str, description: dict[str, Any]) -> Container:
    config, state = description["Config"], description["State"]
    pairs = (entry.partition("=") for entry in config.get("Env") or [])
    return Container(
        name=name,
        arguments=[*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])],
        environment={key: value for key, _sign, value in pairs},
        status=state["Status"],
        exit_code=state.get("ExitCode", 0),
    )


def refuse_not_running(container: Container) -> None:
    if container.status == "running":
        return
    ended = container.status in ("exited", "dead", "restarting")
    finding = f"{container.status}, exit code {container.exit_code}" if ended else container.status
    raise TokenError(
        "container_not_running",
        f"the container {container.name} is not running ({finding}): expected running;"
        f" see docker logs --tail 50 {container.name}, then docker start {container.name}",
        transient=container.status in ("created", "restarting"),
    )


def read_file(run: Runner, container: Container, path: str) -> str | None:
    """The text of a file in the container; None when there is none."""
    if container.status != "running":
        return _copy_file(run, container, path)
    result = run(["docker", "exec", container.name, "cat", path], CALL_LIMIT)
    if result.rc == 0:
        return result.stdout
    _refuse_silence(result)
    error = result.stderr.lower()
    if "no such file" in error and "oci runtime" not in error:
        return None
    if "is not running" in error or "is restarting" in error or "no such container" in error:
        raise TokenError(
            "container_not_running",
            f"the container {container.name} stopped while its {path} was read: expected running;"
            f" see docker logs --tail 50 {container.name}",
            transient=True,
        )
    raise TokenError(
        "token_not_there",
        f"{path} in the container {container.name} can't be read ({_first_line(result.stderr)}): expected a text file;"
        f" see docker exec {container.name} ls -l {path}",
        transient=True,
    )


def _copy_file(run: Runner, container: Container, path: str) -> str | None:
    result = run(["docker", "cp", "--follow-link", f"{container.name}:{path}", "-"], CALL_LIMIT)
    _refuse_silence(result)
    if result.rc != 0 and "could not find the file" in result.stderr.lower():
        return None
    try:
        if result.rc != 0:
            raise docker_cli.DockerError(_first_line(result.stderr))
        return docker_cli.first_file(result.stdout)
    except docker_cli.DockerError as error:
        raise TokenError(
            "token_not_there",
            f"{path} can't be copied out of the stopped container {container.name} ({error}): expected a text file; put it"
            f" where it was, or run docker start {container.name}",
        ) from error


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[0]


def argument(arguments: list[str], names: tuple[str, ...]) -> str | None:
    """The last value of an option given as `--token X`, `--token=X`, `-t X` or `-tX`."""
    found = None
    for position, text in enumerate(arguments):
        for name in names:
            if text == name and position + 1 < len(arguments):
                found = arguments[position + 1]
            elif name.startswith("--") and text.startswith(name + "="):
                found = text[len(name) + 1 :]
            elif not name.startswith("--") and text.startswith(name) and len(text) > len(name):
                found = text[len(name) :]
    return found


class Settings:
    """GPUStack's settings as the container was given them; its configuration file is read once, when needed."""

    def __init__(self, run: Runner, container: Container) -> None:
        self._run = run
        self._container = container
        self._file: dict[str, Any] | None = None

    def get(self, name: str, short: tuple[str, ...] = ()) -> Setting | None:
        """name as in the configuration file; None when nothing gives it."""
        given = self._given(name, short)
        if given:
            return given
        value = self._config_file().get(name)
        return None if value is None else Setting(value, "config")

    def _given(self, name: str, short: tuple[str, ...] = ()) -> Setting | None:
        value = argument(self._container.arguments, ("--" + name.replace("_", "-"), *short))
        if value is not None:
            return Setting(value, "argument")
        value = self._container.environment.get("GPUSTACK_" + name.upper())
        return None if value is None else Setting(value, "environment")

    def _config_file(self) -> dict[str, Any]:
        if self._file is None:
            self._file = self._read_config_file()
        return self._file

    def _read_config_file(self) -> dict[str, Any]:
        path = self._given("config_file")
        if not path or not path.value:
            return {}
        text = read_file(self._run, self._container, path.value)
        if text is None:
            raise TokenError(
                "token_not_there",
                f"the container {self._container.name} is told to read {path.value}, which is not there: expected"
                " GPUStack's configuration file; mount it into the container",
                transient=True,
            )
        return config_file.parse(text).values


def data_path(settings: Settings, default: str) -> str:
    given = settings.get("data_dir")
    return str(given.value if given and given.value else default).rstrip("/")
