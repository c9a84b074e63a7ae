# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged output ends in data or in a finding: no traceback, no NPU too many, no silence about one too few."""

from __future__ import annotations

import pathlib
import re
import time

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.npu import sections as kv
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.chip import HEALTH, InfoTable
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.report import read_info
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.table import parse_info
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.words import TEXT_LIMIT
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SAMPLES = pathlib.Path(__file__).parent / "samples" / "npu_smi"
TABLES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((SAMPLES / "info").glob("*.txt"))}
OTHERS = {path: path.read_text(encoding="utf-8") for path in sorted(SAMPLES.glob("*/*.txt")) if path.parent.name != "info"}
A2 = TABLES["910B4-1_25.5.2_1"]
A3 = TABLES["910_93_24.1.rc3.7_1"]
# The same examples on every run, so that a failure is one of the change at hand.
STEADY = settings(derandomize=True, max_examples=200, suppress_health_check=list(HealthCheck))

names = st.sampled_from(sorted(TABLES))


def whole(name: str) -> InfoTable:
    return parse_info(TABLES[name])


def ids(table: InfoTable) -> list:
    return [(chip.npu_id, chip.chip_id) for chip in table.chips]


def check_sane(table: InfoTable, truth: InfoTable) -> None:
    assert len(table.chips) <= len(truth.chips)
    assert len(set(ids(table))) == len(table.chips)
    for chip in table.chips:
        assert chip.health in HEALTH
        assert chip.memory_total_mb != 0 and chip.name != ""
        assert (chip.memory_kind is None) == (chip.memory_total_mb is None)
    assert len(table.findings) <= 21 and len(table.notes) <= 20


@STEADY
@given(names, st.data())
def test_a_table_cut_anywhere_counts_no_npu_too_many_and_says_so_unless_cut_between_npus(name, data):
    truth = whole(name)
    text = TABLES[name]
    cut = text[: data.draw(st.integers(0, len(text)))]
    table = parse_info(cut)
    check_sane(table, truth)
    count = len(table.chips)
    assert [chip.npu_id for chip in table.chips] == [chip.npu_id for chip in truth.chips][:count]
    if count < len(truth.chips) and not table.findings:
        assert re.fullmatch(r"\+=[=+]*\+", cut.rstrip().splitlines()[-1])


def test_every_cut_of_an_eight_npu_table_is_noticed_but_for_those_after_a_whole_npu():
    unnoticed = []
    for end in range(len(A2)):
        table = parse_info(A2[:end])
        if table.chips and not table.findings:
            unnoticed.append((len(table.chips), A2[:end].splitlines()[-1]))
    # The table of a server with fewer NPUs ends with that very line.
    assert {line for _count, line in unnoticed} == {A2.splitlines()[5]}
    assert {count for count, _line in unnoticed} == set(range(1, 9))


@STEADY
@given(names, st.data())
def test_dropped_lines_never_add_an_npu(name, data):
    lines = TABLES[name].splitlines()
    dropped = data.draw(st.sets(st.integers(0, len(lines) - 1), max_size=6))
    table = parse_info("\n".join(line for place, line in enumerate(lines) if place not in dropped))
    check_sane(table, whole(name))


@pytest.mark.parametrize("text", [A2, A3], ids=["A2", "A3"])
def test_one_dropped_line_is_always_noticed_where_it_makes_the_count_wrong(text):
    truth = parse_info(text)
    lines = text.splitlines()
    for place in range(len(lines)):
        table = parse_info("\n".join(lines[:place] + lines[place + 1 :]))
        assert table.findings or ids(table) == ids(truth), lines[place]


@STEADY
@given(names, st.data())
def test_doubled_lines_change_no_list_of_npus(name, data):
    truth = whole(name)
    lines = TABLES[name].splitlines()
    doubled = data.draw(st.sets(st.integers(0, len(lines) - 1), max_size=6))
    copies = [[line, line] if place in doubled else [line] for place, line in enumerate(lines)]
    table = parse_info("\n".join(line for group in copies for line in group))
    assert [chip.npu_id for chip in table.chips] == [chip.npu_id for chip in truth.chips]
    check_sane(table, truth)


def test_an_npu_listed_twice_is_counted_once_and_told():
    lines = A2.splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if line.startswith("| 0 "))
    table = parse_info("".join([*lines[: first + 3], *lines[first : first + 3], *lines[first + 3 :]]))
    assert ids(table) == ids(parse_info(A2))
    assert [finding.kind for finding in table.findings] == ["table_unreadable"]
    assert "lists NPU 0 twice" in table.findings[0].message


def test_an_npu_whose_memory_is_not_printed_is_told():
    table = parse_info(A2.replace("/ 65536", "/ 0    ", 2).replace("/ 32768", "/ 0    ", 2))
    assert table.chips[0].memory_total_mb is None
    assert "no memory size" in table.findings[0].message


def test_cpus_near_an_npu_that_are_not_told_are_unknown():
    topology = kv.parse_topology("NPU0 NPU1 CPU Affinity\nNPU0 X HCCS\nNPU1 HCCS X 0-23\n")
    assert topology.cpu_affinity == {"NPU1": "0-23"}


@pytest.mark.parametrize("read", [kv.parse_board, lambda text: kv.parse_sections(text, "usages")])
def test_an_npu_that_cannot_be_asked_is_told_from_an_empty_answer(read):
    assert not read("This device does not support querying usages.\n").supported


def test_a_host_without_cards_has_none():
    text = "There is no NPU card on this server.\n"
    assert (kv.parse_list(text).total, kv.parse_list(text).findings) == (0, [])
    assert (kv.parse_mapping(text).chips, kv.parse_mapping(text).findings) == ([], [])


def test_a_table_printed_twice_is_counted_once():
    table = parse_info(A2 + A2)
    assert ids(table) == ids(parse_info(A2))
    assert [finding.kind for finding in table.findings] == ["table_unreadable"]


@STEADY
@given(names, st.randoms(use_true_random=False))
def test_columns_may_be_wider_or_narrower(name, random):
    text = re.sub(r"(?<=[^\n]) {2,}(?=[^\n])", lambda _run: " " * random.randint(2, 9), TABLES[name])
    shifted, truth = parse_info(text), whole(name)
    assert (shifted.chips, shifted.findings) == (truth.chips, truth.findings)


@STEADY
@given(names, st.data())
def test_changed_characters_end_in_data_or_findings(name, data):
    text = TABLES[name]
    edits = data.draw(st.lists(st.tuples(st.integers(0, len(text) - 1), st.characters()), max_size=8))
    characters = list(text)
    for place, character in edits:
        characters[place] = character
    check_sane(parse_info("".join(characters)), whole(name))


@STEADY
@given(names, st.sampled_from(["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp037", "gb18030"]))
def test_other_encodings_end_in_data_or_findings(name, encoding):
    text = TABLES[name].encode(encoding).decode("utf-8", errors="replace")
    table = parse_info(text)
    check_sane(table, whole(name))
    assert len(table.chips) in (0, len(whole(name).chips))


@STEADY
@given(names, st.lists(st.tuples(st.integers(0, 200), st.text(max_size=200)), max_size=5))
def test_noise_between_the_lines_adds_no_npu_and_hides_none_silently(name, noise):
    lines = TABLES[name].splitlines()
    for place, text in noise:
        lines.insert(place % (len(lines) + 1), text)
    table = parse_info("\n".join(lines))
    check_sane(table, whole(name))
    assert len(table.chips) == len(whole(name).chips) or table.findings


@STEADY
@given(st.text(max_size=2000))
def test_any_text_is_read_without_an_exception(text):
    table = parse_info(text)
    assert len(table.chips) <= text.count("\n") + 1
    answer = read_info(Result(0, stdout=text, stderr=text), 60)
    assert answer.table.chips or answer.findings


@STEADY
@given(st.sampled_from(sorted(OTHERS)), st.data())
def test_other_answers_cut_or_changed_end_in_data_or_findings(path, data):
    text = OTHERS[path]
    text = text[: data.draw(st.integers(0, len(text)))] + data.draw(st.text(max_size=50))
    for kind in ("common", "usages", "memory", "health", "product", "temp", "power"):
        kv.parse_sections(text, kind)
    kv.parse_board(text)
    kv.parse_topology(text)
    kv.parse_process_memory(text)
    assert len(kv.parse_mapping(text).chips) <= text.count("\n") + 1
    assert len(kv.parse_list(text).cards) <= text.count("\n") + 1


LONG = {
    "one line": "x" * 10_000_000,
    "blank lines": "\n" * 10_000_000,
    "bars": "|" * 10_000_000,
    "rows": "| a | b | c |\n" * 700_000,
    "borders": "+---+\n" * 1_600_000,
    "NPUs": "".join(f"| {n} 910B4 | OK | 1 1 0 / 0 |\n| 0 | 0000:C1:00.0 | 0 0 / 0 1 / 2 |\n+===+\n" for n in range(150_000)),
    "halves": "".join(f"| {n} 910B4 | OK | 1 1 0 / 0 |\n+===+\n" for n in range(250_000)),
    "blanks": "| 0 910B4 | OK |" + " " * 10_000_000 + "|",
    "processes": A2 + "| 0       0                 | 1265762       |                          | 115                     |\n" * 90_000,
}


@pytest.mark.parametrize("kind", sorted(LONG))
def test_megabytes_of_noise_end_soon_and_in_little(kind):
    text = LONG[kind]

    def duration(part: str) -> float:
        start = time.process_time()
        parse_info(part)
        return time.process_time() - start

    table = parse_info(text)
    assert len(repr((table.findings, table.notes))) < 100_000
    assert table.findings
    # Whatever comes after the limit costs nothing: ten times the text takes no longer.
    assert duration(text) < 5 * max(duration(text[:TEXT_LIMIT]), 0.05)


def test_noise_after_a_table_leaves_the_chips_and_is_told():
    answer = read_info(Result(0, stdout=A2 + "x" * 2 * TEXT_LIMIT), 60)
    assert ids(answer.table) == ids(parse_info(A2))
    assert [finding.kind for finding in answer.findings] == ["output_too_long"]


def test_noise_before_a_table_is_told_and_gives_no_count():
    answer = read_info(Result(-9, stdout="x\n" * TEXT_LIMIT + A2, timed_out=True), 60)
    assert answer.table.chips == []
    assert [finding.kind for finding in answer.findings] == ["output_too_long"]
