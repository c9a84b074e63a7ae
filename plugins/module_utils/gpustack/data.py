# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's own data: where it is, who made it, and whether other hosts share it."""

from __future__ import annotations

from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.files import is_within
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import directory as gpustack_directory
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.generation import DEPLOYED
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.upgrade_state import state_of
from ansible_collections.ascend.gpustack.plugins.module_utils.host import mounts as host_mounts
from ansible_collections.ascend.gpustack.plugins.module_utils.host.mounts import Mount, holding
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

# Files in which a worker keeps what GPUStack knows it by
IDENTITY = ("worker_uuid", "worker_name")
# Files of a cluster, in any generation
CLUSTER = {name for generation in DEPLOYED for name in generation.data.cluster}
# File systems that one host alone has
LOCAL = ("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs")


def read(run: Runner, name: str, engine: docker_cli.Engine, store: dict[str, Any] | None, mountinfo: str, timeout: float) -> dict[str, Any]:
    """What gpustack_host_info returns as data; store is what it returns as such."""
    unknown = {
        **{"name": name, "exists": None, "path": None, "managed": None, "on_store": False, "cluster": None, "restoring": False},
        "upgrade": None,
        **dict.fromkeys(IDENTITY),
    }
    if name.startswith("/"):
        seen = gpustack_directory.look(run, name, timeout)
        return _described(run, {**unknown, "exists": seen.exists, "path": seen.real, "managed": seen.is_marked}, store, mountinfo, timeout)
    try:
        volume = docker_cli.read_volume(run, name, timeout) if engine.running else None
    except docker_cli.DockerError:
        return unknown
    if volume is None:
        return {**unknown, **({"exists": False, "cluster": []} if engine.running else {})}
    labels = volume.get("Labels") or {}
    path = gpustack_directory.resolve(run, volume_place(volume), timeout)
    found = {**unknown, "exists": True, "path": path, "managed": labels.get(docker_cli.LABEL_MANAGED) == "true"}
    return _described(run, found, store, mountinfo, timeout)


def volume_place(volume: dict[str, Any]) -> str:
    """Where a volume's files are on the host; one that is bound to a directory has them there."""
    device = str((volume.get("Options") or {}).get("device") or "")
    return device if device.startswith("/") else str(volume["Mountpoint"])


def _described(run: Runner, data: dict[str, Any], store: dict[str, Any] | None, mountinfo: str, timeout: float) -> dict[str, Any]:
    path, there = data["path"], data["exists"]
    identity = {name: _line(run, f"{path}/{name}", timeout) for name in IDENTITY} if there else {}
    entries = _entries(run, path, timeout) if there else []
    cluster = None if entries is None else sorted(CLUSTER.intersection(entries))
    on_store = is_shared(data["path"], store, host_mounts.parse_mountinfo(mountinfo)) if store else False
    return {
        **{**data, "on_store": on_store, "cluster": cluster, "restoring": gpustack_directory.ASIDE in (entries or [])},
        "upgrade": state_of(entries or [], lambda name: _text(run, f"{path}/{name}", timeout)),
        **identity,
    }


def _entries(run: Runner, path: str, timeout: float) -> list[str] | None:
    """None where they can't be seen."""
    result = run(["ls", "-A", "--", path], timeout)
    return None if result.rc != 0 or result.timed_out else result.stdout.splitlines()


def _text(run: Runner, path: str, timeout: float) -> str:
    result = run(["head", "-c", "65536", path], timeout)
    return result.stdout if result.rc == 0 and not result.timed_out else ""


def _line(run: Runner, path: str, timeout: float) -> str | None:
    result = run(["head", "-c", "256", path], timeout)
    return result.stdout.strip() or None if result.rc == 0 and not result.timed_out else None


def is_shared(path: str, store: dict[str, Any], mounts: list[Mount]) -> bool:
    """Whether a real path lies in the model store, or elsewhere on a file system that hosts share with it."""
    if is_within(path, store["real"]):
        return True
    mount = holding(mounts, path)
    return mount is not None and mount.source == store["source"] and mount.fstype not in LOCAL
