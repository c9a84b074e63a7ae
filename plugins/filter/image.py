# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters about images: which a host needs, and why one can't be had. Pure functions; each is documented in its .yml."""

from __future__ import annotations

from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.images import registry
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation
from ansible_collections.ascend.gpustack.plugins.plugin_utils import images


def image_variant(chip: str, version: str = "") -> str:
    """The end of the tag of GPUStack's image for a chip; the usual one also where there is none."""
    return generation.assumed(version).image_end(chip)


def stack_image_problems(missing: list[str], archives: list[dict]) -> list[str]:
    """Sentences on the images that a host lacks and no archive holds. Of an archive that could not be looked at, nothing is known."""
    read = [each for each in archives if not each.get("skipped") and not each.get("unreachable")]
    if len(read) < len(archives):
        return []
    held = {name for each in read for name in each.get("images") or {}}
    lacking = [name for name in missing if name not in held]
    unread = [redact.text(str(each.get("msg"))).rstrip(".") for each in read if "images" not in each]
    if not lacking:
        return []
    return unread or [
        f"Docker lacks {', '.join(lacking)}; expected every image of the stack on its host, since Swarm pulls none here. "
        "Load it (docker load -i FILE), or name its file in vllm_stack_image_archives."
    ]


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Any]:
        return {
            "image_variant": image_variant,
            "image_registry": registry,
            "node_images": images.needed,
            "image_plan": images.plan,
            "image_problems": images.problems,
            "image_failure": images.failure,
            "stack_image_problems": stack_image_problems,
        }
