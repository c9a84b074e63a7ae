# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands to copy, for the inventory that this run has; of a job of AWX, what to launch."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from ansible import context
from ansible_collections.ascend.gpustack.plugins.module_utils import redact

# How those begin that say what the playbook reset does, and nothing of the cluster
OF_RESET = "gpustack_reset_"


def playbook(
    name: str, inventory: Iterable[str], limit: str = "", extra: Mapping[str, Any] | None = None, directory: str | None = None
) -> str:
    """A playbook of the collection, with the inventory as one would name it from the directory (the current one), and with the extra
    variables that this run was given, since they may say what it is about; those with a secret in them are left out, and those of a reset
    for other playbooks. A password file is not known. AWX sets AWX_HOST for its jobs (awx/main/tasks/jobs.py), whose inventory is a file of
    theirs alone."""
    if os.environ.get("AWX_HOST"):
        given = f" with the extra variables {json.dumps(extra)}" if extra else ""
        return f"the job template of the playbook {name}{given}" + (f" and the limit {limit}" if limit else "")
    here = directory or os.getcwd()
    sources = [os.path.relpath(source, here) if source.startswith(f"{here.rstrip('/')}/") else source for source in inventory]
    words = ["ansible-playbook", *(word for source in sources for word in ("-i", source)), f"ascend.gpustack.{name}"]
    words += ["--limit", limit] if limit else []
    added = [f"{key}={value}" for key, value in (extra or {}).items()]
    before = [each if name == "reset" else _without_resets(each) for each in context.CLIARGS.get("extra_vars") or ()]
    given_before = [each for each in before if each and each not in added and redact.text(each) == each]
    return shlex.join([*words, *(word for each in [*given_before, *added] for word in ("-e", each))])


def _without_resets(given: str) -> str:
    """What one -e gives, as ansible-playbook takes it: a file, JSON or YAML in braces, or some name=value. Empty where nothing is left."""
    if OF_RESET not in given or given.startswith("@"):
        return given
    if given.lstrip().startswith("{"):
        parsed = yaml.safe_load(given)
        left = {key: value for key, value in parsed.items() if not str(key).startswith(OF_RESET)}
        return json.dumps(left, ensure_ascii=False) if left else ""
    pairs = [word.partition("=") for word in shlex.split(given) if not word.startswith(OF_RESET)]
    return " ".join(f"{key}={shlex.quote(value)}" for key, _equals, value in pairs)
