# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kills ansible-playbook right after the task that KILL_AFTER names, before another begins, or during the one of KILL_DURING."""

from __future__ import annotations

import os
import signal
import threading

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: kill_run
type: aggregate
short_description: Kill the run after a task, or during one
description: >-
  Kills ansible-playbook right after the task whose name ends in the environment's KILL_AFTER, or, of a KILL_DURING such as
  C(atlas1 2.5 Run the container), so many seconds after that host has begun the task whose name begins so.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kill_run"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_start(self, host, task) -> None:
        name, seconds, begins = os.environ.get("KILL_DURING", "- 0 -").split(" ", 2)
        if host.get_name() == name and task.get_name().split(" : ")[-1].startswith(begins):
            threading.Timer(float(seconds), os.kill, (os.getpid(), signal.SIGKILL)).start()

    def v2_runner_on_ok(self, result) -> None:
        if "KILL_AFTER" in os.environ and result.task.get_name().endswith(os.environ["KILL_AFTER"]):
            os.kill(os.getpid(), signal.SIGKILL)
