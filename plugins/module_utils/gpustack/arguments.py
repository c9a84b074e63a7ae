# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command line of `gpustack start`, read as GPUStack's own parser reads it.

That is Python's argparse (gpustack/cmd/start.py), whose rules are these: an option may be shortened as long as it is no other's beginning
too; letters of switches may stand together, before one that takes a value, and the value beside it; a word that begins with a dash is never
a value, unless it is a negative number or has a blank in it; of an option that is given twice, the last one counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import CommandLine

_HELP = {"-h": "help", "--help": "help"}
_NEGATIVE_NUMBER = re.compile(r"-\d+\Z|-\d*\.\d+\Z")


class _Refused(Exception):
    """What the parser says of a word."""


@dataclass
class Arguments:
    """values: by setting, a text, True of a switch, a list of what may be repeated; also of options that the table lacks, True without a
    value. strays: words that are no option, or one that is refused. error: why GPUStack ends at once, as its parser says it."""

    values: dict[str, Any] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)
    error: str | None = None


def words_of(entrypoint: Iterable[str] | None, command: Iterable[str] | None) -> list[str]:
    """GPUStack's own arguments, whether the entry point is the image's, which hands on the command, or names gpustack itself."""
    words = [*(entrypoint or []), *(command or [])]
    for place, (program, verb) in enumerate(zip(words, words[1:])):
        if program.rpartition("/")[2] == "gpustack" and verb == "start":
            return words[place + 2 :]
    words = list(command or [])
    return words[1:] if words[:1] == ["start"] else words


def parse(words: Iterable[str], table: CommandLine) -> Arguments:
    found, left = Arguments(), list(words)
    flags = {**{f"--{name.replace('_', '-')}": name for name in table.settings}, **table.short, **_HELP}
    while left:
        word = left.pop(0)
        if word == "--":
            found.strays += [word, *left]
            break
        try:
            named = _named(word, flags)
            if named is None:
                found.strays.append(word)
            else:
                _take(*named, left, flags, table, found)
        except _Refused as refused:
            found.strays.append(word)
            found.error = found.error or str(refused)
    return found


def _named(word: str, flags: dict[str, str]) -> tuple[str, str | None] | None:
    """The option that a word names, with what the word says of its value; None of a word that can be a value."""
    if word[:1] != "-" or len(word) == 1:
        return None
    if word in flags:
        return word, None
    flag, sign, value = word.partition("=")
    if sign and flag in flags:
        return flag, value
    if word.startswith("--"):
        begun = [known for known in flags if known.startswith(flag)]
        if len(begun) > 1:
            raise _Refused(f"ambiguous option: {flag} could match {', '.join(sorted(begun))}")
        if begun:
            return begun[0], value if sign else None
    elif word[:2] in flags:
        return word[:2], word[2:]
    if _NEGATIVE_NUMBER.match(word) or " " in word:
        return None
    return flag, value if sign else None


def _take(flag: str, value: str | None, left: list[str], flags: dict[str, str], table: CommandLine, found: Arguments) -> None:
    """An option with its value, which may be the next word."""
    name = flags.get(flag)
    switched = []
    while name in table.switches or name == "help":
        switched.append(name)
        if value is None:
            found.values.update(dict.fromkeys(switched, True))
            return
        if flag.startswith("--") or not value or f"-{value[0]}" not in flags:
            raise _Refused(f"argument {flag}: ignored explicit argument {value!r}")
        flag, value = f"-{value[0]}", value[1:] or None
        name = flags[flag]
    if name is None and not flag.startswith("--"):
        raise _Refused(f"unrecognized arguments: {flag}")
    if value is None and left and left[0] != "--" and _is_value(left[0], flags):
        value = left.pop(0)
    if value is None and name is not None:
        raise _Refused(f"argument {flag}; expected one argument")
    found.values.update(dict.fromkeys(switched, True))
    _keep(name or flag[2:].replace("-", "_"), True if value is None else value, table, found)


def _is_value(word: str, flags: dict[str, str]) -> bool:
    try:
        return _named(word, flags) is None
    except _Refused:
        return False


def _keep(name: str, value: Any, table: CommandLine, found: Arguments) -> None:
    found.values[name] = [*found.values.get(name, []), value] if name in table.repeatable else value
