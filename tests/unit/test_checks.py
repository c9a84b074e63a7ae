"""Checks register themselves, and no file of the judging knows what another keeps for itself."""

from __future__ import annotations

import pathlib
import re

import pytest
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Checks, Finding, as_facts

PLUGINS = pathlib.Path(__file__).resolve().parents[2] / "plugins"
FILES = [
    *PLUGINS.glob("plugin_utils/**/*.py"),
    *PLUGINS.glob("filter/*.py"),
    *PLUGINS.glob("module_utils/n*/*.py"),
    *PLUGINS.glob("modules/*.py"),
]


def test_checks_are_run_and_named_in_the_order_of_their_functions():
    checks = Checks()

    @checks.add(swap="whether swap is off", turbo="whether turbo is on")
    def _first(host: dict, expect: dict) -> list[Finding]:
        return [Finding("turbo", "pass"), Finding("swap", "warn", f"swap is {host['swap']}", "Turn it off.")]

    @checks.add()
    def _second(host: dict, expect: dict) -> list[Finding]:
        return [Finding("swap", "fail")]

    assert checks.texts == {"swap": "whether swap is off", "turbo": "whether turbo is on"}
    assert [(item.check, item.result) for item in checks.run({"swap": "on"}, {})] == [("turbo", "pass"), ("swap", "warn"), ("swap", "fail")]


def test_fact_of_a_finding_is_a_plain_dict():
    fact = {"check": "swap", "result": "warn", "message": "swap is on", "remedy": "Turn it off:\n  swapoff -a"}
    finding = Finding(**fact)
    assert as_facts([finding]) == [fact]
    assert finding.lines == ["swap is on. Turn it off:", "  swapoff -a"]
    assert finding.sentence == "swap is on. Turn it off: swapoff -a"
    assert Finding("docker", "fail", "is it running?", "Start it.").sentence == "is it running? Start it."


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_no_file_uses_anothers_private_names(path):
    text = path.read_text()
    imported = re.findall(r"^from ansible_collections\S+ import (?:\(([^)]*)\)|(.*))$", text, flags=re.M)
    names = [name.strip().split(" as ") for group in imported for part in group for name in part.split(",") if name.strip()]
    assert [name for name, *_as in names if name.startswith("_")] == []
    modules = "|".join(alias[-1] for alias in names) or "none"
    assert re.findall(rf"\b(?:{modules})\._[a-z]\w*", text) == []
