# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Ascend driver and npu-smi say when they fail, by number and by text, with meaning and remedy.

The exit status says little (it is the code's low byte, and 0 for some failures): the text decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.ascend.gpustack.plugins.module_utils.npu.words import TEXT_LIMIT, quote

REBOOT = "Reboot the host if the driver, its firmware or the kernel was updated since the last start"
RERUN = "Run 'npu-smi info' again; if it stays, look at dmesg and /var/log/ascend_seclog"
# From the DCMI reference; npu-smi's own codes mirror them 1000 lower.
CODES: dict[int, tuple[str, str]] = {
    -8001: ("a parameter is wrong", "Check the ids given to npu-smi with: npu-smi info -l"),
    -8002: ("the operation is not permitted", "Run it as root, or as a member of the group HwHiAiUser"),
    -8003: ("memory could not be had", RERUN),
    -8005: (
        "the driver can't be reached (its kernel module is not loaded, its device nodes or libraries are not there, "
        "the user may not open them, or it was upgraded without a reboot)",
        f"{REBOOT}; otherwise check 'lsmod | grep -E drv_\\|asdrv_', 'ls -l /dev/davinci_manager', and run as root",
    ),
    -8006: ("the driver did not answer in time", RERUN),
    -8007: ("the NPU's id is not known", "Check the ids with: npu-smi info -l"),
    -8008: ("the NPU does not exist", "Check the ids with: npu-smi info -l, and the hardware with: lspci -d 19e5:"),
    -8009: ("a call into the kernel module failed", f"{REBOOT}; look at dmesg"),
    -8012: ("the NPU is not ready", "Wait some minutes after a start of the host, then run 'npu-smi info' again"),
    -8013: ("this can't be asked in a container", "Run it on the host"),
    -8017: ("its firmware is being upgraded", "Wait until the upgrade ends, then run 'npu-smi info' again"),
    -8020: (
        "another container holds an NPU, and one that is held hides them all",
        "Stop the container that holds it, or give it other NPUs",
    ),
    -8255: ("this product does not support the query", "Leave it out"),
    -9019: ("a call into the driver failed", RERUN),
}
# Texts that carry no number, most telling first.
TEXTS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        re.compile(r"error while loading shared libraries: (\S{1,80}?):"),
        "a library of the driver is not found",
        "Check that /usr/local/Ascend/driver/lib64 is whole (reinstall the driver if not), and that its folders common "
        "and driver are named in /etc/ld.so.conf.d or LD_LIBRARY_PATH",
    ),
    (
        re.compile(r"npu-smi: (?:command )?not found|npu-smi: No such file", re.IGNORECASE),
        "npu-smi is not installed",
        "Install the Ascend driver, or name its path in npu_smi",
    ),
    (
        re.compile(r"Permission denied|Is a directory|Exec format error", re.IGNORECASE),
        "npu-smi can't be executed",
        "Check with 'ls -l' that it is the driver's own file and executable (a wrong bind mount leaves a directory)",
    ),
    (
        re.compile(r"There is no NPU card on this server"),
        "the driver sees no NPU",
        "Check the hardware with: lspci -d 19e5:, and dmesg",
    ),
    (
        re.compile(r"Invalid card id|Error parameter of -i"),
        "this NPU id is not in the driver's list (the card is lost, or the id is a logic id)",
        "Check with: npu-smi info -l, and lspci -d 19e5:",
    ),
    (
        re.compile(r"does not support querying"),
        "this product does not support the query",
        "Leave it out",
    ),
    (
        re.compile(r"Error parameter of -\w|Command or option is not found"),
        "this version of npu-smi does not know the query",
        "Leave it out, or update the driver",
    ),
    (
        re.compile(r"cannot be executed on a VM or container|only by the root user|only root user", re.IGNORECASE),
        "the query is allowed to root on the host only",
        "Run it as root on the host",
    ),
    (
        re.compile(r"Failed to (?:get card number|get device type|query card total)|npu_get_card_device_id failed"),
        "the driver answers in part only",
        f"{REBOOT}; look at dmesg",
    ),
    (
        re.compile(r"drvMngGetConsoleLogLevel failed", re.IGNORECASE),
        "the driver's manager can't be reached",
        f"{REBOOT}; otherwise check 'ls -l /dev/davinci_manager', and run as root",
    ),
)
CODE = re.compile(r"\b(?:ret|err) is (-[89][0-9]{3})(?![0-9])")


@dataclass(frozen=True)
class DriverError:
    """code is the DCMI code (-8000 downwards) or npu-smi's own (-9000 downwards), None where only text is given."""

    code: int | None
    text: str
    meaning: str
    remedy: str

    @property
    def sentence(self) -> str:
        return f"npu-smi fails with {quote(self.text)}: {self.meaning}. {self.remedy}."


def find_driver_error(text: str) -> DriverError | None:
    """The error that text is about, or None. Of several codes the driver's own comes before npu-smi's, which
    follow from it."""
    lines = [line.strip() for line in text[:TEXT_LIMIT].splitlines()]
    coded = [(int(match.group(1)), line) for line in lines for match in CODE.finditer(line)]
    if coded:
        code, line = max(coded, key=lambda pair: (pair[0] > -9000, pair[0] == -8020))
        return _coded_error(code, line)
    for pattern, meaning, remedy in TEXTS:
        told = next((line for line in lines if pattern.search(line[:1000])), None)
        if told is not None:
            return DriverError(None, told, meaning, remedy)
    return None


def _coded_error(code: int, line: str) -> DriverError:
    known = CODES.get(code) or CODES.get(code + 1000)
    meaning, remedy = known or ("the code is not documented", RERUN)
    if code == -9005:
        meaning = "the board could not be read, which often follows from the driver not being reachable"
    return DriverError(code, line, meaning, remedy)
