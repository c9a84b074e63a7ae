# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that others read while they are written."""

from __future__ import annotations

import contextlib
import os


def write(path: str, text: str | None) -> None:
    """Whoever reads sees the old text or the new one, and all may read. Without text, the file is removed. Raises OSError."""
    if text is None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
        return
    directory, name = os.path.split(path)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    # A fixed name, which the next run overwrites, and which no program takes for one of its files.
    draft = os.path.join(directory, f".{name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
        os.fchmod(stream.fileno(), 0o644)
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(draft, path)
