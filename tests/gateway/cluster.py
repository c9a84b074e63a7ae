"""A small cluster: three hosts with a stand-in of vLLM for each of two models, and the gateway on the machine before them."""

from __future__ import annotations

import collections.abc
import contextlib
import csv
import dataclasses
import http.client
import io
import json
import os
import pathlib
import ssl
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TREE = pathlib.Path(os.environ.get("HAPROXY_TREE", ""))
GATEWAY = "198.18.36.100"
HOSTS = [{"name": f"atlas{number}", "address": f"198.18.36.{number}"} for number in (1, 2, 3)]
QWEN, DEEPSEEK = "Qwen/Qwen3-30B-A3B", "deepseek-r1:32b"
SERVICES = [{"name": "qwen", "served_name": QWEN, "port": 8001}, {"name": "deepseek", "served_name": DEEPSEEK, "port": 8002}]
SETTINGS = {"port": 8000, "stats_port": 8404, "max_body": 1 << 20, "api_key": False, "tls": False, "check_interval_s": 2}
TOKEN_SECONDS = 0.05


def command(*words: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60, **options)


def wait_until(condition: collections.abc.Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)


@dataclasses.dataclass
class Server:
    """The stand-in that serves one model on one host."""

    host: str
    service: dict
    root: pathlib.Path
    process: subprocess.Popen | None = None

    def start(self) -> None:
        names = ["--served-model-name", self.service["served_name"], "--port", str(self.service["port"])]
        words = [
            "ip",
            "netns",
            "exec",
            self.host,
            str(ROOT / "lab/vllm/vllm"),
            "serve",
            str(self.root),
            *names,
            "--tensor-parallel-size",
            "4",
        ]
        seconds = {"VLLM_STANDIN_LOAD_S": "0", "VLLM_STANDIN_TOKEN_S": str(TOKEN_SECONDS)}
        environment = {**os.environ, **seconds, "NPU_SIM_ROOT": str(self.root), "ATB_HOME_PATH": "/usr/local/Ascend/nnal/atb"}
        with (self.root / "log").open("w") as log:
            self.process = subprocess.Popen(words, env=environment, stdout=log, stderr=log)

    def answers(self) -> bool:
        (address,) = (host["address"] for host in HOSTS if host["name"] == self.host)
        connection = http.client.HTTPConnection(address, self.service["port"], timeout=1)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclasses.dataclass
class Gateway:
    """HAProxy with the settings given."""

    settings: dict
    process: subprocess.Popen | None = None
    certificate: str | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.settings['tls'] else 'http'}://{GATEWAY}:{self.settings['port']}"

    def start(self) -> None:
        words = haproxy(self.settings)
        self.process = subprocess.Popen([*words, "-db"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.get("/health")[0] == 200)

    def connect(self, timeout: float = 60) -> http.client.HTTPConnection:
        if self.settings["tls"]:
            trusted = ssl.create_default_context(cafile=self.certificate)
            return http.client.HTTPSConnection(GATEWAY, self.settings["port"], timeout=timeout, context=trusted)
        return http.client.HTTPConnection(GATEWAY, self.settings["port"], timeout=timeout)

    def request(self, method: str, path: str, body: object = None, headers: dict | None = None) -> tuple[int, dict, dict]:
        """Status, headers with lower-case names, and what the JSON says."""
        connection = self.connect()
        # The gateway may refuse a body before all of it is there; as other clients do, read what it says.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        data = response.read()
        found = {name.lower(): value for name, value in response.getheaders()}
        return response.status, found, json.loads(data) if "json" in found.get("content-type", "") else data

    def get(self, path: str) -> tuple[int, object]:
        try:
            status, _headers, content = self.request("GET", path)
        except OSError as error:
            return 0, error
        return status, content

    def post(self, content: object, headers: dict | None = None) -> tuple[int, dict, dict]:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.request("POST", "/v1/chat/completions", body, headers)

    def servers(self) -> dict[tuple[str, str], dict]:
        """What the statistics say of each server, by backend and name."""
        connection = http.client.HTTPConnection(GATEWAY, self.settings["stats_port"], timeout=10)
        connection.request("GET", "/;csv")
        rows = csv.DictReader(io.StringIO(connection.getresponse().read().decode().lstrip("# ")))
        return {(row["pxname"], row["svname"]): row for row in rows}

    def is_up(self, host: str) -> bool:
        return all(self.servers()[service["name"], host]["status"] == "UP" for service in SERVICES)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def haproxy(settings: dict) -> list[str]:
    """The command, which runs as the image's user does; the settings' file has their port in its name."""
    from ansible_collections.ascend.gpustack.plugins.filter.vllm_gateway import gateway_config

    path = f"run/haproxy-{settings['port']}.cfg"
    (TREE / path).write_text(gateway_config(SERVICES, HOSTS, settings))
    return ["chroot", "--userspec=99:99", str(TREE), "/usr/sbin/haproxy", "-f", f"/{path}"]
