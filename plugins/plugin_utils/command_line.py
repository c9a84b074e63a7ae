# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands to copy, for the inventory that this run has; of a job of AWX, what to launch."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Mapping
from typing import Any


def playbook(
    name: str, inventory: Iterable[str], limit: str = "", extra: Mapping[str, Any] | None = None, directory: str | None = None
) -> str:
    """A playbook of the collection, with the inventory as one would name it from the directory (the current one). What else was given on
    the command line, such as a password file, is not known. AWX sets AWX_HOST for its jobs (awx/main/tasks/jobs.py), whose inventory is a
    file of theirs alone."""
    if os.environ.get("AWX_HOST"):
        given = f" with the extra variables {json.dumps(extra)}" if extra else ""
        return f"the job template of the playbook {name}{given}" + (f" and the limit {limit}" if limit else "")
    here = directory or os.getcwd()
    sources = [os.path.relpath(source, here) if source.startswith(f"{here.rstrip('/')}/") else source for source in inventory]
    words = ["ansible-playbook", *(word for source in sources for word in ("-i", source)), f"ascend.gpustack.{name}"]
    words += ["--limit", limit] if limit else []
    return shlex.join([*words, *(word for key, value in (extra or {}).items() for word in ("-e", f"{key}={value}"))])
