# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what npu-smi prints beside its table: `info -l`, `info -m` and `info -t <type>`.

A line is `key : value`. Keys come out as names with their unit (`HBM Capacity(MB)` is hbm_capacity_mb); NA, a dash
and nothing are None. Values of keys with a unit, and counts and ids of NPUs, are numbers; the rest are strings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Union

from ansible_collections.ascend.gpustack.plugins.module_utils.npu.chip import Finding
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.words import (
    ABSENT,
    COMPARE,
    LINE_LIMIT,
    integer,
    lines_of,
    number,
    quote,
)

Value = Union[str, int, float, None]
Section = dict[str, Value]
NO_CARD = "There is no NPU card on this server"
NOT_SUPPORTED = "does not support querying"
UNITS = {"mb": "mb", "mhz": "mhz", "c": "c", "w": "w", "%": "percent", "page": "pages"}
UNIT = re.compile(r"\s*\((%|MB|MHZ|C|W|page)\)$", re.IGNORECASE)
KEY = re.compile(r"[A-Za-z][0-9A-Za-z ()%/_.-]{0,60}")
INTEGER_KEYS = ("npu_id", "chip_id", "chip_count", "faulty_chip_count", "total_count", "card_count", "aicore_count")
MAPPING_COLUMN = re.compile(r"(NPU ID|Slot ID|Chip ID|Chip Logic ID|Chip Phy-ID|Chip Name)(?=\s|$)")
PROCESS_MEMORY = re.compile(r"Process id:\s*([0-9]{1,9})\s+Process name:(.{0,200}?)\s+Process memory\(MB\):\s*([0-9]{1,9})")
FINDING_LIMIT = 20


@dataclass
class Sections:
    """What `-t <type>` says of one NPU: header has what stands above the chips, chips one dict each, mcu the
    management controller's. supported is False where the product doesn't answer this type."""

    header: Section = field(default_factory=dict)
    chips: list[Section] = field(default_factory=list)
    mcu: Section | None = None
    supported: bool = True
    findings: list[Finding] = field(default_factory=list)


@dataclass
class Card:
    npu_id: int
    chip_count: int | None = None
    product_name: str | None = None
    serial_number: str | None = None


@dataclass
class CardList:
    """`info -l`. total is what the tool says, cards what it lists."""

    total: int | None = None
    cards: list[Card] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


@dataclass
class MappedChip:
    npu_id: int
    chip_id: int | None
    logic_id: int | None
    phy_id: int | None
    name: str


@dataclass
class Mapping:
    """`info -m` without its rows for the management controllers, which are counted in mcu_rows."""

    chips: list[MappedChip] = field(default_factory=list)
    mcu_rows: int = 0
    findings: list[Finding] = field(default_factory=list)


@dataclass
class Topology:
    """`info -t topo`. links has, for each label (NPU0, …), the kind of link to each other; cpu_affinity its CPUs."""

    links: dict[str, dict[str, str]] = field(default_factory=dict)
    cpu_affinity: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


@dataclass
class ProcessMemory:
    """A line of `info -t proc-mem`, memory in MB."""

    pid: int
    name: str | None
    memory_mb: int


def _unreadable(findings: list[Finding], command: str, line_number: int, line: str) -> None:
    if len(findings) < FINDING_LIMIT:
        text = f"Line {line_number} of {command} can't be read: {quote(line)}. {COMPARE}"
        findings.append(Finding("answer_unreadable", text))


def key_name(key: str) -> str:
    """`Temperature (C)` as temperature_c."""
    key = key.strip()
    unit = UNIT.search(key)
    words = re.sub(r"[^0-9a-z]+", "_", (key[: unit.start()] if unit else key).lower()).strip("_")
    return f"{words}_{UNITS[unit.group(1).lower()]}" if unit else words


def _value(name: str, text: str) -> Value:
    if text in ABSENT or not text:
        return None
    if name in INTEGER_KEYS:
        return integer(text)
    return number(text) if name.endswith(tuple(f"_{unit}" for unit in UNITS.values())) else text


def _pairs(text: str, command: str, findings: list[Finding]) -> list[tuple[str, str]]:
    """The `key : value` lines, by key name; a value that goes on over the next lines is joined with blanks."""
    pairs: list[tuple[str, str]] = []
    for line_number, line in enumerate(lines_of(text), 1):
        key, colon, value = line.partition(":")
        goes_on = bool(pairs) and pairs[-1][0] == "error_information" and (not colon or not key.strip())
        if not line:
            continue
        if goes_on:
            name, before = pairs[-1]
            pairs[-1] = (name, f"{before} {(value if colon else line).strip()}"[:LINE_LIMIT])
        elif not colon or not KEY.fullmatch(key.strip()) or len(line) > LINE_LIMIT:
            _unreadable(findings, command, line_number, line)
        else:
            pairs.append((key_name(key), value.strip()))
    return pairs


def parse_sections(text: str, kind: str) -> Sections:
    """Read `npu-smi info -t <kind>`, kind being common, usages, memory, health, product, temp or power.

    `Chip ID` opens a chip's lines in common, and closes them in all others. Where there is none (-c was given, or
    an Ascend 950) all lines are one chip's.
    """
    result = Sections()
    if NOT_SUPPORTED in text:
        result.supported = False
        return result
    command = f"npu-smi info -t {kind}"
    section: Section = {}
    for name, words in _pairs(text, command, result.findings):
        value = _value(name, words)
        is_mcu = name == "chip_name" and words.lower() == "mcu"
        if name in ("npu_id", "chip_count") and not result.chips and not section:
            result.header[name] = value
        elif kind == "common" and (name == "chip_id" or is_mcu):
            _close(result, section)
            section = {name: value}
        elif name in section:
            text = f"{command} says {name} twice for one chip: the lines between are missing. {COMPARE}"
            result.findings.append(Finding("answer_unreadable", text))
        else:
            section[name] = value
            if kind != "common" and (name == "chip_id" or is_mcu):
                _close(result, section)
                section = {}
    _close(result, section)
    return result


def _close(result: Sections, section: Section) -> None:
    if not section:
        return
    if str(section.get("chip_name")).lower() == "mcu":
        result.mcu = section
    else:
        result.chips.append(section)


def parse_board(text: str) -> Sections:
    """Read `npu-smi info -t board -i N`, with -c C or without: one flat block, which becomes the header."""
    result = Sections(supported=NOT_SUPPORTED not in text)
    if result.supported:
        for name, value in _pairs(text, "npu-smi info -t board", result.findings):
            result.header.setdefault(name, _value(name, value))
    return result


def soc_version(board: Section) -> str | None:
    """The SoC's name as CANN knows it (Ascend910B4, Ascend910_9392), from the board of a chip."""
    chip_type, chip_name, npu_name = (board.get(key) for key in ("chip_type", "chip_name", "npu_name"))
    if chip_name is None:
        return None
    if npu_name is not None:
        return f"{chip_name}_{npu_name}"
    return f"{chip_type}{chip_name}" if chip_type is not None else str(chip_name)


def error_codes(section: Section) -> list[str]:
    """The codes of `-t health`, which stand on one line, in hex without 0x."""
    return str(section.get("error_code") or "").split()


def parse_list(text: str) -> CardList:
    """Read `npu-smi info -l`."""
    result = CardList()
    if NO_CARD in text:
        result.total = 0
        return result
    for name, value in _pairs(text, "npu-smi info -l", result.findings):
        if name in ("total_count", "card_count"):
            result.total = integer(value)
        elif name == "npu_id" and integer(value) is not None:
            result.cards.append(Card(int(value)))
        elif name in ("chip_count", "product_name", "serial_number") and result.cards:
            setattr(result.cards[-1], name, _value(name, value))
    if result.total != len(result.cards):
        text = f"npu-smi info -l counts {result.total} NPUs and lists {len(result.cards)}. {COMPARE}"
        result.findings.append(Finding("answer_unreadable", text))
    return result


def parse_mapping(text: str) -> Mapping:
    """Read `npu-smi info -m`. The last column is a name that may hold blanks."""
    result = Mapping()
    if NO_CARD in text:
        return result
    columns: list[str] = []
    for line_number, line in enumerate(lines_of(text), 1):
        if not line:
            continue
        if not columns:
            columns = MAPPING_COLUMN.findall(line)
            if "NPU ID" in columns and columns[-1] == "Chip Name":
                continue
            columns = []
            _unreadable(result.findings, "npu-smi info -m", line_number, line)
            continue
        words = line.split(None, len(columns) - 1)
        row = dict(zip(columns, words)) if len(words) == len(columns) else {}
        _add_mapped(result, row, line_number, line)
    if not columns:
        result.findings.append(Finding("answer_unreadable", f"npu-smi info -m printed no header. {COMPARE}"))
    return result


def _add_mapped(result: Mapping, row: dict[str, str], line_number: int, line: str) -> None:
    npu_id = integer(row.get("NPU ID"))
    is_mcu = row.get("Chip Logic ID") == "-" or row.get("Chip Name", "").lower() == "mcu"
    ids = [integer(row.get(column)) for column in ("Chip ID", "Chip Logic ID", "Chip Phy-ID")]
    present = [column in row for column in ("Chip ID", "Chip Logic ID", "Chip Phy-ID")]
    if npu_id is not None and is_mcu:
        result.mcu_rows += 1
    elif npu_id is None or any(there and value is None for value, there in zip(ids, present)):
        _unreadable(result.findings, "npu-smi info -m", line_number, line)
    else:
        result.chips.append(MappedChip(npu_id, ids[0], ids[1], ids[2], row["Chip Name"]))


def parse_topology(text: str) -> Topology:
    """Read `npu-smi info -t topo`: a square of link kinds, then the CPUs near each NPU, then a legend."""
    result = Topology()
    labels: list[str] = []
    for line_number, line in enumerate(lines_of(text), 1):
        words = line.split()
        if line.startswith("Legend"):
            break
        if not words:
            continue
        if not labels:
            labels = words[: words.index("CPU")] if "CPU" in words else words
        elif words[0] in labels and len(words) >= len(labels) + 1:
            result.links[words[0]] = dict(zip(labels, words[1:]))
            if len(words) > len(labels) + 1:
                result.cpu_affinity[words[0]] = " ".join(words[len(labels) + 1 :])
        else:
            _unreadable(result.findings, "npu-smi info -t topo", line_number, line)
    if set(labels) != set(result.links):
        text = f"npu-smi info -t topo names {len(labels)} NPUs and describes {len(result.links)}. {COMPARE}"
        result.findings.append(Finding("answer_unreadable", text))
    return result


def parse_process_memory(text: str) -> list[ProcessMemory]:
    """Read `npu-smi info -t proc-mem -i N`."""
    matches = (PROCESS_MEMORY.match(line[:LINE_LIMIT]) for line in lines_of(text))
    return [ProcessMemory(int(m.group(1)), m.group(2).strip() or None, int(m.group(3))) for m in matches if m]
