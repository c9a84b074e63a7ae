# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""npu_info on the lab's simulated servers: each fault that can be set there is seen and told."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.report import Host, Request, collect
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result, run

LAB = pathlib.Path(__file__).resolve().parents[2] / "lab" / "npu"


class Server:
    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.environment = {"NPU_SIM_ROOT": str(root)}
        subprocess.run(["sh", str(LAB / "install.sh"), str(root)], check=True, timeout=60)
        self.sim("reset-nodes")

    def sim(self, *words: str) -> None:
        program = str(self.root / "usr/local/sbin/npu-sim")
        subprocess.run([sys.executable, program, *words], check=True, timeout=60, env={**os.environ, **self.environment})

    def run(self, argv: list[str], limit: float) -> Result:
        return run(argv, limit, env=self.environment)

    def collect(self, **request) -> tuple[dict, list[str]]:
        # In a tree that is not running the simulator's nodes are plain files.
        report = collect(Request(**request), self.run, Host(str(self.root), "", is_device=os.path.isfile))
        return report.as_result(), report.warnings


@pytest.fixture
def server(tmp_path):
    return Server(tmp_path)


def davinci(*numbers: int) -> list[str]:
    return [f"/dev/davinci{number}" for number in numbers]


def kinds(result: dict) -> list[str]:
    return [finding["kind"] for finding in result["findings"]]


def test_a_healthy_server_gives_eight_npus(server):
    result, warnings = server.collect(gather=["board", "usages", "topology", "network"])
    assert (result["problems"], result["ok"], result["devices"]) == ([], True, davinci(*range(8)))
    assert [chip["logic_id"] for chip in result["chips"]] == list(range(8))
    assert {(chip["name"], chip["memory_kind"], chip["memory_total_mb"]) for chip in result["chips"]} == {("910B4", "HBM", 32768)}
    assert {board["soc_version"] for board in result["boards"]} == {"Ascend910B4"}
    assert {usage["hbm_capacity_mb"] for usage in result["usages"]} == {32768}
    assert [(port["link"], port["tls"]) for port in result["network"]] == [("UP", False)] * 8
    assert all(port["address"] and port["address"] == port["configured_address"] for port in result["network"])
    # The simulator doesn't know this query, as little as some real products.
    assert [warning for warning in warnings if "topo" not in warning] == []


@pytest.mark.parametrize(
    ("faults", "devices", "expected"),
    [
        (["health 5 Alarm"], davinci(0, 1, 2, 3, 4, 6, 7), ["health"]),
        (["health 1 UNKNOWN", "health 2 Critical"], davinci(0, 3, 4, 5, 6, 7), ["health", "health"]),
        (["missing 3"], davinci(0, 1, 2, 4, 5, 6, 7), []),
        (["missing 0", "missing 7"], davinci(1, 2, 3, 4, 5, 6), []),
        (["no-node 2"], davinci(0, 1, 3, 4, 5, 6, 7), ["device_node"]),
        (["driver 24.1.rc2"], davinci(*range(8)), []),
        (["error 8005"], [], ["driver_error"]),
        (["error 8020"], [], ["driver_error"]),
        (["error 9005"], [], ["driver_error"]),
        (["error libs"], [], ["driver_error"]),
    ],
)
def test_faults_are_told_and_the_others_stay_usable(server, faults, devices, expected):
    for fault in faults:
        server.sim("set", *fault.split())
    result, _warnings = server.collect()
    assert (result["devices"], kinds(result), result["ok"]) == (devices, expected, not expected)


def test_missing_npus_keep_the_nodes_of_the_others(server):
    server.sim("set", "missing", "3")
    result, warnings = server.collect(gather=["topology"])
    places = [(chip["npu_id"], chip["logic_id"], chip["device"]) for chip in result["chips"]]
    left = [0, 1, 2, 4, 5, 6, 7]
    assert places == [(npu_id, logic, f"/dev/davinci{npu_id}") for logic, npu_id in enumerate(left)]


def test_rubbish_counts_nothing_and_is_told(server):
    server.sim("set", "garbage", "on")
    result, _warnings = server.collect()
    assert result["chips"] == [] and {"table_unreadable", "no_npu"} <= set(kinds(result))


def test_a_hang_ends_at_the_limit(server):
    server.sim("set", "hang", "on")
    result, _warnings = server.collect(timeout=1)
    assert (result["chips"], kinds(result)) == ([], ["npu_smi_timeout"])


def test_a_server_without_driver_is_told(server):
    server.sim("set", "absent", "on")
    result, _warnings = server.collect()
    assert kinds(result)[0] == "npu_smi_missing" and result["devices"] == [] and result["mounts"] == []


def test_processes_are_seen(server):
    server.sim("set", "process", "6", "4711", "python3", "2048")
    result, _warnings = server.collect()
    assert result["ok"] is True
    assert [(chip["npu_id"], chip["processes"][0]["pid"]) for chip in result["chips"] if chip["processes"]] == [(6, 4711)]


def test_a_discovery_costs_one_call_of_npu_smi(server):
    server.sim("set", "slow", "1")
    start = time.monotonic()
    bare = server.run([str(server.root / "usr/local/bin/npu-smi"), "info"], 60)
    bare_s = time.monotonic() - start
    calls = []
    server.run = lambda argv, limit: calls.append(argv) or run(argv, limit, env=server.environment)
    start = time.monotonic()
    result, _warnings = server.collect()
    print(f"bare call {bare_s:.2f} s, discovery {time.monotonic() - start:.2f} s")
    assert (bare.rc, result["npu_count"]) == (0, 8)
    assert [argv[1:] for argv in calls] == [["info"]]
    assert time.monotonic() - start < 1.5 * bare_s
