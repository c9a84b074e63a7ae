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

from ansible_collections.ascend.gpustack.plugins.module_utils import files
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import flags as daemon_flags
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

RUNTIME = "gpustack-npu"
KIND = "NPU"
# Names, not numbers: with numbers dockerd takes them for a count, and refuses a mixture (moby, genericresource).
NAME = "Ascend910-{}"
CONFIG_FILE = "/etc/docker/daemon.json"
RUNC = ("", "runc", "io.containerd.runc.v2")
VENDOR = "ascend-docker-runtime"
# Of what is built upon, what it has to be. Null is to Docker as if the key were not there.
SHAPES: dict[str, tuple[type, str]] = {
    "live-restore": (bool, "true or false"),
    "default-runtime": (str, "the name of a runtime"),
    "runtimes": (dict, "an object with runtimes by name"),
    "node-generic-resources": (list, "a list of texts"),
}
KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
RUNTIME_SHAPES: dict[str, tuple[type, str]] = {"path": (str, "the path of a program"), "runtimeArgs": (list, "a list of texts")}


class SettingsError(ValueError):
    """The file can't be changed as it is; the sentences say what was found, what was expected and what to do."""


def load(text: str) -> Any:
    """Docker bears the mark that some editors put before the text. Raises ValueError."""
    return json.loads(text.lstrip("\ufeff"))


def parse(text: str, path: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        settings = load(text)
    except ValueError as error:
        raise SettingsError(f"{path} is no valid JSON ({error}); expected Docker's settings. Correct it; nothing was changed.") from None
    if not isinstance(settings, dict):
        raise SettingsError(f"{path} holds no JSON object; expected Docker's settings. Correct it; nothing was changed.")
    _check(settings, SHAPES, path, "")
    for name, entry in runtimes_of(settings).items():
        _check({name: entry}, {name: (dict, "an object with a path")}, path, "runtimes.")
        _check(entry or {}, RUNTIME_SHAPES, path, f"runtimes.{name}.")
    return settings


def _check(settings: dict[str, Any], shapes: dict[str, tuple[type, str]], path: str, where: str) -> None:
    """Docker itself does not start with another kind of value."""
    for key, (kind, expected) in shapes.items():
        value = settings.get(key)
        texts = not isinstance(value, list) or all(isinstance(each, str) for each in value)
        if value is not None and not (isinstance(value, kind) and texts):
            found = "a list with more than texts" if not texts else KINDS.get(type(value), "a number")
            raise SettingsError(f"{path} has {found} as {where}{key}; expected {expected}. Correct it; nothing was changed.")


def runtimes_of(settings: dict[str, Any]) -> dict[str, Any]:
    return settings.get("runtimes") or {}


def render(settings: dict[str, Any]) -> str:
    return json.dumps(settings, indent=2, ensure_ascii=False) + "\n" if settings else ""


def with_npus(settings: dict[str, Any], numbers: list[int], wrapper: str, path: str) -> dict[str, Any]:
    """The settings with one resource for each NPU (the number of its device node) and the own runtime as the default one; without any,
    as they are without NPUs."""
    result = without_npus(settings)
    if not numbers:
        return result
    runtimes = runtimes_of(result)
    arguments = _next(result, runtimes, path)
    paths = [(entry or {}).get("path") or "" for entry in runtimes.values()]
    vendor = next((each for each in paths if os.path.basename(each) == VENDOR), None)
    if vendor:
        arguments.insert(0, f"--vendor={vendor}")
    if (result.get("default-runtime") or "") not in RUNC:
        arguments.insert(0, f"--was={result['default-runtime']}")
    result["runtimes"] = {**runtimes, RUNTIME: {"path": wrapper, "runtimeArgs": [*arguments, "--"]}}
    result["default-runtime"] = RUNTIME
    given = [f"{KIND}={NAME.format(number)}" for number in numbers]
    result["node-generic-resources"] = [*(result.get("node-generic-resources") or []), *given]
    return result


def _next(settings: dict[str, Any], runtimes: dict[str, Any], path: str) -> list[str]:
    """Arguments for the own runtime that name the one that was the default before, with its arguments."""
    name = settings.get("default-runtime") or ""
    if name in RUNC:
        return []
    entry = runtimes.get(name) or {}
    if not entry.get("path"):
        raise SettingsError(
            f"{path} has the default runtime {name}, which is no program; expected one with a path, which can be called in turn. "
            "Remove default-runtime, or give its runtime a path."
        )
    return [f"--next={entry['path']}", *(entry.get("runtimeArgs") or [])]


def without_npus(settings: dict[str, Any], bound: bool = False) -> dict[str, Any]:
    """The settings as they were before; the same when nothing of the collection is in them. bound: whether containers have the runtime for
    good, since Docker gives each the default that there is when it is made; it stays for them then."""
    result = copy.deepcopy(settings)
    runtimes = runtimes_of(result)
    own = runtimes.get(RUNTIME) if bound else runtimes.pop(RUNTIME, None)
    if own is not None and not runtimes:
        del result["runtimes"]
    if result.get("default-runtime") == RUNTIME:
        del result["default-runtime"]
        was = [word.partition("=")[2] for word in (own or {}).get("runtimeArgs") or [] if word.startswith("--was=")]
        if was and was[0] in runtimes:
            result["default-runtime"] = was[0]
    resources = result.get("node-generic-resources") or []
    others = [entry for entry in resources if not entry.startswith(f"{KIND}=")]
    if others:
        result["node-generic-resources"] = others
    elif resources:
        del result["node-generic-resources"]
    return result


def kept(path: str) -> str:
    """Where the settings are with which Docker last started, until it has started with others; empty where there were none."""
    return f"{path}.gpustack-before"


def keep(path: str) -> None:
    """Before the settings are changed. Of several changes without a start between, those before the first count. Raises OSError."""
    if os.path.exists(kept(path)):
        return
    if os.path.exists(path):
        os.link(path, kept(path))
    else:
        files.write(kept(path), "", 0o600)


def forget(path: str) -> None:
    files.write(kept(path), None)


def go_back(path: str) -> bool:
    """Put the settings back with which Docker last started; False where there are no others. Raises OSError."""
    if not os.path.exists(kept(path)):
        return False
    if os.path.getsize(kept(path)):
        os.replace(kept(path), path)
    else:
        files.write(path, None)
        forget(path)
    return True


def daemon_settings(arguments: list[str], default_file: str = CONFIG_FILE) -> dict[str, Any]:
    """Docker's configuration file, with those flags of the daemon put in that matter here."""
    flags = daemon_flags.flags_of(arguments)
    try:
        settings = load(files.read_text(flags.get("config-file", default_file)) or "{}")
    except ValueError:
        settings = {}
    if not isinstance(settings, dict):
        settings = {}
    if "iptables" in flags:
        settings["iptables"] = daemon_flags.is_on(flags["iptables"])
    return {**settings, **{name: flags[name] for name in ("bridge",) if name in flags}}


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
