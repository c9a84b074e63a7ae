# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands to copy, for the inventory that this run has; of a job of AWX, what to launch."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from ansible import context
from ansible_collections.ascend.gpustack.plugins.module_utils import redact


def playbook(
    name: str, inventory: Iterable[str], limit: str = "", extra: Mapping[str, Any] | None = None, directory: str | None = None
) -> str:
    """A playbook of the collection, with the inventory as one would name it from the directory (the current one), and with the extra
    variables that this run was given, since they may say what it is about; those with a secret in them are left out. A password file is
    not known. AWX sets AWX_HOST for its jobs (awx/main/tasks/jobs.py), whose inventory is a file of theirs alone."""
    if os.environ.get("AWX_HOST"):
        given = f" with the extra variables {json.dumps(extra)}" if extra else ""
        return f"the job template of the playbook {name}{given}" + (f" and the limit {limit}" if limit else "")
    here = directory or os.getcwd()
    sources = [os.path.relpath(source, here) if source.startswith(f"{here.rstrip('/')}/") else source for source in inventory]
    words = ["ansible-playbook", *(word for source in sources for word in ("-i", source)), f"ascend.gpustack.{name}"]
    words += ["--limit", limit] if limit else []
    added = [f"{key}={value}" for key, value in (extra or {}).items()]
    given_before = [each for each in context.CLIARGS.get("extra_vars") or () if each not in added and redact.text(each) == each]
    return shlex.join([*words, *(word for each in [*given_before, *added] for word in ("-e", each))])
