# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a GPUStack container has its cluster token from, and what the token is.

GPUStack 0.7 takes a setting from its command line, else from the environment, else from its configuration file; only
without any of these does it make a token of its own, 32 hex digits in <data-dir>/token. An empty setting counts as
given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.container import (
    Container,
    Settings,
    TokenError,
    data_path,
    read_file,
)
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

POLL_INTERVAL = 1.0
_PLACES = {"argument": "its --token", "environment": "its GPUSTACK_TOKEN", "config": "token in its configuration file"}
_GENERATED = re.compile(r"[0-9a-f]{32}\Z")


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
