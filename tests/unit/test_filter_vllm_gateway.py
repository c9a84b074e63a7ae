"""The text of the gateway's settings; what HAProxy makes of it is tested in tests/gateway."""

from __future__ import annotations

import json
import re

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.gpustack.plugins.filter.vllm_gateway import gateway_config

SERVICES = [
    {"name": "qwen", "served_name": "Qwen/Qwen3-30B-A3B", "port": 8001},
    {"name": "deepseek", "served_name": "deepseek-r1:32b", "port": 8002},
]
HOSTS = [{"name": "atlas1", "address": "172.16.33.106"}, {"name": "atlas2", "address": "fd00::2"}]
SETTINGS = {"port": 8000, "stats_port": 8404, "max_body": 4194304, "api_key": False, "tls": False, "check_interval_s": 5}


def sections(services: list | None = None, hosts: list | None = None, **settings) -> dict[str, list[str]]:
    """The lines of each section by its head."""
    found: dict[str, list[str]] = {}
    for line in gateway_config(services or SERVICES, hosts or HOSTS, {**SETTINGS, **settings}).splitlines():
        if line and line[0] not in " .":
            lines = found.setdefault(line, [])
        elif line:
            lines.append(line.strip())
    return found


def test_each_model_has_a_server_on_every_host():
    assert sections()["backend deepseek"] == [
        "balance leastconn",
        "option httpchk GET /health",
        "server atlas1 172.16.33.106:8002 tcp-ut 10s",
        "server atlas2 [fd00::2]:8002 tcp-ut 10s",
    ]


def test_services_of_one_model_share_its_requests():
    second = {**SERVICES[0], "name": "qwen-b", "port": 8003}
    found = sections([*SERVICES, second], HOSTS[:1])
    assert found["backend qwen"][2:] == [
        "server atlas1-qwen 172.16.33.106:8001 tcp-ut 10s",
        "server atlas1-qwen-b 172.16.33.106:8003 tcp-ut 10s",
    ]
    assert [head for head in found if head.startswith("backend")] == ["backend qwen", "backend deepseek"]
    models = [line for line in found["frontend gateway"] if "path /v1/models" in line]
    assert [model["id"] for model in json.loads(re.search("'(.*)'", models[0])[1])["data"]] == ["Qwen/Qwen3-30B-A3B", "deepseek-r1:32b"]


def test_buffer_takes_the_largest_body_and_its_headers():
    assert "tune.bufsize 1114112" in sections(max_body=1048576)["global"]


def test_key_and_certificate_are_asked_for_only_where_they_are_there():
    plain = gateway_config(SERVICES, HOSTS, SETTINGS)
    assert "/run/secrets" not in plain and "status 401" not in plain
    assert "bind *:8000 ssl crt /run/secrets/gateway_tls ssl-min-ver TLSv1.2 alpn http/1.1" in sections(tls=True)["frontend gateway"]
    (key,) = [line for line in sections(api_key=True)["frontend gateway"] if "status 401" in line]
    assert key.endswith("unless { req.fhdr(authorization) -m str -f /run/secrets/gateway_api_key }")


def test_a_check_ends_before_the_next_one():
    for interval, limit in ((5, 4), (2, 1), (1, 1)):
        defaults = sections(check_interval_s=interval)["defaults"]
        assert f"timeout check {limit}s" in defaults
        assert any(line.startswith(f"default-server check inter {interval}s fastinter 1s fall 3 rise 2 ") for line in defaults)


@pytest.mark.parametrize("name", ["Qwen 3", "qwen'", 'qwen"', "qwen\n", "qwen#1", "-m", "通义", "", "a%b", "$x", "a\\b"])
def test_model_that_could_be_something_else_in_the_settings_is_refused(name):
    with pytest.raises(AnsibleFilterError, match="a served_name is .*, which the gateway can't take; expected letters, digits and / "):
        gateway_config([{**SERVICES[0], "served_name": name}], HOSTS, SETTINGS)


@pytest.mark.parametrize(
    "services, hosts, found",
    [
        ([{**SERVICES[0], "name": "qwen 3"}], HOSTS, "the name of a service is 'qwen 3'"),
        (SERVICES, [{**HOSTS[0], "name": "atlas 1"}], "a host's name is 'atlas 1'"),
        (SERVICES, [{**HOSTS[0], "address": "10.0.0.1 check"}], "the address of atlas1 is '10.0.0.1 check'"),
    ],
)
def test_name_that_could_be_something_else_in_the_settings_is_refused(services, hosts, found):
    with pytest.raises(AnsibleFilterError, match=found):
        gateway_config(services, hosts, SETTINGS)


@pytest.mark.parametrize("name", ["Qwen/Qwen3-30B-A3B", "/models/qwen", "deepseek-r1:32b", "a.b_c@1+x", "5"])
def test_names_that_models_have_are_taken(name):
    found = sections([{**SERVICES[0], "served_name": name}])["frontend gateway"]
    assert f"use_backend qwen if {{ var(txn.model) -m str {name} }}" in found
