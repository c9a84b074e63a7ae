"""What is said of an image that a host lacks, or that its NPUs can't use."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest
import yaml
from ansible_collections.ascend.gpustack.plugins.filter import image
from ansible_collections.ascend.gpustack.plugins.plugin_utils import images
from shared import ROOT

NAME = "r:5000/gpustack/gpustack:v0.7.1-npu"
HOST = {"chip": "910B4", "machine": "aarch64", "version": "0.7.1"}
ASKED = {"available": True, "architectures": ["arm64"], "registry": "r:5000", "error": None, "kind": None}


@pytest.mark.parametrize("chip, end", [("910B4", "-npu"), ("310P3", "-npu-310p"), ("", "-npu"), ("910ProB", "-npu")])
def test_image_follows_the_chip(chip, end):
    assert image.image_variant(chip, "0.7.1") == end
    assert image.image_variant(chip, "2.3.0") == image.image_variant(chip) == ""


def problems(host: dict | None = None, archives: list[dict] | None = None, asked: dict | None = None, lacks: tuple = (NAME,)) -> list[str]:
    """Of a host of 0.7, which needs one image and lacks it."""
    return images.problems(
        [NAME], {**HOST, "lacks": list(lacks), **(host or {})}, archives or [], {"images": {NAME: asked}} if asked else {}
    )


def archive(path: str = "/a.tar", where: str = "", **more) -> dict:
    """What docker_archive_info says of one archive among those of one place."""
    return {"where": where, "archives": [{"path": path, "exists": True, "images": {}, "error": None, **more}]}


def test_image_that_can_be_had_is_no_problem():
    assert problems(asked=ASKED) == problems({"chip": ""}) == problems(lacks=()) == []
    assert problems(archives=[archive(images={NAME: []})]) == []
    # A store that is yet to be mounted, or a host that is told of elsewhere
    for unknown in ({"where": "", "skipped": True}, {"where": "", "unreachable": True}, archive(exists=False)):
        assert problems(archives=[unknown]) == []


def test_image_for_other_chips_is_refused_by_name():
    assert problems({"chip": "310P3"}) == [
        "its NPUs are 310P3, and r:5000/gpustack/gpustack:v0.7.1-npu has engines for 910B; expected "
        "r:5000/gpustack/gpustack:v0.7.1-npu-310p. Set gpustack_image to that, or remove it."
    ]
    assert "has images for 910B and 310P alone" in problems({"chip": "910ProB"})[0]
    # Of an image of another name nothing is known.
    assert images.problems(["r:5000/own:1"], {**HOST, "chip": "310P3", "lacks": []}, [], {}) == []


@pytest.mark.parametrize(
    "answer, told",
    [
        (
            {"available": False, "error": "manifest unknown", "kind": "missing"},
            f"it lacks {NAME}, which can't be pulled from r:5000 (manifest unknown); expected it there. Check gpustack_registry, "
            "gpustack_version and gpustack_image, or bring the image as a file with gpustack_image_archive.",
        ),
        (
            {"architectures": ["amd64"]},
            f"{NAME} at r:5000 is made for amd64; expected arm64, the host's processor. Set gpustack_image to one for it.",
        ),
    ],
)
def test_registrys_answer_is_told(answer, told):
    assert problems(asked={**ASKED, **answer}) == [told]


def test_archive_without_the_image_is_told():
    unread = archive(where="the controller", exists=False, error="/a.tar does not exist.")
    assert problems(archives=[unread]) == ["the controller: /a.tar does not exist."]
    assert problems(archives=[{"where": "the controller", "msg": "no Python there"}]) == ["the controller: no Python there"]
    (told,) = problems(archives=[archive(where="the controller", images={"x:1": []})])
    assert told.startswith(f"/a.tar on the controller holds x:1; expected {NAME}. Set gpustack_image")
    # As for a host that has the image already
    assert problems(archives=[archive(images={"x:1": []})], lacks=())[0].startswith(f"/a.tar holds x:1; expected {NAME}.")


FOR_ANOTHER = (
    f"holds {NAME} for amd64; expected arm64, the host's processor. Name an archive for it, or make one "
    f"(docker pull --platform linux/arm64 {NAME}; docker save -o FILE {NAME})."
)


def test_archive_for_another_processor_is_refused_before_it_is_loaded():
    made_for = {"images": {NAME: ["sha256:1"]}, "architectures": {NAME: ["amd64"]}}
    assert problems(archives=[archive(where="the controller", **made_for)]) == [f"/a.tar on the controller {FOR_ANOTHER}"]
    host = {"image": NOT_THERE, "images": {}, "machine": "aarch64"}
    assert plan(host, [held("/a.tar", **made_for)], [NAME], "0.7.1")["problems"] == [f"/a.tar {FOR_ANOTHER}"]
    # It would take the place of one that works.
    there = {**host, "image": {**THERE, "id": "sha256:2", "architecture": "arm64"}}
    assert plan(there, [held("/a.tar", **made_for)], [NAME], "0.7.1")["problems"] == [f"/a.tar {FOR_ANOTHER}"]
    for fits in ({NAME: ["amd64", "arm64"]}, {}):
        assert problems(archives=[archive(**{**made_for, "architectures": fits})]) == []


def test_each_host_gets_the_archive_for_its_processor():
    archives = [held(f"/{each}.tar", images={NAME: [each]}, architectures={NAME: [each]}) for each in ("amd64", "arm64")]
    for machine, path in (("aarch64", "/arm64.tar"), ("x86_64", "/amd64.tar")):
        found = plan({"image": NOT_THERE, "images": {}, "machine": machine}, archives, [NAME], "0.7.1")
        assert (found["problems"], found["loads"]) == ([], [{"path": path, "images": [NAME]}])


def test_image_for_another_processor_that_is_there_already_is_refused_unless_it_runs_or_the_right_one_comes():
    there = {"name": NAME, "present": True, "id": "sha256:1", "architecture": "amd64"}
    seen = {"image": there, "images": {}, "machine": "aarch64", "container": None}
    told = (
        f"{NAME} is there and made for amd64; expected arm64, the host's processor. Remove it there (docker rmi {NAME}), so that one for "
        "it is brought."
    )
    assert problems({"seen": seen}, lacks=()) == plan(seen, names=[NAME], version="0.7.1")["problems"] == [told]
    runs = {**seen, "container": {"image": NAME, "image_id": "sha256:1", "running": True}}
    arm = {**seen, "image": {**there, "architecture": "arm64"}}
    for fine in (runs, arm, {**seen, "image": {**there, "architecture": None}}):
        assert problems({"seen": fine}, lacks=()) == plan(fine, names=[NAME], version="0.7.1")["problems"] == []
    right = {"images": {NAME: ["sha256:2"]}, "architectures": {NAME: ["arm64"]}}
    assert problems({"seen": seen}, archives=[archive(**right)], lacks=()) == []
    found = plan(seen, [held("/a.tar", **right)], [NAME], "0.7.1")
    assert (found["due"], found["problems"]) == ([NAME], [])


def test_archive_that_an_older_docker_cannot_unpack_is_told():
    host = {"image": NOT_THERE, "images": {}, "machine": "aarch64", "docker": {"server_version": "20.10.24"}}
    pressed = held("/a.tar.zst", images={NAME: ["sha256:1"]}, compression="zstd")
    assert plan(host, [pressed], [NAME], "0.7.1")["problems"] == [
        "/a.tar.zst is compressed by zstd, which Docker Engine 20.10.24 does not read; expected 23 or newer. "
        "Unpack it there (zstd -d /a.tar.zst) and name the result, or upgrade Docker."
    ]
    assert plan({**host, "docker": {"server_version": "26.1.3"}}, [pressed], [NAME], "0.7.1")["problems"] == []


def test_images_of_a_stack_for_another_processor_are_refused_there_and_in_their_archives():
    lines = ["aarch64", "json-file none", "amd64", "none", "unknown"]
    found = image.stack_images(["vllm:1", "haproxy:2.6", "own:1"], lines)
    assert (found["machine"], found["missing"]) == ("aarch64", ["haproxy:2.6"])
    assert found["problems"] == [
        "vllm:1 is there and made for amd64; expected arm64, the host's processor. Remove it there (docker rmi vllm:1), so that one for it "
        "is brought."
    ]
    archives = [{"item": "/h.tar", "images": {"haproxy:2.6": ["a"]}, "architectures": {"haproxy:2.6": ["amd64"]}}]
    assert image.stack_image_problems(["haproxy:2.6"], archives, "aarch64") == [
        "/h.tar holds haproxy:2.6 for amd64; expected arm64, the host's processor. Name an archive for it, or make one "
        "(docker pull --platform linux/arm64 haproxy:2.6; docker save -o FILE haproxy:2.6)."
    ]
    assert image.stack_image_problems(["haproxy:2.6"], archives, "x86_64") == []
    # Where Docker did not answer, nothing is known, and its own check says so.
    assert image.stack_images(["vllm:1"], []) == {"machine": "", "missing": [], "problems": []}


DOCKER = """#!/bin/sh
case "$*" in
  version) ;;
  info) printf ' Storage Driver: overlay2\n Logging Driver: json-file\n' ;;
  "image inspect vllm:1") printf '[\n    {\n        "Id": "a",\n        "Architecture": "arm64",\n        "Os": "linux"\n    }\n]\n' ;;
  "image inspect old:1") printf '[\n    {\n        "Architecture": "",\n        "Os": "linux"\n    }\n]\n' ;;
  *) echo "Error response from daemon: No such image" >&2; exit 1 ;;
esac
"""


def test_look_at_the_images_of_a_stack_tells_which_are_there_and_for_which_processor(tmp_path):
    look = yaml.safe_load((ROOT / "roles/vllm_stack/vars/main.yml").read_text())["_vllm_stack_look"]
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    # The machine that tests this may have a Docker of its own, and with settings.
    settings = pathlib.Path("/etc/docker/daemon.json")
    logs = f"json-file {'max-size' if settings.exists() and 'max-size' in settings.read_text() else 'none'}"
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-c", look, "sh", "vllm:1", "haproxy:2.6", "old:1"], env=env, stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout.splitlines() == [os.uname().machine, logs, "arm64", "none", "unknown"]
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n")
    assert subprocess.run(["sh", "-c", look, "sh", "vllm:1"], env=env, stdout=subprocess.PIPE, check=False).returncode == 1


def test_failure_has_the_remedy_for_just_that():
    assert images.failure({"error": "no end within 9 s", "kind": "time"}, "a1", NAME, "") == (
        f"a1: {NAME} could not be pulled from r:5000: no end within 9 s. Raise gpustack_image_timeout if it only needs longer, or bring "
        "the image as a file with gpustack_image_archive."
    )
    told = images.failure({"error": "no space left on device", "kind": "disk"}, "a1", NAME, "/a.tar")
    assert "could not be loaded from /a.tar: no space left on device. Make room" in told
    assert "module crashed" in images.failure({"msg": "module crashed"}, "a1", NAME, "")


MAIN, PAUSE, RUNNER = "gpustack/gpustack:v2.3.0", "gpustack/runtime:pause", "gpustack/runner:cann8.5-910b-vllm0.18.0"
WORKER = {"version": "2.3.0", "registry": "", "runners": ["cann8.5-910b-vllm0.18.0"], "worker": True}
THERE, NOT_THERE = {"present": True, "id": "sha256:1"}, {"present": False, "id": None}
FURTHER = [PAUSE, "gpustack/runtime:health", RUNNER]


def plan(host: dict, archives: list[dict] | None = None, names: list[str] | None = None, version: str = "2.3.0") -> dict:
    return images.plan(names or [MAIN, PAUSE, RUNNER], host, archives or [], version)


def held(path: str, **more) -> dict:
    return {"path": path, "where": "", "exists": True, "images": {}, "error": None, **more}


def test_a_worker_needs_what_its_models_run_in_and_a_server_does_not():
    assert images.needed(MAIN, WORKER) == [MAIN, *FURTHER]
    assert images.needed(MAIN, {**WORKER, "worker": False}) == [MAIN]
    # GPUStack asks for them below the registry that it is told of.
    mirror = images.needed(f"r:5000/{MAIN}", {**WORKER, "registry": "r:5000", "runners": []})
    assert mirror == [f"r:5000/{MAIN}", f"r:5000/{PAUSE}", "r:5000/gpustack/runtime:health"]
    # Where the engines are in GPUStack's own image
    assert images.needed(NAME, {**WORKER, "version": "0.7.1"}) == [NAME]


def test_a_host_that_has_its_images_is_left_alone():
    host = {"image": THERE, "images": {PAUSE: THERE, RUNNER: THERE}}
    nothing = {"due": [], "loads": [], "pulls": [], "problems": []}
    assert plan(host) == plan(host, [held("/m.tar", images={MAIN: ["sha256:1"]}), held("/r.tar", images={RUNNER: ["sha256:1"]})]) == nothing


def test_what_runs_is_there_though_another_was_looked_for():
    """Where the inventory names no version, what a host needs is known when it has been read."""
    host = {"image": {"name": "gpustack/gpustack:v9", "present": False}, "container": {"image": MAIN, "image_id": "sha256:1"}, "images": {}}
    assert plan(host)["due"] == []
    assert plan({**host, "container": {"image": "gpustack/gpustack:v8", "image_id": "sha256:1"}})["due"] == [MAIN]
    # One that was looked for and is gone has to come again, whatever runs.
    assert plan({**host, "image": {"name": MAIN, "present": False}})["due"] == [MAIN]


def test_what_is_missing_is_pulled_or_comes_from_the_archive_that_holds_it():
    host = {"image": THERE, "images": {PAUSE: NOT_THERE, RUNNER: NOT_THERE}}
    assert plan(host)["pulls"] == plan(host)["due"] == [PAUSE, RUNNER]
    archives = [held("/m.tar", images={MAIN: ["sha256:1"]}), held("/r.tar", images={RUNNER: ["a"], PAUSE: ["b"], "other:1": ["c"]})]
    found = plan(host, archives)
    assert (found["loads"], found["pulls"], found["problems"]) == ([{"path": "/r.tar", "images": [PAUSE, RUNNER]}], [], [])


def test_an_archive_with_another_image_of_the_name_replaces_it():
    host = {"image": THERE, "images": {PAUSE: THERE, RUNNER: THERE}}
    found = plan(host, [held("/m.tar", images={MAIN: ["sha256:2", "sha256:3"]})])
    assert (found["due"], found["loads"]) == ([MAIN], [{"path": "/m.tar", "images": [MAIN]}])


def test_with_archives_nothing_is_asked_of_a_registry():
    host = {"image": NOT_THERE, "images": {PAUSE: NOT_THERE, RUNNER: THERE}}
    found = plan(host, [held("/r.tar", images={RUNNER: ["sha256:1"]}), held("/s.tar")])
    assert found["pulls"] == []
    assert found["problems"] == [
        f"/r.tar, /s.tar hold {RUNNER}; expected {MAIN}. Set gpustack_image to what it holds, or gpustack_image_archives to another file.",
        f"it lacks {PAUSE}, which no archive of gpustack_image_archives holds; expected it there. "
        "Add the file that does, or load it there (docker load -i FILE).",
    ]
    # A server has no need of what is in the workers' archive, and a store may be yet to come.
    assert plan({"image": THERE, "images": {}}, [held("/r.tar", images={RUNNER: ["sha256:1"]})], [MAIN])["problems"] == []
    assert plan(host, [held("/r.tar", exists=False)])["problems"] == []
    assert plan(host, [held("/r.tar", exists=False, error="/r.tar does not exist.")])["problems"] == ["/r.tar does not exist."]
    # Where there is one image alone, an archive without it is a slip, whatever the host has.
    (told,) = plan({"image": THERE, "images": {}}, [held("/a.tar", images={"x:1": []})], [NAME], "0.7.1")["problems"]
    assert told.startswith(f"/a.tar holds x:1; expected {NAME}. Set gpustack_image to what it holds, or gpustack_image_archive to")


def test_preflight_asks_for_each_image_that_is_not_there():
    refused = {**ASKED, "registry": "", "available": False, "error": "manifest unknown", "kind": "missing"}
    asked = {"images": {PAUSE: {**ASKED, "registry": ""}, RUNNER: refused}}
    found = images.problems([MAIN, PAUSE, RUNNER], {**HOST, "version": "2.3.0", "lacks": [PAUSE, RUNNER]}, [], asked)
    assert found == [
        f"it lacks {RUNNER}, which can't be pulled from Docker Hub (manifest unknown); expected it there. "
        "Check gpustack_registry and gpustack_runners, or bring the image as a file with gpustack_image_archives."
    ]
    # For one reason, once
    asked["images"][PAUSE] = refused
    (told,) = images.problems([MAIN, PAUSE, RUNNER], {**HOST, "version": "2.3.0", "lacks": [PAUSE, RUNNER]}, [], asked)
    assert told.startswith(f"it lacks {PAUSE}, {RUNNER}, which can't be pulled from Docker Hub (manifest unknown); expected it there.")
    asked["images"][PAUSE] = {**ASKED, "registry": ""}
    asked["images"][RUNNER] = {**ASKED, "registry": "", "architectures": ["amd64"]}
    (told,) = images.problems([MAIN, PAUSE, RUNNER], {**HOST, "version": "2.3.0", "lacks": [PAUSE, RUNNER]}, [], asked)
    assert told.endswith("expected arm64, the host's processor. Bring one for it with gpustack_image_archives.")


def test_images_of_a_stack_are_on_the_host_or_in_an_archive():
    held, unread = {"images": {"haproxy:2.6": []}}, {"msg": "/a.tar does not exist."}
    assert image.stack_image_problems(["haproxy:2.6"], [held]) == []
    (told,) = image.stack_image_problems(["haproxy:2.6", "vllm:1"], [held])
    assert told.startswith("Docker lacks vllm:1; expected every image of the stack on its host")
    assert image.stack_image_problems(["vllm:1"], [unread]) == ["/a.tar does not exist"]
    # The store is yet to be mounted, and nobody can look there.
    assert image.stack_image_problems(["vllm:1"], [{"skipped": True}]) == []
