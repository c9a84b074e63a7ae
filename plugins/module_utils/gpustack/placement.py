# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which instances of models find room elsewhere when workers rest or leave, reckoned from what GPUStack says that they take. Where they
start in the end is its own to decide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.answers import Instance, Model, Npu, Worker

GIB = 2**30


@dataclass(frozen=True)
class Place:
    """One instance that has to go. to: names of workers that have room for its parts, in their order; empty where there is none, and why:
    what then follows its name."""

    instance: Instance
    to: list[str]
    why: str


class _Room:
    """A worker that may take instances, with the free bytes of its NPUs by their indexes."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.npus: dict[int, Npu] = {npu.index: npu for npu in worker.npus if npu.index is not None}
        self.free = {index: (npu.memory_total_bytes or 0) - (npu.memory_allocated_bytes or 0) for index, npu in self.npus.items()}

    def fitting(self, claim: Mapping[int, int], named: Iterable[str]) -> list[int]:
        """Indexes of NPUs that may be taken, those with the least room first."""
        size, allowed = max(claim.values(), default=0), set(named)
        found = [index for index, free in self.free.items() if free >= size and (not allowed or self.npus[index].gpu_id in allowed)]
        return sorted(found, key=lambda index: (self.free[index], index))

    def take(self, claim: Mapping[int, int], named: Iterable[str]) -> None:
        for index, size in zip(self.fitting(claim, named), sorted(claim.values(), reverse=True)):
            self.free[index] -= size


def places(instances: Iterable[Instance], models: Iterable[Model], workers: Iterable[Worker], leaving: set[int]) -> list[Place]:
    """Of each instance that has a part on a worker that leaves, by its number, the largest first."""
    rooms = {each.id: _Room(each) for each in workers if each.id not in leaving and each.state == "ready" and not each.silent}
    by_name = {model.name: model for model in models}
    going = [each for each in instances if any(worker_id in leaving for worker_id, _claim in each.parts)]
    for worker_id, claim in (part for each in going for part in each.parts):
        # What it has on a worker that stays is free when it goes.
        room = rooms.get(worker_id) if worker_id is not None else None
        if room:
            for index in set(claim).intersection(room.free):
                room.free[index] += claim[index]
    going.sort(key=lambda each: (-sum(sum(claim.values()) for claim in each.claims), each.name))
    return [_place(each, by_name.get(each.model), list(rooms.values())) for each in going]


def _place(instance: Instance, model: Model | None, rooms: list[_Room]) -> Place:
    named, labels = (model.gpu_ids, model.worker_selector) if model else ([], {})
    if not rooms:
        return Place(instance, [], "no other worker is ready")
    fit = [room for room in rooms if all(room.worker.labels.get(name) == value for name, value in labels.items())]
    if not fit:
        wanted = ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))
        return Place(instance, [], f"no other worker that is ready has the labels {wanted}")
    if named and not any(npu.gpu_id in named for room in fit for npu in room.npus.values()):
        return Place(instance, [], "its NPUs are given by name, and no other worker has one of them")
    taken: list[_Room] = []
    for claim in instance.claims:
        able = [room for room in fit if room not in taken and len(room.fitting(claim, named)) >= len(claim)]
        if not able:
            return Place(instance, [], _lacking(claim, len(instance.claims)))
        taken.append(max(able, key=lambda room: sum(room.free.values())))
    for room, claim in zip(taken, instance.claims):
        room.take(claim, named)
    return Place(instance, [room.worker.name for room in taken], "")


def _lacking(claim: Mapping[int, int], parts: int) -> str:
    npus = f"{len(claim)} NPU{'' if len(claim) == 1 else 's'}"
    size = f" of {-(-max(claim.values(), default=0) // GIB)} GiB each" if any(claim.values()) else ""
    return f"it takes {npus}{size}{f' on each of {parts} workers' if parts > 1 else ''}, which no other worker has free"
