# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that hold GPUStack's records against the inventory and against earlier ones; each is documented in its .yml."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.plugin_utils import command_line, records


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict:
        return {
            "lost_records": records.loss,
            "stale_worker": records.stale_worker,
            "stale_refusal": records.stale_refusal,
            "old_workers": records.old_workers,
            "old_worker_lines": records.old_worker_lines,
            "command_to_run": command_line.playbook,
        }
