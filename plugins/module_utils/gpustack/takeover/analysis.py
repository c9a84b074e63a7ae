# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a GPUStack container made by hand would lose if the collection's took its place.

Secrets are compared and counted here, and never put into a text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import arguments, generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.takeover.extras import Extra, extras
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.takeover.old import Desired, Old
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.takeover.problems import _data_problem, problems
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.version import relation


def token_source(old: Old) -> str | None:
    setting = old.settings.get("token")
    if setting and setting.value not in (None, ""):
        return setting.source
    return "file" if old.role == "server" and old.has_token else None


def notes(old: Old, desired: Desired, all_extras: list[Extra]) -> list[str]:
    """Sentences on what stays and what changes."""
    found = []
    if old.data_mount and not _data_problem(old, desired):
        found.append(f"The data in {desired.data_volume} is kept.")
    directory = desired.generation.data.directory
    if old.data_dir != directory:
        found.append(f"The data is mounted at {directory}, no longer at {old.data_dir}.")
    found += _token_notes(old, desired)
    if old.worker_name:
        found.append(f"Its worker is called {old.worker_name} now.")
    if not old.value("cache_dir") and desired.config.get("cache_dir"):
        found.append(f"Models in {old.cache_dir} stay there; new ones go to {desired.config['cache_dir']}.")
    image = (old.container.get("Config") or {}).get("Image")
    if desired.image and image != desired.image:
        found.append(f"Its image {image} becomes {desired.image}.")
    if relation(old.version, desired.version) == "older":
        found.append(f"GPUStack {old.version} becomes {desired.version}.")
    npus = _lost_npus(old, desired)
    if npus:
        found.append(f"It no longer gets {', '.join(npus)}.")
    policy = ((old.container.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no"
    if policy != "unless-stopped":
        found.append(f"The restart policy {policy} becomes unless-stopped.")
    if old.value("bootstrap_password"):
        found.append("The bootstrap password is not carried over: once the user admin exists, it has no effect.")
    project = docker_cli.labels_of(dict(old.container)).get("com.docker.compose.project")
    if project:
        found.append(f"It was made by docker compose (project {project}): do not run that project again.")
    if not old.image:
        found.append("Its image is gone from the host, so the image's own environment counts as given by hand.")
    lost = sorted(extra.text for extra in all_extras if extra.dropped and not extra.covered)
    if lost:
        found.append(f"Given up: {', '.join(lost)}.")
    return found


def _lost_npus(old: Old, desired: Desired) -> list[str]:
    if desired.privileged:
        return []
    kept = {device.split(":")[0] for device in desired.devices}
    given = {device["PathOnHost"] for device in (old.container.get("HostConfig") or {}).get("Devices") or []}
    return sorted(path for path in given - kept if re.match(r"/dev/davinci\d+\Z", path))


def _token_notes(old: Old, desired: Desired) -> list[str]:
    source = token_source(old)
    places = {
        "argument": "its arguments",
        "environment": "its environment",
        "config": "its configuration file",
        "file": "its data",
    }
    if source is None and old.role == "server" and desired.has_token:
        return ["GPUStack makes a cluster with gpustack_token, beside those that were made on its page."]
    if source is None:
        return []
    if desired.has_token and old.role == "server" and not old.generation.data.given_token:
        return [f"gpustack_token takes the place of the cluster token in {places[source]}: other workers need the same."]
    if old.role == "server":
        return [f"The cluster token in {places[source]} stays the same."]
    return []


def analyse(old: Old, desired: Desired) -> dict[str, Any]:
    found = extras(old, desired)
    mount = old.data_mount
    return {
        "exists": True,
        "hand_made": True,
        "running": docker_cli.is_running(dict(old.container)),
        "version": old.version,
        "version_relation": relation(old.version, desired.version),
        "apart": generation.apart(old.version, desired.version),
        "role": old.role,
        "worker_name": old.worker_name,
        "token_source": token_source(old),
        "data_mount": {"type": mount.kind, "source": mount.path, "name": mount.source} if mount else None,
        "extras": [
            {
                "name": redact.text(extra.name),
                "kind": extra.kind,
                "text": extra.text,
                "covered": extra.covered,
                "dropped": extra.dropped,
            }
            for extra in found
        ],
        "problems": problems(old, desired, found),
        "notes": notes(old, desired, found),
    }


def secrets_of(container: Mapping[str, Any]) -> set[str]:
    """Values in the container's arguments and environment that must never be printed, whichever generation's they are."""
    config = container.get("Config") or {}
    words = arguments.words_of(config.get("Entrypoint"), config.get("Cmd"))
    read = [arguments.parse(words, each.command_line).values for each in generation.DEPLOYED]
    given = {secret for values in read for secret in redact.secrets_in(values)}
    return redact.secrets_of(words, docker_cli.environment_of(container)) | redact.telling(given)
