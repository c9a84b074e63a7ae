# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kills ansible-playbook right after the task that KILL_AFTER names, before another begins."""

from __future__ import annotations

import os
import signal

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: kill_run
type: aggregate
short_description: Kill the run after a task
description: Kills ansible-playbook right after the task that the environment's KILL_AFTER names.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kill_run"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_ok(self, result) -> None:
        if result.task.get_name().endswith(os.environ["KILL_AFTER"]):
            os.kill(os.getpid(), signal.SIGKILL)
