"""What a node's container and its configuration file become, from the variables: held to what the release before made of the same ones,
since Docker is compared strictly and whatever differs would replace the container of every cluster there is."""

from __future__ import annotations

import json
import pathlib

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.ascend.gpustack.plugins.plugin_utils.given import _of_roles, _trusted

ROOT = pathlib.Path(__file__).resolve().parents[2]
# As the roles at 0adbf73 made them; the store at /models, which Docker then refused, as those after them
RECORDED = pathlib.Path(__file__).parent / "samples/node_spec.json"

NPUS = {
    "devices": ["/dev/davinci0", "/dev/davinci1", "/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"],
    "mounts": ["/usr/local/dcmi", "/usr/local/bin/npu-smi", "/usr/local/Ascend/driver", "/etc/hccn.conf"],
    "problems": [],
    "chip": "910B4",
}
STORE = {"id": "0123456789abcdef0123456789abcdef", "fstype": "nfs", "source": "10.0.0.1:/data/models"}
EXTERNAL = {"id": None, "fstype": "gpfs", "source": "/dev/gpfs0"}
HOSTS = {"atlas1": {"ansible_host": "10.0.0.1"}, "atlas2": {"ansible_host": "10.0.0.2"}}
# The server's, as a host of the run has read it
READ = {"__gpustack_token_read": {"token": "fedcba9876543210fedcba9876543210"}}
TOKEN = {
    "hostvars": {"atlas1": {**HOSTS["atlas1"], "__gpustack_token_holder": "atlas2"}, "atlas2": {**HOSTS["atlas2"], **READ}},
}
PROXIES = {"HTTP_PROXY": "http://proxy:3128", "no_proxy": "example.org", "TZ": "Asia/Shanghai", "OMP_NUM_THREADS": 4}
OPTIONS = {
    "shm_size": "16g",
    "ulimits": ["nofile:65535:65535"],
    "security_opts": ["seccomp=unconfined"],
    "log_driver": "json-file",
    "log_options": {"max-size": "10m"},
    "etc_hosts": {"filer": "10.0.0.9"},
    "privileged": True,
}
SETTINGS = {"debug": True, "worker_port": 11150, "huggingface_token": "hf_abc", "system_reserved": {"ram": 4, "vram": 1}}
TLS = {"ssl_certfile": "/etc/ssl/gpustack.crt", "ssl_keyfile": "/etc/ssl/gpustack.key", "jwt_secret_key": "0123"}

# Name to role, groups of the host, Docker's API, the store, and variables
CASES = {
    "server that works": ("server", "both", "1.45", STORE, {}),
    "server that works, Docker 24": ("server", "both", "1.43", STORE, {}),
    "server that works, store without id": ("server", "both", "1.45", EXTERNAL, {"gpustack_store_type": "external"}),
    "server alone": ("server", "server", "1.45", STORE, {"gpustack_bootstrap_password": "Bootstrap-1234"}),
    "server alone, Docker 24": ("server", "server", "1.43", EXTERNAL, {}),
    "server with a token": ("server", "both", "1.45", STORE, {"gpustack_token": "abcdef"}),
    "server made by hand": ("server", "both", "1.45", STORE, {"__gpustack_handmade_token": {"token": "by-hand"}}),
    "server of another port": ("server", "both", "1.45", STORE, {"gpustack_port": "9090", "gpustack_server_config": SETTINGS}),
    "server with TLS": ("server", "both", "1.45", STORE, {"gpustack_server_config": TLS}),
    "server and its port by its settings": (
        "server",
        "server",
        "1.45",
        STORE,
        {"gpustack_server_config": {"port": 8443, "host": "0.0.0.0"}},
    ),
    "worker": ("worker", "worker", "1.45", STORE, TOKEN),
    "worker, Docker 24": ("worker", "worker", "1.43", STORE, TOKEN),
    "worker, store without id": ("worker", "worker", "1.45", EXTERNAL, {**TOKEN, "gpustack_models_dir": "/data/my models"}),
    "worker with a token": ("worker", "worker", "1.45", STORE, {"gpustack_token": "abcdef"}),
    "worker before the token is known": ("worker", "worker", "1.45", STORE, {}),
    "worker with settings": ("worker", "worker", "1.45", STORE, {**TOKEN, "gpustack_worker_config": SETTINGS}),
    "worker of a server elsewhere": ("worker", "worker", "1.45", STORE, {**TOKEN, "gpustack_server_url": "https://gpustack.example.com"}),
    "worker without NPUs": (
        "worker",
        "worker",
        "1.45",
        STORE,
        {**TOKEN, "ascend_driver_check_npus": {**NPUS, "devices": [], "mounts": []}},
    ),
    "worker behind proxies": ("worker", "worker", "1.45", STORE, {**TOKEN, "gpustack_env": PROXIES}),
    "worker with environment": ("worker", "worker", "1.45", STORE, {**TOKEN, "gpustack_env": {"A": 1, "B": "x y", "C": "true"}}),
    "worker with volumes": (
        "worker",
        "worker",
        "1.45",
        STORE,
        {**TOKEN, "gpustack_volumes": ["/etc/pki:/etc/pki:ro"], "gpustack_data_volume": "/srv/gpustack"},
    ),
    "worker with options": ("worker", "worker", "1.45", STORE, {**TOKEN, "gpustack_container_options": OPTIONS}),
    "worker with the store at /models": (
        "worker",
        "worker",
        "1.45",
        STORE,
        {**TOKEN, "gpustack_models_dir": "/models", "gpustack_cache_dir": "/var/lib/gpustack/cache"},
    ),
}
GROUPS = {
    "both": {"gpustack_server": ["atlas2"], "gpustack_worker": ["atlas1", "atlas2"]},
    "server": {"gpustack_server": ["atlas2"], "gpustack_worker": ["atlas1"]},
    "worker": {"gpustack_server": ["atlas1"], "gpustack_worker": ["atlas1", "atlas2"]},
}


def variables_of(role: str, groups: str, api: str, store: dict, given: dict) -> dict:
    names = {"inventory_hostname": "atlas2", "groups": GROUPS[groups], "ansible_check_mode": False, "omit": "__omitted__"}
    facts = {
        "__gpustack_host": {"docker": {"api_version": api}, "store": store, "resolved": {"10.0.0.2": "10.0.0.2"}},
        "__gpustack_cluster_addresses": ["10.0.0.2", "10.0.0.1"],
        "ascend_driver_check_npus": NPUS,
        "ansible_host": "10.0.0.2",
        "_gpustack_role": role,
    }
    return {**_of_roles(str(ROOT / "roles")), **names, **facts, "hostvars": HOSTS, **given}


# How a run goes about it, which is no part of what Docker has
OF_THE_RUN = ("state", "healthy_wait_timeout", "restart")


def arguments(templar: Templar, module: str) -> dict:
    """What the first task of container.yml that calls a module gives to it."""
    tasks = yaml.safe_load((ROOT / "roles/gpustack/tasks/container.yml").read_text())
    return templar.template(_trusted(next(task[module] for task in tasks if module in task)))


def container(templar: Templar) -> dict:
    """What Docker has to make."""
    found = arguments(templar, "ascend.gpustack.gpustack_container")["definition"]
    return {key: value for key, value in found.items() if value != "__omitted__" and key not in OF_THE_RUN}


def rendered(case: str) -> dict:
    variables = {**variables_of(*CASES[case]), "__gpustack_plan": {}}
    variables["__gpustack_definition"] = Templar(loader=DataLoader(), variables=variables).template(
        _trusted("{{ _gpustack_spec.container }}")
    )
    templar = Templar(loader=DataLoader(), variables=variables)
    return json.loads(
        json.dumps(
            {
                "container": container(templar),
                "file": arguments(templar, "ascend.gpustack.gpustack_config"),
            },
        )
    )


@pytest.mark.parametrize("case", CASES)
def test_a_container_that_the_release_before_made_stays_as_it_is(case):
    recorded = json.loads(RECORDED.read_text())[case]
    assert rendered(case) == recorded
    # A file's lines have an order.
    assert json.dumps(rendered(case)["file"]) == json.dumps(recorded["file"])
