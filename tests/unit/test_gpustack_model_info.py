"""Models are told as they are said, waited for in words, given up with their own last lines, and asked as their users ask."""

from __future__ import annotations

import json
from typing import Any

import fake_gpustack
import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import api as gpustack_api
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import model_answer, model_files, models_watch
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.models_api import ModelsClient
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result, run
from ansible_collections.ascend.gpustack.plugins.modules import gpustack_model_info
from fake_gpustack import TOKEN, V0_7, V2, Cluster
from test_gpustack_model import QWEN, Clock, change

PARAMS = {
    "names": [],
    "wait": 0,
    "ask_url": None,
    "ask_timeout": 5,
    "files": [],
    "token": TOKEN,
    "validate_certs": True,
    "ca_path": None,
}


@pytest.fixture(params=[V0_7, V2], ids=["0.7", "2.3"])
def cluster(request):
    found = Cluster(request.param)
    with fake_gpustack.running(found) as url:
        found.url = url
        yield found


def client(cluster: Cluster) -> ModelsClient:
    return ModelsClient(cluster.url, gpustack_api.fetcher(TOKEN), 10)


def look(cluster: Cluster, clock: Clock | None = None, **params: Any) -> dict[str, Any]:
    return gpustack_model_info.gather(client(cluster), {**PARAMS, **params}, run, clock or Clock())


def test_models_come_back_as_they_were_said(cluster):
    change(cluster, **QWEN)
    change(cluster, name="bge-m3", path="/data/models/bge-m3", npus=1, categories=["embedding"], env={"HF_TOKEN": "abcdef123456"})
    found = look(cluster)
    assert found["models"] == [
        {**QWEN, "categories": ["llm"]},
        {
            "name": "bge-m3",
            "path": "/data/models/bge-m3",
            "npus": 1,
            "env": {"HF_TOKEN": "{{ vault_bge_m3_hf_token }}"},
            "categories": ["embedding"],
        },
    ]
    assert (found["ok"], found["pending"], found["version"]) == (True, False, cluster.of.version)
    assert found["workers"][0] == {
        "name": "atlas1",
        "chips": list(range(8)),
        "chip": "910B4",
        "memory_mib": 32768,
        "driver": "25.2.0" if cluster.of is V2 else "",
    }


def test_a_model_that_loads_is_waited_for(cluster):
    change(cluster, **QWEN)
    cluster.life["qwen3-32b"] = [
        {"state": "downloading", "download_progress": 40.4},
        {"state": "starting", "download_progress": 100},
        {"state": "running"},
    ]
    assert look(cluster, names=["qwen3-32b"])["progress"] == "qwen3-32b is downloaded on atlas1, 40 %"
    found = look(cluster, names=["qwen3-32b"], wait=60)
    assert (found["ok"], found["pending"], found["progress"]) == (True, False, "")


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (
            {"state": "pending", "state_message": "No workers meet the selector.", "worker_name": None},
            "waits for NPUs: No workers meet the selector",
        ),
        ({"state": "scheduled"}, "is prepared on atlas1"),
        ({"state": "starting"}, "starts on atlas1"),
        ({"state": "error", "state_message": "exit code 1"}, "failed on atlas1 and is started again: exit code 1"),
        ({"state": "something new"}, "something new"),
    ],
)
def test_what_a_model_does_is_said_in_words(cluster, step, words):
    change(cluster, **QWEN)
    cluster.life["qwen3-32b"] = [step]
    found = look(cluster, names=["qwen3-32b"])
    assert found["progress"] == f"qwen3-32b {words}"
    assert found["problems"] == [
        f"model qwen3-32b: it does not run yet, and {words}; expected it to run. See its log on GPUStack's page, or wait longer"
    ]


def test_a_model_that_fails_again_ends_the_wait_with_its_log(cluster):
    change(cluster, **QWEN)
    cluster.life["qwen3-32b"] = [{"state": "starting"}, {"state": "error", "state_message": "exit code 1.", "restart_count": 1}]
    cluster.log = "\x1b[31mINFO start\x1b[0m\n\nValueError: token=abcdef0123456789 no memory\n"
    clock = Clock()
    found = look(cluster, clock, names=["qwen3-32b"], wait=600)
    (problem,) = found["problems"]
    name = cluster.instances[0]["name"]
    assert problem == (
        f"model qwen3-32b: its instance {name} has failed on atlas1 (exit code 1); expected it to run. Its log ends with:\n"
        "  INFO start\n  ValueError: token=*** no memory"
    )
    assert clock.time < 10 and found["pending"] is False


def test_log_that_began_anew_while_it_was_read_is_waited_for(cluster):
    change(cluster, **QWEN)
    again = {"restart_count": 2}
    cluster.life["qwen3-32b"] = [{"state": "error", "restart_count": 1}, {"state": "starting", **again}, {"state": "error", **again}]
    read = cluster.logs = ["INFO start", "INFO start", "INFO start\nValueError: no memory"]
    (problem,) = look(cluster, names=["qwen3-32b"], wait=600)["problems"]
    assert problem.endswith("  INFO start\n  ValueError: no memory") and not read


def test_a_first_failure_is_not_the_end_unless_gpustack_gives_up(cluster):
    change(cluster, **QWEN)
    cluster.life["qwen3-32b"] = [{"state": "error"}, {"state": "running", "restart_count": 1}]
    assert look(cluster, names=["qwen3-32b"], wait=60)["ok"] is True
    change(cluster, name="other", path="/data/models/other", settings={"restart_on_error": False})
    cluster.life["other"] = [{"state": "error"}]
    assert "has failed" in look(cluster, names=["other"], wait=60)["problems"][0]


def test_a_wait_ends_at_its_time(cluster):
    change(cluster, **QWEN, replicas=2)
    cluster.life["qwen3-32b"] = [{"state": "starting"}]
    clock = Clock()
    found = look(cluster, clock, names=["qwen3-32b"], wait=60)
    assert found["progress"] == "qwen3-32b starts on atlas1 (0 of 2 run)" and 60 <= clock.time < 70
    assert found["pending"] is True


def test_a_stopped_model_is_as_it_should_be_and_a_missing_one_is_not(cluster):
    change(cluster, **QWEN, replicas=0)
    found = look(cluster, names=["qwen3-32b", "gone"], ask_url=cluster.url)
    assert found["problems"] == ["model gone: GPUStack does not have it; expected it there. Run the playbook models again"]
    assert found["answers"] == {}


def test_each_model_is_asked_by_its_category(cluster):
    for name, category in (("chat", "llm"), ("vectors", "embedding"), ("rank", "reranker"), ("pictures", "image")):
        change(cluster, name=name, path=f"/data/models/{name}", categories=[category])
    found = look(cluster, names=["chat", "vectors", "rank", "pictures"], ask_url=cluster.url)
    assert {name: (answer["ok"], answer["kind"]) for name, answer in found["answers"].items()} == {
        "chat": (True, "chat"),
        "vectors": (True, "embedding"),
        "rank": (True, "rerank"),
        "pictures": (None, "none"),
    }
    assert found["answers"]["chat"]["first_token_ms"] >= 0 and found["problems"] == []


def test_a_model_that_does_not_answer_is_a_problem(cluster):
    change(cluster, **QWEN)
    cluster.deaf = ("qwen3-32b",)
    clock = Clock()
    asked = model_answer.Asked(cluster.url, TOKEN, 5)
    watched = client(cluster)
    watched.version()
    answer = model_answer.ask(asked, watched.generation.models, "qwen3-32b", ["llm"], clock.now, clock.sleep)
    assert answer == model_answer.Answer(False, "chat", error="404: Model not found")
    assert clock.time == model_answer.PATIENCE


@pytest.mark.parametrize("entrance", [True, False])
def test_a_new_model_that_the_token_s_account_is_not_told_of_is_asked_elsewhere_and_is_no_problem(cluster, entrance):
    """Which models it may ask GPUStack 2 keeps for ten minutes."""
    change(cluster, **QWEN)
    cluster.fresh, cluster.entrance = ("qwen3-32b",), entrance
    clock, watched = Clock(), client(cluster)
    watched.version()
    answer = model_answer.ask(
        model_answer.Asked(cluster.url, TOKEN, 5), watched.generation.models, "qwen3-32b", ["llm"], clock.now, clock.sleep
    )
    if cluster.of is V2 and not entrance:
        assert answer == model_answer.Answer(None, "chat", error=model_answer.NEW)
    else:
        assert answer.ok and clock.time <= model_answer.PAUSE


class Stream:
    """Lines that come a tenth of a second after one another."""

    def __init__(self, *lines: Any) -> None:
        self.lines = [line if isinstance(line, bytes) else b"data: " + json.dumps(line).encode() for line in lines]
        self.time = 0.0

    def readline(self, _limit: int) -> bytes:
        self.time += 0.1
        return self.lines.pop(0) + b"\n" if self.lines else b""

    def now(self) -> float:
        return self.time


def word(text: str) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}}]}


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        (
            [
                {"choices": [{"delta": {"role": "assistant"}}]},
                word("a"),
                b"",
                word("b"),
                {"choices": [], "usage": {"completion_tokens": 5}},
            ],
            model_answer.Answer(True, "chat", 200, 20.0),
        ),
        ([word("a"), word("b"), b"data: [DONE]", word("c")], model_answer.Answer(True, "chat", 100, 10.0)),
        ([{"choices": [{"delta": {"reasoning_content": "a"}}]}], model_answer.Answer(True, "chat", 100, None)),
        ([{"error": {"message": "no"}}], model_answer.Answer(False, "chat", error="{'message': 'no'}")),
        ([b": ping", b"data: nonsense"], model_answer.Answer(False, "chat", error="it answered without a word")),
    ],
    ids=["usage", "done", "thinking", "error", "nothing"],
)
def test_time_to_first_token_and_speed_are_those_of_the_stream(lines, answer):
    stream = Stream(*lines)
    assert model_answer._streamed(stream, 0.0, 100.0, stream.now) == answer


def test_a_stream_that_does_not_end_is_left():
    stream = Stream(*[word("a")] * 1000)
    assert model_answer._streamed(stream, 0.0, 1.0, stream.now).ok is True
    assert stream.time < 1.2


@pytest.mark.parametrize(
    ("config", "heads"),
    [
        ({"num_attention_heads": 40}, 40),
        ({"text_config": {"num_attention_heads": 16}}, 16),
        ({"thinker_config": {"text_config": {"num_attention_heads": 8}}}, 8),
        ({"num_attention_heads": "40"}, None),
        ([], None),
        ("{", None),
    ],
)
def test_attention_heads_are_read_wherever_a_model_keeps_them(tmp_path, config, heads):
    (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    (tmp_path / "a.safetensors").write_bytes(b"x" * (1024 * 1024 + 1))
    (tmp_path / "b.safetensors").write_bytes(b"x" * 1024 * 1024)
    (tmp_path / "note.txt").write_bytes(b"x" * 4 * 1024 * 1024)
    assert model_files.read(run, str(tmp_path), 10) == model_files.Files("directory", True, heads, 3)


def test_what_is_no_folder_of_a_model_is_told(tmp_path):
    (tmp_path / "q.gguf").write_text("x")
    assert model_files.read(run, str(tmp_path / "q.gguf"), 10) == model_files.Files("file")
    assert model_files.read(run, str(tmp_path / "no"), 10) == model_files.Files("none")
    assert model_files.read(run, str(tmp_path), 10) == model_files.Files("directory")
    assert model_files.read(lambda argv, timeout: Result(-9, timed_out=True), "/data/models/q", 10) == model_files.Files("unknown")


def test_an_api_that_is_away_for_a_moment_does_not_end_the_wait(cluster, monkeypatch):
    change(cluster, **QWEN)
    watched, calls = client(cluster), []
    version = watched.version

    def flaky() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise gpustack_api.ApiError("timeout", "it sleeps")
        return version()

    monkeypatch.setattr(watched, "version", flaky)
    assert models_watch.wait(watched, ["qwen3-32b"], 10, Clock()).running == ["qwen3-32b"]
