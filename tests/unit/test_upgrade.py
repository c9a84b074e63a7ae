"""An upgrade leaves what was there until the newer version runs, wherever it was cut off, and a rollback brings it back later."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils import files
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import upgrade_state
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup import aside, upgrade
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result
from backup_server import Server

OLD, ASIDE = "gpustack-before-upgrade", ".before-upgrade"


class Killed(BaseException):
    """As SIGKILL does, it ends everything, and nothing cleans up after it."""


@pytest.fixture
def server(tmp_path) -> Server:
    return Server(tmp_path)


def runner_of(server: Server):
    def run(argv: list[str], limit: float = 0) -> Result:
        if argv[0] != "docker":
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            return Result(done.returncode, done.stdout, done.stderr)
        return Result(0, "the newer one's words\n") if argv[1] == "logs" else server.docker(argv, limit)

    return run


def node_of(server: Server, runner=None) -> aside.Node:
    config = str(server.root / "etc/config.yaml")
    return aside.Node(runner or runner_of(server), "gpustack", "gpustack-data", str(server.data), config, upgrade.OCCASION)


def keep(server: Server, runner=None) -> None:
    upgrade.keep(node_of(server, runner), "0.7.1", "2.3.0", "/backups/a.tar.gz", "2026-11-28 01:00 UTC")


def serve(server: Server) -> None:
    """The newer container, and what it does to the data that it finds."""
    server.containers = {**server.containers, "gpustack": server.container("2.3.0")}
    with server.database() as live:
        live.execute("INSERT INTO models (name) VALUES ('later')")
    (server.data / "postgresql/data").mkdir(parents=True)
    (server.data / "run").mkdir()
    (server.data / "run/state_migration_done").touch()
    (server.root / "etc/config.yaml").write_text("newer: true\n")


def state_of(server: Server) -> dict | None:
    def read(path: str) -> str:
        file = server.data / path
        return file.read_text() if file.exists() else ""

    return upgrade_state.state_of(os.listdir(server.data), read)


def plain(server: Server) -> dict:
    return {name: value for name, value in server.state().items() if "rolled-back" not in name and "replaced-by-rollback" not in name}


def test_newer_version_that_does_not_come_up_is_taken_back_and_its_log_is_kept(server, tmp_path):
    before = server.state()
    keep(server)
    assert state_of(server)["state"] == upgrade_state.KEPT and list(server.containers) == [OLD]
    serve(server)
    log = tmp_path / "upgrade.log"
    assert upgrade.put_back(node_of(server), str(log), served=False)
    assert server.state() == before and state_of(server) is None
    assert log.read_text() == "the newer one's words\n" and oct(log.stat().st_mode & 0o777) == "0o600"


def test_newer_version_goes_on_with_the_data_that_are_there(server):
    keep(server)
    assert server.models() == ["qwen"] and (server.data / "worker_uuid").read_text() == "uuid-1"


def test_rollback_brings_back_what_was_there_and_sets_the_newer_data_aside(server):
    before = server.state()
    keep(server)
    serve(server)
    upgrade.finish(node_of(server))
    assert state_of(server) == {
        **{"state": upgrade_state.DONE, "before": "0.7.1", "wanted": "2.3.0"},
        **{"backup": "/backups/a.tar.gz", "moment": "2026-11-28 01:00 UTC"},
    }
    upgrade.roll_back(node_of(server))
    assert plain(server) == before
    assert (server.data / ".replaced-by-rollback/run/state_migration_done").exists()
    assert state_of(server)["state"] == upgrade_state.ROLLED_BACK


def test_nothing_of_the_first_try_is_left_for_a_migration_after_a_rollback(server):
    keep(server)
    serve(server)
    upgrade.finish(node_of(server))
    upgrade.roll_back(node_of(server))
    assert not [name for name in ("postgresql", "run", "postgres_root_pass") if (server.data / name).exists()]
    keep(server)
    assert state_of(server)["state"] == upgrade_state.KEPT
    # Where that try fails too, it is the person's turn again.
    upgrade.put_back(node_of(server), str(server.root / "upgrade.log"), served=False)
    assert state_of(server)["state"] == upgrade_state.ROLLED_BACK
    keep(server)
    upgrade.finish(node_of(server))
    assert not (server.data / ".rolled-back.json").exists() and not (server.data / ".replaced-by-rollback").exists()


def test_full_disk_stops_nothing(server, monkeypatch):
    before = server.state()
    monkeypatch.setattr(upgrade, "SPARE", 1 << 40)
    with pytest.raises(aside.StepError, match=r"has \d+ MiB free; expected \d+ MiB for a copy of what is there"):
        keep(server)
    assert server.state() == before


def test_container_that_was_stopped_stays_so(server):
    server.containers = {"gpustack": server.container(running=False)}
    before = server.state()
    keep(server)
    upgrade.put_back(node_of(server), str(server.root / "upgrade.log"), served=False)
    assert server.state() == before


def cut_off(monkeypatch, server: Server, last: int, what) -> bool:
    """Do it, and die before the call of Docker, or the change of a file, that has this number; whether there was one."""
    left = [last]

    def count() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    def counted(function):
        def called(*arguments, **named):
            count()
            return function(*arguments, **named)

        return called

    plain_run = runner_of(server)
    with monkeypatch.context() as patch:
        for module, name in ((os, "rename"), (files, "write"), (aside, "remove")):
            patch.setattr(module, name, counted(getattr(module, name)))
        patch.setattr(aside.shutil, "rmtree", counted(aside.shutil.rmtree))
        try:
            what(counted(plain_run))
        except Killed:
            return True
    return False


def test_upgrade_that_was_killed_anywhere_is_taken_back(tmp_path, monkeypatch):
    last = 0
    while True:
        root = tmp_path / str(last)
        root.mkdir()
        server = Server(root)
        before = server.state()
        killed = cut_off(monkeypatch, server, last, lambda runner, server=server: keep(server, runner))
        upgrade.put_back(node_of(server), str(server.root / "upgrade.log"), served=False)
        assert server.state() == before, last
        if not killed:
            break
        last += 1
    assert last > 8


def test_way_back_that_was_killed_anywhere_is_completed(tmp_path, monkeypatch):
    last = 0
    while True:
        root = tmp_path / str(last)
        root.mkdir()
        server = Server(root)
        before = server.state()
        keep(server)
        serve(server)
        killed = cut_off(monkeypatch, server, last, lambda runner, server=server: aside.put_back(node_of(server, runner)))
        # Half of what was there is no ground for the newer version to go on.
        assert (
            not killed
            or last == 0
            or (state_of(server) or {"state": upgrade_state.BEGUN})["state"] in (upgrade_state.BEGUN, upgrade_state.KEPT)
        )
        aside.put_back(node_of(server))
        assert server.state() == before, last
        if not killed:
            break
        last += 1
    assert last > 8


def test_newer_version_that_was_used_since_a_run_was_cut_off_loses_no_data_wherever_its_way_back_is_killed(tmp_path, monkeypatch):
    last = 0
    while True:
        root = tmp_path / str(last)
        root.mkdir()
        server = Server(root)
        before = server.state()
        keep(server)
        serve(server)

        def back(runner, server=server):
            upgrade.put_back(node_of(server, runner), str(server.root / "upgrade.log"), served=True)

        killed = cut_off(monkeypatch, server, last, back)
        # As the next run does
        upgrade.put_back(
            node_of(server), str(server.root / "upgrade.log"), served=(state_of(server) or {}).get("state") == upgrade_state.KEPT
        )
        assert plain(server) == before, last
        assert (server.data / ".replaced-by-rollback/run/state_migration_done").exists(), last
        if not killed:
            break
        last += 1
    assert last > 8


def test_rollback_that_was_killed_anywhere_is_told_and_completed(tmp_path, monkeypatch):
    last = 0
    while True:
        root = tmp_path / str(last)
        root.mkdir()
        server = Server(root)
        before = server.state()
        keep(server)
        serve(server)
        upgrade.finish(node_of(server))
        killed = cut_off(monkeypatch, server, last, lambda runner, server=server: upgrade.roll_back(node_of(server, runner)))
        state = state_of(server)
        if killed and state and state["state"] in (upgrade_state.DONE, upgrade_state.RETURNING):
            upgrade.roll_back(node_of(server))
        assert plain(server) == before, last
        if not killed:
            break
        last += 1
    assert last > 8


def test_state_of_what_nobody_can_read_is_that_of_one_that_was_cut_off():
    assert upgrade_state.state_of([ASIDE], lambda path: "") == {
        **{"state": upgrade_state.BEGUN, "before": "", "wanted": ""},
        **{"backup": "", "moment": ""},
    }
    assert upgrade_state.state_of(["token"], lambda path: "") is None
    assert upgrade_state.state_of([ASIDE], lambda path: json.dumps({"moved": True, "done": True}))["state"] == upgrade_state.DONE


def test_what_is_kept_is_roots_alone(server):
    keep(server)
    assert oct(os.stat(server.data / ASIDE).st_mode & 0o777) == "0o700"
    assert oct(os.stat(pathlib.Path(server.data / ASIDE / "note.json")).st_mode & 0o777) == "0o600"
