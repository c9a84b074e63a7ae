# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls the module of this name until it has ended, and shows how far it is."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.ascend.gpustack.plugins.plugin_utils.progress import follow


class ActionModule(ActionBase):
    """The task."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)

        def ask(wait: int) -> dict[str, Any]:
            answer = self._execute_module(
                module_name="ascend.gpustack.docker_image_fetch", module_args={**arguments, "wait": wait}, task_vars=variables
            )
            if answer.get("job"):
                arguments["job"] = answer["job"]
            return answer

        return {**result, **follow(str(variables.get("inventory_hostname")), str(arguments.get("image")), ask)}
