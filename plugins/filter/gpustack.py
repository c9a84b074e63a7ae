# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the GPUStack roles: what a node needs, said in lines a person reads. Pure functions; each is documented in its .yml."""

from __future__ import annotations

from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation as generations
from ansible_collections.ascend.gpustack.plugins.plugin_utils import collection, tables, verification
from ansible_collections.ascend.gpustack.plugins.plugin_utils.node import labelled_options, node_spec
from ansible_collections.ascend.gpustack.plugins.plugin_utils.plan import node_plan
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.data import copy_refusals, twins
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.host import node_refusals
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.report import report_lines, told_above


def generation(version: Any) -> dict:
    """What roles say by a version of GPUStack alone: the usual release, paths in a node's container and of the API, the oldest driver."""
    found = generations.assumed(version)
    directory = found.data.directory
    return {
        "release": found.release,
        "api": found.api.prefix,
        "adopts": found.api.adopts,
        "rests": found.api.rests,
        "every_request": found.api.every_request,
        "models_apart": found.node.work.mirror is not None,
        "data_dir": directory,
        "token_file": found.data.token,
        "given_token": found.data.given_token,
        "forget_token": found.data.forget_token,
        "port_setting": list(found.data.port_setting),
        "password_file": f"{directory}/{found.data.password}",
        "minimum_driver": found.minimum_driver,
        "plain_port": found.node.plain_port,
    }


def rename_problems(info: dict, old: str, new: str) -> list[str]:
    """A refusal when models name a worker (or its NPUs) by a name that it would lose, or when that can't be known."""
    keep = f"Keep its name with gpustack_worker_name: {old} for this host"
    if "models" not in info:
        return [
            f"the worker is called {old!r} and would be called {new!r}, and GPUStack can't be asked which models name it "
            f"({info.get('msg', 'its token is not there')}). {keep}, or start the server first."
        ]
    naming = sorted(model["name"] for model in info["models"] if _names_worker(model, old))
    if not naming:
        return []
    return [
        f"the models {', '.join(naming)} name the worker {old!r}, which would be called {new!r}. "
        f"{keep}, or free the models of their selectors first."
    ]


def _names_worker(model: dict, worker: str) -> bool:
    if any(gpu.split(":")[0] == worker for gpu in model.get("gpu_ids") or []):
        return True
    return worker in (model.get("worker_selector") or {}).values()


def expected_workers(hosts: list[str], hostvars: Any, groups: dict, live: list[str]) -> dict:
    """How many NPUs each worker among the hosts must have in GPUStack; None where that is not to be waited for."""
    return {
        verification.setting(hostvars, host, "gpustack_worker_name", host): verification.expected_npus(host, hostvars, live)
        for host in hosts
        if host in groups.get("gpustack_worker", [])
    }


def verify_summary(info: dict, hosts: list[str], hostvars: Any, groups: dict, settings: dict) -> dict:
    """The last screen: `lines` to read, `told`, what each host that has problems fails with, and `stats` for machines."""
    seen = {host: verification.seen(host, hostvars, settings["live"]) for host in hosts}
    workers = {host: known for host, known in seen.items() if host in groups.get("gpustack_worker", [])}
    whose = {host: verification.setting(hostvars, host, "gpustack_data_seen", {}) or {} for host in hosts}
    found = verification.findings(info, seen, workers, settings["server"], twins(whose))
    found += verification.loss_findings(settings.get("lost") or [], seen, settings["server"])
    failures = [(host, item) for host, item in found if item.result == "fail"]
    lines, told_by = [], collection.signature()
    if "workers" in info:
        rows = verification.worker_rows(info["workers"], workers, info["version"])
        lines = [*tables.table(rows), verification.sum_line(info, workers, settings["url"])]
        lines += settings.get("old") or []
        # Said in the line before
        told_by = ""
    judged = [] if settings["check"] else report_lines(found, hosts, "Verification", told_by) + (settings.get("lost") or [])[2:]
    return {
        # What is to be copied comes last, as a line of its own.
        "lines": lines + judged,
        "told": told_above(failures),
        "stats": {
            "collection_version": collection.version(),
            "url": settings["url"],
            "ok": not failures,
            "workers": [worker["name"] for worker in info.get("workers", [])],
            "npus": sum(worker["npu_count"] for worker in verification.present(info, workers)),
            "problems": [f"{host}: {item.message}" for host, item in failures],
        },
    }


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict:
        return {
            function.__name__: function
            for function in (
                generation,
                node_spec,
                labelled_options,
                node_refusals,
                copy_refusals,
                node_plan,
                rename_problems,
                expected_workers,
                verify_summary,
            )
        }
