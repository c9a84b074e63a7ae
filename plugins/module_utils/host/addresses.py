# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses that a host itself has, as `ip -o address show` prints them, one a line."""

from __future__ import annotations

import re

from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

# Bridges of Docker's own, whose addresses no other host reaches and every host may have
_DOCKER = re.compile(r"docker0|docker_gwbridge|br-[0-9a-f]{12}")


def interfaces(run: Runner, timeout: float) -> dict[str, str]:
    """The interface of each address; none where the host does not tell."""
    result = run(["ip", "-o", "address", "show"], timeout)
    lines = [line.split() for line in result.stdout.splitlines()]
    return {words[3].split("/")[0]: words[1].partition("@")[0] for words in lines if len(words) > 3 and words[2] in ("inet", "inet6")}


def own(run: Runner, timeout: float) -> list[str] | None:
    """The addresses but for those of Docker's bridges; None where the host does not tell."""
    return [address for address, interface in interfaces(run, timeout).items() if not _DOCKER.fullmatch(interface)] or None
