# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a GPUStack container has its cluster token from, and what the token is.

Only without any setting of it does GPUStack make a token of its own, in a file of its data directory. An empty setting counts as given.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Callable

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.container import (
    CALL_LIMIT,
    Container,
    ReadError,
    Setting,
    Settings,
    data_path,
    described,
    read_file,
)
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import RC_NOT_FOUND, Runner

POLL_INTERVAL = 1.0
_PLACES = {"argument": "its --token", "environment": "its GPUSTACK_TOKEN", "config": "token in its configuration file"}


class TokenError(Exception):
    """A sentence for the user. transient: waiting can mend it."""

    def __init__(self, reason: str, message: str, transient: bool = False) -> None:
        super().__init__(redact.text(message))
        self.reason = reason
        self.transient = transient


def inspect(run: Runner, name: str) -> Container:
    argv = ["docker", "container", "inspect", name]
    result = run(argv, CALL_LIMIT)
    if result.rc == RC_NOT_FOUND:
        raise TokenError(
            "docker_missing",
            "the command docker is not on this host; expected it where the GPUStack server runs;"
            " install Docker, or run this on the server's host",
        )
    if docker_cli.is_silent(result):
        raise _silence(docker_cli.why(argv, result, CALL_LIMIT))
    if result.rc != 0 and "no such container" in result.stderr.lower():
        raise TokenError(
            "container_missing",
            f"there is no container {name} on this host; expected the GPUStack server's;"
            " start it, or name the one that is there (docker ps -a)",
        )
    try:
        if result.rc != 0:
            raise ValueError(docker_cli.why(argv, result, CALL_LIMIT))
        return described(json.loads(result.stdout)[0])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise TokenError(
            "docker_unreachable",
            f"docker inspect of the container {name} failed ({error}); expected its description; see docker info",
            transient=True,
        ) from error


def _silence(why: str) -> TokenError:
    return TokenError(
        "docker_unreachable",
        f"the Docker daemon does not answer ({why}); expected it to run and this user to be allowed to ask it; see systemctl status docker",
        transient=True,
    )


def refuse_not_running(container: Container) -> None:
    if container.status == "running":
        return
    ended = container.status in ("exited", "dead", "restarting")
    finding = f"{container.status}, exit code {container.exit_code}" if ended else container.status
    raise TokenError(
        "container_not_running",
        f"the container {container.name} is not running ({finding}); expected running;"
        f" see docker logs --tail 50 {container.name}, then docker start {container.name}",
        transient=container.status in ("created", "restarting"),
    )


def refuse_arguments(container: Container, settings: Settings) -> None:
    """What GPUStack's own parser ends with tells no token, whatever seems to stand there."""
    if settings.error:
        raise TokenError(
            "arguments_refused",
            f"GPUStack refuses the arguments of the container {container.name} ({settings.error}); expected ones that it can read;"
            " correct them, a value that begins with a dash as --option=VALUE",
        )


def _get(container: Container, settings: Settings, key: str) -> Setting | None:
    try:
        return settings.get(key)
    except ReadError as error:
        raise _unread(container, error) from error


def _read(run: Runner, container: Container, path: str) -> str | None:
    try:
        return read_file(run, container, path)
    except ReadError as error:
        raise _unread(container, error) from error


def _unread(container: Container, error: ReadError) -> TokenError:
    name, path = container.name, error.path
    if error.kind == "silent":
        return _silence(str(error))
    if error.kind == "missing":
        return TokenError(
            "token_not_there",
            f"the container {name} is told to read {path}, which is not there; expected"
            " GPUStack's configuration file; mount it into the container",
            transient=True,
        )
    if error.kind == "stopped":
        return TokenError(
            "container_not_running",
            f"the container {name} stopped while its {path} was read; expected running; see docker logs --tail 50 {name}",
            transient=True,
        )
    if container.status != "running":
        return TokenError(
            "token_not_there",
            f"{path} can't be copied out of the stopped container {name} ({error}); expected a text file; put it"
            f" where it was, or run docker start {name}",
        )
    return TokenError(
        "token_not_there",
        f"{path} in the container {name} can't be read ({error}); expected a text file; see docker exec {name} ls -l {path}",
        transient=True,
    )


def data_dir_of(container: Container, settings: Settings, default: str) -> str:
    given = _get(container, settings, "data_dir")
    return data_path(given.value if given else None, default)


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


def find_token(run: Runner, container: Container, settings: Settings, data_dir: str) -> Token:
    """data_dir is where the data is when no setting says so."""
    given = _get(container, settings, "token")
    if given:
        return Token(_checked(given.value, container, _PLACES[given.source]), given.source, False)
    path = f"{data_dir_of(container, settings, data_dir)}/{container.generation.data.token}"
    text = _read(run, container, path)
    if text is None:
        raise TokenError(
            "token_not_there",
            f"{path} is not yet there in the container {container.name}; expected GPUStack to write it when it starts;"
            f" see docker logs --tail 50 {container.name}",
            transient=True,
        )
    # GPUStack creates the file before it writes it.
    value = _checked(text.strip(), container, path, transient=True)
    return Token(value, "file", bool(re.match(container.generation.data.generated_token, value)))


def _checked(value: Any, container: Container, where: str, transient: bool = False) -> str:
    if value == "":
        raise TokenError(
            "token_empty",
            f"the cluster token of the container {container.name} is empty ({where}); expected a text without white"
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
            f"the cluster token of the container {container.name} is malformed ({where}: {fault}); expected a text"
            " without white space and control characters, such as the output of openssl rand -hex 16; correct it and"
            " restart the container",
        )
    return value


def find_password(run: Runner, container: Container, settings: Settings, data_dir: str) -> Password:
    """The password that GPUStack made for admin. GPUStack leaves the file as it is when the password is changed."""
    path = f"{data_dir_of(container, settings, data_dir)}/{container.generation.data.password}"
    value = (_read(run, container, path) or "").strip()
    if value:
        return Password(value, None)
    given = _get(container, settings, "bootstrap_password")
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
