"""The services of a stack: what is filled in, what is refused with which words, and the compose file that Docker gets."""

from __future__ import annotations

import json
import pathlib
import re

import pytest
from ansible_collections.ascend.gpustack.plugins.filter import vllm_stack as filters
from ansible_collections.ascend.gpustack.plugins.module_utils.swarm import stack as swarm_stack
from ansible_collections.ascend.gpustack.plugins.plugin_utils import rules
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.variables import role_rules
from hypothesis import given
from hypothesis import strategies as st

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEFAULTS = {"image": "quay.io/ascend/vllm-ascend:v0.9.2rc1", "start_period": 1800, "shm_gib": 16}
BOUNDS = {"name": "vllm", "store": "/data/models", "port": 8000, "stats_port": 8404, "missing": []}
SETTINGS = {**BOUNDS, "gateway_image": "haproxy:2.6", "config": "vllm_gateway_0f1e", "api_key": "", "tls": ""}
FIVE = {f"atlas{number}": 8 for number in range(1, 6)}
QWEN = {
    "name": "qwen",
    "model": "Qwen/Qwen3-30B-A3B",
    "npus": 4,
    "port": 8001,
    "max_model_len": 32768,
    "args": ["--enable-expert-parallel"],
}
CODER = {"name": "coder", "model": "Qwen/Qwen2.5-Coder-32B-Instruct", "npus": "4", "port": "8002"}


def filled(*services) -> list:
    return filters.vllm_stack_services(list(services), DEFAULTS)


def refusals(*services, nodes=FIVE, **bounds) -> list[str]:
    return filters.vllm_stack_refusals(filled(*services), nodes, {**BOUNDS, **bounds})


def compose(*services, **settings) -> dict:
    return filters.vllm_stack_compose(filled(*services), {**SETTINGS, **settings})


def test_services_of_the_guide_are_not_refused():
    assert refusals(QWEN, CODER) == []


@pytest.mark.parametrize(
    ("hosts", "bounded"),
    [
        (["json-file none", "json-file max-size", ""], True),
        (["json-file max-size"], False),
        (["json-file none", "journald none"], False),
        (["local none"], False),
        (["unknown none"], False),
        ([], False),
    ],
)
def test_logs_are_bounded_where_docker_would_write_without_end_and_no_host_has_another_driver(hosts, bounded):
    services = compose(QWEN, logs=hosts)["services"]
    expected = {"driver": "json-file", "options": {"max-size": "100m", "max-file": "3"}} if bounded else None
    assert [service.get("logging") for service in services.values()] == [expected, expected]
    assert swarm_stack.wanted(compose(QWEN, logs=hosts)) == swarm_stack.wanted(compose(QWEN))


def test_numbers_that_came_as_text_are_numbers_and_defaults_follow_from_what_was_given():
    (coder,) = filled(CODER)
    assert (coder["npus"], coder["port"], coder["tensor_parallel_size"]) == (4, 8002, 4)
    assert (coder["served_name"], coder["image"], coder["start_period"]) == (CODER["model"], DEFAULTS["image"], 1800)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"npus": 16}, "service qwen needs 16 NPUs on every host, and atlas1 has 8; expected 8 at most"),
        ({"npus": 6}, "the services qwen and coder together need 10 NPUs on every host"),
        ({"npus": 6, "replicas": 1}, "service qwen asks for 1 replicas, each on a host of its own with 6 NPUs"),
        ({"replicas": 6}, "there are 5 such hosts"),
        ({"port": 8002}, "port 8002 is asked for by service qwen and service coder; expected a port of its own"),
        ({"port": 8000}, "port 8000 is asked for by the gateway (vllm_stack_port) and service qwen"),
        ({"port": 8404}, "port 8404 is asked for by its statistics (vllm_stack_stats_port) and service qwen"),
        ({"name": "coder"}, "2 services have the name coder"),
        ({"served_name": CODER["model"]}, f"2 services have the served_name {CODER['model']}"),
        ({"served_name": "the model"}, "has the served_name 'the model'; expected letters, digits and / . _ : @ + -"),
        ({"tensor_parallel_size": 3}, "tensor_parallel_size 3 with npus 4; expected one of 1, 2, 4"),
        ({"tensor_parallel_size": 8}, "tensor_parallel_size 8 with npus 4"),
        ({"name": "q" * 60}, "expected 63 characters at most"),
        ({"model": "../../etc"}, "expected a directory below the store /data/models"),
        ({"model": "/data/model/x"}, "expected a directory below the store /data/models"),
    ],
)
def test_request_that_can_not_be_fulfilled_is_refused_in_one_sentence_with_a_remedy(changes, words):
    (problem,) = refusals({**QWEN, **changes}, CODER)
    assert words in problem
    assert re.search(r"; expected .*\. [A-Z].*\.\Z", problem)


def test_all_that_is_wrong_is_said_at_once():
    problems = refusals({**QWEN, "model": "/etc"}, {**CODER, "tensor_parallel_size": "3"}, stats_port=8000)
    assert [problem.partition(";")[0] for problem in problems] == [
        "service qwen has the model '/etc'",
        "service coder has tensor_parallel_size 3 with npus 4",
        "vllm_stack_port and vllm_stack_stats_port are both 8000",
    ]


def test_missing_model_is_refused_with_its_path():
    (problem,) = refusals(QWEN, CODER, missing=["/data/models/Qwen/Qwen3-30B-A3B"])
    assert problem.startswith("service qwen: the model's directory /data/models/Qwen/Qwen3-30B-A3B is not in the store; expected")


def test_empty_list_and_swarm_without_npus_are_refused():
    assert "vllm_stack_services is empty" in refusals()[0]
    assert "no host of the Swarm offers NPUs" in refusals(QWEN, nodes={"atlas1": 0})[0]


def test_hosts_of_a_swarm_that_is_yet_to_come_are_not_asked_for():
    assert refusals({**QWEN, "npus": 16}, nodes=None) == []


def test_host_with_fewer_npus_limits_services_on_every_host_and_not_those_with_replicas():
    nodes = {**FIVE, "atlas3": 4, "atlas5": 0}
    assert "and atlas3 has 4; expected 4 at most" in refusals(QWEN, CODER, nodes=nodes)[0]
    assert refusals(QWEN, {**CODER, "replicas": 3}, nodes=nodes) == []
    assert "there are 3 such hosts" in refusals(QWEN, {**CODER, "replicas": 4}, nodes=nodes)[0]


def test_services_with_replicas_are_counted_together():
    one, other = {**QWEN, "npus": 8, "replicas": 3}, {**CODER, "npus": 8, "replicas": 3}
    assert refusals(one, {**other, "replicas": 2}) == []
    assert "together need 48 NPUs, and beside the services on every host 40 are left" in refusals(one, other)[0]


@pytest.mark.parametrize(
    "model, directory, inside",
    [
        ("Qwen/Qwen3", "/data/models/Qwen/Qwen3", "/models/Qwen/Qwen3"),
        ("/data/models/Qwen/Qwen3/", "/data/models/Qwen/Qwen3", "/data/models/Qwen/Qwen3"),
        ("/models/Qwen3", "/data/models/Qwen3", "/models/Qwen3"),
    ],
)
def test_model_is_one_directory_on_the_host_and_in_the_container(model, directory, inside):
    service = {**QWEN, "model": model}
    assert filters.vllm_stack_models(filled(service), "/data/models/") == [directory]
    assert compose(service)["services"]["qwen"]["command"][2] == inside


def test_service_gets_what_swarm_honours_and_nothing_that_it_ignores():
    qwen = compose(QWEN, CODER)["services"]["qwen"]
    assert qwen["command"] == [
        *("vllm", "serve", "/models/Qwen/Qwen3-30B-A3B", "--served-model-name", "Qwen/Qwen3-30B-A3B", "--tensor-parallel-size", "4"),
        *("--port", "8001", "--max-model-len", "32768", "--enable-expert-parallel"),
    ]
    assert not {"entrypoint", "devices", "shm_size", "privileged", "ipc", "network_mode", "restart"} & set(qwen)
    assert qwen["volumes"] == [
        {"type": "tmpfs", "target": "/dev/shm", "tmpfs": {"size": 16 * 2**30}},
        {"type": "bind", "source": "/data/models", "target": "/data/models", "read_only": True},
        {"type": "bind", "source": "/data/models", "target": "/models", "read_only": True},
        {"type": "volume", "source": "qwen_cache", "target": "/root/.cache"},
    ]
    deploy = qwen["deploy"]
    assert deploy["resources"]["reservations"]["generic_resources"] == [{"discrete_resource_spec": {"kind": "NPU", "value": 4}}]
    assert (deploy["mode"], deploy["placement"]) == ("global", {"constraints": ["node.labels.gpustack.npu == true"]})
    assert (deploy["update_config"]["parallelism"], deploy["update_config"]["order"]) == (1, "stop-first")
    assert qwen["healthcheck"]["start_period"] == "1800s"
    assert qwen["environment"]["HF_HUB_OFFLINE"] == "1"


def test_replicas_never_share_a_host():
    deploy = compose({**QWEN, "replicas": 2})["services"]["qwen"]["deploy"]
    assert (deploy["mode"], deploy["replicas"], deploy["placement"]["max_replicas_per_node"]) == ("replicated", 2, 1)


def test_store_at_models_is_mounted_once():
    volumes = compose(QWEN, store="/models")["services"]["qwen"]["volumes"]
    assert [volume["target"] for volume in volumes if volume["type"] == "bind"] == ["/models"]


def test_environment_of_the_user_comes_before_the_defaults():
    assert compose({**QWEN, "env": {"HF_HUB_OFFLINE": 0}})["services"]["qwen"]["environment"]["HF_HUB_OFFLINE"] == "0"


def test_gateway_has_only_the_secrets_that_there_are_and_is_root_only_for_low_ports():
    plain = compose(QWEN)
    assert "secrets" not in plain and "secrets" not in plain["services"]["gateway"] and "user" not in plain["services"]["gateway"]
    both = compose(QWEN, api_key="vllm_key_1", tls="vllm_tls_1", port=443)
    assert both["secrets"] == {
        "gateway_api_key": {"external": True, "name": "vllm_key_1"},
        "gateway_tls": {"external": True, "name": "vllm_tls_1"},
    }
    assert [secret["target"] for secret in both["services"]["gateway"]["secrets"]] == ["gateway_api_key", "gateway_tls"]
    assert both["services"]["gateway"]["user"] == "root"


def test_report_says_what_is_where():
    info = {"services": [{"name": "qwen", "running": 2, "wanted": 5, "hosts": ["atlas1", "atlas2"]}]}
    assert filters.vllm_stack_report(info, filled(QWEN), "http://172.16.33.106:8000/v1") == [
        "qwen (Qwen/Qwen3-30B-A3B, port 8001): 2 of 5 healthy: atlas1, atlas2",
        "The models are at http://172.16.33.106:8000/v1",
    ]


RULE = {"is": "list", "of": role_rules(str(ROOT / "roles"), ())["vllm_stack_services"]["of"]}
SCALARS = st.one_of(
    st.none(),
    st.integers(0, 9),
    st.sampled_from(["4", "a", "/models/x", "a/b:1", "../x"]),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text("aA_", max_size=3), st.one_of(st.integers(), st.text(max_size=3)), max_size=2),
)
GIVEN = st.dictionaries(st.sampled_from(sorted(RULE["of"]["keys"])), SCALARS, max_size=3)


@given(st.lists(GIVEN.map(lambda given: {**QWEN, **given}), min_size=1, max_size=2), st.none() | st.just(FIVE))
def test_what_the_rules_let_pass_ends_in_sentences_or_in_a_compose_file(given_services, nodes):
    if any(rules.judge(given_services, RULE)):
        return
    services = filled(*given_services)
    filters.vllm_stack_models(services, "/data/models")
    problems = filters.vllm_stack_refusals(services, nodes, BOUNDS)
    assert all(isinstance(problem, str) and "; expected" in problem for problem in problems)
    if not problems:
        json.dumps(filters.vllm_stack_compose(services, SETTINGS))


SERVICE = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True).filter(lambda name: name != "gateway"),
        "model": st.from_regex(r"[A-Za-z]{1,8}/[A-Za-z0-9.]{1,8}[a-z]", fullmatch=True),
        "npus": st.integers(1, 8),
        "port": st.integers(9000, 9100),
    },
    optional={"replicas": st.integers(1, 6), "shm_gib": st.integers(1, 64), "args": st.lists(st.text(max_size=4), max_size=3)},
)


@given(st.lists(SERVICE, min_size=1, max_size=4), st.dictionaries(st.text("abc", min_size=1, max_size=2), st.integers(0, 16), max_size=6))
def test_what_is_not_refused_fits_on_the_hosts_and_every_setting_of_it_is_compared(services, nodes):
    wanted = filled(*services)
    if filters.vllm_stack_refusals(wanted, nodes, BOUNDS):
        return
    everywhere = sum(service["npus"] for service in wanted if not service["replicas"])
    hosts = [count for count in nodes.values() if count > 0]
    assert hosts and everywhere <= min(hosts)
    for service in wanted:
        if service["replicas"]:
            assert sum(count - everywhere >= service["npus"] for count in hosts) >= service["replicas"]
    assert len({service["port"] for service in wanted}) == len(wanted)
    described = swarm_stack.wanted(filters.vllm_stack_compose(wanted, SETTINGS))
    assert set(described) == {"gateway", *(service["name"] for service in wanted)}
