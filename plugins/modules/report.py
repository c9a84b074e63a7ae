#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Print lines as they are
version_added: 0.3.0
description:
  - Prints each line as it is, whatever format Ansible gives to results. None is folded, so that a command that stands on a line of its
    own can be copied.
  - A line that begins with C(FAIL) is red, one that begins with C(WARN) is yellow.
  - With a callback that writes JSON nothing is printed; the result has the lines.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
options:
  lines:
    description: The lines.
    type: list
    elements: str
    required: true
attributes:
  action:
    support: full
    description: Runs on the controller alone, and needs no connection.
  check_mode:
    support: full
    description: Prints as ever.
  diff_mode:
    support: none
    description: Nothing changes.
"""

EXAMPLES = r"""
- name: Say what is wrong, and what to run
  ascend.gpustack.report:
    lines:
      - "FAIL atlas3: NPU 5 health is Alarm."
      - "The others would pass with:"
      - "  --limit '!atlas3'"
"""

RETURN = r"""
msg:
  description: The lines.
  returned: always
  type: list
  elements: str
"""
