# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All checks that there are, by subject; their names stand in a finding's brackets."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight import (
    addresses,
    certificates,
    cluster,
    connections,
    controller,
    data,
    engines,
    host,
    kept,
    npu,
    restored,
    store,
    variables,
)

SUBJECTS = (controller, connections, npu, engines, host, store, addresses, restored, cluster, data, certificates, kept, variables)
# What each looks at, in the order of the documentation
CHECKS: dict[str, str] = {name: text for subject in SUBJECTS for name, text in subject.CHECKS.texts.items()}
# Without these nothing can be trusted, or a database is lost.
SKIPPABLE = tuple(name for name in CHECKS if name not in ("ansible", "variables", "version"))
