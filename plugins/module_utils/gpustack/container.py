# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A GPUStack container as Docker describes it: its state, what its GPUStack was told, the files in it, and its version.

A setting counts as GPUStack takes it: from its command line, else from the environment, else from its configuration file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import arguments, config_file, version
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation as generations
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import CommandLine, Generation
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

# Seconds for one call of docker: it answers in tenths of a second, and in some seconds on a busy host.
CALL_LIMIT = 30.0
# A shell's words that print the version, of any generation, since it is asked before that is known. The metadata first: to print it itself,
# GPUStack loads all of itself, which takes many seconds.
_VERSION = (
    'python=$(head -n 1 "$(command -v gpustack)" | sed -n "s/^#! *//p");'
    ' "${python:-python3}" -c \'import importlib.metadata as m; print("gpustack", m.version("gpustack"))\''
    " || gpustack version"
)


class ReadError(Exception):
    """Why a file of a container could not be read, in one line. kind: silent (Docker did not answer), stopped (the container did
    meanwhile), missing or unreadable."""

    def __init__(self, kind: str, why: str, path: str) -> None:
        super().__init__(redact.text(why))
        self.kind = kind
        self.path = path


@dataclass(frozen=True)
class Container:
    """What docker knows of a container. words: GPUStack's own arguments; environment: each as NAME=value; exit_code: of its last run;
    version: of GPUStack, as its label or its image's tag says it, empty where neither does."""

    name: str
    words: list[str]
    environment: list[str]
    status: str
    exit_code: int
    version: str

    @property
    def generation(self) -> Generation:
        return generations.of_container(self.version)


@dataclass(frozen=True)
class Setting:
    """A setting of GPUStack's, and where it stands: argument, environment or config. value: a text, True or False, or a list; from a
    file also what the file can hold. name: the option or the variable."""

    key: str
    value: Any
    source: str
    name: str


def described(description: Mapping[str, Any]) -> Container:
    """Of what `docker container inspect` tells. Raises LookupError, TypeError or AttributeError of what is no such thing."""
    config, state = description["Config"], description["State"]
    return Container(
        name=docker_cli.name_of(dict(description)),
        words=arguments.words_of(config.get("Entrypoint"), config.get("Cmd")),
        environment=list(config.get("Env") or []),
        status=state["Status"],
        exit_code=state.get("ExitCode", 0),
        version=(config.get("Labels") or {}).get(docker_cli.LABEL_VERSION) or version.find(str(config.get("Image"))) or "",
    )


def read_file(run: Runner, container: Container, path: str, timeout: float = CALL_LIMIT) -> str | None:
    """The text of a file in the container, whether it runs or not; None when there is none. Raises ReadError. A running one is not
    read by docker cp: that mounts anew all that the container has mounted, which on a dead NFS server blocks Docker itself."""
    argv = ["docker", "exec", container.name, "cat", path]
    if container.status != "running":
        argv = ["docker", "cp", "--follow-link", f"{container.name}:{path}", "-"]
    result = run(argv, timeout)
    try:
        if result.rc == 0 and not result.timed_out:
            return result.stdout if argv[1] == "exec" else docker_cli.first_file(result.stdout)
    except docker_cli.DockerError as error:
        raise ReadError("unreadable", str(error), path) from error
    if docker_cli.is_silent(result):
        kind = "silent"
    elif _says(result.stderr, "no such file", "could not find the file") and not _says(result.stderr, "oci runtime"):
        return None
    else:
        kind = "stopped" if _says(result.stderr, "is not running", "is restarting", "no such container") else "unreadable"
    raise ReadError(kind, docker_cli.why(argv, result, timeout), path)


def _says(text: str, *signs: str) -> bool:
    return any(sign in text.lower() for sign in signs)


def of_arguments(found: arguments.Arguments) -> dict[str, Setting]:
    return {key: Setting(key, value, "argument", flag(key)) for key, value in found.values.items()}


def flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def of_environment(entries: Iterable[str], table: CommandLine) -> tuple[dict[str, Setting], dict[str, str]]:
    """Settings by key, and what is none by its name."""
    settings, plain = {}, {}
    for name, _sign, value in (entry.partition("=") for entry in entries):
        key = table.environment.get(name) or (name[9:].lower() if name.startswith("GPUSTACK_") else "")
        if key in table.settings:
            settings[key] = Setting(key, value.lower() in ("true", "1") if key in table.switches else value, "environment", name)
        else:
            plain[name] = value
    return settings, plain


def of_file(text: str) -> dict[str, Setting]:
    """Settings of a configuration file, with - in their names as with _; one that can't be read without a YAML library has the value
    UNREADABLE."""
    found = {name.replace("-", "_"): value for name, value in config_file.parse(text).values.items() if value is not None}
    return {key: Setting(key, value, "config", flag(key)) for key, value in found.items()}


class Settings:
    """What a container's GPUStack was told; its configuration file is read once, when needed, and reading it raises ReadError.

    given: of the command line, else of the environment. plain: the environment's rest. strays, error: as Arguments has them. of_image:
    the environment that the image brings, which counts as nobody's.
    """

    def __init__(
        self, run: Runner, container: Container, table: CommandLine, timeout: float = CALL_LIMIT, of_image: Iterable[str] = ()
    ) -> None:
        known = set(of_image)
        found = arguments.parse(container.words, table)
        environment, self.plain = of_environment((entry for entry in container.environment if entry not in known), table)
        self.given = {**environment, **of_arguments(found)}
        self.strays, self.error = found.strays, found.error
        self._read = lambda path: read_file(run, container, path, timeout)
        self._file: dict[str, Setting] | None = None

    def get(self, key: str) -> Setting | None:
        """None when nothing gives it; an empty one counts as given."""
        return self.given.get(key) or self.file().get(key)

    @property
    def config_path(self) -> str:
        """Empty where there is no configuration file."""
        given = self.given.get("config_file")
        return str(given.value) if given else ""

    def file(self) -> dict[str, Setting]:
        if self._file is None:
            text = self._read(self.config_path) if self.config_path else ""
            if text is None:
                raise ReadError("missing", "it is not there", self.config_path)
            self._file = of_file(text)
        return self._file


def data_path(given: Any, default: str) -> str:
    """The data directory in the container, from the value of its setting."""
    return str(given or default).rstrip("/")


def read_version(
    run: Runner, description: Mapping[str, Any], image: Mapping[str, Any] | None, timeout: float
) -> tuple[str | None, str | None]:
    """The GPUStack version in the container's image, and why it could not be read."""
    identity, words = description.get("Image", ""), ["-lc", _VERSION]
    attempts = [["docker", "run", "--rm", "--network", "none", "--entrypoint", "bash", identity, *words]]
    if docker_cli.is_running(dict(description)):
        attempts.append(["docker", "exec", description["Id"], "bash", *words])
    error = None
    for argv in attempts if identity else []:
        result = run(argv, timeout)
        # The last one: what a login shell prints comes first.
        found = [named for named in map(version.find, result.stdout.splitlines()) if named]
        if result.rc == 0 and found and not result.timed_out:
            return found[-1], None
        error = error or docker_cli.why(argv, result, timeout)
    label = (((image or {}).get("Config") or {}).get("Labels") or {}).get("org.opencontainers.image.version", "").strip()
    if version.find(label) == label.lstrip("v"):
        return version.find(label), None
    return None, error or "its image is not known"
