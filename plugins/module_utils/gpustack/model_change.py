# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One model brought to what its item says."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import answers, models, models_listed
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.api import ApiError
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.models_api import ModelsClient

# Seconds that instances may take to go, and between two looks
STOP = 180
PAUSE = 1.0


@dataclass(frozen=True)
class Clock:
    now: Callable[[], float]
    sleep: Callable[[float], None]


def change(client: ModelsClient, item: Mapping[str, Any], check: bool, clock: Clock) -> dict[str, Any]:
    """What a module returns. check: to change nothing. Raises ApiError."""
    client.version()
    record = next((each for each in client.records("/models") if each.get("name") == item["name"]), None)
    if item["state"] == "absent":
        return _absent(client, record, check)
    if record is None:
        return _create(client, item, check)
    after = models.wanted(item, client.generation, _workers(client, item), record)
    fields = models.differences(record, after, client.generation.models)
    action = _action(fields)
    if fields and not check:
        if action == "restarted":
            _restart(client, record, after, clock)
        else:
            client.write("PUT", f"/models/{record['id']}", {**_sent(client, record), **after})
    return _result(action, fields, record["id"], _listed(client, record), _listed(client, {**record, **after}))


def _action(fields: list[str]) -> str:
    if not fields:
        return "none"
    if fields == ["replicas"]:
        return "scaled"
    return "restarted" if set(fields) - set(models.LIGHT) else "changed"


def _absent(client: ModelsClient, record: Mapping[str, Any] | None, check: bool) -> dict[str, Any]:
    if record is None:
        return _result("none", [], None, {}, {})
    if not check:
        client.write("DELETE", f"/models/{record['id']}")
    return _result("removed", [], record["id"], _listed(client, record), {})


def _create(client: ModelsClient, item: Mapping[str, Any], check: bool) -> dict[str, Any]:
    of = client.generation.models
    body = models.wanted(item, client.generation, _workers(client, item), None)
    identity = None
    if not check:
        identity = (client.write("POST", "/models", {**_cluster(client, item), **of.created, **body}) or {}).get("id")
    return _result("created", sorted(body), identity, {}, _listed(client, body))


def _workers(client: ModelsClient, item: Mapping[str, Any]) -> dict[str, list[int]]:
    """The indexes of the workers' NPUs, where an item has need of them."""
    if len(item.get("hosts") or []) < 2 or item.get("chips"):
        return {}
    return {worker.name: [npu.index for npu in worker.npus if npu.index is not None] for worker in client.workers()}


def _cluster(client: ModelsClient, item: Mapping[str, Any]) -> dict[str, Any]:
    """The cluster of the workers that are named, else of the first one that has workers."""
    field = client.generation.models.cluster
    if not field:
        return {}
    known = {each.get("name"): each[field] for each in client.records("/workers") if each.get(field) is not None}
    named = [known[name] for name in (*(item.get("hosts") or []), *(item.get("chips") or {})) if name in known]
    found = named or sorted(known.values())
    return {field: found[0]} if found else {}


def _sent(client: ModelsClient, record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as it goes back; GPUStack would take some of what is left out for its defaults."""
    return {field: value for field, value in record.items() if field not in client.generation.models.unsent}


def _restart(client: ModelsClient, record: Mapping[str, Any], after: Mapping[str, Any], clock: Clock) -> None:
    """Stopped first, so that a run that ends in between is completed by the next one, which finds no replicas."""
    path, before = f"/models/{record['id']}", _sent(client, record)
    if record.get("replicas"):
        client.write("PUT", path, {**before, "replicas": 0})
        _wait_until_gone(client, record, clock)
    try:
        client.write("PUT", path, {**before, **after})
    except ApiError:
        with contextlib.suppress(ApiError):
            client.write("PUT", path, before)
        raise


def _wait_until_gone(client: ModelsClient, record: Mapping[str, Any], clock: Clock) -> None:
    deadline = clock.now() + STOP
    while True:
        left = [answers.instance(each) for each in client.records("/model-instances") if each.get("model_id") == record["id"]]
        if not left:
            return
        if clock.now() >= deadline:
            raise ApiError(
                "model",
                f"its instance {left[0].name} is still {left[0].state} after {STOP} s; expected it to stop."
                " See docker logs of GPUStack on its worker, and run this again",
            )
        clock.sleep(PAUSE)


def _listed(client: ModelsClient, record: Mapping[str, Any]) -> dict[str, Any]:
    return models_listed.listed(record, client.generation)


def _result(action: str, fields: list[str], identity: int | None, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    said, saying = (models_listed.without_secrets(each) if each else {} for each in (before, after))
    for key in after:
        if key in before and before[key] != after[key] and said[key] == saying[key]:
            saying[f"{key}, where a secret"] = "differs"
    header = f"model {(after or before).get('name', '')}".rstrip()
    diff = {"before": _text(said), "after": _text(saying if action != "none" else said), "before_header": header, "after_header": header}
    return {"changed": action != "none", "action": action, "changes": fields, "id": identity, "diff": diff}


def _text(item: Mapping[str, Any]) -> str:
    return json.dumps(item, indent=2, ensure_ascii=False) + "\n" if item else ""
