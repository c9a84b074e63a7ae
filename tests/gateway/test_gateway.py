"""What clients of the gateway see, with nothing wrong and with a host that dies."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import datetime
import http.client
import ipaddress
import json
import pathlib
import subprocess
import time

import httpx2
import openai
import pytest
from cluster import DEEPSEEK, GATEWAY, HOSTS, QWEN, SETTINGS, TOKEN_SECONDS, TREE, Gateway, command, haproxy, wait_until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

KEY = "sk-0123456789"
LIMIT = SETTINGS["max_body"]
LONG_PROMPT = "A prompt of 200 KB. " * 10240
ADDRESSES = [host["address"] for host in HOSTS]
# Until the third failed check: the wait for the first, and each check with what lies between them.
NOTICED_SECONDS = 2 + 3 * (2 + 1)
# The kernel ends a silent connection after two intervals of the checks; thrice that, for slow machines
SILENT_SECONDS = 3 * 2 * 2


def chat(model: str = QWEN, prompt: str = "Hello", **others: object) -> dict:
    """As OpenAI's client sends it, with the model after the messages."""
    return {"messages": [{"role": "user", "content": prompt}], "max_tokens": 2, **others, "model": model}


def sized(size: int) -> bytes:
    empty = len(json.dumps(chat(prompt="")))
    return json.dumps(chat(prompt="x" * (size - empty))).encode()


def in_chunks(body: bytes) -> list[bytes]:
    return [body[start : start + 50000] for start in range(0, len(body), 50000)]


# --- settings ---


@pytest.mark.parametrize("api_key", [False, True])
@pytest.mark.parametrize("tls", [False, True])
def test_haproxy_takes_the_settings_without_a_warning(secrets, api_key, tls):
    words = haproxy({**SETTINGS, "port": 8999, "api_key": api_key, "tls": tls})
    done = subprocess.run([*words, "-c"], check=False, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Configuration file is valid\n", "")


# --- which server a request goes to ---


@pytest.mark.parametrize("model, npus", [(QWEN, "0,1,2,3"), (DEEPSEEK, "4,5,6,7")])
@pytest.mark.parametrize("prompt", ["Hello", LONG_PROMPT], ids=["short", "long"])
def test_request_goes_to_the_servers_of_its_model_wherever_that_stands(gateway, model, npus, prompt):
    last = chat(model, prompt)
    for content in (last, {"model": model, **last}, json.dumps(last).replace("/", "\\/").encode()):
        status, headers, answer = gateway.post(content)
        assert (status, answer["model"], headers["x-npus"]) == (200, model, npus)
        assert headers["x-served-by"] in ADDRESSES


def test_load_is_spread_evenly(gateway, all_up):
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _number: gateway.post(chat()), range(300)))
    assert {status for status, _headers, _answer in answers} == {200}
    counts = collections.Counter(headers["x-served-by"] for _status, headers, _answer in answers)
    assert sorted(counts) == ADDRESSES
    assert all(70 <= count <= 130 for count in counts.values()), counts


# --- refusals ---


def test_too_large_a_body_is_refused_with_the_limit_and_the_largest_one_passes(gateway):
    assert gateway.post(sized(LIMIT))[0] == 200
    assert gateway.request("POST", "/v1/chat/completions", in_chunks(sized(LIMIT)))[0] == 200
    for body in (sized(LIMIT + 1), in_chunks(sized(LIMIT + 1))):
        status, _headers, answer = gateway.request("POST", "/v1/chat/completions", body)
        assert (status, answer["error"]["code"]) == (413, "request_too_large")
        assert str(LIMIT) in answer["error"]["message"] and "vllm_stack_max_body" in answer["error"]["message"]


def test_too_large_a_body_is_refused_before_it_is_sent(gateway):
    connection = gateway.connect(timeout=5)
    connection.putrequest("POST", "/v1/chat/completions")
    connection.putheader("Content-Length", str(1 << 30))
    connection.endheaders()
    assert connection.getresponse().status == 413


def test_unknown_model_is_refused_with_the_known_ones(gateway):
    for model in ("gpt-4o", QWEN.lower(), QWEN + "x", 5):
        status, _headers, answer = gateway.post(chat(model))
        assert (status, answer["error"]["code"], answer["error"]["param"]) == (404, "model_not_found", "model")
        assert QWEN in answer["error"]["message"] and DEEPSEEK in answer["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{}", b"no JSON", b'{"messages": [{"model": "Qwen/Qwen3-30B-A3B"}]}'])
def test_body_without_a_model_is_refused(gateway, body):
    status, _headers, answer = gateway.post(body)
    assert (status, answer["error"]["type"], answer["error"]["param"]) == (400, "invalid_request_error", "model")


@pytest.mark.parametrize("method, path", [("GET", "/"), ("GET", "/metrics"), ("POST", "/start_profile"), ("DELETE", "/v1/models")])
def test_what_is_no_part_of_the_api_leads_nowhere(gateway, method, path):
    status, _headers, answer = gateway.request(method, path, json.dumps(chat()))
    assert (status, answer["error"]["type"]) == (404, "invalid_request_error")


def test_model_without_servers_is_told(gateway, servers, all_up):
    own = [server for (service, _host), server in servers.items() if service == "deepseek"]
    for server in own:
        server.end()
    status, _headers, answer = gateway.post(chat(DEEPSEEK))
    assert (status, answer["error"]["type"]) == (503, "server_error")
    assert gateway.post(chat(QWEN))[0] == 200
    for server in own:
        server.start()
    wait_until(lambda: all(gateway.is_up(host["name"]) for host in HOSTS))


# --- what the gateway tells of itself ---


def test_models_of_all_servers_are_listed(gateway):
    status, _headers, answer = gateway.request("GET", "/v1/models")
    assert (status, answer["object"], [model["id"] for model in answer["data"]]) == (200, "list", [QWEN, DEEPSEEK])


def test_statistics_name_the_hosts(gateway, all_up):
    servers = gateway.servers()
    for service in ("qwen", "deepseek"):
        assert {host["name"] for host in HOSTS} < {name for backend, name in servers if backend == service}
    statistics = dataclasses.replace(gateway, settings={**SETTINGS, "port": SETTINGS["stats_port"]})
    assert b"haproxy_server_status" in statistics.request("GET", "/metrics")[2]
    assert b"atlas3" in statistics.request("GET", "/")[2]


# --- streaming ---


def test_stream_arrives_token_by_token(gateway):
    connection = gateway.connect()
    connection.request("POST", "/v1/chat/completions", json.dumps(chat(stream=True, max_tokens=20)))
    response = connection.getresponse()
    times, data = [], b""
    while part := response.read1(65536):
        times.append(time.monotonic())
        data += part
    assert data.count(b"data: ") == 21 and data.endswith(b"data: [DONE]\n\n")
    assert len(times) > 10 and times[-1] - times[0] > 15 * TOKEN_SECONDS


def test_client_that_leaves_ends_the_work_for_it(gateway, all_up):
    connection = gateway.connect()
    connection.request("POST", "/v1/chat/completions", json.dumps(chat(max_tokens=2000)))

    def busy() -> int:
        return int(gateway.servers()["qwen", "BACKEND"]["scur"])

    wait_until(lambda: busy() == 1)
    connection.close()
    wait_until(lambda: busy() == 0, 2)


# --- a host that dies ---


@dataclasses.dataclass
class Outcome:
    began: float
    ended: float
    good: bool
    answering: str | None  # the server whose answer began

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def ask(gateway: Gateway, tokens: int, streamed: bool, prompt: str = "Hello") -> Outcome:
    began, answering, good = time.monotonic(), None, False
    connection = gateway.connect()
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(chat(prompt=prompt, stream=streamed, max_tokens=tokens)))
        response = connection.getresponse()
        answering = response.getheader("X-Served-By")
        data = response.read()
        good = response.status == 200 and (data.endswith(b"data: [DONE]\n\n") if streamed else bool(json.loads(data)["choices"]))
    except (OSError, http.client.HTTPException):
        pass
    return Outcome(began, time.monotonic(), good, answering)


def cut_off(servers, host: str) -> None:
    """As a power cut does: nothing tells the other side."""
    command("ip", "-netns", host, "link", "set", "eth0", "down")


def kill(servers, host: str) -> None:
    for (_service, name), server in servers.items():
        if name == host:
            server.end()


def mend(servers, host: str) -> None:
    command("ip", "-netns", host, "link", "set", "eth0", "up")
    for (_service, name), server in servers.items():
        if name == host:
            server.end()
            server.start()


@pytest.mark.parametrize("fault", [cut_off, kill])
def test_requests_that_a_dying_host_left_unanswered_are_answered_by_others(gateway, servers, all_up, fault):
    with concurrent.futures.ThreadPoolExecutor(128) as pool:
        waiting = [pool.submit(ask, gateway, 60, False, LONG_PROMPT) for _number in range(12)]
        streaming = [pool.submit(ask, gateway, 60, True) for _number in range(6)]
        wait_until(lambda: gateway.servers()["qwen", "atlas1"]["scur"] == "6")
        time.sleep(10 * TOKEN_SECONDS)
        died = time.monotonic()
        fault(servers, "atlas1")
        later = []
        while "DOWN" not in gateway.servers()["qwen", "atlas1"]["status"]:
            assert time.monotonic() < died + NOTICED_SECONDS
            later += [pool.submit(ask, gateway, 40, streamed) for streamed in (False, True)]
            time.sleep(0.25)
        time.monotonic()
        # A container that fails its health check is killed by Swarm; a host that is cut off sees nothing of it.
        kill(servers, "atlas1")
        afterwards = [pool.submit(ask, gateway, 2, number % 2 == 0) for number in range(20)]
        waited, streamed, came_later, came_afterwards = ([job.result() for job in jobs] for jobs in (waiting, streaming, later, afterwards))
    mend(servers, "atlas1")
    assert [outcome for outcome in waited if not outcome.good] == []
    assert max(outcome.ended for outcome in waited) > died + 60 * TOKEN_SECONDS, "no request was sent again"
    cut = [outcome for outcome in streamed if outcome.answering == ADDRESSES[0]]
    assert [outcome for outcome in streamed if not outcome.good] == cut
    assert all(outcome.ended < died + SILENT_SECONDS for outcome in cut)
    assert [outcome for outcome in came_later if not outcome.good and outcome.answering != ADDRESSES[0]] == []
    assert [outcome for outcome in came_afterwards if not outcome.good or outcome.seconds > 3] == []


# --- OpenAI's own client, also with a key and TLS ---


@pytest.fixture(scope="session")
def secrets(network, tmp_path_factory) -> pathlib.Path:
    """The two files, as Swarm mounts them; the path of the certificate that clients trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(GATEWAY))])
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    folder = TREE / "run/secrets"
    folder.mkdir()
    (folder / "gateway_tls").write_bytes(certificate + key.private_bytes(*form))
    (folder / "gateway_api_key").write_text(f"Bearer {KEY}\nBearer another\n")
    trusted = tmp_path_factory.mktemp("tls") / "certificate.pem"
    trusted.write_bytes(certificate)
    return trusted


@pytest.fixture(scope="session")
def locked(servers, secrets):
    settings = {**SETTINGS, "port": 8443, "stats_port": 8444, "api_key": True, "tls": True}
    found = Gateway(settings, certificate=str(secrets))
    found.start()
    yield found
    found.end()


def client(gateway: Gateway, key: str = KEY) -> openai.OpenAI:
    # The client's own default looks for certificates of this machine.
    trusted = httpx2.Client(verify=gateway.connect()._context) if gateway.settings["tls"] else None
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0, http_client=trusted)


@pytest.mark.parametrize("which", ["gateway", "locked"])
@pytest.mark.parametrize("model", [QWEN, DEEPSEEK])
def test_openai_client_is_served(request, which, model):
    api = client(request.getfixturevalue(which))
    assert [known.id for known in api.models.list()] == [QWEN, DEEPSEEK]
    messages = [{"role": "user", "content": LONG_PROMPT}]
    whole = api.chat.completions.create(model=model, messages=messages, max_tokens=5)
    assert (whole.model, whole.usage.completion_tokens, len(whole.choices[0].message.content.split())) == (model, 5, 5)
    parts = api.chat.completions.create(model=model, messages=messages, max_tokens=5, stream=True, stream_options={"include_usage": True})
    *tokens, usage = list(parts)
    assert "".join(part.choices[0].delta.content for part in tokens) == whole.choices[0].message.content
    assert usage.usage.completion_tokens == 5
    assert len(api.completions.create(model=model, prompt="Hello", max_tokens=3).choices[0].text.split()) == 3
    assert len(list(api.completions.create(model=model, prompt="Hello", max_tokens=3, stream=True))) == 3


def test_openai_client_understands_the_refusals(gateway):
    api = client(gateway)
    with pytest.raises(openai.NotFoundError, match=f"expected one of the models: {QWEN}"):
        api.chat.completions.create(model="gpt-4o", messages=[])
    for size in (LIMIT + 1, 20 * LIMIT):
        with pytest.raises(openai.APIStatusError, match=f"larger than {LIMIT} bytes") as caught:
            api.chat.completions.create(model=QWEN, messages=[{"role": "user", "content": "x" * size}])
        assert caught.value.status_code == 413


def test_request_without_the_key_is_refused_but_for_health(locked):
    for headers in ({}, {"Authorization": KEY}, {"Authorization": "Bearer"}, {"Authorization": f"Bearer {KEY}0"}):
        for method, path in (("GET", "/v1/models"), ("POST", "/v1/chat/completions")):
            status, found, answer = locked.request(method, path, json.dumps(chat()), headers)
            assert (status, answer["error"]["code"], found["www-authenticate"]) == (401, "invalid_api_key", "Bearer")
    assert locked.post(chat(), {"Authorization": f"Bearer {KEY}"})[0] == 200
    assert locked.post(chat(), {"Authorization": "Bearer another"})[0] == 200
    assert locked.request("GET", "/health")[0] == 200
    with pytest.raises(openai.AuthenticationError, match="missing or wrong"):
        client(locked, "wrong").models.list()
