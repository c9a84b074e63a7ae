"""What an operator reads when a store can't be mounted; and what its variables do once it can."""

from __future__ import annotations

import json
import os
import re

import pytest
from conftest import MACHINES, Run, run_playbook, wait_until

NET = os.environ.get("LAB_NET", "198.18.35")
SERVER, CLIENT, OTHER, NOBODY = (f"{NET}.{number}" for number in (106, 107, 108, 250))
SOURCE = f"{SERVER}:/data/models"
BY_HAND = "nas:/models /data/models nfs soft 0 0"
OWN = f"{SOURCE} /data/models nfs vers=3,hard,timeo=600,retrans=3,_netdev,nofail,x-gpustack.managed 0 0"
OUTSIDE, JOINS, FILER = (f"molecule/vm_refusals/inventory/{name}.yml" for name in ("outside", "joins", "filer"))
RIGHTS = "sync,no_root_squash,no_subtree_check,mountpoint"
TUNED = {
    "nfs_client_version": "4.2",
    "nfs_client_nconnect": "4",
    "nfs_client_read_ahead_kb": "4096",
    "nfs_client_replace_fstab": "true",
}


def mount(**variables: str) -> Run:
    """The role alone."""
    wanted = {**TUNED, "nfs_client_server": SERVER, **variables}
    return run_playbook("molecule/vm_refusals/mount.yml", inventory=MACHINES, variables=wanted)


@pytest.fixture(scope="module")
def told(machine) -> dict[str, list[str]]:
    """The refusals, by the faults that molecule/vm_refusals/refusals.yml makes one after another."""
    server = "dnf --quiet -y install nfs-utils && mkdir -p /data/models && echo weights >/data/models/qwen"
    machine("atlas1").check_output(
        f"{server} && echo '/data/models {OTHER}(rw,sync,no_subtree_check)' >/etc/exports && systemctl start nfs-server"
    )
    machine("atlas2").check_output("mkdir -p /data/models && touch /data/models/old-model")
    run = run_playbook("molecule/vm_refusals/refusals.yml", inventory=MACHINES, ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
    result = json.loads(run.output[run.output.index("{\n") :])
    return result["plays"][0]["tasks"][-1]["hosts"]["atlas2"]["told"]


def test_each_fault_has_a_message_of_its_own(told):
    hidden = (
        "atlas2: /data/models holds old-model, which the mounted store would hide; expected an empty directory. "
        "Move them away, or set nfs_client_allow_hidden_files: true."
    )
    no_answer = "expected an answer within 3 s. Start that host, or open its ports 2049, 111 and 20048 for this one."
    # Nobody has the address: the kernel says so after three seconds, just when the limit is reached.
    silence = "unreachable" if "(unreachable)" in told["dead"][1] else "timeout"
    assert told == {
        "dead": [hidden, f"atlas2: the NFS server {NOBODY} does not answer on port 2049 ({silence}); {no_answer}"],
        "firewalled": [hidden, f"atlas2: the NFS server {SERVER} does not answer on port 2049 (unreachable); {no_answer}"],
        "missing_export": [
            hidden,
            f"atlas2: the NFS server {SERVER} exports /data/models; expected /data/none. "
            "Export it there, or correct gpustack_store_export.",
        ],
        "not_admitted": [
            hidden,
            f"atlas2: the NFS server {SERVER} exports /data/models to {OTHER}; expected this host ({CLIENT}) among them. Add it there.",
        ],
        "itself": [
            f"atlas2: the NFS server {CLIENT} is this host itself, and the store is not mounted over itself; expected another host. "
            "Put this host into the group gpustack_store, or correct gpustack_store_server.",
            hidden,
        ],
        "hidden_files": [hidden],
        "other_file_system": [
            f"atlas2: /data/models has none (tmpfs) mounted on it; expected {SOURCE}. Unmount it (umount /data/models, "
            "and take its line out of /etc/fstab); what is in it stays where it is. If it is the store that all hosts share, set "
            "gpustack_store_type: external; if another NFS server has the store, correct gpustack_store_server and gpustack_store_export."
        ],
        "other_entry": [
            f"atlas2: the entry of /etc/fstab made by hand, line 2 ({BY_HAND}), differs; expected {OWN}. "
            "Change it, or set nfs_client_replace_fstab: true to have it replaced."
        ],
    }


def test_refused_host_is_left_as_it_was(told, machine):
    host = machine("atlas2")
    assert "/data/models" not in host.file("/proc/mounts").content_string
    assert BY_HAND in host.file("/etc/fstab").content_string
    assert not host.file("/etc/systemd/system/gpustack-store.service").exists


def test_filer_is_mounted_with_the_tuning_given_and_gets_an_id_and_stands_a_second_run(told, machine):
    run = run_playbook("storage", inventory=FILER, variables=TUNED)
    assert run.rc == 0, run.failure
    host = machine("atlas2")
    (line,) = [line for line in host.file("/proc/mounts").content_string.splitlines() if " /data/models " in line]
    assert line.startswith(f"{SOURCE} /data/models nfs4 rw") and "vers=4.2" in line and "nconnect=4" in line
    assert host.check_output("cat /sys/class/bdi/$(mountpoint -d /data/models)/read_ahead_kb") == "4096"
    # All hosts of the lab have one host name, by which an NFS 4 server would take them for one client.
    assert host.check_output("cat /sys/module/nfs/parameters/nfs4_unique_id") == "atlas2"
    assert BY_HAND not in host.file("/etc/fstab").content_string
    assert host.file("/data/models/qwen").content_string == "weights\n"
    # Nobody manages the store: the first worker has written its id.
    mark = "cat /data/models/.gpustack-store-id"
    assert re.fullmatch("[0-9a-f]{32}", machine("atlas1").check_output(mark))
    assert host.check_output(mark) == machine("atlas1").check_output(mark)
    assert mount().recap["atlas2"]["changed"] == 0


def test_store_is_not_taken_from_a_container(told, machine):
    host = machine("atlas2")
    image = "--entrypoint=sleep gpustack/gpustack:v0.7.1-npu infinity"
    host.check_output(f"docker run --detach --name vllm --network none --volume /data/models:/models:ro {image}")
    run = mount(nfs_client_state="absent")
    assert run.rc == 2
    assert "atlas2: vllm uses /data/models; expected no running container there. Stop it first: docker stop vllm" in run.text
    assert " /data/models nfs4 " in host.file("/proc/mounts").content_string


def test_removal_leaves_no_trace(told, machine):
    host = machine("atlas2")
    host.check_output("docker rm --force vllm")
    assert mount(nfs_client_state="absent").rc == 0
    assert "/data/models" not in host.file("/proc/mounts").content_string + host.file("/etc/fstab").content_string
    assert not host.file("/data/models").exists
    assert host.run("systemctl cat gpustack-store.service").rc != 0


def test_debian_server_outside_of_the_cluster_serves_the_store(told, machine):
    store, client = machine("atlas3"), machine("atlas2")
    # A host that only serves the store needs neither NPUs nor Docker.
    store.check_output("systemctl disable --now docker.socket docker && npu-sim set absent on && mv /usr/bin/docker /run/docker-away")
    store.check_output("truncate -s 64M /models.img && mkfs.ext4 -q /models.img && mkdir -p /data/models && mount /models.img /data/models")
    run = run_playbook("preflight", "--limit", "atlas3", inventory=OUTSIDE)
    assert run.rc == 0, run.failure
    run = run_playbook("firewall", "-i", JOINS, "--limit", "atlas3", inventory=OUTSIDE)
    assert run.rc == 0, run.failure
    run = run_playbook("storage", inventory=OUTSIDE)
    assert run.rc == 0, run.failure
    assert store.file("/etc/exports.d/gpustack.exports").content_string.splitlines()[-1] == f"/data/models {CLIENT}(rw,{RIGHTS})"
    assert f"{OTHER}:/data/models /data/models nfs " in client.file("/proc/mounts").content_string
    assert client.check_output("cat /data/models/.gpustack-store-id") == store.check_output("cat /data/models/.gpustack-store-id")


def test_file_lock_of_a_client_holds_on_the_server_behind_firewalld(told, machine):
    """With NFS 3, locks go through ports of their own."""
    store, client = machine("atlas3"), machine("atlas2")
    assert store.service("firewalld").is_running
    client.check_output("systemd-run --quiet --unit=holder flock --no-fork /data/models/lock sleep infinity")
    lock = "import fcntl; fcntl.lockf(open('/data/models/lock', 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    wait_until("the lock is seen", lambda: "BlockingIOError" in store.run(f'python3 -c "{lock}"').stderr, pause=1)
    client.check_output("systemctl stop holder")
    wait_until("the lock is free again", lambda: store.run(f'python3 -c "{lock}"').rc == 0, pause=1)


def test_host_that_joins_alone_is_admitted_on_the_stores_host_and_may_only_read(told, machine):
    host, exports = machine("atlas1"), machine("atlas3").file("/etc/exports.d/gpustack.exports")
    # So far it has been a server itself.
    host.check_output("systemctl stop nfs-server && rm -r /data/models")
    run = run_playbook("storage", "-i", JOINS, "--limit", "atlas1", "--diff", inventory=OUTSIDE)
    assert run.rc == 0, run.failure
    assert list(run.recap) == ["atlas1"]
    assert re.search(r"changed: \[atlas1 -> atlas3\(?", run.output), "the change of the export is not reported for its host"
    assert exports.content_string.splitlines()[-1] == (
        f"/data/models {SERVER}(ro,{RIGHTS.replace('no_root_squash', 'root_squash')}) {CLIENT}(rw,{RIGHTS})"
    )
    assert f"{OTHER}:/data/models /data/models nfs " in host.file("/proc/mounts").content_string
    assert "Read-only file system" in host.run("touch /data/models/new").stderr
    machine("atlas2").check_output("touch /data/models/new")


def test_store_whose_disk_is_not_mounted_is_not_exported(told, machine):
    store = machine("atlas3")
    store.check_output("systemctl stop nfs-server && umount /data/models")
    run = run_playbook("storage", "--limit", "atlas3", inventory=OUTSIDE)
    assert run.rc == 2
    assert (
        "atlas3: the disk of /data/models is not mounted, but was when /data/models was first exported (mountpoint in "
        "/etc/exports.d/gpustack.exports:2); expected it mounted. Mount it: mount /data/models, or remove mountpoint there"
    ) in run.text
    assert store.check_output("ls -A /data/models; systemctl is-active nfs-server || true") == "inactive"


def test_dead_store_is_not_unmounted(told, machine):
    """An unmount would wait for its server."""
    run = mount(nfs_client_server=OTHER, nfs_client_state="absent")
    assert run.rc == 2
    dead = f"atlas2: the model store /data/models ({OTHER}:/data/models) does not answer (its port 2049: refused)"
    assert f"{dead}; expected a live file system. Mend the server that exports it" in run.text
    assert machine("atlas2").service("gpustack-store").is_enabled


def test_export_goes_only_once_every_host_has_unmounted_the_store_and_the_store_stays(told, machine):
    store, exports = machine("atlas3"), machine("atlas3").file("/etc/exports.d/gpustack.exports")
    store.check_output("mount /models.img /data/models && systemctl start nfs-server")
    mark = store.check_output("cat /data/models/.gpustack-store-id")
    away = {"nfs_client_state": "absent", "nfs_server_state": "absent"}
    run = run_playbook("storage", "-i", JOINS, "--limit", "atlas2", variables=away, inventory=OUTSIDE)
    assert run.rc == 2
    assert (
        "atlas3: atlas1 may have /data/models mounted; expected every host of the cluster to unmount it in the same run. "
        "Set nfs_client_state: absent too, and run this without --limit;"
    ) in run.text
    assert exports.exists
    run = run_playbook("storage", "-i", JOINS, variables=away, inventory=OUTSIDE)
    assert run.rc == 0, run.failure
    assert not exports.exists and "/data/models" not in store.check_output("exportfs -v")
    assert "ascend.gpustack" not in store.file("/etc/nfs.conf").content_string
    assert store.check_output("cat /data/models/.gpustack-store-id") == mark
    assert store.service("nfs-server").is_running
    run = run_playbook("storage", "-i", JOINS, variables=away, inventory=OUTSIDE)
    assert {counts["changed"] for counts in run.recap.values()} == {0}
