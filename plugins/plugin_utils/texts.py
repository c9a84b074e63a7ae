# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of text that a variable can hold: what fits, and how a person is told of it."""

from __future__ import annotations

import ipaddress
import json
import re
import urllib.parse
from collections.abc import Callable, Iterable

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation
from ansible_collections.ascend.gpustack.plugins.module_utils.nfs.clients import read_client

LONGEST_SHOWN = 60
# Letters of every script; nothing that fstab, exports(5), systemd, Docker or a shell takes for something else
PATH = re.compile(r"[\w/.+=@~-]+")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*")
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REGISTRY = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
_USUAL = generation.DEFAULT
_IMAGE = f"{_USUAL.repository}:v{_USUAL.release}{_USUAL.image_end('')}"
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\r?\n[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_PRIVATE_KEY = re.compile(r"-----BEGIN (?:RSA |EC )?PRIVATE KEY-----\r?\n[A-Za-z0-9+/=\s]+-----END (?:RSA |EC )?PRIVATE KEY-----")
# With its own settings or options of the mount in place of these, they would be said twice.
_OF_VARIABLES = re.compile(r"(nfs)?vers=|nconnect=|minorversion=")


def quoted(text: str) -> str:
    """A text as a person can see its white space, shortened, without secrets."""
    text = redact.text(text)
    return json.dumps(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…", ensure_ascii=False)


def one_of(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def is_host(text: str) -> bool:
    # What ends in a number is an address or a slip: no top-level domain is one.
    return is_address(text) or bool(_HOST.fullmatch(text) and not (("." in text) and text.rpartition(".")[2].isdigit()))


def is_client(text: str) -> bool:
    try:
        read_client(text, "rw", lambda name: "192.0.2.1")
    except ValueError:
        return False
    return True


def is_url(text: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or parts.username is not None or parts.query or parts.fragment or port == 0:
        return False
    return is_host(parts.hostname or "") and not re.search(r"[\s\x00-\x1f\x7f\"'\\]", text)


def is_port_range(text: str) -> bool:
    match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", text)
    return match is not None and 1 <= int(match.group(1)) <= int(match.group(2)) <= 65535


def is_pem(text: str) -> bool:
    return "CERTIFICATE-----" in text and "PRIVATE KEY-----" in text


def is_certificates(text: str) -> bool:
    """PEM, with anything between the certificates that is no key; openssl writes descriptions there."""
    return (
        "PRIVATE KEY-----" not in text and bool(_CERTIFICATE.findall(text)) and text.count("-----BEGIN") == len(_CERTIFICATE.findall(text))
    )


def is_private_key(text: str) -> bool:
    return "ENCRYPTED" not in text and len(_PRIVATE_KEY.findall(text)) == 1 and "-----BEGIN CERTIFICATE" not in text


def is_keys(text: str) -> bool:
    lines = [line.strip() for line in text.splitlines()]
    return any(lines) and all(re.fullmatch(r"[!-~]*", line) for line in lines)


def is_model(text: str) -> bool:
    return bool(re.fullmatch(r"[^\x00-\x1f\x7f]*\S", text)) and ".." not in text.split("/")


def _like(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda text: bool(compiled.fullmatch(text))


_DOCKER_NAME = _like(r"[A-Za-z0-9][A-Za-z0-9_.-]+")
_DOCKER_NAME_TEXT = "two or more letters, digits and . _ -, the first a letter or a digit"
# By their kinds in the roles' meta/rules.yml: whether a text fits, and what is expected
KINDS: dict[str, tuple[Callable[[str], bool], str]] = {
    "text": (_like(r"[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?"), "one line without white space around it"),
    "password": (_like(r"(?=.*\S)[^\x00-\x1f\x7f]+"), "one line of text"),
    "lines": (_like(r"[^\x00-\x08\x0e-\x1f\x7f]+"), "a text"),
    "token": (_like(r"[^\s\x00-\x1f\x7f]+"), "a token without white space"),
    "word": (_like(r"[^\s\x00-\x1f\x7f]+"), "one word"),
    "name": (
        _like(r"[^\s\x00-\x1f\x7f:/](?:[^\x00-\x1f\x7f:/]*[^\s\x00-\x1f\x7f:/])?"),
        "a name without : and / and white space around it",
    ),
    "host": (is_host, "an address, or a host's name, without a port"),
    "host_address": (lambda text: is_address(text) or text == "host-gateway", "an address, or host-gateway"),
    "address": (is_address, "an address, such as 172.16.33.1"),
    "client": (is_client, "an address, or a network without bits of a host, such as 172.16.33.0/24"),
    "url": (is_url, "http://host:port or https://host:port, without a user"),
    "registry": (_like(rf"{_REGISTRY}(?:/{_PART})*"), "a registry without http://, such as registry.example.com:5000"),
    "image": (
        _like(rf"(?:{_REGISTRY}/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?"),
        f"an image, such as registry.example.com:5000/{_IMAGE}",
    ),
    "runner": (_like(r"\w[\w.-]{0,127}"), "the tag of a runner, such as cann8.5-910b-vllm0.18.0"),
    "gpustack_version": (
        _like(r"[0-9]+\.[0-9]+\.[0-9]+(?:\.post[0-9]+)?(?:[.-]?(?:a|b|rc)\.?[0-9]+)?"),
        f'a release of GPUStack, such as "{_USUAL.release}"',
    ),
    "driver_version": (_like(r"(?i:[0-9]+(?:\.[a-z]{0,8}[0-9]+)+)"), 'a version of the driver, such as "24.1.rc2"'),
    "chip": (_like(r"[A-Za-z0-9][A-Za-z0-9_-]*"), "the name of a chip, such as 910B4"),
    "docker_name": (_DOCKER_NAME, _DOCKER_NAME_TEXT),
    "volume_name": (_DOCKER_NAME, f"the name of a Docker volume ({_DOCKER_NAME_TEXT}), or an absolute path"),
    # Docker takes others too; a shell can't read them, and sh leaves them out of what it runs.
    "variable": (_like(r"[A-Za-z_][A-Za-z0-9_]*"), "a variable's name, of letters, digits and _"),
    "label": (_like(r"(?!gpustack\.)[\w./-]+"), "a label's name, not one that begins with gpustack."),
    "port_range": (is_port_range, "a range of ports, such as 40000-40063"),
    "size": (_like(r"(?i:[0-9]+(?:[bkmgtp]b?)?)"), "a size, such as 16g"),
    "cpus": (_like(r"[0-9]+(?:-[0-9]+)?(?:,[0-9]+(?:-[0-9]+)?)*"), 'CPUs, such as "0-3,8"'),
    "ulimit": (_like(r"[a-z]+:-?[0-9]+(?::-?[0-9]+)?"), "a limit, such as nofile:65535:65535"),
    "capability": (_like(r"(?i:[A-Z][A-Z_]+)"), "a capability, such as SYS_PTRACE"),
    "nfs_option": (
        lambda text: bool(re.fullmatch(r"[^\s,\x00-\x1f\x7f]+", text)) and not _OF_VARIABLES.match(text),
        "one mount option of nfs(5); nfs_client_version and nfs_client_nconnect say the version and the connections",
    ),
    "stack": (_like(r"[A-Za-z0-9](?:[-_]*[A-Za-z0-9]+)*"), "letters, digits, and - or _ between them"),
    "service": (
        lambda text: text != "gateway" and bool(re.fullmatch(r"[A-Za-z0-9](?:[-_]*[A-Za-z0-9]+)*", text)),
        "letters, digits, and - or _ between them, and not gateway, which is the gateway's",
    ),
    "served_name": (_like(r"[A-Za-z0-9/._][A-Za-z0-9/._:@+-]*"), "letters, digits and / . _ : @ + -"),
    "model": (is_model, "a directory of the store, such as Qwen/Qwen3-30B-A3B"),
    "model_name": (_like(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"), "letters, digits, and . _ - between them"),
    "model_id": (_like(r"[\w.-]+/[\w.-]+"), "owner/name, such as Qwen/Qwen3-32B"),
    "keys": (is_keys, "keys of printable ASCII without white space, one a line"),
    "certificates": (is_certificates, "certificates as PEM, -----BEGIN CERTIFICATE----- and so on, and no key"),
    "private_key": (is_private_key, "one private key as PEM, without a password"),
    "pem": (is_pem, "the certificate and its private key, both PEM"),
}
