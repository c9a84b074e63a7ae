# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that chooses the Swarm which hosts join; documented in its .yml."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.plugin_utils.swarm import swarm_to_join


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict:
        return {"swarm_to_join": swarm_to_join}
