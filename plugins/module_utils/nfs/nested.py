# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies below an exported directory on the server and is not there for its clients: other file systems, and links that lead out of it.

A client stays on the file system that it has mounted, unless that is exported with crossmnt, or the one below by itself with nohide
(exports(5)).
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from ansible_collections.ascend.gpustack.plugins.module_utils.files import is_within
from ansible_collections.ascend.gpustack.plugins.module_utils.host.mounts import Mount, holding
from ansible_collections.ascend.gpustack.plugins.module_utils.nfs.exports import own_options
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

_SHOWN = 4


def mounts_below(path: str, mounts: list[Mount]) -> list[Mount]:
    """The mounts below a directory (without links in its path) that can be seen there, each once: what was mounted later at the directory,
    or above it, covers them."""
    here = holding(mounts, path)
    later = mounts[mounts.index(here) + 1 :] if here else mounts
    return list({mount.target: mount for mount in later if mount.target != path and is_within(mount.target, path)}.values())


def hidden(path: str, nested: Iterable[Mount], crossed: bool, exported: Iterable[str], squash: str) -> list[str]:
    """A sentence where clients find empty directories in place of file systems. crossed: every client is served with crossmnt; exported:
    the directories that are exported with nohide."""
    shown = [mount for mount in nested if mount.target not in exported]
    if crossed or not shown:
        return []
    named = ", ".join(f"{mount.target} ({mount.source}, {mount.fstype})" for mount in shown[:_SHOWN]) + (
        " …" if len(shown) > _SHOWN else ""
    )
    verb = "is a file system of its own" if len(shown) == 1 else "are file systems of their own"
    line = f"{path} CLIENTS({own_options(True, squash, False)},crossmnt)"
    return [
        f"{named} {verb} below {path}, and empty on all clients; expected all of the store to be there for them. Export it by a line of "
        f"your own in /etc/exports, {line}, or make a store of its own of what is below, outside of {path}."
    ]


def links_out(run: Runner, path: str, timeout: float) -> list[str]:
    """A sentence on links at the top of a directory that lead out of it; none where that can't be seen."""
    result = run(["find", path, "-xdev", "-maxdepth", "2", "-type", "l", "-printf", r"%p\0%l\0"], timeout)
    words = result.stdout.split("\0")[:-1]
    pairs = [(link, os.path.normpath(os.path.join(os.path.dirname(link), to))) for link, to in zip(words[::2], words[1::2])]
    out = [f"{link} to {to}" for link, to in sorted(pairs) if not is_within(to, path)]
    if result.timed_out or not out:
        return []
    told = ", ".join(out[:_SHOWN]) + (" …" if len(out) > _SHOWN else "")
    return [f"links of {path} lead out of it, {told}: each client follows them to its own files, or to none."]
