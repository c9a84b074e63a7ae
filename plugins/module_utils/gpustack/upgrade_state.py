# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the upgrade of a node came, as its data directory tells (backup/upgrade.py writes it down)."""

from __future__ import annotations

import json
import os
from typing import Any, Callable

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import directory as gpustack_directory

# How far an upgrade came: what was there is not yet kept, or is being put back; it is kept, and the newer version is to come up; the newer
# one runs; a rollback was cut off; a rollback came to its end.
BEGUN, KEPT, DONE, RETURNING, ROLLED_BACK = "begun", "kept", "done", "returning", "rolled_back"


def state_of(entries: list[str], read: Callable[[str], str]) -> dict[str, str] | None:
    """How far the upgrade of a node came, with its versions, from the names in its data directory; None without one. read: from a path in
    it to its text, empty where it can't be read."""
    if gpustack_directory.UPGRADED in entries:
        note = _parsed(read(os.path.join(gpustack_directory.UPGRADED, gpustack_directory.NOTE)))
        returning, done = note.get("returning"), note.get("done")
        state = (RETURNING if returning else DONE) if done else BEGUN if returning or not note.get("moved") else KEPT
        return {**told(note), "state": state}
    if gpustack_directory.ROLLED_BACK in entries:
        return {**told(_parsed(read(gpustack_directory.ROLLED_BACK))), "state": ROLLED_BACK}
    return None


def is_taken_back(state: dict[str, str], version: str) -> bool:
    """Whether a person took back just this version: what stands in an inventory upgrades nothing again then."""
    return state.get("state") == ROLLED_BACK and state.get("wanted") == version


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def told(note: dict[str, Any]) -> dict[str, str]:
    """What of a note stays when the upgrade is over."""
    return {name: str(note.get(name) or "") for name in ("before", "wanted", "backup", "moment")}
