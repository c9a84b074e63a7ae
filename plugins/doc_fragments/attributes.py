# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules say of themselves, said once."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragments of the modules' documentation."""

    # For the modules that only read.
    INFO = r"""
attributes:
  check_mode:
    description: Can run in check mode, and changes nothing in any mode.
    support: full
  diff_mode:
    description: Has no diff to show.
    support: none
"""

    # For the modules that write one file.
    CHANGE = r"""
attributes:
  check_mode:
    description: Can run in check mode and say what it would change.
    support: full
  diff_mode:
    description: Shows the file that it writes, before and after.
    support: full
"""

    # For the modules that change what is no file.
    STATE = r"""
attributes:
  check_mode:
    description: Can run in check mode and say whether it would change something.
    support: full
  diff_mode:
    description: Has no diff to show.
    support: none
"""

    # For the module that changes Swarm's objects.
    STACK = r"""
attributes:
  check_mode:
    description: Can run in check mode and say what it would change.
    support: full
  diff_mode:
    description: Shows services and configs before and after; of secrets their names alone.
    support: full
"""

    # For the module that changes a model.
    MODEL = r"""
attributes:
  check_mode:
    description: Can run in check mode and say what it would change.
    support: full
  diff_mode:
    description: Shows the model before and after; of secrets that they differ.
    support: full
"""

    GROUP = r"""
attributes:
  action_group:
    description: Use C(group/ascend.gpustack.all) in C(module_defaults) to set defaults for all modules of this collection.
    support: full
    membership: [ascend.gpustack.all]
"""
