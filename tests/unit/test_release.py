"""What the collection says of itself to Galaxy and to who installs it is what is tested."""

from __future__ import annotations

import pathlib
import re
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Line:
    """A line of tests/controller/versions.txt."""

    core: str
    python: str
    debian: str
    ansible: str
    posix: str
    docker: str
    part: str
    steps: str

    @property
    def series(self) -> str:
        return self.core.rpartition(".")[0]


LINES = (ROOT / "tests/controller/versions.txt").read_text().splitlines()
TESTED = [Line(*line.split()) for line in LINES if not line.startswith("#")]
RUN = [each for each in TESTED if each.steps != "refusal"]


def test_ansible_core_that_is_asked_for_is_the_tested_one_and_newer():
    wanted = SpecifierSet(load("meta/runtime.yml")["requires_ansible"])
    series = [f"2.{minor}" for minor in range(12, 22)]
    assert [each for each in series if f"{each}.5" in wanted] == [each.series for each in RUN]
    assert "2.99.0" in wanted
    assert not [each.core for each in TESTED if each not in RUN and each.core in wanted]
    assert {load(f"roles/{role.name}/meta/main.yml")["galaxy_info"]["min_ansible_version"] for role in ROLES} == {RUN[0].series}


def test_tests_of_everything_run_on_a_version_of_the_table():
    assert core in {each.core for each in RUN}


@pytest.mark.parametrize("python", ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"])
def test_operator_gets_a_tested_ansible_core_for_the_python_at_hand(python):
    installed = [each for each in requirements("requirements.txt") if not each.marker or each.marker.evaluate({"python_version": python})]
    assert [each.name for each in installed] == ["ansible-core"]
    assert str(installed[0].specifier) in {f"=={each.core}" for each in RUN}


def test_lowest_versions_of_the_collections_are_tested_ones():
    lowest = {name: wanted.removeprefix(">=") for name, wanted in load("galaxy.yml")["dependencies"].items()}
    assert lowest in [{"ansible.posix": each.posix, "community.docker": each.docker} for each in RUN]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_documentation_names_the_tested_versions(language):
    text = (ROOT / "docs" / language / "requirements.md").read_text()
    (table,) = [block for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.M) if "| ansible-core |" in block]
    told = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]
    by = {"test": "`make test`", "long": "`make test-long`"}
    assert [(*row[:4], re.findall(r"`([^`]+)`", row[4]), row[5]) for row in told] == [
        (each.core, each.python, each.posix, each.docker, each.steps.split(","), by[each.part]) for each in TESTED
    ]


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_readme_names_the_oldest_and_the_newest_tested_ansible_core(readme):
    (row,) = [row for row in (ROOT / readme).read_text().splitlines() if row.startswith("| Ansible |")]
    assert re.findall(r"\b2\.\d\d", row) == [RUN[0].series, RUN[-1].series]


def test_collections_that_are_needed_are_the_same_for_galaxy_and_by_hand():
    by_hand = {each["name"]: each["version"] for each in load("requirements.yml")["collections"]}
    assert load("galaxy.yml")["dependencies"] == by_hand


def test_changelog_names_every_module_of_a_release_and_no_filter_since_those_are_the_roles_own():
    releases = load("changelogs/changelog.yaml")["releases"]
    added = {
        path.stem: re.search(r"^version_added: (\S+)$", path.read_text(), flags=re.M)[1] for path in (ROOT / "plugins/modules").glob("*.py")
    }
    assert sorted(each["name"] for release in releases.values() for each in release.get("modules", [])) == sorted(
        name for name, version in added.items() if version in releases
    )
    assert not [release for release in releases if "plugins" in release]
    told = [(ROOT / "CHANGELOG.md").read_text(), *(path.read_text() for path in (ROOT / "changelogs/fragments").glob("*.yml"))]
    assert [text for text in told if re.search(r"\bfilters?\b", text, flags=re.I)] == []
    assert load("galaxy.yml")["version"] in load("changelogs/changelog.yaml")["releases"]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_role_has_the_page_that_galaxy_wants_and_it_leads_to_the_variables(role):
    text = load(f"roles/{role.name}/meta/main.yml")["galaxy_info"]["description"]
    name = f"ascend.gpustack.{role.name}"
    page, _heading, _more = (role / "README.md").read_text().partition("\n## ")
    assert page == f"# {name}\n\n{text}\n\nVariables and their meaning: `ansible-doc -t role {name}`.\n"
