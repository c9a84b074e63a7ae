# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings about the zones of firewalld that Docker's bridges are in."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.module_utils.host.firewalld import DOCKER_ZONE
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Checks, Finding

CHECKS = Checks()


@CHECKS.add()
def _bridges(host: dict, expect: dict) -> list[Finding]:
    """Bridges that Docker fails to take into its zone when it starts: at a restart that the playbooks make for a Swarm and may make with
    `configure`, or when the host starts. Of the default one it dies then."""
    if expect["firewall"] == "disable":
        return []
    strayed = host.get("docker_bridges") or []
    here = [each["interface"] for each in strayed if each["in_force"]]
    return [_finding(each, expect) for each in strayed if each["in_force"] or each["interface"] not in here]


def _finding(bridge: dict, expect: dict) -> Finding:
    name, zone, in_force = bridge["interface"], bridge["zone"], bridge["in_force"]
    swarm = expect["cluster"] == "swarm"
    fails = in_force and (swarm or (bridge["default"] and expect["firewall"] == "configure"))
    where = "firewalld" if in_force else "firewalld's permanent configuration"
    otherwise = "Docker does not start again" if bridge["default"] else "its network is not there after Docker's next start"
    text = f"{where} has {name} in the zone {zone}; expected it in {DOCKER_ZONE}, or {otherwise} (ZONE_CONFLICT)"
    remove = f"--zone={zone} --remove-interface={name}"
    now = f"; firewall-cmd --zone={DOCKER_ZONE} --change-interface={name} || firewall-cmd {remove}" if in_force else ""
    return Finding("firewall", "fail" if fails else "warn", text, f"Run there:\n  firewall-cmd --permanent {remove}{now}")
