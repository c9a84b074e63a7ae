# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands against taking a container over, a sentence each."""

from __future__ import annotations

import json

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.takeover.extras import Extra, data_mount
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.takeover.old import Desired, Old
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.version import relation


def problems(old: Old, desired: Desired, found: list[Extra]) -> list[str]:
    """Sentences, one for each thing that stands against taking the container over."""
    return [
        sentence
        for sentence in (
            _role_problem(old, desired),
            _config_problem(old),
            _extras_problem(old, desired, found),
            _server_url_problem(old, desired),
            _port_problem(old, desired),
            _data_problem(old, desired),
            _models_problem(old, desired),
            _worker_name_problem(old),
            _version_problem(old, desired),
        )
        if sentence
    ]


def _role_problem(old: Old, desired: Desired) -> str:
    if old.role == desired.role:
        return ""
    finding = f"a worker of {redact.value('', old.value('server_url'))}" if old.role == "worker" else "a server"
    return (
        f"The container {old.name} runs {finding}; the inventory wants a {desired.role} here. Put the host into the group"
        f" gpustack_{old.role}, or remove the container once what it holds is no longer needed."
    )


def _config_problem(old: Old) -> str:
    if old.config_error is None:
        return ""
    return (
        f"The configuration file of the container {old.name} can't be read ({old.config_error}), so what it sets would be"
        f" lost. Start the container, or put the file where it was (docker inspect {old.name})."
    )


def _extras_problem(old: Old, desired: Desired, found: list[Extra]) -> str:
    left = [extra for extra in found if not extra.covered and not extra.dropped]
    if not left:
        return ""
    remedies = list(dict.fromkeys(extra.remedy for extra in left if extra.remedy))
    names = list(dict.fromkeys(redact.text(extra.name) for extra in left))
    remedy = f"Set {', '.join(remedies)} to the same, or give them up" if remedies else "Give them up"
    return (
        f"The container {old.name} was made by hand with what the variables do not say:"
        f" {', '.join(extra.text for extra in left)}. {remedy} with gpustack_takeover_drop: {json.dumps(names)}."
    )


def _server_url_problem(old: Old, desired: Desired) -> str:
    if old.role != "worker" or desired.role != "worker" or desired.dropped("--server-url"):
        return ""
    found, wanted = str(old.value("server_url")).rstrip("/"), desired.server_url.rstrip("/")
    if found.lower() == wanted.lower():
        return ""
    return (
        f"The container {old.name} is a worker of {redact.value('', found)}; the inventory's server is {wanted}. Set"
        f" gpustack_server_url: {redact.value('', found)} if that is the same server, or add '--server-url' to"
        " gpustack_takeover_drop to move the worker."
    )


def outer_port(old: Old) -> int | None:
    """The port at which the server is reached from other hosts; None when at none."""
    secure = old.value("ssl_certfile") and old.value("ssl_keyfile")
    given = str(old.value("port") or (443 if secure else 80))
    port = int(given) if given.isdigit() else None
    if (old.container.get("HostConfig") or {}).get("NetworkMode") == "host":
        return port
    published = docker_cli.published_ports(dict(old.container))
    return next((outside for outside, inside in published.items() if inside == port), None)


def _port_problem(old: Old, desired: Desired) -> str:
    if old.role != "server" or desired.role != "server" or desired.dropped("--port"):
        return ""
    secure = desired.config.get("ssl_certfile") and desired.config.get("ssl_keyfile")
    found, wanted = outer_port(old), int(desired.config.get("port") or (443 if secure else 80))
    if found is None or found == wanted:
        return ""
    return (
        f"Users and workers reach the container {old.name} on port {found}; the collection would serve on port {wanted}. Set"
        f" gpustack_port: {found}, or add '--port' to gpustack_takeover_drop and tell the users."
    )


def _data_problem(old: Old, desired: Desired) -> str:
    mount = data_mount(old)
    if mount is None or mount.kind == "tmpfs":
        copy = "/var/lib/gpustack-data"
        return (
            f"The data of the container {old.name} ({old.data_dir}) lies in the container itself and would go with it. Run"
            f" docker stop {old.name}; docker cp {old.name}:{old.data_dir}/. {copy}; docker rename {old.name}"
            f" {old.name}-old; then set gpustack_data_volume: {copy} (and gpustack_token, if the container was given one)."
        )
    rest = old.data_dir[len(mount.target) :].strip("/")
    here = f"{mount.path}/{rest}" if rest else mount.source
    if desired.data_volume.rstrip("/") in (here, f"{mount.path}/{rest}".rstrip("/")):
        return ""
    return (
        f"The data of the container {old.name} is in {here}; the collection would mount {desired.data_volume}. Set"
        f" gpustack_data_volume: {here} for this host."
    )


def _models_problem(old: Old, desired: Desired) -> str:
    mount = next((mount for mount in old.mounted if mount.target == "/models"), None)
    wanted = desired.models_dir.rstrip("/")
    if mount is None or desired.dropped("/models") or wanted in (mount.source, mount.path):
        return ""
    return (
        f"The container {old.name} has {mount.source} as /models; the collection would mount {wanted}, and models would not"
        f" be found. Set gpustack_models_dir: {mount.path or mount.source} for this host."
    )


def _worker_name_problem(old: Old) -> str:
    if old.worker_name_error is None:
        return ""
    return (
        f"The name of the worker in the container {old.name} can't be read ({old.worker_name_error}), and models may name it."
        f" Make this work: docker exec {old.name} cat {old.data_dir}/worker_name (or docker start {old.name}, if it stands still)."
    )


def _version_problem(old: Old, desired: Desired) -> str:
    how = relation(old.version, desired.version)
    if how == "unknown":
        found = f"is {old.version}, which is no release" if old.version else f"can't be read ({old.version_error})"
        image = (old.container.get("Config") or {}).get("Image") or old.container.get("Image")
        return (
            f"The GPUStack version of the container {old.name} {found}; expected one up to {desired.version}, since a newer"
            f" one's data can't be taken over. Make this work: docker run --rm --entrypoint bash {image} -lc 'gpustack"
            " version'"
        )
    if generation.apart(old.version, desired.version):
        return (
            f"The container {old.name} runs GPUStack {old.version}, whose data {desired.version} does not take. Set"
            f" gpustack_version: {old.version} to keep it, or remove it and set gpustack_data_volume to a new one to begin anew."
        )
    if how == "newer":
        return (
            f"The container {old.name} runs GPUStack {old.version}, newer than {desired.version}: its data does not go back."
            f" Set gpustack_version: {old.version} to keep it."
        )
    if how == "older" and not desired.upgrade:
        return (
            f"The container {old.name} runs GPUStack {old.version}; {desired.version} would change its data for good. Set"
            " gpustack_takeover_upgrade: true to upgrade it (its data is copied first), or gpustack_version:"
            f" {old.version} to stay."
        )
    return ""
