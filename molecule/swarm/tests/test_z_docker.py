"""What keeps Docker down, told in one order on the hosts that the scenario has left as they were: flags of dockerd, firewalld's zones, and
a host that is installed anew. After each, Docker and what runs in it are looked at."""

from __future__ import annotations

import json
import re

import pytest
from conftest import HOSTS, run_playbook, wait_until
from test_swarm import DAEMON, VLLM, traces

pytestmark = pytest.mark.long
DROP_IN = "/etc/systemd/system/docker.service.d/own.conf"
MANAGERS = HOSTS[:3]


def play(*args: str, **variables):
    """Without services, which nothing here is about."""
    return run_playbook("swarm", *args, variables={"vllm_stack_state": "absent", **variables})


def give_flag(host, flag: str, restart: bool = True) -> None:
    """As a drop-in of an operator's does."""
    start = f"systemctl cat docker | grep '^ExecStart=.' | tail -n 1 | sed 's|$| {flag}|'"
    host.check_output(f"mkdir -p {DROP_IN.rpartition('/')[0]} && printf '[Service]\\nExecStart=\\n%s\\n' \"$({start})\" >{DROP_IN}")
    host.check_output("systemctl daemon-reload" + (" && systemctl restart docker" if restart else ""))


def take_flag(host) -> None:
    """What a Docker with --live-restore has kept running, one without that ends when it starts, and does not start again."""
    host.check_output(
        f"rm -f {DROP_IN}; systemctl daemon-reload; systemctl reset-failed docker; systemctl restart docker; docker start other"
    )


def pids(atlas) -> dict[str, str]:
    return {name: atlas(name).check_output("cat /var/run/docker.pid") for name in HOSTS}


def state(host) -> tuple[str, str, str]:
    """Docker's unit, its settings, and whether an ordinary container of somebody else runs."""
    settings = host.run(f"cat {DAEMON}").stdout
    return (
        host.run("systemctl is-active docker").stdout.strip(),
        settings,
        host.run("docker inspect -f '{{.State.Running}}' other").stdout.strip(),
    )


def runs(host) -> None:
    """Docker starts containers again after it says that it has started."""
    wait_until("Docker and what was in it run", lambda: state(host)[::2] == ("active", "true"), pause=1)


@pytest.fixture(scope="module")
def others(atlas):
    """A container of somebody else on every host, and what the hosts were before."""
    for name in HOSTS:
        run = f"docker run -d --name other --restart unless-stopped --network none --entrypoint sleep {VLLM} infinity"
        atlas(name).check_output(f"docker rm -f other 2>/dev/null; {run}")
    yield {name: traces(atlas(name)) for name in HOSTS}
    for name in HOSTS:
        atlas(name).check_output("docker rm -f other")


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--default-runtime=runc", f"and does not start with default-runtime in {DAEMON} beside it; expected it there alone."),
        ("--live-restore", "with which Docker refuses to join a Swarm; expected it without."),
    ],
)
def test_flag_is_found_before_anything_is_restarted_and_gpustack_runs_beside_it(others, atlas, flag, told):
    host = atlas("atlas2")
    give_flag(host, flag)
    runs(host)
    before, seen = pids(atlas), state(host)
    try:
        run = play()
        assert run.rc == 2
        assert f"FAIL [docker_settings] atlas2: dockerd runs with the flag {flag} ({DROP_IN}), {told}" in run.text
        assert "\n  systemctl daemon-reload && systemctl restart docker\n" in run.output
        assert (pids(atlas), state(host)) == (before, seen) and seen[0] == "active" and seen[2] == "true"
        assert "[docker_settings]" not in run_playbook("preflight").text
    finally:
        take_flag(host)


def test_restart_that_fails_is_taken_back_and_shows_what_docker_said(others, atlas):
    """The flag was given after Docker's last start, so that nothing knows of it before."""
    host = atlas("atlas2")
    give_flag(host, "--default-runtime=runc", restart=False)
    runs(host)
    before = state(host)
    try:
        run = play()
        assert run.rc == 2
        told = f"Docker does not start with what {DAEMON} was to be: unable to configure the Docker daemon with file {DAEMON}: "
        assert told + "the following directives are specified both as a flag and in the configuration file: default-runtime" in run.text
        assert "The file is as it was, and Docker runs with it again." in run.text
        runs(host)
        assert state(host) == before
        assert host.run(f"ls {DAEMON}.gpustack-before").rc != 0
    finally:
        take_flag(host)


def test_bridge_in_another_zone_is_found_and_its_remedy_lets_docker_start(others, atlas):
    host = atlas("atlas2")
    host.check_output(
        "firewall-cmd --permanent --zone=trusted --add-interface=docker0; firewall-cmd --zone=trusted --change-interface=docker0"
    )
    runs(host)
    before, seen = pids(atlas), state(host)
    run = play()
    assert run.rc == 2
    assert "FAIL [firewall] atlas2: firewalld has docker0 in the zone trusted; expected it in docker, or Docker does not start" in run.text
    assert (pids(atlas), state(host)) == (before, seen) and seen[0] == "active"
    remedy = re.search(r"\n  (firewall-cmd --permanent .*docker0.*)\n", run.output)[1]
    host.check_output(f"{remedy}; systemctl restart docker")
    runs(host)
    # So it is: without the remedy, Docker dies. What it has written down of docker0 by then stands in its own way after that.
    host.check_output("firewall-cmd --zone=trusted --change-interface=docker0")
    assert host.run("systemctl restart docker").rc != 0
    assert "ZONE_CONFLICT" in host.check_output("journalctl -u docker -n 50 --no-pager")
    host.check_output(f"{remedy}; systemctl stop docker docker.socket; rm /var/lib/docker/network/files/local-kv.db")
    host.check_output("systemctl reset-failed docker; systemctl restart docker")
    runs(host)


@pytest.fixture(scope="module")
def swarm(others):
    run = play()
    assert run.rc == 0, run.failure
    return run


def cluster(host) -> str:
    return host.check_output("docker info --format '{{.Swarm.Cluster.ID}}'")


def test_first_manager_that_was_installed_anew_joins_the_swarm_of_the_others(swarm, atlas):
    first, second = atlas("atlas1"), atlas("atlas2")
    before = cluster(second)
    first.check_output("systemctl stop docker docker.socket; rm -rf /var/lib/docker/swarm; systemctl start docker")
    wait_until("the Swarm has it as down", lambda: "Down" in second.check_output("docker node ls"), pause=1)
    run = play("--limit", "atlas1")
    assert run.rc == 0, run.failure
    assert {cluster(atlas(name)) for name in MANAGERS} == {before}
    nodes = [json.loads(line) for line in second.check_output("docker node ls --format '{{json .}}'").splitlines()]
    assert [(node["Status"], node["ManagerStatus"] != "") for node in nodes if node["ManagerStatus"]] == [("Ready", True)] * 3
    assert len(nodes) == 5, "its former node is gone"
    for name in HOSTS:
        runs(atlas(name))
    second_run = play()
    assert {counts["changed"] for counts in second_run.recap.values()} == {0}


def test_swarm_is_given_up_where_docker_is_down(swarm, others, atlas):
    """The flag keeps Docker down as long as the collection's settings are there."""
    host = atlas("atlas1")
    give_flag(host, "--default-runtime=runc", restart=False)
    assert host.run("systemctl restart docker").rc != 0 and state(host)[0] != "active"
    run = play(docker_swarm_state="absent")
    assert run.rc == 0, run.failure
    runs(host)
    take_flag(host)
    assert {name: traces(atlas(name)) for name in HOSTS} == others
