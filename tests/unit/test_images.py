"""Images: asked for at a registry, brought by a process of its own, and what is said when they can't be had."""

from __future__ import annotations

import base64
import json
import os
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import api as docker_api
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import image_job
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import images as docker_images
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.api import ApiError
from ansible_collections.ascend.gpustack.plugins.module_utils.jobs import Busy, Jobs
from ansible_collections.ascend.gpustack.plugins.modules import docker_image_fetch, docker_registry_info
from ansible_collections.ascend.gpustack.plugins.plugin_utils.given import _trusted
from shared import ROOT

NAME = "gpustack/gpustack:v0.7.1-npu"
PULL = [
    {"status": "Pulling from gpustack/gpustack", "id": "v0.7.1-npu"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "aa"},
    {"status": "Already exists", "progressDetail": {}, "id": "cc"},
    {"status": "Downloading", "progressDetail": {"current": 3 * 2**30, "total": 2**32}, "id": "aa"},
    {"status": "Downloading", "progressDetail": {"current": 2**20, "total": 2**20}, "id": "bb"},
    {"status": "Pull complete", "progressDetail": {}, "id": "bb"},
]


@pytest.mark.parametrize(
    "reference, registry, parts",
    [
        ("gpustack/gpustack:v0.7.1-npu", "", ("gpustack/gpustack", "v0.7.1-npu")),
        ("haproxy", "", ("haproxy", "latest")),
        ("localhost/a", "localhost", ("localhost/a", "latest")),
        ("r.example.com:5000/a/b", "r.example.com:5000", ("r.example.com:5000/a/b", "latest")),
        ("r.example.com/a:1@sha256:00", "r.example.com", ("r.example.com/a", "sha256:00")),
    ],
)
def test_name_is_read_as_docker_does(reference, registry, parts):
    assert docker_images.registry(reference) == registry
    assert docker_images.split(reference) == parts


def test_credentials_are_those_of_the_images_registry():
    assert docker_images.credentials(NAME, "", "x") == {}
    given = json.loads(base64.urlsafe_b64decode(docker_images.credentials(f"r:1/{NAME}", "u", "p")["X-Registry-Auth"]))
    assert given == {"username": "u", "password": "p", "serveraddress": "r:1"}


@pytest.mark.parametrize(
    "message, status, kind",
    [
        ("manifest unknown: manifest unknown", 404, "missing"),
        ("unauthorized: authentication required", 401, "credentials"),
        ("pull access denied for x, repository does not exist or may require 'docker login'", 404, "credentials"),
        ("toomanyrequests: You have reached your pull rate limit", 500, "rate"),
        ('Get "https://r/v2/": dial tcp: lookup r: no such host', 500, "network"),
        ("failed to register layer: write /x: no space left on device", 500, "disk"),
        ("Docker Engine does not answer", 0, "engine"),
    ],
)
def test_refusals_of_docker_are_told_apart(message, status, kind):
    assert docker_images.kind_of(ApiError(message, status)) == kind


def test_registry_is_asked_by_docker_itself():
    asked = []

    def ask(*words):
        asked.append(words)
        return {"Platforms": [{"architecture": "arm64"}, {"architecture": "amd64"}]}

    found = docker_registry_info.gather({"image": f"r:5000/{NAME}", "username": "", "password": ""}, ask)
    assert (found["available"], found["architectures"], found["registry"]) == (True, ["amd64", "arm64"], "r:5000")
    assert asked == [("GET", f"/distribution/r:5000/{NAME}/json", None, {})]


def test_password_of_a_registry_is_told_to_no_other():
    told = {}

    def ask(_method, where, _body, headers):
        told[where.split("/distribution/")[1]] = "X-Registry-Auth" in headers
        return {}

    parameters = {"images": ["r:5000/a:1", "a:1"], "registry": "r:5000", "username": "u", "password": "p"}
    found = docker_registry_info.gather(parameters, ask)["images"]
    assert {name: each["registry"] for name, each in found.items()} == {"r:5000/a:1": "r:5000", "a:1": ""}
    assert told == {"r:5000/a:1/json": True, "a:1/json": False}


def test_progress_sums_up_what_docker_says():
    progress = docker_images.Progress()
    for message in PULL:
        progress.take(message)
    assert progress.text == "3.0 GiB, 1 of 2 layers done"
    progress.take({"error": "no space\nleft on device"})
    assert progress.error == "no space left on device"


class Engine(BaseHTTPRequestHandler):
    """Pulls and loads as Docker does; what its images are stands in `answers`."""

    answers: dict = {}

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.respond(self.answers["messages"])

    def do_GET(self) -> None:
        lacking = any(name in self.path for name in self.answers.get("lacks", ()))
        there = self.answers["present"] and not lacking
        self.respond([{"Id": "sha256:1"} if there else {"message": f"No such image: {self.path}"}], 200 if there else 404)

    def respond(self, messages: list, status: int = 200) -> None:
        text = "".join(json.dumps(message) + "\n" for message in messages).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_words) -> None:
        pass


@pytest.fixture
def engine(tmp_path, monkeypatch):
    path = str(tmp_path / "docker.sock")
    for name in ("api", "messages"):
        original = getattr(docker_api, name)
        monkeypatch.setattr(docker_api, name, lambda *words, original=original: original(*words, path=path))
    with socketserver.ThreadingUnixStreamServer(path, Engine) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Engine
        server.shutdown()


def brought(tmp_path, **parameters) -> dict:
    jobs = Jobs(str(tmp_path / "job"), "an image")
    jobs.write({"job": "1", "what": [], "progress": "", "finished": False, "error": None, "kind": None})
    image_job.bring(jobs, [NAME, *parameters.get("further", [])], parameters.get("archive"), {}, 5)
    return jobs.read()


def test_pull_and_load_end_with_the_image_or_with_the_engines_reason(tmp_path, engine):
    archive = tmp_path / "image.tar"
    archive.write_bytes(b"0" * 100000)
    engine.answers = {"messages": PULL, "present": True}
    assert (brought(tmp_path)["finished"], brought(tmp_path)["error"]) == (True, None)
    assert brought(tmp_path, archive=str(archive))["error"] is None
    engine.answers = {"messages": [{"error": "write /x: no space left on device"}], "present": False}
    assert [brought(tmp_path)[key] for key in ("error", "kind")] == ["write /x: no space left on device", "disk"]
    assert brought(tmp_path, archive=str(tmp_path / "none"))["kind"] == "archive"
    # Docker was stopped, and its messages ended without an error.
    engine.answers = {"messages": PULL, "present": False}
    assert "No such image" in brought(tmp_path)["error"]


def test_archive_that_does_not_bring_all_that_was_to_be_in_it_is_an_error(tmp_path, engine):
    archive = tmp_path / "image.tar"
    archive.write_bytes(b"0" * 100)
    engine.answers = {"messages": PULL, "present": True, "lacks": ["runtime:health"]}
    further = ["gpustack/runtime:pause", "gpustack/runtime:health"]
    found = brought(tmp_path, archive=str(archive), further=further)
    assert "runtime:health" in found["error"] and found["kind"] == "archive"
    assert brought(tmp_path, archive=str(archive), further=further[:1])["error"] is None


def test_every_image_that_an_archive_is_loaded_for_is_looked_for():
    tasks = yaml.safe_load((ROOT / "roles/gpustack/tasks/image_load.yml").read_text())[0]["block"]
    (asked,) = [each["ascend.gpustack.docker_image_fetch"] for each in tasks if "ascend.gpustack.docker_image_fetch" in each]
    words = {"__gpustack_load": {"images": ["a", "b", "c"]}}
    assert [Templar(loader=DataLoader(), variables=words).template(_trusted(asked[key])) for key in ("image", "further")] == [
        "a",
        ["b", "c"],
    ]


def test_process_that_brings_an_image_is_joined_and_its_sudden_end_is_told(tmp_path):
    jobs = Jobs(str(tmp_path / "job"), "an image")
    with jobs.lock() as mine:
        assert mine and jobs.at_work()
        jobs.write({"job": "1", "what": [NAME, None], "progress": "1 MiB", "finished": False, "error": None, "kind": None})
        assert docker_image_fetch.start({"image": NAME, "archive": None}, jobs) == "1"
        assert docker_image_fetch.follow(jobs, "1", 0) == {"finished": False, "progress": "1 MiB", "error": None, "kind": None}
        with pytest.raises(Busy, match=f"another run brings {NAME}"):
            docker_image_fetch.start({"image": "other", "archive": None}, jobs)
    assert docker_image_fetch.follow(jobs, "1", 0)["kind"] == "process"
    assert oct(os.stat(tmp_path / "job.json").st_mode)[-3:] == "600"
