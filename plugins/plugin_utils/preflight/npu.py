# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings about a host's NPUs and their driver, from what npu_info returned."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.module_utils.npu import fitness, kinds, network
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.fitness import is_described, unfit
from ansible_collections.ascend.gpustack.plugins.plugin_utils import drivers
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Checks, Finding, failure, judged

CHECKS = Checks()
# What a list of a host's NPUs says of each
KNOWN_BY = ("logic_id", "npu_id", "chip_id", "name", "memory_total_mb")


def usable_npus(npu: dict, expect: dict) -> dict:
    """The NPUs that can be given to a container: `count`, `chip` (the first one's name), `devices` (with the driver's manager nodes),
    driver `mounts`, `problems`, sentences that say why the host is not fit to work, `unwell`, why NPUs that are listed are not used, and
    `chips`, what the others are known by."""
    listed = npu.get("chips") or []
    chips = [chip for chip in listed if not unfit(chip, expect["accept_health"])]
    found = _listing(npu, expect) + _of_table(npu, expect)
    nodes = list(dict.fromkeys(chip["device"] for chip in chips))
    return {
        "count": len(chips),
        "chip": next((chip["name"] for chip in chips), ""),
        "devices": nodes + [node for node in npu.get("manager_devices") or [] if nodes],
        "mounts": (npu.get("mounts") or []) if nodes else [],
        "problems": [item.sentence for item in found if item.result == "fail" and item.check not in expect["skip"]],
        "unwell": _unwell(listed, expect["accept_health"]),
        "chips": [{name: chip[name] for name in KNOWN_BY} for chip in chips],
    }


@CHECKS.add(npu_smi="whether npu-smi runs and lists an NPU")
def _listing(npu: dict, expect: dict) -> list[Finding]:
    if "chips" not in npu:
        return [Finding("npu_smi", "fail", f"npu-smi could not be run: {failure(npu)}", "Run `npu-smi info` there as root.")]
    if npu["chips"] or expect["expected_npus"] == 0:
        return [Finding("npu_smi", "pass")]
    text = npu["problems"][0].rstrip(".") if npu["problems"] else "npu-smi lists no NPU"
    text = f"0 of {expect['expected_npus']} NPUs are usable: {text}{_held_by(npu.get('holders') or {})}"
    return [Finding("npu_smi", "fail", text, "A host without NPUs needs ascend_driver_check_expected_npus: 0.")]


def _held_by(holders: dict) -> str:
    kinds = {"privileged": "the privileged container"}
    names = [f"{kinds.get(each['via'], 'the container')} {each['container']}" for each in holders.get("containers") or []]
    names += [f"{each['name']} (pid {each['pid']})" for each in holders.get("processes") or [] if not each["container_id"]]
    return f". Held by {', '.join(names)}" if names else ""


@CHECKS.add(
    npu_count="how many NPUs are usable",
    npu_health="NPUs beyond those expected that are not usable",
    npu_chip="the chips' name",
    npu_memory="the memory of each chip",
    npu_devices="the driver's device nodes",
    driver_files="the driver's files that a container needs",
    driver_version="whether the driver is new enough for the image, and the installed one the one that runs",
    npu_table="lines of npu-smi that can't be read",
)
def _of_table(npu: dict, expect: dict) -> list[Finding]:
    """What is said of NPUs that are listed; where there are none, it would follow from that."""
    if not npu.get("chips"):
        return []
    return (
        _npu_count(npu, expect["expected_npus"], expect["accept_health"])
        + judged("npu_chip", _chip_names(npu, expect["chip_name"]))
        + judged("npu_memory", _memory(npu, expect["memory_mb"]))
        # Without the driver's own nodes and files no container can use an NPU; the rest may concern those that are not needed.
        + judged("npu_devices", _told_there(npu, "device_node"), "fail" if _lacks_nodes(npu) else "warn")
        + judged("driver_files", _told_there(npu, "driver_file"), "fail" if npu["missing_files"] else "warn")
        + judged("driver_version", _driver(npu, expect))
        + judged("driver_version", _told_there(npu, "driver_version"), "warn")
        + judged("npu_table", _table_problems(npu), "warn")
    )


def _npu_count(npu: dict, expected: int, accept: list[str]) -> list[Finding]:
    chips = npu["chips"]
    reasons = _unwell(chips, accept)
    count = len(chips) - len(reasons)
    if len(chips) < expected:
        listed = ", ".join(fitness.name(chip).removeprefix("NPU ") for chip in chips)
        reasons.append(f"npu-smi lists {len(chips)} NPUs ({listed})")
    if count >= expected:
        unused = [Finding("npu_health", "warn", f"{reason}; this NPU is not used", "Repair it.") for reason in reasons]
        return unused or [Finding("npu_count", "pass")]
    text = f"{count} of {expected} NPUs are usable: {'; '.join(reasons)}"
    return [Finding("npu_count", "fail", text, f"Repair it, or set ascend_driver_check_expected_npus: {count} for this host.")]


def _unwell(chips: list[dict], accept: list[str]) -> list[str]:
    """Why NPUs that npu-smi lists are not used, a text each."""
    return ["; ".join(reasons) for reasons in (unfit(chip, accept) for chip in chips) if reasons]


def _chip_names(npu: dict, wanted: str) -> list[tuple[str, str]]:
    names = sorted({chip["name"] or "unknown" for chip in npu["chips"]})
    if not wanted or names == [wanted]:
        return []
    return [(f"the NPUs are {', '.join(names)}; expected {wanted}", "Correct ascend_driver_check_chip_name, or the inventory.")]


def _memory(npu: dict, wanted: int) -> list[tuple[str, str]]:
    other = [chip for chip in npu["chips"] if is_described(chip) and chip["memory_total_mb"] != wanted]
    if not wanted or not other:
        return []
    sizes = ", ".join(f"{fitness.name(chip)} has {chip['memory_total_mb']} MB" for chip in other)
    return [(f"{sizes} of memory; expected {wanted} MB", "Correct ascend_driver_check_memory_mb, or the inventory.")]


@CHECKS.add(
    hccn_link="the link of each NPU's network port",
    hccn_address="the port's address: as in hccn.conf, and no other NPU's",
    hccn_gateway="the port's gateway: as in hccn.conf",
)
def _network(npu: dict, expect: dict) -> list[Finding]:
    """The ports of the NPUs, through which workers that serve one model together talk (hccn_tool, /etc/hccn.conf)."""
    if not expect["multi_node"] or not npu.get("chips"):
        return []
    ports, kind = npu.get("network") or [], kinds.of_chip(npu["chips"][0]["name"])
    # Where more than these ports joins the NPUs, models on several hosts may do without them.
    result, also = ("warn", f"; {kind.joined} joins the NPUs of {kind.title}, too") if kind.joined else ("fail", "")
    if not any(port["link"] for port in ports):
        text = f"hccn_tool tells nothing of the NPUs' network ports; expected one with a link for each NPU{also}"
        return [Finding("hccn_link", result, text, "Run there:\n  /usr/local/Ascend/driver/tools/hccn_tool -i 0 -link -g")]
    named = list(zip(network.names(ports), ports))
    down = [f"{name} {port['link'] or 'unknown'}" for name, port in named if port["link"] != "UP"]
    link = [(f"links of NPUs are not up: {', '.join(down)}{also}", "Check cables, modules and switch ports.")] if down else []
    # Ports in one network need no gateway, and a configuration without one is no fault; one without an address is not used.
    without = [name for name, port in named if not port["gateway"] and port["address"]]
    text = f"no gateway: {', '.join(without)}; expected one where hosts are in several networks"
    lacking = [(text, "Set it: hccn_tool -i N -gateway -s …")]
    return (
        judged("hccn_link", link, result)
        + judged("hccn_address", _as_configured(ports, "address", "-ip"))
        + judged("hccn_gateway", _as_configured(ports, "gateway", "-gateway"))
        + (judged("hccn_gateway", lacking, "warn") if without else [])
    )


def _as_configured(ports: list[dict], what: str, query: str) -> list[tuple[str, str]]:
    """Ports whose address or gateway is not the one in /etc/hccn.conf, which is what they have after a reboot."""
    wanted = f"configured_{what}"
    told = [
        f"{name} has {port[what] or 'none'} and /etc/hccn.conf {port[wanted] or 'none'}"
        for name, port in zip(network.names(ports), ports)
        if port[what] != port[wanted] and (port[wanted] or what == "address")
    ]
    if not told:
        return []
    return [(f"the {what} of an NPU's port is not the configured one: {'; '.join(told)}", f"Set it with: hccn_tool -i N {query} -s …")]


def _lacks_nodes(npu: dict) -> bool:
    kind = kinds.of_chip(npu["chips"][0]["name"])
    return not {f"/dev/{name}" for name in kind.managers} <= set(npu["manager_devices"])


def _told_there(npu: dict, kind: str) -> list[tuple[str, str]]:
    """What npu_info found wrong with the host itself; what it says of one NPU is counted with that."""
    return [(item["message"].rstrip("."), "") for item in npu["findings"] if item["kind"] == kind and item["npu_id"] is None]


def _driver(npu: dict, expect: dict) -> list[tuple[str, str]]:
    found, minimum = npu.get("driver_version"), expect["minimum_driver"]
    if not minimum:
        return []
    if not found:
        return [(f"the driver's version is unknown ({found}); expected {minimum} or newer", "Reinstall the Ascend driver.")]
    order, version = drivers.order(found, minimum), expect["gpustack_version"]
    if order is None:
        text = f"the driver is {found}, which can't be compared; GPUStack {version}'s image needs {minimum} or newer"
        remedy = f"Set ascend_driver_check_minimum_driver: {found} for this host if that is known to be as new; else install a release."
        return [(text, remedy)]
    if order < 0:
        text = f"the driver is {found}; GPUStack {version}'s image needs {minimum} or newer"
        return [(text, "Upgrade the Ascend driver and firmware, or set ascend_driver_check_minimum_driver if you know better.")]
    return []


def _table_problems(npu: dict) -> list[tuple[str, str]]:
    """What npu-smi printed and could not be read. The other kinds of findings have checks of their own."""
    told = ("health", "device_node", "driver_file", "driver_version", "no_npu")
    return [(item["message"].rstrip("."), "Run `npu-smi info` there.") for item in npu["findings"] if item["kind"] not in told]
