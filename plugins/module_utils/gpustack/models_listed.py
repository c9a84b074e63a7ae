# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of GPUStack's models as items of gpustack_models: what is said of them there says the same, and creates the same elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import models as gpustack_models
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import parameters
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.models_description import Backend, Models

# Fields that have keys
_KEYED = {
    *("name", "source", "backend", "backend_version", "replicas", "backend_parameters", "env", "categories", "gpu_selector"),
    *("worker_selector", "distributed_inference_across_workers"),
    *(field for _source, *names in gpustack_models.SOURCES.values() for field in names if field),
}


def listed(record: Mapping[str, Any], of: Generation) -> dict[str, Any]:
    """A record as an item, with its secrets. What is as by default is left out."""
    models = of.models
    categories = list(record.get("categories") or [])
    item: dict[str, Any] = {"name": record["name"], **gpustack_models.source_of(record)}
    key = _backend_key(record, models)
    if key and key != gpustack_models.backend_key({**item, "categories": categories}, models):
        item["backend"] = key
    backend = gpustack_models.backend_of({**item, "categories": categories}, models)
    if record.get("backend_version"):
        item["version"] = record["backend_version"]
    if record.get("replicas", 1) != 1:
        item["replicas"] = record["replicas"]
    settings = _others(record, models)
    _add_parameters(item, record, backend)
    _add_placement(item, record, of, settings)
    _add_environment(item, record, backend, models)
    if categories:
        item["categories"] = categories
    across = bool(record.get("distributed_inference_across_workers"))
    if backend.spreads and across != (len(item.get("chips", {})) > 1):
        item["across_hosts"] = across
    return {**item, "settings": settings} if settings else item


def _backend_key(record: Mapping[str, Any], models: Models) -> str:
    name = record.get("backend") or ""
    return next((key for key, each in models.backends.items() if each.name == name), name)


def _others(record: Mapping[str, Any], models: Models) -> dict[str, Any]:
    """Fields without a key whose values are not the defaults."""
    known = (
        {*_KEYED, *models.unsent, *models.untold}
        if gpustack_models.source_of(record)
        else {*_KEYED, *models.unsent, *models.untold} - {"source"}
    )
    rest = {field: value for field, value in record.items() if field not in known}
    return {field: value for field, value in rest.items() if value != models.defaults.get(field) and (value or field in models.defaults)}


def _add_parameters(item: dict[str, Any], record: Mapping[str, Any], backend: Backend) -> None:
    rest = [str(each) for each in record.get("backend_parameters") or []]
    for key, names, number in (("npus", backend.parallel, int), ("context", backend.context, int), ("memory", backend.memory, float)):
        value = parameters.given(rest, names)
        if value is not None and re.fullmatch(r"\d+" if number is int else r"0?\.\d+|1(\.0+)?", value) and number(value):
            item[key], rest = number(value), parameters.without(rest, names)
    if item.get("memory") == backend.share:
        del item["memory"]
    elif backend.share and "memory" not in item and not set(backend.memory) & set(parameters.names(rest)):
        item["memory"] = 0
    if rest:
        item["parameters"] = rest


def _add_environment(item: dict[str, Any], record: Mapping[str, Any], backend: Backend, models: Models) -> None:
    rest = {name: str(value) for name, value in (record.get("env") or {}).items()}
    given = rest.get(models.shared_memory, "")
    if given.isdigit() and int(given):
        del rest[models.shared_memory]
        if int(given) != backend.shared_memory:
            item["shared_memory"] = int(given)
    elif models.shared_memory and backend.shared_memory and not given:
        item["shared_memory"] = 0
    if rest:
        item["env"] = rest


def _add_placement(item: dict[str, Any], record: Mapping[str, Any], of: Generation, settings: dict[str, Any]) -> None:
    selector, labels = record.get("gpu_selector") or {}, record.get("worker_selector") or {}
    ids = selector.get("gpu_ids") or []
    chips = gpustack_models.chips_of(ids, of.api.device_type)
    number = selector.get(of.models.per_instance)
    usual = len(ids) // max(1, record.get("replicas") or 1)
    if chips is None or (number and item.get("npus") != number and (not ids or number not in (usual, 1 << max(0, usual.bit_length() - 1)))):
        settings["gpu_selector"] = {key: value for key, value in selector.items() if value is not None}
    elif chips:
        item["chips"] = chips
    if labels and labels != of.models.selector:
        if list(labels) == [gpustack_models.WORKER] and not ids:
            item["hosts"] = [labels[gpustack_models.WORKER]]
        else:
            settings["worker_selector"] = labels


def without_secrets(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item with the name of a variable in place of each secret, fit for a file that others read."""
    found = dict(item)
    if "env" in found:
        found["env"] = {
            key: _variable(item["name"], key) if redact.looks_secret(key) or redact.text(value) != value else value
            for key, value in found["env"].items()
        }
    if "parameters" in found:
        found["parameters"] = [text for option in parameters.options(found["parameters"]) for text in _without_secret(item["name"], option)]
    if "settings" in found:
        found["settings"] = {
            key: value if redact.data({key: value}) == {key: value} else _variable(item["name"], key)
            for key, value in found["settings"].items()
        }
    return found


def _without_secret(model: str, option: parameters.Option) -> tuple[str, ...]:
    if not option.values or redact.command([f"{option.name}={' '.join(option.values)}"]) == [f"{option.name}={' '.join(option.values)}"]:
        return option.texts
    return (f"{option.name}={_variable(model, option.name)}",)


def _variable(model: str, name: str) -> str:
    return "{{ vault_" + re.sub(r"\W+", "_", f"{model}_{name.lstrip('-')}").lower() + " }}"
