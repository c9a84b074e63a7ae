# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of GPUStack 2.2.3 and 2.3: gpustack/schemas/models.py, and what gpustack/routes/models.py refuses.

What the cluster token may write (gpustack/routes/routes.py and gpustack/api/tenant.py). As basic authentication of a user system/worker/…,
it stands for no account, and passes where an owner of the organization does: models, their instances and files, model routes and their
targets, benchmarks, and workers, whose labels and maintenance it may set and which it may delete. It may write no API key, since a key
needs an account, and may not read users. Models are asked for an answer by accounts alone (gpustack/server/services.py,
model_allowed_for_user): as a bearer the same token is the account of the cluster, which may ask all of them.
Which these are GPUStack keeps for ten minutes (GPUSTACK_SERVER_CACHE_TTL_SECONDS), and forgets of people alone when a model comes
(revoke_model_access_cache): a new model is not found until then. The benchmarks' entrance of 2.3 looks at no account
(mark_internal_inference).

A model needs a route to be asked at all, and one that is made with it goes with it. To delete a model deletes none of its files.
"""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.models_description import Backend, Models

MODELS = Models(
    backends={
        "vllm": Backend(
            "vLLM",
            parallel=("--tensor-parallel-size", "-tp", "--tp"),
            context=("--max-model-len",),
            memory=("--gpu-memory-utilization",),
            share=0.8,
            shared_memory=16,
            config=True,
            spreads=True,
            engine="vllm",
        ),
        "mindie": Backend(
            "MindIE",
            parallel=("--tensor-parallel-size",),
            context=("--max-seq-len",),
            memory=("--npu-memory-fraction",),
            share=0.8,
            shared_memory=16,
            config=True,
            spreads=True,
            engine="mindie",
        ),
        "sglang": Backend(
            "SGLang",
            parallel=("--tp-size", "--tensor-parallel-size", "--tp"),
            context=("--context-length",),
            memory=("--mem-fraction-static",),
            shared_memory=16,
            config=True,
            spreads=True,
            engine="sglang",
        ),
        "vox_box": Backend("VoxBox"),
        "custom": Backend("Custom"),
    },
    others=True,
    usual="vllm",
    gguf="vllm",
    speech="vox_box",
    unsent=(
        *("id", "created_at", "updated_at", "ready_replicas", "meta", "state", "state_message", "role_status", "stale", "degradations"),
        *("restarting_since", "has_stale_lora_instances"),
    ),
    untold=("cluster_id", "owner_principal_id", "distributable", "generic_proxy"),
    defaults={
        "restart_on_error": True,
        "placement_strategy": "spread",
        "access_policy": "authed",
        "revision_history_limit": 10,
    },
    refused=("--port", "--api-key", "--served-model-name"),
    asked={"chat": "/v1/chat/completions", "embedding": "/v1/embeddings", "rerank": "/v1/rerank"},
    per_instance="gpus_per_replica",
    # gpustack/worker/backends/base.py; without it 10 GiB
    shared_memory="GPUSTACK_MODEL_RUNTIME_SHM_SIZE_GIB",
    created={"enable_model_route": True},
    cluster="cluster_id",
    bearer=True,
    beside="/v2/benchmark-proxy",
)
