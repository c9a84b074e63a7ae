# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUStack's YAML configuration file: reading, writing and showing it without a YAML library.

The collection writes one top-level key a line with a JSON value, which is YAML too. Files made by hand are read
as far as their top-level keys can be read without guessing.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import files, redact

HEADER = "# Written by the Ansible collection ascend.gpustack: what is changed here by hand is lost at its next run.\n"
# Stands for a value of a hand-made file that can't be read without a YAML library.
UNREADABLE = object()
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_KEY_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)[ \t]*:(?:[ \t]+(.*))?\Z")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)\Z")
# Allowed raw in JSON text, not in YAML.
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def config_file(path: str) -> dict[str, Any]:
    try:
        status = os.stat(path)
    except OSError:
        return {"path": path, "exists": False, "mtime": None, "mode": None, "owner": None, "joins": None}
    try:
        owner = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        owner = str(status.st_uid)
    mode = f"{stat.S_IMODE(status.st_mode):04o}"
    joins = re.search(r"^server[_-]url[ \t]*:", files.read_text(path), re.MULTILINE) is not None
    return {"path": path, "exists": True, "mtime": status.st_mtime, "mode": mode, "owner": owner, "joins": joins}


class ConfigError(Exception):
    """What stands in the way of writing the file, as a sentence for the user."""


@dataclass(frozen=True)
class ConfigFile:
    """values may hold UNREADABLE. own_form: every line is as this module writes it."""

    values: dict[str, Any]
    own_form: bool


@dataclass(frozen=True)
class Plan:
    """What to write and how to show it. before and after hold no secret. made: names of the secrets that were made for it."""

    text: str
    rewrite: bool
    changed_keys: list[str]
    made: list[str]
    before: str
    after: str


def render(values: Mapping[str, Any]) -> str:
    return HEADER + "".join(_line(key, values[key]) + "\n" for key in sorted(values))


def _line(key: str, value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return f"{key}: " + _NOT_IN_YAML.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def parse(text: str) -> ConfigFile:
    values: dict[str, Any] = {}
    own_form = True
    last_key = ""
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _KEY_LINE.match(line)
        if not match:
            own_form = False
            if last_key:
                values[last_key] = UNREADABLE
            continue
        last_key, raw = match.group(1), match.group(2) or ""
        value = _scalar(raw)
        own_form = own_form and last_key not in values and value is not UNREADABLE and _line(last_key, value) == line
        values[last_key] = value
    return ConfigFile(values, own_form)


def _scalar(raw: str) -> Any:
    """The value of one line's right side; a plain word stays the text that it is, as YAML's rules for GPUStack's
    settings (text, whole numbers, booleans) have it."""
    raw = raw.strip()
    if raw[:1] == "'":
        match = re.match(r"'((?:[^']|'')*)'\s*(?:\s#.*)?\Z", raw)
        return match.group(1).replace("''", "'") if match else UNREADABLE
    if raw[:1] in ('"', "[", "{"):
        return _json(raw)
    if raw[:1] in ("|", ">", "&", "*", "!", "%", "@", "`"):
        return UNREADABLE
    raw = re.sub(r"(?:\A|\s+)#.*\Z", "", raw)
    if raw.lower() in ("", "~", "null"):
        return None
    if raw.lower() in ("true", "yes", "on", "false", "no", "off"):
        return raw.lower() in ("true", "yes", "on")
    return int(raw) if _INTEGER.match(raw) else raw


def _json(raw: str) -> Any:
    try:
        value, end = json.JSONDecoder().raw_decode(raw)
    except ValueError:
        return UNREADABLE
    return value if re.match(r"\s*(?:\s#.*)?\Z", raw[end:]) else UNREADABLE


def plan(
    present: str | None, config: Mapping[str, Any], secrets: Mapping[str, Any], keep: list[str], made: Mapping[str, str] | None = None
) -> Plan:
    """present is the file's text, None without a file. Values that are None and secrets that are empty are left out. made: secrets that
    are taken where nothing gives or keeps one."""
    old = parse(present) if present is not None else ConfigFile({}, False)
    given = _wanted(old, config, secrets, keep)
    wanted = {**(made or {}), **given}
    hidden = {key for key in {*wanted, *old.values} if redact.looks_secret(key) or key in (*secrets, *keep, *(made or {}))}
    changed_keys = sorted(key for key in {*wanted, *old.values} if _differ(old.values.get(key, UNREADABLE), wanted.get(key, UNREADABLE)))
    before = {key: _shown(key, value, hidden) for key, value in old.values.items()}
    after = {key: _shown(key, value, hidden) for key, value in wanted.items()}
    for key in changed_keys:
        if key in after and before.get(key) == after[key]:
            after[key] += " (changed)"
    return Plan(
        text=render(wanted),
        rewrite=bool(changed_keys) or not old.own_form,
        changed_keys=changed_keys,
        made=sorted(set(wanted) - set(given)),
        before="".join(f"{before[key]}\n" for key in sorted(before)),
        after="".join(f"{after[key]}\n" for key in sorted(after)),
    )


def _wanted(old: ConfigFile, config: Mapping[str, Any], secrets: Mapping[str, Any], keep: list[str]) -> dict[str, Any]:
    wanted = {key: value for key, value in config.items() if value is not None}
    for key, value in secrets.items():
        if value is None or value == "":
            continue
        if key in wanted:
            raise ConfigError(f"{key} is given in both config and secrets; expected once. Leave it in secrets alone.")
        wanted[key] = value
    for key in keep:
        value = old.values.get(key)
        if key in wanted or value is None:
            continue
        if value is UNREADABLE:
            raise ConfigError(
                f"{key} is to be kept, but its value in the present file can't be read; expected the form"
                f" '{key}: value' on one line. Put it into that form, or give {key} in secrets."
            )
        wanted[key] = value
    for key in wanted:
        if not KEY.match(key):
            raise ConfigError(f"{key!r} is no name of a GPUStack setting; expected letters, digits and _. Correct it.")
    return wanted


def _differ(old: Any, new: Any) -> bool:
    # 1 == True in Python; in the file they are different settings.
    return old is UNREADABLE or new is UNREADABLE or _line("", old) != _line("", new)


def _shown(key: str, value: Any, hidden: set[str]) -> str:
    # A switch such as allow_credentials is no secret, whatever its name.
    if key in hidden and not isinstance(value, bool):
        return f"{key}: {redact.HIDDEN}"
    if value is UNREADABLE:
        return f"{key}: (in a form that is not read here)"
    return _line(key, redact.data(value))
