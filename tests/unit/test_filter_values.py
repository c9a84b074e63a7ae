"""What users set is judged before any host is asked: each wrong value is one line with hosts, value, expectation and remedy."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.ascend.gpustack.plugins.plugin_utils import rules
from ansible_collections.ascend.gpustack.plugins.plugin_utils.collection import signature
from ansible_collections.ascend.gpustack.plugins.plugin_utils.given import _trusted as trusted
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight import checks, report, variables

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROLES = str(ROOT / "roles")
RULES = variables.role_rules(ROLES, checks.SKIPPABLE)
SPECS: dict[str, dict] = {}
for path in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")):
    SPECS |= yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"]
NAMES = sorted(SPECS)
GROUPS = {"gpustack_server": ["atlas1"], "gpustack_worker": ["atlas1", "atlas2"], "gpustack_store": ["atlas1"]}
DATE = datetime.date(2026, 1, 31)
PEM = "".join(f"-----BEGIN {what}-----\nMIIB\n-----END {what}-----\n" for what in ("CERTIFICATE", "PRIVATE KEY"))
# Secrets are no arguments of a command.
MAY_BEGIN_WITH_A_DASH = (
    "gpustack_backup_passphrase",
    "gpustack_bootstrap_password",
    "gpustack_registry_password",
    "gpustack_token",
    "vllm_stack_api_key",
    "vllm_stack_tls",
)
SERVICE = {"name": "a", "model": "m", "npus": 1, "port": 1}
# One of each kind; what fits some variable is left out for that one.
WRONG = {
    "nothing": None,
    "a number": 7,
    "a number as text": "7",
    "a negative number": -1,
    "a fraction": 0.7,
    "a boolean": True,
    "a date": DATE,
    "empty": "",
    "white space": " ",
    "around it": "8080 ",
    "between": "foo bar",
    "an option": "--help",
    "control characters": "a\nb\x00c",
    "a list": [None],
    "a mapping": {"-no such key": None},
    "a list of mappings": [{"no such key": 1}],
    "words": "one:two,three",
    "long": "a" * 70000,
}


def wrong(name: str, value: object) -> list[str]:
    return [f"{item.where} {item.found}; expected {item.expected}. {item.remedy}".strip() for item in rules.judge(value, RULES[name])]


def accepts(name: str, value: object) -> bool:
    """As the role's own argument validation, which no value may get to that it refuses."""
    return not ArgumentSpecValidator({name: SPECS[name]}).validate({name: value}).error_messages


def told(groups: dict | None = None, hosts: list[str] | None = None, **hostvars: dict) -> list[str]:
    groups = groups or GROUPS
    hostvars = {**{host: {} for each in groups.values() for host in each}, **hostvars}
    return report.value_problems(hosts or sorted(hostvars), hostvars, groups, ROLES)["report"][1:]


@pytest.mark.parametrize("name", NAMES)
def test_each_variable_has_a_rule_that_its_default_keeps(name):
    assert RULES[name]["is"] != "no rule"
    if "default" in SPECS[name]:
        assert wrong(name, SPECS[name]["default"]) == []


def test_rules_are_for_variables_that_there_are():
    for path in (ROOT / "roles").glob("*/meta/rules.yml"):
        options = yaml.safe_load((path.parent / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
        assert set(yaml.safe_load(path.read_text())) <= set(options)


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_let_pass_is_taken_by_ansible_and_what_can_not_be_is_refused(name, kind):
    value, spec = WRONG[kind], SPECS[name]
    found = wrong(name, value)
    if not found:
        assert accepts(name, value)
        kinds = {"str": str, "path": str, "list": list, "dict": dict, "bool": (bool, int), "int": (int, str)}
        words = RULES[name].get("words") and isinstance(value, str)
        # Ansible makes a text of a number.
        a_number = RULES[name].get("percent") and isinstance(value, int)
        assert words or a_number or isinstance(value, kinds[spec["type"]]), "a value of another kind passes"
        assert words or value in ("", "7", 7, True) or spec["type"] == "str", "a value that makes no sense passes"
    assert kind not in ("nothing", "a fraction", "a date", "white space", "control characters", "long") or found
    assert kind != "an option" or found or name in MAY_BEGIN_WITH_A_DASH


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("gpustack_port", 70000, "70000; expected a port from 1 to 65535"),
        ("gpustack_port", "abc", '"abc"; expected a port from 1 to 65535'),
        ("gpustack_port", "8080 ", "Remove the white space around it."),
        ("gpustack_wait", "abc", '"abc"; expected a whole number from 1 to 86400'),
        ("gpustack_wait", 0, "0; expected a whole number from 1 to 86400"),
        ("gpustack_wait", "-5", "expected a whole number from 1 to 86400"),
        ("gpustack_restart_at_once", 0, "expected a whole number from 1 to 10000, or a percentage such as 10%"),
        ("gpustack_restart_at_once", "101%", "expected a whole number from 1 to 10000, or a percentage such as 10%"),
        ("gpustack_version", "latest", '"latest"; expected a release of GPUStack, such as "2.3.0"'),
        ("gpustack_version", 0.7, "0.7; expected a release of GPUStack, such as \"2.3.0\", as a text. Put it in quotes."),
        ("gpustack_image", "foo bar", '"foo bar"; expected an image'),
        ("gpustack_image", "", 'expected an image'),
        ("gpustack_image", "--help", "and no dash before it"),
        ("gpustack_registry", "https://registry.example.com", "expected a registry without http://"),
        ("gpustack_registry_username", "-u", "and no dash before it"),
        ("gpustack_container_name", "gpu stack", '"gpu stack"; expected two or more letters, digits and . _ -'),
        ("gpustack_data_volume", "", "expected the name of a Docker volume"),
        ("gpustack_data_volume", "/", "expected a path below /"),
        ("gpustack_data_volume", "/var/lib", "expected a directory of its own, none of the system's"),
        ("gpustack_models_dir", "", "expected an absolute path"),
        ("gpustack_models_dir", "/data/models/", "Write /data/models."),
        ("gpustack_models_dir", "//", "Write /."),
        ("gpustack_models_dir", "//data", "Write /data."),
        ("gpustack_models_dir", "/data/../srv/models", "Write /srv/models."),
        ("gpustack_models_dir", "/", "expected a path below /"),
        ("gpustack_models_dir", "data/models", "expected an absolute path"),
        ("gpustack_models_dir", "/data/my models", "Give the directory another name."),
        ("gpustack_models_dir", "/data:models", "Give the directory another name."),
        ("gpustack_models_dir", "/data,models", "Give the directory another name."),
        ("gpustack_models_dir", "/etc/models", "none of the system's"),
        ("gpustack_models_dir", "/var/lib/gpustack/models", "apart from /var/lib/gpustack"),
        ("gpustack_backup_dir", "/usr", "none of the system's"),
        ("gpustack_store_server", "filer:/vol", "expected an address, or a host's name, without a port"),
        ("gpustack_address", "300.1.1.1", "expected an address"),
        ("gpustack_server_url", "gpustack.example.com:8080", "expected http://host:port"),
        ("gpustack_server_url", "http://root:pw@gpustack", "http://***@gpustack"),
        ("gpustack_worker_name", 1, "Put it in quotes."),
        ("gpustack_worker_name", "a:b", "expected a name without : and /"),
        ("gpustack_token", 12345678, "a number that is not shown; expected a token without white space, as a text. Put it in quotes."),
        ("gpustack_token", "abc def", "a text that is not shown; expected a token without white space"),
        ("gpustack_registry_password", 83, "a number that is not shown"),
        ("gpustack_bootstrap_password", True, "true; expected one line of text, as a text. Put it in quotes."),
        ("gpustack_bootstrap_password", DATE, "a date that is not shown"),
        ("gpustack_env", "A=1", "a text that is not shown; expected a mapping of names to values"),
        ("gpustack_env", {"HF_ENDPOINT": None}, ".HF_ENDPOINT nothing (null); expected a text or a number"),
        ("gpustack_env", {"DEBUG": True}, ".DEBUG true; expected a text or a number"),
        ("gpustack_env", {"HF_TOKEN": True}, ".HF_TOKEN true; expected a text or a number, as a text. Put it in quotes."),
        ("gpustack_env", {"1A": "x"}, "expected its name to be a variable's name"),
        ("gpustack_env", {"HF-TOKEN": "x"}, ".HF-TOKEN a text that is not shown; expected its name to be a variable's name, of letters, "
         "digits and _. Did you mean HF_TOKEN?"),
        ("gpustack_env", {"vllm.use.v1": 1}, "Did you mean vllm_use_v1?"),
        ("gpustack_volumes", "/a:/b", '"/a:/b"; expected a list'),
        ("gpustack_volumes", ["/a"], "[1] \"/a\"; expected source:target"),
        ("gpustack_volumes", ["a b:/c"], "[1] \"a b:/c\"; expected source:target"),
        ("gpustack_volumes", ["/a:/b:rx"], "expected source:target"),
        ("gpustack_volumes", ["/a:/models"], "expected another target than /models"),
        ("gpustack_server_config", None, "nothing (null); expected a mapping"),
        ("gpustack_server_config", {"debugg": True}, ".debugg true; expected a name that there is. Did"),
        ("gpustack_server_config", {"port": 80}, "expected gpustack_port to say it"),
        ("gpustack_worker_config", {"worker_port": "x"}, ".worker_port \"x\"; expected a port"),
        ("gpustack_worker_config", {"service_port_range": "40063-40000"}, "expected a range of ports"),
        ("gpustack_worker_config", {"system_reserved": {"rum": 8}}, ".system_reserved.rum a number that is not shown"),
        ("gpustack_worker_config", {"debug": None}, ".debug nothing (null); expected true or false"),
        ("gpustack_server_config", {"database_url": 5}, ".database_url a number that is not shown"),
        ("gpustack_container_options", {"shm": "1g"}, ".shm \"1g\"; expected a name that there is. Did you mean shm_size?"),
        ("gpustack_container_options", {"name": "mine"}, "expected gpustack_container_name to say it. Set gpustack_container_name, and"),
        ("gpustack_container_options", {"init": True}, ".init true; expected one of the names capabilities, cpuset_cpus,"),
        ("gpustack_container_options", {"memory": 1.5}, ".memory 1.5; expected a size, such as 16g, as a text. Put it in quotes."),
        ("gpustack_container_options", {"ulimits": "nofile:1:1"}, ".ulimits \"nofile:1:1\"; expected a list"),
        ("gpustack_container_options", {"ulimits": ["nofile"]}, ".ulimits[1] \"nofile\"; expected a limit"),
        ("gpustack_container_options", {"privileged": "maybe"}, ".privileged \"maybe\"; expected true or false"),
        ("gpustack_container_options", {"cpuset_cpus": True}, "Put it in quotes."),
        ("gpustack_container_options", {"log_options": {"splunk-token": 12345678}}, ".log_options.splunk-token a number that is not shown"),
        ("gpustack_server_config", {"jwt_secret_key": 12345678}, ".jwt_secret_key a number that is not shown; expected a text. Put it"),
        ("gpustack_env", {"HF_TOKEN": 12345678}, ".HF_TOKEN a number that is not shown; expected a text. Put it in quotes."),
        ("gpustack_env", {"GPUSTACK_WORKER_NAME": 493}, ".GPUSTACK_WORKER_NAME 493; expected a text. Put it in quotes."),
        ("gpustack_env", {"CANN_VERSION": 8.1}, ".CANN_VERSION a number that is not shown; expected a text. Put it in quotes."),
        ("docker_swarm_labels", {"rack.name": 101}, ".rack.name 101; expected a text. Put it in quotes."),
        ("docker_swarm_remove", [101], "[1] 101; expected a name without"),
        ("vllm_stack_services", [{**SERVICE, "args": ["--api-key", 12345678]}], "[1].args[2] a number that is not shown; expected a text."),
        ("vllm_stack_services", [{**SERVICE, "args": ["--revision", 2.1]}], "[1].args[2] 2.1; expected a text. Put it in quotes."),
        ("nfs_server_clients", "172.16.33.0/24", '"172.16.33.0/24"; expected a list'),
        ("nfs_server_clients", ["172.16.33.5/24"], "expected an address, or a network without bits of a host"),
        ("nfs_client_version", 4.1, "4.1; expected 3, 4, 4.1 or 4.2, as a text. Put it in quotes."),
        ("nfs_client_options", ["vers=4"], "nfs_client_version and nfs_client_nconnect"),
        ("nfs_client_options", ["hard,timeo=600"], "expected one mount option"),
        ("nfs_client_nconnect", 17, "expected a whole number from 1 to 16"),
        ("ascend_driver_check_skip", "clock", '"clock"; expected a list'),
        ("ascend_driver_check_skip", ["clocks"], "Did you mean clock?"),
        ("ascend_driver_check_skip", ["variables"], "expected the name of a check that can be left out"),
        ("ascend_driver_check_accept_health", ["Ok"], "Did you mean OK?"),
        ("ascend_driver_check_accept_health", [], "an empty list; expected one item at least"),
        ("ascend_driver_check_minimum_driver", 24.1, "Put it in quotes."),
        ("gpustack_firewall", "configured", "Did you mean configure?"),
        ("gpustack_store_type", "smb", "expected nfs or external"),
        ("gpustack_secure_logging", "y", "expected true or false"),
        ("vllm_stack_services", [{"name": "a", "model": "m", "npus": 4}], "a mapping without port; expected name, model, npus, port"),
        ("vllm_stack_services", [{"name": "a", "model": "m", "npus": 4, "port": 1, "max_len": 5}], "[1].max_len 5; expected"),
        ("vllm_stack_services", ["qwen"], "[1] \"qwen\"; expected a mapping"),
        ("docker_swarm_labels", {"gpustack.npu": "true"}, "not one that begins with gpustack."),
        ("vllm_stack_tls", "no PEM", "a text that is not shown; expected the certificate and its private key"),
    ],
)  # fmt: skip
def test_wrong_value_is_refused_with_what_is_expected(name, value, expected):
    (line,) = wrong(name, value)
    assert expected in line


@pytest.mark.parametrize(
    "name, value",
    [
        ("gpustack_port", "8080"),
        ("gpustack_preflight_continue", "true"),
        ("gpustack_preflight_continue", "No"),
        ("gpustack_worker_name", "001"),
        ("gpustack_worker_name", "昇腾一号"),
        ("gpustack_models_dir", "/数据/models-1.0"),
        ("gpustack_store_export", "/"),
        ("gpustack_address", "fe80::1"),
        ("gpustack_server_url", "https://[2001:db8::1]:8443"),
        ("gpustack_image", f"registry.example.com:5000/a/b@sha256:{'0' * 64}"),
        ("gpustack_registry", "registry.example.com:5000/mirror"),
        ("gpustack_bootstrap_password", "correct horse"),
        ("gpustack_token", ""),
        ("ascend_driver_check_minimum_driver", "24.1.t52.b060"),
        ("gpustack_token", "-tricky"),
        ("gpustack_registry_password", "-u"),
        ("gpustack_env", {"OMP_NUM_THREADS": 8, "A": "", "no_proxy": "a,b"}),
        ("gpustack_volumes", ["/data/my lora:/data/lora:ro,z", "cache:/root/.cache"]),
        ("gpustack_takeover_drop", ["--debug", "HTTP_PROXY=http://proxy:3128"]),
        ("gpustack_server_config", {"debug": "true", "huggingface_token": "hf_x", "trusted_hosts": ["gpustack.example.com"]}),
        ("gpustack_container_options", {"ulimits": ["memlock:-1:-1"], "etc_hosts": {"a": "host-gateway"}, "log_options": {"max-file": 3}}),
        ("gpustack_container_options", {"memory": 68719476736, "shm_size": 16, "cpuset_cpus": 3}),
        ("nfs_server_clients", ["172.16.33.0/24", "2001:db8::/64", "10.0.0.1"]),
        ("vllm_stack_services", [{**SERVICE, "args": ["--max-model-len", 32768, "--gpu-memory-utilization", 0.9]}]),
        ("vllm_stack_api_key", "one\ntwo\n"),
        ("vllm_stack_api_key", "-one"),
        ("vllm_stack_tls", PEM),
    ],
)  # fmt: skip
def test_what_works_passes(name, value):
    assert wrong(name, value) == []
    assert accepts(name, value)


HAS = "expected a setting that GPUStack"


@pytest.mark.parametrize(
    ("version", "name", "value", "told_of_it"),
    [
        ("2.3.0", "gpustack_worker_config", {"metrics_port": 1}, "expected a worker's setting. Set worker_metrics_port, and remove this."),
        ("2.3.0", "gpustack_server_config", {"force_auth_localhost": True}, f"{HAS} 2.3 has. Remove it."),
        ("2.3.0", "gpustack_server_config", {"host": "0.0.0.0"}, f"{HAS} 2.3 has. Remove it."),
        ("2.2.3", "gpustack_worker_config", {"rpc_server_port_range": "40064-40095"}, f"{HAS} 2.3 has. Remove it."),
        ("2.3.0", "gpustack_worker_config", {"ray_node_manager_port": 40098}, f"{HAS} 2.3 has. Set ray_port_range, and remove this."),
        ("2.3.0", "gpustack_server_config", {"tls_port": 443}, "expected gpustack_port to say it. Set gpustack_port, and remove this."),
        ("2.3.0", "gpustack_server_config", {"disable_worker": True}, "expected the inventory's groups to say it."),
        ("2.2.3", "gpustack_server_config", {"prometheus_url": "http://p:9090"}, f"{HAS} 2.2.3 has. Remove it."),
        ("2.3.0", "gpustack_server_config", {"gateway_concurrency": "many"}, "expected a whole number"),
        ("2.3.0", "gpustack_worker_config", {"worker_metric_port": 1}, "Did you mean worker_metrics_port?"),
        ("2.3.0", "gpustack_env", {"GPUSTACK_METRICS_PORT": "1"}, "Set GPUSTACK_WORKER_METRICS_PORT, and remove this."),
        ("2.3.0", "gpustack_env", {"GPUSTACK_RAY_PORT": "1"}, "Set GPUSTACK_RAY_PORT_RANGE, and remove this."),
        ("0.7.1", "gpustack_worker_config", {"worker_metrics_port": 1}, f"{HAS} 0.7 has. Set metrics_port, and remove this."),
        ("0.7.1", "gpustack_server_config", {"enable_worker": True}, f"{HAS} 0.7 has. Remove it."),
        ("0.7.1", "gpustack_env", {"GPUSTACK_RAY_PORT_RANGE": "1-2"}, "Set GPUSTACK_RAY_WORKER_PORT_RANGE, and remove this."),
    ],
)  # fmt: skip
def test_a_setting_that_does_nothing_in_this_version_is_refused_with_the_one_that_is_meant(version, name, value, told_of_it):
    (line,) = told(atlas2={"gpustack_version": version, name: value})
    assert told_of_it in line
    (key,) = value
    assert line.startswith(f"FAIL [variables] atlas2: {name}.{key} is set to ")


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("gpustack_server_config", {"force_auth_localhost": True}, "true"),
        ("gpustack_worker_config", {"ray_node_manager_port": 40098}, "40098"),
        ("gpustack_server_config", {"host": "0.0.0.0"}, '"0.0.0.0"'),
        ("gpustack_server_config", {"ollama_library_base_url": "http://user:pa55@registry"}, "a text that is not shown"),
        ("gpustack_env", {"GPUSTACK_RAY_PORT": "8265"}, "a text that is not shown"),
    ],
)
def test_a_refused_setting_is_shown_as_it_is_unless_it_may_be_a_secret(name, value, shown):
    (line,) = told(atlas2={"gpustack_version": "2.3.0", name: value})
    assert f"is set to {shown}; expected" in line


@pytest.mark.parametrize(
    ("version", "name", "value"),
    [
        ("0.7.1", "gpustack_worker_config", {"metrics_port": 10151, "enable_ray": True, "rpc_server_port_range": "40064-40095"}),
        ("0.7.1", "gpustack_server_config", {"ray_args": ["--num-cpus=1"]}),
        ("0.7.1", "gpustack_server_config", {"force_auth_localhost": True, "host": "0.0.0.0"}),
        ("2.3.0", "gpustack_server_config", {"metrics_port": 10161, "ota_server_url": "http://ota", "gateway_concurrency": 32}),
        ("2.3.0", "gpustack_server_config", {"trusted_hosts": ["gpustack.example.com"], "proxy_mode": "worker"}),
        ("2.2.3", "gpustack_worker_config", {"worker_metrics_port": 10151, "ray_port_range": "41000-41999"}),
        ("2.3.0", "gpustack_env", {"GPUSTACK_WORKER_HEARTBEAT_INTERVAL": "60", "HF_ENDPOINT": "https://hf"}),
    ],
)
def test_a_setting_of_this_version_passes(version, name, value):
    assert told(atlas2={"gpustack_version": version, name: value}) == []


def test_the_server_is_asked_for_its_own_settings_alone():
    given = {"gpustack_version": "2.3.0", "gpustack_env": {"GPUSTACK_METRICS_PORT": "10162"}}
    assert told(atlas1=given) == [] and len(told(atlas2=given)) == 1


def test_settings_of_any_version_pass_where_none_is_asked_for():
    """What runs stays then, and which that is only the host knows."""
    assert (
        told(atlas2={"gpustack_worker_config": {"metrics_port": 1}})
        == told(atlas2={"gpustack_worker_config": {"proxy_mode": "direct"}})
        == []
    )
    assert len(told(atlas2={"gpustack_worker_config": {"metrics_prot": 1}})) == 1


def test_secrets_are_shown_nowhere():
    planted = "pl4nted"
    given = {
        "gpustack_token": f"{planted} x",
        "gpustack_registry_password": f"{planted}\n",
        "gpustack_bootstrap_password": [planted],
        "gpustack_server_url": f"http://root:{planted}@host",
        "gpustack_env": {"HTTPS_PROXY": f"http://root:{planted}@proxy\0", "MY_PASSWORD": f"{planted}\0", "X": f"a://b:{planted}@c\0"},
        "gpustack_server_config": {"database_url": {"x": planted}, "huggingface_tokn": planted, "token": f"{planted}\x00"},
        "gpustack_worker_config": f"token={planted}",
        "vllm_stack_api_key": f"{planted} {planted}",
        "vllm_stack_tls": planted,
        "vllm_stack_services": [{"name": "a", "model": "m", "npus": 1, "port": 1, "env": {"API_TOKEN": f"{planted}\0"}}],
    }
    lines = told(atlas1=given)
    assert len(lines) == 14
    assert planted not in str(lines)


def test_equal_values_of_many_hosts_are_one_line_and_those_alone_fail_that_have_them():
    shared = {"gpustack_port": 70000}
    found = report.value_problems(["atlas1", "atlas2", "atlas3"], {"atlas1": {}, "atlas2": shared, "atlas3": shared}, GROUPS, ROLES)
    assert found["report"] == [
        f"The variables have 1 problem on 2 of 3 hosts{signature()}:",
        "FAIL [variables] atlas2, atlas3: gpustack_port is set to 70000; expected a port from 1 to 65535. Correct it.",
    ]
    assert found["told"] == {"atlas2": "Told above: variables", "atlas3": "Told above: variables"}
    assert [item["host"] for item in found["stats"]["findings"]] == ["atlas2", "atlas3"]


def test_misspelt_variable_fails_with_the_one_that_is_meant_unless_its_check_is_left_out():
    given = {"gpustack_prot": 80, "gpustak_port": 80, "nfs_servers_clients": [], "vllm_stack_zzzz": 1, "my_port": 1, "nginx_port": 80}
    assert told(atlas1=given) == [
        "FAIL [unknown_variables] atlas1: gpustack_prot is no variable of this collection. Did you mean gpustack_port?",
        "FAIL [unknown_variables] atlas1: gpustak_port is no variable of this collection. Did you mean gpustack_port?",
        "FAIL [unknown_variables] atlas1: nfs_servers_clients is no variable of this collection. Did you mean nfs_server_clients?",
        "FAIL [unknown_variables] atlas1: vllm_stack_zzzz is no variable of this collection. Remove it, or give it another name.",
    ]
    skip = {"ascend_driver_check_skip": ["unknown_variables"]}
    assert told(atlas1={**given, **skip, "gpustack_port": 0})[0].startswith("FAIL [variables] atlas1: gpustack_port is set to 0;")
    assert told(atlas1={**given, **skip}) == []


def test_facts_of_the_roles_and_what_a_workflow_hands_on_are_no_slips():
    handed = re.compile(r"ansible\.builtin\.set_(?:fact: ?(?:&\w+)?|stats:\n {4}data:)\n +(\w+):")
    tasks = [name for path in (ROOT / "roles").glob("*/tasks/*.yml") for name in handed.findall(path.read_text())]
    assert {"ascend_driver_check_npus", "gpustack_cluster", "vllm_stack", "ascend_driver_check"} <= set(tasks)
    assert told(atlas1=dict.fromkeys(tasks, {})) == []


def test_template_that_names_a_default_of_the_roles_is_evaluated_and_one_that_fails_is_a_finding():
    given = {
        "gpustack_cache_dir": "{{ gpustack_models_dir }}/cache",
        "gpustack_port": "{{ 8000 + 80 }}",
        "gpustack_image": "{{ nowhere }}/gpustack:v0.7.1",
        "gpustack_token": "{{ nowhere_either }}",
        "gpustack_env": {"A": "{{ 1 / 0 }}"},
    }
    lines = told(atlas1={name: trusted(value) for name, value in given.items()})
    assert [line.split("; expected")[0] for line in lines[:2]] == [
        "FAIL [variables] atlas1: gpustack_image can't be evaluated ('nowhere' is undefined)",
        "FAIL [variables] atlas1: gpustack_token can't be evaluated",
    ]
    assert lines[2].startswith("FAIL [variables] atlas1: gpustack_env can't be evaluated;")


def test_server_and_store_are_judged_also_where_the_run_leaves_them_alone():
    given = {"atlas1": {"gpustack_port": 0}, "atlas2": {"gpustack_wait": 0}}
    found = report.value_problems(["atlas3"], {**given, "atlas3": {}}, {**GROUPS, "gpustack_worker": [*given, "atlas3"]}, ROLES)
    assert found["report"][1:] == ["FAIL [variables] atlas1: gpustack_port is set to 0; expected a port from 1 to 65535. Correct it."]
    assert found["told"] == {"atlas3": "Told above: the variables of atlas1"}
    named = report.value_problems(["atlas3"], {"atlas2": {"gpustack_worker_name": [1]}, "atlas3": {}}, GROUPS, ROLES)
    assert "atlas2: gpustack_worker_name is set to a list" in named["report"][1]


def test_store_without_a_server_is_refused_before_anything_runs():
    groups = {"gpustack_server": ["atlas1"], "gpustack_worker": ["atlas1", "atlas2"]}
    assert told(groups) == [
        "FAIL [inventory] atlas1, atlas2: the group gpustack_store holds no host; expected exactly one while gpustack_store_type is nfs. "
        "Put the NFS server there, or set gpustack_store_server for one that Ansible does not manage, or gpustack_store_type: external."
    ]
    filer = {"gpustack_store_server": "filer"}
    assert told(groups, atlas1=filer, atlas2=filer) == []
    external = {"gpustack_store_type": "external"}
    assert told(groups, atlas1=external, atlas2=external) == []
    assert "holds atlas1, atlas2; expected exactly one" in told({**groups, "gpustack_store": ["atlas1", "atlas2"]})[0]
    assert "exports it; expected a path below /" in told(atlas1={"gpustack_store_export": "/"})[0]


PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_every_playbook_begins_with_the_judgement_of_what_is_set(path):
    while path.name != "variables.yml":
        (first, *_others) = yaml.safe_load(path.read_text())
        assert "ansible.builtin.import_playbook" in first, path
        path = path.with_name(first["ansible.builtin.import_playbook"])


ENCRYPTED = """gpustack_registry_password: !vault |
  $ANSIBLE_VAULT;1.1;AES256
  36663634383565383763333139313935643237353933376562353837353730383139303435396637
  3033626532323361343838326162396532353831393561360a366338393263373730623638313964
  35323637333731393964366535336261643234323535373764323162626366633135623765376264
  3362393439323564640a303462316539376137346363346230646635633834366661646434663163
  6363
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The whole of site.yml against hosts that nobody may ask: there are none at their addresses."""
    hosts = {
        "atlas1": {},
        "atlas2": {"gpustack_port": 70000, "gpustack_prot": 8080},
        "atlas3": {"gpustack_token": 12345678, "gpustack_image": "{{ nowhere }}"},
        "atlas4": {"gpustack_token": "right", "gpustack_image": "{{ gpustack_registry }}gpustack/gpustack:v0.7.1-npu"},
    }
    groups = {"gpustack_server": ["atlas1"], "gpustack_store": ["atlas1"], "gpustack_worker": list(hosts)}
    children = {group: {"hosts": {host: hosts[host] for host in names}} for group, names in groups.items()}
    folder = tmp_path_factory.mktemp("site")
    inventory = folder / "hosts.yml"
    inventory.write_text(json.dumps({"all": {"children": children, "vars": {"ansible_host": "192.0.2.1", "gpustack_wait": "300"}}}))
    (folder / "group_vars").mkdir()
    (folder / "group_vars/gpustack_server.yml").write_text(ENCRYPTED)
    command = [sys.executable, "-m", "ansible", "playbook", "-i", str(inventory), str(ROOT / "playbooks/site.yml")]
    env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": str(folder)}
    return subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def test_playbook_ends_for_all_hosts_before_any_is_asked_and_those_are_red_that_have_wrong_values(site):
    assert site.returncode == 2, site.stdout
    lines = [line for line in site.stdout.splitlines() if line.startswith(("The variables have", "FAIL "))]
    assert lines == [
        f"The variables have 5 problems on 3 of 4 hosts{signature()}:",
        "FAIL [variables] atlas1: gpustack_registry_password can't be evaluated (it can't be decrypted); expected a value that Ansible can "
        "tell. Give the vault's password.",
        "FAIL [variables] atlas2: gpustack_port is set to 70000; expected a port from 1 to 65535. Correct it.",
        "FAIL [unknown_variables] atlas2: gpustack_prot is no variable of this collection. Did you mean gpustack_port?",
        "FAIL [variables] atlas3: gpustack_token is set to a number that is not shown; expected a token without white space, as a text. "
        "Put it in quotes.",
        "FAIL [variables] atlas3: gpustack_image can't be evaluated ('nowhere' is undefined); expected a value that Ansible can tell. "
        "Correct it, or what it names.",
    ]
    assert [line for line in site.stdout.splitlines() if line.startswith("PLAY [")] == [f"PLAY [Variables] {'*' * 63}"]
    recap = site.stdout.split("PLAY RECAP")[1]
    assert re.findall(r"(atlas\d) .* failed=(\d)", recap) == [
        (name, str(int(name != "atlas4"))) for name in ("atlas1", "atlas2", "atlas3", "atlas4")
    ]
    assert "UNREACHABLE" not in site.stdout and "12345678" not in site.stdout


def test_who_writes_an_ini_inventory_is_told_that_it_needs_two_pairs_of_quotes():
    line = "gpustack_token is set to a number that is not shown; expected a token without white space, as a text. Put it in quotes."
    pairs = "Beside a host in an INI inventory it needs two pairs of them: '\"…\"'."
    for file, remedy in (("/inventories/hosts", f" {pairs}"), ("/inventories/hosts.ini", f" {pairs}"), ("/inventories/hosts.yml", "")):
        assert told(atlas2={"gpustack_token": 20240601, "inventory_file": file}) == [f"FAIL [variables] atlas2: {line}{remedy}"]


ALONE = """- hosts: gpustack_server
  gather_facts: false
  roles:
    - {role: ascend.gpustack.%s, vars: {%s}}
"""


@pytest.mark.parametrize(
    ("role", "own", "name", "expected"),
    [
        ("gpustack_server", "gpustack_token: 20240601", "gpustack_token", "a number that is not shown; expected a token"),
        ("gpustack_server", "gpustack_version: 0.7", "gpustack_version", "0.7; expected a release of GPUStack"),
        ("vllm_stack", "vllm_stack_api_key: 20240601", "vllm_stack_api_key", "a number that is not shown; expected keys"),
    ],
)
def test_role_that_runs_alone_refuses_what_yaml_made_a_number_of_before_it_asks_the_host(tmp_path, role, own, name, expected):
    inventory, playbook = tmp_path / "hosts.yml", tmp_path / "alone.yml"
    inventory.write_text("gpustack_server: {hosts: {atlas1: {ansible_host: 192.0.2.1, gpustack_bootstrap_password: 12345678}}}")
    playbook.write_text(ALONE % (role, own))
    command = [sys.executable, "-m", "ansible", "playbook", "-i", str(inventory), str(playbook)]
    env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 2 and "UNREACHABLE" not in done.stdout, done.stdout
    shown = " ".join(done.stdout.split())
    assert f"atlas1: {name} is set to {expected}" in shown and "as a text. Put it in quotes." in shown
    assert "20240601" not in shown and "12345678" not in shown


def test_gpustack_that_is_not_deployed_is_one_finding_before_any_host_is_asked():
    hosts = {f"atlas{number}": {"gpustack_version": "2.2.0"} for number in (1, 2, 3)}
    found = report.value_problems(sorted(hosts), hosts, GROUPS, ROLES)
    assert found["report"] == [
        f"The variables have 1 problem on 3 of 3 hosts{signature()}:",
        "FAIL [version] atlas1, atlas2, atlas3: gpustack_version is 2.2.0; this collection deploys GPUStack 0.7, 2.2.3 and "
        "2.3. Set gpustack_version to 2.3.0; a cluster of 2.2.0 gets on with it, since GPUStack takes older data along when it starts.",
    ]
    assert found["told"] == dict.fromkeys(hosts, "Told above: version")
