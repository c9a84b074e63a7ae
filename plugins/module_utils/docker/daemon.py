# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's daemon.json with the NPUs as a resource of Swarm in it, and without. Pure functions on its text and settings.

What others wrote stays. What stands for the runtime that was the default before is kept in the arguments of the own runtime,
so that the file alone tells how to go back.
"""

from __future__ import annotations

import copy
import json
import os
import re
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.files import read_text
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

RUNTIME = "gpustack-npu"
KIND = "NPU"
# Names, not numbers: with numbers dockerd takes them for a count, and refuses a mixture (moby, genericresource).
NAME = "Ascend910-{}"
RUNC = ("", "runc", "io.containerd.runc.v2")
VENDOR = "ascend-docker-runtime"


class SettingsError(ValueError):
    """The file can't be changed as it is; the sentences say what was found, what was expected and what to do."""


def parse(text: str, path: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{path} is no valid JSON ({error}); expected Docker's settings. Correct it; nothing was changed.") from None
    if not isinstance(settings, dict):
        raise SettingsError(f"{path} holds no JSON object; expected Docker's settings. Correct it; nothing was changed.")
    return settings


def render(settings: dict[str, Any]) -> str:
    return json.dumps(settings, indent=2, ensure_ascii=False) + "\n" if settings else ""


def with_npus(settings: dict[str, Any], numbers: list[int], wrapper: str, path: str) -> dict[str, Any]:
    """The settings with one resource for each NPU (the number of its device node) and the own runtime as the default one."""
    if settings.get("live-restore"):
        raise SettingsError(
            f'{path} has "live-restore": true, with which Docker refuses to join a Swarm; expected it not to be set. Remove that line.'
        )
    result = without_npus(settings)
    runtimes = result.get("runtimes") or {}
    arguments = _next(result, runtimes, path)
    vendor = next((entry["path"] for entry in runtimes.values() if os.path.basename(entry.get("path", "")) == VENDOR), None)
    if vendor:
        arguments.insert(0, f"--vendor={vendor}")
    if result.get("default-runtime", "") not in RUNC:
        arguments.insert(0, f"--was={result['default-runtime']}")
    result["runtimes"] = {**runtimes, RUNTIME: {"path": wrapper, "runtimeArgs": [*arguments, "--"]}}
    result["default-runtime"] = RUNTIME
    resources = [*(result.get("node-generic-resources") or []), *(f"{KIND}={NAME.format(number)}" for number in numbers)]
    if resources:
        result["node-generic-resources"] = resources
    return result


def _next(settings: dict[str, Any], runtimes: dict[str, Any], path: str) -> list[str]:
    """Arguments for the own runtime that name the one that was the default before, with its arguments."""
    name = settings.get("default-runtime", "")
    if name in RUNC:
        return []
    entry = runtimes.get(name) or {}
    if not entry.get("path"):
        raise SettingsError(
            f"{path} has the default runtime {name}, which is no program; expected one with a path, which can be called in turn. "
            "Remove default-runtime, or give its runtime a path."
        )
    return [f"--next={entry['path']}", *entry.get("runtimeArgs", [])]


def without_npus(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as they were before; the same when nothing of the collection is in them."""
    result = copy.deepcopy(settings)
    own = (result.get("runtimes") or {}).pop(RUNTIME, None)
    if own is not None and not result["runtimes"]:
        del result["runtimes"]
    if result.get("default-runtime") == RUNTIME:
        del result["default-runtime"]
        was = [word.partition("=")[2] for word in (own or {}).get("runtimeArgs", []) if word.startswith("--was=")]
        if was and was[0] in (result.get("runtimes") or {}):
            result["default-runtime"] = was[0]
    resources = [entry for entry in result.get("node-generic-resources") or [] if not entry.startswith(f"{KIND}=")]
    if resources:
        result["node-generic-resources"] = resources
    else:
        result.pop("node-generic-resources", None)
    return result


def docker_arguments(proc: str, pid_file: str) -> list[str]:
    """Command line of the Docker daemon; empty when it does not run."""
    pid = read_text(pid_file).strip()
    return read_text(f"{proc}/{pid}/cmdline").split("\0")[:-1] if pid.isdigit() else []


def daemon_settings(arguments: list[str], default_file: str) -> dict[str, Any]:
    """Docker's configuration file, with those flags of the daemon put in that matter here."""
    flags = dict(argument[2:].split("=", 1) for argument in arguments if argument.startswith("--") and "=" in argument)
    path = flags.get("config-file", default_file)
    if "--config-file" in arguments[:-1]:
        path = arguments[arguments.index("--config-file") + 1]
    try:
        settings = json.loads(read_text(path) or "{}")
    except ValueError:
        settings = {}
    if not isinstance(settings, dict):
        settings = {}
    if "iptables" in flags:
        settings["iptables"] = flags["iptables"].lower() not in ("false", "0", "f")
    return settings


def docker_chain(
    run: Runner, engine: docker_cli.Engine, settings: dict[str, Any], names: list[str] | None, timeout: float
) -> dict[str, Any]:
    """present is None when iptables gives no clear answer; names are the running containers, None when unknown."""
    managed = settings.get("iptables") is not False and engine.firewall_backend != "nftables"
    result = run(["iptables", "--wait", "5", "-t", "nat", "-S", "DOCKER"], timeout)
    present = None
    if result.rc == 0 and not result.timed_out:
        present = True
    # The legacy and the nft kind of iptables word it differently.
    elif result.rc == 1 and re.search(r"no chain|is incompatible|does not exist", result.stderr, re.IGNORECASE):
        present = False
    return {"managed": managed, "present": present, "running_containers": names}


def python_requests() -> bool:
    """Whether this interpreter can import what Ansible's Docker modules import of requests."""
    try:
        from requests import Session  # noqa: F401
        from requests.adapters import HTTPAdapter  # noqa: F401
        from requests.packages import urllib3  # noqa: F401
    except Exception:
        # A requests that doesn't fit its urllib3 raises more than ImportError.
        return False
    return True
