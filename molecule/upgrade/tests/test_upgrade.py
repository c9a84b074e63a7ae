"""An upgrade of GPUStack under models that answer, what stands in its way, and its way back. The tests stand in the order of one life."""

from __future__ import annotations

import signal

import pytest
import small_model
import three
from conftest import api_of, wait_until
from three import NAMES, running, versions

BEFORE, AFTER = "2.2.3", "2.3.0"
IMAGE = f"gpustack/gpustack:v{AFTER}"
# Where Docker writes what it has of containers; of a size that can be filled, on one host
CONTAINERS = "/var/lib/docker/containers"
# Asks a model twice a second, and writes down when, and with which status it answered
CLIENT = """\
token=$(docker exec gpustack cat /var/lib/gpustack/token)
while [ ! -e /root/client.stop ]; do
  ( at=$(date +%s.%N)
    code=$(printf 'header = "Authorization: Bearer %s"' "$token" | curl -sS -m 5 -o /dev/null -w '%{http_code}' -K - \\
      -H 'Content-Type: application/json' -d '{"model": "tiny-atlas2", "messages": [{"role": "user", "content": "hello"}]}' \\
      http://127.0.0.1:8080/v1/chat/completions 2>/dev/null)
    echo "$at $code" >>/root/client.log ) &
  sleep 0.5
done
"""


@pytest.fixture(scope="module")
def hosts(atlas) -> dict:
    return {name: atlas(name) for name in NAMES}


@pytest.fixture(scope="module")
def cluster(hosts, tmp_path_factory) -> three.Cluster:
    """A cluster of the older version, whose inventory asks for the newer one from then on."""
    hosts["atlas2"].check_output(f"systemctl stop docker.socket docker && mount -t tmpfs -o size=16m none {CONTAINERS}")
    hosts["atlas2"].check_output("systemctl start docker")
    found = three.Cluster(tmp_path_factory.mktemp("cluster"), BEFORE)
    run = found.play("site")
    assert run.rc == 0, run.failure
    found.ask_for(AFTER)
    return found


@pytest.fixture(scope="module")
def models(cluster, hosts) -> dict[str, str]:
    """The ids of the containers of two models, and a client that asks one of them."""
    token = hosts["atlas1"].check_output("docker exec gpustack cat /var/lib/gpustack/token")
    names = small_model.deploy(api_of(hosts["atlas1"], token), hosts, {"atlas1": 2, "atlas2": 1})
    return {host: identity(hosts[host], name) for host, name in names.items()}


def identity(host, container: str) -> str:
    return host.check_output(f"docker inspect {container} --format '{{{{.Id}}}} {{{{.Name}}}}'")


def same(hosts: dict, models: dict[str, str]) -> bool:
    return all(identity(hosts[host], found.split("/")[1]) == found for host, found in models.items())


def answers(hosts: dict) -> bool:
    ask = "curl -sS -m 5 -o /dev/null -w '%{http_code}' http://127.0.0.1:8080/readyz"
    return hosts["atlas1"].run(ask).stdout == "200"


def breaks(host) -> None:
    """An image of the newer version's name in which no GPUStack starts."""
    host.check_output(f"docker tag {IMAGE} whole:1 && docker tag gpustack/runtime:pause {IMAGE}")


def mends(host) -> None:
    host.check_output(f"docker tag whole:1 {IMAGE} && docker rmi whole:1")


def started(hosts: dict) -> dict[str, str]:
    return {name: host.check_output("docker inspect gpustack --format '{{.Id}} {{.State.StartedAt}}'") for name, host in hosts.items()}


def test_limit_that_leaves_a_worker_out_is_refused(cluster, models, hosts):
    before = started(hosts)
    run = cluster.play("site", "--limit", "atlas1,atlas2")
    assert run.rc != 0 and "GPUStack goes from 2.2.3 to 2.3.0, and this run leaves out atlas3" in run.text
    assert started(hosts) == before


def test_backup_that_fails_stops_nothing(cluster, models, hosts):
    before = started(hosts)
    hosts["atlas1"].check_output("mkdir -p /var/lib/gpustack-backup && mount -t tmpfs -o size=64k none /var/lib/gpustack-backup")
    run = cluster.play("upgrade")
    hosts["atlas1"].check_output("umount /var/lib/gpustack-backup")
    assert run.rc != 0 and "no space left on device" in run.text.lower() and "Nothing was stopped" in run.text, run.failure
    assert started(hosts) == before


def test_server_that_does_not_come_up_goes_back_by_itself(cluster, models, hosts):
    breaks(hosts["atlas1"])
    run = cluster.play("upgrade")
    mends(hosts["atlas1"])
    assert run.rc != 0 and "atlas1: the upgrade to GPUStack 2.3.0 failed: " in run.text
    assert "GPUStack 2.2.3 was put back, and runs again." in run.text
    assert versions(hosts) == running(BEFORE, BEFORE, BEFORE) and same(hosts, models)
    wait_until("the server answers", lambda: answers(hosts), pause=2)


def test_worker_whose_disk_is_full_stays_behind_and_the_roll_out_stops(cluster, models, hosts):
    hosts["atlas2"].run(f"dd if=/dev/zero of={CONTAINERS}/full bs=4k")
    run = cluster.play("upgrade")
    hosts["atlas2"].check_output(f"rm {CONTAINERS}/full")
    assert run.rc != 0 and "atlas2: the upgrade to GPUStack 2.3.0 failed: " in run.text and "no space left on device" in run.text
    assert versions(hosts)["atlas1"] == f"true {AFTER}" and versions(hosts)["atlas2"] == f"true {BEFORE}"
    # Which of two workers comes first is not settled.
    behind = "GPUStack 2.2.3 runs on here, since the upgrade of atlas2 has failed" in run.text
    assert versions(hosts)["atlas3"] == f"true {BEFORE if behind else AFTER}" and same(hosts, models)


def test_upgrade_goes_on_and_models_run_on(cluster, models, hosts):
    hosts["atlas1"].check_output(f"cat >/root/client <<'END'\n{CLIENT}END\nrm -f /root/client.*; nohup bash /root/client >/dev/null 2>&1 &")
    run = cluster.play("upgrade")
    hosts["atlas1"].check_output("touch /root/client.stop")
    assert run.rc == 0, run.failure
    assert versions(hosts) == running(AFTER, AFTER, AFTER) and same(hosts, models)
    told = [line.split() for line in hosts["atlas1"].check_output("cat /root/client.log").splitlines()]
    silent = sum(code != "200" for _at, code in told) / 2
    print(f"the model did not answer for {silent:g} s while its worker was replaced")
    assert told and told[-1][1] == "200"


def test_run_after_it_changes_nothing(cluster, models, hosts):
    run = cluster.play("site")
    assert run.rc == 0, run.failure
    assert {name: counts["changed"] for name, counts in run.recap.items()} == dict.fromkeys(NAMES, 0)


def test_rollback_says_what_is_lost_and_does_no_more_unasked(cluster, models, hosts):
    before = started(hosts)
    run = cluster.play("rollback")
    assert run.rc != 0 and "Rollback of GPUStack 2.3.0 to 2.2.3, as it was at" in run.text
    assert "expected gpustack_rollback_confirm: true" in run.text
    assert started(hosts) == before


def test_rollback_brings_the_older_one_back_under_the_same_models(cluster, models, hosts):
    run = cluster.play("rollback", gpustack_rollback_confirm=True)
    assert run.rc == 0, run.failure
    assert versions(hosts) == running(BEFORE, BEFORE, BEFORE) and same(hosts, models)
    assert hosts["atlas1"].check_output("ls /var/lib/gpustack-backup/*-2.3.0-rollback.tar.gz")


def test_nothing_in_the_inventory_upgrades_it_again(cluster, models, hosts):
    before = started(hosts)
    run = cluster.play("site")
    assert run.rc != 0 and "GPUStack 2.3.0 was taken back here to 2.2.3, and gpustack_version asks for it" in run.text
    assert started(hosts) == before
    run = cluster.play("rollback", gpustack_rollback_confirm=True)
    assert run.rc != 0 and "there is no upgrade to take back, GPUStack 2.2.3 runs" in run.text


@pytest.mark.parametrize(
    ("host", "seconds", "task"),
    [
        ("atlas1", 0.5, "Make the backup"),
        ("atlas1", 0.5, "Stop what runs"),
        ("atlas1", 1.5, "Stop what runs"),
        ("atlas1", 0.7, "Run the container"),
        ("atlas1", 4, "Run the container"),
        ("atlas1", 0.2, "Write down that the newer version runs"),
        ("atlas2", 1.5, "Stop what runs"),
        ("atlas2", 2, "Run the container"),
        ("atlas3", 2, "Run the container"),
    ],
)
def test_run_that_is_killed_at_any_point_goes_on_from_what_the_one_before_left(cluster, models, hosts, host, seconds, task):
    assert cluster.killed("upgrade", host, seconds, task, hosts).rc == -signal.SIGKILL


def test_run_after_them_has_all_of_it_run(cluster, models, hosts):
    run = cluster.play("upgrade")
    assert run.rc == 0, run.failure
    assert versions(hosts) == running(AFTER, AFTER, AFTER) and same(hosts, models)
    wait_until("the server answers", lambda: answers(hosts), pause=2)
    run = cluster.play("site")
    assert run.rc == 0, run.failure
    assert {name: counts["changed"] for name, counts in run.recap.items()} == dict.fromkeys(NAMES, 0)
