# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node's settings, environment and mounts have for its registry, for TLS and for its driver, and the files on the host behind that.

All of it stands below one directory of the collection's own, since users have files of theirs in /etc/gpustack.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Generation
from ansible_collections.ascend.gpustack.plugins.plugin_utils import runners

PLACE = "/etc/gpustack/managed"
CERTIFICATE, KEY, CA = f"{PLACE}/tls/server.crt", f"{PLACE}/tls/server.key", f"{PLACE}/tls/ca.crt"
TRUST = f"{PLACE}/trust"
TOOLKIT = f"{PLACE}/ascend-toolkit"


def completed(generation: Generation, node: dict) -> dict:
    """A node, its `settings`, `env` and `volumes` completed by what follows from its `registry` (name, username, password), its `tls`
    (certificate, key, ca: PEM) and its `driver`; what the inventory sets itself wins. `cann` is the newest that the driver carries, empty
    where that is not known, or of no account."""
    return {
        **node,
        "cann": _cann(generation, node),
        "settings": {**_registry(generation, node), **_tls_settings(generation, node), **node["settings"]},
        "env": {**_credentials(generation, node), **_trusted(generation, node), **node["env"]},
        "volumes": _volumes(generation, node) + node["volumes"],
    }


def files(generation: Generation, node: dict) -> list[dict[str, Any]]:
    """What lies on the host: `path`, `content`, empty for none, and whether GPUStack has to be started again to see it (`restart`)."""
    tls, serves = node["tls"], node["role"] == "server"
    # What a server hands on it reads when it is asked.
    found = [
        {"path": CERTIFICATE, "content": _pem(tls["certificate"]) if serves else "", "restart": True},
        {"path": KEY, "content": _pem(tls["key"]) if serves else "", "restart": True},
        {"path": CA, "content": _pem(tls["ca"]) if serves and tls["certificate"] else "", "restart": False},
        {"path": f"{TRUST}/ca.crt", "content": "" if serves else _pem(tls["ca"]), "restart": not generation.trust.live},
    ]
    if generation.runners:
        cann = _cann(generation, node)
        stated = f"Version={cann}\n" if cann else ""
        found.append({"path": f"{TOOLKIT}/{generation.runners.stated}", "content": stated, "restart": False})
    return found


def _cann(generation: Generation, node: dict) -> str:
    return runners.newest_cann(generation.runners, node["driver"]) if generation.runners and node["works"] else ""


def _pem(text: str) -> str:
    return f"{text.strip()}\n" if text.strip() else ""


def _registry(generation: Generation, node: dict) -> dict[str, str]:
    """Where GPUStack looks for the images of models. Not told, it would ask registries on the internet which of them answers."""
    images = generation.images
    return {images.registry: node["registry"]["name"] or images.hub} if images.registry else {}


def _credentials(generation: Generation, node: dict) -> dict[str, str]:
    images, registry = generation.images, node["registry"]
    if not images.username or not node["works"] or not registry["username"]:
        return {}
    return {images.username: registry["username"], images.password: registry["password"]}


def _tls_settings(generation: Generation, node: dict) -> dict[str, str]:
    tls = node["tls"]
    if node["role"] != "server" or not tls["certificate"]:
        return {}
    handed = {generation.trust.setting: CA} if tls["ca"] and generation.trust.setting else {}
    return {"ssl_certfile": CERTIFICATE, "ssl_keyfile": KEY, **handed}


def _trusted(generation: Generation, node: dict) -> dict[str, str]:
    return dict(generation.trust.environment) if node["role"] == "worker" and node["tls"]["ca"] else {}


def _volumes(generation: Generation, node: dict) -> list[str]:
    trust, table = generation.trust, generation.runners
    found = []
    if node["role"] == "server" and node["tls"]["certificate"]:
        found.append(f"{PLACE}/tls:{PLACE}/tls:ro")
    if node["role"] == "worker" and node["tls"]["ca"]:
        found.append(f"{TRUST}/{trust.source}:{trust.target}:ro" if trust.source else f"{TRUST}:{trust.target}:ro")
    # A user's own CANN toolkit says which it is.
    if node["works"] and table and not any(volume.split(":")[1].startswith(table.toolkit) for volume in node["volumes"]):
        found.append(f"{TOOLKIT}:{table.toolkit}:ro")
    return found
