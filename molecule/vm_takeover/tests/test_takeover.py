"""The store of the guide, made by hand, in the hands of storage.yml."""

from __future__ import annotations

import os

import pytest
from conftest import MACHINES, run_playbook

NET = os.environ.get("LAB_NET", "198.18.35")
SOURCE = f"{NET}.106:/data/models"
CLIENTS = ("atlas2", "atlas3")
EXPORT = f"/data/models {NET}.0/24(rw,sync,no_root_squash,no_subtree_check)"
OPTIONS = "vers=3,hard,intr,timeo=600,retrans=3"
ENTRY = f"{SOURCE} /data/models nfs {OPTIONS},_netdev 0 0"
INSTALL = {"atlas1": "dnf --quiet -y install nfs-utils", "atlas2": "dnf --quiet -y install nfs-utils"}
INSTALL["atlas3"] = "DEBIAN_FRONTEND=noninteractive apt-get -qq -y install nfs-common >/dev/null"


def storage(*args: str):
    return run_playbook("storage", *args, inventory=MACHINES)


@pytest.fixture(scope="module")
def taken_over(machine):
    """The guide's commands on all three servers, with its line in /etc/exports twice, and then the playbook."""
    for name in ("atlas1", *CLIENTS):
        machine(name).check_output(f"systemctl disable --now firewalld && {INSTALL[name]}")
    server = machine("atlas1")
    server.check_output("mkdir -p /data/models/gpustack-cache && systemctl start nfs-server && systemctl enable nfs-server")
    server.check_output(f"echo '{EXPORT}' >>/etc/exports; echo '{EXPORT}' >>/etc/exports; exportfs -ra; echo weights >/data/models/qwen")
    for name in CLIENTS:
        host = machine(name)
        assert "/data/models" in host.check_output(f"showmount -e {NET}.106")
        host.check_output(f"mkdir -p /data/models && mount -t nfs -o {OPTIONS} {SOURCE} /data/models")
        host.check_output(f"echo '{ENTRY}' >>/etc/fstab && mount -a")
    run = storage()
    assert run.rc == 0, run.output
    return run


def test_what_was_made_by_hand_is_reported(taken_over):
    for name in CLIENTS:
        assert f"{name}: the entry of /etc/fstab made by hand, line 2 ({ENTRY}), is taken over" in taken_over.text
    told = [line for line in taken_over.text.split("- ") if line.startswith("'atlas1: ") or line.startswith("atlas1: ")]
    assert any("/etc/exports:1" in line and f"{NET}.0/24" in line for line in told), told
    assert any("/etc/exports:2" in line for line in told), told


def test_export_by_hand_serves_the_cluster_and_no_line_is_added(taken_over, machine):
    server = machine("atlas1")
    assert server.file("/etc/exports").content_string.count(EXPORT) == 2
    assert not server.file("/etc/exports.d/gpustack.exports").exists
    assert server.file("/data/models/qwen").content_string == "weights\n"


@pytest.mark.parametrize("name", CLIENTS)
def test_mount_goes_on_and_its_entry_is_the_only_one(taken_over, machine, name):
    host = machine(name)
    entries = [line for line in host.file("/etc/fstab").content_string.splitlines() if " /data/models " in line]
    assert entries == [f"{SOURCE} /data/models nfs vers=3,hard,timeo=600,retrans=3,_netdev,nofail,x-gpustack.managed 0 0"]
    mounts = [line for line in host.file("/proc/mounts").content_string.splitlines() if " /data/models " in line]
    assert len(mounts) == 1 and "vers=3" in mounts[0] and "hard" in mounts[0]
    assert host.service("gpustack-store").is_enabled
    assert (
        host.file("/data/models/.gpustack-store-id").content_string
        == machine("atlas1").file("/data/models/.gpustack-store-id").content_string
    )


def test_services_have_fixed_ports(taken_over, machine):
    services = machine("atlas1").check_output("rpcinfo -p | awk '$3 == \"tcp\" {print $5, $4}' | sort -u")
    ports = dict(line.split() for line in services.splitlines() if len(line.split()) == 2)
    assert {name: ports[name] for name in ("mountd", "status", "nlockmgr")} == {"mountd": "20048", "status": "662", "nlockmgr": "32803"}


def test_second_run_changes_nothing(taken_over):
    run = storage("--diff")
    assert {host: counts["changed"] for host, counts in run.recap.items()} == {"atlas1": 0, "atlas2": 0, "atlas3": 0}, run.output
