# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module gpustack_host_info; see TolerantAction."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.plugin_utils.tolerant_action import TolerantAction


class ActionModule(TolerantAction):
    """Only a name."""
