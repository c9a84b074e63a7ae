# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of GPUStack 0.7: gpustack/schemas/models.py, and what gpustack/routes/models.py refuses.

Whoever has the cluster token, as basic authentication of a user system/worker/…, is an administrator (gpustack/api/auth.py): it may write
models, instances, users and keys, and asks models at /v1/chat/completions as it asks for the rest. A model's files are records of their
own; to delete a model deletes none.
"""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.models_description import Backend, Models

MODELS = Models(
    backends={
        "vllm": Backend(
            "vllm",
            parallel=("--tensor-parallel-size", "-tp", "--tp"),
            context=("--max-model-len",),
            memory=("--gpu-memory-utilization",),
            share=0.8,
            config=True,
            spreads=True,
            engine="vllm",
        ),
        "mindie": Backend(
            "ascend-mindie",
            parallel=("--tensor-parallel-size",),
            context=("--max-seq-len",),
            memory=("--npu-memory-fraction",),
            share=0.8,
            config=True,
            spreads=True,
            engine="mindie",
        ),
        "llama_box": Backend("llama-box", context=("--ctx-size", "-c")),
        "vox_box": Backend("vox-box"),
    },
    usual="vllm",
    gguf="llama_box",
    speech="vox_box",
    unsent=("id", "created_at", "updated_at", "ready_replicas", "meta"),
    untold=("distributable", "embedding_only", "image_only", "reranker", "speech_to_text", "text_to_speech"),
    defaults={"restart_on_error": True, "placement_strategy": "spread"},
    refused=("--port",),
    asked={"chat": "/v1/chat/completions", "embedding": "/v1/embeddings", "rerank": "/v1/rerank"},
    # gpustack/server/controllers.py, set_default_worker_selector
    selector={"os": "linux"},
)
