"""What the collection says of itself to Galaxy and to who installs it is what is tested."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from ansible.release import __version__ as core
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())


def load(path: str) -> dict:
    return yaml.safe_load((ROOT / path).read_text())


def requirements(path: str) -> list[Requirement]:
    lines = (ROOT / path).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def older_core() -> str:
    """The ansible-core that the test core215 runs."""
    (found,) = [each for each in requirements("tests/python39/controller.txt") if each.name == "ansible-core"]
    return str(found.specifier).removeprefix("==")


def test_ansible_core_that_is_asked_for_is_the_tested_one_and_no_other():
    wanted = SpecifierSet(load("meta/runtime.yml")["requires_ansible"])
    series = [f"2.{minor}.5" for minor in range(12, 24)]
    tested = {version.rsplit(".", 1)[0] for version in (core, older_core())}
    assert {version.rsplit(".", 1)[0] for version in series if version in wanted} == tested
    oldest = min(tested, key=lambda version: int(version.split(".")[1]))
    assert {load(f"roles/{role.name}/meta/main.yml")["galaxy_info"]["min_ansible_version"] for role in ROLES} == {oldest}


def test_operator_with_python_3_9_gets_what_is_tested_on_it():
    installed = [each for each in requirements("requirements.txt") if not each.marker or each.marker.evaluate({"python_version": "3.9"})]
    tested = {each.name: each.specifier for each in requirements("tests/python39/controller.txt")}
    assert installed and {each.name: each.specifier for each in installed}.items() <= tested.items()


def test_collections_that_are_needed_are_the_same_for_galaxy_and_by_hand():
    by_hand = {each["name"]: each["version"] for each in load("requirements.yml")["collections"]}
    assert load("galaxy.yml")["dependencies"] == by_hand


def test_changelog_names_every_module_and_filter():
    (release,) = load("changelogs/changelog.yaml")["releases"].values()
    assert {each["name"] for each in release["modules"]} == {path.stem for path in (ROOT / "plugins/modules").glob("*.py")}
    assert {each["name"] for each in release["plugins"]["filter"]} == {path.stem for path in (ROOT / "plugins/filter").glob("*.yml")}
    assert load("galaxy.yml")["version"] in load("changelogs/changelog.yaml")["releases"]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_role_has_the_page_that_galaxy_wants_and_it_leads_to_the_variables(role):
    text = load(f"roles/{role.name}/meta/main.yml")["galaxy_info"]["description"]
    name = f"ascend.gpustack.{role.name}"
    assert (role / "README.md").read_text() == f"# {name}\n\n{text}\n\nVariables and their meaning: `ansible-doc -t role {name}`.\n"
