# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images as Docker Engine brings them: asked for at their registry, pulled, and loaded from archives, each over its API.

The engine asks with its own settings, so that its mirrors, proxies and insecure registries count. Credentials go over its socket alone:
they stand in no file and in no list of processes.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.api import Api, ApiError

DOCKER_HUB = "https://index.docker.io/v1/"
# As Docker's own answers word them, those of registries among them
_KINDS = (
    ("credentials", r"unauthorized|authentication required|denied|no basic auth|401|403|incorrect username or password"),
    ("disk", r"no space left on device"),
    ("missing", r"manifest unknown|manifest .*not found|not found|does not exist|404|no matching manifest"),
    ("rate", r"toomanyrequests|rate limit"),
)
# What `uname -m` calls what images call otherwise
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "loongarch64": "loong64"}
_MIB = 1024 * 1024


def registry(reference: str) -> str:
    """As Docker reads a name: only a first part that looks like a host is a registry; empty for Docker Hub."""
    first, slash, _rest = reference.partition("/")
    return first if slash and (first == "localhost" or "." in first or ":" in first) else ""


def split(reference: str) -> tuple[str, str]:
    """The name, and the tag or the digest."""
    name, at, digest = reference.partition("@")
    before, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        before, tag = name, "latest"
    return before, digest if at else tag


def credentials(reference: str, username: str, password: str) -> dict[str, str]:
    """Headers of a question to the engine; none without a user name."""
    if not username:
        return {}
    given = {"username": username, "password": password, "serveraddress": registry(reference) or DOCKER_HUB}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(given).encode()).decode()}


def kind_of(error: ApiError) -> str:
    """credentials, disk, missing, rate, engine (it does not answer) or network."""
    if error.status == 0:
        return "engine"
    text = str(error).lower()
    return next((kind for kind, pattern in _KINDS if re.search(pattern, text)), "network")


def ask_registry(ask: Api, reference: str, headers: dict[str, str]) -> list[str]:
    """The architectures that a registry has an image for, without pulling it; ApiError where it can't be had."""
    answer = ask("GET", f"/distribution/{quote(reference, safe='/:@')}/json", None, headers) or {}
    return sorted({str(each.get("architecture")) for each in answer.get("Platforms") or [] if each.get("architecture")})


def architecture(machine: str) -> str:
    return _ARCHITECTURES.get(machine, machine)


def size(count: float) -> str:
    return f"{count / _MIB / 1024:.1f} GiB" if count >= 1024 * _MIB else f"{count / _MIB:.0f} MiB"


@dataclass
class Progress:
    """What the engine's messages of a pull or a load come to. error is the one that it ended with."""

    done: set[str] = field(default_factory=set)
    layers: dict[str, int] = field(default_factory=dict)
    error: str | None = None

    def take(self, message: dict[str, Any]) -> None:
        if "error" in message:
            self.error = redact.text(" ".join(str(message["error"]).split()))
        layer, status = message.get("id"), str(message.get("status", ""))
        if not layer or status.startswith(("Pulling from", "Already exists")):
            return
        current = int((message.get("progressDetail") or {}).get("current") or 0)
        self.layers.setdefault(layer, 0)
        if status in ("Downloading", "Loading layer"):
            self.layers[layer] = max(self.layers[layer], current)
        if status == "Pull complete":
            self.done.add(layer)

    @property
    def text(self) -> str:
        brought = size(sum(self.layers.values()))
        return f"{brought}, {len(self.done)} of {len(self.layers)} layers done" if self.done else brought
