"""The machine that runs Ansible: one that is too old is refused before anything else, with the way out."""

from __future__ import annotations

import pytest
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight import controller, report
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.controller import ansible_problems
from shared import ROOT


@pytest.mark.parametrize(
    "version, refused", [("2.9.27", True), ("2.14.18", True), ("2.15.0", False), ("2.21.5", False), ("3.0.0b1", False)]
)
def test_ansible_core_is_compared_by_its_series(version, refused):
    assert bool(ansible_problems(version)) == refused


def test_older_ansible_is_all_that_is_said(monkeypatch):
    monkeypatch.setattr(report, "ansible_core", "2.14.18")
    wrong = {"gpustack_port": 70000}
    found = report.value_problems(["atlas1", "atlas2"], {"atlas1": wrong, "atlas2": wrong}, {}, "roles")
    assert found["report"][1:] == [
        "FAIL [ansible] atlas1, atlas2: ansible-core is 2.14.18 on the machine that runs Ansible; expected 2.15 or newer. Take one with "
        "pip install in an environment of its own, or an execution environment; docs/en/requirements.md of the collection says how."
    ]
    assert list(found["told"]) == ["atlas1", "atlas2"]


def test_the_page_that_it_names_says_how():
    page = ROOT / controller.PAGE
    assert "\n## The machine that runs Ansible\n" in page.read_text() and "pip install ansible-core" in page.read_text()
