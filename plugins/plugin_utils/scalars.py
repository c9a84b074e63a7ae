# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a single value is of a kind that the roles' meta/rules.yml name and a pattern does not tell."""

from __future__ import annotations

import datetime
import difflib
import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Any, Optional

from ansible_collections.ascend.gpustack.plugins.plugin_utils import texts

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
# Kinds whose digits are what they are, in quotes or not
_DIGITS = ("cpus", "size")
QUOTES = "Put it in quotes."
MODES = frozenset(("ro", "rw", "z", "Z", "shared", "rshared", "slave", "rslave", "private", "rprivate", "nocopy"))
# What is expected, and the remedy; None where nothing is wrong
Verdict = Optional[tuple[str, str]]


def is_made(value: Any) -> bool:
    """Whether YAML made something else of what was written."""
    return isinstance(value, (bool, int, float, datetime.date))


def text(value: Any, rule: Mapping, fits: Callable[[str], bool], expected: str) -> Verdict:
    if rule.get("is") in _DIGITS and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return f"{expected}, as a text", QUOTES if is_made(value) else ""
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
    if rule.get("percent"):
        expected += ", or a percentage such as 10%"
        if isinstance(value, str) and re.fullmatch(r"([1-9][0-9]?|100)%", value):
            return None
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
        return text(value, rule, lambda text: False, expected)
    near = [each for each in choices if each.lower() == value.lower()] or difflib.get_close_matches(value, choices, 1)
    return expected, f"Did you mean {near[0]}?" if near else ""


def _value(value: Any, rule: Mapping) -> Verdict:
    """What becomes a text as it stands: a text, or a number."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return None
    return text(value, {"dash": True, **rule}, lambda text: "\0" not in text, "a text or a number")


def _path(value: Any, rule: Mapping) -> Verdict:
    expected = "an absolute path in its normal form"
    wrong = text(value, rule, lambda text: text.startswith("/"), expected)
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
    return text(value, rule, *texts.KINDS["volume_name"])


def _mount(value: Any, rule: Mapping) -> Verdict:
    expected = "source:target or source:target:mode, such as /data/lora:/data/lora:ro"
    wrong = text(value, rule, lambda text: 1 <= text.count(":") <= 2, expected)
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
