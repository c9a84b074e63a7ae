"""What is removed carries the collection's mark and is GPUStack's own; everything else stays, and is named with its reason."""

from __future__ import annotations

import os

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.cli import Engine
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import data as gpustack_data
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import directory as gpustack_directory
from ansible_collections.ascend.gpustack.plugins.module_utils.host import mounts as host_mounts
from ansible_collections.ascend.gpustack.plugins.module_utils.host import store as host_store
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result, run
from ansible_collections.ascend.gpustack.plugins.modules import gpustack_directory as module

ROOT = "22 1 253:0 / / rw shared:1 - ext4 /dev/sda1 rw\n"
UUID = "7798fc9a-c45a-4cac-823c-8dd9f62f87b6"


def fill(directory, *names: str) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def made(path) -> str:
    assert module.present(run, {"path": str(path), "mode": "0755", "store": None}, check=False)["changed"]
    return str(path)


def removed(path, kind="cache", store="", mountinfo=ROOT, check=False, runner=run) -> dict:
    return module.remove(runner, {"path": str(path), "kind": kind, "store": str(store), "timeout": 60}, mountinfo, check)


def reasons(result: dict) -> list[tuple[str, str]]:
    return [(kept["why"], kept["command"]) for kept in result["kept"]]


def test_directory_is_marked_when_it_is_made_and_only_then(tmp_path):
    cache = tmp_path / "a b" / "cache"
    assert module.present(run, {"path": str(cache), "mode": "0700", "store": None}, check=True)["changed"] and not cache.exists()
    assert module.present(run, {"path": str(cache), "mode": "0700", "store": None}, check=False)["changed"]
    assert cache.stat().st_mode & 0o777 == 0o700 and (cache / ".ascend-gpustack").read_text().startswith("Made by ascend.gpustack.")
    assert not module.present(run, {"path": str(cache), "mode": "0755", "store": None}, check=False)["changed"]
    by_hand = tmp_path / "by-hand"
    by_hand.mkdir()
    assert not module.present(run, {"path": str(by_hand), "mode": "0755", "store": None}, check=False)["changed"]
    assert os.listdir(by_hand) == []


def test_root_of_the_store_is_made_without_a_mark(tmp_path):
    assert module.present(run, {"path": f"{tmp_path}/models/", "mode": "0755", "store": f"{tmp_path}/models"}, check=False)["changed"]
    assert os.listdir(tmp_path / "models") == []


def test_file_in_place_of_a_directory_is_told(tmp_path):
    (tmp_path / "cache").write_text("")
    found = module.present(run, {"path": str(tmp_path / "cache"), "mode": "0755", "store": None}, check=False)
    assert found == {"changed": False, "error": f"{tmp_path}/cache is no directory", "diff": {"before": "", "after": ""}}


@pytest.mark.parametrize("kind", ["cache", "data"])
def test_marked_directory_goes_with_what_gpustack_put_there_and_the_check_says_the_same(tmp_path, kind):
    path = made(tmp_path / "gpustack")
    fill(tmp_path / "gpustack", *[f"{name}/x" for name in gpustack_directory.OWN[kind]])
    announced = removed(path, kind, check=True)
    assert os.path.exists(path)
    found = removed(path, kind)
    assert found == announced and found["removed"] == [*(f"{path}/{name}" for name in sorted(gpustack_directory.OWN[kind])), path]
    assert found["diff"]["before"].splitlines() == found["removed"] and found["error"] == "" and not os.path.exists(path)
    assert removed(path, kind) == {"changed": False, "removed": [], "kept": [], "diff": {"before": "", "after": ""}, "error": ""}


def test_what_the_operator_put_there_stays_and_is_named(tmp_path):
    path = made(tmp_path / "cache")
    fill(tmp_path / "cache", "huggingface/Qwen/x", "own model/weights", ".hidden", "new\nline")
    result = removed(path)
    assert result["removed"] == [f"{path}/huggingface"]
    assert sorted(kept["path"] for kept in result["kept"]) == [f"{path}/.hidden", f"{path}/new\nline", f"{path}/own model"]
    assert ("is not GPUStack's own", f"rm -rf -- '{path}/own model'") in reasons(result)
    assert (tmp_path / "cache" / "own model" / "weights").read_text() == "own model/weights"
    assert sorted(os.listdir(path)) == [".ascend-gpustack", ".hidden", "new\nline", "own model"]


def test_link_among_what_gpustack_put_there_goes_and_what_it_leads_to_stays(tmp_path):
    path = made(tmp_path / "cache")
    fill(tmp_path / "elsewhere", "model")
    (tmp_path / "cache" / "huggingface").symlink_to(tmp_path / "elsewhere")
    assert removed(path)["removed"] == [f"{path}/huggingface", path]
    assert (tmp_path / "elsewhere" / "model").exists()


def test_unmarked_directory_stays_and_is_named_with_the_command(tmp_path):
    fill(tmp_path / "cache", "huggingface/x")
    result = removed(tmp_path / "cache")
    assert (result["changed"], result["removed"]) == (False, [])
    assert reasons(result) == [("was not made by this collection", f"rm -rf -- {tmp_path}/cache")]
    assert (tmp_path / "cache" / "huggingface" / "x").exists()


def test_unmarked_cache_is_named_with_a_command_that_leaves_the_operators_own(tmp_path):
    fill(tmp_path / "cache", "huggingface/x", "model_scope/y", "mine/z")
    result = removed(tmp_path / "cache")
    command = f"rm -rf -- {tmp_path}/cache/huggingface {tmp_path}/cache/model_scope"
    assert reasons(result) == [("was not made by this collection", command)]
    fill(tmp_path / "own", "mine/z")
    assert reasons(removed(tmp_path / "own")) == [("was not made by this collection", "")]
    # Copies of a node's data
    assert reasons(removed(tmp_path / "own", kind="data"))[0][1] == f"rm -rf -- {tmp_path}/own"


def test_link_instead_of_a_mark_is_no_mark(tmp_path):
    fill(tmp_path, "cache/huggingface/x", "mark")
    (tmp_path / "cache" / ".ascend-gpustack").symlink_to(tmp_path / "mark")
    assert reasons(removed(tmp_path / "cache"))[0][0] == "was not made by this collection"


def test_link_to_a_marked_directory_or_to_the_store_stays(tmp_path):
    made(tmp_path / "store")
    fill(tmp_path / "store", "huggingface/x")
    (tmp_path / "link").symlink_to(tmp_path / "store")
    result = removed(tmp_path / "link", store=tmp_path / "store")
    assert reasons(result) == [(f"is a symbolic link to {tmp_path}/store", "")]
    assert (tmp_path / "store" / "huggingface" / "x").exists()
    # A link further up is followed: what counts is where the directory really is.
    (tmp_path / "up").symlink_to(tmp_path)
    assert reasons(removed(tmp_path / "up" / "store", store=tmp_path / "store")) == [
        (f"is the model store {tmp_path}/store, or holds it", "")
    ]


@pytest.mark.parametrize("slash", ["", "/", "//", "/."])
def test_root_of_the_store_and_what_lies_above_it_stay(tmp_path, slash):
    store = made(tmp_path / "data" / "models")
    fill(tmp_path / "data" / "models", "huggingface/x", ".gpustack-store-id")
    (tmp_path / "data" / ".ascend-gpustack").write_text("")
    for path in (store + slash, str(tmp_path / "data") + slash):
        result = removed(path, store=store)
        assert (result["removed"], reasons(result)) == ([], [(f"is the model store {store}, or holds it", "")])
    assert sorted(os.listdir(store)) == [".ascend-gpustack", ".gpustack-store-id", "huggingface"]


def test_data_on_the_store_stays_for_the_other_hosts_that_have_it_too(tmp_path):
    path = made(tmp_path / "models" / "gpustack-data")
    fill(tmp_path / "models" / "gpustack-data", "worker_uuid")
    why = f"lies on the model store {tmp_path}/models, which other hosts share"
    assert reasons(removed(path, "data", tmp_path / "models")) == [(why, "")]


@pytest.mark.parametrize(
    "path",
    ["/", "/data", "/home", "/data/", "//", "/.", "/var/lib", "/var/lib/docker", "/etc/gpustack", "/usr/share/gpustack", "/usr/local/lib"],
)
@pytest.mark.parametrize("kind", ["cache", "data"])
def test_directory_of_the_system_stays_whatever_mark_it_carries(path, kind):
    real = os.path.normpath("/" + path.lstrip("/"))
    seen = gpustack_directory.Seen(path, real, True, is_directory=True, is_marked=True, entries=[*gpustack_directory.OWN[kind]])
    found = gpustack_directory.plan(seen, kind, "", host_mounts.parse_mountinfo(""))
    assert found.remove == [] and "of the system" in found.kept[0]["why"] and found.kept[0]["command"] == ""


def test_root_is_looked_at_and_stays():
    assert reasons(removed("/", check=True)) == [("is a directory of the system", "")]


def test_mount_point_and_what_holds_one_stay(tmp_path):
    path = made(tmp_path / "cache")
    fill(tmp_path / "cache", "huggingface/x")
    mount = "30 22 253:2 / {} rw shared:29 - xfs /dev/sdb1 rw\n"
    assert reasons(removed(path, mountinfo=ROOT + mount.format(path))) == [("is a mount point", "")]
    inside = f"{path}/huggingface/disk"
    assert reasons(removed(path, mountinfo=ROOT + mount.format(inside))) == [(f"has something mounted below it ({inside})", "")]
    assert (tmp_path / "cache" / "huggingface" / "x").exists()


def test_dead_store_is_named_and_holds_nothing_up():
    def hangs(argv, timeout):
        return Result(-9, timed_out=True)

    mount = "95 22 0:52 / /data/models rw shared:50 - nfs atlas1:/data/models rw\n"
    result = removed("/data/models/gpustack-cache", store="/data/models", mountinfo=ROOT + mount, runner=hangs)
    assert (result["changed"], result["error"]) == (False, "")
    assert reasons(result)[0][0] == "does not answer (no answer within 20 s; atlas1:/data/models)"


def test_store_that_dies_during_the_removal_ends_it_with_a_sentence(tmp_path):
    path = made(tmp_path / "cache")
    fill(tmp_path / "cache", "huggingface/x")

    def dies(argv, timeout):
        return Result(-9, timed_out=True) if argv[0] == "rm" else run(argv, timeout)

    assert removed(path, runner=dies)["error"] == f"{path} was not emptied within 60 s"


def test_configuration_goes_and_what_others_have_beside_it_stays(tmp_path):
    fill(tmp_path / "gpustack", "config.yaml", "tls.key")
    result = removed(tmp_path / "gpustack", "config")
    assert result["removed"] == [f"{tmp_path}/gpustack/config.yaml"]
    assert [kept["path"] for kept in result["kept"]] == [f"{tmp_path}/gpustack/tls.key"]
    (tmp_path / "gpustack" / "tls.key").unlink()
    assert removed(tmp_path / "gpustack", "config")["removed"] == [f"{tmp_path}/gpustack"]
    assert not (tmp_path / "gpustack").exists()


def store_at(path: str, mountinfo: str) -> dict:
    return host_store.store(run, path, mountinfo, "", 20)


def test_data_behind_a_link_into_the_store_is_on_the_store(tmp_path):
    store = tmp_path / "models"
    store.mkdir()
    (tmp_path / "data").symlink_to(store / "gpustack")
    fill(store, "gpustack/worker_uuid")
    engine = Engine(installed=True)
    found = gpustack_data.read(run, str(tmp_path / "data"), engine, store_at(str(store), ROOT), ROOT, 20)
    assert (found["path"], found["on_store"], found["managed"]) == (f"{store}/gpustack", True, False)
    fill(tmp_path, "local/worker_uuid")
    found = gpustack_data.read(run, str(tmp_path / "local"), engine, store_at(str(store), ROOT), ROOT, 20)
    assert (found["on_store"], found["worker_uuid"], found["exists"]) == (False, "local/worker_uuid", True)
    assert gpustack_data.read(run, str(tmp_path / "none"), engine, None, ROOT, 20)["exists"] is False


SHARED = ROOT + "95 22 0:52 / /data rw shared:50 - nfs nas:/vol rw\n96 22 0:52 / /mnt/again rw shared:50 - nfs nas:/vol rw\n"
OWN_DISK = ROOT + "30 22 253:2 / /data rw shared:29 - xfs /dev/sdb1 rw\n"


@pytest.mark.parametrize(
    ("path", "mountinfo", "shared"),
    [
        ("/data/models/gpustack", SHARED, True),
        ("/data/gpustack", SHARED, True),
        ("/mnt/again/gpustack", SHARED, True),
        ("/srv/gpustack", SHARED, False),
        ("/data/modelsother", ROOT, False),
        ("/data/models/gpustack", OWN_DISK, True),
        # The store's own host exports one directory of the disk, and may have others there.
        ("/data/gpustack", OWN_DISK, False),
    ],
)
def test_data_is_shared_where_the_store_is(path, mountinfo, shared):
    mounts = host_mounts.parse_mountinfo(mountinfo)
    store = {"real": "/data/models", "source": host_mounts.holding(mounts, "/data/models").source}
    assert gpustack_data.is_shared(path, store, mounts) is shared


def test_volume_that_is_bound_to_a_directory_has_its_files_there():
    volume = {"Mountpoint": "/var/lib/docker/volumes/x/_data", "Options": {"type": "none", "o": "bind", "device": "/data/models/x"}}
    assert gpustack_data.volume_place(volume) == "/data/models/x"
    assert gpustack_data.volume_place({"Mountpoint": "/var/lib/docker/volumes/x/_data", "Options": None}) == volume["Mountpoint"]
