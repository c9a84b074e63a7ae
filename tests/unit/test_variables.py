"""A variable that a user can set is documented, and what is documented can be set."""

from __future__ import annotations

import pathlib

import pytest
import yaml

ROLES = sorted(path for path in (pathlib.Path(__file__).resolve().parents[2] / "roles").iterdir() if path.is_dir())


def load(path: pathlib.Path) -> dict:
    return (yaml.safe_load(path.read_text()) if path.exists() else None) or {}


def options(role: pathlib.Path) -> dict:
    return load(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_defaults_and_argument_specs_name_the_same_variables(role):
    assert sorted(load(role / "defaults/main.yml")) == sorted(options(role))


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_documented_default_is_the_real_one(role):
    defaults = load(role / "defaults/main.yml")
    literal = {name: value for name, value in defaults.items() if "{{" not in str(value)}
    documented = {name: option["default"] for name, option in options(role).items() if "default" in option}
    assert documented == literal


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_each_variable_has_a_type_and_a_text_and_carries_its_family_name(role):
    parts = {f"{name}.{key}": part for name, option in options(role).items() for key, part in option.get("options", {}).items()}
    for name, option in {**options(role), **parts}.items():
        assert option["type"] and option["description"], name
    for name in options(role):
        assert name.startswith("gpustack_" if role.name.startswith("gpustack") else f"{role.name}_"), name


def booleans() -> list[str]:
    return [name for role in ROLES for name, option in options(role).items() if option["type"] == "bool"]


@pytest.mark.parametrize("name", booleans())
def test_boolean_is_read_through_the_bool_filter_wherever_it_is_used(name):
    root = ROLES[0].parent.parent
    uses = []
    for folder in ("roles", "playbooks"):
        for path in (root / folder).rglob("*.yml"):
            if "meta" in path.parts or "defaults" in path.parts:
                continue
            lines = path.read_text().splitlines()
            uses += [(path, line) for line in lines if name in line and not line.lstrip().startswith(("#", "- name:"))]
    read = [(path, line) for path, line in uses if f"{name}:" not in line]
    assert read, f"{name} has no user"
    for path, line in read:
        assert line.count(name) == line.count(f"{name} | bool") + line.count(f"{name} | default(false) | bool"), f"{path}: {line}"


def leaves(value: object) -> list[str]:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [leaf for part in parts for leaf in leaves(part)] if parts is not None else [str(value)]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_number_stays_one_in_what_filters_get(role):
    """Under ansible-core 2.15 a template that stands alone becomes text, unless it is one expression of a whole list or mapping."""
    given = leaves(load(role / "vars/main.yml"))
    assert [text for text in given if text.startswith("{{ ") and text.endswith("| int }}")] == []
