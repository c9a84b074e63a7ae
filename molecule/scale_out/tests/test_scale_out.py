"""Growing a cluster, told in the order in which an operator does it."""

from __future__ import annotations

import re

import conftest
import pytest
import yaml
from conftest import HOSTS, inspect, lab, run_playbook

FIRST = HOSTS[:4]
PASSWORD = "sudo-9f2c"


def sudo_only(host, rule: str) -> None:
    """Only the user ops may log in, and become root as the rule says."""
    host.check_output("useradd --create-home ops && cp -r /root/.ssh /home/ops/ && chown -R ops /home/ops/.ssh")
    host.check_output("sed -i 's/^PermitRootLogin .*/PermitRootLogin no/' /etc/ssh/sshd_config.d/lab.conf && systemctl restart ssh")
    host.check_output(f"echo ops:{PASSWORD} | chpasswd && echo 'ops ALL=(ALL) {rule}' >/etc/sudoers.d/ops")


@pytest.fixture(scope="module")
def sudoers(tmp_path_factory):
    """An inventory in which atlas2 and atlas5 are reached by users with sudo, without and with a password."""
    path = tmp_path_factory.mktemp("sudo") / "hosts.yml"
    ops = {"ansible_user": "ops", "ansible_become": True}
    path.write_text(yaml.safe_dump({"all": {"hosts": {"atlas2": ops, "atlas5": {**ops, "ansible_become_password": PASSWORD}}}}))
    return ["-i", str(path)]


@pytest.fixture(scope="module")
def first_run(sudoers, atlas):
    sudo_only(atlas("atlas2"), "NOPASSWD: ALL")
    return run_playbook("site", *sudoers, "-vvv", "--diff", "--limit", "!atlas5")


@pytest.fixture(scope="module")
def joined(first_run, sudoers, atlas):
    """The fifth server joins while the other workers' SSH is off: what would contact them would fail."""
    lab("up", "5")
    sudo_only(atlas("atlas5"), "ALL")
    before = {name: inspect(atlas(name))["State"]["StartedAt"] for name in FIRST}
    for name in FIRST[1:]:
        atlas(name).check_output("systemctl stop ssh.socket ssh.service 2>/dev/null || systemctl stop ssh sshd")
    run = run_playbook("site", *sudoers, "--limit", "atlas5")
    for name in FIRST[1:]:
        atlas(name).check_output("systemctl start ssh")
    return run, before


def test_four_servers_are_a_cluster_without_the_fifth(first_run, api):
    assert first_run.rc == 0
    assert "4 of 4 workers ready, 32 NPUs" in first_run.text


def test_run_that_prints_everything_prints_no_secret(first_run, atlas, token):
    password = atlas("atlas1").check_output("docker exec gpustack cat /var/lib/gpustack/initial_admin_password")
    assert len(token) == 32 and len(password) >= 8
    assert token not in first_run.output
    assert password not in first_run.output
    assert PASSWORD not in first_run.output
    assert "docker exec gpustack cat /var/lib/gpustack/initial_admin_password" in first_run.text


def test_fifth_server_joins_alone(joined, workers):
    run, _before = joined
    assert run.rc == 0, run.output
    assert sorted(run.recap) == ["atlas5"]
    assert "initial_admin_password" not in run.output, "told by the run that made the server"
    assert {name: worker["state"] for name, worker in workers().items()} == dict.fromkeys(HOSTS, "ready")


def test_nothing_elsewhere_was_restarted(joined, atlas):
    _run, before = joined
    assert {name: inspect(atlas(name))["State"]["StartedAt"] for name in FIRST} == before


def test_changed_variable_restarts_each_container_once_and_one_at_a_time(joined, sudoers, atlas):
    since = atlas("atlas2").check_output("date +%s.%N")
    changed = {**({"disable_rpc_servers": True} if conftest.OLD else {}), "system_reserved": {"ram": 3, "vram": 1}}
    run = run_playbook("workers", *sudoers, variables={"gpustack_worker_config": changed})
    assert run.rc == 0, run.output
    assert "container gpustack: restarted to read its configuration (system_reserved)" in run.text
    happened = {name: events(atlas(name), since) for name in HOSTS[1:]}
    assert {name: [what for what, _when in seen] for name, seen in happened.items()} == dict.fromkeys(HOSTS[1:], ["start", "healthy"])
    turns = sorted([when for _what, when in seen] for seen in happened.values())
    for (_started, healthy), (next_started, _healthy) in zip(turns, turns[1:]):
        assert next_started > healthy


def events(host, since: str) -> list[tuple[str, int]]:
    """The engine's own record of when the container started and became healthy, in nanoseconds."""
    until = host.check_output("date +%s.%N")
    words = f"docker events --since {since} --until {until} --filter container=gpustack"
    lines = host.check_output(words + " --format '{{.Action}} {{.TimeNano}}'").splitlines()
    seen = [(line.rsplit(" ", 1)[0].split(": ")[-1], int(line.rsplit(" ", 1)[1])) for line in lines]
    return [(what, when) for what, when in seen if what in ("start", "healthy")]


def test_verify_waits_for_no_host_that_is_off_and_names_an_npu_in_alarm(joined, sudoers, atlas):
    # The restarts of the test before are over, so that nobody who is well is still to be waited for.
    assert run_playbook("verify", *sudoers).rc == 0
    atlas("atlas3").check_output("npu-sim set health 5 Alarm")
    lab("stop", "atlas4")
    try:
        run = run_playbook("verify", *sudoers)
    finally:
        lab("start", "atlas4")
        atlas("atlas3").check_output("npu-sim reset")
    assert {name: counts["failed"] for name, counts in run.recap.items()} == {**dict.fromkeys(HOSTS, 0), "atlas3": 1, "atlas4": 1}
    assert " s left" not in run.output
    assert "UNREACHABLE" not in run.output
    rows = {line.split()[0]: line for line in run.output.splitlines() if re.match(r"atlas\d +198", line)}
    assert rows["atlas3"].split()[2:] == ["ready", "8", "1", "256", "GiB", "NPU", "5", "health", "is", "Alarm"]
    assert rows["atlas4"].split()[2:6] == ["away", "-", "-", "-"]
    assert "4 of 5 workers ready, 32 NPUs" in run.output
    told = [line for line in run.output.splitlines() if line.startswith("FAIL ")]
    assert [line.split(": ")[:2] for line in told] == [
        ["FAIL [npus] atlas3", "7 of 8 NPUs are usable"],
        ["FAIL [reachable] atlas4", told[1].split(": ")[1]],
    ]


def test_wait_shows_that_it_goes_on_and_ends_in_the_hosts_own_failure(joined, sudoers, tmp_path):
    renamed = tmp_path / "hosts.yml"
    renamed.write_text(yaml.safe_dump({"all": {"hosts": {"atlas5": {"gpustack_worker_name": "not-yet-there"}}}}))
    run = run_playbook("verify", *sudoers, "-i", str(renamed), variables={"gpustack_wait": 60})
    steps = re.findall(r"Wait until all workers are ready with their NPUs; (\d) of 5 so far, (\d+) s left", run.output)
    assert steps and steps[-1][0] == "4"
    assert [int(left) for _ready, left in steps] == sorted((int(left) for _ready, left in steps), reverse=True)
    assert "FAIL [worker] atlas5: not registered" in run.output
    assert {name: counts["failed"] for name, counts in run.recap.items()} == {**dict.fromkeys(HOSTS, 0), "atlas5": 1}
