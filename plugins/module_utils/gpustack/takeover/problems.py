# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands against taking a container over, a sentence each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import run as docker_run
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation, workloads
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.takeover.extras import Extra
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.takeover.old import Desired, Old
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.version import relation


def problems(old: Old, desired: Desired, found: list[Extra]) -> list[str]:
    """Sentences, one for each thing that stands against taking the container over."""
    if workloads.workload(dict(old.container)):
        return [_model_problem(old)]
    if generation.apart(old.version, desired.version):
        # With the remedy the variables come to something else.
        return [sentence for sentence in (_role_problem(old, desired), _generation_problem(old, desired)) if sentence]
    return [
        sentence
        for sentence in (
            _role_problem(old, desired),
            _works_problem(old, desired),
            _config_problem(old),
            _extras_problem(old, desired, found),
            _server_url_problem(old, desired),
            _token_problem(old, desired),
            _port_problem(old, desired),
            _data_problem(old, desired),
            _models_problem(old, desired),
            _downloads_problem(old, desired),
            _worker_name_problem(old),
            _version_problem(old, desired),
        )
        if sentence
    ]


def _model_problem(old: Old) -> str:
    return (
        f"The container {old.name} is one of a model's, which GPUStack made, and no GPUStack itself; expected another name for this"
        " collection's. Set gpustack_container_name."
    )


def _role_problem(old: Old, desired: Desired) -> str:
    if old.role == desired.role:
        return ""
    finding = f"a worker of {redact.value('', old.value('server_url'))}" if old.role == "worker" else "a server"
    return (
        f"The container {old.name} runs {finding}; the inventory wants a {desired.role} here. Put the host into the group"
        f" gpustack_{old.role}, or remove the container once what it holds is no longer needed."
    )


def _works_problem(old: Old, desired: Desired) -> str:
    works = old.worker_name or (old.role == "server" and old.value("enable_worker") is True)
    if old.role != "server" or desired.role != "server" or desired.works or not works or desired.dropped("--worker-name"):
        return ""
    name = f" {old.worker_name}" if old.worker_name else ""
    return (
        f"The container {old.name} is the worker{name} too, which models may name; the inventory wants no worker on this host. Put it"
        " into the group gpustack_worker too, or add '--worker-name' to gpustack_takeover_drop."
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
    rest = list(dict.fromkeys(redact.text(extra.name) for extra in left if not extra.remedy))
    drop = f"gpustack_takeover_drop: {json.dumps(names)}"
    if not remedies:
        remedy = f"Give them up with {drop}."
    elif not rest:
        remedy = f"Set {', '.join(remedies)} to the same, or give them up with {drop}."
    else:
        some = f"gpustack_takeover_drop: {json.dumps(rest)}"
        remedy = f"Set {', '.join(remedies)} to the same, and give up the rest with {some}; or give up all of it with {drop}."
    return (
        f"The container {old.name} was made by hand with what the variables do not say: {', '.join(extra.text for extra in left)}. {remedy}"
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


def _token_problem(old: Old, desired: Desired) -> str:
    """Of a cluster that has the token with which it was made for ever."""
    data = old.generation.data
    if not data.given_token or old.role != desired.role or old.generation is not desired.generation:
        return ""
    if old.role == "worker":
        return _other_cluster_problem(old, desired)
    if old.has_token or (desired.has_token and not (data.page_token and desired.token.startswith(data.page_token))):
        return ""
    return (
        f"The container {old.name} has no cluster token: its clusters were made on its page, and each has a token of its own, which"
        " GPUStack takes for no other. Set gpustack_token to a new one (openssl rand -hex 16); GPUStack then makes a cluster with"
        " that for the inventory's workers, beside those that there are."
    )


def _other_cluster_problem(old: Old, desired: Desired) -> str:
    found = old.value("token")
    if not found or not desired.token or str(found) == desired.token or desired.dropped("--token"):
        return ""
    worker = f" {old.worker_name}" if old.worker_name else ""
    return (
        f"The container {old.name} has another token than the inventory's cluster, so its worker{worker} is in another cluster, and"
        " GPUStack takes no worker from one into the other. Delete that worker on GPUStack's page, set gpustack_data_volume to a new"
        " one for this host, so that it joins anew, and add '--token' to gpustack_takeover_drop; or leave the host as it is."
    )


def outer_ports(old: Old) -> list[int]:
    """The ports at which the server is reached from other hosts as it is meant to be; none when at none."""
    port = _public_port({key: old.value(key) for key in old.settings}, old.generation)
    if (old.container.get("HostConfig") or {}).get("NetworkMode") == "host":
        return [port] if port else []
    published = docker_cli.published_ports(dict(old.container))
    return [outside for outside, inside in published.items() if inside == port]


def _public_port(settings: Mapping[str, Any], deployed: Generation) -> int | None:
    """Of a server with these settings; None where its setting is no number."""
    secure = settings.get("ssl_certfile") and settings.get("ssl_keyfile")
    setting = deployed.node.tls_setting if secure and deployed.node.tls_setting else "port"
    given = str(settings.get(setting) or (443 if secure else 80))
    return int(given) if given.isdigit() else None


def _port_problem(old: Old, desired: Desired) -> str:
    if old.role != "server" or desired.role != "server" or desired.dropped("--port"):
        return ""
    found, wanted = outer_ports(old), _public_port(desired.config, desired.generation)
    if not found or wanted in found:
        return ""
    return (
        f"Users and workers reach the container {old.name} on port {found[0]}; the collection would serve on port {wanted}. Set"
        f" gpustack_port: {found[0]}, or add '--port' to gpustack_takeover_drop and tell the users."
    )


def _data_problem(old: Old, desired: Desired) -> str:
    mount = old.data_mount
    if mount is None or mount.kind == "tmpfs":
        copy = "/var/lib/gpustack-data"
        return (
            f"The data of the container {old.name} ({old.data_dir}) lies in the container itself and would go with it. Run"
            f" docker stop {old.name}; docker cp {old.name}:{old.data_dir}/. {copy}; docker rename {old.name}"
            f" {old.name}-old; then set gpustack_data_volume: {copy} (and gpustack_token, if the container was given one)."
        )
    place = docker_run.below(mount.path, mount.target, old.data_dir)
    here = mount.source if old.data_dir == mount.target else place
    if desired.data_volume.rstrip("/") in (here, place):
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


def _downloads_problem(old: Old, desired: Desired) -> str:
    """Of models that lie in the data, which models' containers do not get."""
    keeps = (desired.works or desired.role == "worker") and old.generation is desired.generation
    if not old.downloads or not keeps or desired.dropped("--cache-dir"):
        return ""
    mount = docker_run.holding(desired.mounted, old.cache_dir)
    apart = mount and mount.target != desired.generation.data.directory
    if mount and apart and docker_run.below(mount.source, mount.target, old.cache_dir) == old.downloads:
        return ""
    return (
        f"The container {old.name} has downloaded models into {old.downloads}, among its data, which models' containers do not get from"
        f" the collection's. Add {old.downloads}:{old.cache_dir} to gpustack_volumes for this host, or add '--cache-dir' to"
        " gpustack_takeover_drop and have them downloaded anew on GPUStack's page."
    )


def _worker_name_problem(old: Old) -> str:
    if old.worker_name_error is None:
        return ""
    return (
        f"The name of the worker in the container {old.name} can't be read ({old.worker_name_error}), and models may name it."
        f" Make this work: docker exec {old.name} cat {old.data_dir}/worker_name (or docker start {old.name}, if it stands still)."
    )


def _generation_problem(old: Old, desired: Desired) -> str:
    lasting = generation.lasting(old.version)
    keep = f"Set gpustack_version: {lasting} to keep it, or" if lasting else "Leave the host out to keep it, or"
    return (
        f"The container {old.name} runs GPUStack {old.version}, whose data {desired.version} does not take."
        f" {keep} remove it and set gpustack_data_volume to a new one to begin anew."
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
    lasting = generation.lasting(old.version)
    if how == "newer":
        keep = f"Set gpustack_version: {lasting} to keep it." if lasting else "Leave the host out to keep it."
        return f"The container {old.name} runs GPUStack {old.version}, newer than {desired.version}: its data does not go back. {keep}"
    if how == "older" and not desired.upgrade:
        stay = f", or gpustack_version: {old.version} to stay" if lasting == old.version else ""
        return (
            f"The container {old.name} runs GPUStack {old.version}; {desired.version} would change its data for good. Set"
            f" gpustack_takeover_upgrade: true to upgrade it (its data is copied first){stay}."
        )
    return ""
