# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A Docker Engine on this machine: the one that is there, or one started by hand."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess

from lablib import shell
from lablib.settings import Lab

PID_FILES = {"/var/run/docker.pid": "dockerd", "/run/docker/containerd/containerd.pid": "containerd"}


def answers() -> bool:
    if not shutil.which("docker"):
        return False
    words = ["docker", "info", "--format", "{{.ServerVersion}}"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return done.returncode == 0 and bool(done.stdout.strip())


def alive(pid: int, name: str) -> bool:
    """Whether the process is there and is still that program: numbers are used again, and the dead may stay as zombies."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return f"({name})" in fields and fields.rsplit(")", 1)[1].split()[0] != "Z"


def install_packages(*names: str) -> None:
    if not shutil.which("apt-get"):
        raise shell.Failure(f"install {' and '.join(names)}: this machine has no apt-get to do it with")
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    shell.run(*environment, "apt-get", "-qq", "update")
    shell.run(*environment, "apt-get", "-qq", "install", "--yes", "--no-install-recommends", *names)


def is_starting() -> bool:
    """Remove what a dead engine left, which a new one would take for a living one; return whether dockerd is alive."""
    starting = False
    for path, name in PID_FILES.items():
        file = pathlib.Path(path)
        text = file.read_text(encoding="utf-8").strip() if file.exists() else ""
        if text.isdigit() and alive(int(text), name):
            starting = starting or name == "dockerd"
        else:
            file.unlink(missing_ok=True)
    return starting


def start_by_hand(lab: Lab) -> subprocess.Popen[bytes]:
    with (lab.cache / "dockerd.log").open("ab") as log:
        process = subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    (lab.cache / "dockerd.pid").write_text(str(process.pid), encoding="utf-8")
    return process


def start(lab: Lab) -> None:
    if answers():
        return
    process: subprocess.Popen[bytes] | None = None

    def came_up() -> bool:
        nonlocal process
        if answers():
            return True
        # One that is alive without answering either comes up or is on its way out.
        if process is None and not is_starting():
            process = start_by_hand(lab)
        if process and process.poll() is not None:
            raise shell.Failure(f"Docker Engine ended by itself: see {lab.cache}/dockerd.log")
        return False

    with shell.stage("start Docker Engine"):
        if not shutil.which("dockerd"):
            install_packages("docker.io", "iptables")
        shell.wait_until(f"Docker Engine answers (see {lab.cache}/dockerd.log)", came_up, 60)


def stop(lab: Lab) -> bool:
    """Stop the engine only where the lab started it and nobody else's container runs in it; return whether it goes on."""
    file = lab.cache / "dockerd.pid"
    if not file.exists():
        return False
    pid = int(file.read_text(encoding="utf-8") or 0)
    running = shell.lines(shell.docker("ps", "--format", "{{.Names}}")) if answers() else []
    if running:
        print(f"lab: Docker Engine goes on, it runs {', '.join(running)}")
        return True
    if alive(pid, "dockerd"):
        with shell.stage("stop Docker Engine"):
            os.kill(pid, signal.SIGTERM)
            shell.wait_until("Docker Engine ends", lambda: not alive(pid, "dockerd"), 60)
    file.unlink()
    return False
