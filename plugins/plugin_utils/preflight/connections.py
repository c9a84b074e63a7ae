# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a host could not be reached, or its user not become root, told from what Ansible and the ssh client say (OpenSSH 8 to 10,
ansible-core 2.15 to 2.21). No sentence names an address, so that equal ones of several hosts are told once."""

from __future__ import annotations

import re

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Checks, Finding, failure

CHECKS = Checks()
PYTHON_REMEDY = "Install Python 3.9 or newer there, or name it in ansible_python_interpreter."
ROOT_REMEDY = "Set ansible_become: true, with ansible_become_password or --ask-become-pass where sudo asks for a password."
LEFT_OUT = "or leave it out with --limit"
KEYS = "Put the public key there (ssh-copy-id), or correct ansible_user and ansible_ssh_private_key_file."
# What the words of the failure are, which check tells it, what was found, and what mends it; the first that matches counts. In braces:
# a group of the match.
CAUSES = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "reachable",
        "its SSH host key is another than the one in known_hosts",
        "If it was installed anew, forget the old key with ssh-keygen -R ADDRESS and log in there once; if not, find out who answers.",
    ),
    (
        r"Host key verification failed|Host Key checking is enabled",
        "reachable",
        "its SSH host key is not known here; expected it in ~/.ssh/known_hosts",
        "Log in there once with ssh, compare the key and accept it; for many hosts compare what ssh-keyscan prints, and add that to it.",
    ),
    (
        r"must install the sshpass program",
        "reachable",
        "a password for SSH is given, which Ansible hands over with the program sshpass, and that is not installed here",
        "Install sshpass on this machine, or log in with a key.",
    ),
    (
        r"Incorrect (\S+) password|(sudo): .*incorrect password attempt",
        "root",
        "{0} refuses the password, or lets this user do nothing",
        "Correct ansible_become_password (or what is typed with --ask-become-pass), and see that sudo -v works there for ansible_user.",
    ),
    (
        r"Missing (\S+) password|(sudo): a password is required|(sudo): a terminal is required",
        "root",
        "{0} asks for a password, and none is given",
        "Give it with --ask-become-pass or as ansible_become_password, or let ansible_user use sudo without one (NOPASSWD).",
    ),
    (
        r"waiting for privilege escalation prompt|is not in the sudoers file|is not allowed to (?:execute|run sudo)",
        "root",
        "its user may not become root",
        "Let ansible_user use sudo there, or log in as root.",
    ),
    (
        r"Invalid/incorrect password",
        "reachable",
        "it refuses the password given for SSH",
        "Correct ansible_user and ansible_password (or what is typed with --ask-pass), or log in with a key.",
    ),
    (
        r"UNPROTECTED PRIVATE KEY FILE|Permissions \S+ for .* are too open",
        "reachable",
        "the private key's file may be read by others, so that ssh does not use it",
        "Run here: chmod 600 on the file in ansible_ssh_private_key_file",
    ),
    (
        r"Too many authentication failures",
        "reachable",
        "it refuses to look at more SSH keys",
        "Name the right one in ansible_ssh_private_key_file, with -o IdentitiesOnly=yes in ansible_ssh_common_args.",
    ),
    (
        r"Could not resolve hostname (?P<name>\S+):",
        "reachable",
        "its name {0} has no address here",
        "Correct ansible_host, or add the name to DNS or this machine's /etc/hosts.",
    ),
    (
        r"(Connection refused)",
        "reachable",
        "it is there, and nothing listens at its SSH port (Connection refused)",
        "Start sshd there, or correct ansible_port or ansible_host.",
    ),
    (
        r"timed out|Timeout|(Connection timed out)",
        "reachable",
        "its SSH port does not answer (Connection timed out)",
        f"Start it, correct ansible_host, open port 22 in the firewall between, {LEFT_OUT}.",
    ),
    (
        r"(No route to host|Network is unreachable)",
        "reachable",
        "no way leads to it ({0})",
        f"Start it, correct ansible_host or this machine's routes, {LEFT_OUT}.",
    ),
    (
        r"(Connection closed|Connection reset|Broken pipe|kex_exchange_identification|Bad packet|banner)",
        "reachable",
        "it ends the connection before the login ({0})",
        "See journalctl -u sshd there (MaxStartups, AllowUsers), and that ansible_port is the one of SSH.",
    ),
)


@CHECKS.add(
    reachable="whether the host answers over SSH, and lets the user in",
    root="whether the user is root or becomes root",
    examined="whether its modules run: Python 3",
)
def unexamined(host: dict) -> list[Finding]:
    """Why nothing can be said of a host, of which this is what gpustack_host_info returned or failed with."""
    if host.get("unreachable") or host.get("unreached"):
        return [connection_problem(str(host.get("msg") or ""), bool(host.get("password_given")))]
    if "docker" not in host:
        return [Finding("examined", "fail", f"could not be examined: {failure(host)}", PYTHON_REMEDY)]
    if host.get("root") is False:
        return [Finding("root", "fail", "its user has no root rights; expected root, or one who becomes root", ROOT_REMEDY)]
    return []


def connection_problem(text: str, password: bool) -> Finding:
    """What a connection failed with; `password`: whether one for SSH is given."""
    text = redact.text(text)
    for pattern, check, message, remedy in CAUSES:
        match = re.search(pattern, text)
        if match:
            return Finding(check, "fail", message.format(next((group for group in match.groups() if group), "sudo")), remedy)
    denied = re.search(r"(\S+)@\S+: Permission denied \(([^)]+)\)", text)
    if denied:
        return Finding("reachable", "fail", *_denied(denied[1], denied[2].split(","), password))
    lines = [line.strip() for line in text.strip().splitlines()] or ["no answer"]
    message, remedy = f"it cannot be reached ({lines[-1].rstrip('.')})", f"Start it or correct ansible_host, {LEFT_OUT}."
    return Finding("reachable", "fail", message, remedy)


def _denied(user: str, methods: list[str], password: bool) -> tuple[str, str]:
    passwords = {"password", "keyboard-interactive"} & set(methods)
    if not password:
        more = " It would take a password: --ask-pass." if passwords else ""
        return f"it takes no SSH key that is offered for the user {user}", KEYS + more
    if not passwords:
        return f"it takes no password for the user {user}, and no SSH key that is offered", KEYS
    return (
        "it refuses the password given for SSH",
        "Correct ansible_user and ansible_password (or what is typed with --ask-pass), or log in with a key.",
    )
