# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings about the engines that a worker's driver can carry, where models run in images of their own."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Runners
from ansible_collections.ascend.gpustack.plugins.plugin_utils import runners
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Checks, Finding

CHECKS = Checks()


@CHECKS.add(runners="whether the driver can carry the engines of `gpustack_runners`, and those that models get by default")
def _runners(npu: dict, expect: dict) -> list[Finding]:
    table, driver = generation.assumed(expect["gpustack_version"]).runners, str(npu.get("driver_version") or "")
    if table is None or expect["cluster"] != "gpustack" or not npu.get("chips"):
        return []
    cann = runners.newest_cann(table, driver)
    # Of a driver that is too old for all of them, or that nobody knows, driver_version tells.
    if not cann:
        return []
    chip = str(npu["chips"][0]["name"])
    newest, carried = (runners.runner(table, expect["gpustack_version"], chip, limit) for limit in ("", cann))
    given = [str(tag) for tag in expect["runners"]]
    found = [_too_new(table, tag, driver, carried) for tag in given if not runners.carries(table, tag, driver)]
    if newest != carried:
        found.append(_default(newest, carried, cann, driver, expect["gpustack_version"], carried in given))
    return found or [Finding("runners", "pass")]


def _too_new(table: Runners, tag: str, driver: str, carried: str) -> Finding:
    text = f"gpustack_runners names {tag}, which needs the driver {runners.oldest_driver(table, tag)} or newer, and the driver is {driver}"
    remedy = f"Name {carried}, the newest that it carries." if carried else "Upgrade the Ascend driver and firmware."
    return Finding("runners", "warn", text, remedy)


def _default(newest: str, carried: str, cann: str, driver: str, version: str, given: bool) -> Finding:
    """A model that names no version would get the newest runner, and gets the newest that the driver carries, since GPUStack is told."""
    text = f"the driver is {driver}, which is listed for CANN {cann} at most, and GPUStack {version}'s newest engine is {newest}"
    text += f"; a model without a version gets {carried}" if carried else "; it has none for this driver"
    lacking = carried and not given
    remedy = "Upgrade the Ascend driver and firmware for newer ones."
    if lacking:
        remedy = f"That needs nothing; gpustack_runners: [{carried}] brings its image to the workers beforehand."
    return Finding("runners", "warn", text, remedy)
