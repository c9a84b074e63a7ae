# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role gpustack_weights. Pure functions; each is documented in its .yml."""

from __future__ import annotations

from typing import Any

from ansible_collections.ascend.gpustack.plugins.plugin_utils import weights


def weight_items(given: list, hostvars: Any, groups: dict, settings: dict) -> list:
    """What the list names, and who brings it."""
    return weights.items(given, hostvars, groups, settings)


def weight_plan(listed: list, looked: list, info: dict, settings: dict) -> dict:
    """What is refused, and what is to be done."""
    return weights.plan(listed, looked, info, settings)


def weight_summary(listed: list, looked: list, brought: list, settings: dict) -> dict:
    """The end of a run."""
    return weights.summary(listed, looked, brought, settings)


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict:
        return {function.__name__: function for function in (weight_items, weight_plan, weight_summary)}
