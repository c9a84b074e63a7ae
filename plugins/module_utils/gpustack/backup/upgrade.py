# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps what a node has while a newer version takes its place, and afterwards, so that it can go back (aside.py).

The older container stays, stopped, under another name, and a copy of its data beside those that the newer version goes on with: GPUStack
takes a database along when it starts, and none goes back by itself.
"""

from __future__ import annotations

import json
import os
import shutil

from ansible_collections.ascend.gpustack.plugins.module_utils import files
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import directory as gpustack_directory
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import upgrade_state
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup import aside
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup.aside import Node, StepError

OCCASION = "upgrade"
# MiB that stay free beside the copy
SPARE = 64


def keep(node: Node, before: str, wanted: str, backup: str, moment: str) -> None:
    """Stop a node and keep all of it. before, wanted: versions; backup: its path; moment: when, as people write it. Raises StepError and
    OSError, and leaves it to aside.put_back to take it back."""
    names = aside.entries()
    _check_room(node, names)
    # What an earlier upgrade kept
    if node.described(node.container_aside):
        node.docker("rm", "--force", node.container_aside, limit=aside.STOP)
    aside.remove(node.aside)
    aside.set_aside(node, names, copied=True, before=before, wanted=wanted, backup=backup, moment=moment)


def _check_room(node: Node, names: list[str]) -> None:
    """Before anything is stopped. Sizes in KiB, as du tells them."""
    there = [path for path in (os.path.join(node.data, name) for name in names) if os.path.lexists(path)]
    told = node.call("du", "-skc", "--", *there, limit=aside.CALL).splitlines() if there else ["0"]
    needed = int(told[-1].split()[0]) // 1024 + SPARE
    free = shutil.disk_usage(node.data).free >> 20
    if free < needed:
        raise StepError(f"{node.data} has {free} MiB free; expected {needed} MiB for a copy of what is there")


def finish(node: Node) -> None:
    """The newer version runs; what was kept stays until the next upgrade, and nothing stays of a rollback before."""
    node.note(**{**node.noted(), "done": True})
    for name in (gpustack_directory.NEWER, gpustack_directory.ROLLED_BACK):
        aside.remove(os.path.join(node.data, name))


def put_back(node: Node, log: str, served: bool) -> bool:
    """Take an upgrade back that did not come to its end; whether the newer container had anything to say, which is in the file log then.
    served: whether the newer version may have been used meanwhile, so that its data are set aside as those of a rollback are."""
    told = keep_log(node, log)
    aside.put_back(node, os.path.join(node.data, gpustack_directory.NEWER) if served else "")
    return told


def roll_back(node: Node) -> None:
    """Take back an upgrade that came to its end; the data of the newer version are set aside, whatever its backup holds."""
    note = node.noted()
    files.write(os.path.join(node.data, gpustack_directory.ROLLED_BACK), json.dumps(upgrade_state.told(note)), 0o600)
    node.note(**{**note, "returning": True})
    aside.put_back(node, os.path.join(node.data, gpustack_directory.NEWER))


def keep_log(node: Node, path: str) -> bool:
    """The newer container's log, which goes with it, for root alone: it may have secrets. Whether there is one."""
    if not node.described(node.container_aside) or not node.described(node.container):
        return False
    result = node.run(["docker", "logs", "--tail", "5000", node.container], aside.CALL)
    if result.stdout or result.stderr:
        files.write(path, result.stdout + result.stderr, 0o600)
    return bool(result.stdout or result.stderr)
