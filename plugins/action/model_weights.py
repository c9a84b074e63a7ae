# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls the module of this name until it has ended, and shows how far it is. What is where Ansible runs is sent in pieces, which works over
every connection that Ansible has, as any user, and goes on where it was cut off."""

from __future__ import annotations

import time
import uuid
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.images import size
from ansible_collections.ascend.gpustack.plugins.module_utils.weights.bring import Source
from ansible_collections.ascend.gpustack.plugins.module_utils.weights.place import PIECE, digest_of
from ansible_collections.ascend.gpustack.plugins.module_utils.weights.sources import Entry, Refused
from ansible_collections.ascend.gpustack.plugins.plugin_utils.progress import follow

# Seconds between two lines of progress, and before another run is looked for again
PAUSE, AGAIN = 30, 3


class Failed(Exception):
    """A call of the module failed; holds its answer."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(str(answer.get("msg")))
        self.answer = answer


class ActionModule(ActionBase):
    """The task."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        self._variables = task_vars or {}
        self._host = str(self._task.delegate_to or self._variables.get("inventory_hostname"))
        given = dict(self._task.args)
        try:
            if str(given.get("on_controller", False)).lower() in ("true", "yes", "1"):
                return {**result, **self._sent(given)}
            return {**result, **self._followed("model_weights", given, str(given.get("path")))}
        except Failed as error:
            return {**result, **error.answer}
        except Refused as error:
            return {**result, "failed": True, "msg": str(error)}
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)

    def _followed(self, module: str, given: dict[str, Any], what: str) -> dict[str, Any]:
        """The module's answer at the end, after as many calls as that takes."""
        arguments = dict(given)

        def call(wait: float) -> dict[str, Any]:
            answer = self._execute_module(
                module_name=f"ascend.gpustack.{module}", module_args={**arguments, "wait": int(wait)}, task_vars=self._variables
            )
            if answer.get("job"):
                arguments["job"] = answer["job"]
            return answer

        def ask(wait: int) -> dict[str, Any]:
            deadline = time.monotonic() + wait
            while True:
                answer = call(max(0.0, deadline - time.monotonic()))
                # Of another run that is at work nothing says when it ends.
                if answer.get("job") or answer.get("finished") is not False or time.monotonic() + AGAIN > deadline:
                    return answer
                time.sleep(AGAIN)

        answer = follow(self._host, what, ask)
        if answer.get("failed") or "finished" not in answer:
            raise Failed(answer)
        return answer

    def _step(self, step: str, **given: Any) -> dict[str, Any]:
        return self._followed("model_weights_pieces", {**self._place, "step": step, **given}, self._place["path"])

    def _sent(self, given: dict[str, Any]) -> dict[str, Any]:
        source = Source({**given, "from": given["source"]})
        self._place = {"path": given["path"], "store": given["store"]}
        wanted = source.wanted(given.get("damaged") or {})
        entries = wanted.entries
        asked = {"origin": wanted.origin, "there": wanted.there, "damaged": wanted.known, "hashes": given.get("hashes", False)}
        seen = self._step("look", entries=_plain(entries), **asked)
        if seen["undecided"]:
            entries = source.entries()
            seen = self._step("look", entries=_plain(entries), **asked)
        found = {"action": seen["action"], "damaged": seen["damaged"], "finished": True, "changed": seen["action"] != "none"}
        if seen["action"] == "none" or self._task.check_mode:
            return found
        entries = entries or source.entries()
        run = uuid.uuid4().hex
        begun = {"origin": source.origin, "run": run, "action": seen["action"], "damaged": seen["damaged"]}
        lacking = self._step("begin", entries=_plain(entries), **begun)["lacking"]
        sums = self._send(source, entries, lacking, run)
        self._step("finish", origin=source.origin, sums=sums, action=seen["action"])
        return found

    def _send(self, source: Source, entries: list[Entry], lacking: dict[str, int], run: str) -> dict[str, str]:
        """Send what lacks; returns the sha256 of each of these files."""
        self._total, self._shown = sum(entry.size for entry in entries), time.monotonic()
        self._done = sum(lacking.get(entry.path, entry.size) for entry in entries)
        try:
            return {entry.path: self._send_file(source, entry, lacking[entry.path], run) for entry in entries if entry.path in lacking}
        except OSError as error:
            raise source.unread(error) from None

    def _send_file(self, source: Source, entry: Entry, offset: int, run: str) -> str:
        with source.open(entry, 0) as stream:
            found = digest_of(stream, offset)
            # One that is empty comes in one empty piece.
            while offset < entry.size or not entry.size:
                data = source.read(stream, min(PIECE, entry.size - offset))
                if not data and entry.size:
                    raise OSError(f"{entry.path} ends after {offset} of {entry.size} bytes")
                found.update(data)
                self._send_piece(entry.path, offset, data, run)
                offset, self._done = offset + len(data), self._done + len(data)
                self._show()
                if not entry.size:
                    break
        return found.hexdigest()

    def _show(self) -> None:
        if time.monotonic() - self._shown > PAUSE:
            self._shown = time.monotonic()
            text = f"{size(self._done)} of {size(self._total)} brought"
            Display().display(f"  {self._host}: {self._place['path']}: {text}")

    def _send_piece(self, name: str, offset: int, data: bytes, run: str) -> None:
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        remote = self._transfer_data(self._connection._shell.join_path(self._connection._shell.tmpdir, "piece"), data)
        self._fixup_perms2((self._connection._shell.tmpdir, remote))
        self._step("piece", name=name, offset=offset, piece=remote, run=run)


def _plain(entries: list[Entry] | None) -> list[dict[str, Any]] | None:
    return None if entries is None else [{"path": entry.path, "size": entry.size, "sha256": entry.sha256} for entry in entries]
