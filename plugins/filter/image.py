# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters about images: which one fits a host, and why it can't be had. Pure functions; each is documented in its .yml."""

from __future__ import annotations

from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.images import architecture, registry
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation

_FILE = "or bring the image as a file with gpustack_image_archive."
REMEDIES = {
    "credentials": f"Check gpustack_registry_username and gpustack_registry_password, {_FILE}",
    "missing": f"Check gpustack_registry, gpustack_version and gpustack_image, {_FILE}",
    "rate": f"Wait, or set gpustack_registry to a mirror, or gpustack_registry_username, {_FILE}",
    "network": f"Check gpustack_registry, and there the mirrors and proxies that `docker info` shows, {_FILE}",
    "time": f"Raise gpustack_image_timeout if it only needs longer, {_FILE}",
    "disk": "Make room there where Docker keeps its data (docker system df), or move its data-root.",
    "engine": "See there: systemctl status docker",
    "archive": "Copy the archive again, or correct gpustack_image_archive.",
    "process": "See there whether memory is short (journalctl -k), and run this again.",
    "busy": "Run this again when that has ended.",
}


def image_variant(chip: str, version: str = "") -> str:
    """The end of the tag of GPUStack's image for a chip; the usual one also where there is none."""
    return generation.assumed(version).image_end(chip)


def image_problems(image: str, host: dict, archive: dict, asked: dict) -> list[str]:
    """Sentences on why a host that lacks an image can't get it, or could not use it. host: `chip`, `machine` and `version`; archive:
    `path`, `where`, empty for the host itself, and what docker_archive_info returned; asked: what docker_registry_info did."""
    return _chip_problems(image, host) + (_archive_problems(image, archive) if archive else _registry_problems(image, host, asked))


def _chip_problems(image: str, host: dict) -> list[str]:
    found = generation.assumed(host.get("version"))
    chip, variants = str(host.get("chip") or ""), found.variants
    end = max((end for end in variants if end and image.endswith(end)), key=len, default="")
    if not chip or not end or chip.startswith(variants[end]):
        return []
    if not chip.startswith(tuple(variants.values())):
        return [
            f"its NPUs are {chip}, and GPUStack {host['version']} has images for {' and '.join(variants.values())} alone; "
            "expected one of these. Set gpustack_image to an image that has engines for them."
        ]
    return [
        f"its NPUs are {chip}, and {image} has engines for {variants[end]}; expected {image[: -len(end)]}{found.image_end(chip)}. "
        "Set gpustack_image to that, or remove it."
    ]


def _archive_problems(image: str, archive: dict) -> list[str]:
    if archive.get("unreachable") or archive.get("skipped") or archive.get("exists") is False:
        return []
    if "images" not in archive:
        told = redact.text(str(archive.get("msg") or "the archive of the image could not be read"))
        return [f"{archive['where']}: {told}" if archive["where"] else told]
    if image in archive["images"]:
        return []
    held, where = ", ".join(archive["images"]) or "no image with a name", f" on {archive['where']}" if archive["where"] else ""
    return [
        f"{archive['path']}{where} holds {held}; expected {image}. "
        "Set gpustack_image to what it holds, or gpustack_image_archive to another file."
    ]


def _registry_problems(image: str, host: dict, asked: dict) -> list[str]:
    if "available" not in asked:
        return []
    where = asked["registry"] or "Docker Hub"
    if not asked["available"]:
        reason = redact.text(str(asked["error"])).rstrip(".")
        return [f"it lacks {image}, which can't be pulled from {where} ({reason}); expected it there. {REMEDIES[asked['kind']]}"]
    own = architecture(host["machine"])
    if asked["architectures"] and own not in asked["architectures"]:
        made = ", ".join(asked["architectures"])
        return [f"{image} at {where} is made for {made}; expected {own}, the host's processor. Set gpustack_image to one for it."]
    return []


def image_failure(result: dict, host: str, image: str, archive: str) -> str:
    """Why an image did not come to a host, with the remedy for just that."""
    reason = redact.text(str(result.get("error") or result.get("msg") or "no answer")).rstrip(".")
    source = f"loaded from {archive}" if archive else f"pulled from {registry(image) or 'Docker Hub'}"
    return f"{host}: {image} could not be {source}: {reason}. {REMEDIES.get(result.get('kind') or '', 'Run this again with -vvv.')}"


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
        return {function.__name__: function for function in (image_variant, image_problems, image_failure, stack_image_problems)}
