"""A GPUStack of either generation that changes what it is told to, as its code does: recorded workers, models and their instances."""

from __future__ import annotations

import copy
import itertools
import json
import urllib.parse
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.api import Answer, Client
from shared import ROOT

SAMPLES = ROOT / "tests/unit/samples/gpustack_api"
RECORDED = json.loads((SAMPLES / "workers_2.3.0.json").read_text())["items"]
GIB = 2**30
# 2026-11-27 03:47:31, when they were recorded
RECORDED_AT = 1795751251.0


def recorded(number: int, name: str, generation: int, **changes: Any) -> dict[str, Any]:
    """A worker that is ready, in the form that this generation has for it."""
    item = copy.deepcopy(RECORDED[0])
    item.update(
        {"id": number, "name": name, "ip": f"172.16.33.{105 + number}", "state": "ready", "labels": {"os": "linux", "worker-name": name}}
    )
    if generation == 0:
        for key in ("maintenance", "worker_version", "cluster_id", "advertise_address", "ifname"):
            item.pop(key, None)
        item["worker_uuid"] = f"5b6d7c1e-0000-4000-8000-{number:012d}"
        for device in item["status"]["gpu_devices"]:
            device["type"] = "npu"
    return {**item, **changes}


class Fake:
    """Answers of the API. An instance that is deleted comes again on the first worker that is ready, if its model has one that it may take,
    and runs when `starts` further requests have come. trail: what was changed."""

    def __init__(self, generation: int, *names: str, starts: int = 0) -> None:
        self.generation, self.starts = generation, starts
        self.prefix = "/v2" if generation else "/v1"
        self.workers = [recorded(number, name, generation) for number, name in enumerate(names, 1)]
        self.models: list[dict[str, Any]] = []
        self.instances: list[dict[str, Any]] = []
        self.trail: list[tuple[Any, ...]] = []
        self._ids = itertools.count(1)
        self._starting: dict[int, int] = {}

    @property
    def client(self) -> Client:
        client = Client("http://127.0.0.1:8080", self.fetch, 10)
        client.version()
        return client

    def worker(self, name: str) -> dict[str, Any]:
        return next(each for each in self.workers if each["name"] == name)

    def serve(self, model: str, *workers: str, npus: int = 1, size: int = 20, **settings: Any) -> None:
        """A model with an instance on each of these workers."""
        self.models.append({"id": len(self.models) + 1, "name": model, "replicas": len(workers), **settings})
        for name in workers:
            self._start(model, self.worker(name), dict.fromkeys(map(str, range(npus)), size * GIB))
            self.instances[-1]["state"] = "running"
            self._starting.clear()

    def _start(self, model: str, worker: dict[str, Any] | None, claim: dict[str, int]) -> None:
        number = next(self._ids)
        found = {"id": number, "name": f"{model}-{number}", "model_name": model, "distributed_servers": None, "state_message": None}
        found["computed_resource_claim"] = {"vram": claim}
        if worker is None:
            found.update({"worker_id": None, "state": "pending", "state_message": "No suitable workers.\nDetails:\n"})
        else:
            found.update({"worker_id": worker["id"], "state": "running" if self.starts == 0 else "starting"})
            self._starting[number] = self.starts
            for index in claim:
                worker["status"]["gpu_devices"][int(index)]["memory"]["allocated"] += claim[index]
        self.instances.append(found)

    def fetch(self, url: str, timeout: float, method: str = "GET", body: Any = None) -> Answer:
        path = urllib.parse.urlsplit(url).path
        if path == "/version":
            return self._answer(200, {"version": "v2.3.0" if self.generation else "v0.7.1"})
        kind, _sign, number = path.removeprefix(f"{self.prefix}/").partition("/")
        lists = {"workers": self.workers, "models": self.models, "model-instances": self.instances}
        if not number:
            self._pass_time()
            items = copy.deepcopy(lists[kind])
            return self._answer(200, {"items": items, "pagination": {"totalPage": 1, "total": len(items)}})
        item = next((each for each in lists[kind] if each["id"] == int(number)), None)
        if item is None:
            return self._answer(404, {})
        self.trail.append((method, kind, item["name"]))
        return self._put(item, body) if method == "PUT" else self._delete(item, lists[kind])

    def _pass_time(self) -> None:
        for each in self.instances:
            if each["state"] == "starting":
                self._starting[each["id"]] -= 1
                each["state"] = "running" if self._starting[each["id"]] <= 0 else "starting"

    def _put(self, item: dict[str, Any], body: dict[str, Any]) -> Answer:
        if self.generation == 0:
            # gpustack/routes/workers.py of 0.7: WorkerUpdate is the whole worker.
            if {"hostname", "ip", "port", "status", "worker_uuid"} - set(body):
                return self._answer(422, {})
            item.update(body)
            return self._answer(200, item)
        if "name" not in body:
            return self._answer(422, {})
        # Of 2.3: what is left out is written as empty; a worker in maintenance is in that state, one that is not is ready again.
        item.update({"labels": {}, "maintenance": None, **body})
        item["state"] = "maintenance" if (item["maintenance"] or {}).get("enabled") else "ready"
        return self._answer(200, item)

    def _delete(self, item: dict[str, Any], items: list[dict[str, Any]]) -> Answer:
        items.remove(item)
        if items is self.instances:
            model = next(each for each in self.models if each["name"] == item["model_name"])
            named = {each.split(":")[0] for each in (model.get("gpu_selector") or {}).get("gpu_ids", [])}
            fit = [each for each in self.workers if each["state"] == "ready" and (not named or each["name"] in named)]
            self._start(item["model_name"], fit[0] if fit else None, item["computed_resource_claim"]["vram"])
        return self._answer(200, {})

    def _answer(self, status: int, body: Any) -> Answer:
        return Answer(status, json.dumps(body).encode(), RECORDED_AT)
