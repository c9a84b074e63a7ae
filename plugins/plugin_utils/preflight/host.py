# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a model store in more than one place."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.version import relation
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.connections import connection_problem
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.data import SHARED_REMEDY, copy_of, shared_data
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import failure, finding, judged
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.npu import _network, _npu_findings

DEAD_STORE_REMEDY = "Mend the server that exports it; what uses the store goes on when it is back."
MINIMUM_DOCKER = (20, 10, 10)
MAXIMUM_SKEW_S = 30
PYTHON_REMEDY = "Install Python 3.9 or newer there, or name it in ansible_python_interpreter."
ROOT_REMEDY = "Set ansible_become: true, with ansible_become_password or --ask-become-pass where sudo asks for a password."
# Who uses the NPUs in each kind of cluster
USERS = {"gpustack": "GPUStack", "swarm": "the stack of vLLM"}


def dead_store(path: str, source: str, reason: str) -> str:
    """A mounted store that gives no answer, as a sentence without its end."""
    return f"the model store {path} ({source}) does not answer ({reason}); expected a live file system"


def node_refusals(host: dict, version: str, models_dir: str, container: str, name: str, works: bool) -> list[str]:
    """Sentences, one for each reason why this host cannot run the container, with its NPUs if it works; none when it can."""
    if host.get("root") is False:
        return [f"{name}: its user has no root rights; expected root, or one who becomes root. Set ansible_become: true."]
    refusals = []
    docker = host["docker"]
    if not docker["installed"]:
        refusals.append(f"{name}: Docker is not installed; expected Docker Engine 20.10.10 or newer. Install it and start the service.")
    elif not docker["running"]:
        refusals.append(f"{name}: Docker Engine does not answer ({docker['error']}); expected a running one. Run: systemctl start docker")
    refused = generation.refusal(version)
    refusals += [f"{name}: {'. '.join(refused)}"] if refused else []
    refusals += _container_refusals(host["container"], version, container, name)
    refusals += _store_refusals(host["store"], models_dir, name)
    shared = shared_data(host["data"], models_dir)
    refusals += [f"{name}: {shared}. {SHARED_REMEDY}"] if shared else []
    return refusals + (_holder_refusals(host["npu_holders"], name) if works else [])


def copy_refusals(host: dict, workers: list[dict], name: str, hostvars: Any, groups: dict) -> list[str]:
    """A sentence where the host's data is a copy of another's; none where it isn't."""
    text = copy_of(host, workers, name, hostvars, groups)
    return [f"{name}: {text}"] if text else []


def _holder_refusals(holders: list[dict], name: str) -> list[str]:
    return [
        f"{name}: the container {holder['container']} holds NPU {', '.join(map(str, holder['npus']))}; expected GPUStack alone to use "
        "them. Stop it, of a Swarm its service: an NPU serves one container."
        for holder in holders
        if holder["via"] != "privileged"
    ]


def _container_refusals(present: dict | None, version: str, container: str, name: str) -> list[str]:
    if not present or not present["managed"] or not present["version"]:
        return []
    if relation(present["version"], version) != "newer":
        return []
    return [
        f"{name}: the container {container} runs GPUStack {present['version']}, newer than gpustack_version {version}; its database "
        f"cannot go back. Set gpustack_version to {present['version']} or newer."
    ]


def _store_refusals(store: dict, models_dir: str, name: str) -> list[str]:
    if not store["answers"]:
        return [f"{name}: {dead_store(models_dir, store['source'], store['error'])}. {DEAD_STORE_REMEDY}"]
    if not store["exists"]:
        return [f"{name}: the model store {models_dir} does not exist; expected a mounted directory. Mount it, or set gpustack_models_dir."]
    return []


def host_findings(host: dict, npu: dict, expect: dict) -> list[dict]:
    """Judge one host. `host` is what gpustack_host_info returned, `npu` what npu_info did (workers only)."""
    if host.get("unreachable") or host.get("unreached"):
        check, message, remedy = connection_problem(str(host.get("msg") or ""), bool(host.get("password_given")))
        return [finding(check, "fail", message, remedy)]
    if "docker" not in host:
        return [finding("examined", "fail", f"could not be examined: {failure(host)}", PYTHON_REMEDY)]
    if host["root"] is False and "root" not in expect["skip"]:
        return [finding("root", "fail", "its user has no root rights; expected root, or one who becomes root", ROOT_REMEDY)]
    findings = []
    if expect["worker"]:
        findings += _npu_findings(npu, expect) + _network(npu, expect)
    for check in (_docker, _python, _chain, _space, _ports, _holders, _clock, _store, _data, _address):
        findings += check(host, expect)
    return [item for item in findings if item["check"] not in expect["skip"]]


def _docker(host: dict, expect: dict) -> list[dict]:
    # A host that only exports the store needs none.
    if not expect["node"]:
        return []
    docker = host["docker"]
    if not docker["installed"]:
        return [
            finding("docker", "fail", "Docker is missing; expected Docker Engine 20.10.10 or newer", "Install it and start the service.")
        ]
    if not docker["running"]:
        return [finding("docker", "fail", f"Docker Engine does not answer: {docker['error']}", "Start it:\n  systemctl start docker")]
    numbers = tuple(int(part) for part in re.findall(r"\d+", docker["server_version"])[:3])
    if numbers < MINIMUM_DOCKER:
        text = f"Docker Engine is {docker['server_version']}; expected 20.10.10 or newer, which GPUStack's image needs"
        return [finding("docker", "fail", text, "Upgrade it.")]
    return [finding("docker", "pass")]


def _python(host: dict, expect: dict) -> list[dict]:
    # The role installs the distribution's package; the playbooks of a Swarm need none.
    if not expect["node"] or expect["cluster"] == "swarm" or host.get("python_requests", True) or host["python_packaged"]:
        return [finding("python", "pass")]
    text = (
        f"the Python that Ansible uses there ({host['python']}) has no requests, and the distribution's package is for another; expected it"
    )
    return [
        finding("python", "fail", text, "Set ansible_python_interpreter: /usr/bin/python3 for it, or install requests for that Python.")
    ]


def _chain(host: dict, expect: dict) -> list[dict]:
    # In the other modes the playbook firewall mends it.
    chain = host["docker_chain"]
    if expect["firewall"] != "leave" or not host["docker"]["running"] or not chain["managed"] or chain["present"] is not False:
        return []
    text = "Docker's chain DOCKER is missing from the nat table, as after a reload of firewalld; expected it for networks of containers"
    return [finding("firewall", "warn", text, "Restart Docker:\n  systemctl restart docker")]


def _space(host: dict, expect: dict) -> list[dict]:
    """Room for an image that is yet to come, and for models on a store that is there."""
    found = []
    docker, store = host["docker"], host["store"] or {}
    free, wanted = docker.get("root_free_mb"), expect["free_docker_gib"]
    missing = expect["node"] and (host.get("image") or {}).get("present") is False
    if missing and free is not None and free < wanted * 1024:
        text = f"Docker's directory {docker['root_dir']} has {free // 1024} GiB free; expected {wanted} GiB for the image"
        remedy = "Make room there, move Docker's data-root, or set ascend_driver_check_free_docker_gib."
        found.append(finding("space", "fail", text, remedy))
    pending = expect["store_type"] == "nfs" and store.get("root_fs")
    free, wanted = None if pending else store.get("free_mb"), expect["free_store_gib"]
    if free is not None and free < wanted * 1024:
        text = f"the model store {expect['models_dir']} has {free // 1024} GiB free; expected {wanted} GiB for models"
        found.append(finding("space", "warn", text, "Make room there, or set ascend_driver_check_free_store_gib."))
    return found or [finding("space", "pass")]


def _ports(host: dict, expect: dict) -> list[dict]:
    problems = []
    for listener in host["listeners"]:
        if not listener["ours"]:
            process = f"{listener['process']} (pid {listener['pid']})" if listener["process"] else "a process that ended or can't be seen"
            who = f"container {listener['container']}" if listener["container"] else process
            text = f"port {listener['port']} is taken by {who}; {USERS[expect['cluster']]} needs it"
            problems.append((text, "Stop that, or set another port."))
    return judged("ports", problems)


def _holders(host: dict, expect: dict) -> list[dict]:
    if not expect["worker"]:
        return []
    found = []
    for holder in host["npu_holders"]:
        name = holder["container"]
        if holder["via"] == "privileged":
            text = f"the privileged container {name} can open every NPU; expected {USERS[expect['cluster']]} alone to use them"
            found.append(finding("npu_holders", "warn", text, "Let it be if it only watches."))
        else:
            text = f"the container {name} holds NPU {', '.join(str(npu) for npu in holder['npus'])}; an NPU serves one container"
            remedy = f"Stop it; of what Swarm runs, remove the service:\n  docker stop {name}"
            found.append(finding("npu_holders", "fail", text, remedy))
    return found or [finding("npu_holders", "pass")]


def _clock(host: dict, expect: dict) -> list[dict]:
    skew = host["clock"]["skew_s"]
    if skew is None or abs(skew) <= MAXIMUM_SKEW_S:
        return [finding("clock", "pass")]
    return [
        finding(
            "clock", "fail", f"its clock is {skew:+.0f} s off the controller's; expected at most {MAXIMUM_SKEW_S} s", "Run chronyd or ntpd."
        )
    ]


def _store(host: dict, expect: dict) -> list[dict]:
    store, path = host["store"], expect["models_dir"]
    if store is None:
        return []
    if not store["answers"]:
        return [finding("store", "fail", dead_store(path, store["source"], store["error"]), DEAD_STORE_REMEDY)]
    # storage.yml brings it; what stands against that is told by the roles of NFS.
    if expect["store_type"] == "nfs" and (not store["exists"] or store["root_fs"]):
        return [finding("store", "pass")]
    if not store["exists"]:
        return [
            finding(
                "store",
                "fail",
                f"the model store {path} does not exist; expected a mounted directory",
                "Mount it, or set gpustack_models_dir.",
            )
        ]
    if store["root_fs"]:
        return [
            finding(
                "store", "warn", f"{path} lies on the root file system; expected a store that all hosts share", "Mount the store there."
            )
        ]
    if expect["node"] and store.get("writable") is False and expect["cache_dir"].startswith(f"{path}/"):
        cache = expect["cache_dir"]
        text = f"the model store {path} can't be written from it; expected so for {cache}, where GPUStack keeps what it downloads"
        remedy = "Name it in nfs_server_writers, or set gpustack_cache_dir to a directory of its own for it."
        return [finding("store", "warn", text, remedy)]
    return [finding("store", "pass")]


def _data(host: dict, expect: dict) -> list[dict]:
    shared = shared_data(host["data"], expect["models_dir"]) if expect["node"] and expect["cluster"] == "gpustack" else ""
    return judged("data", [(shared, SHARED_REMEDY)] if shared else [])


def _address(host: dict, expect: dict) -> list[dict]:
    address = expect["address"]
    if host["resolved"].get(address):
        return [finding("address", "pass")]
    return [finding("address", "fail", f"gpustack_address {address} does not resolve on it", "Correct it, or add it to DNS or /etc/hosts.")]
