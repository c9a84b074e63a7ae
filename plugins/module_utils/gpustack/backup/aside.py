# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets aside what a node has, container, data and settings, within its data directory, so that it can be put back.

Each step leaves what put_back needs, so that a run that was killed anywhere is taken back by the next one.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import files
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import directory as gpustack_directory
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup import program
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.data import volume_place
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.generation import DEPLOYED
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

NOTE = gpustack_directory.NOTE
STAYS = {name for generation in DEPLOYED for name in generation.data.backup.stays}
# Seconds: for Docker to stop a container, and for anything else that it is asked
STOP, CALL = 90, 60


class StepError(Exception):
    """Why a step failed, as a sentence without its end."""


@dataclass(frozen=True)
class Node:
    """A node whose things are set aside: its container, its data as Docker mounts it (volume) and as the host has it (data), where its
    configuration is, and the occasion, which the names of what is set aside tell: restore or upgrade."""

    run: Runner
    container: str
    volume: str
    data: str
    config: str
    occasion: str = "restore"

    @property
    def aside(self) -> str:
        return os.path.join(self.data, f".before-{self.occasion}")

    @property
    def container_aside(self) -> str:
        return f"{self.container}-before-{self.occasion}"

    def call(self, *argv: str, limit: float = CALL) -> str:
        result = self.run(list(argv), limit)
        if result.rc or result.timed_out:
            raise StepError(docker_cli.why(list(argv), result, limit))
        return result.stdout

    def docker(self, *words: str, limit: float = CALL) -> str:
        return self.call("docker", *words, limit=limit)

    def described(self, name: str) -> dict[str, Any] | None:
        try:
            return docker_cli.read_container(self.run, name, CALL)
        except docker_cli.DockerError as error:
            raise StepError(str(error)) from error

    def beside(self, name: str) -> str:
        """The path of a file where the configuration is."""
        return os.path.join(os.path.dirname(self.config), name)

    def note(self, **note: Any) -> None:
        files.write(os.path.join(self.aside, NOTE), json.dumps(note), 0o600)

    def noted(self) -> dict[str, Any]:
        text = files.read_small(os.path.join(self.aside, NOTE))
        return json.loads(text) if text else {}


def node_of(run: Runner, container: str, volume: str, config: str, occasion: str) -> Node:
    """Raises StepError where the volume is not there."""
    data = volume
    if not volume.startswith("/"):
        try:
            described = docker_cli.read_volume(run, volume, CALL)
        except docker_cli.DockerError as error:
            raise StepError(str(error)) from error
        if described is None:
            raise StepError(f"there is no volume {volume}")
        data = volume_place(described)
    return Node(run, container, volume, os.path.realpath(data), config, occasion)


def entries(kept: set[str] | frozenset[str] = frozenset()) -> list[str]:
    """The entries of a data directory that GPUStack of any generation keeps there, but those that are large or made anew, and kept."""
    return [name for name in gpustack_directory.OF_GPUSTACK if name not in STAYS and name not in kept]


def set_aside(node: Node, names: list[str], copied: bool, **noted: Any) -> None:
    """Give the container another name and stop it, and set the entries of the data aside: by renaming, which takes no room and no time, or
    copied, so that what comes next goes on with them. Raises StepError and OSError, and leaves it to put_back to take it back."""
    found = node.described(node.container)
    running = bool(found and docker_cli.is_running(found))
    for directory in (node.aside, os.path.join(node.aside, "config")):
        os.makedirs(directory, mode=0o700, exist_ok=True)
    for name in program.CONFIG:
        if os.path.exists(node.beside(name)):
            shutil.copy2(node.beside(name), os.path.join(node.aside, "config", name))
    note = {**noted, "container": bool(found), "running": running}
    node.note(**note, moved=False)
    if found:
        # First, since it fails where Docker's disk is full, on which what is stopped could not be started again.
        node.docker("rename", node.container, node.container_aside)
        node.docker("stop", "--time=60", node.container_aside, limit=STOP)
    kept = os.path.join(node.aside, "data")
    # A copy has that name once it is whole.
    place = f"{kept}.partial" if copied else kept
    os.makedirs(place, exist_ok=True)
    for name in names:
        source = os.path.join(node.data, name)
        if not os.path.lexists(source):
            continue
        if copied:
            node.call("cp", "--archive", "--reflink=auto", "--", source, place, limit=program.WORK)
        else:
            os.rename(source, os.path.join(place, name))
    if copied:
        os.rename(place, kept)
    node.note(**note, moved=True, names=names)


def put_back(node: Node, replaced: str = "") -> bool:
    """Put back what was set aside; whether there was anything. What runs again was running before. replaced: a directory for what came in
    its place, which else goes."""
    if not os.path.isdir(node.aside):
        return False
    note = node.noted()
    # Without a note nothing was touched yet.
    if note:
        # Also for the one that goes on where this is cut off
        replaced = replaced or note.get("replaced", "")
        note = {**note, "replaced": replaced}
        node.note(**{**note, "returning": True})
        _put_back_container(node, note, before=True)
        for name in note.get("names", ()) if note["moved"] else ():
            _take_away(node, name, replaced)
        # From here on, what lies in the data directory is what was there.
        note = {**note, "moved": False, "returning": True}
        node.note(**note)
        kept = os.path.join(node.aside, "data")
        for name in os.listdir(kept) if os.path.isdir(kept) else ():
            remove(os.path.join(node.data, name))
            os.rename(os.path.join(kept, name), os.path.join(node.data, name))
        for name in program.CONFIG:
            saved = os.path.join(node.aside, "config", name)
            files.write(node.beside(name), text_of(saved) if os.path.exists(saved) else None, 0o600)
        _put_back_container(node, note, before=False)
    shutil.rmtree(node.aside)
    return True


def _put_back_container(node: Node, note: dict[str, Any], before: bool) -> None:
    """Take away the container that came since, before the data are put back, and have the old one back after that."""
    old = node.described(node.container_aside)
    if before:
        if (old or not note["container"]) and node.described(node.container):
            node.docker("rm", "--force", node.container, limit=STOP)
        return
    if old:
        node.docker("rename", node.container_aside, node.container)
    if note["running"] and node.described(node.container):
        node.docker("start", node.container)


def _take_away(node: Node, name: str, replaced: str) -> None:
    path = os.path.join(node.data, name)
    if replaced and os.path.lexists(path):
        os.makedirs(replaced, mode=0o700, exist_ok=True)
        remove(os.path.join(replaced, name))
        os.rename(path, os.path.join(replaced, name))
    remove(path)


def text_of(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as stream:
        return stream.read()


def remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)
