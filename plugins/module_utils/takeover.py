# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a GPUStack container made by hand would lose if the collection's took its place.

GPUStack 0.7 takes a setting from its command line, else from the environment, else from its configuration file.
Secrets are compared and counted here, and never put into a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import docker_cli, docker_run
from ansible_collections.ascend.gpustack.plugins.module_utils import gpustack_config_file as config_file
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack_settings import REPEATABLE, SWITCHES, VALUES
from ansible_collections.ascend.gpustack.plugins.module_utils.host_facts import is_within
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

DATA_DIR = "/var/lib/gpustack"
HIDDEN = "***"


# The settings that the command line of GPUStack 0.7 can give
_SETTINGS = SWITCHES | REPEATABLE | VALUES
_SHORT = {"-d": "debug", "-t": "token", "-s": "server_url"}
_OTHER_ENVIRONMENT = {"HF_TOKEN": "huggingface_token", "HF_HUB_ENABLE_HF_TRANSFER": "enable_hf_transfer"}

# Carried over without a variable, or judged by a rule of their own.
_CARRIED = frozenset(("token", "bootstrap_password", "worker_name", "config_file", "data_dir", "port", "server_url"))

_DRIVER_MOUNTS = (
    "/usr/local/dcmi",
    "/usr/local/bin/npu-smi",
    "/usr/local/Ascend/driver",
    "/usr/local/Ascend/firmware",
    "/etc/ascend_install.info",
    "/etc/hccn.conf",
)
_DRIVER_DEVICE = re.compile(r"/dev/(davinci\d+|davinci_manager|devmm_svm|hisi_hdc)\Z")
_VERSION = re.compile(r"\bv?(\d+)\.(\d+)\.(\d+)(?:\.post\d+)?(?:[.-]?(a|b|rc)\.?(\d+))?(?![\w.])")
# The metadata first: to print its version itself, GPUStack loads all of itself, which takes many seconds.
_VERSION_SCRIPT = (
    'python=$(head -n 1 "$(command -v gpustack)" | sed -n "s/^#! *//p");'
    ' "${python:-python3}" -c \'import importlib.metadata as m; print("gpustack", m.version("gpustack"))\''
    " || gpustack version"
)


# What is wanted


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


# What is there


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


@dataclass(frozen=True)
class Extra:
    """Something that the guide's container doesn't have. remedy: the variable that says the same, or empty."""

    name: str
    kind: str
    text: str
    covered: bool
    dropped: bool
    remedy: str = ""


# Reading settings


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


def shown(name: str, value: Any) -> str:
    """A value as it may be shown: nothing of a secret, nor of who logs in in a URL."""
    if config_file.looks_secret(name) and not isinstance(value, bool):
        return HIDDEN
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return config_file.without_logins(text)


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


# Reading the container


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
    attempts = [["docker", "run", "--rm", "--network", "none", "--entrypoint", "bash", identity, "-lc", _VERSION_SCRIPT]]
    if docker_cli.is_running(container):
        attempts.append(["docker", "exec", container["Id"], "bash", "-lc", _VERSION_SCRIPT])
    error = None
    for argv in attempts if identity else []:
        result = run(argv, timeout)
        # The last line: what a login shell prints comes first.
        found = [line for line in result.stdout.splitlines() if _VERSION.search(line)]
        if result.rc == 0 and found and not result.timed_out:
            return _release(found[-1]), None
        error = error or docker_cli.why(argv, result, timeout)
    label = (((image or {}).get("Config") or {}).get("Labels") or {}).get("org.opencontainers.image.version", "")
    if _VERSION.fullmatch(label.strip()):
        return _release(label), None
    return None, error or "its image is not known"


def _release(line: str) -> str | None:
    match = _VERSION.search(line)
    return match.group(0).lstrip("v") if match else None


def version_key(version: str | None) -> tuple[int, int, int, str, int] | None:
    """Something that sorts; None for what is no release, such as the 0.0.0 of a development build."""
    match = _VERSION.match((version or "").strip())
    if not match:
        return None
    major, minor, patch, kind, number = match.groups()
    key = (int(major), int(minor), int(patch), kind or "z", int(number or 0))
    return key if key[:3] != (0, 0, 0) else None


def relation(old: str | None, target: str) -> str:
    before, after = version_key(old), version_key(target)
    if before is None or after is None:
        return "unknown"
    return "equal" if before == after else "older" if before < after else "newer"


# Judging


def says_the_same(value: Any, wanted: Any) -> bool:
    """Whether a setting of the old container and one of the new configuration come to the same."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return _as_bool(value) == _as_bool(wanted)
    if wanted is None or value is config_file.UNREADABLE:
        return False
    if isinstance(value, list) and isinstance(wanted, list):
        return [str(each) for each in value] == [str(each) for each in wanted]
    if isinstance(value, str) and isinstance(wanted, (dict, list)):
        try:
            return json.loads(value) == wanted
        except ValueError:
            return False
    return value == wanted or (not isinstance(value, (dict, list)) and str(value) == str(wanted))


def _as_bool(value: Any) -> bool:
    return value if isinstance(value, bool) else str(value).lower() in ("true", "yes", "1", "on")


def extras(old: Old, desired: Desired) -> list[Extra]:
    found = [*_setting_extras(old, desired), *_environment_extras(old, desired)]
    found += [*_mount_extras(old, desired), *_option_extras(old, desired)]
    return found


def _setting_extras(old: Old, desired: Desired) -> list[Extra]:
    found = []
    for key, setting in sorted(old.settings.items()):
        if key in _CARRIED or (key == "cache_dir" and _same_cache(old, desired)):
            continue
        covered = key in desired.secret_keys or says_the_same(setting.value, desired.config.get(key))
        if setting.source == "environment":
            wanted = desired.env.get(setting.name)
            covered = covered or (wanted is not None and _env_value(old, setting.name) == wanted)
        remedy = {"cache_dir": "gpustack_cache_dir", "worker_ip": "gpustack_address"}.get(key, f"gpustack_{desired.role}_config.{key}")
        kind = "environment" if setting.source == "environment" else "argument"
        found.append(Extra(setting.name, kind, setting.text, covered, desired.dropped(setting.name), remedy))
    for word in old.strays:
        found.append(Extra(word, "argument", shown("", word), False, desired.dropped(word)))
    return found


def _env_value(old: Old, name: str) -> str | None:
    entries = ((old.container.get("Config") or {}).get("Env")) or []
    return next((entry[len(name) + 1 :] for entry in entries if entry.startswith(name + "=")), None)


def _same_cache(old: Old, desired: Desired) -> bool:
    before = docker_run.located(old.mounted, str(old.value("cache_dir")).rstrip("/"))
    after = docker_run.located(desired.mounted, str(desired.config.get("cache_dir") or f"{DATA_DIR}/cache").rstrip("/"))
    return before is not None and after is not None and before[0] == after[0]


def _environment_extras(old: Old, desired: Desired) -> list[Extra]:
    found = []
    for name, value in sorted(old.plain_env.items()):
        text = f"-e {name}={shown(name, value)}"
        covered = _env_covered(name, value, desired.env)
        found.append(Extra(name, "environment", text, covered, desired.dropped(name), f"gpustack_env.{name}"))
    return found


def _env_covered(name: str, value: str, wanted: Mapping[str, str]) -> bool:
    if name.lower() == "no_proxy":
        items = {item.strip() for each in ("NO_PROXY", "no_proxy") for item in wanted.get(each, "").split(",")}
        return all(item.strip() in items for item in value.split(",") if item.strip())
    if name.lower().endswith("_proxy"):
        return value in (wanted.get(name), wanted.get(name.upper()), wanted.get(name.lower()))
    return wanted.get(name) == value


def _mount_extras(old: Old, desired: Desired) -> list[Extra]:
    found = []
    data = data_mount(old)
    config_path = str(old.value("config_file") or "")
    for mount in sorted(old.mounted, key=lambda each: each.target):
        of_driver = mount.source == mount.target and any(is_within(mount.target, path) for path in _DRIVER_MOUNTS)
        # Judged key by key instead.
        is_config = mount.target == config_path and old.config_error is None
        of_image = mount.anonymous and mount.target in ((old.image.get("Config") or {}).get("Volumes") or {})
        if of_driver or is_config or of_image or mount == data or mount.target == "/models":
            continue
        there = docker_run.located(desired.mounted, mount.target)
        covered = there is not None and there[0] == mount.source and (mount.read_only or not there[1])
        found.append(Extra(mount.target, "mount", mount.text, covered, desired.dropped(mount.target), "gpustack_volumes"))
    return found


def _option_extras(old: Old, desired: Desired) -> list[Extra]:
    wanted = docker_run.wanted_values(desired.options)
    found = []
    for option in [*docker_run.options(old.container, old.image, old.defaults), *_devices(old, desired)]:
        given = wanted.get(option.flag)
        known = docker_run.OPTION_NAMES.get(option.flag)
        remedy = f"gpustack_container_options.{known}" if known else ""
        covered = given is not None and set(option.values) <= set(given)
        found.append(Extra(option.flag, "option", option.text, covered, desired.dropped(option.flag), remedy))
    network = next((extra for extra in found if extra.name == "--network"), None)
    publish = next((extra for extra in found if extra.name == "--publish"), None)
    if network and publish:
        # Ports are published by the network that the container is on: one decision, not two.
        found[found.index(network)] = Extra(
            "--network", "option", f"{network.text} {publish.text}", False, network.dropped or publish.dropped
        )
        found.remove(publish)
    return found


def _devices(old: Old, desired: Desired) -> list[docker_run.Option]:
    wanted = {device.split(":")[0] for device in desired.devices}
    values = [
        device["PathOnHost"]
        for device in (old.container.get("HostConfig") or {}).get("Devices") or []
        if not _DRIVER_DEVICE.match(device["PathOnHost"]) and device["PathOnHost"] not in wanted
    ]
    return [docker_run.Option("--device", values)] if values else []


def data_mount(old: Old) -> docker_run.Mount | None:
    """What is mounted at the data directory, or above it."""
    holding = [mount for mount in old.mounted if is_within(old.data_dir, mount.target)]
    return max(holding, key=lambda mount: len(mount.target)) if holding else None


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
    finding = f"a worker of {shown('', old.value('server_url'))}" if old.role == "worker" else "a server"
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
    names = list(dict.fromkeys(extra.name for extra in left))
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
        f"The container {old.name} is a worker of {shown('', found)}; the inventory's server is {wanted}. Set"
        f" gpustack_server_url: {shown('', found)} if that is the same server, or add '--server-url' to"
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


def token_source(old: Old) -> str | None:
    setting = old.settings.get("token")
    if setting and setting.value not in (None, ""):
        return setting.source
    return "file" if old.role == "server" else None


def notes(old: Old, desired: Desired, all_extras: list[Extra]) -> list[str]:
    """Sentences on what stays and what changes."""
    found = []
    mount = data_mount(old)
    if mount and not _data_problem(old, desired):
        found.append(f"The data in {desired.data_volume} is kept.")
    if old.data_dir != DATA_DIR:
        found.append(f"The data is mounted at {DATA_DIR}, no longer at {old.data_dir}.")
    found += _token_notes(old, desired)
    if old.worker_name:
        found.append(f"Its worker is called {old.worker_name} now.")
    if not old.value("cache_dir") and desired.config.get("cache_dir"):
        found.append(f"Models in {old.data_dir}/cache stay there; new ones go to {desired.config['cache_dir']}.")
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
    if source is None:
        return []
    if desired.has_token and old.role == "server":
        return [f"gpustack_token takes the place of the cluster token in {places[source]}: other workers need the same."]
    if old.role == "server":
        return [f"The cluster token in {places[source]} stays the same."]
    return []


def analyse(old: Old, desired: Desired) -> dict[str, Any]:
    found = extras(old, desired)
    mount = data_mount(old)
    return {
        "exists": True,
        "hand_made": True,
        "running": docker_cli.is_running(dict(old.container)),
        "version": old.version,
        "version_relation": relation(old.version, desired.version),
        "role": old.role,
        "worker_name": old.worker_name,
        "token_source": token_source(old),
        "data_mount": {"type": mount.kind, "source": mount.path, "name": mount.source} if mount else None,
        "extras": [
            {
                "name": extra.name,
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
    """Values in the container's arguments and environment that must never be printed."""
    config = container.get("Config") or {}
    found = {entry.partition("=")[2] for entry in config.get("Env") or [] if config_file.looks_secret(entry.partition("=")[0])}
    settings, _strays = parse_arguments(config.get("Cmd") or [])
    for key, setting in settings.items():
        if config_file.looks_secret(key):
            found.update(str(each) for each in (setting.value if isinstance(setting.value, list) else [setting.value]))
    # Short ones are words of the language too, and would tear holes into every text.
    return {value for value in found if len(value) >= 6}
