# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release of this collection runs."""

from __future__ import annotations

import functools
import json
import pathlib

import yaml

ROOT = pathlib.Path(__file__).parents[2]


@functools.cache
def version(root: pathlib.Path = ROOT) -> str:
    """An installed collection has MANIFEST.json, made of the checkout's galaxy.yml. unknown, where somebody copied neither along."""
    try:
        return json.loads((root / "MANIFEST.json").read_text())["collection_info"]["version"]
    except FileNotFoundError:
        pass
    try:
        return yaml.safe_load((root / "galaxy.yml").read_text())["version"]
    except FileNotFoundError:
        return "unknown"


def signature() -> str:
    """The end of a report's line that is said once, so that a report which somebody sends tells what it comes from."""
    return f" (ascend.gpustack {version()})"
