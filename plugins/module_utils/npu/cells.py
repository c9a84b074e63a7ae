# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cells of a row in npu-smi's table say: a chip's two rows, and a process's.

What can't be read of a chip is told to find, and left unknown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Callable

from ansible_collections.ascend.gpustack.plugins.module_utils.npu.chip import HEALTH, Chip, Process
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.words import ABSENT, COMPARE, integer, number, quote

# Takes a finding's kind, message and NPU id.
Find = Callable[[str, str, int], None]
# What the tool prints for a chip that it could not ask.
NULL_BUS_ID = re.compile(r"0+:00:00\.0+")
_PAIR = r"([0-9]{1,9}|NA|-)\s*/\s*([0-9]{1,9}|NA|-)"
FIRST_VALUES = re.compile(rf"(\S+)\s+(\S+)(?:\s+{_PAIR})?")
SECOND_VALUES = re.compile(rf"(\S+)\s+{_PAIR}(?:\s+{_PAIR})?")


@dataclass
class FirstRow:
    """ids are the NPU's and the words of its name; health and values are cells as printed."""

    line_number: int
    line: str
    ids: list[str]
    health: str
    values: str


@dataclass
class ProcessRow:
    """chip_id is None where the process table has no column for it."""

    npu_id: int
    chip_id: int | None
    process: Process


def new_chip(row: FirstRow, find: Find) -> Chip:
    """The chip as far as its first row tells."""
    chip = Chip(int(row.ids[0]), name=" ".join(row.ids[1:]) or None, health=row.health)
    if row.health not in HEALTH:
        chip.health = "UNKNOWN"
        find(
            "chip_unreadable",
            f"The health of {chip.label} is {quote(row.health)}; expected one of "
            f"{', '.join(HEALTH)}. Check it with: npu-smi info -t health -i {chip.npu_id}.",
            chip.npu_id,
        )
    if chip.name is None:
        # The tool prints OK and an empty name for a chip that it could not ask.
        chip.health = "UNKNOWN"
        find(
            "chip_unreadable",
            f"npu-smi could not query {chip.label}: it prints no chip name, so its health "
            f"is not known. Check dmesg, and: npu-smi info -t health -i {chip.npu_id}.",
            chip.npu_id,
        )
    values = FIRST_VALUES.fullmatch(row.values)
    words = values.group(1, 2) if values else (None, None)
    chip.power_w, chip.temperature_c = number(words[0]), number(words[1])
    if any(number(word) is None and word not in ABSENT for word in words):
        _unreadable(chip, "power and temperature", row.values, find)
    return chip


def set_bus_id(chip: Chip, bus_id: str, find: Find) -> None:
    if NULL_BUS_ID.fullmatch(bus_id):
        find(
            "chip_unreadable",
            f"npu-smi could not read the PCI address of {chip.label} (it prints {bus_id}). Check it with: lspci -d 19e5:, and dmesg.",
            chip.npu_id,
        )
    elif bus_id not in ABSENT:
        chip.bus_id = bus_id


def set_memory(chip: Chip, values: str, has_hbm: bool, find: Find) -> None:
    """Read the last cell of the second row; has_hbm is whether the header names HBM."""
    words = SECOND_VALUES.fullmatch(values)
    if words is None or (words.group(4) is None) == has_hbm or (number(words.group(1)) is None and words.group(1) not in ABSENT):
        _unreadable(chip, "AI-core use and memory", values, find)
    if words is None:
        return
    chip.aicore_percent = number(words.group(1))
    chip.ddr_total_mb, chip.ddr_used_mb = _memory(words.group(2), words.group(3))
    hbm_total, hbm_used = _memory(words.group(4), words.group(5))
    if hbm_total is not None:
        chip.memory_kind, chip.memory_total_mb, chip.memory_used_mb = "HBM", hbm_total, hbm_used
    elif chip.ddr_total_mb is not None and not has_hbm:
        chip.memory_kind, chip.memory_total_mb, chip.memory_used_mb = "DDR", chip.ddr_total_mb, chip.ddr_used_mb
    else:
        find(
            "chip_unreadable",
            f"npu-smi prints no memory size for {chip.label}. Check it with: npu-smi info -t memory -i {chip.npu_id}.",
            chip.npu_id,
        )


def read_process(cells: list[str], id_count: int) -> ProcessRow | None:
    """The process of a row whose first cell holds id_count ids, or None where it can't be read."""
    words = cells[0].split()
    ids = [id_ for id_ in map(integer, words) if id_ is not None]
    if len(cells) < 4 or not len(ids) == len(words) == id_count:
        return None
    pid, memory = integer(cells[1]), number(cells[3])
    if pid is None or (memory is None and cells[3] not in ABSENT):
        return None
    container_pid = integer(cells[4]) if len(cells) > 4 else None
    process = Process(pid, cells[2] or None, memory, container_pid)
    return ProcessRow(ids[0], ids[1] if len(ids) > 1 else None, process)


def _memory(used: str | None, total: str | None) -> tuple[int | None, int | None]:
    """Total and used. The tool prints 0 / 0 for memory that the product doesn't have and for a failed query."""
    size = integer(total)
    return (size, integer(used)) if size else (None, None)


def _unreadable(chip: Chip, what: str, values: str, find: Find) -> None:
    text = f"The {what} of {chip.label} can't be read: {quote(values)}. {COMPARE}"
    find("chip_unreadable", text, chip.npu_id)
