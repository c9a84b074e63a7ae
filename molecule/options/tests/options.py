"""A cluster that is unlike the default: a server without NPUs that only serves, and every option of the container."""

from __future__ import annotations

import json
import pathlib

import yaml
from conftest import ROOT

VARIABLES = {
    "gpustack_port": 9090,
    "gpustack_data_volume": "/srv/gpustack",
    "gpustack_env": {"HTTP_PROXY": "http://192.0.2.1:3128", "no_proxy": "mirror.example.com", "HF_ENDPOINT": "https://hf.example.com"},
    "gpustack_volumes": ["/srv/extra:/srv/extra:ro"],
    "gpustack_container_options": {
        "shm_size": "2g",
        "ulimits": ["nofile:1024:2048"],
        "memory": "6g",
        "log_driver": "json-file",
        "log_options": {"max-size": "50m", "max-file": "3"},
        "dns_servers": ["192.0.2.53"],
        "etc_hosts": {"mirror.example.com": "192.0.2.2"},
        "capabilities": ["IPC_LOCK"],
        "security_opts": ["no-new-privileges"],
        "cpuset_cpus": "0",
    },
    "gpustack_server_config": {"debug": True, "huggingface_token": "hf_thisisasecret"},
    "gpustack_worker_config": {"worker_port": 10250},
}


def of_0_7() -> dict:
    """The same, as GPUStack 0.7 gets them: without the RPC servers of llama-box, which the lab has only as a stand-in."""
    configs = {name: {**VARIABLES[name], "disable_rpc_servers": True} for name in ("gpustack_server_config", "gpustack_worker_config")}
    return {**VARIABLES, **configs}


def inventory(folder: pathlib.Path) -> str:
    """The path of the lab's inventory with a server that is no worker, written in a folder."""
    path = folder / "groups.yml"
    lab = yaml.safe_load((ROOT / "inventories/lab/group_vars/all.yml").read_text())
    server = {"atlas1": {"ansible_host": "{{ lab_net }}.106"}}
    worker = {"atlas2": {"ansible_host": "{{ lab_net }}.107", "gpustack_worker_name": "npu-a"}}
    groups = {"gpustack_server": {"hosts": server}, "gpustack_worker": {"hosts": worker}}
    path.write_text(json.dumps({"all": {"children": groups, "vars": lab}}))
    return str(path)


def prepare(atlas) -> None:
    atlas("atlas1").check_output("npu-sim set absent on; mkdir -p /srv/extra; touch /srv/extra/here")
    atlas("atlas2").check_output("mkdir -p /srv/extra; touch /srv/extra/here")
