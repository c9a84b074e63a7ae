# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What GPUStack knows, by name, beside what it knew at the last run that found all well: a database that was cut off has less."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.files import read_text
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.answers import Worker
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.api import Client

Records = dict[str, Any]


def read(client: Client, workers: list[Worker]) -> Records:
    """Workers by name with their identity, which outlives a change of the name; of the others, as far as the token may read them, the
    names."""
    found = {kind: sorted(client.names(path, key)) for kind, (path, key) in client.api.lists.items()}
    return {"workers": {worker.name: _identity(worker) for worker in sorted(workers, key=lambda each: each.name)}, **found}


def _identity(worker: Worker) -> str:
    """Where GPUStack keeps the worker's own to itself, its number, which a database that was made anew gives to another worker, with the
    time at which it joined."""
    return worker.worker_uuid or f"{worker.id} {worker.created_at}"


def parse(text: str, kinds: Iterable[str]) -> Records:
    """The records of a file; none of one that is not there or is damaged, which the next good run writes anew."""
    try:
        known: Any = json.loads(text)
        workers = {str(name): str(uuid) for name, uuid in known["workers"].items()}
        return {"workers": workers, **{kind: [str(name) for name in known[kind]] for kind in kinds}}
    except (AttributeError, ValueError, LookupError, TypeError):
        return {}


def missing(known: Records, now: Records) -> dict[str, list[str]]:
    """Names that are known and not there now, by kind."""
    identities = set(now["workers"].values())
    lost = {kind: sorted(set(known.get(kind, ())) - set(names)) for kind, names in now.items() if kind != "workers"}
    workers = known.get("workers", {})
    lost["workers"] = sorted(name for name, uuid in workers.items() if name not in now["workers"] and uuid not in identities)
    return {kind: names for kind, names in lost.items() if names}


def compare(client: Client, workers: list[Worker], path: str) -> dict[str, Any]:
    """`records` now, what was `known`, and what is `lost` of that, by kind."""
    now, known = read(client, workers), parse(read_text(path), client.api.lists)
    return {"records": now, "known": known, "lost": missing(known, now)}
