# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A GPUStack version as something that sorts."""

from __future__ import annotations

import re

from ansible.errors import AnsibleFilterError


def version_key(version: str) -> tuple:
    """`0.7.1`, `v0.7.1`, `0.7.1rc2` as something that sorts; a release comes after its candidates."""
    match = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)(?:\.post\d+)?(?:[.-]?(a|b|rc)\.?(\d+))?", str(version).strip())
    if not match:
        raise AnsibleFilterError(f"gpustack_version: {version!r} is not a GPUStack version such as 0.7.1")
    major, minor, patch, kind, number = match.groups()
    return (int(major), int(minor), int(patch), kind or "z", int(number or 0))
