"""What the guides' GPUStack 0.7.1 has of its own, asked of GPUStack, Docker and the hosts, not of the roles."""

from __future__ import annotations

import json
import os
import shlex
import subprocess

import pytest
from conftest import INVENTORY, ROOT, inspect, run_playbook

HOSTS = ["atlas1", "atlas2"]
LIMIT = ("--limit", ",".join(HOSTS))


@pytest.fixture(scope="module")
def site():
    run = run_playbook("site", *LIMIT)
    assert run.rc == 0, run.failure
    return run


@pytest.fixture(params=HOSTS)
def each(request, atlas, site):
    return atlas(request.param)


def test_both_workers_are_ready_with_eight_npus(site, workers):
    assert "2 of 2 workers ready, 16 NPUs, GPUStack v0.7.1" in site.text
    found = workers()
    assert sorted(found) == HOSTS
    for name, worker in found.items():
        assert worker["state"] == "ready", (name, worker["state_message"])
        npus = worker["status"]["gpu_devices"]
        assert [(npu["name"], npu["memory"]["total"]) for npu in npus] == [("910B4", 32 * 2**30)] * 8, name
    assert len({worker["worker_uuid"] for worker in found.values()}) == 2


def test_container_has_what_the_guide_gives_it(each):
    container = inspect(each)
    config = container["HostConfig"]
    assert (config["NetworkMode"], config["IpcMode"], config["Privileged"]) == ("host", "host", False)
    assert config["RestartPolicy"]["Name"] == "unless-stopped"
    managers = ["/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"]
    assert sorted(device["PathOnHost"] for device in config["Devices"]) == sorted(
        [f"/dev/davinci{number}" for number in range(8)] + managers
    )
    mounts = {mount["Destination"]: mount for mount in container["Mounts"]}
    assert mounts["/var/lib/gpustack"]["Name"] == "gpustack-data"
    assert mounts["/models"]["Source"] == mounts["/data/models"]["Source"] == "/data/models"
    read_only = ["/usr/local/dcmi", "/usr/local/bin/npu-smi", "/usr/local/Ascend/driver", "/etc/ascend_install.info"]
    assert [mounts[path]["RW"] for path in read_only] == [False] * 4
    assert container["State"]["Health"]["Status"] == "healthy"


def test_npus_are_opened_by_the_container_because_the_cgroup_allows_it(each):
    # ENXIO is the simulated node's own answer; without the device rule it would be EPERM.
    answer = each.run("docker exec gpustack sh -c 'exec 3</dev/davinci3'")
    assert "No such device or address" in answer.stderr


def test_gpustacks_own_parser_and_npu_info_read_the_same_npus(site, atlas, tmp_path):
    host = atlas("atlas2")
    host.check_output("npu-sim set memory-used 3 20480 && npu-sim set link 5 down && npu-sim set process 3 4711 python3 17609")
    # As modules of the collection see the host, and as GPUStack does from its container.
    arguments = json.dumps({"gather": ["usages", "network"]})
    command = ["ansible", "-i", INVENTORY, "atlas2", "--tree", str(tmp_path), "-m", "ascend.gpustack.npu_info", "-a", arguments]
    try:
        subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")})
        program = (
            "import json; from gpustack.detectors.npu_smi.npu_smi import NPUSMI;"
            "print(json.dumps([npu.model_dump() for npu in NPUSMI().gather_gpu_info()]))"
        )
        told = host.check_output(
            f"docker exec gpustack bash -lc {shlex.quote(f'/opt/venvs/gpustack/bin/python -c {shlex.quote(program)}')}"
        )
    finally:
        host.check_output("npu-sim reset")
    ours = json.loads((tmp_path / "atlas2").read_text())
    used = {usage["npu_id"]: (usage["hbm_usage_rate_percent"], usage["aicore_usage_rate_percent"]) for usage in ours["usages"]}
    # Of a port without link GPUStack asks no more.
    keys = ("address", "netmask", "gateway")
    ports = {
        port["npu_id"]: ("up", *(port[key] for key in keys)) if port["link"] == "UP" else ("down", "", "", "") for port in ours["network"]
    }
    read = [
        (chip["logic_id"], chip["npu_id"], chip["chip_id"], chip["name"], chip["memory_total_mb"], chip["temperature_c"])
        + used[chip["npu_id"]]
        + ports[chip["npu_id"]]
        for chip in ours["chips"]
    ]
    theirs = [
        (npu["index"], npu["device_index"], npu["device_chip_index"], npu["name"], npu["memory"]["total"] // 2**20, npu["temperature"])
        + (npu["memory"]["utilization_rate"], npu["core"]["utilization_rate"])
        + tuple(npu["network"][key] for key in ("status", "inet", "netmask", "gateway"))
        for npu in json.loads(told.splitlines()[-1])
    ]
    assert len(read) == 8 and read == theirs


def test_second_run_changes_nothing(site):
    run = run_playbook("site", *LIMIT)
    assert (run.rc, {host: counts["changed"] for host, counts in run.recap.items()}) == (0, dict.fromkeys(HOSTS, 0))
