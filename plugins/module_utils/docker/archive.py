# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an archive made by docker save holds, read without loading it.

Its manifest.json lists the images, each with its configuration, in which the processor stands that it is made for; from Docker 25 on there
is an index.json, too (https://github.com/moby/docker-image-spec, https://github.com/opencontainers/image-spec).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.docker.images import architecture

# Far more than any list of images takes; a damaged archive may say anything.
MEMBER_LIMIT = 4 * 1024 * 1024
# RFC 8878: a frame's magic number. Docker reads the form from version 23 on, Python from 3.14 on.
_ZSTD = b"\x28\xb5\x2f\xfd"


class ArchiveError(Exception):
    """Its text is for the user."""


@dataclass
class Archive:
    """By the names of images the IDs by which Docker may know each, and the processors, in Docker's words, that it is made for, none where
    that is not known. compression: zstd, or None for one that every Docker reads."""

    images: dict[str, list[str]] = field(default_factory=dict)
    architectures: dict[str, list[str]] = field(default_factory=dict)
    compression: str | None = None


def read(path: str) -> Archive:
    """Raises ArchiveError."""
    try:
        compression = _compression(path)
        with _opened(path, compression) as archive:
            files = _files(archive)
        if "manifest.json" not in files:
            raise ArchiveError(
                f"{path} has no manifest.json; expected an archive made by docker save. Make it anew: docker save -o FILE IMAGE."
            )
        return Archive(_names(files), _architectures(files), compression)
    except FileNotFoundError as error:
        raise ArchiveError(
            f"{path} does not exist; expected an archive made by docker save. Put it there, or correct the variable that names it."
        ) from error
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(
            f"{path} can't be read ({error}); expected an archive made by docker save. It may be cut off; copy it again."
        ) from error


def _compression(path: str) -> str | None:
    with open(path, "rb") as file:
        return "zstd" if file.read(len(_ZSTD)) == _ZSTD else None


@contextlib.contextmanager
def _opened(path: str, compression: str | None) -> Iterator[tarfile.TarFile]:
    if compression is None or hasattr(tarfile.TarFile, "zstopen"):
        with tarfile.open(path) as archive:
            yield archive
        return
    if not shutil.which("zstd"):
        raise ArchiveError(
            f"{path} is compressed by zstd, and there is no command zstd to see what it holds; expected one. "
            f"Install zstd where the archive is, or compress it by gzip instead."
        )
    with subprocess.Popen(["zstd", "-dcq", "--", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                yield archive
        finally:
            process.kill()


def _files(archive: tarfile.TarFile) -> dict[str, Any]:
    """The JSON files, read in the order in which they come: going back costs a compressed archive a second reading of the whole."""
    found: dict[str, Any] = {}
    for info in archive:
        if not info.isfile() or info.size > MEMBER_LIMIT:
            continue
        file = archive.extractfile(info)
        first = file.read(1) if file else b""
        if file and first in (b"{", b"["):
            with contextlib.suppress(ValueError):
                found[os.path.normpath(info.name)] = json.loads(first + file.read())
    return found


def _names(files: dict[str, Any]) -> dict[str, list[str]]:
    """IDs by name: the classic image store names an image by its configuration's digest, the containerd image store by its manifest's."""
    entries = files.get("index.json", {}).get("manifests", [])
    digests = {entry.get("annotations", {}).get("io.containerd.image.name", ""): entry["digest"] for entry in entries}
    found: dict[str, list[str]] = {}
    for image in files["manifest.json"]:
        config = "sha256:" + image["Config"].split("/")[-1].removesuffix(".json")
        for name in image.get("RepoTags") or []:
            other = digests.get(f"docker.io/{name}") or digests.get(name)
            ids = [*found.get(name, []), config, *([other] if other else [])]
            found[name] = list(dict.fromkeys(ids))
    return found


def _architectures(files: dict[str, Any]) -> dict[str, list[str]]:
    """Of an image for several processors there is an entry for each."""
    found: dict[str, list[str]] = {}
    for image in files["manifest.json"]:
        config = files.get(os.path.normpath(image["Config"])) or {}
        made_for = architecture(str(config.get("architecture") or ""))
        for name in image.get("RepoTags") or [] if made_for not in ("", "unknown") else []:
            found[name] = sorted({*found.get(name, []), made_for})
    return found
