# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the docker command tells of the engine, its containers and images. Reads only.

Descriptions of containers are kept as `docker container inspect` gives them; nothing of their arguments and
environment is passed on by this module, since tokens stand there.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import RC_NOT_FOUND, Result, Runner

LABEL_PREFIX = "ascend.gpustack."
LABEL_MANAGED = "ascend.gpustack.managed"
LABEL_VERSION = "ascend.gpustack.version"
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)\Z")
LABEL_STACK = "com.docker.stack.namespace"


class DockerError(Exception):
    """Why docker did not answer, in one line."""


@dataclass(frozen=True)
class Engine:
    """running: the daemon answers. error: why not, or why a part is None. firewall_backend is None before 29."""

    installed: bool
    running: bool = False
    server_version: str | None = None
    api_version: str | None = None
    root_dir: str | None = None
    live_restore: bool | None = None
    swarm: str | None = None
    default_runtime: str | None = None
    runtimes: list[str] = field(default_factory=list)
    firewall_backend: str | None = None
    error: str | None = None


def first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def why(argv: list[str], result: Result, timeout: float) -> str:
    """One line on why a command gave no answer."""
    command = " ".join(argv[:3] if argv[1:2] in (["container"], ["image"], ["volume"]) else argv[:2])
    if result.timed_out:
        return f"{command} did not answer within {timeout:g} s"
    # Of run and exec, 127 can be the answer of what they ran.
    if result.rc == RC_NOT_FOUND and argv[1:2] not in (["run"], ["exec"]):
        return f"the command {argv[0]} is not there"
    return redact.text(first_line(result.stderr)) or f"{command} ended with {result.rc} and no message"


def is_silent(result: Result) -> bool:
    """Whether it is the daemon that does not answer, and not something that it refuses."""
    error = result.stderr.lower()
    return result.timed_out or "docker daemon" in error or "docker api" in error


def ask(run: Runner, argv: list[str], timeout: float) -> Any:
    """The JSON that a command prints, whatever its return code: docker prints what it has, and fails for the rest."""
    result = run(argv, timeout)
    try:
        if result.timed_out:
            raise ValueError
        return json.loads(result.stdout)
    except ValueError:
        raise DockerError(why(argv, result, timeout)) from None


def read_engine(run: Runner, timeout: float) -> Engine:
    argv = ["docker", "version", "--format", "{{json .}}"]
    result = run(argv, timeout)
    if result.rc == RC_NOT_FOUND:
        return Engine(installed=False, error="the command docker is not there")
    try:
        server = json.loads(result.stdout)["Server"]
        if result.timed_out or not server:
            raise ValueError
    except (ValueError, LookupError, TypeError):
        return Engine(installed=True, error=why(argv, result, timeout))
    try:
        info = ask(run, ["docker", "info", "--format", "{{json .}}"], timeout)
        return parse_engine(server, info)
    except DockerError as error:
        return Engine(
            installed=True,
            running=True,
            server_version=server.get("Version"),
            api_version=server.get("ApiVersion"),
            error=str(error),
        )


def parse_engine(server: dict[str, Any], info: dict[str, Any]) -> Engine:
    """server: the part Server of `docker version`; info: `docker info`, both as JSON."""
    return Engine(
        installed=True,
        running=True,
        server_version=server.get("Version"),
        api_version=server.get("ApiVersion"),
        root_dir=info.get("DockerRootDir") or None,
        live_restore=info.get("LiveRestoreEnabled"),
        swarm=(info.get("Swarm") or {}).get("LocalNodeState") or None,
        default_runtime=info.get("DefaultRuntime") or None,
        runtimes=sorted(info.get("Runtimes") or {}),
        firewall_backend=(info.get("FirewallBackend") or {}).get("Driver"),
    )


def read_containers(run: Runner, timeout: float) -> list[dict[str, Any]]:
    """Descriptions of all containers, running or not; one that goes away meanwhile is left out."""
    argv = ["docker", "ps", "--all", "--quiet", "--no-trunc"]
    result = run(argv, timeout)
    if result.rc != 0 or result.timed_out:
        raise DockerError(why(argv, result, timeout))
    ids = result.stdout.split()
    return ask(run, ["docker", "container", "inspect", *ids], timeout) if ids else []


def read_container(run: Runner, name: str, timeout: float) -> dict[str, Any] | None:
    """The description of a container; None when there is none of that name."""
    return _described(run, "container", name, timeout)


def read_image(run: Runner, reference: str, timeout: float) -> dict[str, Any] | None:
    """The description of an image on this host; None when it is not there."""
    return _described(run, "image", reference, timeout)


def read_volume(run: Runner, name: str, timeout: float) -> dict[str, Any] | None:
    """The description of a volume; None when it is not there."""
    return _described(run, "volume", name, timeout)


def _described(run: Runner, kind: str, name: str, timeout: float) -> dict[str, Any] | None:
    argv = ["docker", kind, "inspect", name]
    result = run(argv, timeout)
    if result.rc == 0 and not result.timed_out:
        return json.loads(result.stdout)[0]
    if f"no such {kind}" in result.stderr.lower():
        return None
    raise DockerError(why(argv, result, timeout))


def first_file(archive: str) -> str:
    """The text of the file in what `docker cp CONTAINER:PATH -` prints."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive.encode("utf-8"))) as opened:
            member = opened.next()
            file = opened.extractfile(member) if member else None
            if file is None:
                raise DockerError("docker cp gave no file")
            return file.read().decode("utf-8", errors="replace")
    except (tarfile.TarError, UnicodeError) as error:
        raise DockerError(f"docker cp gave no archive ({error})") from None


def epoch(text: str) -> float | None:
    """A time as docker writes it; None for "never" (year 1)."""
    match = _TIME.match(text or "")
    if not match or text.startswith("0001-"):
        return None
    moment = datetime.strptime(match.group(1), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    zone = match.group(3)
    if zone != "Z":
        shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        moment -= shift if zone[0] == "+" else -shift
    return round(moment.timestamp() + float(f"0.{match.group(2) or 0}"), 6)


def name_of(container: dict[str, Any]) -> str:
    return str(container.get("Name", "")).lstrip("/")


def labels_of(container: dict[str, Any]) -> dict[str, str]:
    return (container.get("Config") or {}).get("Labels") or {}


def environment_of(container: Mapping[str, Any]) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in (container.get("Config") or {}).get("Env") or [])


def is_managed(container: dict[str, Any]) -> bool:
    return labels_of(container).get(LABEL_MANAGED) == "true"


def is_running(container: dict[str, Any]) -> bool:
    return bool((container.get("State") or {}).get("Running"))


def stands_still(container: dict[str, Any]) -> bool:
    """Whether it stands still until someone starts it: what ends by itself, Docker starts again where its policy is to."""
    return (container.get("State") or {}).get("Status") in ("exited", "created", "dead", "paused", "removing")


def find(containers: Iterable[dict[str, Any]], name: str) -> dict[str, Any] | None:
    return next((container for container in containers if name_of(container) == name), None)


def is_ours(container: dict[str, Any], name: str | None, stack: str | None) -> bool:
    """Whether a container is the one of that name, or of a service of that Swarm stack."""
    return name_of(container) == name or (bool(stack) and labels_of(container).get(LABEL_STACK) == stack)


def summary(container: dict[str, Any]) -> dict[str, Any]:
    """What may be told of a container; its arguments and environment may not."""
    state, config = container.get("State") or {}, container.get("Config") or {}
    labels = {key: value for key, value in labels_of(container).items() if key.startswith(LABEL_PREFIX)}
    return {
        "id": container.get("Id"),
        "name": name_of(container),
        "image": config.get("Image"),
        "image_id": container.get("Image"),
        "status": state.get("Status"),
        "running": is_running(container),
        "restarting": bool(state.get("Restarting")),
        "exit_code": state.get("ExitCode"),
        "created": epoch(container.get("Created", "")),
        "started_at": epoch(state.get("StartedAt", "")),
        "health": (state.get("Health") or {}).get("Status"),
        "restart_policy": ((container.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no",
        "managed": is_managed(container),
        "version": labels.get(LABEL_VERSION),
        "labels": redact.data(labels),
    }


def published_ports(container: dict[str, Any]) -> dict[int, int]:
    """Port of the host to port in the container."""
    bindings = (container.get("HostConfig") or {}).get("PortBindings") or {}
    ports = {}
    for inside, outside in bindings.items():
        for binding in outside or []:
            if str(binding.get("HostPort", "")).isdigit() and inside.partition("/")[2] in ("", "tcp"):
                ports[int(binding["HostPort"])] = int(inside.partition("/")[0])
    return ports
