# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A GPUStack version, found in a text, as something that sorts."""

from __future__ import annotations

import re

_VERSION = re.compile(r"\bv?(\d+)\.(\d+)\.(\d+)(?:\.post\d+)?(?:[.-]?(a|b|rc)\.?(\d+))?(?![\w.])")


def _release(line: str) -> str | None:
    match = _VERSION.search(line)
    return match.group(0).lstrip("v") if match else None


def version_key(version: str | None) -> tuple[int, int, int, str, int] | None:
    """Something that sorts; None for what is no release, such as the 0.0.0 of a development build."""
    match = _VERSION.match((version or "").strip())
    if not match:
        return None
    major, minor, patch, kind, number = match.groups()
    key = (int(major), int(minor), int(patch), kind or "z", int(number or 0))
    return key if key[:3] != (0, 0, 0) else None


def relation(old: str | None, target: str) -> str:
    before, after = version_key(old), version_key(target)
    if before is None or after is None:
        return "unknown"
    return "equal" if before == after else "older" if before < after else "newer"
