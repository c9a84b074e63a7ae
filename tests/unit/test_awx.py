"""The AWX project that is exported, and what awx/configure.yml makes of the data beside it."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.plugin_docs import read_docstring
from ansible.plugins.loader import module_loader
from ansible.template import Templar
from ansible_collections.ascend.gpustack.plugins.plugin_utils.given import trust_as_template
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.checks import SKIPPABLE

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLAYBOOKS = {path.name for path in (ROOT / "playbooks").glob("*.yml")}
# The words that a list takes, where the roles name them
WORDS = {"ascend_driver_check_skip": list(SKIPPABLE)}
PYTHON_TYPES = {"bool": bool, "int": int, "float": float, "str": str, "list": list, "dict": dict}


def load(name: str) -> dict:
    return yaml.safe_load((ROOT / "awx" / name).read_text())


QUESTIONS = load("surveys.yml")["gpustack_questions"]
TEMPLATES = {template["name"]: template for template in load("templates.yml")["gpustack_job_templates"]}
WORKFLOWS = load("templates.yml")["gpustack_workflows"]
NODES = [(workflow, node) for workflow in WORKFLOWS for node in workflow["nodes"]]
(PLAY,) = load("configure.yml")
TASKS = [(task["name"], name, task[name]) for task in PLAY["tasks"] for name in task if name.startswith("awx.awx.")]


def options() -> dict[str, dict]:
    """Every public variable, by its argument specification."""
    found = {}
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        found |= yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"]
    return found


def as_question(name: str, option: dict) -> dict:
    """What a survey can ask of a variable: type, choices and default."""
    if option["type"] == "bool":
        return {"type": "multiplechoice", "choices": ["true", "false"], "default": str(option["default"]).lower()}
    if option["type"] == "list" and name not in WORDS:
        return {"type": "text", "default": ",".join(option["default"])}
    if option["type"] == "list":
        return {"type": "multiselect", "choices": WORDS[name], "default": "\n".join(option["default"])}
    if option["type"] == "str":
        return {"type": "text", "default": option["default"]}
    assert option["type"] == "int", f"{name} is of a type that no survey has"
    return {"type": "integer", "default": option["default"]}


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["variable"])
def test_survey_asks_what_the_role_takes(question):
    name = question["variable"]
    asked = {key: question[key] for key in ("type", "choices", "default") if key in question}
    if isinstance(asked.get("choices"), str):
        templar = Templar(loader=DataLoader(), variables={"playbook_dir": str(ROOT / "awx")})
        asked["choices"] = templar.template(trust_as_template(asked["choices"]))
    assert asked == as_question(name, options()[name])


def test_survey_asks_for_no_secret():
    secret = {field["id"] for field in load("templates.yml")["gpustack_credential_type"]["inputs"]["fields"]}
    assert secret <= set(options())
    assert not secret & {question["variable"] for question in QUESTIONS}


def test_every_question_is_asked_and_every_survey_has_its_questions():
    asked = {name for template in [*TEMPLATES.values(), *WORKFLOWS] for name in template.get("survey", [])}
    assert asked == {question["variable"] for question in QUESTIONS}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=lambda template: template["name"])
def test_job_template_runs_a_playbook_of_the_project(template):
    assert template["playbook"] in PLAYBOOKS


@pytest.mark.parametrize("workflow, node", NODES, ids=lambda item: item.get("name", item.get("identifier")))
def test_workflow_leads_through_nodes_that_take_its_answers(workflow, node):
    identifiers = [other["identifier"] for other in workflow["nodes"]]
    assert "then" not in node or node["then"] in identifiers
    assert ("job_template" in node) != ("approval" in node)
    if "job_template" in node:
        assert set(node.get("variables", {})) <= set(TEMPLATES[node["job_template"]].get("survey", []))


def test_reset_comes_after_an_approval():
    (workflow,) = [workflow for workflow in WORKFLOWS if "reset" in workflow["name"]]
    order = {node["identifier"]: node.get("then") for node in workflow["nodes"]}
    assert order == {"preview": "approval", "approval": "reset", "reset": None}
    assert [node.get("job_type") for node in workflow["nodes"]] == ["check", None, "run"]


def documented(module: str) -> dict[str, dict]:
    path = module_loader.find_plugin(module)
    assert path, f"{module} is not installed"
    return read_docstring(path, verbose=False)["doc"]["options"]


def fits(value: object, option: dict) -> bool:
    if isinstance(value, str) and "{{" in value:
        return True
    return isinstance(value, PYTHON_TYPES[option["type"]]) and value in option.get("choices", [value])


@pytest.mark.parametrize("name, module, arguments", TASKS, ids=lambda item: item if isinstance(item, str) else "")
def test_task_gives_the_module_what_it_documents(name, module, arguments):
    options = documented(module)
    assert {key for key in arguments if key not in options} == set()
    assert {key for key, value in arguments.items() if not fits(value, options[key])} == set()
    assert {key for key, option in options.items() if option.get("required") and key not in arguments} == set()


def test_data_fits_the_options_that_it_is_given_to():
    job_types = documented("awx.awx.job_template")["job_type"]["choices"]
    assert {template.get("job_type", "run") for template in TEMPLATES.values()} <= set(job_types)
    node = documented("awx.awx.workflow_job_template_node")
    assert {item["job_type"] for _workflow, item in NODES if "job_type" in item} <= set(node["job_type"]["choices"])
    (approval,) = [item["approval"] for _workflow, item in NODES if "approval" in item]
    assert set(approval) <= set(node["approval_node"]["suboptions"])


def export(target: pathlib.Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, ROOT / "awx/export", target, *options], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> pathlib.Path:
    target = tmp_path_factory.mktemp("awx") / "project"
    done = export(target)
    assert done.returncode == 0, done.stderr
    return target


def git(project: pathlib.Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=project, check=True, capture_output=True, text=True).stdout


def test_project_has_each_playbook_by_its_full_name(project):
    found = {path.name: yaml.safe_load(path.read_text()) for path in project.glob("*.yml") if path.name in PLAYBOOKS}
    assert {name: play[0]["ansible.builtin.import_playbook"] for name, play in found.items()} == {
        name: f"ascend.gpustack.{pathlib.Path(name).stem}" for name in PLAYBOOKS
    }


def test_project_holds_the_files_of_all_collections_that_it_requires(project):
    required = yaml.safe_load((project / "collections/requirements.yml").read_text())["collections"]
    assert sorted(item["name"] for item in required) == sorted(f"collections/{path.name}" for path in project.glob("collections/*.tar.gz"))
    assert {item["name"].rsplit("-", 1)[0] for item in required} >= {"collections/ascend-gpustack", "collections/community-docker"}


def test_second_export_changes_nothing_and_leaves_the_operators_files(project):
    hosts = project / "inventories/example/hosts.yml"
    shutil.move(hosts, project / "inventories/hosts.yml")
    git(project, "add", "--all")
    git(project, "-c", "user.name=operator", "-c", "user.email=operator@example.com", "commit", "--quiet", "--message", "our hosts")
    done = export(project)
    assert (done.returncode, done.stdout) == (0, f"{project}: nothing to change\n")
    assert len(git(project, "log", "--oneline").splitlines()) == 2
    assert not hosts.exists()


def test_published_collection_is_named_by_its_version(tmp_path):
    assert export(tmp_path, "--published").returncode == 0
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    required = yaml.safe_load((tmp_path / "collections/requirements.yml").read_text())
    assert required == {"collections": [{"name": "ascend.gpustack", "version": galaxy["version"]}]}
    assert [*tmp_path.glob("collections/*.tar.gz")] == []


def test_folder_of_somebody_else_is_refused(tmp_path):
    (tmp_path / "letter").write_text("mine")
    done = export(tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path} exists and was not made by make awx-project; expected none" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


@pytest.mark.parametrize("variant", ["execution-environment.yml", "execution-environment-airgap.yml"])
def test_execution_environment_installs_the_projects_own_files(project, tmp_path, variant):
    words = ["ansible-builder", "create", "--file", variant, "--context", tmp_path, "--output-filename", "Containerfile"]
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    required = yaml.safe_load((tmp_path / "_build/requirements.yml").read_text())["collections"]
    assert [item["name"] for item in required if not (tmp_path / "_build" / item["name"]).is_file()] == []
    recipe = (tmp_path / "Containerfile").read_text()
    assert ("--offline" in recipe) == ("airgap" in variant)
    copied = [line.split()[1] for line in recipe.splitlines() if line.startswith("COPY _build/mirror/")]
    assert copied == (["_build/mirror/pip.conf", "_build/mirror/site.repo"] if "airgap" in variant else [])
    assert [path for path in copied if not (tmp_path / path).is_file()] == []
