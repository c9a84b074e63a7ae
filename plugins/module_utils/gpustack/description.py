# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is to say of a generation of GPUStack, in which one differs from the next: data alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup_description import Backup
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.models_description import Models
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.version import Key
from ansible_collections.ascend.gpustack.plugins.module_utils.npu import kinds


def names(text: str) -> frozenset[str]:
    """Of what stands in a text with blanks or line breaks between."""
    return frozenset(text.split())


@dataclass(frozen=True)
class CommandLine:
    """The settings of `gpustack start`, by GPUStack's names for them (with _). A switch takes no value, a repeatable one collects its
    values, and those of file_only are known to the configuration file alone; numbers: those whose value is one. short: one letter to a
    setting; environment: variables that are not named GPUSTACK_<setting>. own: settings for which this collection has variables; idle:
    those that do nothing here, which other generations have or this one has no longer, with the one that is meant, empty where there is
    none; of_server: those of a server that a worker has another one for; since: the first version of those that came later; usual:
    settings that, where they are not given, are what others are."""

    switches: frozenset[str]
    repeatable: frozenset[str]
    values: frozenset[str]
    file_only: frozenset[str]
    short: Mapping[str, str]
    environment: Mapping[str, str]
    numbers: frozenset[str] = frozenset()
    own: Mapping[str, str] = field(default_factory=dict)
    idle: Mapping[str, str] = field(default_factory=dict)
    of_server: Mapping[str, str] = field(default_factory=dict)
    since: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    usual: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> frozenset[str]:
        return self.switches | self.repeatable | self.values

    def lacks(self, setting: str, key: Key | None) -> bool:
        """Whether a version, by its key, takes a setting without knowing it."""
        return key is not None and setting in self.since and key[: len(self.since[setting])] < self.since[setting]


@dataclass(frozen=True)
class Port:
    """One that a server's container takes at its start. setting: what changes it, empty where nothing does; unless: settings with which it
    is not taken; open: whether it answers at every address, though no other host has to ask there."""

    setting: str
    port: str
    unless: tuple[str, ...] = ()
    open: bool = False


@dataclass(frozen=True)
class Ports:
    """Ports and ranges of ports by the settings that change them: a worker's that others ask, also the own one of a server where own_worker
    says so; those that a worker has at its start, and that others should not ask though they answer (worker_open); those of Ray, of every
    node and of the server alone, where `ray_setting` is on; shared: a worker's that others ask where models run over several hosts, and of
    these service where direct, a setting and its value, has the server ask for models itself. server: of a server beside the one that
    people use."""

    worker: Mapping[str, str]
    worker_at_start: tuple[str, ...]
    ray_setting: str = ""
    ray: Mapping[str, str] = field(default_factory=dict)
    ray_head: Mapping[str, str] = field(default_factory=dict)
    own_worker: bool = True
    server: tuple[Port, ...] = ()
    shared: Mapping[str, str] = field(default_factory=dict)
    service: str = ""
    direct: tuple[str, str] = ("", "")
    worker_open: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """A worker's state other than ready. remedy: without its full stop, with {ip} and {port} of the worker; passes: whether it may be ready
    after a while, so that it is waited for."""

    remedy: str
    passes: bool = True


UNREACHABLE = State(
    "See whether its GPUStack container runs, open port {port} of {ip} to the server, and name the address in the server's NO_PROXY"
)


@dataclass(frozen=True)
class Api:
    """The management API, as it may be used with the cluster token.

    prefix: of all its paths but /version. device_type: what it calls an NPU, also within a model's gpu_ids. lists: kinds of records besides
    workers, with the path of their list and the key of their name. states: a worker's, with what to do. silence: seconds without a sign of
    life after which a worker is not taken for ready, whatever its state says; None where its state is all there is. adopts: whether a
    worker whose data directory holds nothing but its name is given the record of that name. rests: whether GPUStack itself has workers
    that get no models until they are told to go on; where it has none, one's container is stopped. every_request: whether workers and
    server prove themselves to each other by the cluster token in every request, so that one with another token is cut off; else a worker
    does when it starts, and has a credential of its own from then on.
    """

    prefix: str
    device_type: str
    lists: Mapping[str, tuple[str, str]]
    states: Mapping[str, State]
    silence: int | None
    adopts: bool
    rests: bool
    every_request: bool


@dataclass(frozen=True)
class Mirror:
    """How GPUStack's worker is kept from giving all that its container has to the containers that it makes for models. name: the variable
    with the container's name; kept_volumes and kept_environment: those that list what is not handed on, with ; between; kept: paths that
    the image itself lists there; label and claim: the label by which these containers are known, with the model's instance, and their
    variable with its NPUs; mark: a variable of this collection's that is handed on, with the name of the node's data; secret_files:
    settings that name a file with a secret; in_cache: settings of directories that both kinds of containers use, with their places in the
    cache, since the data directory is kept too."""

    name: str
    kept_volumes: str
    kept_environment: str
    label: str
    claim: str
    mark: str
    kept: tuple[str, ...]
    secret_files: tuple[str, ...]
    in_cache: Mapping[str, str]


@dataclass(frozen=True)
class Work:
    """What the container of a node that works has besides. privileged: None where the inventory says so, and the NPUs' nodes are listed;
    volumes: further mounts; runtimes: by the names that Docker has for them, those that bring the driver's files themselves, each with
    the files that are mounted nevertheless; visible: the variable that has such a runtime act; mirror: None where models run in the
    worker's own container; devices: the setting that lists the NPUs where not all of the host's may be used; vendor and family: what
    that list calls their maker and, before the chip's name, their family."""

    privileged: bool | None = None
    volumes: tuple[str, ...] = ()
    runtimes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    visible: str = ""
    mirror: Mirror | None = None
    devices: str = ""
    vendor: str = ""
    family: str = ""


@dataclass(frozen=True)
class Node:
    """How a node's container is run. init: what the entry point begins with; start: a shell's words that become GPUStack, with "$@", on a
    server server_start; network and ipc: namespaces of Docker; server_env: what a server's environment always has; settings: of its
    configuration file, for every node, for a server, for one that is a worker too, and for one that is none; health: a path that answers
    200, on the server's port and on the worker's. With TLS the server's port is that of tls_setting, where there is one; it then answers
    without TLS at plain_port too."""

    init: tuple[str, ...]
    start: str
    server_start: str
    network: str
    ipc: str
    server_env: Mapping[str, str]
    settings: Mapping[str, Any]
    server_settings: Mapping[str, Any]
    server_worker_settings: Mapping[str, Any]
    server_only_settings: Mapping[str, Any]
    health: str
    work: Work
    tls_setting: str = ""
    plain_port: int = 0


@dataclass(frozen=True)
class Migration:
    """How a server takes over the data of another generation. series: what the versions begin with from which it does; environment: what
    has GPUStack do it when it starts, unless it has already."""

    series: tuple[int, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Data:
    """What a node keeps. directory: in its container; token and password: the files in it in which GPUStack writes down those that it
    made; cluster: files that tell that there is a cluster in it; given_token: whether a cluster is made with the token that is given when
    GPUStack starts for the first time, and keeps that, where others are made without, and take what is given later; forget_token: a
    shell's words, run in the server's container with the database's port as $1, after which GPUStack takes the token that it is given
    when it starts next, as if for the first time; port_setting: what gives that port, and its usual one; page_token: of those that
    GPUStack makes for a cluster that is made on its page; own and own_cache: everything that GPUStack and its tools put into the data
    directory and into the cache by themselves; downloads: what of the cache is models; migration: None where no other generation's data are
    taken."""

    directory: str
    token: str
    generated_token: str
    password: str
    cluster: tuple[str, ...]
    given_token: bool
    own: tuple[str, ...]
    own_cache: tuple[str, ...]
    backup: Backup
    downloads: tuple[str, ...] = ()
    page_token: str = ""
    forget_token: str = ""
    port_setting: tuple[str, str] = ("", "")
    migration: Migration | None = None


@dataclass(frozen=True)
class Images:
    """What models run in, where that is not the image of GPUStack itself. worker: images that GPUStack on a worker asks for, by just these
    names; runners: the repository of those that have engines. Either stands below the registry that the setting `registry` names; without
    one GPUStack asks registries on the internet which of them answers. hub: what stands for Docker's own there; username and password:
    variables of a worker's environment."""

    worker: tuple[str, ...] = ()
    runners: str = ""
    registry: str = ""
    hub: str = ""
    username: str = ""
    password: str = ""


@dataclass(frozen=True)
class Runners:
    """The images with engines, by their tags, such as cann8.5-910b-vllm0.18.0. newest: by what GPUStack's versions begin with, the newest
    of each engine for each CANN and each kind of chips (module_utils/npu/kinds.py), newest CANN first; usual: the engine that is spoken
    of; drivers: the oldest driver of each CANN, oldest CANN first. toolkit: the directory in which a worker's container may find which
    CANN its host has; stated: the file below it."""

    newest: Mapping[tuple[int, ...], tuple[str, ...]]
    usual: str
    drivers: tuple[tuple[str, str], ...]
    toolkit: str
    stated: str


@dataclass(frozen=True)
class Trust:
    """How a worker's container is given a certificate authority. source: a file below the directory that has it on the host, empty for the
    directory itself; target: where that is mounted; environment: variables that name it; live: whether GPUStack reads it for each
    connection, not once; setting: of a server, the file that it hands on to workers that it is told of on its page."""

    source: str
    target: str
    environment: Mapping[str, str]
    live: bool
    setting: str = ""


@dataclass(frozen=True)
class Sign:
    """What GPUStack's log says of a cause, by its kind. pattern: of which the group `detail` is told; lasting: whether the container's next
    start can't but end like this one."""

    kind: str
    pattern: str
    lasting: bool = False


# This collection's entry point says it.
WAITS_FOR_STORE = Sign("store", r"(?P<detail>The model store \S+ is not there yet)")


@dataclass(frozen=True)
class Generation:
    """One generation of GPUStack.

    name: as a person says it. series: what its versions begin with; candidates: whether candidates of releases are among them. release: the
    one to run unless another is asked for. variants: kinds of chips (module_utils/npu/kinds.py) by the end of the tag of the image that has
    engines for them, the usual one first. minimum_docker: of Docker Engine, for its image; minimum_driver: of the Ascend driver, for the
    oldest CANN that it runs. log_signs: what comes first is the cause of the rest.
    """

    name: str
    series: tuple[tuple[int, ...], ...]
    candidates: bool
    release: str
    repository: str
    variants: Mapping[str, str]
    minimum_docker: tuple[int, ...]
    minimum_driver: str
    node: Node
    data: Data
    ports: Ports
    api: Api
    models: Models
    command_line: CommandLine
    log_signs: tuple[Sign, ...]
    trust: Trust
    images: Images = Images()
    runners: Runners | None = None

    def deploys(self, key: Key | None) -> bool:
        """Whether a version, by its key, is one of this generation."""
        return key is not None and (self.candidates or key[3] == "z") and any(key[: len(each)] == each for each in self.series)

    def image_end(self, chip: str) -> str:
        """The end of the tag of the image for a chip; the usual one where there is none for it."""
        ends = [end for end, kind in self.variants.items() if kind == kinds.of_chip(chip).name]
        return next(iter([*ends, *self.variants]), "")
