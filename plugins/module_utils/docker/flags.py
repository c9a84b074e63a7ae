# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The flags that the Docker daemon was started with, and those that stand against what is written into its file.

dockerd does not start where one directive is both a flag and in the file (moby, daemon/config: findConfigurationConflicts), the runtimes
excepted, which it puts together; `dockerd --validate` knows of no flags.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.files import read_text
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

PID_FILE = "/var/run/docker.pid"
# By the directive in the file: the flag that says the same
DIRECTIVES = {"default-runtime": "default-runtime", "node-generic-resources": "node-generic-resource"}
AGAIN = "\n  systemctl daemon-reload && systemctl restart docker"


def docker_arguments(proc: str = "/proc", pid_file: str = PID_FILE) -> list[str]:
    """Command line of the Docker daemon; empty when it does not run."""
    pid = read_text(pid_file).strip()
    return read_text(f"{proc}/{pid}/cmdline").split("\0")[:-1] if pid.isdigit() else []


def flags_of(arguments: list[str]) -> dict[str, str]:
    """The long flags of a daemon's command line with their values, "true" of a switch. dockerd takes nothing but flags, so that a word
    without a dash is the value of the flag before it."""
    flags: dict[str, str] = {}
    for word, following in zip(arguments[1:], [*arguments[2:], "-"]):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            flags[name] = value if equals else "true" if following.startswith("-") else following
    return flags


def is_on(value: str | None) -> bool:
    """Whether a switch of the daemon is on, as Go reads it."""
    return value is not None and value.lower() not in ("false", "0", "f")


def given_in(run: Runner, flag: str, timeout: float) -> str:
    """The file from which systemd has a flag of the daemon: the unit, a drop-in, or what holds its environment."""
    properties = ("FragmentPath", "DropInPaths", "EnvironmentFiles")
    told = run(["systemctl", "show", "--property", ",".join(properties), "docker.service"], timeout).stdout
    paths = re.findall(r"(?<=[= ])/[^ \n]+", told)
    # The last one that sets it counts.
    found = [path for path in paths if re.search(rf"--{re.escape(flag)}(?![\w-])", read_text(path))]
    return found[-1] if found else "systemctl cat docker"


def problem(settings: Mapping[str, Any], flags: Mapping[str, str], wanted: Mapping[str, Any], path: str, where: Any) -> str | None:
    """Why a daemon that is started with these flags does not take what is wanted in its file, or joins no Swarm; settings: what is in
    the file, where: a function from a flag to the file that gives it."""
    if settings.get("live-restore"):
        return f'{path} has "live-restore": true, with which Docker refuses to join a Swarm; expected it not to be set. Remove that line.'
    if is_on(flags.get("live-restore")):
        return (
            f"dockerd runs with the flag --live-restore ({where('live-restore')}), with which Docker refuses to join a Swarm; "
            f"expected it without. Take it out there, and run:{AGAIN}"
        )
    if settings == wanted:
        return None
    if flags.get("config-file", path) != path:
        return (
            f"dockerd runs with the flag --config-file={flags['config-file']} ({where('config-file')}), and does not read {path}; "
            f"expected its settings there. Move them, take the flag out, and run:{AGAIN}"
        )
    for key, flag in DIRECTIVES.items():
        if flag in flags and wanted.get(key):
            return (
                f"dockerd runs with the flag --{flag}={flags[flag]} ({where(flag)}), and does not start with {key} in {path} beside it; "
                f"expected it there alone. Move it into that file, and run:{AGAIN}"
            )
    return None
