# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's NPUs are known by: chips, their processes, the table that lists them, and what is wrong with it.

Unknown is None, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

HEALTH = ("OK", "Warning", "Alarm", "Critical", "UNKNOWN")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: kind is a stable word for programs, message a sentence with its remedy."""

    kind: str
    message: str
    npu_id: int | None = None


@dataclass(frozen=True)
class Process:
    """A process on a chip, memory in MB. name is None where the tool ran in a container and can't see it."""

    pid: int
    name: str | None
    memory_mb: float | None
    container_pid: int | None = None


@dataclass
class Chip:
    """One chip; on A3, one die. Memory in MB, temperature in °C, power in W. Every field but npu_id can be None:
    not printed for this product, or not readable.

    memory_* is what models live in: HBM where the chip has it, else DDR. ddr_* is the DDR, beside HBM or alone.
    """

    npu_id: int
    chip_id: int | None = None
    logic_id: int | None = None
    phy_id: int | None = None
    name: str | None = None
    health: str = "UNKNOWN"
    bus_id: str | None = None
    memory_kind: str | None = None
    memory_total_mb: int | None = None
    memory_used_mb: int | None = None
    ddr_total_mb: int | None = None
    ddr_used_mb: int | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    aicore_percent: float | None = None
    device: str | None = None
    usable: bool = False
    processes: list[Process] = field(default_factory=list)

    @property
    def label(self) -> str:
        return f"NPU {self.npu_id}" if self.chip_id in (None, 0) else f"NPU {self.npu_id} chip {self.chip_id}"


@dataclass
class InfoTable:
    """chips in the order of the table. findings make the answer untrustworthy; notes (lines before and after
    the table) don't. idle_npus are those that the tool says run no process. second_id is the header's word for
    the second number of a chip: Phy-ID on A3, Device (the logic id) on 310, 310P and 310B, None on all others."""

    tool_version: str | None = None
    driver_version: str | None = None
    second_id: str | None = None
    chips: list[Chip] = field(default_factory=list)
    idle_npus: list[int] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the list of chips is whole as far as the table shows it."""
        return not any(finding.kind in ("table_unreadable", "table_incomplete") for finding in self.findings)
