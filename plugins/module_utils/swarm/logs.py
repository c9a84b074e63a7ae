# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of the output of a stack's services."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def settled(compose: Mapping[str, Any], services: Mapping[str, Mapping[str, Any]], staying: Collection[str]) -> dict[str, Any]:
    """A compose file in which the services that stay as they are have the log driver that Swarm has for them, since another one would start
    all their containers anew. services: by name, as Docker describes them."""
    found = {name: dict(service) for name, service in (compose.get("services") or {}).items()}
    for name in staying:
        found[name].pop("logging", None)
        driver = services[name]["Spec"]["TaskTemplate"].get("LogDriver") or {}
        if driver:
            found[name]["logging"] = {"driver": driver.get("Name", ""), "options": driver.get("Options") or {}}
    return {**compose, "services": found}
