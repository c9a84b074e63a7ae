# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hosts with a kernel of their own: virtual machines that go on from where they were right after their first boot."""

from __future__ import annotations

import json
import os
import pathlib
import shlex
import socket
import sys

from lablib import disks, images, qemu, shell, ssh
from lablib.disks import Parts
from lablib.qemu import Ports
from lablib.settings import Lab

# Emulated, and several at a time on few cores.
BOOT_SECONDS = 900
ANSWER_SECONDS = 180
SAVE_SECONDS = 300


def home(lab: Lab) -> pathlib.Path:
    return lab.cache / "vms" / lab.name


def folder(lab: Lab, number: int) -> pathlib.Path:
    return home(lab) / f"atlas{number}"


def ports(lab: Lab, number: int) -> Ports:
    return Ports(lab.ssh_port + number, lab.ssh_port, lab.page_port if number == 1 else None)


def numbers_of(words: list[str]) -> list[int]:
    """Of `3`, or of `atlas1 atlas3`."""
    names = [f"atlas{number}" for number in range(1, disks.MOST + 1)]
    if len(words) == 1 and words[0].isdigit():
        words = names[: int(words[0])] if 0 < int(words[0]) <= disks.MOST else words
    unknown = [word for word in words if word not in names]
    if unknown or not words:
        raise shell.Failure(f"{' '.join(unknown)}: there are {', '.join(names)}")
    return sorted(names.index(word) + 1 for word in set(words))


def run_there(lab: Lab, port: int, command: str, timeout: float) -> str:
    return shell.run(*ssh.words(lab, port), command, timeout=timeout)


def wait_for_answer(path: pathlib.Path, port: int, seconds: float) -> None:
    def answers() -> bool:
        if qemu.pid(path) is None:
            raise shell.Failure(f"{path.name} ended by itself: see {path}/qemu.log")
        return ssh.answers("127.0.0.1", port)

    shell.wait_until(f"{path.name} answers on SSH (see {path}/console.log)", answers, seconds)


def wait_for_boot(lab: Lab, path: pathlib.Path, port: int) -> None:
    wait_for_answer(path, port, BOOT_SECONDS)
    # Its exit status is not 0 in any other state.
    command = "systemctl is-system-running --wait || systemctl --failed --no-legend --plain"
    told = run_there(lab, port, command, BOOT_SECONDS).strip()
    if told != "running":
        raise shell.Failure(f"{path.name} is {told}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def snapshots(lab: Lab, parts: Parts, numbers: list[int]) -> dict[int, pathlib.Path]:
    """What these hosts were right after their first boot; those not yet known are booted now. The caller holds the lock."""
    paths = {number: disks.snapshot_path(lab, parts, number) for number in numbers}
    missing = [number for number in numbers if not paths[number].exists()]
    if missing:
        with shell.stage(f"boot {', '.join(f'atlas{number}' for number in missing)} for the first time"):
            shell.together(lambda number: make_snapshot(lab, parts, number, paths[number]), missing)
    return paths


def make_snapshot(lab: Lab, parts: Parts, number: int, target: pathlib.Path) -> None:
    port = free_port()
    with images.partial(target) as path:
        path.mkdir()
        disks.overlay(path / "disk.qcow2", parts.root(number), "raw")
        words = disks.words(lab, parts, number) + name_and_networks(lab, number, Ports(port, port))
        qemu.start(path, words, with_parent=True)
        try:
            wait_for_boot(lab, path, port)
            run_there(lab, port, "docker image inspect gpustack/gpustack:v0.7.1-npu >/dev/null && sync", BOOT_SECONDS)
            qemu.save(path, SAVE_SECONDS)
        finally:
            qemu.stop(path)


def name_and_networks(lab: Lab, number: int, where: Ports) -> list[str]:
    return ["-name", f"{lab.host(f'atlas{number}')},process={qemu.PROCESS}", *qemu.networks(number, where)]


def restore(lab: Lab, parts: Parts, number: int, snapshot: pathlib.Path) -> None:
    path = folder(lab, number)
    path.mkdir(parents=True)
    disks.overlay(path / "disk.qcow2", snapshot / "disk.qcow2", "qcow2")
    words = disks.words(lab, parts, number) + name_and_networks(lab, number, ports(lab, number))
    command = {"words": words, "port": ports(lab, number).ssh}
    (path / "command.json").write_text(json.dumps(command, indent=1), encoding="utf-8")
    qemu.start(path, words, snapshot / "state")
    qemu.resume(path, ANSWER_SECONDS)
    wait_for_answer(path, ports(lab, number).ssh, ANSWER_SECONDS)
    # Its clock stands where it was saved; the simulated clock chip goes with this machine's.
    run_there(lab, ports(lab, number).ssh, "date --set=@$(cat /sys/class/rtc/rtc0/since_epoch)", ANSWER_SECONDS)


def switch_on(lab: Lab, number: int) -> None:
    path = folder(lab, number)
    if qemu.pid(path) is None:
        command = json.loads((path / "command.json").read_text(encoding="utf-8"))
        qemu.start(path, command["words"])
        # No more than that: what a test has done to a host may keep units of it from coming up.
        wait_for_answer(path, command["port"], BOOT_SECONDS)


def remove(path: pathlib.Path) -> None:
    qemu.stop(path)
    images.remove_tree(path)


def was_killed(path: pathlib.Path) -> bool:
    """Whether QEMU ended without its own doing, which leaves the file with its number and perhaps a damaged disk; or never began."""
    return qemu.pid(path) is None and ((path / "pid").exists() or not (path / "command.json").exists())


def up(lab: Lab, numbers: list[int]) -> None:
    """Make those that are not there and start those that stand still; the running ones stay as they are."""
    for number in numbers:
        if folder(lab, number).exists() and was_killed(folder(lab, number)):
            remove(folder(lab, number))
    missing = [number for number in numbers if not folder(lab, number).exists()]
    still = [number for number in numbers if number not in missing and qemu.pid(folder(lab, number)) is None]
    if missing:
        qemu.install()
        with lab.lock("vm-images"):
            parts = disks.build(lab, missing)
            paths = snapshots(lab, parts, missing)
        with shell.stage(f"start {', '.join(f'atlas{number}' for number in missing)}"):
            shell.together(lambda number: restore(lab, parts, number, paths[number]), missing)
    if still:
        start(lab, still)


def reset(lab: Lab, numbers: list[int]) -> None:
    down(lab)
    up(lab, numbers)


def build(lab: Lab) -> None:
    numbers = list(range(1, 4))
    qemu.install()
    with lab.lock("vm-images"):
        snapshots(lab, disks.build(lab, numbers), numbers)


def stop(lab: Lab, numbers: list[int]) -> None:
    shell.together(lambda number: qemu.stop(folder(lab, number)), numbers)


def start(lab: Lab, numbers: list[int]) -> None:
    with shell.stage(f"boot {', '.join(f'atlas{number}' for number in numbers)}"):
        shell.together(lambda number: switch_on(lab, number), numbers)


def down(lab: Lab) -> None:
    if home(lab).exists():
        with shell.stage("remove the virtual machines"):
            shell.together(remove, home(lab).iterdir())
            home(lab).rmdir()


def clean(lab: Lab) -> None:
    """Remove the virtual machines of every lab of this cache, and what they were made of and no longer is."""
    for path in (lab.cache / "vms").glob("*"):
        shell.together(remove, path.iterdir())
    images.remove_tree(lab.cache / "vms")
    disks.prune(lab)


def execute(lab: Lab, number: int, words: list[str]) -> None:
    """Become the command on the host."""
    terminal = ["-t"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    words = words[1:] if words[:1] == ["--"] else words
    command = [*ssh.words(lab, ports(lab, number).ssh, *terminal), *([shlex.join(words)] if words else [])]
    os.execvp(command[0], command)


def status(lab: Lab) -> None:
    for number in range(1, disks.MOST + 1):
        path = folder(lab, number)
        if path.exists():
            state = "exited" if qemu.pid(path) is None else "running"
            print(f"{lab.host(path.name):32} {lab.address(number):16} 127.0.0.1:{ports(lab, number).ssh:<6} {state}")
