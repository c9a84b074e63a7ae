# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the lines and words of npu-smi's outputs, whichever they are, and quote them in a message."""

from __future__ import annotations

import re
from collections.abc import Iterator

ABSENT = ("NA", "N/A", "-")
# 64 NPUs with eight processes each print less than 80,000 characters.
TEXT_LIMIT = 1024 * 1024
LINE_LIMIT = 1000
NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,4})?")
INTEGER = re.compile(r"[0-9]{1,9}")
COMPARE = "Run 'npu-smi info' on the host and compare."


def lines_of(text: str) -> Iterator[str]:
    """The lines of foreign output, without blanks around them."""
    return (line.strip(" \t\r\f\v\0\ufeff") for line in text[:TEXT_LIMIT].split("\n"))


def number(word: str | None) -> float | None:
    """The number that word is, an int where it has no fraction; None for NA and whatever else."""
    if word is None or not NUMBER.fullmatch(word):
        return None
    return float(word) if "." in word else int(word)


def integer(word: str | None) -> int | None:
    return int(word) if word is not None and INTEGER.fullmatch(word) else None


def quote(line: str) -> str:
    """A line of foreign output as a message can show it: printable and short."""
    clean = "".join(c if c.isprintable() else "?" for c in line.strip()[:81])
    return f"'{clean[:80]}…'" if len(clean) > 80 else f"'{clean}'"
