# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the environment says about the lab, and the names that follow from it."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import fcntl
import os
import pathlib

from lablib.shell import Failure

SOURCE = pathlib.Path(__file__).resolve().parent.parent
LABEL = "ascend.gpustack.lab"
FIRST_ADDRESS = 106
Variables = collections.abc.Mapping[str, str]
PERSONAS = ("openeuler", "debian")
CONTAINERS = {"LAB_NAME": "ascend-gpustack-lab", "LAB_NET": "198.18.33", "LAB_PAGE_PORT": "18080"}
VMS = {"LAB_NAME": "ascend-gpustack-vm", "LAB_NET": "198.18.35", "LAB_PAGE_PORT": "18081"}


@dataclasses.dataclass(frozen=True)
class Lab:
    """One lab; two of them with names and networks of their own can stand on one machine."""

    name: str
    net: str  # the first three numbers of its IPv4 network
    persona: str
    unique_hostnames: bool
    page_port: int  # on 127.0.0.1, leads to port 8080 of the first host
    cache: pathlib.Path
    ssh_port: int  # of 127.0.0.1; the ports after it lead to the virtual machines, and by its number their network is known
    memory: int  # of a virtual machine, in MiB

    @classmethod
    def from_environment(
        cls, environment: collections.abc.Mapping[str, str], defaults: collections.abc.Mapping[str, str] = CONTAINERS
    ) -> Lab:
        environment = {**defaults, **environment}
        persona = environment.get("LAB_PERSONA", PERSONAS[0])
        if persona not in PERSONAS:
            raise Failure(f"LAB_PERSONA is {persona}; it must be one of {', '.join(PERSONAS)}")
        if os.geteuid() != 0:
            raise Failure("the lab makes file systems and device nodes: run it as root")
        cache = environment.get("ASCEND_GPUSTACK_CACHE") or pathlib.Path.home() / ".cache" / "ascend-gpustack"
        return cls(
            name=environment["LAB_NAME"],
            net=environment["LAB_NET"],
            persona=persona,
            unique_hostnames=environment.get("LAB_HOSTNAMES") == "unique",
            page_port=int(environment["LAB_PAGE_PORT"]),
            cache=pathlib.Path(cache).resolve() / "lab",
            ssh_port=int(environment.get("LAB_VM_SSH_PORT", "22220")),
            memory=int(environment.get("LAB_VM_MEMORY", "3072")),
        )

    @property
    def label(self) -> str:
        return f"{LABEL}={self.name}"

    @property
    def store(self) -> str:
        return f"{self.name}-store"

    def host(self, name: str) -> str:
        """The container of `atlas3`, which may also be given by its own name."""
        return name if name.startswith(f"{self.name}-") else f"{self.name}-{name}"

    def address(self, number: int) -> str:
        return f"{self.net}.{FIRST_ADDRESS + number - 1}"

    @contextlib.contextmanager
    def lock(self, what: str) -> collections.abc.Iterator[None]:
        """Hold the images of the cache, or the hosts of one lab: two commands at a time would undo each other's work."""
        self.cache.mkdir(parents=True, exist_ok=True)
        with (self.cache / f"{what}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"lab: another command has {what}, waiting for its end …", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
