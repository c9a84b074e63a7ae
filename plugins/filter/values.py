# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters that judge what users have set, of all hosts at once, before any of them is asked; each is documented in its .yml."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.report import value_problems, value_refusals


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict:
        return {"value_problems": value_problems, "value_refusals": value_refusals}
