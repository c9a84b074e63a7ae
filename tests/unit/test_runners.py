"""Which engines a driver can carry: held to the lists of GPUStack's own package, of which samples/runners has what concerns CANN."""

from __future__ import annotations

import pathlib
import re

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.v2_runners import RUNNERS
from ansible_collections.ascend.gpustack.plugins.plugin_utils import runners
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight import engines
from shared import PAGES, ROOT

# By GPUStack's versions, which require just these of gpustack-runner
SAMPLES = pathlib.Path(__file__).parent / "samples/runners"
LISTS = {(2, 3): "gpustack-runner-0.1.31.post4.txt", (2, 2): "gpustack-runner-0.1.27.post4.txt"}
TAG = re.compile(r"cann([\d.]+)-(\w+)-([a-z]+)(\S+)")


def natural(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|[a-z]+", text)]


def newest(name: str) -> set[str]:
    """Of each engine for each CANN and kind of chips, on servers with Arm processors."""
    found: dict[tuple, list[str]] = {}
    for line in (SAMPLES / name).read_text().splitlines():
        tag, *told = line.split()
        match = TAG.fullmatch(tag)
        assert match
        if "arm64" in told and "deprecated" not in told:
            found.setdefault(match.groups()[:3], []).append(tag)
    return {max(tags, key=natural) for tags in found.values()}


@pytest.mark.parametrize("series", LISTS)
def test_the_table_is_that_of_the_package(series):
    assert set(RUNNERS.newest[series]) == newest(LISTS[series])
    assert {match[1] for tag in RUNNERS.newest[series] if (match := TAG.fullmatch(tag))} <= set(dict(RUNNERS.drivers))
    # Newest CANN first
    order = [natural(match[1]) for tag in RUNNERS.newest[series] if (match := TAG.fullmatch(tag))]
    assert order == sorted(order, reverse=True)


@pytest.mark.parametrize(
    ("driver", "cann", "of_2_3", "of_2_2"),
    [
        ("24.1.rc1", "", None, None),
        ("24.1.rc2", "8.2", "cann8.2-910b-vllm0.10.2", "cann8.2-910b-vllm0.10.2"),
        ("24.1.1", "8.2", "cann8.2-910b-vllm0.10.2", "cann8.2-910b-vllm0.10.2"),
        ("25.0.rc1.1", "9.0", "cann9.0-910b-vllm0.20.2", "cann9.0-910b-vllm0.20.2"),
        ("25.2.0", "9.1", "cann9.1-910b-vllm0.30.0", "cann9.0-910b-vllm0.20.2"),
        ("25.3.rc1", "9.2", "cann9.2-910b-vllm0.30.0", "cann9.0-910b-vllm0.20.2"),
        ("26.0.rc1", "9.2", "cann9.2-910b-vllm0.30.0", "cann9.0-910b-vllm0.20.2"),
        ("", "", None, None),
        ("unknown", "", None, None),
        ("24.1.t52.b060", "", None, None),
        ("25.0.t52.b060", "9.0", "cann9.0-910b-vllm0.20.2", "cann9.0-910b-vllm0.20.2"),
    ],
)
def test_a_driver_carries_so_much(driver, cann, of_2_3, of_2_2):
    assert runners.newest_cann(RUNNERS, driver) == cann
    if of_2_3:
        assert runners.runner(RUNNERS, "2.3.0", "910B4", cann) == of_2_3
        assert runners.runner(RUNNERS, "2.2.3", "910B4", cann) == of_2_2


@pytest.mark.parametrize(
    ("chip", "tag"),
    [
        ("910B4-1", "cann9.2-910b-vllm0.30.0"),
        ("Ascend910", "cann9.2-a3-vllm0.30.0"),
        ("310P3", "cann9.2-310p-vllm0.30.0"),
        ("Ascend950PR", "cann9.2-950-vllm0.30.0"),
        ("910ProB", ""),
        ("", ""),
    ],
)
def test_runners_follow_the_chips(chip, tag):
    assert runners.runner(RUNNERS, "2.3.1", chip) == tag


def warned(driver: str, given: tuple[str, ...] = (), **more: str) -> list[str]:
    expect = {"gpustack_version": "2.3.0", "cluster": "gpustack", "runners": list(given), **more}
    found = engines.CHECKS.run({"chips": [{"name": "910B4"}], "driver_version": driver}, expect)
    assert {item.result for item in found} <= {"warn", "pass"}
    return [item.sentence for item in found if item.result == "warn"]


def test_preflight_names_the_newest_engine_that_the_driver_carries():
    assert warned("24.1.rc2") == [
        "the driver is 24.1.rc2, which is listed for CANN 8.2 at most, and GPUStack 2.3.0's newest engine is cann9.2-910b-vllm0.30.0; "
        "a model without a version gets cann8.2-910b-vllm0.10.2. "
        "That needs nothing; gpustack_runners: [cann8.2-910b-vllm0.10.2] brings its image to the workers beforehand."
    ]
    (told,) = warned("25.2.0", ("cann9.1-910b-vllm0.30.0",))
    assert told.endswith("a model without a version gets cann9.1-910b-vllm0.30.0. Upgrade the Ascend driver and firmware for newer ones.")
    assert warned("25.5.0") == warned("24.1.rc2", gpustack_version="0.7.1") == warned("24.1.rc2", cluster="swarm") == []
    # Told as driver_version
    assert warned("23.0.7") == warned("") == []


def test_preflight_names_a_runner_that_the_driver_does_not_carry():
    first, _default = warned("25.2.0", ("cann9.2-910b-vllm0.30.0", "cann8.5-910b-mindie2.3.0", "own-build"))
    assert first == (
        "gpustack_runners names cann9.2-910b-vllm0.30.0, which needs the driver 25.3 or newer, and the driver is 25.2.0. "
        "Name cann9.1-910b-vllm0.30.0, the newest that it carries."
    )


@pytest.mark.parametrize("language", PAGES)
def test_documentation_names_the_newest_engine_that_each_driver_carries(language):
    text = (ROOT / "docs" / language / "versions.md").read_text()
    rows = re.findall(r"^\| (\S+) \| (\d+\.\d+) \| `(\S+)` \| `(\S+)` \|$", text, flags=re.M)
    # Of a driver that more than one CANN is listed for, the newest
    carried = {driver: cann for cann, driver in RUNNERS.drivers}
    expected = [
        (driver, cann, *(runners.runner(RUNNERS, version, "910B4", cann) for version in ("2.3.0", "2.2.3")))
        for driver, cann in carried.items()
    ]
    assert rows == expected
