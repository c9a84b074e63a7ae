# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a value may be: the kinds that the roles' meta/rules.yml name, and the judgement of one value by its rule.

A rule is a dict: `is` (the kind), and what the kind takes: `empty` and `null` (allowed as well), `secret` (never shown), `from` and `to` of
a number, which with `percent` may be a percentage, `choices`, `of` (the rule of each item), `words` (of a list that may be a text with
commas too), `unique` (the key that tells a list's mappings apart), `names` (the kind of text of a dict's keys), `keys` and `needs` of a
dict with known keys, and `own` of one for further keys the variables that say it, of a path `root` (may be /), `written` (no directory of
the system's) and `taken` (nor one of these), and of GPUStack's settings `version`, GPUStack's, and `node`, server or worker. `ini`:
whether the value may be from an INI file.
The judgement itself adds `exact`, of what is a secret, a version or a name by its own name in a mapping or behind an option, and so has
to be a text.
"""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.plugin_utils import scalars, settings, texts

# By its name a version or a name, in which YAML drops zeros: 2.10 is 2.1 to it, and 010 is 8
_NAMING = re.compile(r"(?:\A|[._-])(?:name|release|revision|tag|version)\Z", re.IGNORECASE)
INI = "Beside a host in an INI inventory it needs two pairs of them: '\"…\"'."


@dataclass(frozen=True)
class Wrong:
    """A value that is refused. where: what follows the variable's name (`.memory`, `[2]`); found: what it is, fit to be shown."""

    where: str
    found: str
    expected: str
    remedy: str = "Correct it."


def judge(value: Any, rule: Mapping, where: str = "", secret: bool = False) -> Iterator[Wrong]:
    """What is wrong with a value; nothing where it is fine."""
    secret = secret or bool(rule.get("secret"))
    kind = rule["is"]
    if value is None and rule.get("null"):
        return
    if rule.get("exact") and scalars.is_made(value) and (kind == "anything" or (kind == "value" and not isinstance(value, bool))):
        yield Wrong(where, found(value, secret), "a text", scalars.QUOTES)
    elif kind == "gpustack_settings":
        yield from _settings(value, rule, where)
    elif kind == "gpustack_env":
        yield from _variables(value, rule, where, secret)
    elif kind == "list":
        yield from _list(value, rule, where, secret)
    elif kind == "dict":
        yield from _dict(value, rule, where, secret)
    else:
        wrong = scalars.KINDS[kind](value, rule) if kind in scalars.KINDS else scalars.text(value, rule, *texts.KINDS[kind])
        if wrong:
            expected, remedy = wrong
            remedy = f"{scalars.QUOTES} {INI}" if remedy == scalars.QUOTES and rule.get("ini") else remedy
            yield Wrong(where, found(value, secret), expected, remedy or "Correct it.")


def _is_exact(name: Any) -> bool:
    """Whether what has this name is a secret, a version or a name, of which every sign counts."""
    return isinstance(name, str) and (redact.looks_secret(name) or bool(_NAMING.search(name)))


def found(value: Any, secret: bool) -> str:
    """A value as a sentence has it: what YAML made of it where that is not what was written, and no secret, which no boolean is."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "a text that is not shown" if secret and value else texts.quoted(value)
    if isinstance(value, (Mapping, list, tuple)):
        return "a mapping" if isinstance(value, Mapping) else "a list"
    kind = "a date" if isinstance(value, datetime.date) else "a number"
    return f"{kind} that is not shown" if secret else str(value)


def _list(value: Any, rule: Mapping, where: str, secret: bool) -> Iterator[Wrong]:
    if isinstance(value, str) and rule.get("words") and not value.isspace():
        value = [item.strip() for item in value.split(",") if item.strip()]
    if not isinstance(value, (list, tuple)):
        remedy = "Write each on a line of its own, after a dash." if isinstance(value, str) else "Correct it."
        yield Wrong(where, found(value, secret), "a list", remedy)
        return
    if not value and rule.get("full"):
        yield Wrong(where, "an empty list", "one item at least")
    option = ""
    seen: dict[str, int] = {}
    for number, item in enumerate(value, 1):
        # Of words of a command line one may say what the next is.
        hidden = secret or redact.looks_secret(option)
        yield from judge(item, {**rule["of"], "exact": _is_exact(option)}, f"{where}[{number}]", hidden)
        option = item[2:] if isinstance(item, str) and item.startswith("--") else ""
        name = item.get(rule.get("unique")) if isinstance(item, Mapping) else None
        if isinstance(name, str) and seen.setdefault(name, number) != number:
            expected = f"another one than that of [{seen[name]}]"
            yield Wrong(f"{where}[{number}].{rule['unique']}", found(name, secret), expected, "Give it once, or another name.")


def _dict(value: Any, rule: Mapping, where: str, secret: bool) -> Iterator[Wrong]:
    known = rule.get("keys")
    if not isinstance(value, Mapping):
        remedy = "Write each as `name: value` on a line of its own." if value is not None else "Remove the line, or write {} for none."
        yield Wrong(where, found(value, secret), "a mapping of names to values", remedy)
        return
    for key, item in value.items():
        if known is not None and key not in known:
            yield _unknown(f"{where}.{key}", found(item, secret), str(key), rule)
            continue
        fits, expected = texts.KINDS[rule.get("names", "word")]
        if known is None and not (isinstance(key, str) and fits(key)):
            plain = re.sub(r"[.-]", "_", str(key))
            remedy = f"Did you mean {plain}?" if plain != key and fits(plain) else "Correct it."
            yield Wrong(f"{where}.{key}", found(item, secret), f"its name to be {expected}", remedy)
            continue
        of = known[key] if known is not None else rule["of"]
        yield from judge(item, {**of, "exact": _is_exact(key)}, f"{where}.{key}", secret and _hides(str(key), item, rule))
    missing = [key for key in rule.get("needs", ()) if key not in value]
    if missing:
        yield Wrong(where, f"a mapping without {', '.join(missing)}", f"{', '.join(rule['needs'])} in it", "Add what is missing.")


def _hides(key: str, item: Any, rule: Mapping) -> bool:
    """Of a mapping that may hold secrets, what is none by its name is shown; an address that may have a password in it is not."""
    secret = redact.looks_secret(key)
    if rule.get("names") == "variable" and not isinstance(item, bool):
        secret = not redact.is_harmless(key)
    return secret or isinstance(item, (Mapping, list)) or (isinstance(item, str) and "@" in item)


def _unknown(where: str, shown: str, key: str, rule: Mapping) -> Wrong:
    known: Iterable[str] = rule["keys"]
    own = (rule.get("own") or {}).get(key)
    if own:
        return Wrong(where, shown, f"{own} to say it", f"Set {own}, and remove this.")
    near = difflib.get_close_matches(key, known, 1, 0.6) or [name for name in known if key in name.split("_")]
    if near:
        return Wrong(where, shown, "a name that there is", f"Did you mean {near[0]}?")
    return Wrong(where, shown, f"one of the names {', '.join(sorted(known))}", "Remove it.")


def _settings(value: Any, rule: Mapping, where: str) -> Iterator[Wrong]:
    """GPUStack's own settings."""
    refused = settings.refused(value, rule) if isinstance(value, Mapping) else {}
    for key, (expected, remedy) in refused.items():
        yield Wrong(f"{where}.{key}", found(value[key], _hides(str(key), value[key], rule)), expected, remedy)
    rest = {key: item for key, item in value.items() if key not in refused} if refused else value
    yield from _dict(rest, {"keys": settings.keys(rule.get("version"))}, where, True)


def _variables(value: Any, rule: Mapping, where: str, secret: bool) -> Iterator[Wrong]:
    """Variables of the environment, of which some are GPUStack's settings."""
    yield from _dict(value, rule, where, secret)
    for name, (expected, remedy) in (settings.refused_variables(value, rule) if isinstance(value, Mapping) else {}).items():
        yield Wrong(f"{where}.{name}", found(value[name], _hides(str(name), value[name], rule)), expected, remedy)
