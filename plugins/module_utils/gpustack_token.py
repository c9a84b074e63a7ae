# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a GPUStack container has its cluster token from, and what the token is.

GPUStack 0.7 takes a setting from its command line, else from the environment, else from its configuration file; only
without any of these does it make a token of its own, 32 hex digits in <data-dir>/token. An empty setting counts as
given.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Callable

from ansible_collections.ascend.gpustack.plugins.module_utils import docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils import gpustack_config_file as config_file
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import RC_NOT_FOUND, Result, Runner

# Seconds for one call of docker: it answers in tenths of a second, and in some seconds on a busy host.
CALL_LIMIT = 30.0
POLL_INTERVAL = 1.0

_PLACES = {"argument": "its --token", "environment": "its GPUSTACK_TOKEN", "config": "token in its configuration file"}

_GENERATED = re.compile(r"[0-9a-f]{32}\Z")


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


@dataclass(frozen=True)
class Token:
    value: str
    source: str
    generated: bool


@dataclass(frozen=True)
class Password:
    """value is None when there is none to tell; reason then says why, and else what is not sure about it."""

    value: str | None
    reason: str | None


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


def find_token(run: Runner, container: Container, settings: Settings, data_dir: str) -> Token:
    """data_dir is where the data is when no setting says so."""
    given = settings.get("token", short=("-t",))
    if given:
        return Token(_checked(given.value, container, _PLACES[given.source]), given.source, False)
    path = f"{data_path(settings, data_dir)}/token"
    text = read_file(run, container, path)
    if text is None:
        raise TokenError(
            "token_not_there",
            f"{path} is not yet there in the container {container.name}: expected GPUStack to write it when it starts;"
            f" see docker logs --tail 50 {container.name}",
            transient=True,
        )
    # GPUStack creates the file before it writes it.
    value = _checked(text.strip(), container, path, transient=True)
    return Token(value, "file", bool(_GENERATED.match(value)))


def data_path(settings: Settings, default: str) -> str:
    given = settings.get("data_dir")
    return str(given.value if given and given.value else default).rstrip("/")


def _checked(value: Any, container: Container, where: str, transient: bool = False) -> str:
    if value == "":
        raise TokenError(
            "token_empty",
            f"the cluster token of the container {container.name} is empty ({where}): expected a text without white"
            " space; give the server a token, or remove the empty one and restart the container, which then makes one",
            transient=transient,
        )
    fault = None
    if not isinstance(value, str):
        fault = "it can't be read as a text on one line"
    elif any(character.isspace() for character in value):
        fault = "it has white space in it"
    elif not value.isprintable():
        fault = "it has control characters in it"
    if fault:
        raise TokenError(
            "token_malformed",
            f"the cluster token of the container {container.name} is malformed ({where}: {fault}): expected a text"
            " without white space and control characters, such as the output of openssl rand -hex 16; correct it and"
            " restart the container",
        )
    return value


def find_password(run: Runner, container: Container, settings: Settings, data_dir: str) -> Password:
    """The password that GPUStack made for admin. GPUStack leaves the file as it is when the password is changed."""
    path = f"{data_path(settings, data_dir)}/initial_admin_password"
    value = (read_file(run, container, path) or "").strip()
    if value:
        return Password(value, None)
    given = settings.get("bootstrap_password")
    if given and given.value:
        return Password(None, "the password of admin was given (bootstrap_password), and GPUStack then writes no file")
    return Password(None, f"there is no {path} in the container {container.name}")


@dataclass(frozen=True)
class Clock:
    """Seconds that never go back, and a way to let some pass."""

    now: Callable[[], float]
    sleep: Callable[[float], None]


def wait_for(attempt: Callable[[bool], Any], wait: float, clock: Clock) -> Any:
    """What attempt returns, tried again until the deadline while its TokenError is transient. It is told whether this
    is the last try."""
    deadline = clock.now() + wait
    while True:
        last_try = clock.now() >= deadline
        try:
            return attempt(last_try)
        except TokenError as error:
            if not error.transient or last_try:
                raise
            clock.sleep(max(0.0, min(POLL_INTERVAL, deadline - clock.now())))
