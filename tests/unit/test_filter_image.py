"""What is said of an image that a host lacks, or that its NPUs can't use."""

from __future__ import annotations

import pytest
from ansible_collections.ascend.gpustack.plugins.filter import image

NAME = "r:5000/gpustack/gpustack:v0.7.1-npu"
HOST = {"chip": "910B4", "machine": "aarch64", "version": "0.7.1"}
ASKED = {"available": True, "architectures": ["arm64"], "registry": "r:5000", "error": None, "kind": None}


@pytest.mark.parametrize("chip, end", [("910B4", "-npu"), ("310P3", "-npu-310p"), ("", "-npu"), ("910ProB", "-npu")])
def test_image_follows_the_chip(chip, end):
    assert image.image_variant(chip) == end


def test_image_that_can_be_had_is_no_problem():
    assert image.image_problems(NAME, HOST, {}, ASKED) == image.image_problems(NAME, {**HOST, "chip": ""}, {}, {}) == []
    assert image.image_problems(NAME, HOST, {"path": "/a", "where": "", "exists": True, "images": {NAME: []}}, {}) == []
    # A store that is yet to be mounted, or a host that is told of elsewhere
    for unknown in ({"skipped": True}, {"unreachable": True}, {"exists": False, "images": {}}):
        assert image.image_problems(NAME, HOST, {"path": "/a", "where": "", **unknown}, {}) == []


def test_image_for_other_chips_is_refused_by_name():
    assert image.image_problems(NAME, {**HOST, "chip": "310P3"}, {}, {}) == [
        "its NPUs are 310P3, and r:5000/gpustack/gpustack:v0.7.1-npu has engines for 910B; expected "
        "r:5000/gpustack/gpustack:v0.7.1-npu-310p. Set gpustack_image to that, or remove it."
    ]
    assert "has images for 910B and 310P alone" in image.image_problems(NAME, {**HOST, "chip": "910ProB"}, {}, {})[0]
    # Of an image of another name nothing is known.
    assert image.image_problems("r:5000/own:1", {**HOST, "chip": "310P3"}, {}, {}) == []


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
    assert image.image_problems(NAME, HOST, {}, {**ASKED, **answer}) == [told]


def test_archive_without_the_image_is_told():
    archive = {"path": "/a.tar", "where": "the controller"}
    assert image.image_problems(NAME, HOST, {**archive, "msg": "/a.tar does not exist."}, {}) == ["the controller: /a.tar does not exist."]
    (told,) = image.image_problems(NAME, HOST, {**archive, "exists": True, "images": {"x:1": []}}, {})
    assert told.startswith(f"/a.tar on the controller holds x:1; expected {NAME}. Set gpustack_image")


def test_failure_has_the_remedy_for_just_that():
    assert image.image_failure({"error": "no end within 9 s", "kind": "time"}, "a1", NAME, "") == (
        f"a1: {NAME} could not be pulled from r:5000: no end within 9 s. Raise gpustack_image_timeout if it only needs longer, or bring "
        "the image as a file with gpustack_image_archive."
    )
    told = image.image_failure({"error": "no space left on device", "kind": "disk"}, "a1", NAME, "/a.tar")
    assert "could not be loaded from /a.tar: no space left on device. Make room" in told
    assert "module crashed" in image.image_failure({"msg": "module crashed"}, "a1", NAME, "")


def test_images_of_a_stack_are_on_the_host_or_in_an_archive():
    held, unread = {"images": {"haproxy:2.6": []}}, {"msg": "/a.tar does not exist."}
    assert image.stack_image_problems(["haproxy:2.6"], [held]) == []
    (told,) = image.stack_image_problems(["haproxy:2.6", "vllm:1"], [held])
    assert told.startswith("Docker lacks vllm:1; expected every image of the stack on its host")
    assert image.stack_image_problems(["vllm:1"], [unread]) == ["/a.tar does not exist"]
    # The store is yet to be mounted, and nobody can look there.
    assert image.stack_image_problems(["vllm:1"], [{"skipped": True}]) == []
