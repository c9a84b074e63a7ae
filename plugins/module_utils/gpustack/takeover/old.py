# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container made by hand: its settings, mounts, options and version, from what Docker says and from files in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import run as docker_run
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation as generations
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.container import (
    ReadError,
    Setting,
    Settings,
    data_path,
    described,
    read_file,
    read_version,
)
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Generation
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner


@dataclass(frozen=True)
class Desired:
    """What the collection will run. works: whether a server is a worker too; secret_keys: settings it will write that are not in config;
    token: the cluster's, as far as it is known; privileged: whether the container will be so."""

    role: str
    data_volume: str
    models_dir: str
    version: str
    works: bool = True
    server_url: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    secret_keys: frozenset[str] = frozenset()
    has_token: bool = False
    token: str = ""
    privileged: bool = False
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

    @property
    def generation(self) -> Generation:
        return generations.assumed(self.version)


@dataclass(frozen=True)
class Old:
    """The container made by hand. settings: by key, those that count. plain_env: what is no setting of GPUStack. has_token: whether a
    server has a cluster token, given or made; downloads: where on the host models lie that it downloaded into its data, empty where none
    do that models' containers get from there."""

    container: Mapping[str, Any]
    image: Mapping[str, Any]
    settings: Mapping[str, Setting]
    plain_env: Mapping[str, str]
    strays: tuple[str, ...] = ()
    config_path: str = ""
    config_error: str | None = None
    version: str | None = None
    version_error: str | None = None
    worker_name: str | None = None
    worker_name_error: str | None = None
    defaults: docker_run.EngineDefaults = field(default_factory=docker_run.EngineDefaults)
    generation: Generation = generations.DEFAULT
    has_token: bool = True
    downloads: str = ""

    def value(self, key: str) -> Any:
        setting = self.settings.get(key)
        return setting.value if setting and setting.value != "" else None

    def variable(self, name: str) -> str | None:
        """Of its environment, as it stands there."""
        entries = ((self.container.get("Config") or {}).get("Env")) or []
        return next((entry[len(name) + 1 :] for entry in entries if entry.startswith(f"{name}=")), None)

    @property
    def name(self) -> str:
        return docker_cli.name_of(dict(self.container))

    @property
    def role(self) -> str:
        return "worker" if self.value("server_url") else "server"

    @property
    def data_dir(self) -> str:
        return data_path(self.value("data_dir"), self.generation.data.directory)

    @property
    def cache_dir(self) -> str:
        return data_path(self.value("cache_dir"), f"{self.data_dir}/cache")

    @property
    def mounted(self) -> list[docker_run.Mount]:
        return docker_run.mounts(self.container)

    @property
    def data_mount(self) -> docker_run.Mount | None:
        """What is mounted at the data directory, or above it."""
        return docker_run.holding(self.mounted, self.data_dir)

    @property
    def privileged(self) -> bool:
        return bool((self.container.get("HostConfig") or {}).get("Privileged"))


def read_old(
    run: Runner,
    container: dict[str, Any],
    image: dict[str, Any] | None,
    defaults: docker_run.EngineDefaults,
    timeout: float,
    version_timeout: float,
) -> Old:
    of_image = ((image or {}).get("Config") or {}).get("Env") or []
    version, version_error = read_version(run, container, image, version_timeout)
    generation = generations.of_container(version or described(container).version)
    told = Settings(run, described(container), generation.command_line, timeout, of_image)
    file, error = _read_config_file(told)
    old = Old(
        container=container,
        image=image or {},
        settings={**file, **told.given},
        plain_env=told.plain,
        strays=tuple(told.strays),
        config_path=told.config_path,
        config_error=error,
        version=version,
        version_error=version_error,
        defaults=defaults,
        generation=generation,
    )
    name, name_error = _read_worker_name(run, old, timeout)
    old = replace(old, worker_name=name, worker_name_error=name_error)
    return replace(old, has_token=_has_token(run, old, timeout), downloads=_downloads(run, old, timeout))


def _read_config_file(told: Settings) -> tuple[dict[str, Setting], str | None]:
    try:
        return told.file(), None
    except ReadError as error:
        return {}, f"{error.path}: {error}"


def _read_worker_name(run: Runner, old: Old, timeout: float) -> tuple[str | None, str | None]:
    """The name, and why it could not be read; neither when there is no worker or it has never joined."""
    given = old.value("worker_name")
    if given or (old.role == "server" and old.value("disable_worker") is True):
        return given, None
    try:
        text = read_file(run, described(old.container), f"{old.data_dir}/worker_name", timeout)
    except ReadError as error:
        return None, str(error)
    return (text or "").strip() or None, None


def _has_token(run: Runner, old: Old, timeout: float) -> bool:
    """Of what makes one by itself, and of what can't be read, it is assumed."""
    if old.role != "server" or not old.generation.data.given_token or old.value("token"):
        return True
    try:
        return bool((read_file(run, described(old.container), f"{old.data_dir}/{old.generation.data.token}", timeout) or "").strip())
    except ReadError:
        return True


def _downloads(run: Runner, old: Old, timeout: float) -> str:
    mount = docker_run.holding(old.mounted, old.cache_dir)
    works = old.role == "worker" or old.worker_name
    if not works or not old.generation.node.work.mirror or mount is None or mount != old.data_mount or not mount.path:
        return ""
    place = docker_run.below(mount.path, mount.target, old.cache_dir)
    for name in old.generation.data.downloads:
        result = run(["ls", "-A", "--", f"{place}/{name}"], timeout)
        if result.rc == 0 and result.stdout.strip():
            return place
    return ""
