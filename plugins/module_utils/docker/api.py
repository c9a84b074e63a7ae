# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker Engine's API over its socket, for what the docker command would show in the list of processes: tokens of a Swarm.

The modules of community.docker that know Swarm need the Docker SDK for Python on every host, which openEuler's own repositories lack.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any, Callable, Protocol

from ansible_collections.ascend.gpustack.plugins.module_utils import redact

SOCKET = "/var/run/docker.sock"
# Method, path and body; the answer's JSON, None without one. Modules take it as an argument, so that tests need no engine.
Api = Callable[..., Any]


class ApiError(Exception):
    """What the engine answered, in one line, with its HTTP status; 0 when it did not answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(redact.text(message))
        self.status = status


class Body(Protocol):
    """What is posted a part at a time."""

    def read(self, count: int = ..., /) -> bytes: ...


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def api(timeout: float, path: str = SOCKET) -> Api:
    """A function that asks the engine; each question may take that many seconds."""

    def ask(method: str, where: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None) -> Any:
        connection = _Connection(path, timeout)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, where, data, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return _answer(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"Docker Engine does not answer at {path} ({error})") from None
        finally:
            connection.close()

    return ask


def messages(timeout: float, where: str, body: Body | None, headers: dict[str, str], path: str = SOCKET) -> Iterator[dict[str, Any]]:
    """What the engine says, line by line, while it does what was posted; each line, and each part of the body, may take so many seconds."""
    connection = _Connection(path, timeout)
    try:
        connection.request("POST", where, body, headers)
        response = connection.getresponse()
        if response.status >= 400:
            _answer(response.status, response.read())
        yield from (json.loads(line) for line in response if line.strip())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ApiError(f"Docker Engine does not answer at {path} ({error})") from None
    finally:
        connection.close()


def _answer(status: int, text: bytes) -> Any:
    try:
        found = json.loads(text) if text.strip() else None
    except ValueError:
        found = None
    if status >= 400:
        told = found.get("message") if isinstance(found, dict) else None
        raise ApiError(" ".join(str(told or f"Docker Engine answered with HTTP status {status}").split()), status)
    return found
