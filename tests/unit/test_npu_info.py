# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""npu_info on hosts made of a folder and a fake runner: what its user gets for each fault."""

from __future__ import annotations

import json
import os
import pathlib
import re

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ascend.gpustack.plugins.module_utils.npu import kinds
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.driver import library_path
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.report import Host, Request, collect
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result
from ansible_collections.ascend.gpustack.plugins.modules import npu_info

SAMPLES = pathlib.Path(__file__).parent / "samples" / "npu_smi"
TOOL = "/usr/local/sbin/npu-smi"
IMAGE = "quay.io/ascend/vllm-ascend:v0.9.2rc1"
MANAGERS = ["/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"]


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.txt").read_text(encoding="utf-8")


# An Atlas 800I A2 as npu-smi 25.5.2 shows it. Eight NPUs, the ids of which are their places.
ATLAS = sample("info/910B4-1_25.5.2_1")


def with_health(text: str, npu_id: int, health: str) -> str:
    return re.sub(rf"(\| {npu_id}     910B4-1 +\| )OK( +)\|", lambda m: f"{m[1]}{health}{' ' * 6}|", text)


def without(text: str, npu_id: int) -> str:
    """The table of a server on which this NPU is lost: no rows, and no word in the list of processes."""
    lines = text.splitlines(keepends=True)
    start = next(place for place, line in enumerate(lines) if line.startswith(f"| {npu_id}     910B4-1"))
    kept = lines[:start] + lines[start + 3 :]
    idle = next((place for place, line in enumerate(kept) if f"found in NPU {npu_id} " in line), None)
    if idle is None:
        return "".join(line for line in kept if not line.startswith(f"| {npu_id}       0  "))
    return "".join(kept[:idle] + kept[idle + 2 :])


class FakeHost:
    """A file system in a folder, a clock that only commands move, and npu-smi's answers by arguments."""

    def __init__(self, root: pathlib.Path, nodes=range(8), tool: bool = True, machine: str = "x86_64") -> None:
        self.root = root
        self.machine = machine
        self.now = 0.0
        self.seconds_a_call = 1.0
        self.answers: dict[str, Result] = {}
        self.calls: list[tuple[list[str], float]] = []
        self.write(TOOL, "", mode=0o755) if tool else None
        for path in [f"/dev/davinci{number}" for number in nodes] + MANAGERS:
            self.write(path, "")
        self.write("/etc/ascend_install.info", sample("driver_files/ascend_install.info_910_pre24.1"))
        self.write("/usr/local/Ascend/driver/version.info", "Version=25.5.2\npackage_version=25.5.2\n")
        self.write("/usr/local/Ascend/firmware/version.info", "Version=7.8.0.2.212\npackage_version=25.5.2\n")
        self.write("/usr/local/Ascend/driver/lib64/common/libc_sec.so", "")
        self.write("/usr/local/dcmi/libdcmi.so", "")

    def path(self, path: str) -> pathlib.Path:
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        self.path(path).parent.mkdir(parents=True, exist_ok=True)
        self.path(path).write_text(text, encoding="utf-8")
        self.path(path).chmod(mode)

    def run(self, argv: list[str], limit: float) -> Result:
        words = [os.path.basename(argv[0]), *argv[1:]]
        self.calls.append((words, limit))
        self.now += self.seconds_a_call
        if self.seconds_a_call > limit:
            return Result(-9, timed_out=True)
        return self.answers.get(" ".join(words), Result(211, "Command or option is not found.\n"))

    def says(self, command: str, text: str, rc: int = 0, **more) -> None:
        self.answers[command] = Result(rc, text, **more)

    def collect(self, **request) -> tuple[dict, list[str]]:
        host = Host(str(self.root), "", lambda: self.now, os.path.isfile, self.machine)
        report = collect(Request(**request), self.run, host)
        return json.loads(json.dumps(report.as_result())), report.warnings


@pytest.fixture
def atlas(tmp_path):
    host = FakeHost(tmp_path)
    host.says("npu-smi info", ATLAS)
    return host


def devices(result: dict) -> dict:
    return {chip["npu_id"]: chip["device"] for chip in result["chips"]}


def davinci(*numbers: int) -> list[str]:
    return [f"/dev/davinci{number}" for number in numbers]


def test_a_healthy_server_is_described_whole_by_one_call(atlas):
    result, warnings = atlas.collect()
    chips = result.pop("chips")
    assert result == {
        "ok": True,
        "problems": [],
        "findings": [],
        "driver_version": "25.5.2",
        "tool_version": "25.5.2",
        "npu_count": 8,
        "devices": davinci(*range(8)),
        "manager_devices": MANAGERS,
        "npu_smi_path": str(atlas.path(TOOL)),
        "driver": {
            "version": "25.5.2",
            "install_path": "/usr/local/Ascend",
            "install_info": {
                "UserName": "HwHiAiUser",
                "UserGroup": "HwHiAiUser",
                "Driver_Install_Type": "full",
                "Driver_Install_Path_Param": "/usr/local/Ascend",
                "Driver_Install_For_All": "yes",
                "Driver_Install_Mode": "normal",
                "Firmware_Install_Type": "full",
                "Firmware_Install_Path_Param": "/usr/local/Ascend",
            },
            "version_info": {"Version": "25.5.2", "package_version": "25.5.2"},
            "firmware_info": {"Version": "7.8.0.2.212", "package_version": "25.5.2"},
        },
        "missing_files": [],
        "mounts": ["/usr/local/dcmi", "/usr/local/Ascend/driver", "/usr/local/Ascend/firmware", TOOL, "/etc/ascend_install.info"],
        "error": None,
        "holders": {"processes": [], "containers": []},
    }
    assert warnings == []
    assert [chip["logic_id"] for chip in chips] == [chip["npu_id"] for chip in chips] == list(range(8))
    assert chips[4] == {
        "npu_id": 4,
        "chip_id": 0,
        "logic_id": 4,
        "phy_id": None,
        "name": "910B4-1",
        "health": "OK",
        "bus_id": "0000:01:00.0",
        "memory_kind": "HBM",
        "memory_total_mb": 65536,
        "memory_used_mb": 49793,
        "ddr_total_mb": None,
        "ddr_used_mb": None,
        "temperature_c": 40,
        "power_w": 92.1,
        "aicore_percent": 0,
        "device": "/dev/davinci4",
        "usable": True,
        "processes": [
            {"pid": 3890686, "name": None, "memory_mb": 23643, "container_pid": None},
            {"pid": 3875913, "name": None, "memory_mb": 152, "container_pid": None},
            {"pid": 3890130, "name": None, "memory_mb": 240, "container_pid": None},
            {"pid": 3878067, "name": None, "memory_mb": 22565, "container_pid": None},
        ],
    }
    assert atlas.calls == [(["npu-smi", "info"], 60)]


def test_command_for_an_npu_without_chips_of_its_own_names_none(tmp_path):
    """An Ascend 950 refuses the option."""
    host = FakeHost(tmp_path, nodes=range(8))
    host.says("npu-smi info", sample("info/950PR_25.7.rc1.1_1").replace("| OK            | 202.6", "| Alarm         | 202.6"))
    result, _warnings = host.collect()
    (told,) = [problem for problem in result["problems"] if "health" in problem]
    assert told.endswith("expected OK. See what is wrong with: npu-smi info -t health -i 0.")


def test_an_npu_in_alarm_is_no_device_to_use(atlas):
    atlas.says("npu-smi info", with_health(ATLAS, 5, "Alarm"))
    result, _warnings = atlas.collect()
    text = "NPU 5 health is Alarm; expected OK. See what is wrong with: npu-smi info -t health -i 5 -c 0."
    assert (result["ok"], result["problems"], result["npu_count"]) == (False, [text], 8)
    assert result["findings"] == [{"kind": "health", "message": text, "npu_id": 5}]
    assert result["devices"] == davinci(0, 1, 2, 3, 4, 6, 7)
    assert result["chips"][5]["device"] == "/dev/davinci5"


@pytest.mark.parametrize("health", ["Warning", "Critical", "UNKNOWN"])
def test_any_health_but_ok_is_told(atlas, health):
    atlas.says("npu-smi info", with_health(ATLAS, 0, health))
    result, _warnings = atlas.collect()
    assert [finding["kind"] for finding in result["findings"]] == ["health"]
    assert (result["chips"][0]["health"], result["devices"]) == (health, davinci(*range(1, 8)))


def test_a_health_that_npu_smi_cannot_print_is_unknown(atlas):
    atlas.says("npu-smi info", with_health(ATLAS, 0, "0K"))
    result, _warnings = atlas.collect()
    assert (result["chips"][0]["health"], result["chips"][0]["usable"], result["ok"]) == ("UNKNOWN", False, False)


def test_ok_of_a_chip_that_could_not_be_asked_is_not_believed(atlas):
    atlas.says("npu-smi info", ATLAS.replace("| 6     910B4-1  ", "| 6              ").replace("0000:41:00.0", "0000:00:00.0"))
    result, _warnings = atlas.collect()
    chip = result["chips"][6]
    assert (chip["name"], chip["health"], chip["bus_id"], chip["usable"]) == (None, "UNKNOWN", None, False)
    assert [(finding["kind"], finding["npu_id"]) for finding in result["findings"]] == [("chip_unreadable", 6)] * 2


@pytest.mark.parametrize("lost", [0, 3, 7])
def test_the_seven_left_of_eight_keep_their_device_nodes(tmp_path, lost):
    left = [number for number in range(8) if number != lost]
    host = FakeHost(tmp_path, nodes=left)
    host.says("npu-smi info", without(ATLAS, lost))
    result, _warnings = host.collect()
    assert (result["ok"], result["npu_count"]) == (True, 7)
    assert devices(result) == {number: f"/dev/davinci{number}" for number in left}
    assert result["devices"] == davinci(*left)
    assert [chip["logic_id"] for chip in result["chips"]] == list(range(7))


def test_an_npu_lost_after_the_start_leaves_its_node_and_is_told(atlas):
    atlas.says("npu-smi info", without(ATLAS, 3))
    result, _warnings = atlas.collect()
    assert result["devices"] == davinci(0, 1, 2, 4, 5, 6, 7)
    assert [finding["kind"] for finding in result["findings"]] == ["device_node"]
    assert result["problems"][0].startswith("/dev/davinci3 belongs to no NPU that npu-smi info lists")


def test_an_npu_whose_node_is_gone_is_told_and_not_used(tmp_path):
    host = FakeHost(tmp_path, nodes=[0, 1, 3, 4, 5, 6, 7])
    host.says("npu-smi info", ATLAS)
    result, _warnings = host.collect()
    assert devices(result) == {**{number: f"/dev/davinci{number}" for number in range(8)}, 2: None}
    assert result["devices"] == davinci(0, 1, 3, 4, 5, 6, 7)
    assert [(finding["kind"], finding["npu_id"]) for finding in result["findings"]] == [("device_node", 2)]
    assert result["problems"][0].startswith("NPU 2 has no device node: /dev/davinci2 does not exist.")


@pytest.mark.parametrize(
    ("table", "nodes", "expected"),
    [
        # PCIe cards: the ids are slots, the nodes are counted.
        ("910A_21.0.2_1", [0, 1], ["/dev/davinci0", "/dev/davinci1"]),
        ("910A_21.0.2_1", [0, 1, 2], [None, None]),
        ("910A_21.0.2_1", [1, 4], ["/dev/davinci1", "/dev/davinci4"]),
        ("310P3_22.0.4_1", [0], ["/dev/davinci0"]),
        ("310P3_25.5.1_4", [5], ["/dev/davinci5"]),
        # The table's own column names the node.
        ("310_21.0.4.B030_1", range(8), davinci(3, 4, 5, 6)),
        ("310_21.0.4.B030_1", range(4), davinci(0, 1, 2, 3)),
        ("910_93_25.2.0_1", range(4), davinci(0, 1, 2, 3)),
        ("910_93_25.2.0_1", range(16), davinci(0, 1, 2, 3)),
        ("910_93_25.2.0_1", [0, 1, 3], ["/dev/davinci0", "/dev/davinci1", None, "/dev/davinci3"]),
        ("950PR_25.7.rc1.1_1", range(8), davinci(*range(8))),
        ("910B3_25.3.rc1_1", [], [None, None]),
    ],
)
def test_device_nodes_of_other_products(tmp_path, table, nodes, expected):
    host = FakeHost(tmp_path, nodes=nodes)
    host.says("npu-smi info", sample(f"info/{table}"))
    result, _warnings = host.collect()
    assert [chip["device"] for chip in result["chips"]] == expected
    told = any(finding["kind"] == "device_node" for finding in result["findings"])
    assert told == (None in expected or len(nodes) > len(expected))


def test_a_damaged_table_is_not_matched_by_its_order(tmp_path):
    host = FakeHost(tmp_path, nodes=[0, 1])
    lines = sample("info/910A_21.0.2_1").splitlines()
    # Three cards 1, 4 and 5, the second of which is unreadable: two nodes for two readable chips prove nothing.
    broken = [lines[6].replace("| 1 ", "|   "), lines[7], lines[8]]
    host.says("npu-smi info", "\n".join(lines[:9] + broken + lines[9:]))
    result, _warnings = host.collect()
    assert devices(result) == {1: None, 4: None}
    assert result["ok"] is False and result["npu_count"] == 2


def test_a_server_without_driver_is_reported_with_the_remedy(tmp_path):
    host = FakeHost(tmp_path, nodes=[], tool=False)
    result, warnings = host.collect()
    assert (result["ok"], result["chips"], result["npu_smi_path"]) == (False, [], None)
    assert result["problems"][0] == (
        "npu-smi was not found on PATH and in /usr/local/bin, /usr/local/sbin, /usr/local/Ascend/driver/tools: the Ascend "
        "driver is not installed, or npu-smi lies elsewhere. Install the driver, or put npu-smi there."
    )
    assert [finding["kind"] for finding in result["findings"]] == ["npu_smi_missing", "device_node"]
    assert (host.calls, warnings) == ([], [])


def test_a_named_npu_smi_that_is_a_folder_is_told(atlas):
    result, _warnings = atlas.collect(npu_smi=str(atlas.path("/usr/local/dcmi")))
    assert result["findings"][0]["kind"] == "npu_smi_missing"
    assert atlas.calls == []


@pytest.mark.parametrize("folder", ["/usr/local/bin", "/usr/local/sbin", "/usr/local/Ascend/driver/tools"])
def test_npu_smi_is_found_off_path(tmp_path, folder):
    host = FakeHost(tmp_path, tool=False)
    host.write(f"{folder}/npu-smi", "", mode=0o755)
    host.says("npu-smi info", ATLAS)
    result, _warnings = host.collect()
    assert (result["ok"], result["npu_smi_path"]) == (True, str(host.path(f"{folder}/npu-smi")))


def test_a_hanging_npu_smi_is_killed_at_the_limit_and_told(atlas):
    atlas.seconds_a_call = 1000
    result, _warnings = atlas.collect(timeout=20)
    assert result["problems"] == [
        "npu-smi info did not end within 20 s and was killed: an NPU or its driver hangs. Look at dmesg; a reboot of the host mends most."
    ]
    assert (result["chips"], result["manager_devices"], atlas.calls) == ([], MANAGERS, [(["npu-smi", "info"], 20)])


def test_a_table_before_the_hang_still_gives_its_chips(atlas):
    atlas.says("npu-smi info", ATLAS, rc=-9, timed_out=True)
    result, _warnings = atlas.collect()
    assert (result["npu_count"], [finding["kind"] for finding in result["findings"]]) == (8, ["npu_smi_timeout"])


@pytest.mark.parametrize(
    ("text", "rc", "code", "words"),
    [
        (sample("errors/8005_non_root_x_1"), 187, -8005, "the driver can't be reached"),
        (sample("errors/8020_board_type_x_1"), 211, -8020, "another container holds an NPU"),
        ("npu get board type failed. ret is -9005\n", 211, -9005, "the board could not be read"),
        ("Failed to execute npu-smi info. ret is -9012.\n", 204, -9012, "the NPU is not ready"),
        ("dcmi module initialize failed. ret is -8017\n", 175, -8017, "its firmware is being upgraded"),
        ("dcmi module initialize failed. ret is -8099\n", 93, -8099, "the code is not documented"),
        ("There is no NPU card on this server.\n", 0, None, "the driver sees no NPU"),
        ("DrvMngGetConsoleLogLevel failed. (ret=4)\n", 0, None, "the driver's manager can't be reached"),
    ],
)
def test_driver_errors_are_told_with_meaning_and_remedy(atlas, text, rc, code, words):
    atlas.says("npu-smi info", text, rc=rc)
    result, _warnings = atlas.collect()
    assert (result["chips"], result["ok"], result["error"]["code"]) == ([], False, code)
    assert words in result["error"]["meaning"]
    assert len(result["problems"]) == 1 and result["error"]["remedy"] in result["problems"][0]


def test_a_missing_library_on_stderr_is_told(atlas):
    atlas.says("npu-smi info", "", rc=127, stderr=sample("errors/libc_sec_x_1"))
    result, _warnings = atlas.collect()
    assert [finding["kind"] for finding in result["findings"]] == ["driver_error"]
    assert "a library of the driver is not found" in result["problems"][0]


@pytest.mark.parametrize(("text", "rc"), [("", 0), ("", 1), ("hello\n", 0), ("\x00\x01\ufffd" * 100, 3), ("Segmentation fault", -11)])
def test_anything_else_is_told_as_it_came(atlas, text, rc):
    atlas.says("npu-smi info", text, rc=rc)
    result, _warnings = atlas.collect()
    assert (result["chips"], [finding["kind"] for finding in result["findings"]]) == ([], ["npu_smi_failed"])
    assert f"status {rc}" in result["problems"][0] and "\x00" not in result["problems"][0]


def test_a_table_with_a_bad_status_gives_its_chips_and_is_told(atlas):
    atlas.says("npu-smi info", ATLAS, rc=5)
    result, _warnings = atlas.collect()
    assert (result["npu_count"], [finding["kind"] for finding in result["findings"]]) == (8, ["npu_smi_failed"])


def test_lines_around_a_good_table_are_warnings(atlas):
    noise = "DrvMngGetConsoleLogLevel failed. (g_conLogLevel=3)\n"
    warning = "[WARNING]The driver package may not be completely installed, which may cause function abnormal.\n"
    atlas.says("npu-smi info", noise + ATLAS + warning)
    result, warnings = atlas.collect()
    assert (result["ok"], len(warnings)) == (True, 2)
    assert all(text.startswith("npu-smi info also printed '") for text in warnings)


def test_a_chip_whose_rows_vanish_is_told(atlas):
    # npu-smi leaves out the first row where the health is a number it doesn't know.
    lines = [line for line in ATLAS.splitlines() if not line.startswith("| 3     910B4-1")]
    atlas.says("npu-smi info", "\n".join(lines))
    result, _warnings = atlas.collect()
    assert (result["npu_count"], result["ok"]) == (7, False)
    assert "table_incomplete" in {finding["kind"] for finding in result["findings"]}


def test_one_bad_die_of_a3_is_told_by_its_chip(tmp_path):
    host = FakeHost(tmp_path, nodes=range(4))
    text = sample("info/910_93_25.2.0_1")
    host.says(
        "npu-smi info",
        text.replace("| 1     Ascend910           | OK            | -  ", "| 1     Ascend910           | Critical      | -  "),
    )
    host.write("/usr/local/Ascend/driver/version.info", "Version=25.2.0\n")
    result, _warnings = host.collect()
    assert result["devices"] == davinci(0, 1, 2)
    assert result["problems"] == ["NPU 1 chip 1 health is Critical; expected OK. See what is wrong with: npu-smi info -t health -i 1 -c 1."]


def ascend950(tmp_path, machine: str = "aarch64") -> FakeHost:
    """Its driver makes no /dev/devmm_svm; the fabric's nodes are below directories."""
    host = FakeHost(tmp_path, machine=machine)
    host.says("npu-smi info", sample("info/950PR_25.7.rc1.1_1"))
    host.write("/usr/local/Ascend/driver/version.info", "Version=25.7.rc1.1\n")
    host.path("/dev/devmm_svm").unlink()
    host.write("/dev/uburma/udma0", "")
    host.write("/dev/ummu/tid", "")
    host.write("/etc/hccl_rootinfo.json", '{"version": "2.0", "topo_file_path": "/usr/local/Ascend/driver/topo/a.json"}')
    return host


def test_ascend_950_has_a_fabric_and_its_file_in_place_of_devmm_svm(tmp_path):
    result, _warnings = ascend950(tmp_path).collect()
    assert (result["ok"], result["problems"]) == (True, [])
    assert result["manager_devices"] == ["/dev/davinci_manager", "/dev/hisi_hdc", "/dev/uburma", "/dev/ummu"]
    assert result["mounts"][-2:] == ["/etc/ascend_install.info", "/etc/hccl_rootinfo.json"]


def test_fabric_that_is_missing_is_told_where_the_machine_has_one(tmp_path):
    host = ascend950(tmp_path)
    host.path("/dev/ummu/tid").unlink()
    for name in ("ummu", "uburma"):
        host.path(f"/dev/{name}").rename(host.path(f"/run-{name}"))
    result, _warnings = host.collect()
    (text,) = result["problems"]
    assert text.startswith(
        "/dev/uburma, /dev/ummu missing: the NPUs can't talk to each other in a container without, nor a model use several."
    )
    host.machine = "x86_64"
    assert host.collect()[0]["ok"]
    host.path("/dev/ummu").mkdir()
    assert host.collect()[0]["problems"][0].startswith("/dev/ummu is no device node"), "Docker made a folder of it"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"version": "1.0", "status": "completed"}', "has version 1.0, which is that of 910B; expected 2.0 for 950"),
        ('{"version": "9"}', "has version 9, which is that of no chips that are known; expected 2.0 for 950"),
        ("[]", "names no version; expected version 2.0"),
        ("{", "names no version; expected version 2.0"),
        (None, "is a folder; expected version 2.0"),
    ],
)
def test_file_of_another_generation_is_named_and_given_to_no_container(tmp_path, text, found):
    host = ascend950(tmp_path)
    if text is None:
        host.path("/etc/hccl_rootinfo.json").unlink()
        host.path("/etc/hccl_rootinfo.json").mkdir()
    else:
        host.write("/etc/hccl_rootinfo.json", text)
    result, _warnings = host.collect()
    assert result["problems"] == [
        f"/etc/hccl_rootinfo.json {found}. HCCL refuses it (EI0014) where a container has it, so that no model starts on several NPUs; "
        "the containers made here do not get it. Move it away (mv /etc/hccl_rootinfo.json /root)."
    ]
    assert ("/etc/hccl_rootinfo.json" in result["mounts"], result["missing_files"]) == (False, [])
    host.path("/etc/hccl_rootinfo.json").rename(host.path("/root-info"))
    assert host.collect()[0]["ok"], "without it HCCL asks the driver"


def test_other_chips_have_their_own_nodes_and_no_file_more(atlas):
    atlas.write("/dev/ummu", "")
    atlas.write("/etc/hccl_rootinfo.json", '{"version": "1.0"}')
    result, _warnings = atlas.collect()
    assert (result["ok"], result["manager_devices"]) == (True, MANAGERS)
    assert "/etc/hccl_rootinfo.json" not in result["mounts"]


@pytest.mark.parametrize(
    ("chip", "kind"),
    [("910B4", "910b"), ("Ascend910B4-1", "910b"), ("310P3", "310p"), ("Ascend910", "a3"), ("910_9392", "a3"), ("Ascend950PR", "950")]
    + [("910A", ""), ("910ProB", ""), ("310B4", ""), ("", ""), (None, "")],
)
def test_chips_are_known_by_their_generation(chip, kind):
    assert kinds.of_chip(chip).name == kind


def test_missing_driver_files_and_nodes_are_told_by_name(atlas):
    for path in ("/dev/hisi_hdc", "/usr/local/Ascend/driver/version.info", "/etc/ascend_install.info"):
        atlas.path(path).unlink()
    atlas.path("/etc/ascend_install.info").mkdir()
    result, _warnings = atlas.collect()
    assert result["missing_files"] == ["/etc/ascend_install.info", "/usr/local/Ascend/driver/version.info"]
    assert result["manager_devices"] == MANAGERS[:2]
    assert result["mounts"] == ["/usr/local/dcmi", "/usr/local/Ascend/driver", "/usr/local/Ascend/firmware", TOOL]
    assert [(finding["kind"], re.split("[;,]", finding["message"])[0]) for finding in result["findings"]] == [
        ("device_node", "/dev/hisi_hdc missing: containers can't use an NPU without. The driver makes them at start: look at dmesg"),
        ("driver_file", "/etc/ascend_install.info is a folder"),
        ("driver_file", "/usr/local/Ascend/driver/version.info is missing"),
    ]
    unchecked, _warnings = atlas.collect(driver_files=False)
    assert (unchecked["ok"], unchecked["missing_files"]) == (True, result["missing_files"])


def test_a_node_that_is_a_folder_is_told(atlas):
    atlas.path("/dev/davinci4").unlink()
    atlas.path("/dev/davinci4").mkdir()
    result, _warnings = atlas.collect()
    assert result["devices"] == davinci(0, 1, 2, 3, 5, 6, 7)
    assert result["problems"][0].startswith("/dev/davinci4 is no device node; expected a character device")


def test_a_driver_updated_without_reboot_is_told(atlas):
    atlas.write("/usr/local/Ascend/driver/version.info", "Version=25.6.0\n")
    result, _warnings = atlas.collect()
    assert result["problems"] == [
        "The running driver is 25.5.2, the installed one 25.6.0 (version.info). Reboot the host, so that the installed one runs."
    ]


def test_an_installation_that_was_broken_off_is_told(atlas):
    text = sample("driver_files/ascend_install.info_faked_cann8.0")
    atlas.write("/etc/ascend_install.info", text)
    assert atlas.collect()[0]["ok"] is True
    atlas.write("/etc/ascend_install.info", text.replace("Status=complete", "Status=installing"))
    assert [finding["kind"] for finding in atlas.collect()[0]["findings"]] == ["driver_file"]


def test_a_driver_elsewhere_is_found_through_its_own_account(atlas):
    atlas.path("/usr/local/Ascend/driver").rename(atlas.path("/opt") if atlas.path("/opt").mkdir() else atlas.path("/opt/driver"))
    atlas.write("/etc/ascend_install.info", "Driver_Install_Path_Param=/opt\n")
    result, _warnings = atlas.collect()
    assert (result["ok"], result["driver"]["install_path"], result["driver"]["version"]) == (True, "/opt", "25.5.2")
    assert "/opt/driver" in result["mounts"]
    assert library_path(str(atlas.root)).split(":")[-2:] == ["/opt/driver/lib64/common", "/opt/driver/lib64"]


def test_who_holds_an_npu_is_named(atlas):
    container = "3f5b0c8f7ad1a2e5c1f0f7c0d4b4e0a0c2b6d1a4e7f8091a2b3c4d5e6f708192"
    other, gone = container[::-1], "0" * 64
    atlas.says("npu-smi info", sample("errors/8020_in_use_x_1"), rc=172)
    for pid, name, target, group in (
        (4711, "python3", "/dev/davinci2", f"0::/system.slice/docker-{container}.scope\n"),
        (4712, "bash", "/dev/null", "0::/user.slice\n"),
        (4713, "npu-smi", "/dev/davinci_manager", "0::/user.slice\n"),
    ):
        atlas.write(f"/proc/{pid}/comm", f"{name}\n")
        atlas.write(f"/proc/{pid}/cgroup", group)
        atlas.path(f"/proc/{pid}/fd").mkdir()
        atlas.path(f"/proc/{pid}/fd/3").symlink_to(target)
    atlas.says("docker ps --all --quiet --no-trunc", f"{container}\n{other}\n{gone}\n")
    nodes = [{"PathOnHost": path, "PathInContainer": path} for path in davinci(2) + MANAGERS]
    secret = {"Env": ["HF_TOKEN=s3cr3t"]}
    described = [
        {"Id": container, "Name": "/vllm", "Config": {"Image": IMAGE, **secret}, "HostConfig": {"Devices": nodes}},
        {"Id": other, "Name": "/watch", "Config": {"Image": "nginx", **secret}, "HostConfig": {"Privileged": True}},
    ]
    # One that is gone meanwhile makes docker fail, and the others are told all the same.
    told = json.dumps([{**each, "State": {"Running": True}} for each in described])
    atlas.says(f"docker container inspect {container} {other} {gone}", told, rc=1)
    result, _warnings = atlas.collect()
    assert result["error"]["code"] == -8020
    assert result["holders"] == {
        "processes": [{"pid": 4711, "name": "python3", "devices": davinci(2), "container_id": container}],
        "containers": [
            {
                "id": container,
                "container": "vllm",
                "name": "vllm",
                "image": IMAGE,
                "npus": [2],
                "devices": davinci(2),
                "via": "devices",
                "visible_devices": None,
            },
            {
                "id": other,
                "container": "watch",
                "name": "watch",
                "image": "nginx",
                "npus": list(range(8)),
                "devices": davinci(*range(8)),
                "via": "privileged",
                "visible_devices": None,
            },
        ],
    }
    assert "s3cr3t" not in json.dumps(result)


def test_a_dead_docker_does_not_hold_up_the_search_for_holders(atlas):
    atlas.says("npu-smi info", sample("errors/8020_in_use_x_1"), rc=172)
    atlas.says("docker ps --all --quiet --no-trunc", "", rc=-9, timed_out=True)
    result, _warnings = atlas.collect()
    assert result["holders"] == {"processes": [], "containers": []}
    assert atlas.calls[1] == (["docker", "ps", "--all", "--quiet", "--no-trunc"], 5)


def hccn(host: FakeHost, number: int) -> None:
    host.says(f"hccn_tool -i {number} -link -g", "link status: UP\n")
    host.says(f"hccn_tool -i {number} -ip -g", f"ipaddr:192.168.100.10{number}\nnetmask:255.255.255.0\n")
    host.says(f"hccn_tool -i {number} -gateway -g", "default gateway:192.168.100.1, Iface:eth0\n")
    switch = "tls switch[0](0:disable, 1:enable), tls preconfigured[1](0:non-preset, 1:preset)"
    host.says(f"hccn_tool -i {number} -tls -g", f"dev_id:{number}, {switch}, tls alarm time threshold[60]days\n")


def test_more_is_gathered_on_request(tmp_path):
    host = FakeHost(tmp_path, nodes=[0])
    host.says("npu-smi info", sample("info/910B4_24.1.rc1_1"))
    host.write("/usr/local/Ascend/driver/version.info", "Version=24.1.rc1\n")
    host.says("npu-smi info -t board -i 0", sample("board/910B_24.1.0.b062_1"))
    host.says("npu-smi info -t usages -i 0", sample("usages/910A_doc_1"))
    host.says("npu-smi info -t topo", sample("topo/910B1_23.0.rc2_1"))
    host.says("npu-smi info -m", sample("info_m/910B3_25.5.1_1"))
    hccn(host, 0)
    host.write("/etc/hccn.conf", "address_0=192.168.100.132\nnetmask_0=255.255.255.0\nnetdetect_0=192.168.100.1\n")
    result, warnings = host.collect(gather=["board", "usages", "topology", "network"])
    assert warnings == []
    assert result["ok"] is True
    assert (result["boards"][0]["soc_version"], result["boards"][0]["serial_number"]) == ("Ascend910B4", "1000000000")
    assert [(usage["npu_id"], usage["chip_id"], usage["hbm_capacity_mb"]) for usage in result["usages"]] == [(0, 0, 32768)]
    assert result["topology"]["cpu_affinity"]["NPU1"] == "0-23"
    assert result["network"] == [
        {
            "npu_id": 0,
            "number": 0,
            "chip_id": 0,
            "link": "UP",
            "address": "192.168.100.100",
            "netmask": "255.255.255.0",
            "gateway": "192.168.100.1",
            "tls": False,
            "configured_address": "192.168.100.132",
            "configured_netmask": "255.255.255.0",
            "configured_gateway": None,
        }
    ]
    assert "/etc/hccn.conf" in result["mounts"]
    assert [limit for _words, limit in host.calls] == [60 - call for call in range(len(host.calls))]


def test_the_soc_of_a3_is_asked_of_the_chip(tmp_path):
    host = FakeHost(tmp_path, nodes=range(4))
    host.says("npu-smi info", sample("info/910_93_25.2.0_1"))
    for npu_id in (0, 1):
        host.says(f"npu-smi info -t board -i {npu_id}", f"\tNPU ID                         : {npu_id}\n")
        host.says(f"npu-smi info -t board -i {npu_id} -c 0", sample("board/910_93_doc_1"))
    result, _warnings = host.collect(gather=["board"])
    assert [board["soc_version"] for board in result["boards"]] == ["Ascend910_9392"] * 2


def test_what_cannot_be_gathered_is_a_warning(atlas):
    result, warnings = atlas.collect(gather=["board", "network"])
    assert (result["ok"], result["boards"], len(result["network"])) == (True, [], 8)
    assert result["network"][7]["address"] is None
    assert len(warnings) == 8 + 32
    assert "'" + str(atlas.path(TOOL)) + " info -t board -i 0': this version of npu-smi does not know the query." in warnings


def test_the_time_limit_holds_over_all_calls(atlas):
    atlas.seconds_a_call = 3
    for npu_id in range(8):
        atlas.says(f"npu-smi info -t usages -i {npu_id}", sample("usages/910A_doc_1"))
    result, warnings = atlas.collect(gather=["usages", "network"], timeout=10)
    assert [limit for _words, limit in atlas.calls] == [10, 7, 4, 1]
    assert (result["ok"], result["npu_count"], len(result["usages"])) == (True, 8, 2)
    tool = atlas.path(TOOL)
    assert warnings == [
        f"'{tool} info -t usages -i 2': did not end in time.",
        f"The time limit of 10 s ended before '{tool} info -t usages -i 3': raise timeout, or gather less.",
    ]


def script(tmp_path: pathlib.Path, text: str) -> str:
    path = tmp_path / "npu-smi"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def run_module(capsys, **arguments) -> dict:
    with patch_module_args(arguments), pytest.raises(SystemExit) as end:
        npu_info.main()
    result = json.loads(capsys.readouterr().out)
    assert end.value.code == (1 if result.get("failed") else 0)
    return result


def test_the_module_runs_the_tool_in_the_c_locale_and_sets_facts(tmp_path, capsys):
    table = SAMPLES / "info" / "910B4-1_25.5.2_1.txt"
    path = script(tmp_path, f'[ "$LC_ALL$LANG" = CC ] && [ "$*" = info ] && exec cat {table}')
    result = run_module(capsys, npu_smi=path, set_facts=True, driver_files=False, _ansible_check_mode=True)
    assert (result["changed"], result["npu_count"], result["npu_smi_path"]) == (False, 8, path)
    assert result["ansible_facts"]["ascend_npus"]["chips"] == result["chips"]


def test_the_module_ends_at_its_limit_though_npu_smi_and_its_children_hang(tmp_path, capsys):
    result = run_module(capsys, npu_smi=script(tmp_path, "sleep 1000 & wait"), timeout=1)
    assert "failed" not in result
    assert result["findings"][0]["kind"] == "npu_smi_timeout"


def test_the_module_survives_endless_output(tmp_path, capsys):
    result = run_module(capsys, npu_smi=script(tmp_path, "exec yes"), timeout=30)
    assert (result["findings"][0]["kind"], result["chips"]) == ("output_too_long", [])


def test_a_time_limit_of_nothing_is_refused(capsys):
    assert run_module(capsys, timeout=0)["msg"] == "timeout is 0; expected a number of seconds above 0."


def documented(options: dict) -> dict:
    return {name: documented(option["contains"]) if "contains" in option else None for name, option in options.items()}


def test_the_documentation_names_what_is_returned(tmp_path):
    host = FakeHost(tmp_path, nodes=[0])
    host.says("npu-smi info", sample("info/910B4_24.1.rc1_1"))
    hccn(host, 0)
    result, _warnings = host.collect(gather=["board", "usages", "topology", "network"])
    known = documented(yaml.safe_load(npu_info.RETURN))
    assert set(known) - {"ansible_facts"} == set(result)
    assert set(known["chips"]) == set(result["chips"][0])
    assert set(known["network"]) == set(result["network"][0])
    assert set(known["driver"]) == set(result["driver"])
    assert set(known["findings"]) == {"kind", "message", "npu_id"}
    kinds = set(re.findall(r"\bV\((\w+)\)", str(yaml.safe_load(npu_info.RETURN)["findings"]["contains"]["kind"])))
    folder = pathlib.Path(npu_info.__file__).parents[1] / "module_utils/npu"
    sources = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    used = set(re.findall(r'(?:Finding|find)\(\s*"(\w+)"', sources))
    assert used - {"answer_unreadable"} == kinds
