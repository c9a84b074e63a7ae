# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts a backup in the place of what a server has, so that what it has can be put back.

What is there is set aside within the data directory, by renaming alone: it takes no room and no time. Each step leaves what put_back
needs, so that a run that was killed anywhere is taken back by the next one.
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
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup import archive, program
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup_description import Backup
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.generation import DEPLOYED
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

# In the data directory, while a restore is under way and after it
ASIDE, REPLACED = gpustack_directory.ASIDE, gpustack_directory.REPLACED
SUFFIX = "-before-restore"
STAYS = {name for generation in DEPLOYED for name in generation.data.backup.stays}
# Seconds: for Docker to stop a container, and for anything else that it is asked
STOP, CALL = 90, 60


class RestoreError(Exception):
    """Why a step failed, as a sentence without its end."""


@dataclass(frozen=True)
class Server:
    """A server to restore: its container, its data as Docker mounts it (volume) and as the host has it (data), and where its configuration
    is."""

    run: Runner
    container: str
    volume: str
    data: str
    config: str

    @property
    def aside(self) -> str:
        return os.path.join(self.data, ASIDE)

    def docker(self, *words: str, limit: float = CALL) -> str:
        argv = ["docker", *words]
        result = self.run(argv, limit)
        if result.rc or result.timed_out:
            raise RestoreError(docker_cli.why(argv, result, limit))
        return result.stdout

    def described(self, name: str) -> dict[str, Any] | None:
        try:
            return docker_cli.read_container(self.run, name, CALL)
        except docker_cli.DockerError as error:
            raise RestoreError(str(error)) from error


def replaced(backup: Backup, same_host: bool) -> list[str]:
    """The entries of a data directory that a restore replaces: all that GPUStack of any generation keeps there but what is large or made
    anew, and on another host than the backup's the identity of its own worker."""
    kept = STAYS.union(() if same_host else backup.identity)
    return [name for name in gpustack_directory.OWN["data"] if name not in kept and name not in (ASIDE, REPLACED)]


def place(server: Server, path: str, backup: Backup, image: str, same_host: bool) -> None:
    """Put a plain backup that was checked into the place of what is there, which is set aside. Raises RestoreError and OSError, and leaves
    it to put_back to take it back."""
    put_back(server)
    new = os.path.join(server.aside, "new")
    os.makedirs(new, mode=0o700)
    # Before anything is stopped: there may be no room.
    archive.unpack(path, new)
    _set_aside(server, replaced(backup, same_host))
    for name in backup.files:
        source, target = os.path.join(new, "data", name), os.path.join(server.data, name)
        if os.path.exists(source) and (same_host or name not in backup.identity):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.move(source, target)
    for name in program.CONFIG:
        source = os.path.join(new, "config", name)
        if os.path.exists(source):
            os.makedirs(os.path.dirname(server.config), mode=0o700, exist_ok=True)
            files.write(_beside(server, name), _text(source), 0o600)
    mounts = ["--volume", f"{server.volume}:{DEPLOYED[0].data.directory}", "--volume", f"{new}:/backup:ro"]
    server.docker("run", "--rm", "--network=none", *mounts, "--entrypoint=/bin/bash", image, "-c", backup.load, limit=program.WORK)
    shutil.rmtree(new)


def _set_aside(server: Server, names: list[str]) -> None:
    found = server.described(server.container)
    running = bool(found and docker_cli.is_running(found))
    os.makedirs(os.path.join(server.aside, "config"), mode=0o700, exist_ok=True)
    for name in program.CONFIG:
        if os.path.exists(_beside(server, name)):
            shutil.copy2(_beside(server, name), os.path.join(server.aside, "config", name))
    _note(server, container=bool(found), running=running, moved=False)
    if found:
        server.docker("stop", "--time=60", server.container, limit=STOP)
        server.docker("rename", server.container, server.container + SUFFIX)
    os.makedirs(os.path.join(server.aside, "data"), exist_ok=True)
    for name in names:
        if os.path.lexists(os.path.join(server.data, name)):
            os.rename(os.path.join(server.data, name), os.path.join(server.aside, "data", name))
    _note(server, container=bool(found), running=running, moved=True, names=names)


def put_back(server: Server) -> bool:
    """Put back what a restore set aside that was not finished; whether there was one. What runs again was running before."""
    if not os.path.isdir(server.aside):
        return False
    note = _noted(server)
    # Without a note nothing was touched yet.
    if note:
        _put_back_container(server, note, before=True)
        for name in note.get("names", ()) if note["moved"] else ():
            _remove(os.path.join(server.data, name))
        # From here on, what lies in the data directory is what was there.
        _note(server, **{**note, "moved": False})
        kept = os.path.join(server.aside, "data")
        for name in os.listdir(kept) if os.path.isdir(kept) else ():
            os.rename(os.path.join(kept, name), os.path.join(server.data, name))
        for name in program.CONFIG:
            saved = os.path.join(server.aside, "config", name)
            files.write(_beside(server, name), _text(saved) if os.path.exists(saved) else None, 0o600)
        _put_back_container(server, note, before=False)
    shutil.rmtree(server.aside)
    return True


def _put_back_container(server: Server, note: dict[str, Any], before: bool) -> None:
    """Take away the container that the restore made, before the data are put back, and have the old one back after that."""
    old = server.described(server.container + SUFFIX)
    if before:
        if (old or not note["container"]) and server.described(server.container):
            server.docker("rm", "--force", server.container, limit=STOP)
        return
    if old:
        server.docker("rename", server.container + SUFFIX, server.container)
    if note["running"] and server.described(server.container):
        server.docker("start", server.container)


def finish(server: Server) -> None:
    """What was replaced stays beside the data until the next restore, and its container goes."""
    if server.described(server.container + SUFFIX):
        server.docker("rm", "--force", server.container + SUFFIX, limit=STOP)
    kept = os.path.join(server.data, REPLACED)
    _remove(kept)
    os.rename(server.aside, kept)


def _note(server: Server, **note: Any) -> None:
    files.write(os.path.join(server.aside, "note.json"), json.dumps(note), 0o600)


def _noted(server: Server) -> dict[str, Any]:
    text = files.read_small(os.path.join(server.aside, "note.json"))
    return json.loads(text) if text else {}


def _beside(server: Server, name: str) -> str:
    return os.path.join(os.path.dirname(server.config), name)


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as stream:
        return stream.read()


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)
