# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the preflight: what was read of a host, judged; and the findings of all hosts, put together."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.plugin_utils.cluster import addresses
from ansible_collections.ascend.gpustack.plugins.plugin_utils.ports import firewall_access, listening_ports, open_ports, port_settings
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.cluster import firewall_probes, swarm_groups_problems
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.host import host_findings
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.npu import usable_npus
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.report import preflight_summary


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict:
        return {
            function.__name__: function
            for function in (
                usable_npus,
                host_findings,
                addresses,
                firewall_access,
                firewall_probes,
                listening_ports,
                port_settings,
                open_ports,
                preflight_summary,
                swarm_groups_problems,
            )
        }
