"""Which generation a version belongs to, and that nothing but a generation's own room knows what differs between generations."""

from __future__ import annotations

import pathlib
import re

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation, version

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What tells one generation from another: numbers of versions, paths of GPUStack's API, ends of the tags of its images, nodes of devices
TELLS = re.compile(r"(?<![\d.])0\.7(?!\d)|(?<![\d.])2\.[23](\.\d)?(?![\d.%])|\(0, 7\)|/v[12]/|-npu(?!\w)|/dev/\w*_npu|:npu:")
ROOMS = {f"plugins/module_utils/gpustack/{name}.py" for name in ("v0_7", "v0_7_models", "v2", "v2_models", "v2_runners")}
# Lines that look like it and are none: a runtime of this collection's own, the path of a registry, and OpenAI's API.
OTHERS = {
    "plugins/module_utils/docker/daemon.py": ['RUNTIME = "gpustack-npu"'],
    "plugins/module_utils/docker/images.py": ['DOCKER_HUB = "https://index.docker.io/v1/"'],
    "plugins/module_utils/weights/hub.py": ["/api/v1/models/{quote(self._model)}/repo"],
    "plugins/filter/vllm_gateway.py": ["{{ path /v1/models }}", "GET /v1/models or POST below /v1/"],
    "plugins/filter/gateway_config.yml": ["C(/v1/models)"],
}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("0.7.1", (0, 7, 1, "z", 0)),
        ("v0.7.1", (0, 7, 1, "z", 0)),
        ("0.7.1+local", (0, 7, 1, "z", 0)),
        ("0.7.1rc2", (0, 7, 1, "rc", 2)),
        ("2.3.0.post1", (2, 3, 0, "z", 0)),
        ("0.0.0", None),
        ("latest", None),
        ("0.7", None),
        ("gpustack 0.7.1", None),
        (None, None),
    ],
)
def test_a_version_has_one_key(text, key):
    assert version.version_key(text) == key


def test_a_release_comes_after_its_candidates():
    assert version.relation("0.7.1rc2", "0.7.1") == "older"
    assert version.relation("0.7.1+local", "0.7.1") == "equal"
    assert version.relation("0.0.0", "0.7.1") == version.relation("0.7.1", "latest") == "unknown"


@pytest.mark.parametrize("text", ["0.7.0", "v0.7.1", "0.7.1rc2", "0.7.1+local", "0.7.12.post1"])
def test_versions_of_a_generation_are_its_own(text):
    assert generation.of(text).name == "0.7"
    assert generation.refusal(text) is None


@pytest.mark.parametrize("text", ["2.2.3", "2.2.3.post1", "2.3.0", "v2.3.0", "2.3.7", "2.3.0+local"])
def test_2_2_3_and_all_of_2_3_are_one_generation(text):
    assert generation.of(text).name == "2.3"
    assert generation.refusal(text) is None


GETS_ON = "gets on with it, since GPUStack takes older data along when it starts."


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("latest", "Set gpustack_version to 0.7.1 or 2.3.0."),
        ("0.0.0", "Set gpustack_version to 0.7.1 or 2.3.0."),
        ("", "Set gpustack_version to 0.7.1 or 2.3.0."),
        ("0.7", "Set gpustack_version to 0.7.1 or 2.3.0."),
        ("1.0.0", "Set gpustack_version to 0.7.1 or 2.3.0."),
        ("0.6.2", f"Set gpustack_version to 0.7.1; a cluster of 0.6.2 {GETS_ON}"),
        ("0.70.1", "Set gpustack_version to 0.7.1 for a new cluster; leave one of 0.70.1 as it is, since its data cannot go back."),
        ("2.0.3", f"Set gpustack_version to 2.3.0; a cluster of 2.0.3 {GETS_ON}"),
        ("2.2.2", f"Set gpustack_version to 2.3.0; a cluster of 2.2.2 {GETS_ON}"),
        ("2.2.4", f"Set gpustack_version to 2.3.0; a cluster of 2.2.4 {GETS_ON}"),
        ("2.2.3rc1", "Set gpustack_version to 2.2.3, of which this is a candidate."),
        ("2.3.0rc2", "Set gpustack_version to 2.3.0, of which this is a candidate."),
        ("2.4.0", "Set gpustack_version to 2.3.0 for a new cluster; leave one of 2.4.0 as it is, since its data cannot go back."),
        ("2.4.0rc1", "Set gpustack_version to 2.3.0 for a new cluster; leave one of 2.4.0rc1 as it is, since its data cannot go back."),
    ],
)
def test_versions_of_no_generation_are_refused_and_judged_as_the_one_that_is_proposed(text, remedy):
    assert generation.refusal(text) == (f"gpustack_version is {text}; this collection deploys GPUStack 0.7, 2.2.3 and 2.3", remedy)
    assert generation.assumed(text).name == ("0.7" if "to 0.7.1;" in remedy or "to 0.7.1 for" in remedy else "2.3")


def test_an_image_follows_from_the_chip():
    ends = generation.of("0.7.1").image_end
    assert [ends(chip) for chip in ("910B4", "310P3", "", "910A")] == ["-npu", "-npu-310p", "-npu", "-npu"]
    assert [generation.DEFAULT.image_end(chip) for chip in ("910B4", "310P3", "")] == [""] * 3


def test_a_new_cluster_gets_the_newest_generation():
    assert (generation.DEFAULT.name, generation.DEFAULT.release) == ("2.3", "2.3.0")


@pytest.mark.parametrize(("told", "name"), [("0.7.1", "0.7"), ("0.6.2", "0.7"), ("", "0.7"), ("2.1.0", "2.3"), ("3.0.0", "2.3")])
def test_a_container_of_any_version_is_read_as_one_of_a_generation(told, name):
    assert generation.of_container(told).name == name


@pytest.mark.parametrize(
    ("told", "name"),
    [("v0.7.1", "0.7"), ("0.0.0", "0.7"), ("0.6.2", "0.7"), ("v2.3.0", "2.3"), ("2.0.3", "2.3"), ("3.0.0", None), ("dev", "0.7")],
)
def test_an_api_speaks_as_its_major_number_says(told, name):
    found = generation.speaking(told)
    assert (found and found.name) == name


def test_only_the_rooms_of_the_generations_know_what_differs_between_them():
    told, met = [], set()
    for path in sorted([*(ROOT / "roles").rglob("*"), *(ROOT / "plugins").rglob("*")]):
        name = str(path.relative_to(ROOT))
        if not path.is_file() or name in ROOMS or path.suffix == ".pyc":
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            others = {(name, text) for text in OTHERS.get(name, []) if text in line}
            met |= others
            if TELLS.search(line) and not others:
                told.append(f"{name}:{number}: {line.strip()}")
    assert told == []
    assert met == {(name, text) for name, texts in OTHERS.items() for text in texts}
