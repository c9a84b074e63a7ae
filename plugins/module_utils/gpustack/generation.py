# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which generation of GPUStack a version belongs to. Nothing else compares generations; what they differ in is said by them."""

from __future__ import annotations

from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import v0_7, v2
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.version import version_key

DEPLOYED = (v0_7.GENERATION,)
TO_COME = (v2.SERIES,)
# What is assumed where no version is known, or one that is refused anyway
DEFAULT = v0_7.GENERATION


class NotDeployed(ValueError):
    """A sentence, without its end, on a version that no generation here has. remedy: a sentence that says what to set."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def of(version: Any) -> Generation:
    """The generation that deploys a version. Raises NotDeployed."""
    key = version_key(version)
    for generation in DEPLOYED:
        if key and key[: len(generation.series)] == generation.series:
            return generation
    yet = ", which is not deployed yet" if key and any(key[: len(series)] == series for series in TO_COME) else ""
    names = " and ".join(generation.name for generation in DEPLOYED)
    raise NotDeployed(
        f"gpustack_version is {version}{yet}; this collection deploys GPUStack {names}", f"Set gpustack_version to {DEFAULT.release}."
    )


def refusal(version: Any) -> tuple[str, str] | None:
    """Message and remedy where gpustack_version is none that is deployed; None where it is."""
    try:
        of(version)
    except NotDeployed as error:
        return str(error), error.remedy
    return None


def assumed(version: Any) -> Generation:
    """As of, for what is said beside a refusal of the version: the default one where none deploys it."""
    return DEFAULT if refusal(version) else of(version)


def speaking(version: str) -> Generation | None:
    """The generation whose API a server of this version has; None for another's. Those before and between releases have that of their
    major number, also the 0.0.0 of a development build."""
    major = version.lstrip("v").partition(".")[0]
    return next((generation for generation in DEPLOYED if not major.isdigit() or int(major) == generation.series[0]), None)
