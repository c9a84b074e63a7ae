# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The cluster that GPUStack's API shows, beside the one that the inventory expects."""

from __future__ import annotations

import base64
import contextlib
import datetime
import email.utils
import http.server
import json
import pathlib
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import api as gpustack_api
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import workers as gpustack_workers
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.generation import DEFAULT
from ansible_collections.ascend.gpustack.plugins.modules import gpustack_worker_info

TOKEN = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
HEARTBEAT_LOST = (
    "Heartbeat lost, please <a href='https://docs.gpustack.ai/latest/troubleshooting/#view-gpustack-logs'>check the"
    " worker logs</a>. If everything proceeds smoothly, please verify that the clocks on both the worker and the server"
    " are properly synchronized."
)
NO_ACCESS = (
    "Server cannot access the worker's health check endpoint at http://172.16.33.108:10150/healthz. Please verify the"
    " port requirements in the <a href='https://docs.gpustack.ai/latest/installation/installation-requirements/'>"
    "documentation</a>"
)


def npu(index: int) -> dict[str, Any]:
    return {
        "index": index,
        "device_index": index,
        "device_chip_index": 0,
        "name": "910B4",
        "uuid": "",
        "vendor": "Huawei",
        "core": {"total": 0, "utilization_rate": 0.0},
        "memory": {
            "total": 34359738368,
            "utilization_rate": 8.0,
            "is_unified_memory": False,
            "used": 2854223872,
            "allocated": 0,
        },
        "network": {
            "status": "up",
            "inet": f"10.20.0.{index + 1}",
            "netmask": "255.255.255.0",
            "mac": "",
            "gateway": "",
            "iface": None,
            "mtu": 1500,
        },
        "temperature": 41.0,
        "labels": {},
        "type": "npu",
    }


def worker(number: int, npus: int = 8, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "name": f"atlas{number}",
        "hostname": "localhost.localdomain",
        "ip": f"172.16.33.{105 + number}",
        "port": 10150,
        "labels": {"os": "linux", "arch": "arm64", "worker-name": f"atlas{number}"},
        "system_reserved": {"ram": 2147483648, "vram": 1073741824},
        "state": "ready",
        "state_message": None,
        "status": {"cpu": {"total": 192}, "gpu_devices": [npu(index) for index in range(npus)], "rpc_servers": {}},
        "unreachable": False,
        "heartbeat_time": "2026-11-22T02:40:00Z",
        "worker_uuid": f"5b6d7c1e-0000-4000-8000-{number:012d}",
        "created_at": "2026-11-22T02:00:00Z",
        "updated_at": "2026-11-22T02:40:00Z",
        **changes,
    }


MODEL = {
    "id": 4,
    "name": "qwen3-32b",
    "replicas": 2,
    "worker_selector": {"worker-name": "atlas1"},
    "gpu_selector": {"gpu_ids": ["atlas1:npu:0", "atlas1:npu:1"]},
}
FREE_MODEL = {"id": 3, "name": "bge-m3", "replicas": 1, "worker_selector": {}, "gpu_selector": None}


SAMPLES = pathlib.Path(__file__).parent / "samples" / "gpustack_api"
RECORDED = json.loads((SAMPLES / "workers_2.3.0.json").read_text())["items"]
# When RECORDED was recorded
RECORDED_AT = datetime.datetime(2026, 11, 27, 3, 47, 31, tzinfo=datetime.timezone.utc)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as GPUStack 0.7.1 does: basic authentication, pages of at most 100, the newest first."""

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        self.server.asked.append(self.path)
        if self.server.override:
            status, body = self.server.override(self.path, len(self.server.asked))
            if status:
                return self.answer(status, body)
        if url.path == "/version":
            return self.answer(200, {"version": self.server.version, "git_commit": "a6da07d"})
        expected = "Basic " + base64.b64encode(f"system/worker/ansible:{TOKEN}".encode()).decode()
        if self.headers.get("Authorization") != expected:
            return self.answer(401, {"code": 401, "reason": "Unauthorized", "message": "Invalid authentication credentials"})
        if url.path not in self.server.lists:
            return self.answer(404, {"detail": "Not Found"})
        return self.page(self.server.lists[url.path], urllib.parse.parse_qs(url.query))

    def page(self, items: list[dict[str, Any]], query: dict[str, list[str]]) -> None:
        page, size = int(query.get("page", ["1"])[0]), int(query.get("perPage", ["100"])[0])
        if not 1 <= size <= 100 or page < 1:
            return self.answer(422, {"code": 422, "reason": "Invalid", "message": "1 validation errors"})
        newest_first = items[::-1]
        pagination = {"page": page, "perPage": size, "total": len(items), "totalPage": -(-len(items) // size)}
        return self.answer(200, {"items": newest_first[(page - 1) * size : page * size], "pagination": pagination})

    def answer(self, status: int, body: Any) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "http://127.0.0.1:9/stolen")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return email.utils.formatdate(getattr(self.server, "time", None) or timestamp, usegmt=True)

    def log_message(self, *_arguments: Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.version = "v0.7.1"
        # Seconds since 1970; None for those of the machine
        self.time: float | None = None
        self.lists: dict[str, list[dict[str, Any]]] = {"/v1/workers": [], "/v1/models": [], "/v1/users": []}
        self.override: Callable[[str, int], tuple[int, Any]] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server_2(server: Server) -> Server:
    """A server of GPUStack 2.3.0, which refuses the cluster token where users are."""
    server.version = "v2.3.0"
    server.time = RECORDED_AT.timestamp()
    server.lists = {"/v2/workers": RECORDED[::-1], "/v2/models": [], "/v2/model-instances": []}
    server.override = lambda path, count: (403, b"") if path.startswith("/v2/users") else (0, b"")
    return server


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


class Clock:
    """Time passes only by sleeping; what is planned happens on the way."""

    def __init__(self, **plans: Callable[[], None]) -> None:
        self.time = 0.0
        self.plans = {float(name.lstrip("t")): plan for name, plan in plans.items()}

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time += seconds
        for moment in [moment for moment in self.plans if moment <= self.time]:
            self.plans.pop(moment)()


def client(url: str, token: str = TOKEN, timeout: float = 10) -> gpustack_api.Client:
    return gpustack_api.Client(url, gpustack_api.fetcher(token), timeout)


def look(server: Server, expected: dict[str, int], wait: float = 0, clock: Clock | None = None) -> gpustack_workers.Cluster:
    clock = clock or Clock()
    return gpustack_workers.wait_for_workers(client(server.url), expected, wait, clock.now, clock.sleep)


def refusal(url: str, token: str = TOKEN, timeout: float = 10) -> tuple[str, str]:
    with pytest.raises(gpustack_api.ApiError) as caught:
        gpustack_workers.observe(client(url, token, timeout), {})
    return caught.value.kind, str(caught.value)


def gather(server: Server, **params: Any) -> dict[str, Any]:
    return gpustack_worker_info.gather(client(server.url), {"expected": {}, "wait": 0, "gather": [], "known_path": None, **params})


def test_a_healthy_worker_is_returned_whole(server: Server) -> None:
    server.lists["/v1/workers"] = [worker(1, npus=1)]
    assert gather(server, expected={"atlas1": "1"}) == {
        "ok": True,
        "problems": [],
        "pending": False,
        "version": "v0.7.1",
        "npu_total": 1,
        "unknown_workers": [],
        "workers": [
            {
                "id": 1,
                "name": "atlas1",
                "hostname": "localhost.localdomain",
                "ip": "172.16.33.106",
                "port": 10150,
                "state": "ready",
                "state_message": None,
                "unreachable": False,
                "worker_uuid": "5b6d7c1e-0000-4000-8000-000000000001",
                "worker_version": None,
                "created_at": "2026-11-22T02:00:00Z",
                "silent_s": None,
                "silent": False,
                "drained": False,
                "labels": {"os": "linux", "arch": "arm64", "worker-name": "atlas1"},
                "npus": [
                    {
                        "gpu_id": "atlas1:npu:0",
                        "index": 0,
                        "device_index": 0,
                        "device_chip_index": 0,
                        "name": "910B4",
                        "memory_total_bytes": 34359738368,
                        "memory_used_bytes": 2854223872,
                        "memory_allocated_bytes": 0,
                        "temperature_c": 41.0,
                        "network": {
                            "status": "up",
                            "inet": "10.20.0.1",
                            "netmask": "255.255.255.0",
                            "mac": "",
                            "gateway": "",
                            "iface": None,
                            "mtu": 1500,
                        },
                    }
                ],
                "npu_count": 1,
            }
        ],
    }


def test_all_250_workers_are_read_and_none_twice(server: Server) -> None:
    server.lists["/v1/workers"] = [worker(number) for number in range(1, 251)]
    result = gather(server, expected={f"atlas{number}": 8 for number in range(1, 251)})
    assert [entry["name"] for entry in result["workers"]] == [f"atlas{number}" for number in range(1, 251)]
    assert (result["ok"], result["npu_total"], result["unknown_workers"]) == (True, 2000, [])
    assert server.asked == ["/version", *(f"/v1/workers?page={page}&perPage=100" for page in (1, 2, 3))]


@pytest.mark.parametrize(
    ("change", "numbers"),
    [
        (lambda workers: workers.append(worker(151)), range(1, 152)),
        (lambda workers: workers.pop(), range(1, 150)),
    ],
)
def test_a_worker_that_joins_or_leaves_between_two_pages_hides_no_other(
    server: Server, change: Callable[[list], None], numbers: range
) -> None:
    workers = server.lists["/v1/workers"] = [worker(number) for number in range(1, 151)]

    def between_the_pages(path: str, count: int) -> tuple[int, Any]:
        if count == 3:
            assert "page=2" in path
            change(workers)
        return 0, None

    server.override = between_the_pages
    asking = client(server.url)
    asking.version()
    assert [entry.id for entry in asking.workers()] == list(numbers)


def test_every_problem_is_a_sentence_with_its_remedy(server: Server) -> None:
    server.lists["/v1/workers"] = [
        worker(1),
        worker(2, state="not_ready", state_message=HEARTBEAT_LOST),
        worker(3, state="unreachable", unreachable=True, state_message=NO_ACCESS),
        worker(4, status={"gpu_devices": [npu(index) for index in (0, 1, 2, 4, 5, 6, 7)]}),
        worker(5, status={"gpu_devices": None}),
        worker(6, status={"gpu_devices": [{**npu(0), "type": "cuda", "vendor": "NVIDIA"}]}),
        worker(7, name="localhost.localdomain-48213"),
    ]
    cluster = look(server, {**{f"atlas{number}": 8 for number in range(1, 6)}, "atlas6": 1, "atlas8": 8})
    assert cluster.comparison.problems == [
        "worker atlas2: state is not_ready (Heartbeat lost, please check the worker logs. If everything proceeds"
        " smoothly, please verify that the clocks on both the worker and the server are properly synchronized); expected"
        " ready. See docker logs of its GPUStack container, and compare its clock with the server's (date)",
        "worker atlas3: state is unreachable (Server cannot access the worker's health check endpoint at"
        " http://172.16.33.108:10150/healthz. Please verify the port requirements in the documentation); expected"
        " ready. See whether its GPUStack container runs, open port 10150 of 172.16.33.108 to the server, and name the"
        " address in the server's NO_PROXY",
        "worker atlas4: GPUStack sees 7 NPUs (0, 1, 2, 4, 5, 6, 7); expected 8 NPUs. Compare npu-smi info on"
        " 172.16.33.109 with the same in its GPUStack container",
        "worker atlas5: GPUStack sees 0 NPUs; expected 8 NPUs. Compare npu-smi info on 172.16.33.110 with the same in"
        " its GPUStack container",
        "worker atlas6: GPUStack sees 0 NPUs; expected 1 NPU. Compare npu-smi info on 172.16.33.111 with the same in"
        " its GPUStack container",
        "worker atlas8: not registered; expected ready with 8 NPUs. See docker logs of its GPUStack container, and that"
        " the server's port is open to it",
    ]
    assert cluster.comparison.unknown == ["localhost.localdomain-48213"]


def test_more_npus_than_expected_are_a_problem_too(server: Server) -> None:
    server.lists["/v1/workers"] = [worker(1, npus=8)]
    assert len(look(server, {"atlas1": 7}).comparison.problems) == 1


def test_models_tell_which_workers_and_npus_they_name(server: Server) -> None:
    server.lists["/v1/models"] = [FREE_MODEL, MODEL]
    assert gather(server, gather=["models"])["models"] == [
        {"id": 3, "name": "bge-m3", "replicas": 1, "gpu_ids": [], "worker_selector": {}},
        {
            "id": 4,
            "name": "qwen3-32b",
            "replicas": 2,
            "gpu_ids": ["atlas1:npu:0", "atlas1:npu:1"],
            "worker_selector": {"worker-name": "atlas1"},
        },
    ]


def test_waiting_ends_as_soon_as_every_worker_is_ready(server: Server) -> None:
    workers = server.lists["/v1/workers"]
    workers.append(worker(1, state="not_ready", state_message=HEARTBEAT_LOST))
    clock = Clock(
        t30=lambda: workers[0].update(state="ready", state_message=None),
        t60=lambda: workers.append(worker(2)),
    )
    cluster = look(server, {"atlas1": 8, "atlas2": 8}, wait=300, clock=clock)
    assert (cluster.comparison.problems, clock.time) == ([], 60)


def test_at_the_deadline_the_problems_are_returned(server: Server) -> None:
    clock = Clock()
    cluster = look(server, {"atlas1": 8}, wait=25, clock=clock)
    assert (len(cluster.comparison.problems), clock.time) == (1, 25)


def test_a_server_that_is_restarting_is_waited_for(server: Server) -> None:
    server.lists["/v1/workers"] = [worker(1)]
    server.override = lambda path, count: (502, b"<html>Bad Gateway</html>") if count < 6 else (0, None)
    clock = Clock()
    cluster = look(server, {"atlas1": 8}, wait=60, clock=clock)
    assert (cluster.comparison.problems, clock.time) == ([], 10)


def test_an_api_that_falls_silent_is_a_problem_beside_what_was_seen(server: Server) -> None:
    server.override = lambda path, count: (503, b"") if count > 2 else (0, None)
    cluster = look(server, {"atlas1": 8}, wait=10)
    assert [problem.partition(":")[0] for problem in cluster.comparison.problems] == [
        "GPUStack stopped answering",
        "worker atlas1",
    ]


def test_an_api_that_never_answered_fails_at_the_deadline() -> None:
    with contextlib.closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        clock = Clock()
        with pytest.raises(gpustack_api.ApiError) as caught:
            gpustack_workers.wait_for_workers(client(url), {"atlas1": 8}, 20, clock.now, clock.sleep)
    assert (caught.value.kind, clock.time) == ("refused", 20)


def test_a_wrong_token_fails_at_once(server: Server) -> None:
    clock = Clock()
    with pytest.raises(gpustack_api.ApiError) as caught:
        gpustack_workers.wait_for_workers(client(server.url, "wrong"), {}, 60, clock.now, clock.sleep)
    assert clock.time == 0
    assert caught.value.kind == "unauthorized"
    assert str(caught.value) == (
        f"GPUStack at {server.url} refuses the cluster token (401); expected the token that the server uses."
        " Read it again from the server's container, or correct the variable"
    )


def test_connection_refused() -> None:
    with contextlib.closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert refusal(url) == (
            "refused",
            f"nothing listens at {url} (connection refused); expected the GPUStack server."
            " See docker ps and docker logs on the server's host, and check address and port",
        )


def test_a_server_that_accepts_and_says_nothing() -> None:
    with contextlib.closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert refusal(url, timeout=0.2) == (
            "timeout",
            f"{url} did not answer in 0.2 s; expected the GPUStack server."
            " Check the address, the firewalls on the way, and the server's load",
        )


def test_a_server_that_drips_its_answer_is_cut_off() -> None:
    done = threading.Event()

    class Dripping(Handler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while not done.wait(0.05):
                    self.wfile.write(b" ")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dripping) as dripping:
        threading.Thread(target=dripping.serve_forever, daemon=True).start()
        assert refusal(f"http://127.0.0.1:{dripping.server_port}", timeout=0.5)[0] == "timeout"
        done.set()
        dripping.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "finding"),
    [
        (200, b"<html><title>nginx</title></html>", "its /version is no JSON"),
        (200, b'{"Version": "26.1.3"}', "its /version names no version"),
        (200, b"[]", "its /version names no version"),
        (404, b"", "it answers /version with 404"),
        (302, b"", "it answers /version with 302"),
    ],
)
def test_another_program_at_the_address(server: Server, status: int, body: bytes, finding: str) -> None:
    server.override = lambda path, count: (status, body)
    assert refusal(server.url) == (
        "not_gpustack",
        f"{server.url} is not GPUStack's API ({finding}); expected GPUStack 0.7 or 2.3. Correct scheme, host or port",
    )


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b'{"items": []}',
        b'{"items": {}, "pagination": 7}',
        b'{"items": [1], "pagination": {"total": 1, "totalPage": 1}}',
        b'{"items": [{"id": 1, "status": "x"}], "pagination": {"total": 1, "totalPage": 1}}',
        b'{"items": [{"id": 1, "status": {"gpu_devices": [7]}}], "pagination": {"total": 1, "totalPage": 1}}',
        b'{"items": null, "pagination": {"total": 1, "totalPage": 1}}',
        b'{"items": [], "pagination": {"total": 1, "totalPage": "many"}}',
    ],
)
def test_a_list_of_another_shape_gives_one_clear_error(server: Server, body: bytes) -> None:
    server.override = lambda path, count: (200, body) if path.startswith("/v1/") else (0, None)
    assert refusal(server.url)[0] == "not_gpustack"


def test_a_server_of_a_version_that_is_not_known_is_named(server: Server) -> None:
    server.version = "v3.0.0"
    assert refusal(server.url) == (
        "wrong_version",
        f"{server.url} is GPUStack v3.0.0; expected GPUStack 0.7 or 2.3, whose management API is under /v1 or /v2."
        " Give the URL of such a server",
    )


def test_a_server_without_the_workers_list_is_of_another_version(server: Server) -> None:
    server.version = "main"
    del server.lists["/v1/workers"]
    kind, message = refusal(server.url)
    assert kind == "wrong_version"
    assert message.startswith(f"{server.url} is a server without /v1/workers (404); ")


def test_something_that_speaks_no_http(server: Server) -> None:
    with contextlib.closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def greet() -> None:
            connection, _peer = listening.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_8.8\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        assert refusal(f"http://127.0.0.1:{listening.getsockname()[1]}")[0] == "not_gpustack"
        thread.join()


@pytest.mark.parametrize("url", ["172.16.33.106:8080", "ftp//x", "http://127.0.0.1:port"])
def test_a_malformed_url_is_not_waited_for(url: str) -> None:
    assert refusal(url)[0] == "name"


def test_a_plain_server_asked_with_https(server: Server) -> None:
    assert refusal(server.url.replace("http:", "https:"))[0] == "tls"


def test_the_proxy_of_the_environment_is_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert look(server, {}).version == "v0.7.1"


def test_a_redirect_does_not_carry_the_token_elsewhere(server: Server) -> None:
    server.override = lambda path, count: (307, b"")
    assert refusal(server.url)[0] == "not_gpustack"
    assert server.asked == ["/version"]


@pytest.mark.parametrize("count", ["eight", -1, 8.5, True])
def test_a_number_of_npus_that_is_none_is_refused(count: Any) -> None:
    with pytest.raises(ValueError, match=r"expected\['atlas1'\] is .*; expected a number of NPUs\. Correct it\."):
        gpustack_worker_info.npu_counts({"atlas1": count})


@pytest.mark.parametrize(("users", "answer"), [([True], True), ([False], False), ([], None)])
def test_whether_the_admin_password_is_still_the_first_one(server: Server, users: list[bool], answer: bool | None) -> None:
    server.lists["/v1/users"] = [{"id": 1, "username": "admin", "require_password_change": flag} for flag in users]
    asking = client(server.url)
    asking.version()
    assert asking.admin_must_change_password() is answer


def test_worker_without_a_number_is_known_and_not_judged() -> None:
    found = gpustack_workers.compare([], gpustack_worker_info.npu_counts({"atlas1": None, "atlas2": 8}), DEFAULT.api)
    assert [problem.split(":")[0] for problem in found.problems] == ["worker atlas2"]


@pytest.mark.parametrize(
    "text, lost",
    [
        (
            '{"workers": {"atlas1": "u", "npu7": "v"}, "models": ["qwen3-32b"], "users": ["admin", "alice"]}',
            {"users": ["alice"], "workers": ["npu7"]},
        ),
        ('{"workers": {"atlas1": "u"}, "models": [], "users": ["admin"]}', {}),
        ('{"workers": {"earlier-name": "5b6d7c1e-0000-4000-8000-000000000001"}, "models": [], "users": ["admin"]}', {}),
        ('{"workers": {"npu7": "v"', {}),
        ('{"workers": {"npu7": "v"}}', {}),
        ('{"workers": ["npu7"], "models": [], "users": []}', {}),
        ("[]", {}),
        (None, {}),
    ],
    ids=["less", "more", "renamed", "cut off", "not whole", "of another shape", "no mapping", "none"],
)
def test_what_the_server_knew_and_no_longer_does_is_lost(server: Server, tmp_path: Any, text: str | None, lost: dict) -> None:
    server.lists.update({"/v1/workers": [worker(1)], "/v1/models": [MODEL], "/v1/users": [{"id": 1, "username": "admin"}]})
    if text is not None:
        (tmp_path / "known.json").write_text(text)
    found = gather(server, known_path=str(tmp_path / "known.json"))
    identity = "5b6d7c1e-0000-4000-8000-000000000001"
    assert found["records"] == {"workers": {"atlas1": identity}, "models": ["qwen3-32b"], "users": ["admin"]}
    assert found["lost"] == lost and found["ok"]


def test_users_are_not_asked_for_unless_there_is_something_to_compare(server: Server) -> None:
    assert "lost" not in gather(server)
    assert not [path for path in server.asked if path.startswith(("/v1/users", "/v1/models"))]


def test_a_worker_of_gpustack_2_is_returned_as_one_of_0_7_is(server_2: Server) -> None:
    found = gather(server_2, expected={"npu01": 8, "npu02": 8})
    second = found["workers"][1]
    assert (found["version"], found["npu_total"], found["ok"]) == ("v2.3.0", 16, False)
    assert {key: value for key, value in second.items() if key != "npus"} == {
        "id": 2,
        "name": "npu02",
        "hostname": "localhost.localdomain",
        "ip": "198.18.42.107",
        "port": 10150,
        "state": "ready",
        "state_message": None,
        "unreachable": False,
        "worker_uuid": None,
        "worker_version": "v2.3.0",
        "created_at": "2026-11-27T03:46:43.631808Z",
        "silent_s": 10,
        "silent": False,
        "drained": False,
        "labels": {"os": "linux", "arch": "amd64", "worker-name": "npu02"},
        "npu_count": 8,
    }
    assert second["npus"][7] == {
        "gpu_id": "npu02:cann:7",
        "index": 7,
        "device_index": 7,
        "device_chip_index": 0,
        "name": "910B4",
        "memory_total_bytes": 34359738368,
        "memory_used_bytes": 3010461696,
        "memory_allocated_bytes": 0,
        "temperature_c": 36.0,
        "network": {
            "status": "up",
            "inet": "192.168.100.18",
            "netmask": "255.255.255.0",
            "mac": "",
            "gateway": "192.168.100.1",
            "iface": None,
            "mtu": None,
        },
    }


def test_a_worker_of_gpustack_2_that_has_joined_and_does_not_listen_yet_is_waited_for(server_2: Server) -> None:
    starting = dict(server_2.lists["/v2/workers"][0])
    assert (starting["name"], starting["state"]) == ("npu01", "unreachable")

    def listen() -> None:
        server_2.lists["/v2/workers"][0] = {**starting, "state": "ready", "state_message": None, "unreachable": False}

    clock = Clock(t40=listen)
    assert look(server_2, {"npu01": 8, "npu02": 8}, wait=300, clock=clock).comparison.problems == []
    assert clock.time == 40


@pytest.mark.parametrize(
    ("state", "message", "problem"),
    [
        (
            "maintenance",
            "new fans",
            "state is maintenance (new fans); expected ready. End its maintenance on GPUStack's page or with undrain, or leave it out",
        ),
        ("error", None, "state is error (no message); expected ready. See GPUStack's page, and delete it there"),
        ("deleting", None, "state is deleting (no message); expected ready. Let GPUStack delete it, and run this again"),
    ],
)
def test_a_state_that_does_not_pass_is_told_and_not_waited_for(server_2: Server, state: str, message: str | None, problem: str) -> None:
    server_2.lists["/v2/workers"] = [{**RECORDED[0], "state": state, "state_message": message}]
    clock = Clock()
    seen = look(server_2, {"npu02": 8}, wait=300, clock=clock).comparison
    assert seen.problems[0].startswith(f"worker npu02: {problem}") and not seen.pending
    assert clock.time == 0


@pytest.mark.parametrize("state", ["not_ready", "unreachable", "pending", "provisioning", "initializing", "of a later release"])
def test_a_state_that_may_pass_is_waited_for(server_2: Server, state: str) -> None:
    # Also beside one that does not pass
    server_2.lists["/v2/workers"] = [{**RECORDED[0], "state": state}, {**RECORDED[1], "state": "maintenance"}]
    clock = Clock()
    seen = look(server_2, {"npu01": 8, "npu02": 8}, wait=30, clock=clock).comparison
    assert seen.pending and clock.time == 30 and len(seen.problems) == 2


@pytest.mark.parametrize(("age", "silent"), [(60, False), (61, True), (3600, True)])
def test_a_worker_that_gpustack_2_takes_for_ready_and_that_is_silent_is_no_good(server_2: Server, age: int, silent: bool) -> None:
    server_2.lists["/v2/workers"] = [RECORDED[0]]
    server_2.time = datetime.datetime(2026, 11, 27, 3, 47, 21, tzinfo=datetime.timezone.utc).timestamp() + age
    found = gather(server_2, expected={"npu02": 8})
    assert (found["workers"][0]["silent_s"], found["workers"][0]["silent"], found["ok"]) == (age, silent, not silent)
    if silent:
        assert found["problems"] == [
            f"worker npu02: state is ready, and its last sign of life {age} s ago; expected one in 60 s. See whether its GPUStack container"
            " runs, and whether it reaches the server's port"
        ]


@pytest.mark.parametrize("written", [None, "", "yesterday"])
def test_a_sign_of_life_that_can_not_be_read_is_not_judged(server_2: Server, written: str | None) -> None:
    server_2.lists["/v2/workers"] = [{**RECORDED[0], "heartbeat_time": written}]
    assert gather(server_2, expected={"npu02": 8})["ok"]


def test_users_of_gpustack_2_are_not_asked_for(server_2: Server, tmp_path: Any) -> None:
    (tmp_path / "known.json").write_text(
        '{"workers": {"npu01": "a-uuid-of-0.7", "gone": "b"}, "models": ["m"], "users": ["admin", "alice"]}'
    )
    found = gather(server_2, known_path=str(tmp_path / "known.json"))
    assert found["records"] == {
        "workers": {"npu01": "1 2026-11-27T03:46:37.090055Z", "npu02": "2 2026-11-27T03:46:43.631808Z"},
        "models": [],
    }
    assert found["lost"] == {"models": ["m"], "workers": ["gone"]}
    asked = client(server_2.url)
    asked.version()
    assert asked.admin_must_change_password() is None
    assert not [path for path in server_2.asked if "users" in path]


def test_a_renamed_worker_of_gpustack_2_is_not_lost_and_one_whose_number_another_got_is(server_2: Server, tmp_path: Any) -> None:
    known = tmp_path / "known.json"
    known.write_text('{"workers": {"earlier": "2 2026-11-27T03:46:43.631808Z", "before": "1 2025-01-01T00:00:00Z"}, "models": []}')
    assert gather(server_2, known_path=str(known))["lost"] == {"workers": ["before"]}


def test_instances_tell_what_their_containers_are_called_by_on_each_worker(server_2: Server) -> None:
    server_2.lists["/v2/model-instances"] = [
        {"id": 1, "name": "tiny-050qc", "model_name": "tiny", "worker_id": 1, "distributed_servers": {"subordinate_workers": []}},
        {
            "id": 2,
            "name": "big-1b2c3",
            "model_name": "big",
            "worker_id": 2,
            "distributed_servers": {"subordinate_workers": [{"worker_id": 1}]},
        },
        {"id": 3, "name": "new-00000", "model_name": "new", "worker_id": None, "distributed_servers": None},
    ]
    assert gather(server_2, gather=["instances"])["instances"] == [
        {"model": "tiny", "workloads": {"npu01": "tiny-050qc"}},
        {"model": "big", "workloads": {"npu01": "big-1b2c3-f0", "npu02": "big-1b2c3"}},
        {"model": "new", "workloads": {}},
    ]
