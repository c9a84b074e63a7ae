# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every recorded output is read as a person reads it: the whole reading compared with the JSON beside it."""

from __future__ import annotations

import json
import pathlib
from dataclasses import asdict

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.npu import sections as kv
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.chip import InfoTable
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.driver import parse_properties
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.errors import find_driver_error
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.report import read_info
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.table import parse_info
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.words import number
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result

SAMPLES = pathlib.Path(__file__).parent / "samples" / "npu_smi"

# The recordings that their source cut: the reading has to say so.
CUT = {
    "310P3_22.0.4_2": ["table_incomplete"],
    "310_21.0.3.1_2": ["table_incomplete"],
    "910B3_25.3.rc1_1": ["table_incomplete"],
    "910B4_24.1.1_1": ["table_incomplete"],
    "910B4_26.0.rc1_1": ["processes_unreadable"],
}
SUSPECT = {
    "310P3_24.1.rc2.b010_1": ["table_incomplete", "table_incomplete"],
    "910B1_24.1.rc1.3_1": ["chip_unreadable", "table_incomplete"],
}
NOTES = {"source", "command", "provenance", "notes", "transcribed", "truncated", "what", "rc_note"}


def samples(kind: str) -> list:
    found = sorted((SAMPLES / kind).glob("*.txt"))
    assert found, f"no samples of {kind}"
    return [pytest.param(path, id=path.stem) for path in found]


def load(path: pathlib.Path) -> tuple[str, dict]:
    data = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return path.read_text(encoding="utf-8"), {key: value for key, value in data.items() if key not in NOTES}


def expected_memory(data: dict) -> list:
    """Pairs of total and used for each chip; the tool's 0 / 0 means that there is no such memory."""
    pairs = data["extra"]["memory_used_total"]
    return [[(int(total), int(used)) if int(total) else (None, None) for used, total in chip] for chip in pairs]


def info_reading(table: InfoTable, data: dict) -> dict:
    """The table in the words of the samples' JSON, with those keys that the JSON has."""
    chips = table.chips
    processes = [process for chip in chips for process in chip.processes]
    hbm = [chip.memory_total_mb for chip in chips if chip.memory_kind == "HBM"]
    second = [chip.phy_id if table.second_id == "Phy-ID" else chip.logic_id for chip in chips]
    bus_ids = [chip.bus_id or "NA" for chip in chips]
    reading = {
        "chips": len(chips),
        "names": [chip.name for chip in chips],
        "npu_ids": [chip.npu_id for chip in chips],
        "health": [chip.health for chip in chips],
        "hbm_total_mb": hbm or None,
        "driver_version": table.driver_version,
        "tool_version": table.tool_version,
        "memory_total_mb": [chip.ddr_total_mb for chip in chips],
        "bus_ids": bus_ids,
        "device_ids": second,
        "phy_ids": second,
        "power": [chip.power_w for chip in chips],
        "extra": {
            "tool_version": table.tool_version,
            "power": [chip.power_w for chip in chips],
            "chip_ids": [chip.chip_id for chip in chips],
            "second_ids": second if table.second_id else None,
            "bus_ids": bus_ids,
            "process_rows": len(processes),
            "blank_process_names": sum(process.name is None for process in processes),
            "no_process_lines": len(table.idle_npus),
        },
    }
    return {key: value for key, value in reading.items() if key in data}


def info_expectation(data: dict) -> dict:
    extra = {
        key: data["extra"][key]
        for key in data["extra"]
        if key not in ("machine_read_cross_checked", "equal_line_widths", "memory_used_total")
    }
    expected = {**data, "extra": {**extra, "power": [number(word) for word in extra["power"]]}}
    if "power" in data:
        expected["power"] = [number(word) for word in data["power"]]
    return expected


@pytest.mark.parametrize("path", samples("info"))
def test_a_recorded_table_is_read_whole(path):
    text, data = load(path)
    table = parse_info(text)
    assert info_reading(table, data) == info_expectation(data)
    assert [finding.kind for finding in table.findings] == CUT.get(path.stem, [])
    for chip, pairs in zip(table.chips, expected_memory(data)):
        assert [(chip.ddr_total_mb, chip.ddr_used_mb)] == pairs[:1]
        kind, memory = ("DDR", pairs[0]) if len(pairs) == 1 else ("HBM", pairs[1])
        assert (chip.memory_kind, (chip.memory_total_mb, chip.memory_used_mb)) == (kind, memory)
        assert isinstance(chip.temperature_c, int) and isinstance(chip.aicore_percent, int)


@pytest.mark.parametrize("path", samples("info_suspect"))
def test_an_invented_table_is_read_as_far_as_it_goes(path):
    text, data = load(path)
    table = parse_info(text)
    reading = info_reading(table, data)
    assert {**reading, "extra": None} == {**data, "extra": None}
    assert [finding.kind for finding in table.findings] == SUSPECT.get(path.stem, [])


def test_processes_are_found_under_their_chip():
    table = parse_info((SAMPLES / "info" / "910_93_25.2.0_1.txt").read_text(encoding="utf-8"))
    found = {chip.label: [asdict(process) for process in chip.processes] for chip in table.chips}
    process = {"pid": 990711, "name": "python", "memory_mb": 7746, "container_pid": None}
    assert found == {"NPU 0": [], "NPU 0 chip 1": [], "NPU 1": [], "NPU 1 chip 1": [process]}
    assert table.idle_npus == [0]


@pytest.mark.parametrize("path", samples("errors"))
def test_a_recorded_error_is_told_with_its_number_and_never_counts_npus(path):
    text, data = load(path)
    result = Result(data["exit_status"] or 0, stdout=text)
    answer = read_info(result, 60)
    code = next((int(word) for word in ("-8020", "-8005", "-9005") if word in text), None)
    assert answer.table.chips == [] and answer.table.driver_version is None
    assert answer.error is not None and answer.error.code == code
    assert answer.error.meaning and answer.error.remedy
    assert [finding.kind for finding in answer.findings] == ["driver_error"]
    assert find_driver_error(text) == answer.error


@pytest.mark.parametrize("path", samples("info_l"))
def test_a_recorded_list_of_cards_is_read_whole(path):
    text, data = load(path)
    cards = kv.parse_list(text)
    assert cards.findings == []
    counts = [card.chip_count for card in cards.cards]
    chips = sum(1 if count is None else count for count in counts)
    assert {
        "chips": chips,
        "names": None,
        "npu_ids": [card.npu_id for card in cards.cards],
        "health": None,
        "hbm_total_mb": None,
        "driver_version": None,
        "total_count": cards.total,
        "chip_count": None if None in counts else counts,
    } == data


@pytest.mark.parametrize("path", samples("info_m"))
def test_a_recorded_mapping_is_read_whole(path):
    text, data = load(path)
    mapping = kv.parse_mapping(text)
    assert mapping.findings == []
    reading = {
        "chips": len(mapping.chips),
        "names": [chip.name for chip in mapping.chips],
        "npu_ids": [chip.npu_id for chip in mapping.chips],
        "health": None,
        "hbm_total_mb": None,
        "driver_version": None,
        "logic_ids": [chip.logic_id for chip in mapping.chips],
        "chip_ids": [chip.chip_id for chip in mapping.chips],
        "phy_ids": [chip.phy_id for chip in mapping.chips],
        "mcu_rows": mapping.mcu_rows,
    }
    assert {key: value for key, value in reading.items() if key in data} == data


BOARD_NAMES = {
    "board_id": "board_id",
    "serial": "serial_number",
    "firmware": "firmware_version",
    "compatibility": "compatibility",
    "bus": "pcie_bus_info",
    "pci_device": "pci_device_id",
    "product_name": "product_name",
    "chip_name": "chip_name",
    "chip_type": "chip_type",
    "npu_name": "npu_name",
    "die": "die_id",
    "vdie": "vdie_id",
    "ndie": "ndie_id",
    "driver_version": "software_version",
}


@pytest.mark.parametrize("path", samples("board"))
def test_a_recorded_board_is_read_whole(path):
    text, data = load(path)
    board = kv.parse_board(text)
    assert board.findings == []
    header = board.header
    reading = {key: header.get(name) for key, name in BOARD_NAMES.items()}
    name = header.get("chip_name")
    reading.update(
        chips=header.get("chip_count", 1),
        npu_ids=[header["npu_id"]],
        health=None,
        hbm_total_mb=None,
        names=None if name is None else [name],
    )
    assert {key: value for key, value in reading.items() if key in data} == data
    lines = [line for line in text.splitlines() if ":" in line]
    assert len(header) == len(lines)


def section_reading(sections: kv.Sections) -> dict:
    chips = sections.chips
    npu_id = sections.header.get("npu_id")
    chip_ids = [chip["chip_id"] for chip in chips if "chip_id" in chip]
    hbm = [chip["hbm_capacity_mb"] for chip in chips if chip.get("hbm_capacity_mb")]
    ddr = [chip["ddr_capacity_mb"] for chip in chips if chip.get("ddr_capacity_mb")]
    health = [chip.get("health_status", chip.get("health")) for chip in chips]
    return {
        "chips": len(chips),
        "names": None,
        "npu_ids": None if npu_id is None else [npu_id],
        "health": None if None in health else health,
        "hbm_total_mb": hbm or None,
        "ddr_total_mb": ddr or None,
        "driver_version": None,
        "chip_ids": chip_ids or None,
        "aicore_count": [chip.get("aicore_count") for chip in chips],
        "temp": [chip.get("temperature_c", chip.get("npu_temperature_c")) for chip in chips],
        "power": [chip.get("npu_real_time_power_w") for chip in chips],
        "error_codes": [code for chip in chips for code in kv.error_codes(chip)],
        "product_type": [chip.get("product_type") for chip in chips],
    }


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        pytest.param(kind, sample.values[0], id=f"{kind}-{sample.id}")
        for kind in ("common", "usages", "memory", "health", "product", "temp")
        for sample in samples(kind)
    ],
)
def test_a_recorded_answer_about_one_npu_is_read_whole(kind, path):
    text, data = load(path)
    sections = kv.parse_sections(text, kind)
    assert sections.findings == [] and sections.supported
    reading = section_reading(sections)
    assert {key: value for key, value in reading.items() if key in data} == data


def test_the_management_controller_is_no_chip():
    text = (SAMPLES / "common" / "910A_doc_1.txt").read_text(encoding="utf-8")
    sections = kv.parse_sections(text, "common")
    assert (len(sections.chips), sections.mcu) == (1, {"chip_name": "mcu", "temperature_c": 48, "npu_real_time_power_w": 45.2})


def test_an_error_that_goes_on_over_lines_is_kept_whole():
    text = (SAMPLES / "health" / "310B4_23.0.0_1.txt").read_text(encoding="utf-8")
    assert kv.parse_sections(text, "health").chips == [
        {
            "health_status": "Alarm",
            "error_code": "80E3A203",
            "error_information": "node type=LPM, sensor type=Chip Hardware, event state=The function of obtaining the current is abnormal",
        }
    ]


@pytest.mark.parametrize(
    ("sample", "soc"),
    [("910B4_doc_1", "Ascend910B4"), ("910_93_doc_1", "Ascend910_9392"), ("910A_23.0.5_2", "Ascend910A")],
)
def test_the_board_tells_the_soc(sample, soc):
    text = (SAMPLES / "board" / f"{sample}.txt").read_text(encoding="utf-8")
    assert kv.soc_version(kv.parse_board(text).header) == soc


@pytest.mark.parametrize("path", samples("topo"))
def test_a_recorded_topology_is_read_whole(path):
    text, data = load(path)
    topology = kv.parse_topology(text)
    labels = [f"NPU{npu_id}" for npu_id in data["npu_ids"]]
    assert topology.findings == []
    assert topology.links == {a: {b: "X" if a == b else "HCCS" for b in labels} for a in labels}
    assert topology.cpu_affinity == dict(zip(labels, data["cpu_affinity"]))


def test_the_memory_of_processes_is_read():
    text = (SAMPLES / "proc_mem" / "950_doc_1.txt").read_text(encoding="utf-8")
    assert kv.parse_process_memory(text) == [kv.ProcessMemory(395864, "power_test", 5118)]


def test_the_driver_files_are_read():
    folder = SAMPLES / "driver_files"
    info = parse_properties((folder / "ascend_install.info_910_pre24.1.txt").read_text(encoding="utf-8"))
    assert info == {
        "UserName": "HwHiAiUser",
        "UserGroup": "HwHiAiUser",
        "Driver_Install_Type": "full",
        "Driver_Install_Path_Param": "/usr/local/Ascend",
        "Driver_Install_For_All": "yes",
        "Driver_Install_Mode": "normal",
        "Firmware_Install_Type": "full",
        "Firmware_Install_Path_Param": "/usr/local/Ascend",
    }
    versions = {}
    for path in sorted(folder.glob("*_version.info_*.txt")):
        values = parse_properties(path.read_text(encoding="utf-8"))
        versions[path.stem] = (values["Version"], values["package_version"])
    assert versions == {
        "driver_version.info_23.0.7": ("23.0.7", "23.0.7"),
        "driver_version.info_24.1.rc2.2": ("24.1.rc2.2", "24.1.rc2.2"),
        "driver_version.info_24.1.rc3": ("24.1.rc3", "24.1.rc3"),
        "driver_version.info_25.3.rc1": ("25.3.rc1", "25.3.rc1"),
        "firmware_version.info_23.0.7": ("7.1.0.11.220", "23.0.7"),
        "firmware_version.info_24.1.rc3": ("7.5.0.1.129", "24.1.rc3"),
    }
