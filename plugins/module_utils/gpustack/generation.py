# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which generation of GPUStack a version belongs to. Nothing else compares generations; what they differ in is said by them."""

from __future__ import annotations

from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import v0_7, v2
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.version import relation, version_key

DEPLOYED = (v0_7.GENERATION, v2.GENERATION)
# What new clusters get
DEFAULT = v2.GENERATION


class NotDeployed(ValueError):
    """A sentence, without its end, on a version that no generation here has. remedy: a sentence that says what to set."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def of(version: Any) -> Generation:
    """The generation that deploys a version. Raises NotDeployed."""
    key = version_key(version)
    for generation in DEPLOYED:
        if generation.deploys(key):
            return generation
    *others, last = (".".join(map(str, series)) for generation in DEPLOYED for series in generation.series)
    raise NotDeployed(f"gpustack_version is {version}; this collection deploys GPUStack {', '.join(others)} and {last}", _remedy(version))


def _remedy(version: Any) -> str:
    """What to set in place of a version that is not deployed, and what becomes of a cluster that runs it."""
    key, found = version_key(version), _of_its_number(version)
    if key is None or found is None:
        return f"Set gpustack_version to {' or '.join(generation.release for generation in DEPLOYED)}."
    release, wanted = ".".join(map(str, key[:3])), found.release
    if found.deploys((*key[:3], "z", 0)):
        return f"Set gpustack_version to {release}, of which this is a candidate."
    if relation(version, wanted) == "newer":
        return f"Set gpustack_version to {wanted} for a new cluster; leave one of {version} as it is, since its data cannot go back."
    return (
        f"Set gpustack_version to {wanted}; a cluster of {version} gets on with it, since GPUStack takes older data along when it starts."
    )


def _of_its_number(version: Any) -> Generation | None:
    """The generation of a version's major number, whether it deploys that version or not; None where there is none."""
    key = version_key(version)
    return next((generation for generation in DEPLOYED if key and key[0] == generation.series[0][0]), None)


def refusal(version: Any) -> tuple[str, str] | None:
    """Message and remedy where gpustack_version is none that is deployed; None where it is."""
    try:
        of(version)
    except NotDeployed as error:
        return str(error), error.remedy
    return None


def assumed(version: Any) -> Generation:
    """As of, for what is said beside a refusal of the version: where none deploys it, that of its major number, else the default one."""
    return (_of_its_number(version) or DEFAULT) if refusal(version) else of(version)


def of_container(version: str) -> Generation:
    """What a container is read as, by what is known of its GPUStack's version. One that nothing is known of, or the wrong thing, is refused
    in the end; it is read as the guides' containers, whose tag tells no version."""
    return speaking(version) or DEFAULT


def apart(before: Any, wanted: Any) -> bool:
    """Whether two versions are of generations that do not take each other's data; of those that are not deployed by their major number."""
    keys = [version_key(before), version_key(wanted)]
    return None not in keys and speaking(str(before)) is not speaking(str(wanted))


def migrates(before: Any, wanted: Any) -> bool:
    """Whether a version takes the data of another generation's over, when it is told to."""
    key, migration = version_key(before), None if refusal(wanted) else of(wanted).data.migration
    return key is not None and migration is not None and key[: len(migration.series)] == migration.series


def lasting(version: Any) -> str:
    """The version to run where the data of a version are to be kept: that one, or a later one of its generation that is deployed. Empty
    where there is none."""
    found = speaking(str(version))
    if not refusal(version):
        return str(version)
    return found.release if found and relation(version, found.release) == "older" else ""


def marks(generation: Generation) -> set[str]:
    """Files of a cluster's data that no other generation makes."""
    return set(generation.data.cluster).difference(*(each.data.cluster for each in DEPLOYED if each is not generation))


def speaking(version: str) -> Generation | None:
    """The generation whose API a server of this version has; None for another's. Those before and between releases have that of their
    major number, also the 0.0.0 of a development build."""
    major = version.lstrip("v").partition(".")[0]
    return next((generation for generation in DEPLOYED if not major.isdigit() or int(major) == generation.series[0][0]), None)
