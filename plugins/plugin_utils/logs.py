# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a container's output where the inventory does not say it."""

from __future__ import annotations

from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.docker.logs import UNLIMITED

# Some 300 MB, which is days of GPUStack's own output
BOUND = {"max-size": "100m", "max-file": "3"}


def definition(options: dict, logs: dict | None) -> dict[str, Any]:
    """The log driver and its options for a container that is made anew, bounded where Docker would write without end; with `comparisons`,
    by which a container that has others stays as it is. options: gpustack_container_options; logs: gpustack_host_info's."""
    engine = logs or {}
    driver = options.get("log_driver") or engine.get("driver")
    if not driver:
        return {}
    free = {} if options.get("log_driver") else {"log_driver": "ignore"}
    if "log_options" in options:
        # Docker's module takes no options without their driver.
        return {"log_driver": driver, "comparisons": free} if free else {}
    if driver != UNLIMITED or (driver == engine.get("driver") and engine.get("max_size")):
        return {}
    return {"log_driver": driver, "log_options": dict(BOUND), "comparisons": {**free, "log_options": "ignore"}}


def of_stack(hosts: list[str]) -> dict[str, Any]:
    """What bounds the logs of a stack's new services; nothing where a host has another driver, which then has all of them. hosts: of each
    its driver and how large a file of it may become, `none` where nothing says it; empty where that is not known."""
    known = [host.split() for host in hosts if host]
    endless = [UNLIMITED, "none"] in known and all(driver == UNLIMITED for driver, _size in known)
    return {"logging": {"driver": UNLIMITED, "options": dict(BOUND)}} if endless else {}
