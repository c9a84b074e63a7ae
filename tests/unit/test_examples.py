"""The example of each module can be copied into a playbook and run: its arguments are taken, and what it reads was set before."""

from __future__ import annotations

import ast
import re

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.ascend.gpustack.plugins.module_utils.swarm import stack
from shared import ROOT

MODULES = sorted((ROOT / "plugins/modules").glob("*.py"))
# What stands for a value that is only known in a run
VALUES = {"str": "text", "path": "/text", "int": 1, "float": 1.0, "bool": True, "list": [], "dict": {}, "raw": "text"}


def texts(path) -> dict[str, str]:
    """What a module says of itself, by the names of its variables."""
    tree = ast.parse(path.read_text())
    found = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)]
    return {node.targets[0].id: node.value.value for node in found}


def spec(options: dict) -> dict:
    """An argument specification of documented options."""
    taken = dict.fromkeys(options, ("type", "required", "choices", "elements", "default", "aliases"))
    found = {key: {word: option[word] for word in taken[key] if word in option} for key, option in options.items()}
    for key, option in options.items():
        if option.get("suboptions"):
            found[key]["options"] = spec(option["suboptions"])
    return found


def filled(value: object, option: dict) -> object:
    """An argument with each template replaced by a value of the type that is wanted."""
    if isinstance(value, str) and "{{" in value:
        return VALUES[option.get("type", "str")]
    if isinstance(value, dict):
        return {key: filled(item, option.get("options", {}).get(key, {})) for key, item in value.items()}
    return [filled(item, {**option, "type": option.get("elements", "str")}) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_example_is_taken_by_the_module(path):
    said = texts(path)
    options = spec(yaml.safe_load(said["DOCUMENTATION"]).get("options") or {})
    asked = [task[f"ascend.gpustack.{path.stem}"] for task in yaml.safe_load(said["EXAMPLES"]) if f"ascend.gpustack.{path.stem}" in task]
    assert asked
    for arguments in asked:
        given = {key: filled(value, options.get(key, {})) for key, value in (arguments or {}).items()}
        assert ArgumentSpecValidator(options).validate(given).error_messages == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_example_reads_what_it_registered_or_what_a_vault_has(path):
    # The inventory says which version runs, and no module names one.
    known = {"gpustack_version"}
    for task in yaml.safe_load(texts(path)["EXAMPLES"]):
        known |= {task["register"]} if "register" in task else set()
        conditions = [task.get("when"), task.get("failed_when"), (task.get("ansible.builtin.assert") or {}).get("that")]
        templates = re.findall(r"\{\{ *(.*?) *\}\}", yaml.safe_dump(task, width=1000)) + [text for text in conditions if text]
        names = {re.match(r"(?:not )?(\w+)", text).group(1) for text in templates}
        assert {name for name in names if not name.startswith("vault_") and name != "lookup"} - known == set()


def test_example_of_a_stack_is_one_that_swarm_is_sent():
    (task, _removal) = yaml.safe_load(texts(ROOT / "plugins/modules/vllm_stack.py")["EXAMPLES"])
    assert list(stack.wanted(task["ascend.gpustack.vllm_stack"]["compose"])) == ["qwen"]
