# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process shows of itself under /proc."""

from __future__ import annotations

import contextlib
import os


def open_files(directory: str) -> list[str]:
    """What a process has open, by its fd directory; nothing of one that ended or may not be looked at.

    One that opens and closes files all the time has closed some of them before they can be looked at.
    """
    links = []
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            with contextlib.suppress(OSError):
                links.append(os.readlink(os.path.join(directory, name)))
    return links
