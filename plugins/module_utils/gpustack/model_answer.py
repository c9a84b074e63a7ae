# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One short answer of a model, asked for as its users ask, and how long it took."""

from __future__ import annotations

import json
import time
import urllib.error
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Callable

from ansible.module_utils.urls import open_url
from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.models_description import Models

# A route is ready a little later than the instance that it leads to: seconds to try again, with a pause, and the answers that say so.
UNREADY = (404, 502, 503, 504)
PATIENCE, PAUSE = 30.0, 1.0
# What GPUStack says of a model that it does not have, or that an account may not ask
NOT_FOUND = "Model not found"
NEW = "GPUStack tells the cluster token of a new model after 10 minutes"
LINE_LIMIT = 1024 * 1024
_HELLO = "Say hello in one short sentence."
_BODIES: dict[str, dict[str, Any]] = {
    "chat": {
        "messages": [{"role": "user", "content": _HELLO}],
        "max_tokens": 32,
        "stream": True,
        "stream_options": {"include_usage": True},
    },
    "embedding": {"input": _HELLO},
    "rerank": {"query": _HELLO, "documents": ["Hello.", "It rains."]},
}
_KINDS = {"embedding": "embedding", "reranker": "rerank", "llm": "chat"}


@dataclass(frozen=True)
class Answer:
    """ok: None where it could not be asked; first_token_ms: until the first token, or the whole answer where it is no text."""

    ok: bool | None
    kind: str
    first_token_ms: int | None = None
    tokens_per_second: float | None = None
    error: str = ""


@dataclass(frozen=True)
class Asked:
    """How to ask: the server's URL, the cluster token, seconds for an answer, and as of open_url."""

    url: str
    token: str
    timeout: float
    validate_certs: bool = True
    ca_path: str | None = None


def kind_of(categories: Iterable[str]) -> str:
    """What a model is asked for; none where there is nothing that fits all of its like."""
    given = list(categories)
    return next((kind for category, kind in _KINDS.items() if category in given), "none")


def ask(
    asked: Asked,
    models: Models,
    name: str,
    categories: Iterable[str],
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    kind = kind_of(categories)
    if kind == "none":
        return Answer(None, kind)
    patience = now() + PATIENCE
    beside = False
    while True:
        begun = now()
        try:
            with _open(asked, models, kind, name, beside) as stream:
                return _streamed(stream, begun, begun + asked.timeout, now) if kind == "chat" else _whole(stream, kind, begun, now)
        except urllib.error.HTTPError as error:
            said = _message(error)
            if error.code not in UNREADY or now() >= patience:
                # Where there is no such entrance
                new = beside and error.code == 404 and said != NOT_FOUND
                return Answer(None, kind, error=NEW) if new else Answer(False, kind, error=f"{error.code}: {said}".rstrip(": "))
            beside = beside or bool(models.beside and error.code == 404)
        # urllib, http.client, ssl and Ansible each raise their own.
        except Exception as error:
            return Answer(False, kind, error=redact.text(str(getattr(error, "reason", None) or error)) or type(error).__name__)
        sleep(PAUSE)


def _open(asked: Asked, models: Models, kind: str, name: str, beside: bool) -> Any:
    """Proxies of the environment are not used, and a redirect is not followed, so that the token goes to the given host alone."""
    login: dict[str, Any] = {"url_username": "system/worker/ansible", "url_password": asked.token, "force_basic_auth": True}
    bearer = models.bearer and not beside
    return open_url(
        asked.url.rstrip("/") + (models.beside if beside else "") + models.asked[kind],
        method="POST",
        data=json.dumps({"model": name, **_BODIES[kind]}).encode(),
        headers={"Content-Type": "application/json", **({"Authorization": f"Bearer {asked.token}"} if bearer else {})},
        timeout=asked.timeout,
        use_proxy=False,
        validate_certs=asked.validate_certs,
        ca_path=asked.ca_path,
        follow_redirects="none",
        decompress=False,
        **({} if bearer else login),
    )


def _streamed(stream: Any, begun: float, deadline: float, now: Callable[[], float]) -> Answer:
    first, last, counted, told = 0.0, 0.0, 0, 0
    while now() < deadline:
        line = stream.readline(LINE_LIMIT)
        if not line or line.strip() == b"data: [DONE]":
            break
        if not line.startswith(b"data:"):
            continue
        chunk = _json(line[5:])
        if chunk.get("error"):
            return Answer(False, "chat", error=redact.text(str(chunk["error"])))
        told = (chunk.get("usage") or {}).get("completion_tokens") or told
        if any(_words(choice.get("delta") or {}) for choice in chunk.get("choices") or []):
            last, counted = now(), counted + 1
            first = first or last
    if not counted:
        return Answer(False, "chat", error="it answered without a word")
    tokens, took = told or counted, last - first
    return Answer(True, "chat", round((first - begun) * 1000), round((tokens - 1) / took, 1) if took > 0 and tokens > 1 else None)


def _words(delta: dict[str, Any]) -> bool:
    return bool(delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning"))


def _whole(stream: Any, kind: str, begun: float, now: Callable[[], float]) -> Answer:
    found = _json(stream.read(64 * LINE_LIMIT))
    took = round((now() - begun) * 1000)
    filled = found.get("data") if kind == "embedding" else found.get("results")
    return Answer(True, kind, took) if filled else Answer(False, kind, error="its answer is empty")


def _json(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _message(error: urllib.error.HTTPError) -> str:
    try:
        found = _json(error.read(LINE_LIMIT))
    except Exception:
        return ""
    said = found.get("error") if isinstance(found.get("error"), dict) else found
    return redact.text(" ".join(str((said or {}).get("message") or (said or {}).get("detail") or "").split()))
