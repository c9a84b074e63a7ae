# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of backup and restore. Pure functions; each is documented in its .yml."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.backup.program import superfluous
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.generation import DEPLOYED
from ansible_collections.ascend.gpustack.plugins.plugin_utils.backup import backup_refusals, restore_plan

_OF_BACKUP = ("dump", "names", "files")


def backup_settings(node: dict) -> dict:
    """What the program on the host is told, with all that there is to know of each generation: which one runs, it sees itself."""
    generations = [
        {
            "series": [list(series) for series in each.series],
            "directory": each.data.directory,
            **{name: getattr(each.data.backup, name) for name in _OF_BACKUP},
        }
        for each in DEPLOYED
    ]
    return {**node, "generations": generations}


def superfluous_backups(names: list[str], host: str, kind: str, keep: int) -> list[str]:
    """The older ones of a host's backups of a kind."""
    return superfluous(names, host, kind, keep)


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict:
        return {function.__name__: function for function in (backup_refusals, backup_settings, superfluous_backups, restore_plan)}
