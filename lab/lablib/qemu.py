# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Processes of QEMU: what they are started with, and how they are spoken to."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import socket
import subprocess

from lablib import engine, shell
from lablib.settings import Lab

PROGRAM = "qemu-system-x86_64"
PROCESS = "ascend-gpustack"
# Whether KVM works is asked anew after each boot of the machine.
BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id")
KVM_SECONDS = 10


@dataclasses.dataclass(frozen=True)
class Ports:
    """Of 127.0.0.1. The page's is None where nothing leads to port 8080."""

    ssh: int
    network: int  # UDP: virtual machines that have the same one are in one network
    page: int | None = None


def install() -> None:
    if not shutil.which(PROGRAM) or not shutil.which("qemu-img"):
        with shell.stage("install QEMU"):
            engine.install_packages("qemu-system-x86", "qemu-utils")


@functools.cache
def version() -> str:
    return shell.run(PROGRAM, "--version").splitlines()[0]


def accelerator(folder: pathlib.Path, kernel: pathlib.Path) -> tuple[str, ...]:
    """KVM where a kernel comes up under it: on some machines /dev/kvm is there, and every guest hangs."""
    file = folder / f"kvm-{BOOT_ID.read_text(encoding='utf-8').strip()}"
    if not file.exists():
        for old in folder.glob("kvm-*"):
            old.unlink()
        file.write_text("works" if kvm_works(kernel) else "does not work", encoding="utf-8")
    if file.read_text(encoding="utf-8") == "works":
        return ("-accel", "kvm", "-cpu", "host")
    # Emulated, programs are slower with the newest instructions than without.
    return ("-accel", "tcg,thread=multi", "-cpu", "Nehalem")


def kvm_works(kernel: pathlib.Path) -> bool:
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    words = ["setpriv", "--pdeathsig", "KILL", PROGRAM, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    words += ["-accel", "kvm", "-cpu", "host", "-m", "512", "-serial", "stdio", *starting(kernel, "lab.selftest")]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=KVM_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return "user space works" in done.stdout


def starting(kernel: pathlib.Path, *parameters: str) -> list[str]:
    line = " ".join(("console=ttyS0", "quiet", "net.ifnames=0", "mitigations=off", *parameters))
    return ["-kernel", str(kernel / "vmlinuz"), "-initrd", str(kernel / "initrd"), "-append", line]


def disk(name: str, path: str, format_: str, *options: str) -> list[str]:
    settings = ",".join((f"id={name}", f"file={path}", f"format={format_}", "if=none", *options))
    return ["-drive", settings, "-device", f"virtio-blk-pci,drive={name}"]


def networks(number: int, ports: Ports) -> list[str]:
    """One that leads to this machine's loopback address and nowhere else, and the virtual machines' own."""
    user = f"user,id=ssh,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:{ports.ssh}-:22"
    if ports.page:
        user += f",hostfwd=tcp:127.0.0.1:{ports.page}-:8080"
    words = ["-netdev", user, "-device", f"virtio-net-pci,netdev=ssh,romfile=,mac=52:54:00:12:00:{number:02x}"]
    words += ["-netdev", f"socket,id=cluster,mcast=230.0.0.1:{ports.network},localaddr=127.0.0.1"]
    return [*words, "-device", f"virtio-net-pci,netdev=cluster,romfile=,mac=52:54:00:12:01:{number:02x}"]


def machine(lab: Lab) -> list[str]:
    words = [PROGRAM, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc", "-smp", "2", "-m", str(lab.memory)]
    return [*words, "-device", "virtio-rng-pci", "-serial", "file:console.log", "-qmp", "unix:qmp,server=on,wait=off", "-pidfile", "pid"]


def start(folder: pathlib.Path, words: list[str], state: pathlib.Path | None = None, with_parent: bool = False) -> None:
    """Start one in its folder, where it also goes on from a saved state. `with_parent`: it dies with this thread."""
    alone = ["setpriv", "--pdeathsig", "KILL"] if with_parent else []
    incoming = ["-incoming", "fd:0"] if state else []
    (folder / "pid").unlink(missing_ok=True)
    with (folder / "qemu.log").open("ab") as log, (state or pathlib.Path(os.devnull)).open("rb") as stdin:
        subprocess.Popen([*alone, *words, *incoming], cwd=folder, stdin=stdin, stdout=log, stderr=log, start_new_session=True)
    shell.wait_until(f"QEMU starts (see {folder}/qemu.log)", lambda: pid(folder) is not None, 30)


def pid(folder: pathlib.Path) -> int | None:
    """Of the living process of this folder; None also when another process has the number by now."""
    try:
        number = int((folder / "pid").read_text(encoding="utf-8"))
        at_home = os.readlink(f"/proc/{number}/cwd") == str(folder)
    except (OSError, ValueError):
        return None
    return number if at_home and engine.alive(number, PROCESS) else None


def ask(folder: pathlib.Path, command: str, **arguments: object) -> dict:
    """One command in QEMU's machine protocol, and its answer."""
    # The path of a socket may have 107 letters: this one is short wherever the folder is.
    directory = os.open(folder, os.O_PATH)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        try:
            connection.connect(f"/proc/self/fd/{directory}/qmp")
        finally:
            os.close(directory)
        with connection.makefile("rw", encoding="utf-8") as stream:
            stream.readline()
            for name, given in (("qmp_capabilities", {}), (command, arguments)):
                stream.write(json.dumps({"execute": name, "arguments": given}) + "\n")
                stream.flush()
                answer = next(message for message in map(json.loads, stream) if "return" in message or "error" in message)
    if "error" in answer:
        raise shell.Failure(f"QEMU refuses {command}: {answer['error']['desc']}")
    return answer["return"]


def save(folder: pathlib.Path, seconds: float) -> None:
    """Stop the virtual machine and write its state beside its disk."""
    ask(folder, "migrate-set-parameters", **{"max-bandwidth": 1 << 40})
    ask(folder, "stop")
    ask(folder, "migrate", uri="exec:cat >state")

    def saved() -> bool:
        status = ask(folder, "query-migrate").get("status")
        if status == "failed":
            raise shell.Failure(f"the state of {folder.name} could not be saved: see {folder}/qemu.log")
        return status == "completed"

    shell.wait_until("the state is saved", saved, seconds)


def resume(folder: pathlib.Path, seconds: float) -> None:
    """Let it run from its saved state, which says that it stood still."""
    shell.wait_until(f"the state is read (see {folder}/qemu.log)", lambda: ask(folder, "query-status")["status"] == "paused", seconds)
    ask(folder, "cont")


def stop(folder: pathlib.Path) -> None:
    """For the guest it is a power cut; what it has written to its disk is there afterwards."""
    number = pid(folder)
    if number is not None:
        with contextlib.suppress(OSError, StopIteration, ValueError):
            ask(folder, "quit")
        shell.wait_until(f"QEMU ends (process {number})", lambda: pid(folder) is None, 60)
