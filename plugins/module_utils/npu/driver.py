# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host shows of the Ascend driver beside npu-smi: device nodes, installed files.

Every function takes the root of the file system, so that a test can give a folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Callable

from ansible_collections.ascend.gpustack.plugins.module_utils.files import read_small
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.chip import Chip, Finding, InfoTable
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.kinds import OTHER, ROOT_INFO, Kind, of_root_info

DEFAULT_PATH = "/usr/local/Ascend"
INSTALL_INFO = "/etc/ascend_install.info"
DCMI = "/usr/local/dcmi"
HCCN_CONF = "/etc/hccn.conf"
# Off PATH for a non-login shell, for sudo and for Ansible.
NPU_SMI_FOLDERS = ("/usr/local/bin", "/usr/local/sbin", "/usr/local/Ascend/driver/tools")
NODE = re.compile(r"davinci([0-9]{1,4})")


@dataclass
class DeviceNodes:
    """numbers are the N of /dev/davinciN in ascending order; managers the paths found that go with them, those of a fabric among them;
    wrong those that are there but are no device; missing those without which no container can use an NPU; apart those without which the
    NPUs can't talk to each other."""

    numbers: list[int] = field(default_factory=list)
    managers: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)


@dataclass
class DriverFiles:
    """The driver's own account of its installation; a dict is None where its file can't be read."""

    install_path: str = DEFAULT_PATH
    install_info: dict[str, str] | None = None
    version_info: dict[str, str] | None = None
    firmware_info: dict[str, str] | None = None
    missing: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def version(self) -> str | None:
        return (self.version_info or {}).get("Version")


def find_npu_smi(root: str = "/", search: str | None = None) -> str | None:
    """The path of npu-smi: on PATH (or search), else where the driver's packages put it."""
    path = os.environ.get("PATH", os.defpath) if search is None else search
    return shutil.which("npu-smi", path=os.pathsep.join([path, *(under(root, folder) for folder in NPU_SMI_FOLDERS)]))


def under(root: str, path: str) -> str:
    """A path of the host below the root that is looked at."""
    return os.path.join(root, path.lstrip("/"))


def parse_properties(text: str) -> dict[str, str]:
    """key=value lines, as in version.info and ascend_install.info."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals and key.strip()}


def read_properties(path: str) -> dict[str, str] | None:
    text = read_small(path)
    return None if text is None else parse_properties(text)


def library_path(root: str = "/") -> str:
    """LD_LIBRARY_PATH with the driver's folders after the present ones: without a login shell it may lack them."""
    base = os.path.join(read_driver_files(root).install_path, "driver/lib64")
    folders = [os.path.join(base, name) for name in ("common", "driver", "")]
    present = [folder.rstrip("/") for folder in folders if os.path.isdir(under(root, folder))]
    return os.pathsep.join([folder for folder in [os.environ.get("LD_LIBRARY_PATH", ""), *present] if folder])


def read_driver_files(root: str = "/") -> DriverFiles:
    """Read the driver's files, and find those missing that a container needs mounted."""
    files = DriverFiles(install_info=read_properties(under(root, INSTALL_INFO)))
    named = (files.install_info or {}).get("Driver_Install_Path_Param", "")
    files.install_path = os.path.normpath(named) if named.startswith("/") else DEFAULT_PATH
    version_info = f"{files.install_path}/driver/version.info"
    files.version_info = read_properties(under(root, version_info))
    files.firmware_info = read_properties(under(root, f"{files.install_path}/firmware/version.info"))
    for path in (INSTALL_INFO, version_info):
        if not os.path.isfile(under(root, path)):
            _missing(files, path, under(root, path), "file")
    for path in (f"{files.install_path}/driver/lib64", DCMI):
        if not os.path.isdir(under(root, path)):
            _missing(files, path, under(root, path), "folder")
    status = (files.install_info or {}).get("Driver_Install_Status")
    # Older packages never write a status.
    if status not in (None, "complete"):
        text = f"{INSTALL_INFO} says that the driver's installation is '{status}'; expected 'complete'. Install the driver package again."
        files.findings.append(Finding("driver_file", text))
    return files


def container_mounts(files: DriverFiles, npu_smi: str | None, root: str = "/", further: Iterable[str] = ()) -> list[str]:
    """The paths, of those that are there, that a container needs at the same place to use the NPUs.

    Docker would make a folder of one that isn't.
    """
    folders = [DCMI, f"{files.install_path}/driver", f"{files.install_path}/firmware"]
    tool = ["/" + os.path.relpath(npu_smi, root)] if npu_smi else []
    plain = [*tool, INSTALL_INFO, HCCN_CONF, *further]
    present = [path for path in folders if os.path.isdir(under(root, path))]
    return present + [path for path in plain if os.path.isfile(under(root, path))]


def _missing(files: DriverFiles, path: str, real_path: str, kind: str) -> None:
    files.missing.append(path)
    if os.path.isdir(real_path):
        message = (
            f"{path} is a folder; expected the driver's {kind} (Docker makes one where it mounts a missing file). "
            "Remove it, and install the driver package again."
        )
    else:
        message = f"{path} is missing; expected the driver's {kind}. Install the driver package again."
    files.findings.append(Finding("driver_file", message))


def is_character_device(path: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        return False


def root_info_problem(kind: Kind, root: str = "/") -> Finding | None:
    """Why the host's file for HCCL is not to be given to a container; None where there is none, or where it is fine."""
    path = under(root, ROOT_INFO)
    if not kind.root_info or not os.path.exists(path):
        return None
    try:
        content = json.loads(read_small(path) or "")
        version = str(content["version"])
    except (ValueError, LookupError, TypeError):
        text = f"{ROOT_INFO} {'is a folder' if os.path.isdir(path) else 'names no version'}; expected version {kind.root_info}"
    else:
        if version == kind.root_info:
            return None
        text = f"{ROOT_INFO} has version {version}, which is that of {of_root_info(version)}; expected {kind.root_info} for {kind.title}"
    text += (
        ". HCCL refuses it (EI0014) where a container has it, so that no model starts on several NPUs; the containers made here do not "
        f"get it. Move it away (mv {ROOT_INFO} /root)."
    )
    return Finding("driver_file", text)


def list_device_nodes(
    root: str = "/", is_device: Callable[[str], bool] = is_character_device, kind: Kind = OTHER, machine: str = ""
) -> DeviceNodes:
    nodes = DeviceNodes()
    folder = under(root, "/dev")
    try:
        names = os.listdir(folder)
    except OSError:
        return nodes
    for name in sorted(names):
        match = NODE.fullmatch(name)
        if not match and name not in (*kind.managers, *kind.fabric):
            continue
        if not (is_device(os.path.join(folder, name)) or (name in kind.fabric and _holds_devices(os.path.join(folder, name), is_device))):
            nodes.wrong.append(f"/dev/{name}")
        elif match:
            nodes.numbers.append(int(match.group(1)))
        else:
            nodes.managers.append(f"/dev/{name}")
    nodes.numbers.sort()
    known = nodes.managers + nodes.wrong
    nodes.missing = [path for path in (f"/dev/{name}" for name in kind.managers) if path not in known]
    fabric = kind.fabric if machine == kind.machine else ()
    nodes.apart = [path for path in (f"/dev/{name}" for name in fabric) if path not in known]
    return nodes


def _holds_devices(folder: str, is_device: Callable[[str], bool]) -> bool:
    """A fabric's nodes may be below a directory, which Docker takes for all of them."""
    return any(is_device(os.path.join(top, name)) for top, _folders, names in os.walk(folder) for name in names)


def assign_devices(table: InfoTable, numbers: list[int]) -> list[Finding]:
    """Give each chip its /dev/davinciN, or None where that can't be known.

    N counts physical (A3: Phy-ID) or logic ids (310 family: Device). Other tables show neither, and NPU ids only
    number the nodes on some products. So ids are believed where they and the nodes agree, as far as either goes:
    on a server with NPU 3 lost both lack 3, with one node gone only the nodes do. Where they disagree (ids 1 and 4,
    nodes 0 and 1) the order of a complete table stands, if there are as many nodes as chips.
    """
    keys = _node_keys(table)
    present = set(numbers)
    known = set(keys)
    if len(known) == len(keys) > 0 and (known <= present or present <= known):
        pairs = list(zip(table.chips, keys))
    elif table.complete and len(table.chips) == len(numbers):
        order = sorted(range(len(keys)), key=lambda place: keys[place]) if table.second_id else range(len(keys))
        pairs = [(table.chips[place], node) for place, node in zip(order, numbers)]
    else:
        pairs = []
    for chip, node in pairs:
        chip.device = f"/dev/davinci{node}" if node in present else None
    return _device_findings(table.chips, {id(chip): node for chip, node in pairs}, numbers)


def _node_keys(table: InfoTable) -> list[int]:
    """The number of each chip that may be its node's; not unique where the table has none."""
    if table.second_id == "Phy-ID":
        keys = [chip.phy_id for chip in table.chips]
    elif table.second_id == "Device":
        keys = [chip.logic_id for chip in table.chips]
    else:
        keys = [chip.npu_id for chip in table.chips]
    return [-1 if key is None else key for key in keys]


def _device_findings(chips: list[Chip], nodes: dict[int, int], numbers: list[int]) -> list[Finding]:
    findings = []
    for chip in chips:
        if chip.device is not None or not numbers:
            continue
        if id(chip) in nodes and nodes[id(chip)] >= 0:
            text = f"{chip.label} has no device node: /dev/davinci{nodes[id(chip)]} does not exist"
        else:
            text = f"{chip.label} can't be matched to a device node: {len(chips)} NPUs, {_node_list(numbers)} exist"
        text += ". The driver makes the nodes at start, some minutes late for slow devices: look at dmesg, and reboot the host if it stays."
        findings.append(Finding("device_node", text, chip.npu_id))
    taken = {chip.device for chip in chips}
    left = [number for number in numbers if f"/dev/davinci{number}" not in taken]
    if chips and left and len(left) < len(numbers):
        text = (
            f"{_node_list(left)} belongs to no NPU that npu-smi info lists: an NPU may be lost. Check the hardware "
            "with 'lspci -d 19e5:', and dmesg."
        )
        findings.append(Finding("device_node", text))
    return findings


def _node_list(numbers: list[int]) -> str:
    return ", ".join(f"/dev/davinci{number}" for number in numbers)


def node_findings(nodes: DeviceNodes) -> list[Finding]:
    """What is missing below /dev whatever npu-smi says."""
    findings = []
    if not nodes.numbers:
        text = (
            "There is no device node /dev/davinciN: the driver is not loaded, or found no NPU. Check 'lspci -d 19e5:' "
            "and dmesg; reboot the host if the driver was just installed."
        )
        findings.append(Finding("device_node", text))
    for path in nodes.wrong:
        text = (
            f"{path} is no device node; expected a character device (Docker makes a folder where it mounts a missing "
            "file). Remove it and reboot the host."
        )
        findings.append(Finding("device_node", text))
    if nodes.missing:
        text = (
            f"{', '.join(nodes.missing)} missing: containers can't use an NPU without. The driver makes them at start: look "
            "at dmesg, and reboot the host if it stays."
        )
        findings.append(Finding("device_node", text))
    if nodes.apart:
        text = (
            f"{', '.join(nodes.apart)} missing: the NPUs can't talk to each other in a container without, nor a model use several. "
            "The kernel's UB drivers make them: look at dmesg and 'lsmod | grep -e ummu -e uburma'."
        )
        findings.append(Finding("device_node", text))
    return findings
