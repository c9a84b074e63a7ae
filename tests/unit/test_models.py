"""A model is what its item says, in the words of either generation, and what GPUStack has is told as an item that says the same."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation, models, models_listed, parameters

V0_7, V2 = generation.DEPLOYED
GENERATIONS = pytest.mark.parametrize("of", [V0_7, V2], ids=lambda of: of.name)
WORKERS = {"atlas1": range(8), "atlas2": range(8)}
QWEN = {"name": "qwen3-32b", "path": "/data/models/Qwen/Qwen3-32B"}


def wanted(item: dict[str, Any], of=V2, before: dict | None = None) -> dict[str, Any]:
    return models.wanted(item, of, WORKERS, before)


def record(of=V2, **fields: Any) -> dict[str, Any]:
    """A model as the API answers it, made by a click on the page."""
    common = {
        "id": 4,
        "name": "qwen3-32b",
        "description": None,
        "meta": {"n_ctx": 8192},
        "source": "local_path",
        "local_path": "/data/models/Qwen/Qwen3-32B",
        "huggingface_repo_id": None,
        "huggingface_filename": None,
        "model_scope_model_id": None,
        "model_scope_file_path": None,
        "replicas": 1,
        "ready_replicas": 1,
        "categories": ["llm"],
        "placement_strategy": "spread",
        "cpu_offloading": False,
        "distributed_inference_across_workers": True,
        "worker_selector": {},
        "gpu_selector": None,
        "backend": of.models.backends["vllm"].name,
        "backend_version": None,
        "backend_parameters": [],
        "env": {},
        "restart_on_error": True,
        "distributable": False,
        "created_at": "2026-11-27T04:00:00Z",
        "updated_at": "2026-11-27T04:00:00Z",
    }
    later = {
        "gpu_type_selector": None,
        "image_name": None,
        "run_command": None,
        "native_anthropic_api": False,
        "extended_kv_cache": None,
        "speculative_config": None,
        "scaling_schedule": None,
        "generic_proxy": False,
        "lora_list": None,
        "roles": None,
        "cluster_id": 1,
        "owner_principal_id": 1,
        "access_policy": "authed",
        "revision_history_limit": 10,
        "state": "running",
        "stale": False,
    }
    return {**common, **(later if of is V2 else {"ollama_library_model_name": None, "embedding_only": False}), **fields}


@GENERATIONS
def test_a_folder_alone_is_a_model_for_32_gb(of):
    body = wanted(QWEN, of)
    assert (body["source"], body["local_path"]) == ("local_path", "/data/models/Qwen/Qwen3-32B")
    assert body["backend"] == {"0.7": "vllm", "2.3": "vLLM"}[of.name]
    assert body["backend_parameters"] == ["--gpu-memory-utilization=0.8"]
    assert body["env"] == {"0.7": {}, "2.3": {"GPUSTACK_MODEL_RUNTIME_SHM_SIZE_GIB": "16"}}[of.name]
    assert body["replicas"] == 1 and body["distributed_inference_across_workers"] is False
    assert "backend_version" not in body and "categories" not in body


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("vllm", ["--tensor-parallel-size=4", "--max-model-len=32768", "--gpu-memory-utilization=0.7", "--enforce-eager"]),
        ("mindie", ["--tensor-parallel-size=4", "--max-seq-len=32768", "--npu-memory-fraction=0.7", "--enforce-eager"]),
        ("sglang", ["--tp-size=4", "--context-length=32768", "--mem-fraction-static=0.7", "--enforce-eager"]),
    ],
)
def test_npus_context_and_memory_are_said_in_the_backend_s_words(backend, said):
    item = {**QWEN, "backend": backend, "npus": 4, "context": 32768, "memory": 0.7, "parameters": ["--enforce-eager"]}
    assert wanted(item)["backend_parameters"] == said


def test_what_is_left_to_the_backend_is_not_said():
    body = wanted({**QWEN, "memory": 0, "shared_memory": 0})
    assert body["backend_parameters"] == [] and body["env"] == {}


@pytest.mark.parametrize(
    ("item", "of", "name"),
    [
        ({"path": "/data/models/q.gguf"}, V0_7, "llama-box"),
        ({"hugging_face": "Qwen/Qwen3-8B-GGUF", "file": "q8.gguf"}, V0_7, "llama-box"),
        ({"path": "/data/models/whisper", "categories": ["speech_to_text"]}, V0_7, "vox-box"),
        ({"path": "/data/models/whisper", "categories": ["speech_to_text"]}, V2, "VoxBox"),
        ({"path": "/data/models/q", "backend": "my-engine"}, V2, "my-engine"),
    ],
)
def test_a_backend_follows_from_the_model(item, of, name):
    assert wanted({"name": "m", **item}, of)["backend"] == name


@GENERATIONS
def test_chips_are_named_as_the_generation_names_them(of):
    body = wanted({**QWEN, "npus": 2, "chips": {"atlas1": [0, 1]}}, of)
    kind = {"0.7": "npu", "2.3": "cann"}[of.name]
    number = {"0.7": {}, "2.3": {"gpus_per_replica": 2}}[of.name]
    assert body["gpu_selector"] == {"gpu_ids": [f"atlas1:{kind}:0", f"atlas1:{kind}:1"], **number}
    assert wanted({**QWEN, "chips": {"atlas1": [0], "atlas2": [0]}}, of)["distributed_inference_across_workers"] is True


@GENERATIONS
def test_one_host_is_a_label_and_several_are_their_npus(of):
    assert wanted({**QWEN, "hosts": ["atlas2"]}, of)["worker_selector"] == {"worker-name": "atlas2"}
    assert len(wanted({**QWEN, "hosts": ["atlas1", "atlas2"]}, of)["gpu_selector"]["gpu_ids"]) == 16


CLICKED = [
    {},
    {"backend_parameters": ["--max-model-len 32768", "--tp", "2", "--gpu-memory-utilization=0.80"]},
    {"backend_parameters": ["--trust-remote-code", "--hf-overrides", '{"a": 1}'], "env": {"HCCL_CONNECT_TIMEOUT": "7200"}},
    {"backend_parameters": ["--tensor-parallel-size=2", "--tensor-parallel-size=4"]},
    {"replicas": 0, "categories": [], "backend_version": "0.18.0", "description": "ours", "restart_on_error": False},
    {"worker_selector": {"worker-name": "atlas2"}, "distributed_inference_across_workers": False},
    {"worker_selector": {"rack": "r1"}},
    {"source": "model_scope", "local_path": None, "model_scope_model_id": "Qwen/Qwen3-8B-GGUF", "model_scope_file_path": "q8.gguf"},
    {"source": "huggingface", "local_path": None, "huggingface_repo_id": "Qwen/Qwen3-8B"},
    {"backend": None},
    {"env": None, "backend_parameters": None, "worker_selector": None},
]


@GENERATIONS
@pytest.mark.parametrize("clicked", CLICKED, ids=str)
def test_a_clicked_model_as_an_item_says_the_same(of, clicked):
    there = record(of, **clicked)
    item = models_listed.listed(there, of)
    assert models.differences(there, wanted(item, of, there), of.models) == [], item


@pytest.mark.parametrize(
    ("of", "clicked"),
    [
        (V0_7, {"gpu_selector": {"gpu_ids": ["atlas1:npu:1", "atlas1:npu:0"]}}),
        (V0_7, {"worker_selector": {"os": "linux"}}),
        (V0_7, {"source": "ollama_library", "local_path": None, "ollama_library_model_name": "qwen3", "backend": "llama-box"}),
        (V2, {"gpu_selector": {"gpu_ids": ["atlas1:cann:0", "atlas2:cann:7"], "gpus_per_replica": 2}}),
        (V2, {"gpu_selector": {"gpu_ids": [f"atlas1:cann:{number}" for number in range(8)], "gpus_per_replica": 2}}),
        (V2, {"gpu_selector": {"gpu_ids": None, "gpus_per_replica": 2}}),
        (V2, {"backend": "Custom", "image_name": "x:1", "run_command": "serve"}),
        (V2, {"backend": "my-engine", "env": {"GPUSTACK_MODEL_RUNTIME_SHM_SIZE_GIB": "64"}}),
        (V2, {"env": {"GPUSTACK_MODEL_RUNTIME_SHM_SIZE_GIB": "16"}}),
        (V2, {"env": {"GPUSTACK_MODEL_RUNTIME_SHM_SIZE_GIB": "all"}}),
        (V2, {"extended_kv_cache": {"enabled": True, "ram_ratio": 1.2, "mode": "local"}}),
        (V2, {"lora_list": [{"lora_name": "a", "source": "local_path", "local_path": "/data/models/a"}]}),
    ],
    ids=str,
)
def test_what_only_one_generation_has_survives_too(of, clicked):
    there = record(of, **clicked)
    item = models_listed.listed(there, of)
    assert models.differences(there, wanted(item, of, there), of.models) == [], item


@pytest.mark.parametrize(
    "item",
    [
        QWEN,
        {**QWEN, "npus": 4, "context": 32768, "memory": 0.7, "shared_memory": 64, "parameters": ["--enforce-eager"]},
        {**QWEN, "memory": 0, "shared_memory": 0, "replicas": 2, "env": {"TASK_QUEUE_ENABLE": "1"}},
        {**QWEN, "backend": "mindie", "version": "2.3.0", "hosts": ["atlas1"], "across_hosts": True},
        {**QWEN, "npus": 2, "chips": {"atlas1": [0, 1], "atlas2": [4, 5]}, "replicas": 2, "categories": ["embedding"]},
        {**QWEN, "settings": {"restart_on_error": False}},
    ],
    ids=str,
)
def test_an_item_comes_back_as_it_was_written(item):
    assert models_listed.listed(record(**wanted(item)), V2) == {**{"categories": ["llm"]}, **item}


@pytest.mark.parametrize(
    ("item", "fields"),
    [
        ({}, []),
        ({"npus": 2}, ["backend_parameters"]),
        ({"replicas": 2}, ["replicas"]),
        ({"env": {"TASK_QUEUE_ENABLE": "1"}}, ["env"]),
        ({"categories": ["embedding"]}, ["categories"]),
        ({"settings": {"restart_on_error": False}}, ["restart_on_error"]),
        ({"version": "0.18.0"}, ["backend_version"]),
        ({"path": "/data/models/other"}, ["local_path"]),
        ({"chips": {"atlas1": [0]}}, ["gpu_selector"]),
        ({"hosts": ["atlas1"]}, ["worker_selector"]),
    ],
    ids=str,
)
def test_what_is_said_otherwise_is_told_and_nothing_else(item, fields):
    there = record(**wanted(QWEN), backend_version="0.17.0")
    assert models.differences(there, wanted({**QWEN, **item}, before=there), V2.models) == fields


def test_another_backend_does_not_keep_the_version_of_the_old_one():
    there = record(backend_version="0.18.0", image_name="x:1")
    body = wanted({**QWEN, "backend": "mindie"}, before=there)
    assert (body["backend_version"], body["image_name"], body["run_command"]) == (None, None, None)
    assert wanted({**QWEN, "backend": "mindie", "version": "2.3.0"}, before=there)["backend_version"] == "2.3.0"


def test_a_secret_becomes_the_name_of_a_variable():
    item = {
        **QWEN,
        "env": {"HF_TOKEN": "hf_0123456789abcdefghijkl", "PROXY": "http://u:secret99@h", "TASK_QUEUE_ENABLE": "1"},
        "parameters": ["--api-key=sk-0123456789abcdefghijkl", "--ssl-key-token", "abc123", "--dtype=auto"],
        "settings": {"run_command": "serve --token abcdef0123456789"},
    }
    shown = models_listed.without_secrets(item)
    assert shown["env"] == {
        "HF_TOKEN": "{{ vault_qwen3_32b_hf_token }}",
        "PROXY": "{{ vault_qwen3_32b_proxy }}",
        "TASK_QUEUE_ENABLE": "1",
    }
    assert shown["parameters"] == [
        "--api-key={{ vault_qwen3_32b_api_key }}",
        "--ssl-key-token={{ vault_qwen3_32b_ssl_key_token }}",
        "--dtype=auto",
    ]
    assert shown["settings"] == {"run_command": "{{ vault_qwen3_32b_run_command }}"}


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        (["--a=1", "--b 2"], ["--b", "2", "--a", "1"], True),
        (["--a=1", "--a=2"], ["--a=2", "--a=1"], False),
        (["--flag"], ["--flag=true"], False),
        (["--seed", "-1"], ["--seed=-1"], True),
        (["--tp=2"], ["--tensor-parallel-size=2"], True),
        (["--x", "1", "2"], ["--x", "1"], False),
    ],
)
def test_parameters_are_compared_as_the_backend_reads_them(before, after, same):
    assert parameters.same(before, after, {"--tp": "--tensor-parallel-size"}) is same
