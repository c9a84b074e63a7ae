# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts a backup in the place of what a server has, which is set aside and can be put back (aside.py)."""

from __future__ import annotations

import os
import shutil

from ansible_collections.ascend.gpustack.plugins.module_utils import files
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import directory as gpustack_directory
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup import archive, aside, program
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup.aside import Node
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup_description import Backup
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.generation import DEPLOYED

OCCASION = "restore"


def replaced(backup: Backup, same_host: bool) -> list[str]:
    """The entries of a data directory that a restore replaces: all that GPUStack of any generation keeps there but what is large or made
    anew, and on another host than the backup's the identity of its own worker; and what an upgrade left to go back to."""
    kept = frozenset(() if same_host else backup.identity)
    return [*aside.entries(kept), *gpustack_directory.OF_UPGRADES]


def place(server: Node, path: str, backup: Backup, image: str, same_host: bool) -> None:
    """Put a plain backup that was checked into the place of what is there, which is set aside. Raises StepError and OSError, and leaves it
    to aside.put_back to take it back."""
    aside.put_back(server)
    new = os.path.join(server.aside, "new")
    os.makedirs(new, mode=0o700)
    # Before anything is stopped: there may be no room.
    archive.unpack(path, new)
    aside.set_aside(server, replaced(backup, same_host), copied=False)
    for name in backup.files:
        source, target = os.path.join(new, "data", name), os.path.join(server.data, name)
        if os.path.exists(source) and (same_host or name not in backup.identity):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.move(source, target)
    for name in program.CONFIG:
        source = os.path.join(new, "config", name)
        if os.path.exists(source):
            os.makedirs(os.path.dirname(server.config), mode=0o700, exist_ok=True)
            files.write(server.beside(name), aside.text_of(source), 0o600)
    mounts = ["--volume", f"{server.volume}:{DEPLOYED[0].data.directory}", "--volume", f"{new}:/backup:ro"]
    server.docker("run", "--rm", "--network=none", *mounts, "--entrypoint=/bin/bash", image, "-c", backup.load, limit=program.WORK)
    shutil.rmtree(new)


def finish(server: Node) -> None:
    """What was replaced stays beside the data until the next restore, and its container goes."""
    if server.described(server.container_aside):
        server.docker("rm", "--force", server.container_aside, limit=aside.STOP)
    kept = os.path.join(server.data, gpustack_directory.REPLACED)
    aside.remove(kept)
    os.rename(server.aside, kept)
