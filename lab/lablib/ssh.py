# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The way into hosts: the lab's key, and whether somebody answers."""

from __future__ import annotations

import pathlib
import socket

from lablib import shell
from lablib.settings import Lab

# Hosts are made anew many times a day, each with a key of its own: nothing here is worth remembering.
OPTIONS = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=30")


def make_key(lab: Lab) -> None:
    private = private_key(lab)
    if not public_key(lab).exists():
        private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        private.unlink(missing_ok=True)
        shell.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", lab.name, "-f", str(private))


def private_key(lab: Lab) -> pathlib.Path:
    return lab.cache / "ssh" / "id_ed25519"


def public_key(lab: Lab) -> pathlib.Path:
    return lab.cache / "ssh" / "id_ed25519.pub"


def answers(address: str, port: int = 22) -> bool:
    try:
        with socket.create_connection((address, port), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def words(lab: Lab, port: int, *options: str) -> list[str]:
    """The command that logs in to a virtual machine; what is to run there comes after it."""
    settings = [f"-o{option}" for option in OPTIONS]
    return ["ssh", *settings, "-i", str(private_key(lab)), "-p", str(port), *options, "root@127.0.0.1"]
