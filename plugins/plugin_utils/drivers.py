# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of two versions of the Ascend driver is newer, as far as their spelling tells."""

from __future__ import annotations

import re

# A release comes after its candidates and builds.
_KINDS = {"rc": 0, "b": 0, "spc": 1, "": 1}


def order(version: str, other: str) -> int | None:
    """-1, 0 or 1 where a version (`24.1.rc2`, `24.1.0`, `25.3.rc1.2`) is older than, as new as or newer than another. None where that
    hangs on a part that is spelt in another way (`24.1.t52.b060`) and is not the same in both."""
    given, wanted = (each.lower().split(".") for each in (version, other))
    for one, two in zip(given, wanted):
        if one == two:
            continue
        keys = [_key(one), _key(two)]
        if keys[0] is None or keys[1] is None:
            return None
        if keys[0] != keys[1]:
            return -1 if keys[0] < keys[1] else 1
    return (len(given) > len(wanted)) - (len(given) < len(wanted))


def reaches(version: str, oldest: str) -> bool:
    """Whether a driver is known to be as new as the oldest that will do."""
    return order(version, oldest) in (0, 1)


def _key(part: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"(rc|b|spc)?([0-9]+)", part)
    return (_KINDS[match.group(1) or ""], int(match.group(2))) if match else None
