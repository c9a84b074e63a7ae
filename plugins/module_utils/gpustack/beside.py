# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files for root alone, the configuration and what lies beside it. A file of the list is a dict: `path`, `content`, empty for none, and
`restart`, whether GPUStack has to be started again to see it. Nothing here shows a content."""

from __future__ import annotations

import os
import stat
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import files as text_file

MODE = 0o600
# How a file is found that has the right content, and another mode or owner
OPEN = "open to others"


def access_line(path: str, owner: tuple[int, int]) -> str:
    """How mode and owner of a present file differ from what they should be; empty when they don't."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return ""
    mode = stat.S_IMODE(status.st_mode)
    if mode == MODE and (status.st_uid, status.st_gid) == owner:
        return ""
    return f"# mode {mode:04o}, owner {status.st_uid}, group {status.st_gid}\n"


def repair_access(path: str, owner: tuple[int, int]) -> None:
    if os.path.exists(path):
        os.chmod(path, MODE)
        os.chown(path, *owner)


def differing(files: list[dict[str, Any]], owner: tuple[int, int]) -> dict[str, str]:
    """How those files are, by their paths, that are not as they should be."""
    found = {}
    for file in files:
        present = text_file.read_small(file["path"])
        if (present or "") != file["content"] or (present is not None and not file["content"]):
            found[file["path"]] = "absent" if present is None else "of another content"
        elif access_line(file["path"], owner):
            found[file["path"]] = OPEN
    return found


def place(files: list[dict[str, Any]], found: dict[str, str], owner: tuple[int, int]) -> None:
    """Write, remove or close those that differ. One that is merely closed keeps its time, by which it is known whether GPUStack saw it."""
    for file in files:
        if found.get(file["path"], OPEN) != OPEN:
            text_file.write(file["path"], file["content"] or None, MODE)
        if file["path"] in found:
            repair_access(file["path"], owner)


def told(files: list[dict[str, Any]], found: dict[str, str]) -> tuple[str, str]:
    """The same before and after, as lines of a diff."""
    due = [file for file in files if file["path"] in found]
    before = "".join(f"# {file['path']}: {found[file['path']]}\n" for file in due)
    return before, "".join(f"# {file['path']}: {'as given' if file['content'] else 'absent'}\n" for file in due)
