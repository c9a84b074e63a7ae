"""The lab's stand-in of vLLM-Ascend fails where the real one fails, and holds its NPUs alone; how it answers is seen in tests/gateway."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MANAGERS = ("davinci_manager", "devmm_svm", "hisi_hdc")


@pytest.fixture
def host(tmp_path: pathlib.Path) -> pathlib.Path:
    subprocess.run([str(ROOT / "lab/npu/install.sh"), str(tmp_path / "host")], check=True, timeout=60)
    return tmp_path / "host"


def container(host: pathlib.Path, *npus: int, nodes: tuple[str, ...] = MANAGERS) -> pathlib.Path:
    """What a container with these NPUs sees: its nodes, and the host's driver."""
    inside = host.parent / f"container-{'-'.join(map(str, npus))}"
    (inside / "dev/shm").mkdir(parents=True)
    for node in [*nodes, *(f"davinci{npu}" for npu in npus)]:
        (inside / "dev" / node).touch()
    (inside / "usr").symlink_to(host / "usr")
    return inside


def serve(inside: pathlib.Path, *words: str, **environment: str) -> subprocess.Popen:
    """It loads for ever: a healthy one never comes to answer, so it needs no port."""
    settings = {"NPU_SIM_ROOT": str(inside), "ATB_HOME_PATH": "/atb", "VLLM_STANDIN_LOAD_S": "600", **environment}
    command = [sys.executable, "-IS", str(ROOT / "lab/vllm/vllm"), "serve", *(words or [str(inside)])]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env={**os.environ, **settings}, **pipes)


def failure(process: subprocess.Popen) -> str:
    out, _err = process.communicate(timeout=30)
    assert process.returncode == 1
    return out


def wait_for_load(process: subprocess.Popen) -> None:
    assert any("Starting to load model" in line for line in process.stdout)


def test_npus_are_held_as_long_as_the_process_lives(host):
    first = serve(container(host, 0, 1, 2, 3), str(host), "-tp", "4", "--served-model-name", "qwen")
    second = serve(container(host, 4, 5, 6, 7))
    try:
        wait_for_load(first)
        wait_for_load(second)
        told = failure(serve(container(host, 3, 4)))
        assert "because the device is used. ret is -8020" in told and "NPU 3 is used by another container" in told
    finally:
        first.kill()
        second.kill()
        first.communicate()
        second.communicate()
    again = serve(host.parent / "container-3-4", str(host), "--tensor-parallel-size", "2", "--any-other", "argument")
    wait_for_load(again)
    again.kill()
    again.communicate()


def test_no_npu_and_no_driver_is_no_device_type(host):
    assert "Failed to infer device type" in failure(serve(container(host)))
    assert "Failed to infer device type" in failure(serve(container(host, 0, nodes=MANAGERS[1:])))
    bare = container(host, 1)
    (bare / "usr").unlink()
    told = failure(serve(bare))
    assert "libascend_hal.so: cannot open shared object file" in told and "Failed to infer device type" in told


def test_only_the_chosen_npus_are_held_and_the_simulator_says_by_whom(host):
    """GPUStack 2 gives every node to each model and names the NPUs by logic ID: with NPU 0 lost, ID 1 is NPU 2."""
    simulator = [sys.executable, str(host / "usr/local/sbin/npu-sim"), "holders"]
    first = serve(container(host, 1, 2, 3, 4), str(host), "-tp", "2", ASCEND_RT_VISIBLE_DEVICES="1,3")
    try:
        wait_for_load(first)
        held = subprocess.run(simulator, env={"NPU_SIM_ROOT": str(host)}, check=True, capture_output=True, text=True, timeout=60)
        assert [line.split()[:2] for line in held.stdout.splitlines()] == [["2", str(first.pid)], ["4", str(first.pid)]]
        told = failure(serve(host.parent / "container-1-2-3-4", str(host), ASCEND_RT_VISIBLE_DEVICES="3"))
        assert "NPU 4 is used by another container" in told
    finally:
        first.kill()
        first.communicate()


def test_no_npu_is_chosen_by_an_id_that_is_none(host):
    inside = container(host, 4, 5)
    assert "Failed to infer device type" in failure(serve(inside, ASCEND_RT_VISIBLE_DEVICES="2"))
    told = failure(serve(inside, str(host), "-tp", "2", ASCEND_RT_VISIBLE_DEVICES="1,7,0"))
    assert "larger than the number of visible NPUs (1: 5)" in told


def test_more_npus_than_there_are_is_refused(host):
    told = failure(serve(container(host, 2, 5), str(host), "-tp", "4"))
    assert "tensor parallel size 4 is larger than the number of visible NPUs (2: 2, 5)" in told


def test_missing_model_is_refused(host):
    assert "/models/missing is not a local folder" in failure(serve(container(host, 0), "/models/missing"))


def test_command_that_bypasses_the_entry_point_misses_a_library(host):
    inside = container(host, 0)
    process = subprocess.run(
        [sys.executable, "-IS", str(ROOT / "lab/vllm/vllm"), "serve", str(inside)],
        env={"NPU_SIM_ROOT": str(inside)},
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert process.returncode == 1 and "libatb.so" in process.stderr
