"""A cluster with one store over NFS, told in the order in which an operator meets it; each test goes on where the one before ended."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import datetime

import pytest
from conftest import LONG, MACHINES, inspect, lab, run_playbook, wait_until

NAMES = ("atlas1", "atlas2", "atlas3")
CLIENTS = NAMES[1:]
NET = os.environ.get("LAB_NET", "198.18.35")
SOURCE = f"{NET}.106:/data/models"
IMAGE = "gpustack/gpustack:v0.7.1-npu"
HELD_BACK_S = 180
# Emulated processors need minutes for what takes seconds.
MINUTES = 1500
# What preflight and verify give a store, and the way to it, before they say that it is dead (inventories/vm)
STORE_LIMITS_S = 20 + 30


def play(name: str, *args: str, **variables):
    return run_playbook(name, *args, variables=variables, inventory=MACHINES)


@pytest.fixture(scope="module")
def checked(machine):
    """What a run could leave on fresh hosts, before and after a check; and what the check said."""
    listing = (
        "ls -d /data/models /etc/exports.d/* /etc/nfs.conf /etc/gpustack /etc/systemd/system/gpustack* 2>/dev/null; "
        "cat /etc/fstab; command -v showmount; docker ps -aq; docker volume ls -q; systemctl is-active firewalld nfs-server"
    )
    before = {name: machine(name).run(listing).stdout for name in NAMES}
    run = play("site", "--check", "--diff")
    return before, run, {name: machine(name).run(listing).stdout for name in NAMES}


@pytest.fixture(scope="module")
def deployed(request):
    if LONG:
        request.getfixturevalue("checked")
    run = play("site")
    assert run.rc == 0, run.failure
    return run


def workers(machine, since: float = 0) -> dict[str, tuple[str, int]]:
    """State and NPUs of each worker that GPUStack has heard of after a moment; none while it does not answer."""
    token = "docker exec gpustack cat /var/lib/gpustack/token"
    ask = "curl -fsS -m 30 -K - 'http://127.0.0.1:8080/v1/workers?perPage=100'"
    told = quietly(machine("atlas1"), f'printf \'user = "system/worker/x:%s"\' "$({token})" | {ask}')
    items = json.loads(told)["items"] if told else []
    times = [(item["heartbeat_time"] or "1970-01-01T00:00:00Z").replace("Z", "+00:00") for item in items]
    heard = [item for item, text in zip(items, times) if datetime.fromisoformat(text).timestamp() > since]
    return {item["name"]: (item["state"], len(item["status"]["gpu_devices"] or [])) for item in heard}


def quietly(host, command: str) -> str:
    """What a command prints on a host that may be on its way down or up; nothing when SSH itself fails."""
    try:
        return host.run(command).stdout.strip()
    except RuntimeError:
        return ""


def wait_until_ready(machine, since: float) -> None:
    # GPUStack takes minutes to find out that a worker which was ready is silent.
    wait_until("every worker is ready", lambda: workers(machine, since) == dict.fromkeys(NAMES, ("ready", 8)), MINUTES, 5)


def mount_of(host) -> str:
    return next((line for line in host.file("/proc/mounts").content_string.splitlines() if " /data/models " in line), "")


@pytest.mark.long
def test_check_of_fresh_servers_changes_nothing_and_names_every_object(checked):
    before, run, after = checked
    assert run.rc == 0, run.failure
    assert after == before
    for text in (
        "+++ after: /etc/nfs.conf",
        "+++ after: /etc/exports.d/gpustack.exports",
        "+/data/models/gpustack-cache",
        "file /data/models/.gpustack-store-id: created",
        "service nfs-server: started and enabled",
        f"mount /data/models: {SOURCE}",
        f"/etc/fstab: {SOURCE} /data/models nfs vers=3,hard,timeo=600,retrans=3,_netdev,nofail,x-gpustack.managed 0 0",
        "Description=Mount the model store /data/models",
        "service gpustack-store: started and enabled",
        "file /etc/gpustack/config.yaml: created",
        "volume gpustack-data: created",
        "container gpustack: created",
        "token: <known once the server runs>",
    ):
        assert text in run.text, text
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


@pytest.mark.long
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


@pytest.fixture(scope="module")
def again(deployed):
    start = time.monotonic()
    return play("site"), time.monotonic() - start


@pytest.mark.long
def test_second_run_changes_nothing(again):
    run, _seconds = again
    assert run.rc == 0, run.failure
    assert {name: counts["changed"] for name, counts in run.recap.items()} == dict.fromkeys(NAMES, 0)


def gpustack_runs(host) -> bool:
    """Whether a process of GPUStack itself is there; its container's shell, which waits for the store, is none."""
    return host.run("pgrep -f '[/]opt/venvs/gpustack/bin'").rc == 0


def boot_id(host) -> str:
    return quietly(host, "cat /proc/sys/kernel/random/boot_id")


def looks_for_store(host) -> bool:
    booted = quietly(host, "uptime --since").replace(" ", "T")
    return bool(booted) and "The model store /data/models is not there yet" in quietly(host, f"docker logs --since {booted} gpustack 2>&1")


def come_back(host, name: str, boot: str) -> dict:
    """Wait until a client has booted and its container looks for the store. What is there of both then, and how the boot ended."""
    wait_until(f"{name} is up again", lambda: boot_id(host) not in ("", boot), MINUTES, 2)
    wait_until(f"{name} has booted", lambda: quietly(host, "systemctl is-active multi-user.target") == "active", MINUTES, 2)
    wait_until(f"the container of {name} looks for the store", lambda: looks_for_store(host), MINUTES, 5)
    return {"mount": mount_of(host), "gpustack": gpustack_runs(host), "failed": host.run("systemctl --failed --no-legend --plain").stdout}


@pytest.fixture(scope="module")
def rebooted(deployed, machine):
    """All servers go down at once; the one with the store stays off for three minutes. What was seen on the clients meanwhile."""
    run = f"docker run --detach --name foreign --restart unless-stopped --network none --entrypoint sleep {IMAGE} infinity"
    machine("atlas2").check_output(run)
    boots = {name: boot_id(machine(name)) for name in CLIENTS}
    down = time.monotonic()
    for name in CLIENTS:
        quietly(machine(name), "systemctl reboot")
    lab("stop", "atlas1", command="vm")
    seen = {name: come_back(machine(name), name, boots[name]) for name in CLIENTS}
    foreign = inspect(machine("atlas2"), "foreign")["State"]
    wait_until("the server was held back long enough", lambda: time.monotonic() - down > HELD_BACK_S, HELD_BACK_S + 1, 1)
    late = {name: gpustack_runs(machine(name)) for name in CLIENTS}
    since = time.time()
    lab("start", "atlas1", command="vm")
    wait_until_ready(machine, since)
    return seen, foreign, late


def test_reboot_without_the_server_blocks_nothing_but_gpustack(rebooted):
    seen, foreign, late = rebooted
    print(seen, foreign, late)
    assert foreign["Running"], foreign
    assert seen == dict.fromkeys(CLIENTS, {"mount": "", "gpustack": False, "failed": ""})
    assert late == dict.fromkeys(CLIENTS, False)


@pytest.mark.parametrize("name", CLIENTS)
def test_gpustack_starts_only_after_the_store_is_mounted(rebooted, machine, name):
    host = machine(name)
    assert mount_of(host).startswith(f"{SOURCE} ")
    print(host.check_output("journalctl --boot --no-pager --output=short-iso --unit=data-models.mount --unit=gpustack-store | tail -8"))
    mounted = host.check_output("systemctl show --property=ActiveEnterTimestamp --value --timestamp=unix data-models.mount")
    started = inspect(host)["State"]["StartedAt"]
    print("mounted", datetime.fromtimestamp(int(mounted[1:])), "container's last start", started)
    # The unit's time is of whole seconds.
    assert datetime.fromisoformat(started[:19] + "+00:00").timestamp() >= int(mounted[1:])
    mark = "/models/.gpustack-store-id"
    assert host.check_output(f"docker exec gpustack cat {mark}") == machine("atlas1").check_output(f"cat /data{mark}")


@pytest.fixture(scope="module")
def dead(rebooted, machine):
    """The NFS server ends under its clients. What preflight and verify say then, and in how many seconds."""
    seconds, runs = {}, {}
    machine("atlas1").check_output("systemctl stop nfs-server")
    for name in ("preflight", "verify"):
        start = time.monotonic()
        runs[name] = play(name)
        seconds[name] = time.monotonic() - start
    machine("atlas1").check_output("systemctl start nfs-server")
    return runs, seconds, time.time()


@pytest.mark.long
@pytest.mark.parametrize("name", ["preflight", "verify"])
def test_dead_store_is_named_and_holds_no_run_up(dead, again, name):
    runs, seconds, _back = dead
    print(seconds)
    run = runs[name]
    assert run.rc == 2
    for host in CLIENTS:
        assert re.search(rf"{host}[^:]*: the model store /data/models \({SOURCE}\) does not answer", run.text), run.failure
    # Both are parts of the whole run that found everything in order.
    assert seconds[name] < again[1] + STORE_LIMITS_S


@pytest.mark.long
def test_everything_goes_on_when_the_store_is_back(dead, machine):
    wait_until_ready(machine, dead[2])
    assert machine("atlas3").check_output("docker exec gpustack head -c 4 /models/weights | wc -c") == "4"
