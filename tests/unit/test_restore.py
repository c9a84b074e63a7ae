"""A restore brings back what was there at the backup, or leaves what was there before it, wherever it was cut off."""

from __future__ import annotations

import os
import shutil

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils import files
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import v0_7, v2
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup import archive, aside, program, restore
from backup_server import BACKUP, Server


class Killed(BaseException):
    """As SIGKILL does, it ends everything, and nothing cleans up after it."""


@pytest.fixture
def server(tmp_path, monkeypatch) -> Server:
    monkeypatch.setattr(program, "PATH", f"{tmp_path}/bin:{program.PATH}")
    return Server(tmp_path)


@pytest.fixture
def made(server) -> str:
    """A backup, after which the server went on."""
    path = server.backup()["path"]
    with server.database() as live:
        live.execute("INSERT INTO models (name) VALUES ('later')")
    (server.data / "token").write_text("another")
    (server.root / "etc/config.yaml").write_text('token: "another"\n')
    return path


def target(server: Server, runner=None) -> aside.Node:
    return aside.Node(runner or server.docker, "gpustack", "gpustack-data", str(server.data), str(server.root / "etc/config.yaml"))


def place(server: Server, path: str, same_host: bool = True, runner=None) -> None:
    restore.place(target(server, runner), path, BACKUP, "gpustack/gpustack:v0.7.1", same_host)


def serve(server: Server) -> None:
    """What the role does next: a new container."""
    server.containers = {**server.containers, "gpustack": server.container()}


def test_what_was_backed_up_is_there_again(server, made):
    place(server, made)
    serve(server)
    restore.finish(target(server))
    assert server.models() == ["qwen"]
    assert (server.data / "token").read_text() == "0123456789abcdef"
    assert (server.root / "etc/config.yaml").read_text() == 'token: "0123456789abcdef"\n'
    assert oct(os.stat(server.root / "etc/config.yaml").st_mode & 0o777) == "0o600"
    assert list(server.containers) == ["gpustack"]
    assert (server.data / ".replaced-by-restore/data/token").read_text() == "another"


def test_empty_data_get_all_of_it(server, made):
    shutil.rmtree(server.data)
    server.data.mkdir()
    shutil.rmtree(server.root / "etc")
    server.containers = {}
    place(server, made)
    assert server.models() == ["qwen"]
    assert (server.data / "worker_uuid").read_text() == "uuid-1" and (server.root / "etc/config.yaml").exists()


def test_models_that_were_downloaded_stay_where_they_are(server, made):
    inode = os.stat(server.data / "cache/model").st_ino
    place(server, made)
    assert os.stat(server.data / "cache/model").st_ino == inode


def test_another_host_keeps_the_identity_of_its_own_worker(server, made):
    (server.data / "worker_uuid").write_text("own")
    (server.data / "worker_name").write_text("atlas2")
    place(server, made, same_host=False)
    assert [(server.data / name).read_text() for name in ("worker_uuid", "worker_name")] == ["own", "atlas2"]
    assert (server.data / "token").read_text() == "0123456789abcdef" and server.models() == ["qwen"]


def test_host_without_a_worker_gets_none_of_another_host(server, made):
    for name in ("worker_uuid", "worker_name"):
        (server.data / name).unlink()
    place(server, made, same_host=False)
    assert not (server.data / "worker_uuid").exists() and not (server.data / "worker_name").exists()


def test_nothing_of_a_later_generation_is_left_beside_the_database(server, made):
    (server.data / "postgresql/data").mkdir(parents=True)
    (server.data / "run").mkdir()
    (server.data / "run/state_migration_done").touch()
    place(server, made)
    assert not (server.data / "postgresql").exists() and not (server.data / "run").exists()
    assert "postgresql" in restore.replaced(v0_7.BACKUP, True) and "database.db" in restore.replaced(v2.DATA.backup, True)


def test_database_that_cannot_be_made_leaves_all_as_it_was(server, made):
    before = server.state()
    (server.root / "no-load").touch()
    with pytest.raises(aside.StepError, match="could not execute query"):
        place(server, made)
    aside.put_back(target(server))
    assert server.state() == before


def test_server_that_does_not_come_up_is_taken_back(server, made):
    before = server.state()
    place(server, made)
    serve(server)
    aside.put_back(target(server))
    assert server.state() == before


def test_first_server_of_a_host_that_does_not_come_up_goes_again(server, made):
    server.containers = {}
    before = server.state()
    place(server, made)
    serve(server)
    aside.put_back(target(server))
    assert server.state() == before


def test_stopped_container_is_not_started_by_putting_back(server, made):
    server.containers = {"gpustack": server.container(running=False)}
    place(server, made)
    aside.put_back(target(server))
    assert not server.containers["gpustack"]["State"]["Running"]


class Steps:
    """Counts what changes something, and is killed before the step of a number."""

    def __init__(self, monkeypatch, docker, last: int) -> None:
        self.left, self.docker = last, docker
        for module, name in (
            (os, "rename"),
            (shutil, "move"),
            (shutil, "copy2"),
            (shutil, "rmtree"),
            (files, "write"),
            (archive, "unpack"),
        ):
            monkeypatch.setattr(module, name, self.counted(getattr(module, name)))

    def counted(self, function):
        def step(*arguments, **named):
            if self.left == 0:
                raise Killed
            self.left -= 1
            return function(*arguments, **named)

        return step

    def runner(self, argv, limit):
        return (self.docker if argv[1:3] == ["container", "inspect"] else self.counted(self.docker))(argv, limit)


def cut_off(monkeypatch, server: Server, last: int, action) -> bool:
    """Whether it was killed before its end."""
    with monkeypatch.context() as patched:
        steps = Steps(patched, server.docker, last)
        try:
            action(steps.runner)
        except Killed:
            return True
    return False


def test_restore_that_was_killed_anywhere_is_taken_back(server, made, monkeypatch):
    before, last = server.state(), 0
    while cut_off(monkeypatch, server, last, lambda runner: place(server, made, runner=runner)):
        aside.put_back(target(server))
        assert server.state() == before, last
        last += 1
    assert last > 20


def test_putting_back_that_was_killed_anywhere_is_completed(server, made, monkeypatch):
    before, last, killed = server.state(), 0, True
    while killed:
        place(server, made)
        serve(server)
        killed = cut_off(monkeypatch, server, last, lambda runner: aside.put_back(target(server, runner)))
        aside.put_back(target(server))
        assert server.state() == before, last
        last += 1
    assert last > 10


def test_restore_after_one_that_was_cut_off_begins_with_what_was_there(server, made, monkeypatch):
    before = server.state()
    assert cut_off(monkeypatch, server, 12, lambda runner: place(server, made, runner=runner))
    place(server, made)
    aside.put_back(target(server))
    assert server.state() == before


def test_what_an_earlier_restore_replaced_goes_with_the_next(server, made):
    for _time in range(2):
        place(server, made)
        serve(server)
        restore.finish(target(server))
    assert (server.data / ".replaced-by-restore/data/token").read_text() == "0123456789abcdef"
    assert not (server.data / ".before-restore").exists()
