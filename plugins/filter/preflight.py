# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the preflight: what was read of a host, judged; and the findings of all hosts, put together.

A finding is a dict: `check` (its name, by which it can be skipped), `result` (pass, warn or fail), `message` (what was found and
what was expected, without the host's name) and `remedy`.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter, defaultdict
from typing import Any

from ansible_collections.ascend.gpustack.plugins.plugin_utils import cluster
from ansible_collections.ascend.gpustack.plugins.plugin_utils.cluster import addresses, firewall_access, listening_ports
from ansible_collections.ascend.gpustack.plugins.plugin_utils.cluster import setting as _setting
from ansible_collections.ascend.gpustack.plugins.plugin_utils.connections import connection_problem
from ansible_collections.ascend.gpustack.plugins.plugin_utils.data import SHARED_REMEDY, clones, shared_data
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight_report import report_lines, shown, told_above, way_out
from ansible_collections.ascend.gpustack.plugins.plugin_utils.store import DEAD_STORE_REMEDY, dead_store

MANAGERS = ("/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc")
MINIMUM_DOCKER = (20, 10, 10)
MAXIMUM_SKEW_S = 30
# The names of all checks, as they stand in a finding's brackets and in ascend_driver_check_skip; the README says what each looks at.
CHECKS = (
    "ansible",
    "reachable",
    "root",
    "examined",
    "npu_smi",
    "npu_count",
    "npu_health",
    "npu_chip",
    "npu_memory",
    "npu_devices",
    "npu_table",
    "npu_holders",
    "driver_files",
    "driver_version",
    "driver_equal",
    "hccn_link",
    "hccn_address",
    "hccn_gateway",
    "hccn_tls",
    "docker",
    "python",
    "image",
    "docker_settings",
    "services",
    "space",
    "ports",
    "clock",
    "store",
    "data",
    "identity",
    "exports",
    "mount",
    "address",
    "firewall",
    "takeover",
    "worker_name",
    "hostname",
    "variables",
    "unknown_variables",
    "inventory",
)
PYTHON_REMEDY = "Install Python 3.9 or newer there, or name it in ansible_python_interpreter."
ROOT_REMEDY = "Set ansible_become: true, with ansible_become_password or --ask-become-pass where sudo asks for a password."
# Checks whose findings other roles keep as sentences in a fact
KEPT_PROBLEMS = (
    ("takeover", "__gpustack_takeover_problems"),
    ("exports", "__nfs_server_problems"),
    ("mount", "__nfs_client_problems"),
    ("docker_settings", "__docker_swarm_problems"),
    ("services", "__vllm_stack_problems"),
    ("variables", "__gpustack_setting_problems"),
    ("image", "__gpustack_image_problems"),
    ("image", "__vllm_stack_image_problems"),
)
# Checks of what is no single host's: to leave hosts out mends neither
COMMON_CHECKS = ("inventory", "services")
# Who uses the NPUs in each kind of cluster
USERS = {"gpustack": "GPUStack", "swarm": "the stack of vLLM"}


def finding(check: str, result: str, message: str = "", remedy: str = "") -> dict:
    return {"check": check, "result": result, "message": message, "remedy": remedy}


def judged(check: str, problems: list[tuple[str, str]], result: str = "fail") -> list[dict]:
    """One finding a problem (message, remedy), or one that passes."""
    return [finding(check, result, message, remedy) for message, remedy in problems] or [finding(check, "pass")]


def driver_key(version: str) -> tuple:
    """A driver version (`24.1.rc2`, `24.1.0`, `25.3.rc1.2`) as something that sorts; a release comes after its candidates."""
    parts: list[tuple[int, int]] = []
    for part in str(version).lower().split("."):
        match = re.fullmatch(r"(rc|b|spc)?(\d+)", part)
        if not match:
            return ()
        parts.append(({"rc": 0, "b": 0}.get(match.group(1) or "", 1), int(match.group(2))))
    return tuple(parts)


def usable(chip: dict, accept: list[str]) -> bool:
    """A chip of which npu-smi could not tell name or memory is not one to rely on, whatever its health says."""
    return described(chip) and bool(chip["device"]) and chip["health"] in accept


def described(chip: dict) -> bool:
    return chip["name"] is not None and chip["memory_total_mb"] is not None


def usable_npus(npu: dict, expect: dict) -> dict:
    """The NPUs that can be given to a container: `count`, `chip` (the first one's name), `devices` (with the driver's manager nodes),
    driver `mounts`, `problems`, sentences that say why the host is not fit to work, and `unwell`, why NPUs that are listed are not used."""
    chips = [chip for chip in npu.get("chips") or [] if usable(chip, expect["accept_health"])]
    failed = [item for item in _npu_findings(npu, expect) if item["result"] == "fail" and item["check"] not in expect["skip"]]
    problems = [f"{item['message']}. {item['remedy']}" for item in failed]
    nodes = list(dict.fromkeys(chip["device"] for chip in chips))
    managers = [node for node in npu.get("manager_devices") or [] if nodes]
    return {
        "count": len(chips),
        "chip": next((chip["name"] for chip in chips), ""),
        "devices": nodes + managers,
        "mounts": (npu.get("mounts") or []) if nodes else [],
        "problems": problems,
        "unwell": _unwell(npu.get("chips") or [], expect["accept_health"]),
    }


def host_findings(host: dict, npu: dict, expect: dict) -> list[dict]:
    """Judge one host. `host` is what gpustack_host_info returned, `npu` what npu_info did (workers only)."""
    if host.get("unreachable") or host.get("unreached"):
        check, message, remedy = connection_problem(str(host.get("msg") or ""), bool(host.get("password_given")))
        return [finding(check, "fail", message, remedy)]
    if "docker" not in host:
        return [finding("examined", "fail", f"could not be examined: {_failure(host)}", PYTHON_REMEDY)]
    if host["root"] is False and "root" not in expect["skip"]:
        return [finding("root", "fail", "its user has no root rights; expected root, or one who becomes root", ROOT_REMEDY)]
    findings = []
    if expect["worker"]:
        findings += _npu_findings(npu, expect) + _network(npu, expect)
    for check in (_docker, _python, _chain, _space, _ports, _holders, _clock, _store, _data, _address):
        findings += check(host, expect)
    return [item for item in findings if item["check"] not in expect["skip"]]


def _failure(result: dict) -> str:
    text = result.get("msg") or result.get("module_stderr") or "no answer"
    return str(text).strip().splitlines()[-1].rstrip(".") if str(text).strip() else "no answer"


def _npu_findings(npu: dict, expect: dict) -> list[dict]:
    if "chips" not in npu:
        return [finding("npu_smi", "fail", f"npu-smi could not be run: {_failure(npu)}", "Run `npu-smi info` there as root.")]
    expected, accept = expect["expected_npus"], expect["accept_health"]
    if not npu["chips"] and expected == 0:
        return [finding("npu_smi", "pass")]
    if not npu["chips"]:
        # What follows the first problem follows from it.
        text = npu["problems"][0].rstrip(".") if npu["problems"] else "npu-smi lists no NPU"
        text = f"0 of {expected} NPUs are usable: {text}{_held_by(npu.get('holders') or {})}"
        return [finding("npu_smi", "fail", text, "A host without NPUs needs ascend_driver_check_expected_npus: 0.")]
    return (
        [finding("npu_smi", "pass")]
        + _npu_count(npu, expected, accept)
        + judged("npu_chip", _chip_names(npu, expect["chip_name"]))
        + judged("npu_memory", _memory(npu, expect["memory_mb"]))
        + judged("npu_devices", _nodes(npu))
        + judged("driver_files", _files(npu))
        + judged("driver_version", _driver(npu, expect))
        + judged("npu_table", _table_problems(npu), "warn")
    )


def _held_by(holders: dict) -> str:
    names = [f"the container {each['name']}" for each in holders.get("containers") or []]
    names += [f"{each['name']} (pid {each['pid']})" for each in holders.get("processes") or [] if not each["container_id"]]
    return f". Held by {', '.join(names)}" if names else ""


def _count_remedy(count: int) -> str:
    return f"Repair it, or set ascend_driver_check_expected_npus: {count} for this host."


def _npu_count(npu: dict, expected: int, accept: list[str]) -> list[dict]:
    chips = npu["chips"]
    count = sum(usable(chip, accept) for chip in chips)
    reasons = _unwell(chips, accept)
    if len(chips) < expected:
        reasons.append(f"npu-smi lists {len(chips)} NPUs ({', '.join(str(chip['npu_id']) for chip in chips)})")
    if count >= expected:
        unused = [finding("npu_health", "warn", f"{reason}; this NPU is not used", "Repair it.") for reason in reasons]
        return unused or [finding("npu_count", "pass")]
    text = f"{count} of {expected} NPUs are usable: {'; '.join(reasons)}"
    return [finding("npu_count", "fail", text, _count_remedy(count))]


def _unwell(chips: list[dict], accept: list[str]) -> list[str]:
    """Why NPUs that npu-smi lists are not used."""
    reasons = [
        f"NPU {chip['npu_id']} health is {chip['health']} (npu-smi info -t health -i {chip['npu_id']})"
        for chip in chips
        if chip["health"] not in accept
    ]
    reasons += [f"NPU {chip['npu_id']} is not described whole by npu-smi" for chip in chips if not described(chip)]
    return reasons + [f"NPU {chip['npu_id']} has no device node" for chip in chips if not chip["device"]]


def _chip_names(npu: dict, wanted: str) -> list[tuple[str, str]]:
    names = sorted({chip["name"] or "unknown" for chip in npu["chips"]})
    if not wanted or names == [wanted]:
        return []
    return [(f"the NPUs are {', '.join(names)}; expected {wanted}", "Correct ascend_driver_check_chip_name, or the inventory.")]


def _memory(npu: dict, wanted: int) -> list[tuple[str, str]]:
    other = [chip for chip in npu["chips"] if described(chip) and chip["memory_total_mb"] != wanted]
    if not wanted or not other:
        return []
    sizes = ", ".join(f"NPU {chip['npu_id']} has {chip['memory_total_mb']} MB" for chip in other)
    return [(f"{sizes} of memory; expected {wanted} MB", "Correct ascend_driver_check_memory_mb, or the inventory.")]


def _network(npu: dict, expect: dict) -> list[dict]:
    """The ports of the NPUs, through which workers that serve one model together talk (hccn_tool, /etc/hccn.conf)."""
    if not expect["multi_node"] or not npu.get("chips"):
        return []
    ports = npu.get("network") or []
    if not any(port["link"] for port in ports):
        text = "hccn_tool tells nothing of the NPUs' network ports; expected one with a link for each NPU"
        return [finding("hccn_link", "fail", text, "Run there:\n  /usr/local/Ascend/driver/tools/hccn_tool -i 0 -link -g")]
    down = [f"NPU {port['npu_id']} {port['link'] or 'unknown'}" for port in ports if port["link"] != "UP"]
    link = [(f"links of NPUs are not up: {', '.join(down)}", "Check cables, modules and switch ports.")] if down else []
    # Ports in one network need no gateway, and a configuration without one is no fault.
    without = [f"NPU {port['npu_id']}" for port in ports if not port["gateway"]]
    text = f"no gateway: {', '.join(without)}; expected one where hosts are in several networks"
    lacking = [(text, "Set it: hccn_tool -i N -gateway -s …")]
    return (
        judged("hccn_link", link)
        + judged("hccn_address", _as_configured(ports, "address", "-ip"))
        + judged("hccn_gateway", _as_configured(ports, "gateway", "-gateway"))
        + (judged("hccn_gateway", lacking, "warn") if without else [])
    )


def _as_configured(ports: list[dict], what: str, query: str) -> list[tuple[str, str]]:
    """Ports whose address or gateway is not the one in /etc/hccn.conf, which is what they have after a reboot."""
    wanted = f"configured_{what}"
    wrong = [port for port in ports if port[what] != port[wanted] and (port[wanted] or what == "address")]
    if not wrong:
        return []
    told = [f"NPU {port['npu_id']} has {port[what] or 'none'} and /etc/hccn.conf {port[wanted] or 'none'}" for port in wrong]
    return [(f"the {what} of an NPU's port is not the configured one: {'; '.join(told)}", f"Set it with: hccn_tool -i N {query} -s …")]


def _nodes(npu: dict) -> list[tuple[str, str]]:
    missing = [node for node in MANAGERS if node not in (npu.get("manager_devices") or [])]
    if not missing:
        return []
    return [(f"{', '.join(missing)} is missing; expected the driver's device nodes", "Load the driver: reboot, or reinstall it.")]


def _files(npu: dict) -> list[tuple[str, str]]:
    missing = npu.get("missing_files") or []
    if not missing:
        return []
    return [(f"{', '.join(missing)} is missing; expected a whole driver installation", "Reinstall the Ascend driver.")]


def _driver(npu: dict, expect: dict) -> list[tuple[str, str]]:
    found, minimum = npu.get("driver_version"), expect["minimum_driver"]
    if not minimum:
        return []
    if not found or not driver_key(found):
        return [(f"the driver's version is unknown ({found}); expected {minimum} or newer", "Reinstall the Ascend driver.")]
    if driver_key(found) >= driver_key(minimum):
        return []
    return [
        (
            f"the driver is {found}; GPUStack {expect['gpustack_version']}'s image needs {minimum} or newer",
            "Upgrade the Ascend driver and firmware, or set ascend_driver_check_minimum_driver if you know better.",
        )
    ]


def _table_problems(npu: dict) -> list[tuple[str, str]]:
    """What npu-smi printed and could not be read. The other kinds of findings have checks of their own."""
    told = ("health", "device_node", "driver_file", "driver_version", "no_npu")
    return [(item["message"].rstrip("."), "Run `npu-smi info` there.") for item in npu["findings"] if item["kind"] not in told]


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


def inventory_findings(play: list[str], groups: dict, hostvars: Any, settings: dict) -> list[tuple[str, dict]]:
    """What the inventory itself has wrong with hosts of the play, be it against hosts that --limit leaves out: (host, finding)."""
    kind = settings["cluster"]
    hosts = cluster.members(groups, kind)
    found: list[tuple[str, dict]] = []
    if kind == "swarm":
        found += [(host, item) for item in swarm_groups_problems(groups) for host in hosts]
    else:
        servers = groups.get("gpustack_server", [])
        if len(servers) != 1:
            text = f"the group gpustack_server holds {', '.join(servers) or 'no host'}; expected exactly one"
            found += [(host, finding("inventory", "fail", text, "Correct the inventory.")) for host in servers or hosts]
        names = {host: _setting(hostvars, host, "gpustack_worker_name", host) for host in groups.get("gpustack_worker", [])}
        found += _shared(names, "worker_name", "fail", "gpustack_worker_name", "Give each worker a name of its own.")
    own = dict(zip(hosts, addresses(hosts, hostvars)))
    found += _shared(own, "address", "fail", "gpustack_address", "Give each host an address of its own.")
    for host, address in own.items():
        if len(hosts) > 1 and _is_loopback(address):
            text = f"gpustack_address is {address}, which other hosts cannot reach"
            found.append((host, finding("address", "fail", text, "Set gpustack_address to the one that they use.")))
    return [(host, item) for host, item in found if host in play or item["check"] == "inventory"]


def swarm_groups_problems(groups: dict) -> list[dict]:
    """What is wrong with the groups of a Swarm: an even number of managers bears no more failures than one less, and votes can tie."""
    managers = groups.get("docker_swarm_manager", [])
    both = [host for host in managers if host in groups.get("docker_swarm_worker", [])]
    problems = []
    if len(managers) % 2 == 0:
        found = f"{len(managers)} hosts" if managers else "no host"
        text = f"the group docker_swarm_manager holds {found}; expected an odd number, such as 1, 3 or 5"
        problems.append((text, "Move a host between docker_swarm_manager and docker_swarm_worker."))
    if both:
        text = f"{', '.join(both)} are both in docker_swarm_manager and docker_swarm_worker; expected one of them"
        problems.append((text, "A manager works, too: remove it from docker_swarm_worker."))
    return [finding("inventory", "fail", *problem) for problem in problems]


def _shared(values: dict, check: str, result: str, what: str, remedy: str) -> list[tuple[str, dict]]:
    holders = defaultdict(list)
    for host, value in values.items():
        holders[value].append(host)
    return [
        (host, finding(check, result, f"{what} {value} is shared by {', '.join(sharing)}", remedy))
        for value, sharing in holders.items()
        if len(sharing) > 1
        for host in sharing
    ]


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost" or address.startswith("localhost.")


def firewall_probes(host: str, hosts: list[str], hostvars: Any, groups: dict, store_type: str) -> list[dict]:
    """The ports that this host is to reach: a worker the server's, the server one of each kind of every worker in the play, and both
    those of the host that exports the store."""
    server, store = cluster.first(groups, "gpustack_server"), cluster.first(groups, "gpustack_store")
    workers = groups.get("gpustack_worker", [])
    found = []
    if host == server:
        others = [each for each in hosts if each in workers and each != server]
        for worker, address in zip(others, addresses(others, hostvars)):
            ports = [int(port.split("-", 1)[0]) for port in _probed_ports(worker, hostvars, groups)]
            found += [{"host": address, "port": port} for port in ports]
    elif host in workers and server:
        found.append({"host": addresses([server], hostvars)[0], "port": cluster.server_port(server, hostvars)})
    if store_type == "nfs" and store and host != store:
        # NFS 4 needs one port alone.
        ports = cluster.NFS_MOUNT_PORTS[: 1 if str(_setting(hostvars, host, "nfs_client_version", "3")).startswith("4") else None]
        found += [{"host": addresses([store], hostvars)[0], "port": port} for port in ports]
    return found


def _probed_ports(worker: str, hostvars: Any, groups: dict) -> list[str]:
    """A worker's API, and what its models are served at."""
    ports = cluster.worker_ports(worker, hostvars, groups)
    return [ports["worker_port"], ports["service_port_range"]]


def firewall_findings(hosts: list[str], hostvars: Any, groups: dict) -> list[tuple[str, dict]]:
    """Closed ports, always as findings of a worker, so that --limit can leave it out: (host, finding)."""
    server = (groups.get("gpustack_server") or [""])[0]
    by_address = dict(zip(addresses(hosts, hostvars), hosts))
    found = []
    for host in hosts:
        closed = [probe for probe in _closed(host, hostvars) if host != server and probe["port"] not in cluster.NFS_MOUNT_PORTS]
        if closed:
            text = f"it cannot reach port {closed[0]['port']} of the server {server} ({closed[0]['result']})"
            found.append((host, finding("firewall", "fail", text, _opening([f"{closed[0]['port']}/tcp"], f"on {server}"))))
        closed = [probe for probe in _closed(host, hostvars) if probe["port"] in cluster.NFS_MOUNT_PORTS]
        if closed:
            store, ports = groups["gpustack_store"][0], [str(probe["port"]) for probe in closed]
            text = f"it cannot reach port {', '.join(ports)} of the store's host {store} ({closed[0]['result']})"
            found.append((host, finding("firewall", "fail", text, _opening([f"{port}/tcp" for port in ports], f"on {store}"))))
    closed_by_worker = defaultdict(list)
    for probe in (each for each in _closed(server, hostvars) if each["port"] not in cluster.NFS_MOUNT_PORTS):
        closed_by_worker[by_address.get(probe["host"], "")].append(probe)
    for host, closed in closed_by_worker.items():
        if host and not _unreachable(host, hostvars):
            ports = " and ".join(f"port {probe['port']}" for probe in closed)
            needed = [f"{port}/tcp" for port in _probed_ports(host, hostvars, groups)]
            text = f"{ports} cannot be reached from the server {server} ({closed[0]['result']})"
            found.append((host, finding("firewall", "fail", text, _opening(needed, "there"))))
    return found


def _closed(host: str, hostvars: Any) -> list[dict]:
    answer = _setting(hostvars, host, "__ascend_driver_check_host", {}) or {}
    return [probe for probe in answer.get("probes") or [] if probe["result"] not in ("open", "refused")]


def _unreachable(host: str, hostvars: Any) -> bool:
    return any(item["check"] == "reachable" for item in _setting(hostvars, host, "ascend_driver_check_report", []))


def _opening(ports: list[str], where: str) -> str:
    # Not --reload: it takes Docker's chains away.
    command = " ".join(f"--add-port={port}" for port in ports)
    return f"Set gpustack_firewall: configure, or run {where}:\n  firewall-cmd {command} && firewall-cmd --runtime-to-permanent"


def preflight_summary(hosts: list[str], hostvars: Any, groups: dict, settings: dict) -> dict:
    """All findings together: `report`, lines to read; `stats` for machines; `bad_hosts`, which fail, each with its text in `told`; and
    `stop`, whether the run ends for all hosts then."""
    found = [(host, item) for host in hosts for item in _setting(hostvars, host, "ascend_driver_check_report", [])]
    found += [
        (host, finding(check, "fail", problem.rstrip(".")))
        for check, fact in KEPT_PROBLEMS
        for host in hosts
        for problem in _setting(hostvars, host, fact, [])
    ]
    found += firewall_findings(hosts, hostvars, groups) + inventory_findings(hosts, groups, hostvars, settings)
    found += worker_findings(hosts, hostvars, settings["multi_node"])
    found += _same_hostnames(hosts, hostvars)
    if settings["cluster"] == "gpustack":
        read = {host: _setting(hostvars, host, "__ascend_driver_check_host", {}) or {} for host in hosts}
        found += [(host, finding("identity", "fail", text, remedy)) for host, text, remedy in clones(read)]
    problems = [(host, item) for host, item in found if item["result"] != "pass" and item["check"] not in settings["skip"]]
    failures = [(host, item) for host, item in problems if item["result"] == "fail"]
    failing = {host for host, _item in failures}
    # What the inventory has wrong may be with hosts that --limit leaves out; one host has to fail for it.
    bad = [host for host in hosts if host in failing] or (hosts[:1] if failures else [])
    unfit = {host for host, item in failures if item["check"] != "services"}
    vital = [host for host in bad if host in _vital_hosts(groups, settings["cluster"]) and host in unfit]
    all_bad = any(item["check"] in COMMON_CHECKS for _host, item in failures)
    stop = bool(bad) and (not settings["continue"] or all_bad or bool(vital))
    goes_on = [f"The run goes on without {shown(bad)}."] if bad else []
    told = told_above(failures)
    return {
        "report": report_lines(problems, hosts) + (way_out(bad, hosts, vital, all_bad, settings) if stop else goes_on),
        "stats": {"hosts": len(hosts), "bad_hosts": bad, "findings": [{"host": host, **item} for host, item in problems]},
        "bad_hosts": bad,
        "told": {host: told.get(host, "Told above: inventory") for host in bad},
        "stop": stop,
    }


def worker_findings(hosts: list[str], hostvars: Any, multi_node: bool) -> list[tuple[str, dict]]:
    """What all workers are to have alike, and what each is to have alone: (host, finding)."""
    read = {host: _setting(hostvars, host, "__ascend_driver_check_npu_info", {}) or {} for host in hosts}
    versions = {host: npu["driver_version"] for host, npu in read.items() if npu.get("driver_version")}
    found = _differing(versions, "driver_equal", "fail" if multi_node else "warn", "the driver", "Bring all workers to one driver version.")
    if not multi_node:
        return found
    ports = {host: npu.get("network") or [] for host, npu in read.items()}
    switch = {True: "on", False: "off", None: "unknown"}
    tls = {host: " and ".join(sorted({switch[port["tls"]] for port in known})) for host, known in ports.items() if known}
    found += _differing(tls, "hccn_tls", "fail", "TLS of the NPUs' ports", "Set it everywhere: hccn_tool -i N -tls -s enable 0")
    holders: dict[str, list[str]] = defaultdict(list)
    for host, known in ports.items():
        for port in known:
            if port["address"]:
                holders[port["address"]].append(f"{host} NPU {port['npu_id']}")
    shared = {address: names for address, names in holders.items() if len(names) > 1}
    for host in hosts:
        own = [address for address, names in shared.items() if any(name.startswith(f"{host} ") for name in names)]
        if own:
            others = ", ".join(f"{address} ({', '.join(shared[address])})" for address in own[:2]) + (" …" if len(own) > 2 else "")
            text = f"addresses of its NPUs are also another NPU's: {others}; expected each once in the cluster"
            found.append((host, finding("hccn_address", "fail", text, "Give each NPU an address of its own: hccn_tool -i N -ip -s …")))
    return found


def _differing(values: dict[str, str], check: str, result: str, what: str, remedy: str) -> list[tuple[str, dict]]:
    """The hosts whose value is not the one that most have; of as many on both sides, the first host's is right."""
    counts = Counter(values.values())
    if len(counts) < 2:
        return []
    right = max(counts, key=counts.__getitem__)
    like = [host for host, value in values.items() if value == right]
    shown = ", ".join(like[:3]) + (" …" if len(like) > 3 else "")
    return [
        (host, finding(check, result, f"{what} is {value}; expected {right}, as on {shown}", remedy))
        for host, value in values.items()
        if value != right
    ]


def _same_hostnames(hosts: list[str], hostvars: Any) -> list[tuple[str, dict]]:
    names = {}
    for host in hosts:
        name = (_setting(hostvars, host, "__ascend_driver_check_host", {}) or {}).get("hostname")
        if name:
            names[host] = name
    return _shared(
        names,
        "hostname",
        "warn",
        "the hostname",
        "Harmless here, since workers have names of their own; hostnamectl set-hostname tells them apart.",
    )


def _vital_hosts(groups: dict, kind: str) -> list[str]:
    """Those without which nothing can go on."""
    if kind == "swarm":
        return groups.get("docker_swarm_manager", [])[:1]
    return groups.get("gpustack_server", []) + groups.get("gpustack_store", [])


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict:
        return {
            function.__name__: function
            for function in (
                usable_npus,
                host_findings,
                addresses,
                firewall_access,
                firewall_probes,
                listening_ports,
                preflight_summary,
                swarm_groups_problems,
            )
        }
