# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role gpustack_models. Pure functions; each is documented in its .yml."""

from __future__ import annotations

from typing import Any

from ansible_collections.ascend.gpustack.plugins.plugin_utils import models, models_told


def model_items(given: list, hostvars: Any, groups: dict) -> dict:
    """Each model as gpustack_model takes it, by name; one that is not listed is to be absent."""
    return models.items(given, hostvars, groups)


def model_files(given: list, hostvars: Any, groups: dict, store: str) -> list[str]:
    """Where on the server's host the models are that are to be looked at."""
    return models_told.files(given, hostvars, groups, store)


def model_plan(given: list, info: dict, hostvars: Any, groups: dict, settings: dict) -> dict:
    """What is refused, and what is to be done."""
    return models_told.plan(given, info, hostvars, groups, settings)


def model_summary(applied: list, info: dict, plan: dict, settings: dict) -> dict:
    """The end of a run."""
    return models_told.summary(applied, info, plan, settings)


def model_list(info: dict) -> str:
    """The models of a cluster as a file of variables."""
    return models.as_yaml(info.get("models") or [])


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict:
        return {function.__name__: function for function in (model_items, model_files, model_plan, model_summary, model_list)}
