"""What a task says that hides its result reaches the screen on every Ansible: another task says it."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = [*(ROOT / "roles").glob("*/tasks/*.yml"), *(ROOT / "playbooks").glob("*.yml"), ROOT / "awx/configure.yml"]


def tasks(found: list[dict], rescued: bool = False) -> Iterator[tuple[dict, bool]]:
    """Each task, and whether a rescue takes its failure up."""
    for task in found:
        yield task, rescued
        for name in ("tasks", "block", "rescue", "always"):
            yield from tasks(task.get(name, []), rescued or (name == "block" and "rescue" in task))


def silent_failures(text: str) -> list[str]:
    """Tasks whose failure would be hidden by no_log: up to 2.18 a whole result is, and later versions name it in a banner alone."""
    found = [(task, rescued) for task, rescued in tasks(yaml.safe_load(text)) if "no_log" in task]
    return [
        task["name"]
        for task, rescued in found
        if not rescued and (task.get("failed_when") is not False or text.count(task.get("register", "?")) < 2)
    ]


@pytest.mark.parametrize("path", sorted(FILES), ids=lambda path: str(path.relative_to(ROOT)))
def test_failure_of_a_task_that_hides_its_result_is_said_by_another(path):
    assert silent_failures(path.read_text()) == []


TOLD = "- {name: read, no_log: true, failed_when: false, register: x}\n- {name: say, when: x.msg is defined}"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("- {name: read, no_log: true}", ["read"]),
        ("- {name: read, no_log: true, failed_when: false, register: x}", ["read"]),
        ("- {name: read, no_log: true, failed_when: x is failed, register: x}", ["read"]),
        (TOLD, []),
        ("- {name: all, block: [{name: read, no_log: true}], rescue: [{name: say}]}", []),
        ("- {name: all, block: [{name: read}], rescue: [{name: look, no_log: true}]}", ["look"]),
    ],
)
def test_hidden_failures_are_found(text, expected):
    assert silent_failures(text) == expected
