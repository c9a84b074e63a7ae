# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the GPUStack that is to run on a host may take the place of what runs there, or of what has left its data."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation, upgrade_state
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
    upgrade = (host["data"] or {}).get("upgrade") or {}
    if upgrade.get("state") in (upgrade_state.BEGUN, upgrade_state.KEPT, upgrade_state.RETURNING):
        return _cut_off(upgrade, wanted)
    # Of one that was made by hand the takeover tells.
    before = present["version"] if present.get("managed") else None
    found = _of_another(host, expect, before) if before else _left_by_another(host, expect)
    return found or _taken_back(upgrade, expect) or _newer_one(expect, before) or [Finding("version", "pass")]


def _cut_off(upgrade: dict, wanted: str) -> list[Finding]:
    """Of an upgrade, or a rollback, that did not come to its end."""
    if upgrade["state"] == upgrade_state.RETURNING:
        text = f"the rollback to GPUStack {upgrade['before']} was cut off; expected one that came to its end"
        return [Finding("version", "fail", text, "Run the playbook rollback again.")]
    # Of one that was cut off before it was written down what it is, the next begins by putting back what was there.
    if upgrade["wanted"] in ("", wanted):
        return [Finding("version", "pass")]
    text = f"the upgrade to GPUStack {upgrade['wanted']} was cut off, and gpustack_version is {wanted}; expected that of the upgrade"
    return [Finding("version", "fail", text, f"Set gpustack_version: {upgrade['wanted']}; the playbook rollback takes it back afterwards.")]


def _taken_back(upgrade: dict, expect: dict) -> list[Finding]:
    """Of the server's own steps; in a run of all hosts the one before the images tells. Workers follow their server. expect: `upgrading`,
    whether the playbook upgrade asks."""
    if expect.get("upgrading", True) or not expect["server"] or not upgrade_state.is_taken_back(upgrade, expect["gpustack_version"]):
        return []
    text = f"GPUStack {upgrade['wanted']} was taken back here to {upgrade['before']}, and gpustack_version asks for it"
    return [Finding("version", "fail", text, f"Set gpustack_version: {upgrade['before']}, or run the playbook upgrade to try it again.")]


def _of_another(host: dict, expect: dict, before: str) -> list[Finding]:
    """Of a container whose data the one to come does not take; where that gets a volume that is yet to be made, there are none."""
    wanted, runs = expect["gpustack_version"], f"the container {expect['container']} runs GPUStack {before}"
    if generation.apart(before, wanted):
        text = f"{runs}, whose data GPUStack {wanted} does not take; expected a gpustack_version of its generation"
        if (host["data"] or {}).get("exists") is False or (expect.get("migrate") and generation.migrates(before, wanted)):
            return []
        return [Finding("version", "fail", text, _keeping(before, wanted))]
    if relation(before, wanted) == "newer":
        text = f"{runs}, newer than gpustack_version {wanted}; its database cannot go back"
        back = (host["data"] or {}).get("upgrade") or {}
        rollback = f", or go back to {back['before']} with the playbook rollback" if back.get("state") == upgrade_state.DONE else ""
        return [Finding("version", "fail", text, f"Set gpustack_version to {before} or newer{rollback}.")]
    return []


def _keeping(before: str, wanted: str) -> str:
    along = "gpustack_upgrade_migrate: true to take its data along, " if generation.migrates(before, wanted) else ""
    return f"Set gpustack_version: {before} to keep it, {along}or gpustack_data_volume to a new one to begin anew with {wanted}."


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
    migrates = generation.migrates(before, usual.release)
    along = f", {usual.release} with gpustack_upgrade_migrate: true to take its data along" if migrates else ""
    return [Finding("version", "warn", text, f"{keep}{along}, or {usual.release} with a new gpustack_data_volume to begin anew with that.")]
