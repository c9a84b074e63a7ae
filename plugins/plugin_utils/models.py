# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gpustack_models asks for, beside what the cluster has: what can't run, what may not, what is to be done, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.files import is_within
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation as generations
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import models as gpustack_models
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import parameters
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.models_description import Backend
from ansible_collections.ascend.gpustack.plugins.plugin_utils import runners
from ansible_collections.ascend.gpustack.plugins.plugin_utils.cluster import setting

# Where a node's container sees the store besides (plugins/plugin_utils/node.py)
ALIAS = "/models"
# What an engine takes of an NPU's memory where it is left to choose, and how much of that weights fill where little is left to work with
OWN_SHARE, FULL = 0.9, 0.85
# More than one of an NPU's kind: what these divide the weights by is not looked into.
OTHER_SIZES = ("pipeline-parallel", "data-parallel", "dp-size", "pp-size", "-pp", "-dp", "cpu-offload")
# (whether it is refused, what was found and expected, the remedy)
Verdict = tuple[bool, str, str]


@dataclass(frozen=True)
class Cluster:
    """workers: as gpustack_model_info returns them, by name, none where the cluster is not there yet; files: the same's, by path; store:
    where the store is; volumes: further directories that containers see."""

    of: Generation
    version: str
    workers: Mapping[str, Mapping[str, Any]]
    files: Mapping[str, Mapping[str, Any]]
    store: str
    volumes: tuple[str, ...]


def items(models: list, hostvars: Any, groups: dict) -> dict[str, dict[str, Any]]:
    """The models by name, with what is by default, and workers by the names that GPUStack has for them."""
    names = {host: str(setting(hostvars, host, "gpustack_worker_name", host)) for host in groups.get("gpustack_worker", [])}
    found = {}
    for given in models:
        item = {"state": "present", "replicas": 1, "settings": {}, **given}
        if "hosts" in item:
            item["hosts"] = [names.get(host, host) for host in item["hosts"]]
        if "chips" in item:
            item["chips"] = {names.get(host, host): [int(chip) for chip in chips] for host, chips in item["chips"].items()}
        found[item["name"]] = item
    return found


def host_path(path: str, store: str) -> str:
    """Where a path that containers see is on the host; empty where it is not in the store."""
    if is_within(path, ALIAS) and not is_within(store, ALIAS):
        return store + path[len(ALIAS) :]
    return path if is_within(path, store) else ""


def judged(item: Mapping[str, Any], cluster: Cluster) -> list[Verdict]:
    if item["state"] == "absent":
        return []
    known = cluster.of.models.backends
    key = gpustack_models.backend_key(item, cluster.of.models)
    if key not in known and (not cluster.of.models.others or any(key in each.models.backends for each in generations.DEPLOYED)):
        text = f"has backend: {key}, which GPUStack {cluster.of.name} does not have; expected one of {', '.join(sorted(known))}"
        return [(True, text, "Set another one.")]
    backend = known.get(key) or Backend(key)
    found = [*_source(item), *_said_twice(item, backend, cluster.of), *_files(item, backend, cluster)]
    if cluster.workers:
        found += [*_placement(item, cluster), *_engine(item, backend, cluster)]
        found += [] if any(refused for refused, _text, _remedy in found) else _sizes(item, backend, cluster)
    return found


def _source(item: Mapping[str, Any]) -> Iterator[Verdict]:
    said = [key for key in gpustack_models.SOURCES if item.get(key)]
    if len(said) != 1 and "source" not in item["settings"]:
        yield True, f"has {' and '.join(said) or 'no source'}; expected one of {', '.join(gpustack_models.SOURCES)}", "Give that one."


def _said_twice(item: Mapping[str, Any], backend: Backend, of: Generation) -> Iterator[Verdict]:
    given = parameters.names(item.get("parameters") or [])
    for name in given:
        if name in of.models.refused:
            yield True, f"has {name} in parameters, which GPUStack sets itself; expected none", "Remove it."
    for key, names in (("npus", backend.parallel), ("context", backend.context), ("memory", backend.memory)):
        both = [name for name in given if name in names and item.get(key) is not None]
        if both:
            yield True, f"has {key} and {both[0]} in parameters, which say the same; expected one of them", f"Remove {both[0]}."
        elif item.get(key) and not names:
            yield True, f"has {key}, for which the backend {backend.name} has no parameter; expected none", f"Remove {key}."


def _files(item: Mapping[str, Any], backend: Backend, cluster: Cluster) -> Iterator[Verdict]:
    path = item.get("path")
    if not path or any(is_within(path, volume) for volume in cluster.volumes):
        return
    there = host_path(path, cluster.store)
    if not there:
        text = f"has path: {path}, which is not in {cluster.store}; expected it in the store, which GPUStack's containers see"
        yield True, text, "Copy it there, and correct path."
        return
    files = cluster.files.get(there)
    if files is None or files["kind"] == "unknown":
        if files:
            yield (
                False,
                f"has path: {path}, and the store did not answer in time; expected to look at the model",
                "See ascend.gpustack.verify.",
            )
    elif files["kind"] == "none":
        yield True, f"has path: {path}, and there is nothing; expected its folder in the store", "Copy it there, or correct path."
    elif backend.config and not files["config"] and not gpustack_models.is_gguf(item):
        said = "which is a file" if files["kind"] == "file" else "where no config.json is"
        text = f"has path: {path}, {said}; expected the folder with the config.json of the model, which the backend {backend.name} reads"
        yield True, text, "Correct path, or copy the rest of the model."


def _placement(item: Mapping[str, Any], cluster: Cluster) -> Iterator[Verdict]:
    chips, hosts, of = item.get("chips") or {}, item.get("hosts") or [], cluster.of
    for host in [*hosts, *(host for host in chips if host not in hosts)]:
        if host not in cluster.workers:
            text = f"names the host {host}, which is no worker of GPUStack; expected one of {', '.join(sorted(cluster.workers))}"
            yield True, text, "Correct it, or join that host first."
    for host, indexes in chips.items():
        lacking = [str(index) for index in indexes if index not in cluster.workers.get(host, {"chips": indexes})["chips"]]
        if lacking:
            text = f"names chips {', '.join(lacking)} of {host}, where GPUStack has {_numbers(cluster.workers[host]['chips'])}"
            yield True, f"{text}; expected some of these", "Correct chips."
    if not of.models.per_instance:
        if len(hosts) > 1 and not chips:
            text = f"names {len(hosts)} hosts, and GPUStack {of.name} keeps a model to one host or to none; expected one"
            yield True, text, "Name one, or remove hosts."
        if chips and int(item["replicas"]) > 1:
            text = f"names chips for {item['replicas']} replicas, and GPUStack {of.name} gives all of them to each; expected one replica"
            yield True, text, "Set replicas: 1, or make a model of each."
    elif len(hosts) > 1 and not chips and not item.get("npus"):
        yield True, "names several hosts and no npus; expected the number of NPUs of each instance", "Set npus."
    number, npus = sum(map(len, chips.values())), int(item.get("npus") or 1)
    needed = npus * (max(1, int(item["replicas"])) if of.models.per_instance else 1)
    if chips and number < needed or chips and not of.models.per_instance and item.get("npus") and number != npus:
        text = f"names {number} chips, and npus: {npus} for replicas: {item['replicas']} are {needed}; expected as many"
        yield True, text, "Correct chips, npus or replicas."


def _sizes(item: Mapping[str, Any], backend: Backend, cluster: Cluster) -> Iterator[Verdict]:
    chips = item.get("chips") or {}
    able = [cluster.workers[host] for host in (chips or item.get("hosts") or cluster.workers) if cluster.workers[host]["chips"]]
    if not able:
        return
    npus = int(item.get("npus") or (sum(map(len, chips.values())) // max(1, int(item["replicas"])) if chips else 0))
    most = max(len(worker["chips"]) for worker in able)
    if npus > most and not item.get("across_hosts") and len(chips) < 2:
        text = f"asks for {npus} NPUs for each instance, and the largest host that it may run on has {most}; expected that many at most"
        yield True, text, "Set fewer npus, or across_hosts: true, which needs the NPUs' network between the hosts."
        return
    files = cluster.files.get(host_path(item.get("path") or "", cluster.store)) or {}
    heads, weights = files.get("heads"), files.get("weights_mib") or 0
    odd = any(name.lstrip("-").startswith(OTHER_SIZES) or name in OTHER_SIZES for name in parameters.names(item.get("parameters") or []))
    if not npus or odd:
        return
    if heads and item.get("npus") and heads % npus:
        fits = [number for number in range(1, most + 1) if heads % number == 0]
        text = f"asks for npus: {npus}, which do not divide the {heads} attention heads of its config.json; expected a number that does"
        yield True, text, f"Set npus: {max((number for number in fits if number <= npus), default=1)}."
        return
    share = (backend.share if item.get("memory") is None else float(item["memory"])) or OWN_SHARE
    yield from _weights(weights, npus, min(worker["memory_mib"] for worker in able) * share, share, [heads or 1, most])


def _weights(weights: int, npus: int, room: float, share: float, limits: list[int]) -> Iterator[Verdict]:
    """weights and room, of one NPU, in MiB; limits: the attention heads, and the NPUs of a host."""
    heads, most = limits
    if not weights or not room or weights <= npus * room * FULL:
        return
    held = f"{npus} NPU{'s' if npus > 1 else ''} at memory: {share:g} hold {npus * room / 1024:.1f} GiB"
    text = f"has {weights / 1024:.1f} GiB of weights, and {held}"
    enough = next((number for number in (1, 2, 4, 8, 16) if number <= most and heads % number == 0 and weights <= number * room * FULL), 0)
    remedy = f"Set npus: {enough}." if enough else "Take a smaller or quantised model, or spread it with across_hosts: true."
    if weights > npus * room:
        yield True, f"{text}; expected them to fit", remedy
    else:
        yield False, f"{text}; expected more room beside them", remedy


def _engine(item: Mapping[str, Any], backend: Backend, cluster: Cluster) -> Iterator[Verdict]:
    """Whether the drivers carry the engine that is asked for, where engines are images of their own."""
    table, version = cluster.of.runners, str(item.get("version") or "")
    if table is None or not backend.engine or not version:
        return
    for host in item.get("chips") or item.get("hosts") or sorted(cluster.workers):
        worker = cluster.workers.get(host) or {"driver": "", "chip": ""}
        needed, newest = runners.needed(table, cluster.version, worker["chip"], backend.engine, version, worker["driver"])
        if needed:
            text = f"asks for version: {version}, which needs the driver {needed} or newer, and that of {host} is {worker['driver']}"
            remedy = f'Set version: "{newest}", the newest that it carries.' if newest else "Upgrade the Ascend driver and firmware."
            yield True, f"{text}; expected one that it carries", remedy
            return


def _numbers(chips: list[int]) -> str:
    return ", ".join(map(str, chips)) or "none"


def as_yaml(models: list[Mapping[str, Any]]) -> str:
    """The list as a file of variables. JSON is YAML, and a text in double quotes may be a template."""
    lines = ["---", "gpustack_models:" if models else "gpustack_models: []"]
    for item in models:
        for number, (key, value) in enumerate(item.items()):
            lines.append(f"{'  - ' if number == 0 else '    '}{key}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"
