"""A GPUStack of either generation, as far as models go: what it refuses, what it fills in, and instances that go through their states.

After the schemas and routes of gpustack 0.7.1 and 2.3.0 (gpustack/schemas/models.py, gpustack/routes/models.py, model_instances.py and
openai.py, gpustack/server/controllers.py), and recorded answers.
"""

from __future__ import annotations

import base64
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

TOKEN = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
BASIC = "Basic " + base64.b64encode(f"system/worker/ansible:{TOKEN}".encode()).decode()
SOURCES = {
    "huggingface": "huggingface_repo_id",
    "ollama_library": "ollama_library_model_name",
    "model_scope": "model_scope_model_id",
    "local_path": "local_path",
}
FIELDS: dict[str, Any] = {
    **dict.fromkeys(("description", "huggingface_repo_id", "huggingface_filename", "model_scope_model_id")),
    **dict.fromkeys(("model_scope_file_path", "local_path", "gpu_selector", "backend", "backend_version", "backend_parameters")),
    **{"meta": {}, "replicas": 1, "ready_replicas": 0, "categories": [], "placement_strategy": "spread", "cpu_offloading": None},
    **{"distributed_inference_across_workers": None, "worker_selector": {}, "env": None, "restart_on_error": True, "distributable": False},
}
LATER: dict[str, Any] = {
    **dict.fromkeys(("gpu_type_selector", "image_name", "run_command", "extended_kv_cache", "speculative_config", "lora_list")),
    **{"generic_proxy": False, "cluster_id": None, "owner_principal_id": 1, "access_policy": "authed", "revision_history_limit": 10},
}
EARLIER: dict[str, Any] = {"ollama_library_model_name": None, "embedding_only": False, "image_only": False}


@dataclass
class Generation:
    prefix: str
    kind: str
    version: str
    fields: dict[str, Any]
    spread: tuple[str, ...]


V0_7 = Generation("/v1", "npu", "v0.7.1", {**FIELDS, **EARLIER}, ("vllm",))
V2 = Generation("/v2", "cann", "v2.3.0", {**FIELDS, **LATER}, ("vLLM", "MindIE", "SGLang"))


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Cluster:
    """life: the states that a model's instances go through, one at each look at them, by the model's name; each with what else is told.
    log: an instance's log, and logs what comes before it, one at each look; speech: what a model answers; deaf: models that answer with an
    error; fresh: models that the token's account is not told of yet; entrance: whether it can ask for them all the same."""

    of: Generation
    workers: dict[str, int] = field(default_factory=lambda: {"atlas1": 8, "atlas2": 8})
    models: list[dict[str, Any]] = field(default_factory=list)
    instances: list[dict[str, Any]] = field(default_factory=list)
    routes: set[str] = field(default_factory=set)
    life: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    log: str = ""
    logs: list[str] = field(default_factory=list)
    deaf: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    entrance: bool = True
    lingering: int = 0
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    number: int = 0

    def next(self) -> int:
        self.number += 1
        return self.number

    @property
    def writes(self) -> list[tuple[str, str, Any]]:
        return [each for each in self.asked if each[0] != "GET" and each[1].startswith(self.of.prefix + "/model")]

    def validated(self, given: dict[str, Any]) -> dict[str, Any]:
        """The fields that are set, as pydantic and the route leave them."""
        found = {key: value for key, value in given.items() if key in self.of.fields or key in ("name", "source")}
        if not found.get("name") or found.get("source") not in SOURCES or not found.get(SOURCES[found["source"]]):
            raise Refused(422, f"1 validation errors:\n  {{'input': {given}}}")
        # set_defaults fills in what is not given, which counts as given then.
        if found.get("distributed_inference_across_workers") is None:
            found["distributed_inference_across_workers"] = found.get("backend") in self.of.spread
        if any(str(each).startswith("--port") for each in found.get("backend_parameters") or []):
            raise Refused(400, "Setting the port using --port is not supported.")
        if found.get("replicas", 1):
            for each in (found.get("gpu_selector") or {}).get("gpu_ids") or []:
                worker = each.split(":")[0]
                if self.of is V2 and not found.get("cluster_id"):
                    raise Refused(400, "A cluster context is required for manual GPU selection, but was not provided.")
                if worker not in self.workers:
                    raise Refused(400, f"Worker {worker} not found")
        return found

    def create(self, given: dict[str, Any]) -> dict[str, Any]:
        if any(each["name"] == given.get("name") for each in self.models):
            raise Refused(409, f"Model '{given['name']}' already exists. Please choose a different name or check the existing model.")
        record = {**self.of.fields, **self.validated(given), "id": self.next(), "created_at": "x", "updated_at": "x"}
        self.models.append(record)
        if given.get("enable_model_route") or self.of is V0_7:
            self.routes.add(record["name"])
        self.sync(record)
        return record

    def update(self, identity: int, given: dict[str, Any]) -> dict[str, Any]:
        record = self.model(identity)
        record.update(self.validated(given))
        self.sync(record)
        return record

    def delete(self, identity: int) -> None:
        record = self.model(identity)
        self.models.remove(record)
        self.routes.discard(record["name"])
        self.instances = [each for each in self.instances if each["model_id"] != identity]

    def model(self, identity: int) -> dict[str, Any]:
        found = next((each for each in self.models if each["id"] == identity), None)
        if found is None:
            raise Refused(404, "Model not found")
        return found

    def sync(self, record: dict[str, Any]) -> None:
        """As the controller does: the backend's own label, categories that were found out, and as many instances as replicas."""
        if self.of is V0_7 and not record["worker_selector"] and not record["gpu_selector"] and record["backend"] == "vllm":
            record["worker_selector"] = {"os": "linux"}
        record["categories"] = record["categories"] or ["llm"]
        own = [each for each in self.instances if each["model_id"] == record["id"]]
        for each in own[record["replicas"] :]:
            if self.lingering:
                self.lingering -= 1
            else:
                self.instances.remove(each)
        for _number in range(record["replicas"] - len(own)):
            self.instances.append(
                {
                    "id": self.next(),
                    "name": f"{record['name']}-x{self.number}",
                    "model_id": record["id"],
                    "model_name": record["name"],
                    "worker_id": 1,
                    "worker_name": "atlas1",
                    "state": "pending",
                    "state_message": None,
                    "download_progress": None,
                    "restart_count": 0,
                    "distributed_servers": None,
                }
            )

    def look(self) -> list[dict[str, Any]]:
        for each in self.instances:
            steps = self.life.get(each["model_name"], [{"state": "running"}])
            place = each.setdefault("_step", 0)
            each.update(steps[min(place, len(steps) - 1)])
            each["_step"] += 1
        return [{key: value for key, value in each.items() if key != "_step"} for each in self.instances]

    def worker_records(self) -> list[dict[str, Any]]:
        return [
            {
                "id": number,
                "name": name,
                "state": "ready",
                "cluster_id": 1 if self.of is V2 else None,
                "labels": {"worker-name": name},
                "status": {
                    "gpu_devices": [
                        {
                            "type": self.of.kind,
                            "index": index,
                            "name": "910B4",
                            "driver_version": "25.2.0" if self.of is V2 else None,
                            "memory": {"total": 34359738368},
                        }
                        for index in range(npus)
                    ]
                },
            }
            for number, (name, npus) in enumerate(self.workers.items(), 1)
        ]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self.act("GET")

    def do_POST(self) -> None:
        self.act("POST")

    def do_PUT(self) -> None:
        self.act("PUT")

    def do_DELETE(self) -> None:
        self.act("DELETE")

    def act(self, method: str) -> None:
        cluster: Cluster = self.server.cluster
        length = int(self.headers.get("Content-Length") or 0)
        sent = json.loads(self.rfile.read(length)) if length else None
        url = urllib.parse.urlsplit(self.path)
        cluster.asked.append((method, url.path, sent))
        try:
            if url.path == "/version":
                return self.answer(200, {"version": cluster.of.version})
            if url.path.startswith("/v1/") and method == "POST" and not url.path.startswith(cluster.of.prefix + "/models"):
                return self.infer(cluster, url.path, sent, BASIC if cluster.of is V0_7 else f"Bearer {TOKEN}")
            if url.path.startswith("/v2/benchmark-proxy/v1/") and cluster.entrance:
                return self.infer(cluster, url.path.removeprefix("/v2/benchmark-proxy"), sent, BASIC)
            if self.headers.get("Authorization") != BASIC:
                raise Refused(401, "Invalid authentication credentials")
            return self.manage(cluster, method, url.path.removeprefix(cluster.of.prefix), sent, urllib.parse.parse_qs(url.query))
        except Refused as refused:
            return self.answer(refused.status, {"code": refused.status, "reason": "x", "message": str(refused)})

    def manage(self, cluster: Cluster, method: str, path: str, sent: Any, query: dict[str, list[str]]) -> None:
        if path.startswith("/model-instances/") and path.endswith("/logs"):
            return self.answer(200, (cluster.logs.pop(0) if cluster.logs else cluster.log).encode())
        lists = {"/models": lambda: cluster.models, "/model-instances": cluster.look, "/workers": cluster.worker_records, "/users": list}
        if method == "GET" and path in lists:
            return self.page(lists[path](), query)
        if method == "POST" and path == "/models":
            return self.answer(200, cluster.create(sent))
        identity = path.rpartition("/")[2]
        if path.startswith("/models/") and identity.isdigit() and method in ("PUT", "DELETE"):
            return self.answer(200, cluster.update(int(identity), sent) if method == "PUT" else cluster.delete(int(identity)))
        raise Refused(404, "Not Found")

    def infer(self, cluster: Cluster, path: str, sent: Any, expected: str) -> None:
        if self.headers.get("Authorization") != expected:
            raise Refused(401, "Invalid authentication credentials")
        untold = expected != BASIC and sent["model"] in cluster.fresh
        if untold or sent["model"] in cluster.deaf or sent["model"] not in cluster.routes:
            return self.answer(404, {"error": {"message": "Model not found", "code": 404}})
        if path == "/v1/embeddings":
            return self.answer(200, {"data": [{"embedding": [0.1, 0.2]}]})
        if path == "/v1/rerank":
            return self.answer(200, {"results": [{"index": 0, "relevance_score": 0.9}]})
        words = ["One", " two", " three"]
        chunks = [{"choices": [{"delta": {"content": word}}]} for word in words]
        usage = {"choices": [], "usage": {"completion_tokens": 3, "prompt_tokens": 5}}
        stream = "".join(f"data: {json.dumps(each)}\n\n" for each in (*chunks, usage)) + "data: [DONE]\n\n"
        return self.answer(200, stream.encode(), "text/event-stream")

    def page(self, items: list[dict[str, Any]], query: dict[str, list[str]]) -> None:
        page, size = int(query["page"][0]), int(query["perPage"][0])
        pagination = {"page": page, "perPage": size, "total": len(items), "totalPage": -(-len(items) // size)}
        self.answer(200, {"items": items[::-1][(page - 1) * size : page * size], "pagination": pagination})

    def answer(self, status: int, body: Any, kind: str = "application/json") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments: Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    cluster: Cluster


@contextmanager
def running(cluster: Cluster) -> Iterator[str]:
    """The URL at which a cluster answers."""
    with Server(("127.0.0.1", 0), Handler) as server:
        server.cluster = cluster
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
