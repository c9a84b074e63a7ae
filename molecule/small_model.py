"""A model that the stand-in of vLLM serves in GPUStack 2, put on the NPUs of one's choice by its API."""

from __future__ import annotations

import base64
import json
import os

import openai
from conftest import wait_until

STORE = "/data/models/tiny"
RUNNER = "cann8.5-910b-vllm0.18.0"
MODEL = {
    "source": "local_path",
    "local_path": STORE,
    "backend": "vLLM",
    "backend_version": "0.18.0",
    "replicas": 1,
    "categories": ["llm"],
    "cluster_id": 1,
    "distributed_inference_across_workers": False,
    "enable_model_route": True,
}
# Of a small Qwen2, as far as GPUStack reads it
CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 896,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "num_hidden_layers": 24,
    "vocab_size": 151936,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
}


def deploy(ask, hosts: dict, npus: dict[str, int], any_version: tuple[str, ...] = ()) -> dict[str, str]:
    """Deploy a model on an NPU of each host that npus names, and wait until all run. ask: what conftest.api_of returns; any_version: hosts
    of which the model says no version of the engine.

    Returns the names of the containers by the hosts'; a model is called tiny-<host>.
    """
    first = next(iter(hosts.values()))
    first.check_output(f"mkdir -p {STORE} && echo '{json.dumps(CONFIG)}' > {STORE}/config.json")
    for host, npu in npus.items():
        chosen = {"name": f"tiny-{host}", "gpu_selector": {"gpu_ids": [f"{host}:cann:{npu}"], "gpus_per_replica": 1}}
        if host in any_version:
            chosen["backend_version"] = None
        ask("models", "POST", {**MODEL, **chosen})

    def states() -> list[str]:
        return [each["state"] for each in ask("model-instances?perPage=100")["items"]]

    wait_until("the models run", lambda: states() == ["running"] * len(npus), pause=3)
    return {host: hosts[host].check_output("docker ps --format '{{.Names}}' | grep -x 'tiny-.*-run-0'") for host in npus}


def chat(server, token: str, model: str, url: str) -> str:
    """What a model answers, as it is streamed."""
    ask = {"model": model, "messages": [{"role": "user", "content": "hello"}], "stream": True}
    return server.check_output(
        f"printf 'header = \"Authorization: Bearer {token}\"' | curl -ksS -K - -H 'Content-Type: application/json' "
        f"-d '{json.dumps(ask)}' {url}/v1/chat/completions"
    )


def client(token: str, base: str = "/v1", bearer: bool = True) -> openai.OpenAI:
    """OpenAI's own client at the address that users use, with the cluster token. bearer: as GPUStack 2 takes it; else as 0.7 does."""
    url = f"http://{os.environ.get('LAB_NET', '198.18.33')}.106:8080{base}"
    login = base64.b64encode(f"system/worker/x:{token}".encode()).decode()
    headers = {} if bearer else {"Authorization": f"Basic {login}"}
    return openai.OpenAI(base_url=url, api_key=token if bearer else "none", default_headers=headers, max_retries=0)


def hello(asked: openai.OpenAI, model: str, stream: bool = False) -> str:
    """What a model answers to OpenAI's client."""
    words = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    if not stream:
        return asked.chat.completions.create(**words).choices[0].message.content
    return "".join(part.choices[0].delta.content or "" for part in asked.chat.completions.create(stream=True, **words) if part.choices)
