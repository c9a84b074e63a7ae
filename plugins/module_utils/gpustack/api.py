# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUStack's management API, asked with the cluster token, in the words of the generation that answers."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
import urllib.error
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Callable, NamedTuple

from ansible.module_utils.urls import open_url
from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import answers
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation as generations
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.answers import Instance, Model, Worker
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Api

# The API's own limit; it refuses more with 422.
PER_PAGE = 100
ANSWER_LIMIT = 64 * 1024 * 1024
ERROR_LIMIT = 64 * 1024
# The list is sorted by a time that isn't unique, page by page: what joins between two pages shifts the rest.
READS_OF_A_MOVING_LIST = 3


class Answer(NamedTuple):
    """time: seconds since 1970 by the server's clock; None where it does not tell."""

    status: int
    body: bytes
    time: float | None


# URL and time limit in seconds to the answer, and of what changes something the method and what is sent as JSON; raises what urllib raises.
Fetch = Callable[..., Answer]


class ApiError(Exception):
    """A sentence for the user. kind: refused, timeout, network, server_error (these can pass), name, tls, unauthorized,
    not_gpustack, wrong_version; rejected where GPUStack has something against what was sent."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(redact.text(message))
        self.kind = kind

    @property
    def transient(self) -> bool:
        return self.kind in ("refused", "timeout", "network", "server_error")


def fetcher(token: str, validate_certs: bool = True, ca_path: str | None = None) -> Fetch:
    """A Fetch over HTTP. Proxies of the environment are not used: a cluster's addresses are its own. A redirect is not
    followed, so that the token goes to the given host alone."""

    def fetch(url: str, timeout: float, method: str = "GET", sent: Any = None) -> Answer:
        deadline = time.monotonic() + timeout
        try:
            answer = open_url(
                url,
                method=method,
                data=None if sent is None else json.dumps(sent).encode(),
                timeout=timeout,
                use_proxy=False,
                validate_certs=validate_certs,
                ca_path=ca_path,
                url_username="system/worker/ansible",
                url_password=token,
                force_basic_auth=True,
                follow_redirects="none",
                decompress=False,
                headers={"Accept": "application/json", **({} if sent is None else {"Content-Type": "application/json"})},
            )
        except urllib.error.HTTPError as error:
            return Answer(error.code, _of_error(error), None)
        with answer:
            return Answer(answer.getcode(), _body(answer, deadline), _time(answer.headers.get("Date")))

    return fetch


def _of_error(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(ERROR_LIMIT)
    # The status is known, whatever becomes of the rest.
    except Exception:
        return b""


def _time(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date or "").timestamp()
    # What the standard library raises of a text that is no date differs with its version.
    except (IndexError, TypeError, ValueError):
        return None


def _body(answer: Any, deadline: float) -> bytes:
    """The whole body; urllib's own limit is for each read, which a slow sender never reaches."""
    chunks: list[bytes] = []
    size = 0
    while True:
        chunk = answer.read1(65536)
        if not chunk:
            return b"".join(chunks)
        size += len(chunk)
        if size > ANSWER_LIMIT or time.monotonic() > deadline:
            raise socket.timeout("the answer did not end")
        chunks.append(chunk)


class Client:
    def __init__(self, url: str, fetch: Fetch, timeout: float) -> None:
        """timeout in seconds for one request."""
        self.url = url.rstrip("/")
        self._fetch = fetch
        self._timeout = timeout
        # Until the server has told its version
        self.api: Api = generations.DEFAULT.api
        self._now: float | None = None

    def version(self) -> str:
        """As the server tells it, with a v. Refuses a GPUStack whose API is another."""
        answer = self._get("/version")
        version = answer.get("version") if isinstance(answer, dict) else None
        if not isinstance(version, str):
            raise self._not_gpustack("its /version names no version")
        found = generations.speaking(version)
        if found is None:
            raise self._wrong_version(f"GPUStack {version}")
        self.api = found.api
        return version

    def workers(self) -> list[Worker]:
        """All workers, in the order in which they joined."""
        return self._shaped("/workers", lambda item: answers.worker(item, self.api, self._now))

    def models(self) -> list[Model]:
        return self._shaped("/models", answers.model)

    def instances(self) -> list[Instance]:
        return self._shaped("/model-instances", answers.instance)

    def names(self, path: str, key: str) -> list[str]:
        """The names of the records of a list, whose path is that below the API's prefix."""
        return self._shaped(path, lambda item: str(item[key]))

    def change(self, method: str, path: str, body: Any = None) -> bool:
        """Change a record, whose path is that below the API's prefix. False where there is none any more."""
        whole = self.api.prefix + path
        status, _answer = self.ask(whole, method, body)
        if status in (200, 204, 404):
            return status != 404
        if status < 500 and status not in (401, 403, 429):
            raise ApiError(
                "server_error",
                f"GPUStack at {self.url} answers {method} {whole} with {status}; expected it done. See docker logs on the server's host",
            )
        raise self.refused_status(whole, status)

    def admin_must_change_password(self) -> bool | None:
        """True as long as admin's password is the one that GPUStack made; None without a user admin, and where the cluster token may not
        read users."""
        for user in self.records("/users") if "users" in self.api.lists else []:
            if user.get("username") == "admin":
                return bool(user.get("require_password_change"))
        return None

    def _shaped(self, path: str, shape: Callable[[Mapping[str, Any]], Any]) -> list[Any]:
        try:
            return [shape(item) for item in self.records(path)]
        except (AttributeError, LookupError, TypeError) as error:
            raise self._not_gpustack(f"its {self.api.prefix}{path} has entries of another shape") from error

    def records(self, path: str) -> list[dict[str, Any]]:
        """The records of a list as they are, which may be changed and sent back. path: below the API's prefix."""
        items: dict[int, dict[str, Any]] = {}
        for _attempt in range(READS_OF_A_MOVING_LIST):
            items = {}
            totals = set()
            for answer in self._pages(self.api.prefix + path):
                items.update({item["id"]: item for item in answer["items"]})
                totals.add(answer["pagination"]["total"])
            if totals == {len(items)}:
                break
        return [items[key] for key in sorted(items)]

    def _pages(self, path: str) -> Iterator[dict[str, Any]]:
        page, pages = 1, 1
        while page <= pages:
            answer = self._get(f"{path}?page={page}&perPage={PER_PAGE}")
            try:
                pages = int(answer["pagination"]["totalPage"])
                well_formed = isinstance(answer["pagination"]["total"], int) and all(
                    isinstance(item["id"], int) for item in answer["items"]
                )
            except (LookupError, TypeError, ValueError):
                well_formed = False
            if not well_formed:
                raise self._not_gpustack(f"its {path} is no list with pages")
            yield answer
            page += 1

    def ask(self, path: str, method: str, sent: Any) -> tuple[int, bytes]:
        """Status and body of any answer. path: with the API's prefix; sent: what is sent as JSON, None for nothing."""
        try:
            status, body, time_there = self._fetch(self.url + path, self._timeout, method, sent)
        # urllib, http.client, ssl and Ansible each raise their own.
        except Exception as error:
            raise self._unanswered(error) from error
        self._now = time_there if status == 200 else self._now
        return status, body

    def _get(self, path: str) -> Any:
        status, body = self.ask(path, "GET", None)
        if status != 200:
            raise self.refused_status(path, status)
        try:
            return json.loads(body)
        except ValueError as error:
            raise self._not_gpustack(f"its {path} is no JSON") from error

    def _unanswered(self, error: Exception) -> ApiError:
        cause = getattr(error, "reason", None)
        cause = cause if isinstance(cause, Exception) else error
        if isinstance(cause, ConnectionRefusedError):
            return ApiError(
                "refused",
                f"nothing listens at {self.url} (connection refused); expected the GPUStack server."
                " See docker ps and docker logs on the server's host, and check address and port",
            )
        if isinstance(cause, (socket.timeout, TimeoutError)):
            return ApiError(
                "timeout",
                f"{self.url} did not answer in {self._timeout:g} s; expected the GPUStack server."
                " Check the address, the firewalls on the way, and the server's load",
            )
        if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
            return ApiError("name", f"the host of {self.url} is unknown; expected one that resolves. Correct the URL")
        if isinstance(cause, ssl.SSLError) or "certificate" in str(cause).lower():
            return ApiError(
                "tls",
                f"the certificate of {self.url} is refused ({cause}); expected one that this host trusts."
                " Give its authority with ca_path, or correct the URL",
            )
        if isinstance(cause, (ValueError, http.client.InvalidURL)) or "unknown url type" in str(cause):
            return ApiError("name", f"{self.url!r} is no URL ({cause}); expected http://host:port. Correct it")
        if isinstance(cause, (http.client.BadStatusLine, http.client.LineTooLong)) and not isinstance(cause, ConnectionResetError):
            return self._not_gpustack("it does not speak HTTP")
        return ApiError(
            "network",
            f"{self.url} can't be asked ({type(cause).__name__}: {cause}); expected the GPUStack server."
            " Check the route to it and the firewalls on the way",
        )

    def refused_status(self, path: str, status: int) -> ApiError:
        if status in (401, 403):
            return ApiError(
                "unauthorized",
                f"GPUStack at {self.url} refuses the cluster token ({status}); expected the token that the server uses."
                " Read it again from the server's container, or correct the variable",
            )
        if status == 404 and path.startswith(f"{self.api.prefix}/"):
            return self._wrong_version(f"a server without {path.partition('?')[0]} (404)")
        if status >= 500 or status == 429:
            return ApiError(
                "server_error",
                f"GPUStack at {self.url} answers {path} with {status}; expected 200."
                " See docker logs on the server's host, and the proxy in front of it if there is one",
            )
        return self._not_gpustack(f"it answers {path} with {status}")

    def _not_gpustack(self, finding: str) -> ApiError:
        return ApiError(
            "not_gpustack",
            f"{self.url} is not GPUStack's API ({finding}); expected GPUStack {_names()}. Correct scheme, host or port",
        )

    def _wrong_version(self, finding: str) -> ApiError:
        prefixes = " or ".join(generation.api.prefix for generation in generations.DEPLOYED)
        return ApiError(
            "wrong_version",
            f"{self.url} is {finding}; expected GPUStack {_names()}, whose management API is under {prefixes}."
            " Give the URL of such a server",
        )


def _names() -> str:
    return " or ".join(generation.name for generation in generations.DEPLOYED)
