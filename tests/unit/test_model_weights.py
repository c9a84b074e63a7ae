"""Weights: brought whole or not at all, from where they are; cut off and gone on with; damaged and found; and nobody else's touched."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import time
import zipfile

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.jobs import Busy, Jobs, limited
from ansible_collections.ascend.gpustack.plugins.module_utils.weights import bring, place
from ansible_collections.ascend.gpustack.plugins.module_utils.weights.sources import Entry, Refused
from ansible_collections.ascend.gpustack.plugins.modules import model_weights as module
from ansible_collections.ascend.gpustack.plugins.modules import model_weights_pieces as pieces
from fake_hub import Hub
from weights_files import FILES, fill, held, packed, store_in


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for each in (bring, place):
        monkeypatch.setattr(each, "PIECE", 1000)
        monkeypatch.setattr(each, "BLOCK", 300)
    monkeypatch.setattr(bring, "PAUSE", 0)


@pytest.fixture
def store(tmp_path):
    return store_in(tmp_path)


@pytest.fixture
def jobs(tmp_path):
    return Jobs(str(tmp_path / "jobs"), "a model")


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path / "usb/tiny")


def given(store, kind, source, **more) -> dict:
    base = {
        "path": str(store / "Qwen/Tiny"),
        "store": str(store),
        "kind": kind,
        "source": str(source),
        "revision": "",
        "files": [],
        "hashes": False,
    }
    return {**base, "address": "", "token": "", "timeout": 20, "job": None, "wait": 20, "damaged": {}, **more}


def run(jobs, params, check=False) -> dict:
    answer = module.run(params, jobs, check)
    # The process of the job before this one is about to end.
    return run(jobs, params, check) if answer.get("progress") == "waits for another run" and params["wait"] else answer


def test_folder_comes_whole_into_its_place_and_a_second_run_changes_nothing(store, jobs, folder):
    (folder / ".git").mkdir()
    (folder / ".git/big").write_bytes(b"x")
    params = given(store, "folder", folder)
    assert run(jobs, params, check=True)["action"] == "bring" and os.listdir(store) == [".gpustack-store-id"]
    first = run(jobs, params)
    assert (first["action"], first["changed"], first["finished"]) == ("bring", True, True)
    assert held(store) == FILES and os.listdir(store / "Qwen") == ["Tiny"]
    for check in (True, False):
        again = run(jobs, params, check)
        assert (again["action"], again["changed"], again["damaged"]) == ("none", False, {})


def test_what_is_in_the_store_stays_when_its_source_is_gone(store, jobs, folder):
    run(jobs, given(store, "folder", folder))
    folder.rename(folder.parent / "elsewhere")
    assert run(jobs, given(store, "folder", folder))["action"] == "none"
    assert run(jobs, given(store, "folder", folder.parent / "elsewhere"))["action"] == "none"


def test_another_content_or_revision_replaces_what_was_brought(store, jobs, folder):
    run(jobs, given(store, "folder", folder))
    (folder / "config.json").write_bytes(b'{"a": 12}')
    assert run(jobs, given(store, "folder", folder), check=True)["action"] == "replace"
    assert run(jobs, given(store, "folder", folder))["action"] == "replace"
    assert held(store)["config.json"] == b'{"a": 12}' and os.listdir(store / "Qwen") == ["Tiny"]
    assert run(jobs, given(store, "folder", folder, revision="2"))["action"] == "replace"
    assert run(jobs, given(store, "folder", folder, revision="2"))["action"] == "none"


def test_folder_that_someone_else_made_is_never_touched(store, jobs, folder):
    fill(store / "Qwen/Tiny", {"mine": b"1"})
    with pytest.raises(Refused, match="the playbook weights did not make it; expected a free place"):
        run(jobs, given(store, "folder", folder))
    assert held(store) == {"mine": b"1"}
    (store / "Qwen/Tiny/mine").unlink()
    (store / "Qwen/Tiny").rmdir()
    fill(store / "Qwen/.Tiny.gpustack-part", {"mine": b"1"})
    with pytest.raises(Refused, match="expected a free place"):
        run(jobs, given(store, "folder", folder))


def test_store_that_is_not_there_gets_nothing(store, jobs, folder):
    (store / ".gpustack-store-id").unlink()
    with pytest.raises(Refused, match="has no .gpustack-store-id; expected the store of the cluster there"):
        run(jobs, given(store, "folder", folder))
    assert os.listdir(store) == []


def test_link_that_leads_out_of_the_store_is_not_followed(store, jobs, folder, tmp_path):
    (tmp_path / "outside").mkdir()
    (store / "Qwen").symlink_to(tmp_path / "outside")
    with pytest.raises(Refused, match="leads out of the store by a link"):
        run(jobs, given(store, "folder", folder))


def test_copy_that_was_cut_off_goes_on_where_it_was(store, jobs, folder, monkeypatch):
    real, read = bring.Source.read, []

    def cut(self, stream, count):
        read.append(count)
        if len(read) == 12:
            os._exit(1)
        return real(self, stream, count)

    monkeypatch.setattr(bring.Source, "read", cut)
    with pytest.raises(Refused, match="has ended before its time"):
        run(jobs, given(store, "folder", folder))
    half = store / "Qwen/.Tiny.gpustack-part"
    assert not (store / "Qwen/Tiny").exists() and 1000 < (half / "model-1.safetensors").stat().st_size < 5000
    opened = []
    monkeypatch.setattr(bring.Source, "read", real)
    monkeypatch.setattr(
        place.Place, "done", lambda self, path, sha256, done=place.Place.done: (opened.append(path), done(self, path, sha256))
    )
    lacking = place.Place(str(store / "Qwen/Tiny"), str(store)).begin(
        bring.Source({**given(store, "folder", folder), "from": str(folder)}).origin,
        [Entry(name, len(text)) for name, text in sorted(FILES.items())],
        None,
        "",
    )
    assert "config.json" not in lacking and lacking["model-1.safetensors"] >= 1000
    assert run(jobs, given(store, "folder", folder))["action"] == "bring" and held(store) == FILES


def test_manifest_of_a_folder_is_held_against_it(store, jobs, folder):
    sums = "".join(f"{hashlib.sha256(text).hexdigest()}  ./{name}\n" for name, text in FILES.items())
    (folder / "SHA256SUMS").write_text(sums)
    assert run(jobs, given(store, "folder", folder))["action"] == "bring"
    (folder / "model-1.safetensors").write_bytes(FILES["model-1.safetensors"][:-1] + b"?")
    with pytest.raises(Refused, match="model-1.safetensors has the sha256 [0-9a-f]{64}; expected [0-9a-f]{64}"):
        run(jobs, given(store, "folder", folder, revision="2"))
    (folder / "empty.txt").unlink()
    with pytest.raises(Refused, match="lacks empty.txt, which its SHA256SUMS names"):
        run(jobs, given(store, "folder", folder, revision="2"))
    assert held(store)["model-1.safetensors"] == FILES["model-1.safetensors"]


def test_damage_is_found_by_sizes_always_and_by_sums_on_request_and_mended(store, jobs, folder):
    run(jobs, given(store, "folder", folder))
    target = store / "Qwen/Tiny/model-1.safetensors"
    target.write_bytes(FILES["model-1.safetensors"][:-1] + bytes([FILES["model-1.safetensors"][-1] ^ 1]))
    (store / "Qwen/Tiny/config.json").unlink()
    assert run(jobs, given(store, "folder", folder), check=True)["damaged"] == {"config.json": "is missing"}
    seen = run(jobs, given(store, "folder", folder, hashes=True), check=True)
    assert seen["damaged"] == {"config.json": "is missing", "model-1.safetensors": "has another sha256 than when it was brought"}
    untouched = (store / "Qwen/Tiny/sub/model-2.safetensors").stat().st_ino
    assert run(jobs, given(store, "folder", folder, hashes=True))["action"] == "mend"
    assert held(store) == FILES and (store / "Qwen/Tiny/sub/model-2.safetensors").stat().st_ino == untouched
    assert run(jobs, given(store, "folder", folder, hashes=True))["action"] == "none"


def test_pattern_keeps_what_is_wanted_and_none_that_fits_is_refused(store, jobs, folder):
    run(jobs, given(store, "folder", folder, files=["*.json", "sub/*"]))
    assert set(held(store)) == {"config.json", "sub/model-2.safetensors"}
    with pytest.raises(Refused, match=r"has no file that fits \*.gguf; expected those of a model"):
        run(jobs, given(store, "folder", folder, files=["*.gguf"]))


def test_weights_that_the_store_has_no_room_for_are_refused_before_anything_is_written(store, jobs, folder, monkeypatch):
    seen = os.statvfs(store)
    monkeypatch.setattr(place.os, "statvfs", lambda path: os.statvfs_result((*seen[:4], 1, *seen[5:])))
    with pytest.raises(Refused, match="and the store has 0 MiB free; expected room for all of it"):
        run(jobs, given(store, "folder", folder))
    assert os.listdir(store) == [".gpustack-store-id"]


def link(name: str, to: str, kind=tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


@pytest.mark.parametrize("name", ["tiny.tar", "tiny.tar.gz"])
def test_archive_is_unpacked_and_one_that_was_not_exchanged_is_not_read_again(store, jobs, tmp_path, name, monkeypatch):
    path = packed(tmp_path / name, extra=[link("Tiny/alias.json", "config.json")])
    assert run(jobs, given(store, "archive", path))["action"] == "bring"
    assert held(store) == {**FILES, "alias.json": FILES["config.json"]}
    monkeypatch.setattr(bring.sources.Archive, "entries", None)
    assert run(jobs, given(store, "archive", path))["action"] == "none"


def test_zip_is_unpacked(store, jobs, tmp_path):
    with zipfile.ZipFile(tmp_path / "tiny.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    run(jobs, given(store, "archive", tmp_path / "tiny.zip"))
    assert held(store) == FILES
    os.utime(tmp_path / "tiny.zip")
    (tmp_path / "tiny.zip").rename(tmp_path / "other.zip")
    assert run(jobs, given(store, "archive", tmp_path / "other.zip"))["action"] == "none"


@pytest.mark.parametrize(
    "extra, words",
    [
        ([tarfile.TarInfo("../evil")], "leads out of it"),
        ([tarfile.TarInfo("/etc/evil")], "leads out of it"),
        ([tarfile.TarInfo("a/../../evil")], "leads out of it"),
        ([link("Tiny/passwd", "../../../etc/passwd")], "leads out of it"),
        ([link("Tiny/passwd", "/etc/passwd")], "leads out of it"),
        ([link("Tiny/passwd", "../etc/passwd", tarfile.LNKTYPE)], "leads out of it"),
        ([link("Tiny/gone", "nowhere")], "can't be read"),
        ([link("Tiny/fifo", "", tarfile.FIFOTYPE)], "which is no file"),
    ],
)
def test_archive_that_leads_out_of_itself_is_refused_and_nothing_is_written(store, jobs, tmp_path, extra, words):
    with pytest.raises(Refused, match=words):
        run(jobs, given(store, "archive", packed(tmp_path / "bad.tar", extra=extra)))
    assert os.listdir(store) == [".gpustack-store-id"]


def test_archive_that_is_cut_off_is_told(store, jobs, tmp_path):
    path = tmp_path / "cut.tar.gz"
    packed(path)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(Refused, match="can't be read"):
        run(jobs, given(store, "archive", path))
    path.write_bytes(b"no archive")
    with pytest.raises(Refused, match="expected a whole tar or zip"):
        run(jobs, given(store, "archive", path))
    with pytest.raises(Refused, match="is not there; expected a tar or a zip"):
        run(jobs, given(store, "archive", tmp_path / "none.tar"))


@pytest.mark.parametrize("kind, main", [("model_scope", "master"), ("hugging_face", "main")])
def test_hub_is_asked_for_its_list_and_its_files_and_a_cut_off_answer_goes_on(store, jobs, kind, main):
    with Hub(dict(FILES)).serve() as hub:
        hub.cut = [3]
        params = given(store, kind, hub.model, address=f"{hub.url}/")
        assert run(jobs, params)["action"] == "bring" and held(store) == FILES
        ranges = [(path, given) for path, given in hub.asked if given]
        assert len(ranges) == 1 and ranges[0][1] == "bytes=3-" and "config.json" in ranges[0][0]
        assert any(main in path for path, _range in hub.asked)
        asked = len(hub.asked)
        assert run(jobs, params)["action"] == "none" and len(hub.asked) == asked


def test_hub_without_ranges_sends_all_of_it_again(store, jobs):
    with Hub(dict(FILES)).serve() as hub:
        hub.cut, hub.ranges = [3], False
        run(jobs, given(store, "model_scope", hub.model, address=hub.url))
        assert held(store) == FILES


def test_what_a_hub_sends_wrong_is_not_kept(store, jobs):
    with Hub(dict(FILES)).serve() as hub:
        hub.wrong = {"model-1.safetensors": "0" * 64}
        with pytest.raises(Refused, match="Hugging Face's model Qwen/Tiny: model-1.safetensors has the sha256"):
            run(jobs, given(store, "hugging_face", hub.model, address=hub.url))
        assert not (store / "Qwen/Tiny").exists() and not (store / "Qwen/.Tiny.gpustack-part/model-1.safetensors").exists()


def test_hub_says_why_it_gives_nothing(store, jobs):
    with Hub(dict(FILES)).serve() as hub:
        with pytest.raises(Refused, match=r"is not there at http://127.0.0.1:\d+ \(404\); expected its name and revision"):
            run(jobs, given(store, "hugging_face", "a/b", address=hub.url))
        hub.token = "hf_secret"
        with pytest.raises(Refused, match=r"\(401\); expected a free one. Set gpustack_weights_token"):
            run(jobs, given(store, "hugging_face", hub.model, address=hub.url))
        assert run(jobs, given(store, "hugging_face", hub.model, address=hub.url, token="hf_secret"))["action"] == "bring"
    with pytest.raises(Refused, match="can't be read"):
        run(jobs, given(store, "model_scope", "a/b", address=hub.url))


def test_second_run_joins_the_first_or_waits_for_another(store, jobs, folder):
    params = given(store, "folder", folder, wait=0)
    what = {**{name: params[name] for name in ("kind", "source", "revision", "files", "hashes")}, "check": False}
    with jobs.lock() as mine:
        assert mine
        jobs.write({"job": "1", "what": [params["path"], what], "progress": "1 MiB", "finished": False, "error": None, "result": {}})
        assert run(jobs, params)["job"] == "1"
        other = run(jobs, {**params, "path": str(store / "other")})
        assert other == {"finished": False, "progress": "waits for another run"}
    assert not (store / "Qwen").exists()


def sent(jobs, store, folder, run="a", cut=None, **more) -> dict:
    """What the task does with a source on the controller."""
    base = {"path": str(store / "Qwen/Tiny"), "store": str(store), "there": True, "hashes": False, "run": run, "action": "", "damaged": {}}
    base.update({"name": None, "offset": 0, "piece": None, "sums": {}, "timeout": 20, "job": None, "wait": 20, **more})
    source = bring.Source({"kind": "folder", "from": str(folder)})
    entries = [vars(entry) for entry in source.entries()]
    base.update(origin=source.origin, entries=entries)
    seen = pieces.run({**base, "step": "look"}, jobs)
    if seen["action"] == "none":
        return seen
    begun = pieces.run({**base, "step": "begin", "action": seen["action"], "damaged": seen["damaged"]}, jobs)
    if not begun["finished"]:
        return begun
    sums = {}
    for name, offset in begun["lacking"].items():
        text = (folder / name).read_bytes()
        sums[name] = hashlib.sha256(text).hexdigest()
        for start in range(offset, max(1, len(text)), 1000):
            (folder.parent / "piece").write_bytes(text[start : start + 1000])
            pieces.run({**base, "step": "piece", "name": name, "offset": start, "piece": str(folder.parent / "piece")}, jobs)
            if (name, start) == cut:
                return begun
    pieces.run({**base, "step": "finish", "sums": sums, "action": seen["action"]}, jobs)
    return begun


def test_pieces_of_a_folder_of_the_controller_become_the_model_and_go_on_where_they_were_cut_off(store, jobs, folder):
    sent(jobs, store, folder, cut=("model-1.safetensors", 3000))
    assert not (store / "Qwen/Tiny").exists()
    assert sent(jobs, store, folder, run="b") == {"finished": False, "progress": "waits for another run"}
    state = place.Place.state(str(store / "Qwen/.Tiny.gpustack-part"))
    place.Place.write_state(str(store / "Qwen/.Tiny.gpustack-part"), {**state, "at": time.time() - place.LEASE})
    begun = sent(jobs, store, folder, run="b")
    assert begun["lacking"]["model-1.safetensors"] == 3000 and held(store) == FILES
    assert sent(jobs, store, folder, run="c")["action"] == "none"
    assert (
        json.loads((store / "Qwen/Tiny" / place.STATE).read_text())["done"]["config.json"]
        == hashlib.sha256(FILES["config.json"]).hexdigest()
    )


def test_piece_that_arrives_damaged_keeps_the_model_out(store, jobs, folder, tmp_path):
    target = place.Place(str(store / "Qwen/Tiny"), str(store))
    target.begin({"kind": "folder"}, [Entry("a", 3)], None, "run")
    target.append("a", 0, b"abd", "run")
    with pytest.raises(Refused, match="a of .* has arrived damaged; expected its sha256"):
        target.finish({"a": hashlib.sha256(b"abc").hexdigest()}, lambda count: None)
    assert not (store / "Qwen/Tiny").exists() and not (store / "Qwen/.Tiny.gpustack-part/a").exists()
    with pytest.raises(Busy):
        target.append("a", 0, b"abc", "another")


def test_store_that_hangs_is_left_behind():
    with pytest.raises(TimeoutError, match="no answer within 0.2 s"):
        limited(lambda: time.sleep(60), 0.2)
    with pytest.raises(OSError, match="no answer at its end"):
        limited(lambda: os._exit(1), 5)
