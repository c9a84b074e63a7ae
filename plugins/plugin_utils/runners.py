# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which engines an Ascend driver can carry: of CANN, the newest that it is listed for, and of GPUStack's runners, the newest with that."""

from __future__ import annotations

import re

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Runners
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.version import version_key
from ansible_collections.ascend.gpustack.plugins.module_utils.npu import kinds
from ansible_collections.ascend.gpustack.plugins.plugin_utils import drivers

_TAG = re.compile(r"cann(?P<cann>\d+\.\d+)-(?P<chip>\w+)-(?P<engine>[a-z]+)(?P<version>\S+)")


def newest_cann(table: Runners, driver: str) -> str:
    """The newest CANN of the table that a driver carries; empty where it is not known, or carries none."""
    carried = [cann for cann, oldest in table.drivers if drivers.reaches(driver, oldest)]
    return carried[-1] if carried else ""


def oldest_driver(table: Runners, tag: str) -> str:
    """The oldest driver that carries a runner; empty for one whose CANN is not in the table."""
    match = _TAG.fullmatch(tag)
    return dict(table.drivers).get(match["cann"], "") if match else ""


def carries(table: Runners, tag: str, driver: str) -> bool:
    """Whether a driver is listed for a runner; also of one whose CANN is not known, and of a driver that can't be compared."""
    oldest = oldest_driver(table, tag)
    return not oldest or drivers.order(driver, oldest) != -1


def runner(table: Runners, version: str, chip: str, cann: str = "") -> str:
    """The runner of the usual engine that a model without a version gets on such chips; with a CANN, the newest that is not newer. Empty
    where there is none, or nothing is known of the version or the chip."""
    for match in _rows(table, version, chip):
        if match["engine"] == table.usual and (not cann or _number(match["cann"]) <= _number(cann)):
            return match[0]
    return ""


def _rows(table: Runners, version: str, chip: str) -> list[re.Match[str]]:
    """The runners that a version of GPUStack has for such chips."""
    key, kind = version_key(version) or (), kinds.of_chip(chip).name
    tags = next((tags for series, tags in table.newest.items() if key[: len(series)] == series), ())
    return [match for match in map(_TAG.fullmatch, tags) if match and match["chip"] == kind]


def needed(table: Runners, version: str, chip: str, engine: str, wanted: str, driver: str) -> tuple[str, str]:
    """Of a version of an engine, the oldest driver that carries it, and the newest version that this driver carries; both empty where it
    carries it, or that can't be told. A version belongs to the oldest CANN whose newest one is not older."""
    rows = [(match["cann"], match["version"]) for match in _rows(table, version, chip) if match["engine"] == engine]
    rows.sort(key=lambda row: _number(row[0]))
    cann = next((cann for cann, newest in rows if _release(newest) >= _release(wanted)), "")
    oldest = dict(table.drivers).get(cann, "")
    if not oldest or drivers.order(driver, oldest) != -1:
        return "", ""
    carried = [newest for cann, newest in rows if drivers.reaches(driver, dict(table.drivers)[cann])]
    return oldest, carried[-1] if carried else ""


def _release(version: str) -> tuple[tuple[int, int], ...]:
    """0.20.2, 2.1.rc2, 0.5.12.post1: a candidate comes before its release, and what is after it behind it."""
    return tuple(({"rc": -1}.get(kind, 1 if kind else 0), int(number)) for kind, number in re.findall(r"([a-z]*)(\d+)", version))


def _number(cann: str) -> tuple[int, ...]:
    return tuple(map(int, cann.split(".")))
