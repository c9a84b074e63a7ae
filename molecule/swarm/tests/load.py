"""Requests to the gateways from many clients at once, streamed and not, and what became of each."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

PORT = 8000
LONG_PROMPT_BYTES = 200_000


@dataclass(frozen=True)
class Answer:
    """began and ended: seconds since the load began; served_by: the server's address, where a header came; error: empty when all came."""

    model: str
    streamed: bool
    began: float
    ended: float
    status: int
    served_by: str
    error: str


def body(model: str, streamed: bool, long: bool, max_tokens: int) -> bytes:
    """The model comes last, as the OpenAI client writes it."""
    content = "x" * LONG_PROMPT_BYTES if long else "Hello"
    return json.dumps(
        {"messages": [{"role": "user", "content": content}], "stream": streamed, "max_tokens": max_tokens, "model": model}
    ).encode()


def ask(address: str, model: str, key: str, streamed: bool, long: bool, start: float, max_tokens: int = 48) -> Answer:
    began = time.monotonic() - start
    status, served_by, error = 0, "", ""
    connection = http.client.HTTPConnection(address, PORT, timeout=120)
    try:
        data = body(model, streamed, long, max_tokens)
        connection.request("POST", "/v1/chat/completions", data, {"Content-Type": "application/json", "Authorization": f"Bearer {key}"})
        response = connection.getresponse()
        status, served_by = response.status, response.getheader("X-Served-By") or ""
        text = response.read().decode()
        if streamed and status == 200 and not text.rstrip().endswith("data: [DONE]"):
            error = "the stream ended early"
        elif not streamed and status == 200:
            json.loads(text)
        if status != 200:
            error = text[:200]
    except (OSError, http.client.HTTPException, ValueError) as failure:
        error = repr(failure)
    finally:
        connection.close()
    return Answer(model, streamed, began, time.monotonic() - start, status, served_by, error)


def load(addresses: list[str], models: list[str], key: str, count: int, at_once: int, meanwhile) -> tuple[list[Answer], float]:
    """Ask that many times, to every address and model in turn; halfway, do something. The answers, and when that was done (s)."""
    start = time.monotonic()
    done = threading.Event()
    moment = [0.0]

    def one(number: int) -> Answer:
        if number == count // 3:
            moment[0] = time.monotonic() - start
            threading.Thread(target=lambda: (meanwhile(), done.set())).start()
        address, model = addresses[number % len(addresses)], models[number % len(models)]
        return ask(address, model, key, streamed=number % 4 < 2, long=number % 10 == 0, start=start)

    with ThreadPoolExecutor(at_once) as pool:
        answers = list(pool.map(one, range(count)))
    done.wait(120)
    return answers, moment[0]


def spread(answers: list[Answer]) -> dict[str, int]:
    servers = sorted(answer.served_by for answer in answers if answer.status == 200)
    return {server: len(list(group)) for server, group in itertools.groupby(servers)}
