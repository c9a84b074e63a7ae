# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of upgrades. Pure functions; each is documented in its .yml."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.plugin_utils import upgrade


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict:
        return {
            "rises": upgrade.rises,
            "upgrade_plan": upgrade.plan,
            "left_behind": upgrade.left_behind,
            "early_refusals": upgrade.early_refusals,
            "upgrade_batches": upgrade.batches,
            "upgrades_failed": upgrade.stopped_by,
            "rollback_plan": upgrade.rollback,
        }
