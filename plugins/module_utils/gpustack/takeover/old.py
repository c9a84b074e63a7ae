# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container made by hand: its settings, mounts, options and version, from what Docker says and from files in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import run as docker_run
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import config_file
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import version as versions
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.generation import DEFAULT
from ansible_collections.ascend.gpustack.plugins.module_utils.redact import shown
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

DATA_DIR = DEFAULT.data.directory
SWITCHES, REPEATABLE = DEFAULT.command_line.switches, DEFAULT.command_line.repeatable
_SETTINGS = DEFAULT.command_line.settings
_SHORT = DEFAULT.command_line.short
_OTHER_ENVIRONMENT = DEFAULT.command_line.environment


@dataclass(frozen=True)
class Desired:
    """What the collection will run. secret_keys: settings it will write that are not in config."""

    role: str
    data_volume: str
    models_dir: str
    version: str
    server_url: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    secret_keys: frozenset[str] = frozenset()
    has_token: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    image: str = ""
    drop: frozenset[str] = frozenset()
    upgrade: bool = False

    def dropped(self, name: str) -> bool:
        # What is given up may be written as it was typed: --shm-size=16g, HTTP_PROXY=http://proxy:3128.
        return any(name == entry or entry.startswith(name + "=") for entry in self.drop)

    @property
    def mounted(self) -> list[docker_run.Mount]:
        return [docker_run.parse_volume(volume) for volume in self.volumes]


@dataclass(frozen=True)
class Setting:
    """name: how takeover_drop calls it. value: a text, True, or a list; from a file also what the file can hold."""

    key: str
    value: Any
    source: str
    name: str
    text: str


@dataclass(frozen=True)
class Old:
    """The container made by hand. settings: by key, those that count. plain_env: what is no setting of GPUStack."""

    container: Mapping[str, Any]
    image: Mapping[str, Any]
    settings: Mapping[str, Setting]
    plain_env: Mapping[str, str]
    strays: tuple[str, ...] = ()
    config_error: str | None = None
    version: str | None = None
    version_error: str | None = None
    worker_name: str | None = None
    worker_name_error: str | None = None
    defaults: docker_run.EngineDefaults = field(default_factory=docker_run.EngineDefaults)

    def value(self, key: str) -> Any:
        setting = self.settings.get(key)
        return setting.value if setting and setting.value != "" else None

    @property
    def name(self) -> str:
        return docker_cli.name_of(dict(self.container))

    @property
    def role(self) -> str:
        return "worker" if self.value("server_url") else "server"

    @property
    def data_dir(self) -> str:
        return str(self.value("data_dir") or DATA_DIR).rstrip("/")

    @property
    def mounted(self) -> list[docker_run.Mount]:
        return docker_run.mounts(self.container)


def parse_arguments(arguments: Iterable[str]) -> tuple[dict[str, Setting], tuple[str, ...]]:
    """Settings by key, and what is no option. As GPUStack does, takes unambiguous beginnings of an option's name."""
    left = list(arguments)
    while left and left[0] in ("gpustack", "start"):
        left.pop(0)
    settings: dict[str, Setting] = {}
    strays = []
    while left:
        word = left.pop(0)
        flag, sign, value = word.partition("=")
        if word[:2] in _SHORT and not word.startswith("--"):
            key, given = _SHORT[word[:2]], word[2:].removeprefix("=") or None
        elif word.startswith("--") and len(flag) > 2:
            key, given = _key(flag), value if sign else None
        else:
            strays.append(word)
            continue
        if key not in SWITCHES and given is None and left and (key in _SETTINGS or not left[0].startswith("-")):
            given = left.pop(0)
        settings[key] = _argument(key, given, settings.get(key))
    return settings, tuple(strays)


def _key(flag: str) -> str:
    key = flag[2:].replace("-", "_")
    begun = [known for known in _SETTINGS if known.startswith(key)]
    return begun[0] if key not in _SETTINGS and len(begun) == 1 else key


def _argument(key: str, given: str | None, before: Setting | None) -> Setting:
    value: Any = True if key in SWITCHES or given is None else given
    if key in REPEATABLE:
        value = [*(before.value if before else []), value]
    flag = "--" + key.replace("_", "-")
    words = [flag if each is True else f"{flag} {shown(key, each)}" for each in (value if isinstance(value, list) else [value])]
    return Setting(key, value, "argument", flag, " ".join(words))


def parse_environment(entries: Iterable[str], of_image: Iterable[str]) -> tuple[dict[str, Setting], dict[str, str]]:
    """Settings by key, and the rest by name; what the image itself says counts as neither."""
    settings, plain = {}, {}
    known = set(of_image)
    for entry in entries:
        name, _sign, value = entry.partition("=")
        key = _OTHER_ENVIRONMENT.get(name) or (name[9:].lower() if name.startswith("GPUSTACK_") else "")
        if entry in known:
            continue
        if key not in _SETTINGS:
            plain[name] = value
            continue
        meant: Any = value.lower() in ("true", "1") if key in SWITCHES else value
        settings[key] = Setting(key, meant, "environment", name, f"-e {name}={shown(key, value)}")
    return settings, plain


def parse_config(text: str, path: str) -> dict[str, Setting]:
    """Settings of a configuration file; one that can't be read without a YAML library has the value UNREADABLE."""
    settings = {}
    for name, value in config_file.parse(text).values.items():
        key = name.replace("-", "_")
        if value is None:
            continue
        readable = "..." if value is config_file.UNREADABLE else shown(key, value)
        flag = "--" + key.replace("_", "-")
        settings[key] = Setting(key, value, "config", flag, f"{key}: {readable} (in {path})")
    return settings


def read_old(
    run: Runner,
    container: dict[str, Any],
    image: dict[str, Any] | None,
    defaults: docker_run.EngineDefaults,
    timeout: float,
    version_timeout: float,
) -> Old:
    config = container.get("Config") or {}
    arguments, strays = parse_arguments(config.get("Cmd") or [])
    of_image = ((image or {}).get("Config") or {}).get("Env") or []
    environment, plain = parse_environment(config.get("Env") or [], of_image)
    settings = {**environment, **arguments}
    file, error = _read_config_file(run, container, settings, timeout)
    settings = {**file, **settings}
    version, version_error = read_version(run, container, image, version_timeout)
    old = Old(container, image or {}, settings, plain, strays, error, version, version_error, defaults=defaults)
    name, name_error = _read_worker_name(run, old, timeout)
    return replace(old, worker_name=name, worker_name_error=name_error)


def _read_config_file(
    run: Runner, container: dict[str, Any], settings: Mapping[str, Setting], timeout: float
) -> tuple[dict[str, Setting], str | None]:
    given = settings.get("config_file")
    if not given or not given.value:
        return {}, None
    path = str(given.value)
    try:
        return parse_config(read_file(run, container, path, timeout), path), None
    except docker_cli.DockerError as error:
        return {}, f"{path}: {error}"


def _read_worker_name(run: Runner, old: Old, timeout: float) -> tuple[str | None, str | None]:
    """The name, and why it could not be read; neither when there is no worker or it has never joined."""
    given = old.value("worker_name")
    if given or (old.role == "server" and old.value("disable_worker") is True):
        return given, None
    try:
        return read_file(run, dict(old.container), f"{old.data_dir}/worker_name", timeout).strip() or None, None
    except docker_cli.DockerError as error:
        # What cat says, and what docker cp says.
        missing = re.match(r"cat: .*no such file|.*could not find the file", str(error), re.IGNORECASE)
        return None, None if missing else str(error)


def read_file(run: Runner, container: dict[str, Any], path: str, timeout: float) -> str:
    """A file of the container, whether it runs or not. A running one is not read by docker cp: that mounts anew all
    that the container has mounted, which on a dead NFS server blocks Docker itself."""
    state = container.get("State") or {}
    if docker_cli.is_running(container) and not state.get("Paused") and not state.get("Restarting"):
        argv = ["docker", "exec", container["Id"], "cat", path]
    else:
        argv = ["docker", "cp", "--follow-link", f"{container['Id']}:{path}", "-"]
    result = run(argv, timeout)
    if result.rc != 0 or result.timed_out:
        raise docker_cli.DockerError(docker_cli.why(argv, result, timeout))
    return result.stdout if argv[1] == "exec" else docker_cli.first_file(result.stdout)


def read_version(run: Runner, container: dict[str, Any], image: dict[str, Any] | None, timeout: float) -> tuple[str | None, str | None]:
    """The GPUStack version in the container's image, and why it could not be read."""
    identity = container.get("Image", "")
    attempts = [["docker", "run", "--rm", "--network", "none", "--entrypoint", "bash", identity, "-lc", DEFAULT.version_script]]
    if docker_cli.is_running(container):
        attempts.append(["docker", "exec", container["Id"], "bash", "-lc", DEFAULT.version_script])
    error = None
    for argv in attempts if identity else []:
        result = run(argv, timeout)
        # The last line: what a login shell prints comes first.
        found = [version for version in map(versions.find, result.stdout.splitlines()) if version]
        if result.rc == 0 and found and not result.timed_out:
            return found[-1], None
        error = error or docker_cli.why(argv, result, timeout)
    label = (((image or {}).get("Config") or {}).get("Labels") or {}).get("org.opencontainers.image.version", "")
    if versions.find(label) == label.strip().lstrip("v"):
        return versions.find(label), None
    return None, error or "its image is not known"
