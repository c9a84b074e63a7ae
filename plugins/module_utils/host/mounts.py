# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is mounted where, as the kernel says in /proc/self/mountinfo (proc(5)): a dead server can't hold that up."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.ascend.gpustack.plugins.module_utils.files import is_within

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """A line of mountinfo. options are those of the mount and of the file system."""

    device: str
    target: str
    fstype: str
    source: str
    options: frozenset[str]


def parse_mountinfo(text: str) -> list[Mount]:
    mounts = []
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) < 10 or "-" not in fields[6:]:
            continue
        tail = fields[fields.index("-", 6) + 1 :]
        if len(tail) < 3:
            continue
        options = frozenset(fields[5].split(",")) | frozenset(tail[2].split(","))
        mounts.append(Mount(fields[2], unescape(fields[4]), tail[0], unescape(tail[1]), options))
    return mounts


def unescape(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), text)


def holding(mounts: list[Mount], path: str) -> Mount | None:
    """The mount that path lies on: the longest target, and of equal ones the last, which covers the others."""
    found = None
    for mount in mounts:
        if is_within(path, mount.target) and (found is None or len(mount.target) >= len(found.target)):
            found = mount
    return found
