# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One shape of a finding, and the names of all checks.

A finding is a dict: `check` (its name, by which it can be skipped), `result` (pass, warn or fail), `message` (what was found and
what was expected, without the host's name) and `remedy`.
"""

from __future__ import annotations

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


def finding(check: str, result: str, message: str = "", remedy: str = "") -> dict:
    return {"check": check, "result": result, "message": message, "remedy": remedy}


def judged(check: str, problems: list[tuple[str, str]], result: str = "fail") -> list[dict]:
    """One finding a problem (message, remedy), or one that passes."""
    return [finding(check, result, message, remedy) for message, remedy in problems] or [finding(check, "pass")]


def failure(result: dict) -> str:
    text = result.get("msg") or result.get("module_stderr") or "no answer"
    return str(text).strip().splitlines()[-1].rstrip(".") if str(text).strip() else "no answer"
