"""What a killed run leaves, and what the next one makes of it. The tests stand in the order of one cluster's life."""

from __future__ import annotations

import contextlib
import datetime
import os
import pathlib
import re
import signal
import subprocess
import tempfile
from dataclasses import dataclass

import pytest
from conftest import OLD, ROOT, Run, identity, inspect, playbook_command, run_playbook, wait_until

BOTH = ("--limit", "atlas1,atlas2")
CONFIG = "/etc/gpustack/config.yaml"
DEBUG = {"gpustack_worker_config": {"debug": True}}
TAKE = "remove it" if OLD else "take its record over"


def kill_with_descendants(process: subprocess.Popen) -> None:
    """Ansible's workers have sessions of their own; what they started on the hosts goes on, as after a lost connection."""
    process.send_signal(signal.SIGSTOP)
    table = [
        line.split() for line in subprocess.run(["ps", "-eo", "pid=,ppid="], check=True, capture_output=True, text=True).stdout.splitlines()
    ]
    family = {process.pid}
    while found := {int(pid) for pid, parent in table if int(parent) in family} - family:
        family |= found
    for pid in family:
        # One that has ended meanwhile needs no end.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def is_starting(host) -> bool:
    return host.run("docker inspect -f '{{.State.Running}} {{.State.Health.Status}}' gpustack").stdout.strip() == "true starting"


def run_killed_while_it_starts(host) -> str:
    """Start site.yml, kill it while the container on the host starts, and return when that was started."""
    command = [*playbook_command("site"), *BOTH]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        wait_until("the container starts", lambda: process.poll() is not None or is_starting(host))
        if process.poll() is not None:
            output.seek(0)
            pytest.fail(f"the run ended before it could be killed:\n{output.read()}")
    kill_with_descendants(process)
    return started(host)


def started(host) -> str:
    return inspect(host)["State"]["StartedAt"]


def seconds(moment: str) -> float:
    return datetime.datetime.fromisoformat(re.sub(r"\.\d+Z$", "+00:00", moment)).timestamp()


@dataclass(frozen=True)
class Interrupted:
    """When the containers were started that two killed runs left, and the run after them."""

    server: str
    worker: str
    run: Run


@pytest.fixture(scope="module")
def interrupted(atlas) -> Interrupted:
    server = run_killed_while_it_starts(atlas("atlas1"))
    worker = run_killed_while_it_starts(atlas("atlas2"))
    return Interrupted(server, worker, run_playbook("site", *BOTH))


def assert_both_are_ready(workers) -> None:
    found = {name: (worker["state"], len(worker["status"]["gpu_devices"])) for name, worker in workers().items()}
    assert found == {"atlas1": ("ready", 8), "atlas2": ("ready", 8)}


def test_run_after_killed_ones_converges(interrupted, workers):
    assert interrupted.run.rc == 0
    assert_both_are_ready(workers)


def test_container_that_a_killed_run_started_is_not_started_again(interrupted, atlas):
    assert (started(atlas("atlas1")), started(atlas("atlas2"))) == (interrupted.server, interrupted.worker)


def test_configuration_that_a_killed_run_wrote_is_in_effect_after_the_next(interrupted, atlas, workers):
    worker = atlas("atlas2")
    killed = run_playbook(
        "workers",
        "--limit=atlas2",
        variables=DEBUG,
        ANSIBLE_CALLBACK_PLUGINS=str(pathlib.Path(__file__).resolve().parents[1] / "callbacks"),
        ANSIBLE_CALLBACKS_ENABLED="kill_run",
        KILL_AFTER=f"Write {CONFIG}",
    )
    assert killed.rc == -signal.SIGKILL
    assert "debug: true" in worker.file(CONFIG).content_string
    written = worker.file(CONFIG).mtime.timestamp()
    assert started(worker) == interrupted.worker and seconds(interrupted.worker) < written

    run = run_playbook("site", *BOTH, variables=DEBUG)
    assert run.rc == 0
    assert "container gpustack: restarted to read its configuration (written after the container was started)" in run.text
    assert seconds(started(worker)) >= written
    assert started(atlas("atlas1")) == interrupted.server
    assert_both_are_ready(workers)


def states(api) -> dict[str, str]:
    return {worker["name"]: worker["state"] for worker in api("workers?perPage=100")["items"]}


def test_worker_that_lost_its_data_is_refused_by_name_and_replaced_when_asked(interrupted, atlas, workers, api):
    names = ("atlas1", "atlas2")
    known, before = {name: worker["id"] for name, worker in workers().items()}, {name: identity(atlas(name)) for name in names}
    atlas("atlas2").check_output("docker rm -f gpustack && docker volume rm gpustack-data")
    run = run_playbook("workers", "--limit=atlas2")
    assert run.rc != 0
    assert re.search(
        r"atlas2: GPUStack already has a worker atlas2 \(id \d+, [\d.]+, \w+\), registered from another data directory; "
        rf"expected a free name. If it is what is left of this host, set gpustack_worker_replace_stale: true to {TAKE}; "
        "else give this host another gpustack_worker_name.",
        run.text,
    )
    assert atlas("atlas2").run("docker inspect gpustack").rc != 0

    # One that is ready may be another host's.
    wait_until("GPUStack misses the worker", lambda: states(api)["atlas2"] != "ready", pause=2)
    assert run_playbook("site", *BOTH, variables={"gpustack_worker_replace_stale": True}).rc == 0
    assert_both_are_ready(workers)
    after = {name: identity(atlas(name)) for name in names}
    # GPUStack 0.7 knows a worker by its data, 2 by its host: it gives it its record again, and with it the models that are bound to it.
    assert after["atlas1"] == before["atlas1"] and (after["atlas2"] != before["atlas2"]) is OLD
    assert ({name: worker["id"] for name, worker in workers().items()} == known) is not OLD
    assert started(atlas("atlas1")) == interrupted.server
