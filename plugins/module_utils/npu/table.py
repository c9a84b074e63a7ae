# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the table that `npu-smi info` prints, in the layouts of npu-smi 1.8 to 26.1.

The words of the header tell the layouts apart, never widths or versions. A chip is two rows: the first has the
NPU id, name and health, the second the PCI bus id and memory. Whatever can't be read becomes a Finding; a chip is
counted only where its first row can be read, and once.
"""

from __future__ import annotations

import re

from ansible_collections.ascend.gpustack.plugins.module_utils.npu.cells import (
    FirstRow,
    ProcessRow,
    new_chip,
    read_process,
    set_bus_id,
    set_memory,
)
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.chip import Chip, Finding, InfoTable
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.fitness import ill
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.words import (
    ABSENT,
    COMPARE,
    INTEGER,
    LINE_LIMIT,
    TEXT_LIMIT,
    integer,
    lines_of,
    quote,
)

FINDING_LIMIT = 20
NOTE_LIMIT = 20
VERSION_ROW = re.compile(r"\bnpu-smi\s+(\S{1,40})\s+Version:\s*(\S{1,40})")
VERSION = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}(?:\.[0-9A-Za-z]{1,12}){0,4}")
BORDER = re.compile(r"\+[-=+]*")
BUS_ID = re.compile(r"[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f]{1,2}")
IDLE = re.compile(r"No running processes found in NPU\s+([0-9]{1,9})")


def parse_info(text: str) -> InfoTable:
    """Read the output of `npu-smi info`. Never raises, whatever the text is."""
    return _Reader().read(text)


def is_table(text: str) -> bool:
    """Whether text is the table, whole or damaged; the message of an error isn't."""
    return any(VERSION_ROW.search(line) or line.startswith("|") for line in lines_of(text))


class _Reader:
    """Goes through the lines once. The parts of the table in order: version, header, chips, processes."""

    def __init__(self) -> None:
        self.table = InfoTable()
        self.headers: set[str] = set()
        self.has_hbm = False
        self.columns: int | None = None
        self.waiting: FirstRow | None = None
        self.last_chip: Chip | None = None
        self.whole: dict[tuple[int, int | None], Chip] = {}
        # Chips whose second row never came, by identity.
        self.halves: set[int] = set()
        # The kinds ('=' or '-') of the border lines since the last row.
        self.borders: list[str] = []
        self.border_width = 0
        self.border_cut = False
        self.process_columns: int | None = None
        self.process_ids = 2
        self.process_rows: list[ProcessRow] = []
        self.stray: list[str] = []
        self.started = False
        self.left_out = 0

    def read(self, text: str) -> InfoTable:
        if len(text) > TEXT_LIMIT:
            self.find(
                "output_too_long",
                f"npu-smi info printed more than {TEXT_LIMIT} characters and the rest was not "
                "read: something else writes to its output. Run it on the host and look.",
            )
        for line_number, line in enumerate(lines_of(text), 1):
            if self.table.chips and VERSION_ROW.search(line):
                self.find(
                    "table_unreadable",
                    f"npu-smi info printed a second table in line {line_number}, which was not read. {COMPARE}",
                )
                break
            if line:
                self.line(line_number, line)
        self.end()
        return self.table

    def find(self, kind: str, message: str, npu_id: int | None = None) -> None:
        if len(self.table.findings) < FINDING_LIMIT:
            self.table.findings.append(Finding(kind, message, npu_id))
        else:
            self.left_out += 1

    def unreadable(self, line_number: int, line: str) -> None:
        self.find(
            "table_unreadable",
            f"Line {line_number} of npu-smi info can't be read: {quote(line)}. An NPU may be missing from the list. {COMPARE}",
        )

    def line(self, line_number: int, line: str) -> None:
        is_border = BORDER.fullmatch(line) is not None
        if not is_border and not line.startswith("|"):
            if "|" in line and not line.startswith("["):
                self.unreadable(line_number, line)
            elif self.started:
                self.stray.append(line)
            else:
                self.table.notes.append(line[:LINE_LIMIT])
            return
        self.started = True
        # Text after the table is harmless; text between its lines stands where a row should be.
        for text in self.stray:
            self.find(
                "table_unreadable",
                f"npu-smi info printed {quote(text)} inside its table. An NPU may be missing from the list. {COMPARE}",
            )
        self.stray = []
        if is_border:
            self.border(line)
        elif not line.endswith("|") or len(line) > LINE_LIMIT:
            self.borders = []
            self.unreadable(line_number, line)
        else:
            self.row(line_number, line, [cell.strip() for cell in line[1:-1].split("|")])

    def border(self, line: str) -> None:
        self.end_of_chip()
        self.borders.append("=" if "=" in line else "-")
        # Widths differ by a character within one table; one that is cut at a column is far shorter.
        self.border_cut = not line.endswith("+") or len(line) < 0.9 * self.border_width
        self.border_width = max(self.border_width, len(line))

    def row(self, line_number: int, line: str, cells: list[str]) -> None:
        version = VERSION_ROW.search(line)
        if version:
            self.version(version.group(1), version.group(2))
        elif any(cell.startswith("Process id") for cell in cells):
            self.start_processes(cells)
        elif self.process_columns is not None:
            self.process_row(line_number, line, cells)
        elif "Health" in cells:
            self.headers.add("Health")
            self.columns = len(cells)
        elif "Bus-Id" in cells:
            self.headers.add("Bus-Id")
            words = line.split()
            self.table.second_id = next((word for word in ("Phy-ID", "Device") if word in words), None)
            self.has_hbm = "HBM-Usage" in line
        else:
            self.chip_row(line_number, line, cells)
        self.borders = []

    def version(self, tool: str, driver: str) -> None:
        self.table.tool_version = tool if VERSION.fullmatch(tool) else None
        self.table.driver_version = driver if VERSION.fullmatch(driver) else None

    def chip_row(self, line_number: int, line: str, cells: list[str]) -> None:
        ids = " ".join(cells[:-2]).split()
        if len(cells) not in (3, 4) or (self.columns and len(cells) != self.columns):
            self.unreadable(line_number, line)
        elif BUS_ID.fullmatch(cells[-2]) or cells[-2] in ABSENT:
            self.second_row(line_number, line, ids, cells)
        elif cells[-2].isalnum() and ids and INTEGER.fullmatch(ids[0]):
            self.first_row(FirstRow(line_number, line, ids, cells[-2], cells[-1]))
        else:
            self.unreadable(line_number, line)

    def first_row(self, row: FirstRow) -> None:
        if self.waiting and self.waiting.line == row.line:
            self.find(
                "table_unreadable",
                f"Line {row.line_number} of npu-smi info repeats the one before it: {quote(row.line)}. It was counted once. {COMPARE}",
            )
            return
        self.end_of_chip()
        # A3 puts a plain line between the dies of one NPU: another NPU after it means that rows are gone.
        other_npu = self.last_chip is not None and str(self.last_chip.npu_id) != row.ids[0]
        torn = self.borders == ["-"] and self.table.second_id == "Phy-ID" and other_npu
        if len(self.borders) != 1 or torn:
            self.find(
                "table_incomplete",
                f"A row is missing before line {row.line_number} of npu-smi info, "
                f"{quote(row.line)}: an NPU may be missing from the list. {COMPARE}",
            )
        self.waiting = row

    def end_of_chip(self) -> None:
        """Count a chip whose second row never came, as far as it is known."""
        row, self.waiting = self.waiting, None
        if row is None:
            return
        chip = new_chip(row, self.find)
        self.find(
            "chip_unreadable",
            f"The second row of {chip.label} is missing after line {row.line_number} of "
            f"npu-smi info: its memory and bus id are not known. {COMPARE}",
            chip.npu_id,
        )
        self.halves.add(id(chip))
        self.table.chips.append(chip)

    def second_row(self, line_number: int, line: str, ids: list[str], cells: list[str]) -> None:
        row, self.waiting = self.waiting, None
        if row is None:
            self.find(
                "table_incomplete",
                f"Line {line_number} of npu-smi info, {quote(line)}, describes an NPU whose "
                f"first row is missing: it is not counted. {COMPARE}",
            )
            return
        chip = new_chip(row, self.find)
        self.set_ids(chip, line_number, line, ids)
        set_bus_id(chip, cells[-2], self.find)
        set_memory(chip, cells[-1], self.has_hbm, self.find)
        chip.usable = not ill(vars(chip))
        if (chip.npu_id, chip.chip_id) in self.whole:
            self.find(
                "table_unreadable",
                f"npu-smi info lists {chip.label} twice (line {line_number}). It was counted once. {COMPARE}",
                chip.npu_id,
            )
            return
        self.whole[chip.npu_id, chip.chip_id] = chip
        self.table.chips.append(chip)
        self.last_chip = chip

    def set_ids(self, chip: Chip, line_number: int, line: str, ids: list[str]) -> None:
        """The second row's ids: the chip's, and on some products one more, which the header names."""
        numbers = [integer(word) for word in ids]
        # Ascend 950 leaves both cells of the second row empty.
        expected = 2 if self.table.second_id else 0 if self.columns == 4 else 1
        if "Bus-Id" in self.headers and (len(numbers) != expected or None in numbers):
            self.unreadable(line_number, line)
        chip.chip_id = numbers[0] if numbers else None
        second = numbers[1] if len(numbers) > 1 else None
        if self.table.second_id == "Phy-ID":
            chip.phy_id = second
        elif self.table.second_id == "Device":
            chip.logic_id = second

    def start_processes(self, cells: list[str]) -> None:
        self.end_of_chip()
        if self.borders not in (["="], ["=", "-"]):
            self.incomplete("the line under its last NPU is missing")
        self.process_columns = len(cells)
        self.process_ids = 2 if "Chip" in cells[0].split() else 1

    def incomplete(self, why: str) -> None:
        self.find(
            "table_incomplete",
            f"The table of npu-smi info is incomplete ({why}): NPUs may be missing from the list. {COMPARE}",
        )

    def process_row(self, line_number: int, line: str, cells: list[str]) -> None:
        idle = IDLE.fullmatch(cells[0]) if len(cells) == 1 else None
        if idle:
            self.table.idle_npus.append(int(idle.group(1)))
            return
        row = read_process(cells, self.process_ids) if len(cells) == self.process_columns else None
        if row is None:
            self.find(
                "processes_unreadable",
                f"Line {line_number} of npu-smi info can't be read: {quote(line)}. A process may be missing from the list. {COMPARE}",
            )
            return
        self.process_rows.append(row)

    def end(self) -> None:
        self.end_of_chip()
        self.table.notes = (self.table.notes + [line[:LINE_LIMIT] for line in self.stray])[:NOTE_LIMIT]
        if self.process_columns is not None:
            if not self.borders or self.border_cut:
                self.find(
                    "processes_unreadable",
                    f"The process table of npu-smi info is incomplete: its last line is missing. {COMPARE}",
                )
        elif self.table.chips and (self.borders != ["="] or self.border_cut):
            self.incomplete("its last line is missing")
        if self.started and self.table.driver_version is None:
            self.find("table_unreadable", f"npu-smi info names no driver version. {COMPARE}")
        if self.table.chips and self.headers != {"Health", "Bus-Id"}:
            self.find(
                "table_unreadable",
                f"The header of the table of npu-smi info can't be read, so the logic ids are not known. {COMPARE}",
            )
        self.drop_halves()
        if not self.table.chips:
            self.find("no_npu", "npu-smi info lists no NPU. Check the hardware with 'lspci -d 19e5:', and dmesg.")
        self.attach_processes()
        self.set_logic_ids()
        if self.left_out:
            self.table.findings.append(Finding("table_unreadable", f"{self.left_out} more lines of npu-smi info can't be read."))

    def drop_halves(self) -> None:
        """A half chip may be a whole one repeated: it counts only where nothing else speaks of its NPU."""
        seen = {npu_id for npu_id, chip_id in self.whole}
        chips, self.table.chips = self.table.chips, []
        for chip in chips:
            if id(chip) in self.halves:
                if chip.npu_id in seen:
                    continue
                seen.add(chip.npu_id)
            self.table.chips.append(chip)

    def attach_processes(self) -> None:
        by_npu: dict[int, Chip] = {}
        for first in self.table.chips:
            by_npu.setdefault(first.npu_id, first)
        seen = set()
        for row in self.process_rows:
            chip = self.whole.get((row.npu_id, row.chip_id))
            if chip is None and (row.chip_id is None or id(by_npu.get(row.npu_id)) in self.halves):
                chip = by_npu.get(row.npu_id)
            if chip is None:
                self.incomplete(f"process {row.process.pid} runs on NPU {row.npu_id}, which is not in it")
            elif (id(chip), row.process) in seen:
                text = f"npu-smi info lists process {row.process.pid} of {chip.label} twice: it was counted once."
                self.find("processes_unreadable", f"{text} {COMPARE}")
            else:
                seen.add((id(chip), row.process))
                chip.processes.append(row.process)
        for npu_id in self.table.idle_npus:
            if npu_id not in by_npu:
                self.incomplete(f"its list of processes speaks of NPU {npu_id}, which is not in it")

    def set_logic_ids(self) -> None:
        """Without a column for it, the logic id is the place in the table: the tool asks chip after chip in that
        order. Not where rows may be missing."""
        if self.table.second_id == "Device" or not self.table.complete:
            return
        for place, chip in enumerate(self.table.chips):
            chip.logic_id = place
