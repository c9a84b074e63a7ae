# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small files: read whole and bounded, and written so that who reads meanwhile sees the old one or the new one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator

_CAUSES = (
    ((errno.ENOSPC, errno.EDQUOT), "expected room on its disk. Make room (df -h)"),
    ((errno.EROFS,), "expected a writable file system. See why the kernel made it read-only (dmesg)"),
    ((errno.EACCES, errno.EPERM), "expected to run as root on a writable file system. Set ansible_become: true"),
)
FILE_LIMIT = 64 * 1024


def refusal(error: OSError) -> str:
    """What was expected of a file, and what helps, by the error's number; nothing is guessed of another one."""
    return next((told for numbers, told in _CAUSES if error.errno in numbers), "expected it to work. See to what the error names")


@contextlib.contextmanager
def alone(directory: str) -> Iterator[None]:
    """Of several runs at the same time, one writes into a directory after the other."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write(path: str, text: str | None, mode: int = 0o644) -> None:
    """Whoever reads sees the old text or the new one, and those may read whom the mode lets, by default all; so it is with a directory that
    has to be made. Without text, the file is removed. Raises OSError."""
    if text is None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
        return
    directory, name = os.path.split(path)
    os.makedirs(directory, mode=mode | (mode & 0o444) >> 2, exist_ok=True)
    # A fixed name, which the next run overwrites, and which no program takes for one of its files.
    draft = os.path.join(directory, f".{name}.new")
    with alone(directory):
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, path)


def is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def read_text(path: str) -> str:
    """The text of a file under /proc or /etc; empty when it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


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


def read_small(path: str) -> str | None:
    """The text of a small file, or None where there is none to read."""
    try:
        with open(path, "rb") as stream:
            return stream.read(FILE_LIMIT).decode("utf-8", errors="replace")
    except OSError:
        return None
