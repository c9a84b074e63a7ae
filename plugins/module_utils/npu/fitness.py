# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an NPU is fit for work: one answer for the host, which knows no inventory, and for whoever plans with its NPUs.

A chip is a mapping as npu_info returns it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def is_described(chip: Mapping[str, Any]) -> bool:
    """A chip of which npu-smi could not tell name or memory is not one to rely on, whatever its health says."""
    return chip["name"] is not None and chip["memory_total_mb"] is not None


def name(chip: Mapping[str, Any]) -> str:
    """As Chip.label."""
    return f"NPU {chip['npu_id']} chip {chip['chip_id']}" if chip.get("chip_id") else f"NPU {chip['npu_id']}"


def ill(chip: Mapping[str, Any], accept: Collection[str] = ("OK",)) -> list[str]:
    """What npu-smi's table says against a chip, whose health is to be one of accept."""
    label = name(chip)
    reasons = [] if chip["health"] in accept else [f"{label} health is {chip['health']} (npu-smi info -t health -i {chip['npu_id']})"]
    return reasons + ([] if is_described(chip) else [f"{label} is not described whole by npu-smi"])


def unfit(chip: Mapping[str, Any], accept: Collection[str] = ("OK",)) -> list[str]:
    """Why a chip can't be given to a container; none when it can."""
    return ill(chip, accept) + ([] if chip["device"] else [f"{name(chip)} has no device node"])
