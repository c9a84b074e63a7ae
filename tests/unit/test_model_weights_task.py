"""The task that brings a model's files: on the controller, and with the calls of its modules."""

from __future__ import annotations

import os
import types

import pytest
from ansible_collections.ascend.gpustack.plugins.action import model_weights as action
from ansible_collections.ascend.gpustack.plugins.module_utils.jobs import Jobs
from ansible_collections.ascend.gpustack.plugins.module_utils.weights.sources import Refused
from ansible_collections.ascend.gpustack.plugins.modules import model_weights as module
from ansible_collections.ascend.gpustack.plugins.modules import model_weights_pieces as pieces
from weights_files import FILES, fill, held, packed, store_in


@pytest.fixture
def jobs(tmp_path):
    return Jobs(str(tmp_path / "jobs"), "a model")


class Task:
    """What an action plugin knows of its task."""

    def __init__(self, arguments: dict, check: bool = False) -> None:
        self.args, self.check_mode, self.delegate_to, self.async_val = arguments, check, "atlas1", 0


def acted(monkeypatch, tmp_path, jobs, arguments: dict, check: bool = False) -> dict:
    """The task itself, whose calls of modules are made here."""
    shell = types.SimpleNamespace(tmpdir=None, join_path=os.path.join)
    plugin = action.ActionModule.__new__(action.ActionModule)
    plugin._task, plugin._connection = Task(arguments, check), types.SimpleNamespace(_shell=shell)

    def execute(module_name: str, module_args: dict, task_vars: dict) -> dict:
        name = module_name.rpartition(".")[2]
        defaults = {
            "there": True,
            "entries": None,
            "hashes": False,
            "run": "",
            "action": "",
            "damaged": {},
            "timeout": 20,
            "job": None,
            "wait": 5,
        }
        more = {"origin": {}, "revision": "", "files": [], "address": "", "token": "", "sums": {}}
        try:
            if name == "model_weights":
                return module.run({**defaults, **more, **module_args}, jobs, check)
            return pieces.run({**defaults, **more, **module_args}, jobs)
        except Refused as error:
            return {"failed": True, "msg": str(error)}

    def transfer(path: str, data: bytes) -> str:
        (tmp_path / "piece").write_bytes(data)
        return str(tmp_path / "piece")

    for name, function in {
        "_execute_module": execute,
        "_transfer_data": transfer,
        "_fixup_perms2": print,
        "_remove_tmp_path": print,
    }.items():
        monkeypatch.setattr(plugin, name, function)
    monkeypatch.setattr(plugin, "_make_tmp_path", lambda: setattr(shell, "tmpdir", str(tmp_path)))
    monkeypatch.setattr(action.ActionBase, "run", lambda self, tmp, task_vars: {})
    monkeypatch.setattr(action, "PIECE", 1000)
    monkeypatch.setattr(action, "AGAIN", 0.2)
    return plugin.run(task_vars={"inventory_hostname": "atlas1"})


def test_task_sends_what_the_controller_has_and_says_the_same_in_a_check(monkeypatch, tmp_path, jobs):
    store, folder = store_in(tmp_path), fill(tmp_path / "usb/tiny")
    arguments = {"path": str(store / "Qwen/Tiny"), "store": str(store), "kind": "folder", "source": str(folder), "on_controller": True}
    told = {"action": "bring", "damaged": {}, "finished": True, "changed": True}
    assert acted(monkeypatch, tmp_path, jobs, arguments, check=True) == told and not (store / "Qwen").exists()
    assert acted(monkeypatch, tmp_path, jobs, arguments) == told and held(store) == FILES
    again = {"action": "none", "damaged": {}, "finished": True, "changed": False}
    assert acted(monkeypatch, tmp_path, jobs, arguments) == again
    (store / "Qwen/Tiny/config.json").write_bytes(b"{}")
    assert acted(monkeypatch, tmp_path, jobs, arguments)["action"] == "mend" and held(store) == FILES
    assert acted(monkeypatch, tmp_path, jobs, {**arguments, "hashes": True})["action"] == "none"
    archive = packed(tmp_path / "tiny.tar")
    assert acted(monkeypatch, tmp_path, jobs, {**arguments, "kind": "archive", "source": archive})["action"] == "none"
    gone = acted(monkeypatch, tmp_path, jobs, {**arguments, "path": str(store / "b"), "source": "/nowhere"})
    assert gone == {
        "failed": True,
        "msg": "the folder /nowhere is not there; expected the model's files. Correct its path, or copy it there",
    }
    refused = acted(monkeypatch, tmp_path, jobs, {**arguments, "path": str(store)})
    assert refused["failed"] and "leads out of the store" in refused["msg"]


def test_task_on_a_host_s_own_folder_is_followed_to_its_end(monkeypatch, tmp_path, jobs):
    store, folder = store_in(tmp_path), fill(tmp_path / "usb/tiny")
    arguments = {"path": str(store / "Qwen/Tiny"), "store": str(store), "kind": "folder", "source": str(folder), "on_controller": False}
    assert acted(monkeypatch, tmp_path, jobs, arguments)["action"] == "bring" and held(store) == FILES
