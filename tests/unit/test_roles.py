"""A role can be read, called and changed alone: its parts are its own, and what others take from it is named and documented."""

from __future__ import annotations

import ast
import pathlib
import re

import pytest
import yaml
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.variables import FACTS
from shared import tasks

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
TASKS = sorted((ROOT / "roles").glob("*/tasks/*.yml"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
# _constants, and arguments that only the collection's own playbooks give; __results
PRIVATE = re.compile(r"(?<![\w/])__?(" + "|".join(sorted((role.name for role in ROLES), key=len, reverse=True)) + r")_\w+")


def family(role: str) -> str:
    """gpustack_server and gpustack_worker are gpustack, as one kind of node or the other."""
    return "gpustack" if role.startswith("gpustack") else role


def foreign(text: str, own: str = "") -> set[str]:
    """What is read of others; `_role_name:` hands something to one."""
    read = re.sub(r"^ +_[a-z]\w+:", "", text, flags=re.M)
    return {found.group() for found in PRIVATE.finditer(read) if family(found.group(1)) != own}


def load(path: pathlib.Path) -> object:
    return yaml.safe_load(path.read_text()) if path.exists() else None


def tasks_of(role: pathlib.Path) -> list[dict]:
    return [task for path in sorted((role / "tasks").glob("*.yml")) for task in tasks(load(path))]


def specs(role: pathlib.Path) -> dict:
    return load(role / "meta/argument_specs.yml")["argument_specs"]


def calls() -> list[dict]:
    """What is asked of roles by their names."""
    names = ("ansible.builtin.import_role", "ansible.builtin.include_role")
    return [task[name] for path in [*PLAYBOOKS, *TASKS] for task in tasks(load(path)) for name in names if name in task]


def entries() -> set[tuple[str, str]]:
    return {(call["name"].rsplit(".", 1)[1], call["tasks_from"]) for call in calls() if "tasks_from" in call}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_no_role_reads_what_is_another_s_own(role):
    read = {path: foreign(path.read_text(), family(role.name)) for path in role.rglob("*") if path.is_file()}
    assert {str(path.relative_to(ROOT)): names for path, names in read.items() if names} == {}


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_filter_and_no_module_reads_what_is_a_role_s_own(path):
    texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    assert {name for text in texts if isinstance(text, str) for name in foreign(text)} == set()


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.name)
def test_playbook_reads_nothing_that_is_a_role_s_own(path):
    assert foreign(path.read_text()) == set()


def facts(role: pathlib.Path) -> set[str]:
    """What a role leaves for others."""
    found = {str(task["register"]) for task in tasks_of(role) if "register" in task}
    found |= {name for task in tasks_of(role) for name in task.get("ansible.builtin.set_fact", {})}
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_what_a_role_leaves_for_others_is_documented_and_no_slip_of_a_user(role):
    text = (role / "meta/argument_specs.yml").read_text()
    derived = {name for name in load(role / "vars/main.yml") or {} if not name.startswith("_")}
    assert {name for name in facts(role) | derived if f"C({name})" not in text} == set()
    assert facts(role) <= set(FACTS)


def test_every_fact_that_is_known_is_left_by_a_role():
    left = {name for role in ROLES for name in facts(role)}
    # What a workflow hands on from verify, models and weights
    assert set(FACTS) - left == {"gpustack_cluster", "gpustack_models_served", "gpustack_weights_brought"}


def test_every_entry_point_is_specified_and_has_a_caller():
    assert {(role.name, entry) for role in ROLES for entry in specs(role) if entry != "main"} == entries()


def test_call_of_an_entry_point_without_variables_of_its_own_costs_no_step():
    """What it takes are main's variables, which the playbook variables has judged."""
    assert [entry for role in ROLES for entry, spec in specs(role).items() if entry != "main" and spec["options"]] == []
    assert [call for call in calls() if "tasks_from" in call and call.get("rolespec_validate") is not False] == []


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_file_of_tasks_is_used(role):
    names = ("ansible.builtin.import_tasks", "ansible.builtin.include_tasks")
    used = {str(task[name]) for task in tasks_of(role) for name in names if name in task}
    for text in list(used):
        # A state's file is chosen by its name.
        used |= {"present.yml", "absent.yml"} if re.fullmatch(r"\{\{ \w+_state \}\}\.yml", text) else set(re.findall(r"\w+\.yml", text))
    used |= {f"{entry}.yml" for name, entry in entries() if name == role.name} | {"main.yml"}
    assert {path.name for path in (role / "tasks").glob("*.yml")} - used == set()


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_name_of_a_role_s_own_is_read(role):
    own = {name for name in [*(load(role / "vars/main.yml") or {}), *(task.get("register") for task in tasks_of(role))] if name}
    own |= {name for task in tasks_of(role) for name in task.get("ansible.builtin.set_fact", {})}
    files = [path for other in ROLES if family(other.name) == family(role.name) for path in other.rglob("*") if path.is_file()]
    text = "\n".join(path.read_text() for path in [*files, *PLAYBOOKS, *PLUGINS])
    given = re.compile(r"^( *)(register: )?(\w+)(:|$)", re.M)
    read = given.sub("", text)
    assert {name for name in own if not re.search(rf"\b{name}\b", read)} == set()


@pytest.mark.parametrize("path", [*TASKS, *PLAYBOOKS, ROOT / "awx/configure.yml"], ids=lambda path: str(path.relative_to(ROOT)))
def test_each_task_says_what_it_does_without_another(path):
    marks = [token for token in yaml.scan(path.read_text()) if isinstance(token, (yaml.AnchorToken, yaml.AliasToken))]
    assert not marks


@pytest.mark.parametrize(
    "module, rooms",
    [
        # A hand-made container's own, which may be stopped, and one that is exchanged are looked for on their hosts.
        ("gpustack_token_info", {"token.yml", "takeover.yml", "rotate.yml"}),
        ("gpustack_worker_info", {"workers.yml"}),
    ],
)
def test_server_is_asked_in_one_place(module, rooms):
    assert {path.name for path in [*TASKS, *PLAYBOOKS] if f"ascend.gpustack.{module}:" in path.read_text()} == rooms
