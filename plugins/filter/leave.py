# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the playbooks drain, remove and rotate_token. Pure functions; each is documented in its .yml."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.plugin_utils import leave


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict:
        return {
            "leave_refusals": leave.refusals,
            "model_lines": leave.models,
            "stopping_models": leave.stopping,
            "drain_report": leave.drained,
            "removal_lines": leave.removal,
            "removal_report": leave.removed,
            "rotation_refusal": leave.rotation_refusal,
            "rotation_lines": leave.rotation,
            "outdated_lines": leave.outdated,
        }
