# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the GPUStack that is to run on a host may take the place of what runs there, or of what has left its data."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.version import relation
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Finding


def undeployed(wanted: str) -> list[Finding]:
    """Of a gpustack_version that no generation of the collection deploys."""
    refused = generation.refusal(wanted)
    return [Finding("version", "fail", *refused)] if refused else []


def findings(host: dict, expect: dict) -> list[Finding]:
    wanted, present = expect["gpustack_version"], host["container"] or {}
    if undeployed(wanted):
        return undeployed(wanted)
    # Of one that was made by hand the takeover tells.
    before = present["version"] if present.get("managed") else None
    found = _of_another(host, expect, before) if before else _left_by_another(host, expect)
    return found or _newer_one(expect, before) or [Finding("version", "pass")]


def _of_another(host: dict, expect: dict, before: str) -> list[Finding]:
    """Of a container whose data the one to come does not take; where that gets a volume that is yet to be made, there are none."""
    wanted, runs = expect["gpustack_version"], f"the container {expect['container']} runs GPUStack {before}"
    if generation.apart(before, wanted):
        text = f"{runs}, whose data GPUStack {wanted} does not take; expected a gpustack_version of its generation"
        return [] if (host["data"] or {}).get("exists") is False else [Finding("version", "fail", text, _keeping(before, wanted))]
    if relation(before, wanted) == "newer":
        text = f"{runs}, newer than gpustack_version {wanted}; its database cannot go back"
        return [Finding("version", "fail", text, f"Set gpustack_version to {before} or newer.")]
    return []


def _keeping(before: str, wanted: str) -> str:
    return f"Set gpustack_version: {before} to keep it, or gpustack_data_volume to a new one to begin anew with {wanted}."


def _left_by_another(host: dict, expect: dict) -> list[Finding]:
    """Of data without a container: whether another generation alone has left its cluster there."""
    left, wanted = set((host["data"] or {}).get("cluster") or ()), generation.assumed(expect["gpustack_version"])
    makers = [each for each in generation.DEPLOYED if left & generation.marks(each)]
    if not makers or wanted in makers:
        return []
    text = f"the data {host['data']['name']} holds a cluster of GPUStack {makers[0].name}, which {expect['gpustack_version']} does not take"
    return [Finding("version", "fail", text, _keeping(makers[0].release, expect["gpustack_version"]))]


def _newer_one(expect: dict, before: str | None) -> list[Finding]:
    """What runs stays where the inventory asks for no version."""
    usual = generation.DEFAULT
    if expect["version_asked"] or not before or relation(before, usual.release) != "older":
        return []
    text = f"the container {expect['container']} runs GPUStack {before}, which stays, since gpustack_version is not set"
    keep = f"{usual.release} is what new clusters get. Set gpustack_version: {before} to keep it"
    if generation.assumed(before) is usual:
        return [Finding("version", "warn", text, f"{keep}, or {usual.release} to upgrade it; its data is copied first.")]
    return [Finding("version", "warn", text, f"{keep}, or {usual.release} with a new gpustack_data_volume to begin anew with that.")]
