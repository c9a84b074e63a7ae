"""One cluster of GPUStack 2.3, in the order of its life."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
from conftest import Run, inspect, run_playbook, wait_until

HOSTS = ["atlas1", "atlas2", "atlas3"]
LIMIT = ("--limit", ",".join(HOSTS))
SECRETS = {"HF_TOKEN": "hf_VeryPrivate0815", "HTTPS_PROXY": "http://pruser:PrPass4711@198.18.0.9:3128"}
VARIABLES = {
    "gpustack_version": "2.3.0",
    "gpustack_runners": ["cann8.5-910b-vllm0.18.0"],
    "gpustack_env": {**SECRETS, "TZ": "Asia/Shanghai"},
    # The lab's own are 0.7's.
    "gpustack_server_config": {},
    "gpustack_worker_config": {},
}
# Files of GPUStack that hold a secret
FILES = ("token", "*_token", "jwt_secret_key", "postgres_root_pass")
MODEL = {
    "name": "tiny",
    "source": "local_path",
    "local_path": "/data/models/tiny",
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


@dataclass(frozen=True)
class Story:
    """The first check, and the runs that follow."""

    check: Run
    first: Run
    second: Run


def state(host) -> str:
    return host.check_output("docker ps --all --format '{{.Names}}'; docker volume ls -q; ls /etc/gpustack 2>/dev/null || true")


@pytest.fixture(scope="module")
def story(atlas) -> Story:
    before = [state(atlas(name)) for name in HOSTS]
    check = run_playbook("site", *LIMIT, "--check", "--diff", variables=VARIABLES)
    assert [state(atlas(name)) for name in HOSTS] == before
    return Story(
        check, run_playbook("site", *LIMIT, "-vvv", "--diff", variables=VARIABLES), run_playbook("site", *LIMIT, variables=VARIABLES)
    )


@pytest.fixture
def api(atlas, token):
    """A function from a path of the management API to its answer."""

    def ask(path: str, method: str = "GET", body: dict | None = None) -> dict:
        data = f"-H 'Content-Type: application/json' -d '{json.dumps(body)}'" if body is not None else ""
        command = f"printf 'user = \"system/worker/x:{token}\"' | curl -sS -K - -X {method} {data} 'http://127.0.0.1:8080/v2/{path}'"
        return json.loads(atlas("atlas1").check_output(command) or "{}")

    return ask


def test_check_of_empty_hosts_names_what_a_run_makes(story):
    assert story.check.rc == 0, story.check.failure
    for text in ("file /etc/gpustack/config.yaml: created", "volume gpustack-data: created", "container gpustack: created"):
        assert text in story.check.text, text


def test_three_workers_are_ready_with_eight_npus_each(story, workers):
    assert story.first.rc == 0, story.first.failure
    found = workers()
    assert {name: (worker["state"], len(worker["status"]["gpu_devices"])) for name, worker in found.items()} == dict.fromkeys(
        HOSTS, ("ready", 8)
    )


def test_second_run_changes_nothing(story):
    assert story.second.rc == 0, story.second.failure
    assert {name: counts["changed"] for name, counts in story.second.recap.items()} == dict.fromkeys(HOSTS, 0)


def test_no_secret_is_printed(story, token, atlas):
    secrets = [token, "PrPass4711", SECRETS["HF_TOKEN"]]
    for run in (story.check, story.first, story.second):
        assert not [secret for secret in secrets if secret in run.output]


@pytest.fixture(scope="module")
def model(story, atlas):
    """The name of the container of a model that runs, and its host."""
    atlas("atlas1").check_output(f"mkdir -p /data/models/tiny && echo '{json.dumps(CONFIG)}' > /data/models/tiny/config.json")
    return None


def test_model_answers_and_streams(model, api, atlas):
    api("models", "POST", MODEL)

    def running() -> dict:
        found = api("model-instances?perPage=100")["items"]
        return next((each for each in found if each["state"] == "running"), {})

    wait_until("the model runs", running, pause=3)
    ask = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    token = atlas("atlas1").check_output("docker exec gpustack cat /var/lib/gpustack/token")
    answer = atlas("atlas1").check_output(
        f"printf 'header = \"Authorization: Bearer {token}\"' | curl -sS -K - -H 'Content-Type: application/json' "
        f"-d '{json.dumps(ask)}' http://127.0.0.1:8080/v1/chat/completions"
    )
    assert answer.count("data: {") > 2 and "data: [DONE]" in answer


def test_models_container_holds_no_secret(model, api, atlas, token):
    (instance,) = [each for each in api("model-instances?perPage=100")["items"] if each["state"] == "running"]
    host = atlas(instance["worker_name"])
    (name,) = re.findall(r"^tiny-\S+-run-0$", host.check_output("docker ps --format '{{.Names}}'"), flags=re.M)
    described = json.dumps(inspect(host, name))
    names = " -o ".join(f"-name '{each}'" for each in FILES)
    files = host.check_output(f'docker exec {name} sh -c "cat /proc/1/environ; find / -xdev {names} 2>/dev/null"')
    for secret in (token, "PrPass4711", SECRETS["HF_TOKEN"]):
        assert secret not in described and secret not in files
    assert not re.search(r"worker_token|jwt_secret_key|postgres_root_pass", files)
