# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a value may be: the kinds that the roles' meta/rules.yml name, and the judgement of one value by its rule.

A rule is a dict: `is` (the kind), and what the kind takes: `empty` and `null` (allowed as well), `secret` (never shown), `from` and `to` of
a number, `choices`, `of` (the rule of each item), `names` (the kind of text of a dict's keys), `keys` and `needs` of a dict with known
keys, and `own` of one for further keys the variables that say it, of a path `root` (may be /), `written` (no directory of the system's) and
`taken` (nor one of these), and of GPUStack's settings `version`, GPUStack's, and `node`, server or worker.
"""

from __future__ import annotations

import datetime
import difflib
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.plugin_utils import settings, texts

# As Ansible's filter bool reads them on every version
SWITCH = ("true", "false", "yes", "no", "on", "off", "1", "0")
LONGEST = 65536
# No place for what the collection and its containers write, and no mount point
SYSTEM = re.compile(
    r"/|/(bin|boot|dev|etc|home|lib|lib32|lib64|opt|proc|root|run|sbin|srv|sys|tmp|usr|var)"
    r"|/usr/(local|local/bin|share)|/var/(cache|lib|lib/docker|log|run|spool|tmp)"
    # and all below these
    r"|/(bin|boot|dev|etc|lib|lib32|lib64|proc|sbin|sys|usr/bin|usr/lib|usr/lib64|usr/libexec|usr/sbin)(/.*)?"
)
# Where every container of GPUStack has something already
TARGETS = ("/etc/gpustack/config.yaml", "/models", "/var/lib/gpustack")
MODES = frozenset(("ro", "rw", "z", "Z", "shared", "rshared", "slave", "rslave", "private", "rprivate", "nocopy"))


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
    if kind == "gpustack_settings":
        yield from _settings(value, rule, where)
    elif kind == "gpustack_env":
        yield from _variables(value, rule, where, secret)
    elif kind == "list":
        yield from _list(value, rule, where, secret)
    elif kind == "dict":
        yield from _dict(value, rule, where, secret)
    else:
        wrong = KINDS[kind](value, rule) if kind in KINDS else _text(value, rule, *texts.KINDS[kind])
        if wrong:
            expected, remedy = wrong
            yield Wrong(where, found(value, secret), expected, remedy or "Correct it.")


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
    if not isinstance(value, (list, tuple)):
        remedy = "Write each on a line of its own, after a dash." if isinstance(value, str) else "Correct it."
        yield Wrong(where, found(value, secret), "a list", remedy)
        return
    if not value and rule.get("full"):
        yield Wrong(where, "an empty list", "one item at least")
    seen: dict[Any, int] = {}
    for number, item in enumerate(value, 1):
        yield from judge(item, rule["of"], f"{where}[{number}]", secret)
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
        yield from judge(item, known[key] if known is not None else rule["of"], f"{where}.{key}", secret and _hides(str(key), item, rule))
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


# Kinds that a pattern does not tell; each gives (what is expected, the remedy) of a wrong value, else None.

Verdict = Optional[tuple[str, str]]


def _text(value: Any, rule: Mapping, fits: Callable[[str], bool], expected: str) -> Verdict:
    if not isinstance(value, str):
        made = isinstance(value, (bool, int, float, datetime.date))
        return f"{expected}, as a text", "Put it in quotes." if made else ""
    if not value:
        return None if rule.get("empty") else (expected, "")
    if value.startswith("-") and not rule.get("dash"):
        return f"{expected}, and no dash before it", ""
    if len(value) > LONGEST or not fits(value):
        return expected, _trimmed(value, fits)
    return None


def _trimmed(value: str, fits: Callable[[str], bool]) -> str:
    return "Remove the white space around it." if value != value.strip() and fits(value.strip()) else ""


def _number(value: Any, rule: Mapping) -> Verdict:
    low, high = rule["from"], rule["to"]
    expected = f"a whole number from {low} to {high}"
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value):
        value = int(value)
    elif isinstance(value, bool) or not isinstance(value, int):
        return expected, _trimmed(str(value), lambda text: text.isdecimal())
    return None if low <= value <= high else (expected, "")


def _share(value: Any, rule: Mapping) -> Verdict:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool) and re.fullmatch(r"[01]|0?\.[0-9]{1,4}|1\.0+", str(value)):
        return None
    return "a number from 0 to 1, such as 0.8", ""


def _port(value: Any, rule: Mapping) -> Verdict:
    wrong = _number(value, {"from": 1, "to": 65535})
    return (wrong[0].replace("a whole number", "a port"), wrong[1]) if wrong else None


def _switch(value: Any, rule: Mapping) -> Verdict:
    if isinstance(value, bool) or (isinstance(value, (int, str)) and str(value).lower() in SWITCH):
        return None
    return "true or false", ""


def _choice(value: Any, rule: Mapping) -> Verdict:
    choices = rule["choices"]
    if value in choices:
        return None
    expected = rule.get("expected") or texts.one_of(choices)
    if not isinstance(value, str):
        return _text(value, rule, lambda text: False, expected)
    near = [each for each in choices if each.lower() == value.lower()] or difflib.get_close_matches(value, choices, 1)
    return expected, f"Did you mean {near[0]}?" if near else ""


def _value(value: Any, rule: Mapping) -> Verdict:
    """What becomes a text as it stands: a text, or a number."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return None
    return _text(value, {"dash": True, **rule}, lambda text: "\0" not in text, "a text or a number")


def _path(value: Any, rule: Mapping) -> Verdict:
    expected = "an absolute path in its normal form"
    wrong = _text(value, rule, lambda text: text.startswith("/"), expected)
    if wrong or not value:
        return wrong
    normal = posixpath.normpath("/" + value.lstrip("/"))
    if not texts.PATH.fullmatch(normal):
        return f"{expected}, of letters, digits and / . _ - + = @ ~", "Give the directory another name." if value == normal else ""
    if value != normal:
        return expected, f"Write {normal}."
    if value == "/" and not rule.get("root"):
        return "a path below /", ""
    if rule.get("written") and SYSTEM.fullmatch(value):
        return "a directory of its own, none of the system's", ""
    taken = [path for path in rule.get("taken", ()) if value == path or path.startswith(f"{value}/") or value.startswith(f"{path}/")]
    return (f"a directory of its own, apart from {taken[0]}", "") if taken else None


def _volume(value: Any, rule: Mapping) -> Verdict:
    if isinstance(value, str) and value.startswith("/"):
        return _path(value, {"written": True})
    return _text(value, rule, *texts.KINDS["volume_name"])


def _mount(value: Any, rule: Mapping) -> Verdict:
    expected = "source:target or source:target:mode, such as /data/lora:/data/lora:ro"
    wrong = _text(value, rule, lambda text: 1 <= text.count(":") <= 2, expected)
    if wrong:
        return wrong
    source, target, *mode = value.split(":")
    fits = source.startswith("/") or texts.KINDS["volume_name"][0](source)
    if not fits or not re.fullmatch(r"/.*[^/].*", target) or (mode and not set(mode[0].split(",")) <= MODES):
        return expected, ""
    if posixpath.normpath(target) in TARGETS:
        return f"another target than {target}, where the container has something already", ""
    return None


KINDS: dict[str, Callable[[Any, Mapping], Any]] = {
    "anything": lambda value, rule: ("a value", "Remove the line.") if value is None else None,
    "switch": _switch,
    "number": _number,
    "port": _port,
    "share": _share,
    "choice": _choice,
    "value": _value,
    "path": _path,
    "volume": _volume,
    "mount": _mount,
}
