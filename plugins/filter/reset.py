# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the playbook reset. Pure functions; each is documented in its .yml."""

from __future__ import annotations

from typing import Any

from ansible_collections.ascend.gpustack.plugins.plugin_utils import reset


def reset_of_host(host: dict, directories: list[dict], settings: dict) -> dict:
    """What a reset takes from this host (`goes`, with its `volume` or not), what it leaves there (`stays`), or why it can't (`refusal`)."""
    return reset.host_reset(host, directories, settings)


def reset_report(hosts: list[str], hostvars: Any, settings: dict) -> dict:
    """What goes and what stays, in lines for all hosts together, and the command that goes on. Hosts of which nothing could be read are
    named, and the command leaves them out."""
    known = {host: hostvars[host]["gpustack_reset_plan"] for host in hosts if "gpustack_reset_plan" in hostvars[host]}
    return reset.report(known, [host for host in hosts if host not in known], settings)


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict:
        return {function.__name__: function for function in (reset_of_host, reset_report)}
