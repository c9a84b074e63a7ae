"""A cluster with one store over NFS, told in the order in which an operator meets it; each test goes on where the one before ended."""

from __future__ import annotations

import json
import os

import pytest
from conftest import MACHINES, run_playbook

NAMES = ("atlas1", "atlas2", "atlas3")
CLIENTS = NAMES[1:]
NET = os.environ.get("LAB_NET", "198.18.35")
SOURCE = f"{NET}.106:/data/models"


def play(name: str, *args: str, **variables):
    return run_playbook(name, *args, variables=variables, inventory=MACHINES)


@pytest.fixture(scope="module")
def checked(machine):
    """The files that the store could leave on fresh hosts, before and after a check; and what the check said."""
    listing = (
        "ls -d /data/models /etc/exports.d/* /etc/nfs.conf /etc/systemd/system/gpustack* 2>/dev/null; cat /etc/fstab; command -v showmount"
    )
    before = {name: machine(name).run(listing).stdout for name in NAMES}
    run = play("storage", "--check", "--diff")
    return before, run, {name: machine(name).run(listing).stdout for name in NAMES}


@pytest.fixture(scope="module")
def deployed(checked):
    run = play("site")
    assert run.rc == 0, run.output
    return run


def workers(machine) -> dict[str, tuple[str, int]]:
    """State and NPUs of each worker, as GPUStack on the server says."""
    token = "docker exec gpustack cat /var/lib/gpustack/token"
    ask = "curl -fsS -m 30 -K - 'http://127.0.0.1:8080/v1/workers?perPage=100'"
    told = machine("atlas1").check_output(f'printf \'user = "system/worker/x:%s"\' "$({token})" | {ask}')
    items = json.loads(told)["items"]
    return {item["name"]: (item["state"], len(item["status"]["gpu_devices"] or [])) for item in items}


def mount_of(host) -> str:
    return next((line for line in host.file("/proc/mounts").content_string.splitlines() if " /data/models " in line), "")


def test_check_of_fresh_servers_changes_nothing_and_names_every_object(checked):
    before, run, after = checked
    assert run.rc == 0, run.output
    assert after == before
    for text in (
        "+++ after: /etc/nfs.conf",
        "+++ after: /etc/exports.d/gpustack.exports",
        "path: /data/models/gpustack-cache",
        "file /data/models/.gpustack-store-id: created",
        "service nfs-server: started and enabled",
        f"Mount the store {SOURCE}",
        "Description=Mount the model store /data/models",
    ):
        assert text in run.output, text
    assert {name: counts["changed"] > 0 for name, counts in run.recap.items()} == dict.fromkeys(NAMES, True)


def test_every_worker_is_ready_with_its_npus(deployed, machine):
    assert workers(machine) == dict.fromkeys(NAMES, ("ready", 8))
    assert [machine(name).check_output(". /etc/os-release; echo $ID") for name in NAMES] == ["openEuler", "openEuler", "debian"]


@pytest.mark.parametrize("name", CLIENTS)
def test_client_has_the_store_mounted_and_keeps_it(deployed, machine, name):
    host = machine(name)
    print(mount_of(host))
    assert mount_of(host).startswith(f"{SOURCE} /data/models nfs rw,") and ",vers=3," in mount_of(host) and ",hard," in mount_of(host)
    assert host.check_output("systemctl is-enabled gpustack-store") == "enabled"


def test_file_of_the_server_is_read_in_the_containers_byte_for_byte(deployed, machine):
    machine("atlas1").check_output("dd if=/dev/urandom of=/data/models/weights bs=64k count=16 2>/dev/null")
    wanted = machine("atlas1").check_output("sha256sum </data/models/weights")
    for name in CLIENTS:
        assert machine(name).check_output("docker exec gpustack sha256sum </dev/null /models/weights").split()[0] == wanted.split()[0]


def test_worker_writes_into_a_folder_that_the_servers_own_worker_made_and_only_so(deployed, machine):
    """The default squash is the narrowest one that lets GPUStack download to one cache from every host."""
    server, worker = machine("atlas1"), machine("atlas2")
    folder = "/data/models/gpustack-cache/model_scope/Qwen"
    write = f"docker exec gpustack sh -c 'mkdir {folder}/$0 && echo x >{folder}/$0/part' "
    server.check_output(f"docker exec gpustack mkdir -p {folder}")
    client = f"{NET}.107:/data/models"
    written = {}
    try:
        for squash in ("root_squash", "all_squash,anonuid=65534,anongid=65534", "no_root_squash"):
            server.check_output(f"exportfs -o rw,sync,no_subtree_check,{squash} {client}")
            written[squash.split(",")[0]] = worker.run(write + squash.split("_")[0]).rc == 0
    finally:
        server.check_output("exportfs -ra")
    assert written == {"root_squash": False, "all_squash": False, "no_root_squash": True}


def test_second_run_changes_nothing(deployed):
    run = play("site")
    assert run.rc == 0, run.output
    assert {name: counts["changed"] for name, counts in run.recap.items()} == dict.fromkeys(NAMES, 0)
