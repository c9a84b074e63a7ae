# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container made by hand: its settings, mounts, options and version, from what Docker says and from files in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import run as docker_run
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.container import (
    ReadError,
    Setting,
    Settings,
    data_path,
    described,
    read_file,
    read_version,
)
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.generation import DEFAULT
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

DATA_DIR = DEFAULT.data.directory


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
class Old:
    """The container made by hand. settings: by key, those that count. plain_env: what is no setting of GPUStack."""

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
        return data_path(self.value("data_dir"), DATA_DIR)

    @property
    def mounted(self) -> list[docker_run.Mount]:
        return docker_run.mounts(self.container)


def read_old(
    run: Runner,
    container: dict[str, Any],
    image: dict[str, Any] | None,
    defaults: docker_run.EngineDefaults,
    timeout: float,
    version_timeout: float,
) -> Old:
    of_image = ((image or {}).get("Config") or {}).get("Env") or []
    told = Settings(run, described(container), DEFAULT.command_line, timeout, of_image)
    file, error = _read_config_file(told)
    version, version_error = read_version(run, container, image, DEFAULT, version_timeout)
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
    )
    name, name_error = _read_worker_name(run, old, timeout)
    return replace(old, worker_name=name, worker_name_error=name_error)


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
