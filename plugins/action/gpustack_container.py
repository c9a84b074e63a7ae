# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the container by community.docker's module, and calls the module of this name until it is healthy or has a reason not to be.

In check mode it is that module's word alone on what would change.
"""

from __future__ import annotations

import time
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.ascend.gpustack.plugins.plugin_utils.progress import follow


class ActionModule(ActionBase):
    """The task."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        definition = arguments.pop("definition", None)
        replaces = boolean(arguments.pop("replaces", False))
        changed = False
        if definition and self._task.check_mode:
            return {**result, **self._docker(definition, variables)}
        if definition:
            if replaces:
                refused = self._try(definition, variables)
                if refused:
                    return {**result, **refused, "kind": "docker", "kept": True}
            made = self._docker(definition, variables)
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

    def _docker(self, definition: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        return self._execute_module(module_name="community.docker.docker_container", module_args=definition, task_vars=variables)

    def _try(self, definition: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """What Docker has against a container, empty where it takes it: Docker's module removes the one that is there before Docker has
        looked at the next. It is made beside that one under another name, not started, and removed."""
        trial = f"{definition['name']}-trial"
        made = self._docker({**definition, "name": trial, "state": "present", "restart": False}, variables)
        gone = self._docker({"name": trial, "state": "absent", "keep_volumes": False}, variables)
        return next((each for each in (made, gone) if each.get("failed") or each.get("unreachable")), {})
