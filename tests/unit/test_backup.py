"""A backup holds what the server had, whole or not at all, and nothing that runs notices."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import tarfile
import time

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup import archive, program
from backup_server import FILES, Server

needs_gpg = pytest.mark.skipif(not shutil.which("gpg"), reason="gpg is not here")


@pytest.fixture
def server(tmp_path, monkeypatch) -> Server:
    monkeypatch.setattr(program, "PATH", f"{tmp_path}/bin:{program.PATH}")
    return Server(tmp_path)


def unpacked(path: str, target: pathlib.Path) -> pathlib.Path:
    archive.unpack(path, str(target))
    return target


def names_in(path: str) -> list[str]:
    with tarfile.open(path) as packed:
        return packed.getnames()


def test_backup_holds_what_was_written_until_now_and_nothing_stops(server, tmp_path):
    with server.database() as writer:
        writer.execute("INSERT INTO models (name) VALUES ('tiny')")
        writer.commit()
        writer.execute("INSERT INTO models (name) VALUES ('half')")
        made = server.backup()
    tree = unpacked(made["path"], tmp_path / "tree")
    copy = sqlite3.connect(tree / "database")
    assert [name for (name,) in copy.execute("SELECT name FROM models ORDER BY id")] == ["qwen", "tiny"]
    assert {name: (tree / "data" / name).read_text() for name in FILES} == FILES
    assert (tree / "config/config.yaml").exists() and (tree / "config/known.json").exists()
    assert not (tree / "data/cache").exists()
    assert set((tmp_path / "calls").read_text().splitlines()) == {"container inspect", "exec gpustack"}


def test_backup_says_of_what_it_is(server):
    made = server.backup()
    manifest = archive.check(made["path"])
    assert manifest["names"] == {"models": ["qwen"], "workers": ["atlas1"]}
    assert {key: manifest[key] for key in ("format", "host", "version", "container", "image", "address", "kind")} == {
        "format": 1,
        "host": "atlas1",
        "version": "0.7.1",
        "container": "gpustack",
        "image": "gpustack/gpustack:v0.7.1",
        "address": "198.18.0.11",
        "kind": "",
    }
    assert re.fullmatch(r"gpustack-atlas1-\d{8}T\d{6}Z-0\.7\.1\.tar\.gz", os.path.basename(made["path"]))


def test_backup_is_roots_alone(server):
    output, _error = server.start("--json").communicate(timeout=60)
    path = json.loads(output)["path"]
    assert oct(os.stat(path).st_mode & 0o777) == "0o600"
    assert oct(os.stat(os.path.dirname(path)).st_mode & 0o777) == "0o700"


def test_checksums_are_checked_by_hand_too(server, tmp_path):
    made = server.backup()
    assert names_in(made["path"])[0] == "manifest.json" and names_in(made["path"])[-1] == "SHA256SUMS"
    tree = unpacked(made["path"], tmp_path / "tree")
    assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tree, check=False).returncode == 0


def test_damaged_database_makes_no_backup_and_the_earlier_one_stays(server):
    kept = server.backup()["path"]
    path = server.data / "database.db"
    with server.database() as live:
        live.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * len(content[4096:])
    path.write_bytes(content)
    with pytest.raises(program.Failure, match="database.db is damaged: "):
        server.backup()
    assert server.names() == [os.path.basename(kept)]


def test_stopped_server_makes_no_backup_and_says_so(server):
    server.containers = {"gpustack": server.container(running=False)}
    ended = server.start()
    output, error = ended.communicate(timeout=60)
    assert (ended.returncode, output) == (1, "")
    assert error == (
        "no backup was made: the container gpustack does not run (exited); expected the server, whose database is read while it runs\n"
    )
    assert server.names() == []


def test_old_server_that_is_a_worker_now_makes_no_backup_of_what_it_was(server):
    (server.root / "etc/config.yaml").write_text('server_url: "http://198.18.0.12:8080"\n')
    with pytest.raises(program.Failure, match="the container gpustack is a worker; expected the server"):
        server.backup()


def test_version_that_is_not_known_makes_no_backup(server):
    server.containers = {"gpustack": server.container(version="3.0.0")}
    with pytest.raises(program.Failure, match="runs GPUStack 3.0.0; expected one that this program knows"):
        server.backup()


def test_full_disk_makes_no_backup_and_leaves_nothing(server, monkeypatch, capsys):
    def full(*_arguments):
        raise OSError(28, "No space left on device", "/var/lib/gpustack-backup/.unfinished/archive")

    monkeypatch.setattr(program, "pack", full)
    (server.root / "settings.json").write_text(json.dumps(server.settings()))
    monkeypatch.setattr("sys.argv", ["gpustack-backup", "--settings", str(server.root / "settings.json")])
    umask = os.umask(0o022)
    try:
        assert program.main() == 1
    finally:
        os.umask(umask)
    assert "no backup was made: /var/lib/gpustack-backup/.unfinished/archive: No space left on device" in capsys.readouterr().err
    assert server.names() == []


def test_killed_run_leaves_nothing_that_looks_finished_and_the_next_one_cleans_up(server):
    (server.root / "hangs").touch()
    run = server.start()
    deadline = time.monotonic() + 60
    while not (server.root / "backups/.unfinished").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert server.names() == [".unfinished"] and archive.newest([str(server.root / "backups")]) == ""
    (server.root / "hangs").unlink()
    made = server.backup()
    assert server.names() == [os.path.basename(made["path"])]


def test_as_many_are_kept_of_each_kind_and_what_is_another_s_stays(server):
    folder = server.root / "backups"
    folder.mkdir()
    old = [f"gpustack-atlas1-2026010{day}T000000Z-0.7.1.tar.gz" for day in (1, 2, 3)]
    others = ["gpustack-atlas1-20260101T000000Z-0.7.1-scheduled.tar.gz", "gpustack-atlas10-20260101T000000Z-0.7.1.tar.gz"]
    others += ["gpustack-0.7.1.tar", "gpustack-atlas1-mine.tar.gz"]
    for name in old + others:
        (folder / name).touch()
    made = server.backup(keep=2)
    assert made["removed"] == old[:2]
    assert server.names() == sorted([*others, old[2], os.path.basename(made["path"])])


def test_scheduled_ones_never_push_out_the_one_before_an_upgrade(server):
    upgrade = server.backup(kind="upgrade", keep=1)["path"]
    server.backup(kind="scheduled", keep=1)
    time.sleep(1.1)
    scheduled = server.backup(kind="scheduled", keep=1)["path"]
    assert server.names() == sorted(map(os.path.basename, (upgrade, scheduled)))


@needs_gpg
def test_copy_is_encrypted_and_comes_back_with_its_passphrase_alone(server, tmp_path):
    made = server.backup(copy_directory=str(tmp_path / "copies"), passphrase="vAulted-4711 x")
    name = os.path.basename(made["path"]) + ".gpg"
    assert made["copied"] == str(tmp_path / "copies" / name) and server.names("copies") == [name]
    assert oct(os.stat(made["copied"]).st_mode & 0o777) == "0o600"
    content = pathlib.Path(made["copied"]).read_bytes()
    assert not content.startswith(b"\x1f\x8b") and FILES["token"].encode() not in content
    with archive.opened(made["copied"], "vAulted-4711 x", str(tmp_path / "work")) as plain:
        assert archive.check(plain)["host"] == "atlas1"
    assert os.listdir(tmp_path / "work") == []
    for wrong, message in (("other", "can't be decrypted"), ("", "is encrypted, and gpustack_backup_passphrase is not set")):
        with pytest.raises(archive.Unusable, match=message), archive.opened(made["copied"], wrong, str(tmp_path / "work")):
            pass


@needs_gpg
def test_damaged_copy_is_refused(server, tmp_path):
    made = server.backup(copy_directory=str(tmp_path / "copies"), passphrase="vAulted-4711")
    path = pathlib.Path(made["copied"])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(archive.Unusable, match="can't be decrypted"), archive.opened(str(path), "vAulted-4711", str(tmp_path / "work")):
        pass


@needs_gpg
def test_copy_that_fails_is_told_and_the_backup_stays(server, tmp_path):
    (tmp_path / "copies").write_text("a file in the way")
    run = server.start(copy_directory=str(tmp_path / "copies"), passphrase="vAulted-4711")
    _output, error = run.communicate(timeout=60)
    (name,) = server.names()
    assert run.returncode == 1 and error.startswith(f"the backup {name} was made, but not its copy in {tmp_path}/copies: ")
    assert archive.check(str(server.root / "backups" / name))


@needs_gpg
def test_copy_for_another_host_lies_apart_until_it_is_brought_there(server):
    made = server.backup(outgoing=True, passphrase="vAulted-4711")
    assert made["outgoing"].endswith(".tar.gz.gpg") and os.path.exists(made["outgoing"])
    assert archive.newest([str(server.root / "backups")]) == made["path"]
    time.sleep(1.1)
    server.backup()
    assert ".outgoing" not in server.names()


@needs_gpg
def test_copy_is_not_made_in_the_bare_mount_point_of_a_store_that_is_away(server, tmp_path):
    store = tmp_path / "models"
    given = {"copy_directory": f"{store}/backup/", "passphrase": "vAulted-4711", "store": [f"{store}/", f"{store}/.gpustack-store-id"]}
    store.mkdir()
    with pytest.raises(program.NoCopy, match=r"not its copy in .*: .*\.gpustack-store-id is not there, as where the store is not mounted"):
        server.backup(**given)
    assert list(store.iterdir()) == []
    (store / ".gpustack-store-id").touch()
    assert server.backup(**given)["copied"]


@needs_gpg
def test_old_copies_go_and_what_a_killed_run_left(server, tmp_path):
    (tmp_path / "copies").mkdir()
    mine = ["gpustack-atlas1-20260101T000000Z-0.7.1.tar.gz.gpg", ".unfinished-gpustack-atlas1-20260101T000000Z-0.7.1.tar.gz.gpg"]
    others = ["gpustack-atlas9-20260101T000000Z-0.7.1.tar.gz.gpg", "model.safetensors"]
    for name in mine + others:
        (tmp_path / "copies" / name).touch()
    made = server.backup(keep=1, copy_directory=str(tmp_path / "copies"), passphrase="vAulted-4711")
    assert server.names("copies") == sorted([*others, os.path.basename(made["copied"])])


def test_every_damage_is_seen(server, tmp_path):
    path = server.backup()["path"]
    whole = pathlib.Path(path).read_bytes()
    damaged = tmp_path / "damaged.tar.gz"
    seen = 0
    for place in range(10, len(whole), max(1, len(whole) // 60)):
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            archive.check(str(damaged))
        except archive.Unusable as error:
            assert "is damaged or unfinished" in str(error)
            seen += 1
        else:
            # A bit that means nothing, in gzip's own header or at the end of a block
            assert gzip.decompress(damaged.read_bytes()) == gzip.decompress(whole)
    assert seen > 40
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 9):
        damaged.write_bytes(whole[:length])
        with pytest.raises(archive.Unusable, match="is damaged or unfinished"):
            archive.check(str(damaged))
    assert archive.check(path)


@pytest.mark.parametrize("change", ["content", "missing", "more"])
def test_file_that_was_packed_anew_is_refused_unless_its_checksums_fit(server, tmp_path, change):
    tree = unpacked(server.backup()["path"], tmp_path / "tree")
    names = ["manifest.json", "config/config.yaml", "config/known.json", *(f"data/{name}" for name in FILES), "database", "SHA256SUMS"]
    if change == "content":
        (tree / "data/token").write_text("another")
    elif change == "missing":
        names.remove("data/token")
    else:
        (tree / "data/extra").write_text("x")
        names.insert(1, "data/extra")
    with tarfile.open(tmp_path / "anew.tar.gz", "w:gz") as packed:
        for name in names:
            packed.add(tree / name, name)
    with pytest.raises(archive.Unusable, match="is damaged or unfinished"):
        archive.check(str(tmp_path / "anew.tar.gz"))


@pytest.mark.parametrize("name", ["../outside", "/etc/cron.d/x", "link"])
def test_archive_with_something_strange_in_it_is_refused(tmp_path, name):
    with tarfile.open(tmp_path / "strange.tar.gz", "w:gz") as packed:
        member = tarfile.TarInfo(name)
        if name == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/shadow"
        packed.addfile(member)
    with pytest.raises(archive.Unusable, match="is no file of a backup's"):
        archive.check(str(tmp_path / "strange.tar.gz"))


def test_form_of_a_later_collection_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "FORMAT", 2)
    path = server.backup()["path"]
    monkeypatch.setattr(program, "FORMAT", 1)
    with pytest.raises(archive.Unusable, match="is of form 2; expected form 1"):
        archive.check(path)


def test_newest_is_told_by_its_name_and_the_first_directory_comes_first(tmp_path):
    for folder, names in {
        "a": ["gpustack-0.7.1.tar"],
        "b": ["x-20260102T000000Z-2.3.0", "y-20260103T000000Z-2.3.0"],
        "c": ["z-20260909T000000Z-2.3.0"],
    }.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / (name if name.endswith(".tar") else f"gpustack-{name}.tar.gz")).touch()
    found = archive.newest([str(tmp_path / folder) for folder in ("gone", "a", "b", "c")])
    assert found == str(tmp_path / "b/gpustack-y-20260103T000000Z-2.3.0.tar.gz")
