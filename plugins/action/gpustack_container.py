# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the container by community.docker's module, and calls the module of this name until it is healthy or has a reason not to be."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.ascend.gpustack.plugins.plugin_utils.progress import follow


class ActionModule(ActionBase):
    """The task."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        definition = arguments.pop("definition", None)
        changed = False
        if definition:
            made = self._execute_module(module_name="community.docker.docker_container", module_args=definition, task_vars=variables)
            if made.get("failed") or made.get("unreachable"):
                return {**result, **made, "kind": "docker"}
            changed = bool(made.get("changed"))
        deadline = time.monotonic() + int(arguments.get("timeout", 300))

        def ask(wait: int) -> dict[str, Any]:
            left = max(0, round(deadline - time.monotonic()))
            answer = self._execute_module(
                module_name="ascend.gpustack.gpustack_container", module_args={**arguments, "wait": min(wait, left)}, task_vars=variables
            )
            arguments["known"] = answer.get("known") or {}
            return {**answer, "finished": answer.get("finished") or left <= wait}

        answer = follow(str(variables.get("inventory_hostname")), f"container {arguments['name']}", ask)
        failed = bool(answer.get("failed")) or not answer.get("healthy")
        return {**result, **answer, "changed": changed, "failed": failed, "msg": answer.get("msg") or answer.get("detail", "")}
