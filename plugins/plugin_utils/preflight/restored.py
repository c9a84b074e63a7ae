# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings about what a restore of the server leaves: one that was cut off, and a server that is none any more."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Checks, Finding

CHECKS = Checks()


@CHECKS.add(restore="whether a restore was cut off there, or the host still is the server whose place another one took")
def findings(host: dict, expect: dict) -> list[Finding]:
    """expect: `container`, `node`, `cluster` and `server`; `restoring`, whether a restore is what asks."""
    if not expect["node"] or expect["cluster"] != "gpustack":
        return []
    data, container, found = host.get("data") or {}, host["container"] or {}, []
    if data.get("restoring") and not expect.get("restoring"):
        text = f"a restore of {data['name']} was cut off; expected one that came to its end"
        found.append(Finding("restore", "fail", text, "Run the playbook restore again, which begins by putting back what was there."))
    if not expect["server"] and container.get("managed") and (host.get("config") or {}).get("joins") is False:
        name = expect["container"]
        text = f"the container {name} is a server, and the inventory has another host for it; expected a worker"
        remedy = f"Once the other one serves what this one did, run on it:\n  docker rm -f {name}"
        found.append(Finding("restore", "fail", text, remedy))
    return found or [Finding("restore", "pass")]
