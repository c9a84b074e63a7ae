#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: docker_archive_info
short_description: Read which images a file made by docker save holds
version_added: 0.1.0
description:
  - Reads names and IDs of the images in an archive without loading it, so that a host that has them is left alone.
  - An uncompressed archive is read in an instant, whatever its size; a compressed one has to be read whole.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.info
  - ascend.gpustack.attributes.group
options:
  path:
    description: The archive, a tar file as C(docker save) writes it, also compressed by gzip, bzip2 or xz.
    type: path
  paths:
    description: Several archives in place of O(path). One that can't be read is told in RV(archives), and the others are read.
    type: list
    elements: path
  missing_ok:
    description: V(true) takes a file that is not there yet for one that can't be judged, as in a check before the store is mounted.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Read which images the archive holds
  ascend.gpustack.docker_archive_info:
    path: /data/models/gpustack.tar
  register: archive

- name: Read which images several archives hold
  ascend.gpustack.docker_archive_info:
    paths: [/data/models/gpustack.tar, /data/models/runners.tar]
  register: archives
"""

RETURN = r"""
exists:
  description: Whether the file is there.
  returned: success, with O(path)
  type: bool
images:
  description:
    - The IDs by which Docker may know each tagged image.
    - The classic image store names an image by its configuration's digest, the containerd image store by its manifest's.
  returned: success, with O(path)
  type: dict
  sample:
    registry.example.com:5000/gpustack/gpustack:latest: ["sha256:0f3b5a3c41ae8a0dbb1f5b5cfcb0b8fbb8e3e0f2a3d3b5b2c7a9a0e5d4c1b2a3"]
archives:
  description:
    - Of each of O(paths) its C(path), RV(exists) and RV(images), and C(error), why it could not be read; null where it could.
  returned: success, with O(paths)
  type: list
  elements: dict
"""

import json
import os
import tarfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule

# Far more than any list of images takes; a damaged archive may say anything.
MEMBER_LIMIT = 4 * 1024 * 1024


class ArchiveError(Exception):
    """Its text is for the user."""


def member(archive: tarfile.TarFile, name: str) -> Any:
    """A JSON file of the archive, or None when it isn't there."""
    try:
        info = archive.getmember(name)
    except KeyError:
        return None
    stream = archive.extractfile(info) if info.size <= MEMBER_LIMIT else None
    return json.load(stream) if stream else None


def images(manifest: list[dict[str, Any]], index: dict[str, Any] | None) -> dict[str, list[str]]:
    """IDs by name, from the archive's manifest.json and, in archives of Docker 25 and newer, index.json."""
    digests = {
        entry.get("annotations", {}).get("io.containerd.image.name", ""): entry["digest"] for entry in (index or {}).get("manifests", [])
    }
    found: dict[str, list[str]] = {}
    for image in manifest:
        config = "sha256:" + image["Config"].split("/")[-1].removesuffix(".json")
        for name in image.get("RepoTags") or []:
            other = digests.get(f"docker.io/{name}") or digests.get(name)
            found[name] = [config] + ([other] if other else [])
    return found


def read(path: str) -> dict[str, list[str]]:
    try:
        with tarfile.open(path) as archive:
            manifest = member(archive, "manifest.json")
            index = member(archive, "index.json")
        if manifest is None:
            raise ArchiveError(
                f"{path} has no manifest.json; expected an archive made by docker save. Make it anew: docker save -o FILE IMAGE."
            )
        return images(manifest, index)
    except FileNotFoundError as error:
        raise ArchiveError(
            f"{path} does not exist; expected an archive made by docker save. Put it there, or correct the variable that names it."
        ) from error
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(
            f"{path} can't be read ({error}); expected an archive made by docker save. It may be cut off; copy it again."
        ) from error


def described(path: str, missing_ok: bool) -> dict[str, Any]:
    """exists and images of an archive. Raises ArchiveError."""
    if missing_ok and not os.path.exists(path):
        return {"exists": False, "images": {}}
    return {"exists": True, "images": read(path)}


def each(path: str, missing_ok: bool) -> dict[str, Any]:
    """The same of one of several, with its path, and error where it can't be read."""
    try:
        return {"path": path, **described(path, missing_ok), "error": None}
    except ArchiveError as error:
        return {"path": path, "exists": os.path.exists(path), "images": {}, "error": str(error)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path"},
            "paths": {"type": "list", "elements": "path"},
            "missing_ok": {"type": "bool", "default": False},
        },
        required_one_of=[("path", "paths")],
        mutually_exclusive=[("path", "paths")],
        supports_check_mode=True,
    )
    path, missing_ok = module.params["path"], module.params["missing_ok"]
    if path is None:
        module.exit_json(changed=False, archives=[each(one, missing_ok) for one in module.params["paths"]])
    try:
        module.exit_json(changed=False, **described(path, missing_ok))
    except ArchiveError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
