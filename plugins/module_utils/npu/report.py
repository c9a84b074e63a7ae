# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put together what npu_info returns: one call of npu-smi, the host's files, and what is asked for beside them."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Callable

from ansible_collections.ascend.gpustack.plugins.module_utils.npu import kinds
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.chip import Chip, Finding, InfoTable
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.driver import (
    HCCN_CONF,
    NPU_SMI_FOLDERS,
    DeviceNodes,
    DriverFiles,
    assign_devices,
    container_mounts,
    find_npu_smi,
    is_character_device,
    list_device_nodes,
    node_findings,
    read_driver_files,
    read_properties,
    root_info_problem,
)
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.errors import DriverError, find_driver_error
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.fitness import unfit
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.holders import Holders, find_holders
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.network import QUERIES, NpuInterface, read_answer, read_configuration
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.sections import (
    Section,
    parse_board,
    parse_mapping,
    parse_sections,
    parse_topology,
    soc_version,
)
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.table import is_table, parse_info
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.words import TEXT_LIMIT, quote
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import RC_NOT_FOUND, Result, Runner

# Follows or precedes a good table where another log level is set; alone it is an error.
HARMLESS = "drvmnggetconsoleloglevel failed"


@dataclass
class Request:
    """What npu_info was asked for. timeout is in seconds, over all calls."""

    npu_smi: str | None = None
    gather: list[str] = field(default_factory=list)
    timeout: float = 60.0
    driver_files: bool = True


@dataclass
class Host:
    """Where to look: tests give a folder and a clock of their own."""

    root: str = "/"
    search_path: str | None = None
    clock: Callable[[], float] = time.monotonic
    is_device: Callable[[str], bool] = is_character_device
    machine: str = platform.machine()


@dataclass
class Answer:
    """What one `npu-smi info` gave."""

    table: InfoTable = field(default_factory=InfoTable)
    error: DriverError | None = None
    findings: list[Finding] = field(default_factory=list)


@dataclass
class Report:
    """What npu_info knows. warnings are what could not be gathered beside the list, and lines around the table."""

    request: Request
    npu_smi_path: str | None = None
    answer: Answer = field(default_factory=Answer)
    files: DriverFiles = field(default_factory=DriverFiles)
    nodes: DeviceNodes = field(default_factory=DeviceNodes)
    mounts: list[str] = field(default_factory=list)
    holders: Holders = field(default_factory=Holders)
    findings: list[Finding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    gathered: dict[str, Any] = field(default_factory=dict)

    def as_result(self) -> dict[str, Any]:
        chips = [asdict(chip) for chip in self.answer.table.chips]
        devices = {chip["device"] for chip in chips if not unfit(chip)}
        error = self.answer.error
        return {
            "ok": not self.findings,
            "problems": [finding.message for finding in self.findings],
            "findings": [asdict(finding) for finding in self.findings],
            "driver_version": self.answer.table.driver_version,
            "tool_version": self.answer.table.tool_version,
            "npu_count": len(chips),
            "chips": chips,
            "devices": sorted(devices, key=lambda path: (len(path), path)),
            "manager_devices": self.nodes.managers,
            "npu_smi_path": self.npu_smi_path,
            "driver": {
                "version": self.files.version,
                "install_path": self.files.install_path,
                "install_info": self.files.install_info,
                "version_info": self.files.version_info,
                "firmware_info": self.files.firmware_info,
            },
            "missing_files": self.files.missing,
            "mounts": self.mounts,
            "error": None if error is None else asdict(error),
            "holders": self.holders.as_result(),
            **self.gathered,
        }


def collect(request: Request, runner: Runner, host: Host) -> Report:
    """Ask the host. Never fails: what is wrong stands in the report's findings."""
    end = host.clock() + request.timeout

    def left() -> float:
        return end - host.clock()

    report = Report(request, find_tool(request, host))
    if report.npu_smi_path is None:
        report.answer.findings.append(tool_missing(request))
    else:
        result = runner([report.npu_smi_path, "info"], max(left(), 0.1))
        report.answer = read_info(result, request.timeout)
    report.files = read_driver_files(host.root)
    kind = kinds.of_host((chip.name for chip in report.answer.table.chips), os.path.join(host.root, "dev"))
    stale = root_info_problem(kind, host.root)
    report.files.findings += [stale] if stale else []
    further = [kinds.ROOT_INFO] if kind.given and not stale else []
    report.mounts = container_mounts(report.files, report.npu_smi_path, host.root, further)
    report.nodes = list_device_nodes(host.root, host.is_device, kind, host.machine)
    node_matches = assign_devices(report.answer.table, report.nodes.numbers)
    report.findings = report.answer.findings + health_findings(report.answer.table.chips)
    if request.driver_files:
        report.findings += node_findings(report.nodes) + node_matches + report.files.findings
        report.findings += version_findings(report.answer.table.driver_version, report.files.version)
    report.warnings += [f"npu-smi info also printed {quote(note)}" for note in report.answer.table.notes]
    if report.answer.error is not None and report.answer.error.code == -8020:
        report.holders = find_holders(runner, left, report.nodes.numbers, host.root)
    Gatherer(report, runner, left, host).gather()
    return report


def find_tool(request: Request, host: Host) -> str | None:
    if request.npu_smi is None:
        return find_npu_smi(host.root, host.search_path)
    executable = os.path.isfile(request.npu_smi) and os.access(request.npu_smi, os.X_OK)
    return request.npu_smi if executable else None


def tool_missing(request: Request) -> Finding:
    if request.npu_smi is None:
        where = f"on PATH and in {', '.join(NPU_SMI_FOLDERS)}"
    else:
        where = f"at {request.npu_smi} (an executable file is expected there)"
    text = (
        f"npu-smi was not found {where}: the Ascend driver is not installed, or npu-smi lies elsewhere. Install the "
        "driver, or put npu-smi there."
    )
    return Finding("npu_smi_missing", text)


def read_info(result: Result, limit: float) -> Answer:
    """Read what `npu-smi info` did: a table even where it failed or hung after it, else the error it printed."""
    text = result.stdout
    answer = Answer()
    if is_table(text):
        answer.table = parse_info(text)
        answer.findings += answer.table.findings
        answer.table.notes += [line for line in result.stderr[:10000].splitlines() if line.strip()][:5]
        errors = (find_driver_error(note) for note in answer.table.notes if HARMLESS not in note.lower())
        answer.error = next((error for error in errors if error is not None), None)
    if result.timed_out and len(text) <= TEXT_LIMIT:
        answer.findings.append(timed_out(limit))
    elif len(text) > TEXT_LIMIT and not is_table(text):
        answer.findings.append(only_noise())
    elif not is_table(text) or result.rc != 0:
        answer.error = answer.error or find_driver_error(f"{text}\n{result.stderr}")
        if answer.error is None:
            answer.findings.append(failed(result))
    if answer.error is not None:
        answer.findings.append(Finding("driver_error", answer.error.sentence))
    return answer


def timed_out(limit: float) -> Finding:
    text = (
        f"npu-smi info did not end within {limit:g} s and was killed: an NPU or its driver hangs. Look at dmesg; a "
        "reboot of the host mends most."
    )
    return Finding("npu_smi_timeout", text)


def only_noise() -> Finding:
    text = (
        f"npu-smi info printed more than {TEXT_LIMIT} characters without a table. Run it on the host and look at what writes to its output."
    )
    return Finding("output_too_long", text)


def failed(result: Result) -> Finding:
    said = (result.stdout.strip() or result.stderr.strip()).splitlines()
    if result.rc == RC_NOT_FOUND and not said:
        said = ["not found"]
    printed = f"printed {quote(said[0])}" if said else "printed nothing"
    text = (
        f"npu-smi info ended with status {result.rc} and {printed}; expected its table and status 0. Run it on the "
        "host; if it stays, reboot the host or install the driver again."
    )
    return Finding("npu_smi_failed", text)


def health_findings(chips: list[Chip]) -> list[Finding]:
    findings = []
    for chip in chips:
        if chip.name is not None and chip.health != "OK":
            # A 950 has no chips of an NPU, and refuses the option.
            of_chip = "" if chip.chip_id is None else f" -c {chip.chip_id}"
            command = f"npu-smi info -t health -i {chip.npu_id}{of_chip}"
            text = f"{chip.label} health is {chip.health}; expected OK. See what is wrong with: {command}."
            findings.append(Finding("health", text, chip.npu_id))
    return findings


def version_findings(loaded: str | None, installed: str | None) -> list[Finding]:
    """Builds are spelt differently in the two places, so only the release is compared."""
    if loaded is None or installed is None or loaded.lower().split(".")[:3] == installed.lower().split(".")[:3]:
        return []
    text = f"The running driver is {loaded}, the installed one {installed} (version.info). Reboot the host, so that the installed one runs."
    return [Finding("driver_version", text)]


class Gatherer:
    """The calls beyond the table, one after the other until the time is up. What fails is a warning."""

    def __init__(self, report: Report, runner: Runner, left: Callable[[], float], host: Host) -> None:
        self.report = report
        self.runner = runner
        self.left = left
        self.host = host
        self.chips = report.answer.table.chips
        self.late = False

    def gather(self) -> None:
        steps = {"board": self.board, "usages": self.usages, "topology": self.topology, "network": self.network}
        for name, step in steps.items():
            if name in self.report.request.gather:
                step()

    def call(self, argv: list[str]) -> str | None:
        """The output of one call, or None and a warning."""
        if self.left() <= 0:
            if not self.late:
                limit = f"{self.report.request.timeout:g} s"
                self.warn(f"The time limit of {limit} ended before '{' '.join(argv)}': raise timeout, or gather less.")
            self.late = True
            return None
        result = self.runner(argv, self.left())
        if not result.timed_out and result.rc == 0:
            return result.stdout
        error = find_driver_error(f"{result.stdout}\n{result.stderr}")
        said = error.meaning if error else f"ended with status {result.rc}"
        if result.timed_out:
            said = "did not end in time"
        self.warn(f"'{' '.join(argv)}': {said}.")
        return None

    def warn(self, text: str) -> None:
        self.report.warnings.append(text)

    def npu_smi(self, *words: str) -> str | None:
        path = self.report.npu_smi_path
        return None if path is None else self.call([path, "info", *words])

    def npu_ids(self) -> list[int]:
        return sorted({chip.npu_id for chip in self.chips})

    def take(self, findings: list[Finding]) -> None:
        # The first lines that can't be read tell what the others are.
        for finding in findings[:3]:
            self.warn(finding.message)

    def board(self) -> None:
        boards = []
        for npu_id in self.npu_ids():
            text = self.npu_smi("-t", "board", "-i", str(npu_id))
            if text is not None:
                sections = parse_board(text)
                self.take(sections.findings)
                boards.append({**sections.header, "npu_id": npu_id, "soc_version": self.soc(npu_id, sections.header)})
        self.report.gathered["boards"] = boards

    def soc(self, npu_id: int, board: Section) -> str | None:
        """The table's name tells the SoC, but for A3, whose chips all read Ascend910."""
        name = next(chip.name for chip in self.chips if chip.npu_id == npu_id)
        if name != "Ascend910":
            return None if name is None else name if name.startswith("Ascend") else f"Ascend{name}"
        if "npu_name" not in board or "chip_name" not in board:
            text = self.npu_smi("-t", "board", "-i", str(npu_id), "-c", "0")
            board = {} if text is None else parse_board(text).header
        return soc_version(board)

    def usages(self) -> None:
        usages = []
        for npu_id in self.npu_ids():
            text = self.npu_smi("-t", "usages", "-i", str(npu_id))
            if text is not None:
                sections = parse_sections(text, "usages")
                self.take(sections.findings)
                usages += [{"chip_id": None, **chip, "npu_id": npu_id} for chip in sections.chips]
        self.report.gathered["usages"] = usages

    def topology(self) -> None:
        text = self.npu_smi("-t", "topo") if self.chips else None
        topology = parse_topology(text or "")
        if text is not None:
            self.take(topology.findings)
        self.report.gathered["topology"] = {"links": topology.links, "cpu_affinity": topology.cpu_affinity}
        mapping = parse_mapping((self.npu_smi("-m") if self.chips else None) or "")
        ids = {(chip.npu_id, chip.chip_id): chip for chip in mapping.chips}
        for chip in self.chips:
            mapped = ids.get((chip.npu_id, chip.chip_id))
            if mapped is not None:
                chip.logic_id = chip.logic_id if mapped.logic_id is None else mapped.logic_id
                chip.phy_id = chip.phy_id if mapped.phy_id is None else mapped.phy_id

    def network(self) -> None:
        tool = os.path.join(self.host.root, self.report.files.install_path.lstrip("/"), "driver/tools/hccn_tool")
        configuration = read_properties(os.path.join(self.host.root, HCCN_CONF.lstrip("/"))) or {}
        interfaces = []
        for chip in self.chips:
            if chip.device is None:
                continue
            interface = NpuInterface(chip.npu_id, int(chip.device[len("/dev/davinci") :]), chip.chip_id)
            read_configuration(interface, configuration)
            for query in QUERIES:
                text = self.call([tool, "-i", str(interface.number), query, "-g"])
                if text is not None and not read_answer(interface, query, text):
                    self.warn(f"'hccn_tool -i {interface.number} {query} -g' can't be read: it printed {quote(text)}.")
            interfaces.append(asdict(interface))
        self.report.gathered["network"] = interfaces
