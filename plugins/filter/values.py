# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that judges what users have set, of all hosts at once, before any of them is asked; documented in its .yml."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.report import value_problems


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict:
        return {"value_problems": value_problems}
