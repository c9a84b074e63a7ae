# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The simulated NPUs answer as the recorded ones did, and fail as the recorded ones failed."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLES = pathlib.Path(__file__).parent / "samples" / "sim"
MANAGERS = ("davinci_manager", "devmm_svm", "hisi_hdc")
BUS_IDS = ("C1", "C2", "81", "82", "01", "02", "41", "42")


def sample(name: str) -> str:
    return (SAMPLES / name).read_text()


def keys(text: str) -> list[str]:
    return [line.split(":")[0].strip() for line in text.splitlines() if ":" in line]


@dataclass
class Machine:
    """A host, or a container that got the driver's mounts and some device nodes."""

    root: pathlib.Path

    def run(self, program: str, *words: str, **options) -> subprocess.CompletedProcess:
        environment = {**os.environ, "NPU_SIM_ROOT": str(self.root), **options.pop("env", {})}
        command = [str(self.root) + program, *words]
        options = {"errors": "surrogateescape", "timeout": 60, "env": environment, **options}
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)

    def smi(self, *words: str, **options) -> tuple[int, str, str]:
        done = self.run("/usr/local/bin/npu-smi", *words, **options)
        return done.returncode, done.stdout, done.stderr

    def answer(self, *words: str) -> str:
        status, out, err = self.smi(*words)
        assert (status, err) == (0, "")
        return out

    def hccn(self, *words: str) -> tuple[int, str]:
        done = self.run("/usr/local/Ascend/driver/tools/hccn_tool", *words)
        return done.returncode, done.stdout

    def sim(self, *words: str) -> str:
        program = str(self.root / "usr/local/sbin/npu-sim")
        environment = {**os.environ, "NPU_SIM_ROOT": str(self.root)}
        done = subprocess.run([sys.executable, program, *words], capture_output=True, text=True, timeout=60, env=environment, check=True)
        return done.stdout

    def healths(self) -> dict[int, str]:
        """NPU ID -> health, of the table."""
        rows = [line.split("|") for line in self.answer("info").splitlines() if "910B4 " in line]
        return {int(row[1].split()[0]): row[2].strip() for row in rows}

    def devices(self) -> list[str]:
        return sorted(node.name for node in (self.root / "dev").iterdir())

    def recorded(self, version: str, chip_name: str, npus: list[dict]) -> None:
        """Give the host the values of a recorded machine."""
        state = {"driver": version, "chip_name": chip_name, "npus": npus}
        (self.root / "etc/npu-sim/state.json").write_text(json.dumps(state))
        self.sim("render")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    machine = Machine(tmp_path_factory.mktemp("npu") / "host")
    subprocess.run([str(ROOT / "lab/npu/install.sh"), str(machine.root)], check=True, timeout=60)
    machine.sim("reset")
    return machine.root


@pytest.fixture
def host(tmp_path: pathlib.Path, installed: pathlib.Path) -> Machine:
    return Machine(pathlib.Path(shutil.copytree(installed, tmp_path / "host", symlinks=True)))


def container(host: Machine, *nodes: str) -> Machine:
    """What the guide mounts: dcmi, npu-smi, lib64; here also hccn_tool. Of the state file it knows nothing."""
    inside = Machine(host.root.parent / "container")
    for mount in ("usr/local/dcmi", "usr/local/bin", "usr/local/Ascend/driver/lib64", "usr/local/Ascend/driver/tools"):
        (inside.root / mount).parent.mkdir(parents=True, exist_ok=True)
        (inside.root / mount).symlink_to(host.root / mount)
    (inside.root / "dev").mkdir()
    for node in nodes:
        (inside.root / "dev" / node).touch()
    return inside


# --- recorded machines ---


def test_the_table_is_the_recorded_one_of_eight_working_npus(host: Machine) -> None:
    power = (92.1, 93.4, 90.6, 92.2, 92.1, 94.2, 98.4, 97.2)
    temperature = (37, 36, 34, 37, 40, 41, 41, 41)
    used = (3606, 3397, 5665, 3398, 49793, 13566, 11950, 38428)
    processes = {
        0: [(1265762, 115)],
        2: [(3910004, 2320)],
        4: [(3890686, 23643), (3875913, 152), (3890130, 240), (3878067, 22565)],
        5: [(485900, 3726), (470570, 4090), (451631, 2510)],
        6: [(1265762, 8617)],
        7: [(2710151, 32489), (2694952, 2654)],
    }
    npus = [
        {
            "id": i,
            "bus_id": f"0000:{BUS_IDS[i]}:00.0",
            "power_w": power[i],
            "temperature_c": temperature[i],
            "hbm_used_mb": used[i],
            "processes": [{"pid": pid, "name": "", "memory_mb": mb} for pid, mb in processes.get(i, [])],
        }
        for i in range(8)
    ]
    host.recorded("25.5.2", "910B4-1", npus)
    assert host.answer("info") == sample("info_910B4-1_25.5.2.txt")


def test_the_table_is_the_recorded_one_of_a_single_npu(host: Machine) -> None:
    npu = {"id": 0, "bus_id": "0000:82:00.0", "power_w": 81.1, "temperature_c": 37, "hbm_used_mb": 2773}
    host.recorded("24.1.rc1", "910B4", [npu])
    assert host.answer("info") == sample("info_910B4_24.1.rc1.txt")


def test_the_list_is_the_recorded_one(host: Machine) -> None:
    assert host.answer("info", "-l").expandtabs() == sample("list_910B4_25.0.rc1.1.txt")


def test_the_mapping_is_the_recorded_one(host: Machine) -> None:
    host.recorded("25.5.1", "910B3", [{"id": i, "bus_id": f"0000:{BUS_IDS[i]}:00.0"} for i in range(2)])
    assert host.answer("info", "-m") == sample("mapping_910B3_25.5.1.txt")


def test_common_is_the_recorded_one(host: Machine) -> None:
    npu = {"id": 1, "bus_id": "0000:C2:00.0", "power_w": 93.4, "temperature_c": 46, "hbm_used_mb": 3000}
    host.recorded("23.0.rc2", "910B1", [npu])
    assert host.answer("info", "-t", "common", "-i", "1").expandtabs() == sample("common_910B1_23.0.rc2.txt")


def test_memory_is_the_recorded_one(host: Machine) -> None:
    host.recorded("25.2.0", "910B4", [{"id": 1, "bus_id": "0000:C2:00.0", "temperature_c": 35}])
    assert host.answer("info", "-t", "memory", "-i", "1").expandtabs() == sample("memory_910B4.txt")


@pytest.mark.parametrize(
    ("words", "recording"),
    [
        (("-t", "usages", "-i", "0"), "usages_910A.txt"),
        (("-t", "board", "-i", "0"), "board_910B_24.1.0.txt"),
        (("-i", "0", "-c", "0", "-t", "board"), "board_chip_910A_23.0.5.txt"),
        (("-i", "0", "-c", "0", "-t", "health"), "health_chip_910A_23.0.5.txt"),
        (("-t", "memory", "-i", "0", "-c", "0"), "memory_chip_910B.txt"),
    ],
)
def test_the_keys_come_in_the_recorded_order(host: Machine, words: tuple[str, ...], recording: str) -> None:
    assert keys(host.answer("info", *words)) == keys(sample(recording))


def test_a_chip_tells_what_makes_its_soc_name(host: Machine) -> None:
    board = dict(
        [part.strip() for part in line.split(":", 1)] for line in host.answer("info", "-t", "board", "-i", "5", "-c", "0").splitlines()
    )
    assert (board["Chip Type"] + board["Chip Name"], board["PCIe Bus Info"]) == ("Ascend910B4", "0000:02:00.0")


def test_the_driver_files_have_the_recorded_keys(host: Machine) -> None:
    def names(text: str) -> list[str]:
        return [line.split("=")[0] for line in text.splitlines()]

    version = (host.root / "usr/local/Ascend/driver/version.info").read_text()
    install = (host.root / "etc/ascend_install.info").read_text()
    assert names(version) == names(sample("driver_version.info_25.3.rc1.txt"))
    assert sorted(names(install)) == sorted([*names(sample("ascend_install.info_24.1.txt")), "Driver_Install_Status"])


def test_the_network_port_answers_every_question_of_a_worker(host: Machine) -> None:
    out = [host.hccn("-i", "3", option, "-g") for option in ("-link", "-ip", "-mac", "-gateway", "-mtu", "-net_health")]
    assert out == [
        (0, "link status: UP\n"),
        (0, "ipaddr:192.168.100.14\nnetmask:255.255.255.0\n"),
        (0, "mac addr: 94:e4:ba:10:00:03\n"),
        (0, "default gateway:192.168.100.1, Iface:eth3\n"),
        (0, "mtu:1500\n"),
        (0, "net health status: Success\n"),
    ]
    assert "tls switch[0]" in host.hccn("-i", "3", "-tls", "-g")[1]
    assert "Ifname: 200GE1/1/4" in host.hccn("-i", "3", "-lldp", "-g")[1]


# --- what a container sees ---


def test_a_container_sees_only_the_npus_whose_nodes_it_was_given(host: Machine) -> None:
    inside = container(host, "davinci2", "davinci5", *MANAGERS)
    assert inside.healths() == {2: "OK", 5: "OK"}
    assert keys(inside.answer("info", "-l")) == ["Total Count", "NPU ID", "Chip Count", "NPU ID", "Chip Count"]
    rows = [line.split()[:3] for line in inside.answer("info", "-m").splitlines() if "Ascend" in line]
    assert rows == [["2", "0", "0"], ["5", "0", "1"]]
    assert inside.smi("info", "-t", "board", "-i", "0")[:2] == (215, sample("error_card_lost.txt"))
    assert inside.hccn("-i", "2", "-link", "-g") == (0, "link status: UP\n")
    assert inside.hccn("-i", "0", "-link", "-g")[1] == "".join(sample("error_hccn_range.txt").splitlines(True)[1:])


@pytest.mark.parametrize("lacking", [*MANAGERS, "davinci0"])
def test_a_container_without_one_of_its_nodes_cannot_start_the_driver(host: Machine, lacking: str) -> None:
    inside = container(host, *({"davinci0", *MANAGERS} - {lacking}))
    assert inside.smi("info") == (187, sample("error_8005_no_reboot.txt"), "")


def test_a_folder_in_place_of_a_node_is_no_npu(host: Machine) -> None:
    inside = container(host, "davinci0", *MANAGERS)
    (inside.root / "dev/davinci1").mkdir()
    assert inside.healths() == {0: "OK"}


def test_a_container_sees_a_fault_at_once(host: Machine) -> None:
    inside = container(host, "davinci0", "davinci1", *MANAGERS)
    host.sim("set", "health", "1", "Critical")
    assert inside.healths() == {0: "OK", 1: "Critical"}


@pytest.mark.parametrize(
    ("mount", "library"),
    [
        ("usr/local/dcmi", "libdcmi.so"),
        ("usr/local/Ascend/driver/lib64/common", "libc_sec.so"),
        ("usr/local/Ascend/driver/lib64/driver", "libdrvdsmi_host.so"),
    ],
)
def test_a_forgotten_mount_is_a_missing_library(host: Machine, mount: str, library: str) -> None:
    shutil.rmtree(host.root / mount)
    message = sample("error_libc_sec.txt").replace("libc_sec.so", library)
    assert host.smi("info") == (127, "", message)


# --- faults ---


@pytest.mark.parametrize("health", ["Warning", "Alarm", "Critical", "UNKNOWN"])
def test_bad_health_shows_in_the_table_and_for_the_npu(host: Machine, health: str) -> None:
    host.sim("set", "health", "5", health)
    assert host.healths() == {i: health if i == 5 else "OK" for i in range(8)}
    assert host.answer("info", "-t", "health", "-i", "5").splitlines()[1] == f"\t{'Health':<30} : {health}"
    host.sim("set", "health", "5", "OK")
    assert host.healths() == dict.fromkeys(range(8), "OK")


def test_a_missing_npu_is_neither_listed_nor_has_a_node(host: Machine) -> None:
    host.sim("set", "missing", "3")
    assert list(host.healths()) == [0, 1, 2, 4, 5, 6, 7]
    assert host.answer("info", "-l").splitlines()[0] == f"\t{'Total Count':<30} : 7"
    rows = [line.split()[:3] for line in host.answer("info", "-m").splitlines() if "Ascend" in line]
    assert rows == [[str(npu), "0", str(logic)] for logic, npu in enumerate([0, 1, 2, 4, 5, 6, 7])]
    assert host.smi("info", "-t", "board", "-i", "3")[:2] == (215, sample("error_card_lost.txt"))
    assert host.devices() == sorted([f"davinci{i}" for i in (0, 1, 2, 4, 5, 6, 7)] + list(MANAGERS))


def test_an_npu_without_its_node_is_still_listed(host: Machine) -> None:
    host.sim("set", "no-node", "6")
    assert list(host.healths()) == list(range(8))
    assert host.devices() == sorted([f"davinci{i}" for i in (0, 1, 2, 3, 4, 5, 7)] + list(MANAGERS))


def test_nodes_come_back_at_boot_but_not_those_taken_away(host: Machine) -> None:
    host.sim("set", "no-node", "6")
    expected = host.devices()
    shutil.rmtree(host.root / "dev")
    host.sim("reset-nodes")
    assert host.devices() == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("8005", (187, "error_8005_no_reboot.txt")),
        ("8020", (172, "error_8020_in_use.txt")),
    ],
)
def test_a_broken_driver_fails_every_question_as_recorded(host: Machine, error: str, expected: tuple) -> None:
    host.sim("set", "error", error)
    status, recording = expected
    for words in (("info",), ("info", "-l"), ("info", "-t", "common", "-i", "0"), ("-v",)):
        assert host.smi(*words) == (status, sample(recording), "")
    host.sim("set", "error", "off")
    assert host.answer("-v") == "npu-smi version: 25.2.0\n"


def test_a_board_that_cannot_be_read_fails_with_9005(host: Machine) -> None:
    host.sim("set", "error", "9005")
    assert host.smi("info") == (211, "npu get board type failed. ret is -9005\n", "")


def test_missing_libraries_are_the_loaders_complaint(host: Machine) -> None:
    host.sim("set", "error", "libs")
    assert host.smi("info") == (127, "", sample("error_libc_sec.txt"))


def test_garbage_is_no_table_and_no_text_but_a_success(host: Machine) -> None:
    host.sim("set", "garbage", "on")
    status, out, err = host.smi("info")
    assert (status, err, "Version:" in out, "\x00" in out, "\udcff" in out) == (0, "", False, True, True)
    host.sim("set", "garbage", "off")
    assert list(host.healths()) == list(range(8))


def test_a_hanging_tool_ends_only_when_it_is_killed(host: Machine) -> None:
    host.sim("set", "hang", "on")
    program = str(host.root / "usr/local/bin/npu-smi")
    environment = {**os.environ, "NPU_SIM_ROOT": str(host.root)}
    with subprocess.Popen([program, "info"], stdout=subprocess.PIPE, env=environment) as tool:
        # Once it has become sleep there is nothing left in it that could end.
        deadline = time.monotonic() + 30
        while pathlib.Path(f"/proc/{tool.pid}/comm").read_text() != "sleep\n":
            assert time.monotonic() < deadline
        tool.terminate()
        assert (tool.communicate(timeout=30)[0], tool.returncode) == (b"", -signal.SIGTERM)
    host.sim("set", "hang", "off")
    assert list(host.healths()) == list(range(8))


def test_a_slow_tool_answers_late(host: Machine) -> None:
    host.sim("set", "slow", "0.4")
    began = time.monotonic()
    assert list(host.healths()) == list(range(8))
    assert time.monotonic() - began >= 0.4


def test_a_link_that_is_down_is_reported_by_the_network_tool(host: Machine) -> None:
    host.sim("set", "link", "2", "down")
    assert host.hccn("-i", "2", "-link", "-g") == (0, "link status: DOWN\n")
    assert host.hccn("-i", "2", "-net_health", "-g") == (0, "net health status: Fault\n")
    assert host.hccn("-i", "1", "-link", "-g") == (0, "link status: UP\n")


def test_memory_and_processes_show_who_uses_an_npu(host: Machine) -> None:
    host.sim("set", "memory-used", "0", "29954")
    host.sim("set", "process", "0", "4711", "VLLMEngineCoreProc", "27000")
    table = host.answer("info").splitlines()
    assert table[7] == "| 0                         | 0000:C1:00.0  | 0           0    / 0          29954/ 32768         |"
    assert "| 0       0                 | 4711          | VLLMEngineCoreP          | 27000                   |" in table
    assert f"\t{'HBM Usage Rate(%)':<30} : 91" in host.answer("info", "-t", "usages", "-i", "0").splitlines()


def test_another_driver_version_shows_in_the_table_and_in_its_file(host: Machine) -> None:
    host.sim("set", "driver", "24.1.rc3")
    assert host.answer("info").splitlines()[1].split("|")[1].split() == ["npu-smi", "24.1.rc3", "Version:", "24.1.rc3"]
    version = (host.root / "usr/local/Ascend/driver/version.info").read_text().splitlines()
    assert (version[0], version[-1]) == ("Version=24.1.rc3", "package_version=24.1.rc3")


def test_a_server_without_a_driver_has_nothing_of_it_and_gets_all_back(host: Machine) -> None:
    def files() -> list[str]:
        return sorted(str(p.relative_to(host.root)) for p in host.root.rglob("*") if ".npu-sim" not in str(p))

    before = files()
    host.sim("set", "absent", "on")
    gone = set(before) - set(files())
    assert {"usr/local/bin/npu-smi", "usr/local/dcmi", "usr/local/Ascend", "etc/ascend_install.info"} <= gone
    assert host.devices() == []
    # Docker makes a folder of a file that it was to mount and did not find.
    (host.root / "usr/local/bin/npu-smi").mkdir()
    host.sim("set", "absent", "off")
    assert files() == before
    assert list(host.healths()) == list(range(8))


def test_a_server_without_npus_says_so(host: Machine) -> None:
    host.sim("reset", "0")
    assert host.smi("info", "-l") == (0, sample("error_no_card.txt"), "")
    assert host.smi("info", "-m") == (0, sample("error_no_card.txt"), "")
    assert host.smi("info") == (187, sample("error_8005_no_reboot.txt"), "")
    assert host.devices() == sorted(MANAGERS)


@pytest.mark.parametrize(
    ("words", "status", "first"),
    [
        (("info", "-t", "cpu", "-i", "0"), 215, "Error parameter of -t"),
        (("info", "-t", "board", "-i", "8"), 215, "Invalid card id."),
        (("info", "-t", "board"), 215, "Error parameter of -i"),
        (("info", "-t", "board", "-i", "0", "-c", "7"), 215, "Error parameter of -c"),
        (("info", "-i"), 215, "Error parameter of -i"),
        (("info", "-t", "product", "-i", "0"), 217, "This device does not support querying product."),
        (("info", "-x"), 211, "Command or option is not found."),
        (("explain",), 211, "Command or option is not found."),
    ],
)
def test_a_wrong_question_gets_the_tools_own_error(host: Machine, words: tuple, status: int, first: str) -> None:
    done = host.smi(*words)
    assert (done[0], done[1].splitlines()[0], done[2]) == (status, first, "")


# --- how the state changes ---


def test_the_same_change_twice_changes_nothing(host: Machine) -> None:
    def everything() -> dict[str, tuple[int, int]]:
        return {str(p): (p.lstat().st_ino, p.lstat().st_mtime_ns) for p in host.root.rglob("*") if p.name != "lock"}

    for change in (("missing", "3"), ("process", "0", "4711", "python", "100"), ("driver", "24.1.rc3")):
        host.sim("set", *change)
        before = everything()
        host.sim("set", *change)
        assert everything() == before


def test_reset_takes_every_fault_away(host: Machine) -> None:
    healthy = host.sim("show")
    for change in (("hang", "on"), ("missing", "3"), ("health", "5", "Alarm"), ("absent", "on"), ("driver", "1.2.3")):
        host.sim("set", *change)
    host.sim("reset")
    assert host.sim("show") == healthy
    assert host.healths() == dict.fromkeys(range(8), "OK")


def test_an_answer_is_never_half_of_an_old_and_half_of_a_new_state(host: Machine) -> None:
    states = []
    for version, health in (("24.1.rc3", "Alarm"), ("25.2.0", "OK")):
        state = json.loads(host.sim("show"))
        state["driver"] = version
        for npu in state["npus"]:
            npu["health"] = health
        states.append(json.dumps(state))

    def change() -> None:
        for turn in range(10):
            (host.root / "etc/npu-sim/state.json").write_text(states[turn % 2])
            host.sim("render")

    changer = threading.Thread(target=change)
    changer.start()
    seen = set()
    while changer.is_alive():
        table = host.answer("info")
        health = {line.split("|")[2].strip() for line in table.splitlines() if "910B4 " in line}
        seen.add((table.splitlines()[1].split()[2], *sorted(health)))
    changer.join()
    assert seen <= {("24.1.rc3", "Alarm"), ("25.2.0", "OK")}


def test_a_question_starts_one_program_at_most(host: Machine, tmp_path: pathlib.Path) -> None:
    """A worker asks some 65 times every 30 seconds, on emulated machines too."""
    programs = tmp_path / "programs"
    programs.mkdir()
    count = tmp_path / "count"
    (programs / "cat").write_text(f'#!/bin/sh\necho cat >> {count}\nexec {shutil.which("cat")} "$@"\n')
    (programs / "cat").chmod(0o755)
    for words in (("info", "-m"), ("info", "-l"), ("-v",), ("info",), ("info", "-t", "common", "-i", "0")):
        assert host.smi(*words, env={"PATH": str(programs)})[0] == 0
    assert count.read_text() == "cat\ncat\n"


def test_an_unknown_npu_is_refused_and_nothing_changes(host: Machine) -> None:
    before = host.sim("show")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        host.sim("set", "health", "9", "Alarm")
    assert refused.value.stderr == "npu-sim: there is no NPU 9: this host has [0, 1, 2, 3, 4, 5, 6, 7]\n"
    assert host.sim("show") == before
