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


def stack_images(names: list[str], lines: list[str]) -> dict[str, Any]:
    """The images of a stack as a host has them. lines: its processor, what Docker does with logs, and of each image the processor for which
    it is made, `unknown` or `none`."""
    machine, _logs, *made_for = lines or ["", ""]
    there = {name: {"architecture": each} for name, each in zip(names, made_for) if each not in ("none", "unknown")}
    return {
        "machine": machine,
        "missing": [name for name, each in zip(names, made_for) if each == "none"],
        "problems": images.there_for_another(list(there), there, {"machine": machine}),
    }


def stack_image_problems(missing: list[str], archives: list[dict], machine: str = "") -> list[str]:
    """Sentences on the images that a host lacks, and that no archive holds, or none for its processor. Of an archive that could not be
    looked at, nothing is known."""
    read = [each for each in archives if not each.get("skipped") and not each.get("unreachable")]
    if len(read) < len(archives):
        return []
    held = {name for each in read for name in each.get("images") or {}}
    lacking = [name for name in missing if name not in held]
    unread = [redact.text(str(each.get("msg"))).rstrip(".") for each in read if "images" not in each]
    if not lacking:
        located = [{"path": each.get("item", "an archive"), "where": "", **each} for each in read if "images" in each]
        return images.made_for_another(missing, images.holders(located, machine), machine)
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
            "stack_images": stack_images,
            "stack_image_problems": stack_image_problems,
        }
