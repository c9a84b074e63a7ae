# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How modules run whose failure to reach a host is a finding."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action.normal import ActionModule as NormalAction


class TolerantAction(NormalAction):
    """Runs the module of its name. Where the play ignores that a host is unreachable, a connection that fails, or a user that can't become
    root, is a failed result with `unreached`, which the play tells in its own words: `failed_when` does not see what Ansible raises."""

    def run(self, tmp: Any = None, task_vars: dict | None = None) -> dict:
        try:
            return super().run(tmp, task_vars)
        except AnsibleError as error:
            if not self._task.ignore_unreachable:
                raise
            password = bool(getattr(self._play_context, "password", None))
            return {"changed": False, "failed": True, "unreached": True, "msg": str(error), "password_given": password}
