# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters of a backend, as GPUStack takes them: `--name=value`, `--name value` or two texts (gpustack/utils/command.py)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_OPTION = re.compile(r"(-{1,2}[A-Za-z][^\s=]*)(?:=|\s+|\Z)(.*)", re.DOTALL)


@dataclass(frozen=True)
class Option:
    """texts: as they were given; values: what follows the name, none of a switch."""

    name: str
    values: tuple[str, ...]
    texts: tuple[str, ...]


def options(parameters: Iterable[str]) -> list[Option]:
    found: list[Option] = []
    for text in map(str, parameters):
        match = _OPTION.match(text)
        if match:
            value = match[2].strip()
            found.append(Option(match[1], (value,) if value else (), (text,)))
        elif found:
            last = found.pop()
            found.append(Option(last.name, (*last.values, text), (*last.texts, text)))
        else:
            found.append(Option("", (text,), (text,)))
    return found


def names(parameters: Iterable[str]) -> list[str]:
    return [option.name for option in options(parameters)]


def given(parameters: Iterable[str], known: Sequence[str]) -> str | None:
    """The value of the one option that goes by one of these names; None where there is none, or it can't be told."""
    found = [option.values for option in options(parameters) if option.name in known]
    return found[0][0] if len(found) == 1 and len(found[0]) == 1 else None


def without(parameters: Iterable[str], known: Sequence[str]) -> list[str]:
    return [text for option in options(parameters) if option.name not in known for text in option.texts]


def same(before: Iterable[str], after: Iterable[str], aliases: Mapping[str, str]) -> bool:
    """Whether two lists say the same to the backend. aliases: other names of options, by those that they stand for. Options may come in any
    order, but those of one name, of which the last one counts or all are taken."""
    return _plain(before, aliases) == _plain(after, aliases)


def _plain(parameters: Iterable[str], aliases: Mapping[str, str]) -> list[tuple[str, tuple[str, ...]]]:
    found = [(aliases.get(option.name, option.name).lstrip("-"), tuple(map(_number, option.values))) for option in options(parameters)]
    return sorted(found, key=lambda option: option[0])


def _number(text: str) -> str:
    try:
        return repr(float(text))
    except ValueError:
        return text
