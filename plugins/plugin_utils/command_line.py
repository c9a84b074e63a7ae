# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands to copy, for the inventory that this run has."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from typing import Any


def playbook(
    name: str, inventory: Iterable[str], limit: str = "", extra: Mapping[str, Any] | None = None, directory: str | None = None
) -> str:
    """A playbook of the collection, with the inventory as one would name it from the directory (the current one). What else was given on
    the command line, such as a password file, is not known."""
    here = directory or os.getcwd()
    sources = [os.path.relpath(source, here) if source.startswith(f"{here.rstrip('/')}/") else source for source in inventory]
    words = ["ansible-playbook", *(word for source in sources for word in ("-i", source)), f"ascend.gpustack.{name}"]
    words += ["--limit", limit] if limit else []
    return shlex.join([*words, *(word for key, value in (extra or {}).items() for word in ("-e", f"{key}={value}"))])
