# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings about one host beside its NPUs, from what gpustack_host_info returned: preflight's, and what a node's own steps refuse with."""

from __future__ import annotations

import re

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.data import IDENTITY
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight import addresses, bridges, engines, restored, store, version
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight import npu as npu_checks
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.connections import unexamined
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Checks, Finding, as_facts, judged

CHECKS = Checks()
# What is judged after this, in the order of a report
OTHERS = (store.CHECKS, addresses.CHECKS, restored.CHECKS, bridges.CHECKS)
MAXIMUM_SKEW_S = 30
# Who uses the NPUs in each kind of cluster
USERS = {"gpustack": "GPUStack", "swarm": "the stack of vLLM"}


def host_findings(host: dict, npu: dict, expect: dict) -> list[dict]:
    """Judge one host. `host` is what gpustack_host_info returned, `npu` what npu_info did (workers only)."""
    found = _unexamined(host, expect["skip"])
    if not found:
        found = npu_checks.CHECKS.run(npu, expect) + engines.CHECKS.run(npu, expect) if expect["worker"] else []
        found += [item for checks in (CHECKS, *OTHERS) for item in checks.run(host, expect)]
        found = [item for item in found if item.check not in expect["skip"]]
    return as_facts(found)


def node_refusals(host: dict, expect: dict, name: str) -> list[str]:
    """Sentences, one for each reason why this host cannot run the container; none when it can. The same checks as preflight's, of what
    came to the host since, or in a playbook that runs alone. expect: `container`, `models_dir`, `gpustack_version`, `worker`, `server`,
    `skip`, and `restoring` where a restore is what asks."""
    whole = {
        "cluster": "gpustack",
        "node": True,
        "server": False,
        "store_type": "external",
        "cache_dir": "",
        "version_asked": True,
        "address": "",
        **expect,
    }
    found = _unexamined(host, expect["skip"])
    if not found:
        checks = (_docker, _version, store.mounted, store.data, addresses.own_address, restored.findings, _npu_holders, _models)
        found = [item for check in checks for item in check(host, whole)]
    return [f"{name}: {item.sentence}" for item in found if item.result == "fail" and item.check not in expect["skip"]]


def _unexamined(host: dict, skip: list[str]) -> list[Finding]:
    """Of a host that was read without root's rights the rest may be wanted nevertheless."""
    found = unexamined(host)
    return [] if found and "docker" in host and found[0].check in skip else found


@CHECKS.add(docker="whether Docker Engine runs and is new enough")
def _docker(host: dict, expect: dict) -> list[Finding]:
    # A host that only exports the store needs none.
    if not expect["node"]:
        return []
    engine, minimum = host["docker"], generation.assumed(expect["gpustack_version"]).minimum_docker
    wanted = ".".join(map(str, minimum))
    if not engine["installed"]:
        text = f"Docker is missing; expected Docker Engine {wanted} or newer"
        return [Finding("docker", "fail", text, "Install it and start the service.")]
    if not engine["running"]:
        return [Finding("docker", "fail", f"Docker Engine does not answer: {engine['error']}", "Start it:\n  systemctl start docker")]
    numbers = tuple(int(part) for part in re.findall(r"\d+", engine["server_version"] or "")[:3])
    if numbers and numbers < minimum:
        text = f"Docker Engine is {engine['server_version']}; expected {wanted} or newer, which GPUStack's image needs"
        return [Finding("docker", "fail", text, "Upgrade it.")]
    return [Finding("docker", "pass")]


@CHECKS.add(
    version=(
        "whether the collection deploys `gpustack_version`, and the container that is there is no newer than it and of its generation; "
        "it can't be left out"
    )
)
def _version(host: dict, expect: dict) -> list[Finding]:
    return version.findings(host, expect) if expect["node"] and expect["cluster"] == "gpustack" else []


@CHECKS.add(python="whether the Python that Ansible uses there has requests, or can get it from the distribution")
def _python(host: dict, expect: dict) -> list[Finding]:
    # The role installs the distribution's package; the playbooks of a Swarm need none.
    if not expect["node"] or expect["cluster"] == "swarm" or host.get("python_requests", True) or host["python_packaged"]:
        return [Finding("python", "pass")]
    text = (
        f"the Python that Ansible uses there ({host['python']}) has no requests, and the distribution's package is for another; expected it"
    )
    remedy = "Set ansible_python_interpreter: /usr/bin/python3 for it, or install requests for that Python."
    return [Finding("python", "fail", text, remedy)]


@CHECKS.add(
    firewall=(
        "ports that a firewall closes, those that stay open where `gpustack_firewall` is `disable`, Docker's chains where it is `leave`, "
        "and firewalld's zones that Docker's bridges are in"
    )
)
def _chain(host: dict, expect: dict) -> list[Finding]:
    # In the other modes the playbook firewall mends it.
    chain = host["docker_chain"]
    if expect["firewall"] != "leave" or not host["docker"]["running"] or not chain["managed"] or chain["present"] is not False:
        return []
    text = "Docker's chain DOCKER is missing from the nat table, as after a reload of firewalld; expected it for networks of containers"
    return [Finding("firewall", "warn", text, "Restart Docker:\n  systemctl restart docker")]


@CHECKS.add()
def _open(host: dict, expect: dict) -> list[Finding]:
    found = expect["open_ports"]
    if expect["firewall"] != "disable" or not found:
        return []
    text = f"without a firewall everyone reaches {_listed('port', found)}, where GPUStack asks for no password or talks without TLS"
    return [Finding("firewall", "warn", text, "Set gpustack_firewall: configure, or keep them closed in the network.")]


def _listed(what: str, items: list[str]) -> str:
    *others, last = items
    return f"the {what}s {', '.join(others)} and {last}" if others else f"the {what} {last}"


@CHECKS.add(space="room for the image and for models")
def _space(host: dict, expect: dict) -> list[Finding]:
    """Room for an image that is yet to come, and for models on a store that is there."""
    found = []
    docker, store = host["docker"], host["store"] or {}
    free, wanted = docker.get("root_free_mb"), expect["free_docker_gib"]
    images = [_image(host, expect), *(host.get("images") or {}).values()]
    missing = expect["node"] and any(image.get("present") is False for image in images)
    if missing and free is not None and free < wanted * 1024:
        text = f"Docker's directory {docker['root_dir']} has {free // 1024} GiB free; expected {wanted} GiB for the image"
        remedy = "Make room there, move Docker's data-root, or set ascend_driver_check_free_docker_gib."
        found.append(Finding("space", "fail", text, remedy))
    pending = expect["store_type"] == "nfs" and store.get("root_fs")
    free, wanted = None if pending else store.get("free_mb"), expect["free_store_gib"]
    if free is not None and free < wanted * 1024:
        text = f"the model store {expect['models_dir']} has {free // 1024} GiB free; expected {wanted} GiB for models"
        found.append(Finding("space", "warn", text, "Make room there, or set ascend_driver_check_free_store_gib."))
    return found or [Finding("space", "pass")]


def _image(host: dict, expect: dict) -> dict:
    """GPUStack's own, as it was looked for; of a container that stays what it is another may have been."""
    found, present = host.get("image") or {}, host["container"] or {}
    stays = present.get("managed") and not expect["version_asked"] and found.get("name") != present.get("image")
    return {} if stays else found


@CHECKS.add(ports="whether GPUStack's ports are free")
def _ports(host: dict, expect: dict) -> list[Finding]:
    problems, moved = [], expect["port_settings"]
    for listener in host["listeners"]:
        # A version that stays may need others than were looked at.
        if not listener["ours"] and (not moved or listener["port"] in moved):
            process = f"{listener['process']} (pid {listener['pid']})" if listener["process"] else "a process that ended or can't be seen"
            who = f"container {listener['container']}" if listener["container"] else process
            text = f"port {listener['port']} is taken by {who}; {USERS[expect['cluster']]} needs it"
            problems.append((text, _other_port(moved.get(listener["port"]))))
    return judged("ports", problems)


def _other_port(setting: str | None) -> str:
    if setting is None:
        return "Stop that, or set another port."
    return f"Stop that, or set another port: {setting}." if setting else "Stop that; GPUStack has no other for it."


@CHECKS.add(npu_holders="containers that hold NPUs")
def _npu_holders(host: dict, expect: dict) -> list[Finding]:
    if not expect["worker"]:
        return []
    found = []
    for holder in host["npu_holders"]:
        name = holder["container"]
        # Of these the check of models tells.
        if expect["cluster"] == "gpustack" and name in host["models"]["nodes"]:
            continue
        if holder["via"] == "privileged":
            text = f"the privileged container {name} can open every NPU; expected {USERS[expect['cluster']]} alone to use them"
            found.append(Finding("npu_holders", "warn", text, "Let it be if it only watches."))
        else:
            text = f"the container {name} holds NPU {', '.join(str(npu) for npu in holder['npus'])}; an NPU serves one container"
            remedy = f"Stop it; of what Swarm runs, remove the service:\n  docker stop {name}"
            found.append(Finding("npu_holders", "fail", text, remedy))
    return found or [Finding("npu_holders", "pass")]


@CHECKS.add(models="another GPUStack, and models that one runs there")
def _models(host: dict, expect: dict) -> list[Finding]:
    """Workers, servers and models that are not this cluster's; to a Swarm those of every GPUStack are strangers."""
    swarm = expect["cluster"] == "swarm"
    found = [_node_beside(name, expect["container"]) for name in host["models"]["nodes"] if expect["node"] and not swarm]
    if not expect["worker"]:
        return found
    for name in host["models"]["workers"]:
        handed = bool(expect["server"] and host["container"])
        found.append(_worker_beside(name, expect, handed) if not swarm else _worker_among_swarm(name))
    for each in host["models"]["workloads"]:
        if each["running"] and (swarm or not each["ours"]):
            held = f" on NPU {', '.join(map(str, each['npus']))}" if each["npus"] else ""
            text = f"GPUStack runs the model instance {each['name']}{held}, which is not this cluster's; expected no other's models"
            remedy = f"Stop it on that GPUStack's page; where that is gone, run:\n  docker rm -f {' '.join(each['containers'])}"
            found.append(Finding("models", "fail", text, remedy))
    return found or [Finding("models", "pass")]


def _worker_among_swarm(name: str) -> Finding:
    text = f"the container {name} is a worker of GPUStack, whose models take the NPUs; expected {USERS['swarm']} alone to use them"
    return Finding("models", "fail", text, "Remove it, what this collection made by its playbook reset.")


def _node_beside(name: str, container: str) -> Finding:
    text = f"the container {name} has GPUStack's data, and runs; expected {container} alone to be GPUStack on a host"
    return Finding("models", "fail", text, f"Stop it, or set gpustack_container_name: {name} for this host to take it over.")


def _worker_beside(name: str, expect: dict, handed: bool) -> Finding:
    """handed: whether the container that is there is to be that worker, and may be given what GPUStack knows it by."""
    container = expect["container"]
    text = (
        f"the container {name} is another worker of GPUStack; expected {container} alone: each removes the containers of the other's models"
    )
    if not handed:
        return Finding("models", "fail", text, f"Remove it, or set gpustack_container_name: {name} for this host to take it over.")
    place = generation.assumed(expect["gpustack_version"]).data.directory
    copies = [f"docker cp {name}:{place}/{file} - | docker cp - {container}:{place}" for file in IDENTITY]
    command = " && ".join([f"docker stop {name}", *copies, f"docker rm {name}"])
    remedy = f"Remove it; so that {container} is that worker then, with its name and record, by:\n  {command}"
    return Finding("models", "fail", text, remedy)


@CHECKS.add(clock="the clock against the controller's")
def _clock(host: dict, expect: dict) -> list[Finding]:
    skew = host["clock"]["skew_s"]
    if skew is None or abs(skew) <= MAXIMUM_SKEW_S:
        return [Finding("clock", "pass")]
    text = f"its clock is {skew:+.0f} s off the controller's; expected at most {MAXIMUM_SKEW_S} s"
    return [Finding("clock", "fail", text, "Run chronyd or ntpd.")]
