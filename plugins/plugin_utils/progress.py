# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting that shows that it goes on: a module is called again and again, and each answer is a line of the run's output."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Callable

from ansible.utils.display import Display

# One call is not so long that a connection without traffic is cut; the first lines come soon, and a long wait gives no long output.
PAUSES = (5, 10, 15, 30)
LONGEST = 60


def pauses() -> Iterator[int]:
    yield from PAUSES
    while True:
        yield LONGEST


def follow(host: str, what: str, ask: Callable[[int], dict[str, Any]], display: Callable[[str], None] | None = None) -> dict[str, Any]:
    """The answer that says `finished`, or that failed. `ask` takes the seconds that one call may take; others say their `progress`."""
    show = display or Display().display
    began = time.monotonic()
    for pause in pauses():
        answer = ask(pause)
        if answer.get("failed") or answer.get("finished") or "finished" not in answer:
            return answer
        show(f"  {host}: {what}: {answer.get('progress') or 'at work'}, {time.monotonic() - began:.0f} s so far")
    return {}
