# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver's library that GPUStack 2 loads in the lab says what npu-smi says, and breaks as it does."""

from __future__ import annotations

import ctypes
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "lab"))
from lablib.images import COMPILER  # noqa: E402

MANAGERS = ("davinci_manager", "devmm_svm", "hisi_hdc")
INNER, NO_DEVICE, USED = -8005, -8008, -8020


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    target = tmp_path_factory.mktemp("dcmi") / "libdcmi.so"
    subprocess.run([*COMPILER, "-o", str(target), str(ROOT / "lab/npu/libdcmi.c")], check=True, timeout=120)
    return target


@pytest.fixture
def host(tmp_path: pathlib.Path, library: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    root = tmp_path / "host"
    subprocess.run([str(ROOT / "lab/npu/install.sh"), str(root), str(library)], check=True, timeout=60)
    monkeypatch.setenv("NPU_SIM_ROOT", str(root))
    sim("reset")
    return root


@pytest.fixture
def dcmi(host: pathlib.Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(host / "usr/local/dcmi/libdcmi.so"))


def sim(*words: str) -> str:
    program = [sys.executable, f"{os.environ['NPU_SIM_ROOT']}/usr/local/sbin/npu-sim"]
    return subprocess.run([*program, *words], check=True, timeout=60, capture_output=True, text=True).stdout


def cards(dcmi: ctypes.CDLL) -> list[int] | int:
    count, found = ctypes.c_int(), (ctypes.c_int * 64)()
    error = dcmi.dcmi_get_card_list(ctypes.byref(count), found, 64)
    return error or found[: count.value]


def asked(function: ctypes._CFuncPtr, *words: int, kind: type = ctypes.c_int) -> int:
    value = kind()
    error = function(*words, ctypes.byref(value))
    assert error == 0
    return value.value


def be_container(host: pathlib.Path, *npus: int) -> None:
    """From here on it knows nothing of the state file, and has these nodes."""
    (host / "etc/npu-sim/state.json").unlink()
    for node in (host / "dev").iterdir():
        if node.name not in (*MANAGERS, *(f"davinci{npu}" for npu in npus)):
            node.unlink()


def test_eight_npus_are_told_with_their_memory_die_and_address(dcmi):
    assert dcmi.dcmi_init() == 0 and cards(dcmi) == list(range(8))
    hbm = (ctypes.c_uint64 * 5)()
    assert dcmi.dcmi_get_device_hbm_info(3, 0, hbm) == 0
    assert (hbm[0], hbm[2]) == (32768, 2871)
    die = (ctypes.c_uint * 5)()
    assert dcmi.dcmi_get_device_die_v2(3, 0, 1, die) == 0
    assert list(die) == [0x42C711D4, 0x20B03703, 0x4A10C8D4, 0x14CC040A, 0xD2102003]
    address, mask = (ctypes.c_ubyte * 20)(), (ctypes.c_ubyte * 20)()
    assert dcmi.dcmi_get_device_ip(3, 0, 1, 0, address, mask) == 0
    assert (list(address[:4]), list(mask[:4])) == ([192, 168, 100, 14], [255, 255, 255, 0])


def test_what_is_set_shows_at_the_next_call(dcmi):
    sim("set", "health", "5", "Alarm")
    assert [asked(dcmi.dcmi_get_device_health, npu, 0, kind=ctypes.c_uint) for npu in (4, 5)] == [0, 2]
    sim("set", "memory-used", "5", "30000")
    hbm = (ctypes.c_uint64 * 5)()
    assert dcmi.dcmi_get_device_hbm_info(5, 0, hbm) == 0 and hbm[2] == 30000


def test_a_missing_npu_moves_the_logic_ids_up_and_not_the_nodes(dcmi):
    sim("set", "missing", "0")
    assert cards(dcmi) == [1, 2, 3, 4, 5, 6, 7]
    assert dcmi.dcmi_get_device_type(0, 0, ctypes.byref(ctypes.c_uint())) == NO_DEVICE
    logic = ctypes.c_int()
    assert dcmi.dcmi_get_device_logic_id(ctypes.byref(logic), 3, 0) == 0 and logic.value == 2
    assert asked(dcmi.dcmi_get_device_phyid_from_logicid, 2, kind=ctypes.c_uint) == 3


def test_a_container_has_the_npus_whose_nodes_it_was_given(host, dcmi):
    be_container(host, 2, 5)
    assert cards(dcmi) == [2, 5]
    assert asked(dcmi.dcmi_get_device_phyid_from_logicid, 1, kind=ctypes.c_uint) == 5
    (host / "dev/hisi_hdc").unlink()
    assert (dcmi.dcmi_init(), cards(dcmi)) == (INNER, INNER)


@pytest.mark.parametrize(("error", "status"), [("8020", USED), ("8005", INNER), ("libs", INNER)])
def test_a_broken_driver_fails_every_call_until_it_is_mended(dcmi, error, status):
    sim("set", "error", error)
    assert (dcmi.dcmi_init(), cards(dcmi)) == (status, status)
    assert dcmi.dcmi_get_device_temperature(0, 0, ctypes.byref(ctypes.c_int())) == status
    sim("set", "error", "off")
    assert (dcmi.dcmi_init(), cards(dcmi)) == (0, list(range(8)))


def test_a_call_that_hangs_ends_with_the_fault(dcmi):
    sim("set", "hang", "on")
    found: list[object] = []
    call = threading.Thread(target=lambda: found.append(cards(dcmi)), daemon=True)
    call.start()
    call.join(0.5)
    assert call.is_alive()
    sim("set", "hang", "off")
    call.join(30)
    assert found == [list(range(8))]


def test_a_slow_driver_answers_late(dcmi):
    sim("set", "slow", "0.3")
    start = time.monotonic()
    assert cards(dcmi) == list(range(8))
    assert time.monotonic() - start >= 0.3
    start = time.monotonic()
    assert asked(dcmi.dcmi_get_device_health, 0, 0, kind=ctypes.c_uint) == 0
    assert time.monotonic() - start < 0.3
