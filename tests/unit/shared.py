"""What the tests of several files need."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The pages of the documentation, by their languages
PAGES = {language: sorted((ROOT / "docs" / language).glob("*.md")) for language in ("en", "zh")}
TROUBLESHOOTING = [ROOT / "docs" / language / "troubleshooting.md" for language in PAGES]


def messages(page: pathlib.Path) -> list[list[str]]:
    """The rows of a page's tables of messages: the messages of each, as they stand in backticks in its first column."""
    blocks = re.findall(r"(?:^\|.*\n)+", page.read_text(), flags=re.M)
    rows = [row for block in blocks if block.startswith(("| message |", "| 报错信息 |")) for row in block.splitlines()[2:]]
    return [re.findall(r"`([^`]+)`", row.split(" | ")[0]) for row in rows]


def tasks(found: object) -> Iterator[dict]:
    if isinstance(found, list):
        for task in found:
            yield from tasks(task)
    elif isinstance(found, dict):
        yield found
        for name in ("tasks", "block", "rescue", "always"):
            yield from tasks(found.get(name))


def answers(table):
    """A runner that knows its commands by their beginning."""

    def runner(argv, timeout):
        command = " ".join(argv)
        for start, result in table.items():
            if command.startswith(start):
                return result
        raise AssertionError(f"unexpected command: {command}")

    return runner
