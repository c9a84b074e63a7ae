#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: npu_info
short_description: List a host's Ascend NPUs, and what is wrong with them or their driver
version_added: 0.1.0
description:
  - Reads the table of C(npu-smi info), in the layouts of all its versions, and the device nodes and driver files beside
    it. One call of C(npu-smi) is made for that; O(gather) adds others.
  - It reports and never fails. Where C(npu-smi) is missing, hangs, or prints an error or something that can't be read,
    RV(ok) is V(false) and RV(problems) says what was found, what was expected and what to do.
  - A table that can be read gives its RV(chips) even when everything else about the host is wrong. A value that is not
    known is V(null), never 0.
  - Needs no root where C(npu-smi) needs none. Only root sees all processes in RV(holders).
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.info
  - ascend.gpustack.attributes.group
options:
  npu_smi:
    description:
      - The path of C(npu-smi).
      - Without it, C(npu-smi) is looked for on E(PATH), then in C(/usr/local/bin), C(/usr/local/sbin) and
        C(/usr/local/Ascend/driver/tools).
    type: path
  gather:
    description:
      - What to ask beyond the list of chips. What can't be had is a warning, not a problem.
      - V(board) asks for serial number, firmware and SoC, one call for each NPU (two on A3).
      - V(usages) asks how busy each part of a chip is, one call for each NPU.
      - V(topology) asks for the links between the NPUs, the CPUs near them and the driver's logic ids, two calls.
      - V(network) asks C(hccn_tool) for the link, addresses and TLS switch of each NPU's network interface, four calls
        for each NPU, and reads C(/etc/hccn.conf).
    type: list
    elements: str
    choices: [board, usages, topology, network]
    default: []
  timeout:
    description:
      - The time limit in seconds over all calls together. A call that runs at its end is killed with all its children.
      - One call of C(npu-smi) takes a second or more.
    type: int
    default: 60
  driver_files:
    description:
      - Whether a missing device node or driver file is a problem. Containers need them to use the NPUs.
      - What was found is returned in any case.
    type: bool
    default: true
  set_facts:
    description: Whether to set the fact C(ascend_npus) to what is returned.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: List the NPUs
  ascend.gpustack.npu_info:
  register: npus

- name: Refuse a host whose NPUs are not all in order
  ansible.builtin.assert:
    that: npus.ok
    fail_msg: "{{ npus.problems | join(' ') }}"

- name: List the NPUs with their serial numbers and network interfaces, and keep them as a fact
  ascend.gpustack.npu_info:
    gather: [board, network]
    timeout: 120
    set_facts: true
"""

RETURN = r"""
ok:
  description: Whether everything could be read and nothing is wrong. V(true) exactly when RV(problems) is empty.
  returned: always
  type: bool
  sample: false
problems:
  description: What is wrong, a sentence each, with what was expected and what to do.
  returned: always
  type: list
  elements: str
  sample: ["NPU 5 health is Alarm; expected OK. See what is wrong with: npu-smi info -t health -i 5 -c 0."]
findings:
  description: The problems in the same order, for programs.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description:
        - What kind of problem it is.
        - The tool did not answer, V(npu_smi_missing), V(npu_smi_timeout), V(npu_smi_failed), V(driver_error),
          V(output_too_long).
        - Its table is damaged or cut, so that NPUs may be missing from RV(chips), V(table_unreadable),
          V(table_incomplete).
        - One chip or the list of processes can't be read whole, V(chip_unreadable), V(processes_unreadable).
        - The host is not in order, V(no_npu), V(health), V(device_node), V(driver_file), V(driver_version).
      type: str
      sample: health
    message:
      description: The sentence in RV(problems).
      type: str
      sample: "NPU 5 health is Alarm; expected OK. See what is wrong with: npu-smi info -t health -i 5 -c 0."
    npu_id:
      description: The NPU that it is about, V(null) where it is about none or several.
      type: int
      sample: 5
driver_version:
  description: The version of the running driver as the table names it, V(null) where there is no table.
  returned: always
  type: str
  sample: 25.2.0
tool_version:
  description: The version of C(npu-smi) itself, V(null) where there is no table.
  returned: always
  type: str
  sample: 25.2.0
npu_count:
  description: The number of RV(chips). On A3 and on cards with several chips this is not the number of NPU ids.
  returned: always
  type: int
  sample: 8
chips:
  description: The chips in the order of the table. On A3, one for each die.
  returned: always
  type: list
  elements: dict
  contains:
    npu_id:
      description: The id that C(npu-smi -i) takes. A label; ids need not start at 0, nor be contiguous.
      type: int
      sample: 5
    chip_id:
      description: The chip's number in its NPU. V(null) on Ascend 950.
      type: int
      sample: 0
    logic_id:
      description:
        - The driver's logic id, from the table's C(Device) column, else the place in a whole table, else V(null).
        - With O(gather=topology), as C(npu-smi info -m) says.
      type: int
      sample: 5
    phy_id:
      description: The physical id, where the table shows one (A3), else V(null).
      type: int
      sample: null
    name:
      description: The chip's name. V(null) where the driver could not ask the chip.
      type: str
      sample: 910B4
    health:
      description: V(OK), V(Warning), V(Alarm), V(Critical) or V(UNKNOWN); V(UNKNOWN) also for a chip without name.
      type: str
      sample: Alarm
    bus_id:
      description: The PCI address, V(null) where there is none to show.
      type: str
      sample: "0000:02:00.0"
    memory_kind:
      description: What models are loaded into, V(HBM) or V(DDR).
      type: str
      sample: HBM
    memory_total_mb:
      description: The size of that memory in MB.
      type: int
      sample: 32768
    memory_used_mb:
      description: What of it is in use, in MB.
      type: int
      sample: 2871
    ddr_total_mb:
      description: The size of the chip's DDR in MB, beside HBM or alone. V(null) where it has none.
      type: int
      sample: null
    ddr_used_mb:
      description: What of it is in use, in MB.
      type: int
      sample: null
    temperature_c:
      description: The temperature in °C.
      type: float
      sample: 38
    power_w:
      description: The power in W. V(null) on 310P cards and on the second die of an A3 NPU.
      type: float
      sample: 82.6
    aicore_percent:
      description: How busy the AI cores are, in percent.
      type: float
      sample: 0
    device:
      description:
        - The device node.
        - It is the one that the chip's physical or logic id names where the table shows such an id, else the one of the
          NPU id where these ids and the nodes agree, else the one at the same place among as many nodes.
        - V(null) where the node does not exist or can't be told; RV(problems) then says so.
      type: str
      sample: /dev/davinci5
    usable:
      description: Whether health is V(OK), and name and memory are known.
      type: bool
      sample: false
    processes:
      description: The processes that run on the chip.
      type: list
      elements: dict
      contains:
        pid:
          description: The process id on the host.
          type: int
          sample: 576489
        name:
          description: Its name, cut to 15 characters. V(null) where C(npu-smi) can't see it.
          type: str
          sample: python
        memory_mb:
          description: The memory of the chip that it uses, in MB.
          type: int
          sample: 2048
        container_pid:
          description: Its process id in its container, where npu-smi 26 and later name one.
          type: int
          sample: null
devices:
  description: The device nodes of usable chips, by number.
  returned: always
  type: list
  elements: str
  sample: [/dev/davinci0, /dev/davinci1, /dev/davinci2, /dev/davinci3, /dev/davinci4, /dev/davinci6, /dev/davinci7]
manager_devices:
  description:
    - Those of C(/dev/davinci_manager), C(/dev/devmm_svm) and C(/dev/hisi_hdc) that are there.
    - On Ascend 950, which has no C(/dev/devmm_svm), also C(/dev/uburma) and C(/dev/ummu), which may be directories of device nodes.
  returned: always
  type: list
  elements: str
  sample: [/dev/davinci_manager, /dev/devmm_svm, /dev/hisi_hdc]
npu_smi_path:
  description: The C(npu-smi) that was run, V(null) where none was found.
  returned: always
  type: str
  sample: /usr/local/bin/npu-smi
driver:
  description: What the driver's files say.
  returned: always
  type: dict
  contains:
    version:
      description: The installed version, from C(version.info).
      type: str
      sample: 25.2.0
    install_path:
      description: Where it is installed.
      type: str
      sample: /usr/local/Ascend
    install_info:
      description: The lines of C(/etc/ascend_install.info), V(null) where it can't be read.
      type: dict
      sample:
        UserName: HwHiAiUser
        UserGroup: HwHiAiUser
        Driver_Install_Type: full
        Driver_Install_Path_Param: /usr/local/Ascend
        Driver_Install_For_All: "yes"
    version_info:
      description: The lines of the driver's C(version.info), V(null) where it can't be read.
      type: dict
      sample: {Version: 25.2.0, ascendhal_version: 7.35.23, package_version: 25.2.0}
    firmware_info:
      description: The lines of the firmware's C(version.info), V(null) where it can't be read.
      type: dict
      sample: {Version: 7.7.0.6.236, firmware_version: "1.0", package_version: 25.2.0}
missing_files:
  description: Driver files and folders that a container needs and that are missing.
  returned: always
  type: list
  elements: str
  sample: []
mounts:
  description:
    - Those paths that are there and that a container needs, each at the same place, to use the NPUs.
    - On Ascend 950 C(/etc/hccl_rootinfo.json) is one of them, unless it is of another generation of chips.
  returned: always
  type: list
  elements: str
  sample:
    - /usr/local/dcmi
    - /usr/local/Ascend/driver
    - /usr/local/Ascend/firmware
    - /usr/local/bin/npu-smi
    - /etc/ascend_install.info
    - /etc/hccn.conf
error:
  description: The error that the driver or C(npu-smi) printed, V(null) where it printed none that is known.
  returned: always
  type: dict
  contains:
    code:
      description: Its number, V(null) for an error without one.
      type: int
      sample: -8020
    text:
      description: The line that it printed.
      type: str
      sample: dcmi model initialized failed, because the device is used. ret is -8020
    meaning:
      description: What it means.
      type: str
      sample: another container holds an NPU, and one that is held hides them all
    remedy:
      description: What to do.
      type: str
      sample: Stop the container that holds it, or give it other NPUs
holders:
  description: Who holds an NPU. Looked for only where the driver says that one is held (error -8020).
  returned: always
  type: dict
  contains:
    processes:
      description: Processes that have a device node open.
      type: list
      elements: dict
      sample: [{pid: 4711, name: python3, devices: [/dev/davinci0], container_id: null}]
    containers:
      description:
        - Running containers that were given a device node, or NPUs through Ascend's container runtime, or all as privileged ones.
        - C(container), C(npus) and C(via) are as M(ascend.gpustack.gpustack_host_info) has them.
      type: list
      elements: dict
      sample:
        - id: 3f5b0c8f7ad1a2e5c1f0f7c0d4b4e0a0c2b6d1a4e7f8091a2b3c4d5e6f708192
          container: vllm
          name: vllm
          image: quay.io/ascend/vllm-ascend:v0.9.2rc1
          npus: [0]
          devices: [/dev/davinci0]
          via: devices
          visible_devices: null
boards:
  description: One for each NPU, the lines of C(npu-smi info -t board) under names in small letters, and its SoC.
  returned: when O(gather) has V(board)
  type: list
  elements: dict
  sample:
    - npu_id: 0
      soc_version: Ascend910B4
      product_name: IT21HMDC_Bin6x
      serial_number: "1000000000"
      software_version: 25.2.0
      firmware_version: 7.7.0.6.236
      compatibility: OK
      chip_count: 1
usages:
  description: One for each chip, the lines of C(npu-smi info -t usages) under names in small letters with their unit.
  returned: when O(gather) has V(usages)
  type: list
  elements: dict
  sample:
    - npu_id: 0
      chip_id: 0
      hbm_capacity_mb: 32768
      hbm_usage_rate_percent: 8
      aicore_usage_rate_percent: 0
topology:
  description: The kind of link from each NPU to each, and the CPUs near each.
  returned: when O(gather) has V(topology)
  type: dict
  contains:
    links:
      description: For each label of C(npu-smi info -t topo), the link to each label. V(X) is the NPU itself.
      type: dict
      sample: {NPU0: {NPU0: X, NPU1: HCCS}, NPU1: {NPU0: HCCS, NPU1: X}}
    cpu_affinity:
      description: For each label, the CPUs near it.
      type: dict
      sample: {NPU0: 144-167, NPU1: 0-23}
network:
  description: The network interface of each NPU that has a device node.
  returned: when O(gather) has V(network)
  type: list
  elements: dict
  contains:
    npu_id:
      description: The NPU.
      type: int
      sample: 0
    number:
      description: The number in the name of its device node, which C(hccn_tool) takes.
      type: int
      sample: 0
    chip_id:
      description: The chip, as in RV(chips[].chip_id).
      type: int
      sample: 0
    link:
      description: V(UP) or V(DOWN).
      type: str
      sample: UP
    address:
      description: Its address.
      type: str
      sample: 192.168.100.100
    netmask:
      description: Its netmask.
      type: str
      sample: 255.255.255.0
    gateway:
      description: Its gateway.
      type: str
      sample: 192.168.100.1
    tls:
      description: Whether TLS is on. It has to be the same on all hosts.
      type: bool
      sample: false
    configured_address:
      description: The address in C(/etc/hccn.conf), which has to be the same as RV(network[].address).
      type: str
      sample: 192.168.100.100
    configured_netmask:
      description: The netmask there.
      type: str
      sample: 255.255.255.0
    configured_gateway:
      description: The gateway there.
      type: str
      sample: 192.168.100.1
ansible_facts:
  description: The fact C(ascend_npus), which holds all of the above.
  returned: when O(set_facts) is V(true)
  type: dict
  contains:
    ascend_npus:
      description: What this module returns.
      type: dict
      sample: {ok: true, npu_count: 8}
"""

import functools

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.driver import library_path
from ansible_collections.ascend.gpustack.plugins.module_utils.npu.report import Host, Request, collect
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import run


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "npu_smi": {"type": "path"},
            "gather": {
                "type": "list",
                "elements": "str",
                "choices": ["board", "usages", "topology", "network"],
                "default": [],
            },
            "timeout": {"type": "int", "default": 60},
            "driver_files": {"type": "bool", "default": True},
            "set_facts": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    if params["timeout"] <= 0:
        module.fail_json(msg=f"timeout is {params['timeout']}; expected a number of seconds above 0.")
    request = Request(params["npu_smi"], params["gather"], params["timeout"], params["driver_files"])
    libraries = library_path()
    runner = functools.partial(run, env={"LD_LIBRARY_PATH": libraries} if libraries else None)
    report = collect(request, runner, Host())
    for warning in report.warnings:
        module.warn(warning)
    result = report.as_result()
    facts = {"ansible_facts": {"ascend_npus": result}} if params["set_facts"] else {}
    module.exit_json(changed=False, **result, **facts)


if __name__ == "__main__":
    main()
