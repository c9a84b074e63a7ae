"""Each way in which a host is not reached, or its user does not become root, is told apart, in the words of the real programs."""

from __future__ import annotations

import pytest
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.connections import CAUSES, connection_problem

# As ansible-core 2.15 and 2.21 with OpenSSH 9.2 said it; the other versions in between say one of the two.
OLD = 'Data could not be sent to remote host "10.0.0.9". Make sure this host can be reached over ssh: '
NEW = "Failed to connect to the host via ssh: "
CHANGED = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
Offending ED25519 key in /root/.ssh/known_hosts:1\r
Host key for 10.0.0.9 has changed and you have requested strict checking.\r
Host key verification failed.\r
"""
SAID = [
    (OLD + CHANGED, "reachable", "its SSH host key is another than the one in known_hosts"),
    (OLD + "Host key verification failed.\r\n", "reachable", "its SSH host key is not known here; expected it in ~/.ssh/known_hosts"),
    (
        "Using a SSH password instead of a key is not possible because Host Key checking is enabled.",
        "reachable",
        "its SSH host key is not known here; expected it in ~/.ssh/known_hosts",
    ),
    (
        "to use the 'ssh' connection type with passwords or pkcs11_provider, you must install the sshpass program",
        "reachable",
        "a password for SSH is given, which Ansible hands over with the program sshpass, and that is not installed here",
    ),
    (
        OLD + "op@10.0.0.9: Permission denied (publickey).\r\n",
        "reachable",
        "it takes no SSH key that is offered for the user op",
    ),
    (
        NEW + "Permissions 0644 for '/k' are too open.\nop@10.0.0.9: Permission denied (publickey).",
        "reachable",
        "the private key's file may be read by others, so that ssh does not use it",
    ),
    (
        NEW + "Received disconnect from 10.0.0.9 port 22:2: Too many authentication failures",
        "reachable",
        "it refuses to look at more SSH keys",
    ),
    (
        "Invalid/incorrect password: Permission denied, please try again.",
        "reachable",
        "it refuses the password given for SSH",
    ),
    (
        OLD + "ssh: Could not resolve hostname atlas-nine: Name or service not known\r\n",
        "reachable",
        "its name atlas-nine has no address here",
    ),
    (
        NEW + "ssh: connect to host 10.0.0.9 port 22: Connection refused",
        "reachable",
        "it is there, and nothing listens at its SSH port (Connection refused)",
    ),
    (
        NEW + "ssh: connect to host 10.0.0.9 port 22: Connection timed out",
        "reachable",
        "its SSH port does not answer (Connection timed out)",
    ),
    (
        NEW + "ssh: connect to host 10.0.0.9 port 22: No route to host",
        "reachable",
        "no way leads to it (No route to host)",
    ),
    (
        OLD + "kex_exchange_identification: read: Connection reset by peer\r\n",
        "reachable",
        "it ends the connection before the login (kex_exchange_identification)",
    ),
    ("Missing sudo password", "root", "sudo asks for a password, and none is given"),
    ("Incorrect su password", "root", "su refuses the password, or lets this user do nothing"),
    ("Timeout (12s) waiting for privilege escalation prompt: ", "root", "its user may not become root"),
]


@pytest.mark.parametrize("text, check, message", SAID)
def test_each_failed_connection_is_told_in_its_own_words(text, check, message):
    found = connection_problem(text, password=False)
    assert (found.check, found.result, found.message) == (check, "fail", message)


def test_each_has_a_remedy_of_its_own():
    found = {connection_problem(text, password=False) for text, _check, _message in SAID}
    assert len({item.remedy for item in found}) == len({item.message for item in found}) >= len(CAUSES)


def test_refused_password_is_told_from_one_that_is_missing():
    denied = NEW + "op@10.0.0.9: Permission denied (publickey,password)."
    assert connection_problem(denied, password=True).message == "it refuses the password given for SSH"
    missing = connection_problem(denied, password=False)
    assert (missing.message, missing.remedy.endswith("It would take a password: --ask-pass.")) == (
        "it takes no SSH key that is offered for the user op",
        True,
    )


def test_unknown_words_are_quoted():
    assert connection_problem("The moon is\nin the way.", password=False).message == "it cannot be reached (in the way)"
    assert connection_problem("", password=False).message == "it cannot be reached (no answer)"
