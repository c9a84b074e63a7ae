# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model store as this host sees it.

Its path is touched in a process of its own with a time limit: on a dead NFS server the module itself would never return.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import files
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.cli import first_line
from ansible_collections.ascend.gpustack.plugins.module_utils.host.mounts import holding, parse_mountinfo
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

MIB = 1024 * 1024
# The path first: when a later step hangs, where the path leads is known all the same.
_PROBE = (
    'readlink -m -- "$1"; stat -L -c "kind %F" -- "$1" || exit 3; stat -f -c "free %a %S %i" -- "$1"; '
    'if [ -w "$1" ]; then echo writable; fi; id=$(head -c 64 -- "$1/$2" 2>/dev/null) && echo "id $id"'
)
# In the root of a store; all hosts that see the same text see the same store.
STORE_ID = ".gpustack-store-id"


@dataclass(frozen=True)
class Probe:
    """answers: the path could be examined, or is known not to be there. free_mb is None when unknown, store_id where there is none.
    fs_id is the file system's own, zero of many network file systems."""

    path: str
    exists: bool | None
    answers: bool
    free_mb: int | None
    writable: bool | None
    error: str | None
    store_id: str | None = None
    fs_id: str | None = None


def probe(run: Runner, path: str, timeout: float) -> Probe:
    """Examine a path in a process of its own, which is left behind when it hangs."""
    result = run(["sh", "-c", _PROBE, "probe", path, STORE_ID], timeout)
    lines = result.stdout.splitlines()
    real = lines[0] if lines and lines[0].startswith("/") else os.path.normpath(path)
    kind = any(line.startswith("kind ") for line in lines)
    free = next((line.split() for line in lines if line.startswith("free ")), None)
    if kind and free and not result.timed_out:
        identity = next((line[3:].strip() for line in lines if line.startswith("id ")), None)
        return Probe(real, True, True, int(free[1]) * int(free[2]) // MIB, "writable" in lines, None, identity or None, free[3])
    error = first_line(result.stderr) or f"no answer (return code {result.rc})"
    if result.timed_out:
        error = f"no answer within {timeout:g} s"
    elif not kind and ("No such file" in error or "Not a directory" in error):
        return Probe(real, False, True, None, False, None)
    return Probe(real, True if kind else None, False, None, None, error)


def nfs_fs_id(volumes: str, device: str) -> str | None:
    """The server's id of a file system in /proc/fs/nfsfs/volumes, by the device number here: the same for all clients of an export."""
    for line in volumes.splitlines():
        fields = line.split()
        if len(fields) > 4 and fields[3] == device:
            return fields[4]
    return None


def store(run: Runner, path: str, mountinfo: str, volumes: str, timeout: float) -> dict[str, Any]:
    seen = probe(run, path, timeout)
    mounts = parse_mountinfo(mountinfo)
    mount, root = holding(mounts, seen.path), holding(mounts, "/")
    return {
        "path": path,
        "real": seen.path,
        "exists": seen.exists,
        "answers": seen.answers,
        "error": seen.error,
        "is_mount": mount is not None and mount.target == seen.path,
        "source": mount.source if mount else None,
        "fstype": mount.fstype if mount else None,
        "target": mount.target if mount else None,
        "free_mb": seen.free_mb,
        "root_fs": mount.device == root.device if mount and root else None,
        "writable": seen.writable and not (mount and "ro" in mount.options),
        "id": seen.store_id,
        "fs_id": (nfs_fs_id(volumes, mount.device) if mount else None) or (seen.fs_id if seen.fs_id != "0" else None),
    }


def read(run: Runner, path: str, proc: str, timeout: float) -> dict[str, Any]:
    """The store at a path. proc: where the kernel shows what is mounted; timeout: seconds."""
    return store(run, path, files.read_text(f"{proc}/self/mountinfo"), files.read_text(f"{proc}/fs/nfsfs/volumes"), timeout)
