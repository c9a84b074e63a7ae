# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Docker does with the output of a container that says nothing of it, by its settings (docker-json-file(8), dockerd(8))."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# What writes without a limit unless it is given one
UNLIMITED = "json-file"
_FLAG = re.compile(r"(?:--log-opt=)?max-size=(.+)")


def of_engine(driver: str | None, settings: Mapping[str, Any], arguments: list[str]) -> dict[str, str | None]:
    """The engine's driver, and how large a file of it may become, null where nothing says it. settings: its configuration file;
    arguments: the daemon's command line."""
    options = settings.get("log-opts")
    given = options.get("max-size") if isinstance(options, Mapping) else None
    flags = [match.group(1) for match in map(_FLAG.fullmatch, arguments) if match]
    return {"driver": driver, "max_size": str(given) if given else flags[-1] if flags else None}
