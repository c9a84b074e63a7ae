"""A container that is waited for: when the wait ends, and the cause that is told. Logs and events are those of the real GPUStack 0.7.1."""

from __future__ import annotations

import json

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import causes as gpustack_causes
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result
from ansible_collections.ascend.gpustack.plugins.modules import gpustack_container

LOGS = {
    "database": (
        "2026-11-27 16:31:11.926330+08:00 - gpustack.cmd.start - ERROR - Error running server: Database migration failed: "
        '(sqlite3.DatabaseError) file is not a database\n[SQL: PRAGMA main.table_info("alembic_version")]',
        "file is not a database",
    ),
    "port": (
        "ERROR:    [Errno 98] error while attempting to bind on address ('0.0.0.0', 8080): address already in use",
        "error while attempting to bind on address ('0.0.0.0', 8080): address already in use",
    ),
    "token": (
        "2026-11-27 16:31:19.430156+08:00 - gpustack.worker.worker - ERROR - Error serving worker APIs: Invalid authentication credentials",
        "Invalid authentication credentials",
    ),
    "setting": (
        "Config error: 1 validation error for Config\nporrt\n  Extra inputs are not permitted [type=extra_forbidden, input_value=8184]",
        "porrt: Extra inputs are not permitted",
    ),
    "disk": ("OSError: [Errno 28] No space left on device: '/var/lib/gpustack/log'", "No space left on device"),
    "server": (
        "2026-11-27 17:39:09.672559+08:00 - gpustack.worker.worker - ERROR - Error serving worker APIs: [Errno 111] Connection refused",
        "[Errno 111] Connection refused",
    ),
    "store": (
        "The model store /data/models is not there yet; it is looked for again in 10 s.",
        "The model store /data/models is not there yet",
    ),
}


# Of GPUStack 2, where it says it in other words
LOGS_V2 = [
    (
        "port",
        "ERROR - Port 5432 required for service 'postgres' is not available.",
        "Port 5432 required for service 'postgres' is not available",
    ),
    (
        "token",
        "gpustack.worker.worker_manager - ERROR - Failed to register worker: Invalid authentication credentials",
        "Invalid authentication credentials",
    ),
    ("token", "Exception: Config error: Token is required when running as worker", "Token is required when running as worker"),
    ("setting", 'Exception: Config error: CA certificate file "/x" does not exist.', 'CA certificate file "/x" does not exist.'),
    (
        "trust",
        "ERROR - Failed to register worker: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get issuer",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get issuer",
    ),
    ("server", "ERROR - Failed to register worker: All connection attempts failed", "All connection attempts failed"),
    (
        "database",
        'asyncpg.exceptions.InvalidPasswordError: password authentication failed for user "root"',
        'password authentication failed for user "root"',
    ),
    ("database", "FATAL:  database files are incompatible with server", "database files are incompatible with server"),
]


@pytest.mark.parametrize(("kind", "log", "detail"), LOGS_V2)
def test_cause_is_read_from_the_log_of_the_next_generation(kind, log, detail):
    assert gpustack_causes.find(f"INFO - started\n{log}\nINFO - shut down", [0], False) == gpustack_causes.Cause(kind, detail)


@pytest.mark.parametrize("kind", LOGS)
def test_cause_is_read_from_the_log(kind):
    log, detail = LOGS[kind]
    assert gpustack_causes.find(f"INFO - started\n{log}\nINFO - shut down", [0, 0, 0], False) == gpustack_causes.Cause(kind, detail)


def test_end_without_a_known_cause_is_told_by_its_exit_code():
    assert gpustack_causes.find("", [1, 2], False).detail == "it ended 2 times, last with exit code 2"
    assert gpustack_causes.find("INFO - Starting", [], True).kind == "time"
    events = [{"Action": "oom"}, {"Action": "die", "Actor": {"Attributes": {"exitCode": "137"}}}]
    assert gpustack_causes.find("", gpustack_causes.ends("\n".join(map(json.dumps, events))), False).kind == "memory"
    assert gpustack_causes.last_line("a\nx - ERROR - b\nc\n") == "x - ERROR - b"
    assert gpustack_causes.last_line("ERROR:    Traceback (most recent call last):\n  File x\nOSError: y\n") == "OSError: y"
    assert gpustack_causes.last_line("ERROR:    Traceback (most recent call last):\n  File x\nINFO - over\n") == "INFO - over"


class Docker:
    """Plays the states of a container one after another; the last one stays."""

    def __init__(self, *states: dict, log: str = "", ends: tuple[int, ...] = (), takes: float = 0) -> None:
        self.states, self.log, self.now, self.looks, self.takes = list(states), log, 0.0, 0, takes
        events = ({"Action": "die", "Actor": {"Attributes": {"exitCode": str(code)}}} for code in ends)
        self.events = "\n".join(map(json.dumps, events))

    def __call__(self, argv: list[str], _timeout: float) -> Result:
        if argv[1] != "container":
            return Result(0, stdout={"logs": self.log, "events": self.events}[argv[1]])
        self.looks += 1
        self.now += self.takes
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if not state:
            return Result(1, "[]", "Error response from daemon: No such container: gpustack")
        if "stderr" in state:
            return Result(1, "", state["stderr"])
        return Result(0, json.dumps([state]))

    def wait(self, seconds: float = 60, explain: bool = False, **known) -> dict:
        def sleep(passed: float) -> None:
            self.now += passed

        given = {"name": "gpustack", "wait": seconds, "explain": explain, "known": known}
        return gpustack_container.gather(given, self, lambda: self.now, sleep)


def state(status: str = "running", health: str | None = "starting", restarts: int = 0, **more) -> dict:
    told = {"Status": status, "Running": status == "running", "StartedAt": "2026-11-27T08:31:11Z", "Health": {"Status": health}, **more}
    return {"Id": "1", "State": told, "RestartCount": restarts}


def test_wait_ends_when_the_container_is_healthy():
    found = Docker(state(), state(), state(health="healthy")).wait()
    assert (found["healthy"], found["finished"], found["progress"]) == (True, True, "running, healthy")


def test_wait_goes_on_while_the_container_starts_and_shows_how_it_stands():
    docker = Docker(state(restarts=5), state(restarts=6))
    found = docker.wait(10)
    assert (found["finished"], found["progress"], found["kind"]) == (False, "running, starting, ended 1 times", "time")
    assert docker.now == 10


@pytest.mark.parametrize(
    "log",
    [LOGS["token"][0], LOGS["setting"][0], *(log for kind, log, _detail in LOGS_V2 if kind in ("token", "setting", "trust"))],
)
def test_wait_ends_with_what_the_next_start_of_the_container_cannot_change(log):
    docker = Docker(state(), log=log)
    found = docker.wait(300)
    assert (found["healthy"], found["finished"], docker.looks) == (False, True, 1)


@pytest.mark.parametrize(
    "log",
    [
        LOGS["server"][0],
        LOGS["port"][0],
        LOGS["store"][0],
        # Of another's request
        "INFO - 401 Invalid authentication credentials",
        "Exception: Config error: Failed to get OpenID configuration: timed out. Please check the issuer URL",
    ],
)
def test_wait_goes_on_with_what_may_pass(log):
    docker = Docker(state(), state(), state(health="healthy"), log=log)
    assert docker.wait(300)["healthy"]


def test_slow_host_is_asked_less_often():
    docker = Docker(state(), takes=2)
    docker.wait(60)
    assert docker.looks == 7


def test_wait_ends_early_when_the_container_ends_again_and_again():
    docker = Docker(state(restarts=5), state("restarting", restarts=8), log=LOGS["database"][0])
    found = docker.wait(300)
    assert (found["finished"], found["kind"], docker.looks) == (True, "database", 2)
    assert found["log"] == LOGS["database"][0]


@pytest.mark.parametrize(
    "last, kind",
    [
        (state("exited", ExitCode=3), "ended"),
        (state("exited", ExitCode=137, OOMKilled=True), "memory"),
        (state("paused"), "paused"),
        ({}, "gone"),
    ],
)
def test_wait_ends_at_once_when_nothing_more_can_be_expected(last, kind):
    docker = Docker(state(), last)
    assert (docker.wait(300)["kind"], docker.looks) == (kind, 2)


@pytest.mark.parametrize(
    "policy, kind",
    [("unless-stopped", "stopped"), ("always", "stopped"), ("no", "ended")],
)
def test_container_that_someone_stopped_is_told_from_one_that_ends(policy, kind):
    stopped = {**state("exited", ExitCode=0, FinishedAt="2026-11-27T18:24:22.8Z"), "HostConfig": {"RestartPolicy": {"Name": policy}}}
    found = Docker(stopped, log="ERROR:    Traceback (most recent call last):").wait(0, explain=True, since="3m", restarts=0)
    assert found["kind"] == kind
    assert kind == "ended" or found["detail"] == "since 2026-11-27T18:24:22, exit code 0"


def test_healthy_container_is_asked_too_where_its_worker_is_not_ready():
    found = Docker(state(health="healthy"), log=LOGS["token"][0]).wait(0, explain=True, since="3m", restarts=0)
    assert (found["healthy"], found["kind"]) == (True, "token")


@pytest.mark.parametrize("health", ["healthy", "starting"])
def test_container_that_someone_restarted_is_not_told_to_end(health):
    found = Docker(state(health=health), ends=(137,)).wait(0, explain=True, since="3m", restarts=0)
    assert found["kind"] == "time"


def test_container_that_docker_restarts_is_told_with_its_exit_code():
    found = Docker(state(restarts=2), ends=(3, 3)).wait(0, explain=True, since="3m", restarts=0)
    assert (found["kind"], found["detail"]) == ("ended", "it ended 2 times, last with exit code 3; its last words: none")


def test_docker_may_restart_meanwhile_and_may_not_stay_away():
    silent = {"stderr": "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"}
    assert Docker(silent, silent, state(health="healthy")).wait()["healthy"]
    found = Docker(silent).wait(300)
    assert (found["kind"], found["detail"]) == ("engine", silent["stderr"])
