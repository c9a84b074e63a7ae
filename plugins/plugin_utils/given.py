# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users have set: the inventory's and the extra variables of each host, without those that come from roles and plays."""

from __future__ import annotations

import datetime
import pathlib
from collections.abc import Mapping
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.template import Templar

try:
    from ansible.template import trust_as_template
except ImportError:  # before ansible-core 2.19 every text may be a template

    def trust_as_template(value: str) -> str:
        return value


TEMPLATE = ("{{", "{%", "{#")
ENCRYPTED = "it can't be decrypted"


class Unknown(Exception):
    """Why a value can't be told, as a part of a sentence."""


class Given:
    """The variables of hosts as they stand, evaluated one by one where they are templates or encrypted. roles: the folder of all roles,
    whose own values such a template may name."""

    def __init__(self, hostvars: Any, roles: str) -> None:
        self._hostvars = hostvars
        self._roles = roles
        self._fallback: dict[str, Any] | None = None
        self._variables: dict[str, Mapping[str, Any]] = {}
        self._literal: dict[int, bool] = {}
        self._kept: list[Any] = []  # an id is one object's only while that lives

    def variables(self, host: str) -> Mapping[str, Any]:
        """Not evaluated, which for hundreds of hosts would cost more than all else; empty for a host that Ansible does not know."""
        if host not in self._variables:
            read = getattr(self._hostvars, "raw_get", None)
            found = read(host) if read else self._hostvars.get(host, {})
            self._variables[host] = found if isinstance(found, Mapping) else {}
        return self._variables[host]

    def literal(self, value: Any) -> bool:
        """Whether a value is what it says. Hosts of a group share one object."""
        if id(value) not in self._literal:
            self._kept.append(value)
            self._literal[id(value)] = _is_literal(value)
        return self._literal[id(value)]

    def evaluated(self, variables: Mapping[str, Any], name: str) -> Any:
        """The value as the tasks of a role get it. Raises Unknown."""
        try:
            if self._fallback is None:
                self._fallback = _of_roles(self._roles)
            known = {**self._fallback, **variables, "hostvars": self._hostvars}
            return _plain(Templar(loader=getattr(self._hostvars, "_loader", None), variables=known).template(variables[name]))
        except AnsibleError as error:
            raise Unknown(_reason(error)) from error
        except Exception as error:  # pylint: disable=broad-except # a filter or look-up of the user's may raise anything
            raise Unknown(type(error).__name__) from error


def _is_literal(value: Any) -> bool:
    if isinstance(value, str):
        return not any(mark in value for mark in TEMPLATE)
    if isinstance(value, Mapping):
        return all(_is_literal(key) and _is_literal(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_literal, value))
    # What is left is encrypted.
    return value is None or isinstance(value, (int, float, datetime.date))


def _plain(value: Any) -> Any:
    """Encrypted values, which Ansible up to 2.18 leaves to whoever uses them, as their texts."""
    if getattr(value, "__ENCRYPTED__", False):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _reason(error: AnsibleError) -> str:
    text = str(getattr(error, "message", "") or error).strip()
    if "decrypt" in text.lower():
        return ENCRYPTED
    line = text.splitlines()[0] if text else type(error).__name__
    # ansible-core 2.15 says it twice.
    line = line.partition(". ")[0] if len(set(line.split(". "))) == 1 else line
    return line if len(line) <= 160 else f"{line[:160]}…"


def _of_roles(roles: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pattern in ("*/defaults/main.yml", "*/vars/main.yml"):
        for path in sorted(pathlib.Path(roles).glob(pattern)):
            found |= yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return {name: _trusted(value) for name, value in found.items()}


def _trusted(value: Any) -> Any:
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {key: _trusted(item) for key, item in value.items()}
    return [_trusted(item) for item in value] if isinstance(value, list) else value
