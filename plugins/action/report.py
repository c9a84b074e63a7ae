# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints lines as they are; documented in plugins/modules/report.py."""

from __future__ import annotations

from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.ascend.gpustack.plugins.module_utils import redact

COLOURS = {"FAIL": C.COLOR_ERROR, "WARN": "yellow"}


class ActionModule(ActionBase):
    """Needs no host."""

    _requires_connection = False
    _VALID_ARGS = frozenset(("lines",))

    def run(self, tmp: Any = None, task_vars: dict | None = None) -> dict:
        result = super().run(tmp, task_vars)
        lines = self._task.args.get("lines")
        if not isinstance(lines, list):
            raise AnsibleActionFail("lines is no list")
        lines = [redact.text(str(line)) for line in lines]
        # Where the output is for machines, the result has the lines.
        if "json" not in C.DEFAULT_STDOUT_CALLBACK:
            # A task's title may come after its first line, where skipped hosts are hidden.
            for line in ["", *lines]:
                Display().display(line, color=COLOURS.get(line.split(" ", 1)[0]))
        return {**result, "changed": False, "msg": lines}
