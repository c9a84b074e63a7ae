# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a model store in more than one place."""

from __future__ import annotations

DEAD_STORE_REMEDY = "Mend the server that exports it; what uses the store goes on when it is back."


def dead_store(path: str, source: str, reason: str) -> str:
    """A mounted store that gives no answer, as a sentence without its end."""
    return f"the model store {path} ({source}) does not answer ({reason}); expected a live file system"
