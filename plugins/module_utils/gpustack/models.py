# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model as gpustack_models says it, as GPUStack's API has it, and what differs between the two.

An item is one of gpustack_models (roles/gpustack_models/meta/argument_specs.yml), whose hosts are workers by their names; a record is
GPUStack's own (gpustack/schemas/models.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import parameters
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.models_description import Backend, Models

Item = Mapping[str, Any]
# The indexes of workers' NPUs in GPUStack
Workers = Mapping[str, Iterable[int]]
# Of each key that names a source: the source, the field of what it names, and that of a file in it
SOURCES = {
    "path": ("local_path", "local_path", ""),
    "model_scope": ("model_scope", "model_scope_model_id", "model_scope_file_path"),
    "hugging_face": ("huggingface", "huggingface_repo_id", "huggingface_filename"),
}
# What GPUStack brings about by itself; of all else, its instances have to be started again.
LIGHT = ("replicas", "categories", "description", "restart_on_error")
# The label by which GPUStack's workers know their own names
WORKER = "worker-name"
SPEECH = {"speech_to_text", "text_to_speech"}
# Of a runtime, which mean nothing to another backend
OF_A_BACKEND = ("backend_version", "image_name", "run_command")
EMPTY: tuple[Any, ...] = (None, "", [], {})


def backend_key(item: Mapping[str, Any], models: Models) -> str:
    """What gpustack_models calls the backend that an item gets."""
    if item.get("backend"):
        return item["backend"]
    if SPEECH & set(item.get("categories") or []):
        return models.speech
    return models.gguf if is_gguf(item) else models.usual


def is_gguf(item: Mapping[str, Any]) -> bool:
    return str(item.get("file") or item.get("path") or "").endswith(".gguf")


def backend_of(item: Mapping[str, Any], models: Models) -> Backend:
    key = backend_key(item, models)
    return models.backends.get(key) or Backend(key)


def wanted(
    item: Mapping[str, Any], of: Generation, workers: Mapping[str, Iterable[int]], before: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The fields of a record that an item says. workers: the indexes of their NPUs by name; before: the record that there is."""
    models = of.models
    backend = backend_of(item, models)
    found: dict[str, Any] = {
        "name": item["name"],
        **_source(item),
        "backend": backend.name,
        "replicas": 1 if item.get("replicas") is None else int(item["replicas"]),
        "backend_parameters": _parameters(item, backend),
        "env": _environment(item, backend, models),
        **_placement(item, of, workers),
    }
    if before and _backend_name(before, models) != backend.name:
        found.update((field, None) for field in OF_A_BACKEND if field in before)
    if item.get("version"):
        found["backend_version"] = str(item["version"])
    if item.get("categories"):
        found["categories"] = list(item["categories"])
    across = item.get("across_hosts")
    if backend.spreads or across is not None:
        found["distributed_inference_across_workers"] = len(item.get("chips") or {}) > 1 if across is None else bool(across)
    return {**found, **(item.get("settings") or {})}


def _source(item: Mapping[str, Any]) -> dict[str, Any]:
    key = next((key for key in SOURCES if item.get(key)), None)
    if key is None:
        return {}
    fields: dict[str, Any] = {field: None for _source, *names in SOURCES.values() for field in names if field}
    source, name, file = SOURCES[key]
    return {**fields, "source": source, name: item[key], **({file: item.get("file") or None} if file else {})}


def _parameters(item: Mapping[str, Any], backend: Backend) -> list[str]:
    """Those that keys say, before the others; what the others say counts."""
    own = [str(each) for each in item.get("parameters") or []]
    share = backend.share if item.get("memory") is None else float(item["memory"])
    said = ((backend.parallel, item.get("npus")), (backend.context, item.get("context")), (backend.memory, f"{share:g}" if share else None))
    return [f"{names[0]}={value}" for names, value in said if names and value and not set(names) & set(parameters.names(own))] + own


def _environment(item: Mapping[str, Any], backend: Backend, models: Models) -> dict[str, str]:
    found = {name: str(value) for name, value in (item.get("env") or {}).items()}
    size = backend.shared_memory if item.get("shared_memory") is None else int(item["shared_memory"])
    return {models.shared_memory: str(size), **found} if models.shared_memory and size else found


def _placement(item: Item, of: Generation, workers: Workers) -> dict[str, Any]:
    hosts, chips = item.get("hosts") or [], item.get("chips") or {}
    if len(hosts) > 1 and not chips:
        chips = {host: sorted(workers.get(host, [])) for host in hosts}
    if not chips:
        return {"gpu_selector": None, "worker_selector": {WORKER: hosts[0]} if hosts else {}}
    ids = [f"{worker}:{of.api.device_type}:{index}" for worker, indexes in chips.items() for index in indexes]
    number = {of.models.per_instance: int(item["npus"])} if of.models.per_instance and item.get("npus") else {}
    return {"gpu_selector": {"gpu_ids": ids, **number}, "worker_selector": {}}


def differences(before: Mapping[str, Any], after: Mapping[str, Any], models: Models) -> list[str]:
    """The fields that differ between a record and what is wanted of it."""
    known = {**before, "backend": _backend_name(before, models)}
    return [field for field in after if not _same(field, known.get(field), after[field], known, models)]


def _same(field: str, before: Any, after: Any, record: Mapping[str, Any], models: Models) -> bool:
    if field == "backend_parameters":
        return parameters.same(before or [], after or [], aliases(record, models))
    if field == "categories":
        return set(before or []) == set(after or [])
    if field == "gpu_selector":
        said, meant = _selector(before), _selector(after)
        return {key: said.get(key) for key in meant} == meant
    if field == "worker_selector" and not after:
        return not before or before == models.selector
    return _covers(before, after)


def _selector(given: Any) -> dict[str, Any]:
    """NPUs in any order, and what else is said."""
    found = {key: value for key, value in (given or {}).items() if value not in EMPTY}
    return {**found, "gpu_ids": sorted(found.get("gpu_ids", []))}


def _covers(before: Any, after: Any) -> bool:
    """Whether what is wanted is there; GPUStack adds the defaults of what a field consists of."""
    if isinstance(after, Mapping) and isinstance(before, Mapping) and after and not all(isinstance(each, str) for each in after.values()):
        return all(_covers(before.get(key), value) for key, value in after.items())
    return before == after or (before in EMPTY and after in EMPTY)


def aliases(record: Mapping[str, Any], models: Models) -> dict[str, str]:
    backend = next((each for each in models.backends.values() if each.name == record.get("backend")), Backend(""))
    return {name: names[0] for names in (backend.parallel, backend.context, backend.memory) for name in names}


def _backend_name(record: Mapping[str, Any], models: Models) -> str:
    """That of a record, also of one that leaves it to GPUStack."""
    return record.get("backend") or backend_of({**source_of(record), "categories": record.get("categories")}, models).name


def source_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that name a record's source; none for one that has no key."""
    for key, (source, name, file) in SOURCES.items():
        if record.get("source") == source:
            found = {key: record.get(name)}
            return {**found, "file": record[file]} if file and record.get(file) else found
    return {}


def chips_of(ids: Iterable[str], kind: str) -> dict[str, list[int]] | None:
    """NPUs by their workers; None where one is no NPU."""
    found: dict[str, list[int]] = {}
    for each in ids:
        match = re.fullmatch(rf"(.+):{kind}:(\d+)", each)
        if not match:
            return None
        found.setdefault(match[1], []).append(int(match[2]))
    return {worker: sorted(indexes) for worker, indexes in found.items()}
