# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A GPUStack version as something that sorts; the one answer to which of two is newer."""

from __future__ import annotations

import re
from typing import Any

# Numbers, then which of a, b, rc or z, a release, which comes after its candidates, and its number
Key = tuple[int, int, int, str, int]
_RELEASE = r"v?(\d+)\.(\d+)\.(\d+)(?:\.post\d+)?(?:[.-]?(a|b|rc)\.?(\d+))?"
# PEP 440: what follows + names a build of the same release.
_VERSION = re.compile(rf"{_RELEASE}(?:\+[\w.-]+)?")
_IN_TEXT = re.compile(rf"\b{_RELEASE}(?![\w.])")


def version_key(version: Any) -> Key | None:
    """None for what is no release: another text, nothing, or the 0.0.0 of a development build."""
    match = _VERSION.fullmatch(str(version or "").strip())
    if not match:
        return None
    major, minor, patch, kind, number = match.groups()
    key = (int(major), int(minor), int(patch), kind or "z", int(number or 0))
    return key if key[:3] != (0, 0, 0) else None


def find(text: str) -> str | None:
    """The first version that a text names, without v and build."""
    match = _IN_TEXT.search(text)
    return match.group(0).lstrip("v") if match else None


def relation(old: str | None, target: str) -> str:
    """equal, older, newer, or unknown where one of the two is no release."""
    before, after = version_key(old), version_key(target)
    if before is None or after is None:
        return "unknown"
    return "equal" if before == after else "older" if before < after else "newer"
