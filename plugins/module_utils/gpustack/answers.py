# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What GPUStack's management API tells of workers, NPUs, models and their instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Api

# How a worker is known that this collection has rest: by its record's label where GPUStack has no such state, else by the reason that
# stands on its page
DRAINED_LABEL = "ascend.gpustack.drained"
DRAINED_REASON = "Drained by ascend.gpustack; its playbook undrain ends that."


@dataclass(frozen=True)
class Npu:
    """index is GPUStack's (the logic ID), device_index the N of /dev/davinciN; sizes in bytes, temperature in °C. None:
    not reported."""

    gpu_id: str
    index: int | None
    device_index: int | None
    device_chip_index: int | None
    name: str
    memory_total_bytes: int | None
    memory_used_bytes: int | None
    memory_allocated_bytes: int | None
    temperature_c: float | None
    network: dict | None


@dataclass(frozen=True)
class Worker:
    """worker_uuid: what its data directory is known by, None where GPUStack keeps that to itself. silent_s: seconds since its last sign of
    life; None where that is counted by the worker's own clock. silent: whether that is too long for a state of ready to be believed.
    drained: whether this collection has it rest."""

    id: int
    name: str
    hostname: str
    ip: str
    port: int
    state: str
    state_message: str | None
    unreachable: bool
    worker_uuid: str | None
    worker_version: str | None
    created_at: str
    silent_s: int | None
    silent: bool
    drained: bool
    labels: dict
    npus: list[Npu] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "npu_count": len(self.npus)}


@dataclass(frozen=True)
class Model:
    id: int
    name: str
    replicas: int
    gpu_ids: list[str]
    worker_selector: dict


@dataclass(frozen=True)
class Instance:
    """A model's instance. worker_id: of its worker, None before it has one; followers: of the further workers that it runs on, in their
    order; worker: its worker's name; claims: bytes that it takes of each NPU, by their indexes, on its worker and on each of the followers;
    message: what GPUStack says of its state; progress: how much of the model is there, in percent; restarts: how often GPUStack started
    it again."""

    id: int
    name: str
    model: str
    state: str
    worker_id: int | None
    followers: list[int | None]
    claims: list[dict[int, int]]
    worker: str | None
    message: str
    progress: float | None
    restarts: int

    def workload(self, worker_id: int) -> str | None:
        """What its containers on a worker are called by, as GPUStack has it in get_deployment_metadata; None where it has none there."""
        if self.worker_id == worker_id:
            return self.name
        return f"{self.name}-f{self.followers.index(worker_id)}" if worker_id in self.followers else None

    @property
    def parts(self) -> list[tuple[int | None, dict[int, int]]]:
        """Each of its workers with what it takes there."""
        return list(zip([self.worker_id, *self.followers], self.claims))


def worker(item: Mapping[str, Any], api: Api, now: float | None) -> Worker:
    """now: seconds since 1970 by the server's clock, None where that is not known."""
    status = item.get("status") or {}
    name, kind, state = item.get("name") or "", api.device_type, item.get("state") or "unknown"
    since = None if api.silence is None or now is None else _seconds_since(item.get("heartbeat_time"), now)
    return Worker(
        id=item["id"],
        name=name,
        hostname=item.get("hostname") or "",
        ip=item.get("ip") or "",
        port=item.get("port") or 0,
        state=state,
        state_message=item.get("state_message"),
        unreachable=bool(item.get("unreachable")),
        worker_uuid=item.get("worker_uuid") or None,
        worker_version=item.get("worker_version"),
        created_at=item.get("created_at") or "",
        silent_s=since,
        silent=state == "ready" and since is not None and since > (api.silence or 0),
        drained=is_drained(item, api),
        labels=item.get("labels") or {},
        npus=[_npu(name, kind, device) for device in status.get("gpu_devices") or [] if device.get("type") == kind],
    )


def is_drained(item: Mapping[str, Any], api: Api) -> bool:
    if not api.rests:
        return DRAINED_LABEL in (item.get("labels") or {})
    maintenance = item.get("maintenance") or {}
    return bool(maintenance.get("enabled")) and maintenance.get("message") == DRAINED_REASON


def _seconds_since(text: Any, now: float) -> int | None:
    try:
        then = datetime.strptime(str(text)[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return max(0, round(now - then.timestamp()))


def _npu(worker: str, kind: str, device: Mapping[str, Any]) -> Npu:
    memory = device.get("memory") or {}
    return Npu(
        gpu_id=f"{worker}:{kind}:{device.get('index')}",
        index=device.get("index"),
        device_index=device.get("device_index"),
        device_chip_index=device.get("device_chip_index"),
        name=device.get("name") or "",
        memory_total_bytes=memory.get("total"),
        memory_used_bytes=memory.get("used"),
        memory_allocated_bytes=memory.get("allocated"),
        temperature_c=device.get("temperature"),
        network=device.get("network"),
    )


def model(item: Mapping[str, Any]) -> Model:
    return Model(
        id=item["id"],
        name=item.get("name") or "",
        replicas=item.get("replicas") or 0,
        gpu_ids=(item.get("gpu_selector") or {}).get("gpu_ids") or [],
        worker_selector=item.get("worker_selector") or {},
    )


def instance(item: Mapping[str, Any]) -> Instance:
    servers = (item.get("distributed_servers") or {}).get("subordinate_workers") or []
    return Instance(
        id=item["id"],
        name=item.get("name") or "",
        model=item.get("model_name") or "",
        state=item.get("state") or "unknown",
        worker_id=item.get("worker_id"),
        followers=[server.get("worker_id") for server in servers],
        claims=[_claim(each) for each in (item, *servers)],
        worker=item.get("worker_name"),
        message=redact.text(" ".join(str(item.get("state_message") or "").split())).rstrip("."),
        progress=item.get("download_progress"),
        restarts=item.get("restart_count") or 0,
    )


def _claim(part: Mapping[str, Any]) -> dict[int, int]:
    """As GPUStack reckoned it (ComputedResourceClaim), else nothing of each NPU that it names."""
    claimed = (part.get("computed_resource_claim") or {}).get("vram") or {}
    return {int(index): size or 0 for index, size in (claimed or dict.fromkeys(part.get("gpu_indexes") or [])).items()}
