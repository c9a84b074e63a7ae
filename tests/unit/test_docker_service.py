"""Docker restarted: what it says when it does not start, and the settings that it is taken back to."""

from __future__ import annotations

import os

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import daemon as docker_daemon
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import service
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result

CONFLICT = (
    "unable to configure the Docker daemon with file /etc/docker/daemon.json: the following directives are specified both as a flag and "
    "in the configuration file: default-runtime: (from flag: nvidia, from file: gpustack-npu)"
)
ZONE = (
    'failed to start daemon: Error initializing network controller: Error creating default "bridge" network: Failed to program NAT chain: '
    "ZONE_CONFLICT: 'docker0' already bound to a zone"
)
# As journalctl --output cat prints it, with what the next attempt says first
LOG = """time="2026-11-27T20:00:00Z" level=info msg="Starting up"
time="2026-11-27T20:00:01Z" level=warning msg="could not create bridge network"
{}
time="2026-11-27T20:00:03Z" level=info msg="Starting up"
"""


class Systemd:
    """A Docker that starts with settings of some words alone. It has a clock of its own, on which a command takes a second."""

    def __init__(self, path, starts_with: tuple[str, ...], said: str = CONFLICT, states: tuple[str, ...] = ("active",)) -> None:
        self.path, self.starts_with, self.said, self.states = path, starts_with, said, list(states)
        self.time, self.runs, self.asked, self.began = 1000.0, True, [], []

    def __call__(self, argv: list[str], timeout: float) -> Result:
        self.asked.append(" ".join(argv[:2]))
        self.time += 1
        if argv[:2] == ["systemctl", "daemon-reload"]:
            self.began.append(self.time - 1)
        if argv[:2] == ["systemctl", "restart"]:
            text = self.path.read_text() if self.path.exists() else ""
            self.runs = text in self.starts_with
            return Result(0) if self.runs else Result(1, stderr="Job for docker.service failed because the control process exited.")
        if argv[0] == "journalctl" and "--since" in argv:
            assert float(argv[argv.index("--since") + 1][1:]) in self.began, "what it said before is none of its last words"
            return Result(0, LOG.format(self.said) if self.said else "")
        if argv[:2] == ["docker", "info"]:
            return Result(0, (self.states.pop(0) if len(self.states) > 1 else self.states[0]) + "\n") if self.runs else Result(1)
        return Result(0)

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def restart(self, seconds: float = 60) -> None:
        service.restart(self, str(self.path), seconds, service.Clock(lambda: self.time, self.sleep))


@pytest.fixture
def path(tmp_path):
    """Settings that were changed from `old` to `new`."""
    found = tmp_path / "daemon.json"
    found.write_text("old")
    docker_daemon.keep(str(found))
    found.unlink()
    found.write_text("new")
    return found


def test_docker_that_starts_with_its_new_settings_has_no_way_back(path):
    docker = Systemd(path, ("new",), states=("pending", "pending", "active"))
    docker.restart()
    assert (path.read_text(), os.listdir(path.parent)) == ("new", ["daemon.json"])
    assert docker.asked == ["systemctl daemon-reload", "systemctl reset-failed", "systemctl restart"] + ["docker info"] * 3


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (CONFLICT, CONFLICT),
        (ZONE, ZONE),
        ('time="x" level=fatal msg="Error \\"x\\" in /a."', 'Error "x" in /a'),
        ("", "Job for docker.service failed because the control process exited."),
    ],
)
def test_docker_that_dies_of_its_new_settings_has_the_old_ones_again_and_runs(path, said, told):
    docker = Systemd(path, ("old",), said)
    with pytest.raises(service.RestartError) as failure:
        docker.restart()
    assert str(failure.value) == (
        f"Docker does not start with what {path} was to be: {told}; expected it to run. "
        "The file is as it was, and Docker runs with it again. Mend what it says, and run this again."
    )
    assert (path.read_text(), docker.runs, os.listdir(path.parent)) == ("old", True, ["daemon.json"])
    # systemd starts nothing for a while of what failed some times in a row.
    assert docker.asked.index("systemctl reset-failed", 3) < docker.asked.index("systemctl restart", 3)


def test_docker_that_is_dead_with_both_is_told_with_both_reasons(path):
    with pytest.raises(service.RestartError) as failure:
        Systemd(path, (), said="no space left on device").restart()
    assert str(failure.value) == (
        f"Docker does not start with what {path} was to be: no space left on device; expected it to run. The file is as it was, "
        "and Docker does not start with that either: no space left on device. See:\n  journalctl -u docker -n 50"
    )
    assert path.read_text() == "old"


def test_docker_without_a_way_back_is_told_so(path):
    docker_daemon.forget(str(path))
    with pytest.raises(service.RestartError) as failure:
        Systemd(path, (), ZONE).restart()
    assert str(failure.value) == (
        f"Docker does not start: {ZONE}; expected it to run. There are no other settings to go back to. "
        "Mend what it says, and run this again."
    )


def test_settings_are_not_blamed_for_a_swarm_without_its_managers(path):
    with pytest.raises(service.RestartError, match=r"Docker runs again, and is not back in its Swarm after 60 s \(pending\)"):
        Systemd(path, ("new",), states=("pending",)).restart()
    assert path.read_text() == "new"
