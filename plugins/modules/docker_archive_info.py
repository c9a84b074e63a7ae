#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: docker_archive_info
short_description: Read which images a file made by docker save holds
version_added: 0.1.0
description:
  - Reads names and IDs of the images in an archive, and the processors that they are made for, without loading it.
  - An uncompressed archive is read in an instant, whatever its size; a compressed one has to be read whole.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.info
  - ascend.gpustack.attributes.group
options:
  path:
    description:
      - The archive, a tar file as C(docker save) writes it, also compressed by gzip, bzip2, xz or zstd. The last one needs the command
        C(zstd).
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
architectures:
  description: The processors that each image is made for, in Docker's words; without those of which the archive does not say it.
  returned: success, with O(path)
  type: dict
  sample:
    registry.example.com:5000/gpustack/gpustack:latest: [arm64]
compression:
  description: V(zstd), which Docker reads from version 23 on; null for an archive that every Docker reads.
  returned: success, with O(path)
  type: str
archives:
  description:
    - Of each of O(paths) its C(path), RV(exists), RV(images), RV(architectures) and RV(compression), and C(error), why it could not be
      read; null where it could.
  returned: success, with O(paths)
  type: list
  elements: dict
"""

import os
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import archive as docker_archive


def described(path: str, missing_ok: bool) -> dict[str, Any]:
    """What is returned of an archive. Raises ArchiveError."""
    if missing_ok and not os.path.exists(path):
        return {"exists": False, **asdict(docker_archive.Archive())}
    return {"exists": True, **asdict(docker_archive.read(path))}


def each(path: str, missing_ok: bool) -> dict[str, Any]:
    """The same of one of several, with its path, and error where it can't be read."""
    try:
        return {"path": path, **described(path, missing_ok), "error": None}
    except docker_archive.ArchiveError as error:
        return {"path": path, "exists": os.path.exists(path), **asdict(docker_archive.Archive()), "error": str(error)}


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
    except docker_archive.ArchiveError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
