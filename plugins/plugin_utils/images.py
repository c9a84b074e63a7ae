# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images a node needs, which of them have to be brought and from where, and why one can't be had.

A list of names has GPUStack's own image first. An archive is a dict: `path`, `where` (empty for the host itself), and what
docker_archive_info says of it.
"""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.images import architecture, registry
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation
from ansible_collections.ascend.gpustack.plugins.module_utils.npu import kinds

# From here on it reads archives that zstd compressed.
_DOCKER_ZSTD = 23
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
# Of the images that models need besides
_FURTHER = {"missing": "Check gpustack_registry and gpustack_runners, or bring the image as a file with gpustack_image_archives."}


def remedy(kind: str, further: bool = False) -> str:
    return {**REMEDIES, **(_FURTHER if further else {})}.get(kind, "Run this again with -vvv.")


def needed(main: str, node: dict) -> list[str]:
    """The images that a node needs. node: `version`, `registry`, `runners`, the ends of runners' names, and `worker`."""
    found = generation.assumed(node["version"]).images
    if not node["worker"]:
        return [main]
    below = f"{node['registry']}/" if node["registry"] else ""
    runners = [f"{found.runners}:{tag}" for tag in node["runners"]] if found.runners else []
    return list(dict.fromkeys([main, *(below + name for name in (*found.worker, *runners))]))


def own_state(image: str, host: dict) -> dict:
    """What gpustack_host_info says of GPUStack's own image. It may have looked for another: what a host runs, and so what it needs where
    the inventory names no version, is known by the same look."""
    found, container = host.get("image") or {}, host.get("container") or {}
    if found.get("name", image) == image:
        return found
    return {"present": True, "id": container.get("image_id")} if container.get("image") == image else {"present": False}


def state(images: list[str], host: dict) -> dict[str, dict]:
    """The same of each image; without those that it did not look for."""
    looked = host.get("images") or {}
    return {images[0]: own_state(images[0], host), **{name: looked[name] for name in images[1:] if name in looked}}


def plan(images: list[str], host: dict, archives: list[dict], version: str) -> dict[str, Any]:
    """What is to be done on a host, `due` by names: `loads`, for each archive that is needed the images that it brings, `pulls`, and
    `problems`, sentences on why an image can't be had. Where there are archives, nothing is asked of a registry."""
    known = state(images, host)
    machine = host.get("machine") or ""
    held = holders(archives, machine)
    due = [name for name, found in known.items() if not found.get("present") or _differs(name, found, held)]
    loads = [{"path": each["path"], "images": [name for name in due if held.get(name) is each]} for each in archives]
    return {
        "due": due,
        "loads": [load for load in loads if load["images"]],
        "pulls": [] if archives else due,
        "problems": (_archives_problems(images, _lacking(known), archives, version) if archives else [])
        + made_for_another(due, held, machine)
        + _unreadable(due, held, host)
        + there_for_another([name for name in known if name not in due], known, host),
    }


def holders(archives: list[dict], machine: str) -> dict[str, dict]:
    """The archive of each image: of several the first that is made for the host's processor, as far as archives tell."""
    found: dict[str, dict] = {}
    for archive in archives:
        for name in archive["images"]:
            if name not in found or (_strange(found[name], name, machine) and not _strange(archive, name, machine)):
                found[name] = archive
    return found


def _strange(archive: dict, name: str, machine: str) -> list[str]:
    """The processors that an image of an archive is made for; none where the host's is among them, or where one of the two is not known."""
    made_for = (archive.get("architectures") or {}).get(name) or []
    return [] if not machine or architecture(machine) in made_for else made_for


def made_for_another(due: list[str], held: dict[str, dict], machine: str) -> list[str]:
    """Docker loads such an image without a word, and nothing in it can be started."""
    found = []
    for name in due:
        made_for = _strange(held[name], name, machine) if name in held else []
        if made_for:
            wanted, where = architecture(machine), held[name]
            found.append(
                f"{_on(where['path'], where['where'])} holds {name} for {', '.join(made_for)}; expected {wanted}, the host's processor. "
                f"Name an archive for it, or make one (docker pull --platform linux/{wanted} {name}; docker save -o FILE {name})."
            )
    return found


def _on(path: str, where: str) -> str:
    return f"{path} on {where}" if where else path


def _unreadable(due: list[str], held: dict[str, dict], host: dict) -> list[str]:
    engine = str((host.get("docker") or {}).get("server_version") or "")
    number = re.match(r"\d+", engine)
    pressed = {(held[name]["path"], held[name]["where"]) for name in due if name in held and held[name].get("compression") == "zstd"}
    if not number or int(number.group()) >= _DOCKER_ZSTD:
        return []
    return [
        f"{_on(path, where)} is compressed by zstd, which Docker Engine {engine} does not read; expected {_DOCKER_ZSTD} or newer. "
        f"Unpack it there (zstd -d {path}) and name the result, or upgrade Docker."
        for path, where in sorted(pressed)
    ]


def there_for_another(names: list[str], known: dict[str, dict], host: dict) -> list[str]:
    """Images that are there already and are made for another processor, but for that of a container that runs nevertheless."""
    container, machine = host.get("container") or {}, host.get("machine") or ""
    running = container.get("image_id") if container.get("running") else None
    return [
        f"{name} is there and made for {architecture(known[name]['architecture'])}; expected {architecture(machine)}, the host's "
        f"processor. Remove it there (docker rmi {name}), so that one for it is brought."
        for name in names
        if machine and known[name].get("architecture") and architecture(known[name]["architecture"]) != architecture(machine)
        if not running or known[name].get("id") != running
    ]


def _differs(name: str, found: dict, held: dict[str, dict]) -> bool:
    return name in held and found.get("id") not in held[name]["images"][name]


def _lacking(known: dict[str, dict]) -> list[str]:
    return [name for name, found in known.items() if found.get("present") is False]


def problems(images: list[str], host: dict, answers: list[dict], asked: dict) -> list[str]:
    """Why a host can't get its images, or could not use them, as preflight finds. host: `chip`, `machine`, `version`, `lacks`, the names
    that are not there, and `seen`, what gpustack_host_info said; answers: what docker_archive_info said of archives, each with `where`;
    asked: what docker_registry_info said."""
    seen, machine = host.get("seen") or {}, host.get("machine") or ""
    there = {name: each for name, each in state(images, seen).items() if name not in host["lacks"]} if seen else {}
    found = _chip_problems(images[0], host)
    if not answers:
        return found + there_for_another(list(there), there, seen) + _registry_problems(images[0], host, asked.get("images") or {})
    if any(each.get("unreachable") or each.get("skipped") for each in answers):
        return found + there_for_another(list(there), there, seen)
    untold = [_at(each["where"], redact.text(str(each.get("msg") or _UNREAD))) for each in answers if "archives" not in each]
    archives = [{**archive, "where": each["where"]} for each in answers for archive in each.get("archives", [])]
    if untold:
        return found + untold
    held = holders(archives, machine)
    # What an archive has for the host's processor takes the place of what is there.
    stay = [name for name in there if name not in held or _strange(held[name], name, machine)]
    found += _archives_problems(images, host["lacks"], archives, host["version"]) + there_for_another(stay, there, seen)
    return found + made_for_another(host["lacks"], held, machine) + _unreadable(host["lacks"], held, seen)


_UNREAD = "the archive of the image could not be read"


def _archives_problems(images: list[str], lacking: list[str], archives: list[dict], version: str) -> list[str]:
    errors = [_at(archive["where"], redact.text(archive["error"])) for archive in archives if archive.get("error")]
    # One on a store that is yet to be mounted may hold anything.
    if errors or not all(archive["exists"] for archive in archives):
        return errors
    held = {name for archive in archives for name in archive["images"]}
    alone = not generation.assumed(version).images.worker
    found = [_unheld(images[0], archives, held)] if images[0] not in held and (alone or images[0] in lacking) else []
    further = [name for name in lacking if name not in held and name != images[0]]
    if further:
        found.append(
            f"it lacks {', '.join(further)}, which no archive of gpustack_image_archives holds; expected it there. "
            "Add the file that does, or load it there (docker load -i FILE)."
        )
    return found


def _unheld(image: str, archives: list[dict], held: set[str]) -> str:
    names = [archive["path"] + (f" on {archive['where']}" if archive["where"] else "") for archive in archives]
    verb, variable = ("holds", "gpustack_image_archive") if len(names) == 1 else ("hold", "gpustack_image_archives")
    return (
        f"{', '.join(names)} {verb} {', '.join(sorted(held)) or 'no image with a name'}; expected {image}. "
        f"Set gpustack_image to what it holds, or {variable} to another file."
    )


def _at(where: str, text: str) -> str:
    return f"{where}: {text}" if where else text


def _chip_problems(image: str, host: dict) -> list[str]:
    found = generation.assumed(host.get("version"))
    chip, variants = str(host.get("chip") or ""), found.variants
    kind, titles = kinds.of_chip(chip).name, {each.name: each.title for each in kinds.KINDS}
    end = max((end for end in variants if end and image.endswith(end)), key=len, default="")
    if not chip or not end or kind == variants[end]:
        return []
    if kind not in variants.values():
        known = " and ".join(titles[each] for each in variants.values())
        return [
            f"its NPUs are {chip}, and GPUStack {host['version']} has images for {known} alone; "
            "expected one of these. Set gpustack_image to an image that has engines for them."
        ]
    return [
        f"its NPUs are {chip}, and {image} has engines for {titles[variants[end]]}; expected {image[: -len(end)]}{found.image_end(chip)}. "
        "Set gpustack_image to that, or remove it."
    ]


def _registry_problems(main: str, host: dict, asked: dict[str, dict]) -> list[str]:
    """Images that can't be had for one reason are told together."""
    found: list[str] = []
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for name in host["lacks"]:
        answer = asked.get(name) or {}
        where = answer.get("registry") or "Docker Hub"
        if answer.get("available") is False:
            reason = redact.text(str(answer["error"])).rstrip(".")
            reasons.setdefault((where, reason, answer["kind"]), []).append(name)
        elif answer.get("architectures") and architecture(host["machine"]) not in answer["architectures"]:
            change = "Set gpustack_image to one for it." if name == main else "Bring one for it with gpustack_image_archives."
            made = f"{name} at {where} is made for {', '.join(answer['architectures'])}"
            found.append(f"{made}; expected {architecture(host['machine'])}, the host's processor. {change}")
    return found + [
        f"it lacks {', '.join(names)}, which can't be pulled from {where} ({reason}); expected it there. {remedy(kind, main not in names)}"
        for (where, reason, kind), names in reasons.items()
    ]


def failure(result: dict, host: str, image: str, archive: str) -> str:
    """Why an image did not come to a host, with the remedy for just that."""
    reason = redact.text(str(result.get("error") or result.get("msg") or "no answer")).rstrip(".")
    source = f"loaded from {archive}" if archive else f"pulled from {registry(image) or 'Docker Hub'}"
    return f"{host}: {image} could not be {source}: {reason}. {remedy(result.get('kind') or '')}"
