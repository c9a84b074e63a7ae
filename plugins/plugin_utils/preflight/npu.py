# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings about a host's NPUs and their driver, from what npu_info returned."""

from __future__ import annotations

import re

from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import failure, finding, judged

MANAGERS = ("/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc")


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


def _npu_findings(npu: dict, expect: dict) -> list[dict]:
    if "chips" not in npu:
        return [finding("npu_smi", "fail", f"npu-smi could not be run: {failure(npu)}", "Run `npu-smi info` there as root.")]
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
