"""awx/configure.yml against a stand-in for the controller: what it makes there, and that a second run changes nothing."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import yaml
from conftest import ROOT, Run, run_playbook
from controller import Controller, serve

PROJECT = ROOT / "playbooks"
SECRET = "0123456789abcdef0123456789abcdef"
VARIABLES = {
    "awx_project_url": "https://git.example.com/gpustack-awx.git",
    "awx_execution_environment": "registry.example.com/gpustack-ee:latest",
    "awx_credentials": [
        {"name": "Atlas servers", "type": "Machine", "inputs": {"username": "root", "ssh_key_data": SECRET}},
        {"name": "GPUStack secrets", "type": "GPUStack", "inputs": {"gpustack_token": SECRET, "gpustack_registry_username": "puller"}},
    ],
}
DATA = yaml.safe_load((ROOT / "awx/templates.yml").read_text())


@pytest.fixture(scope="module")
def awx():
    controller = Controller(PROJECT, token="a session's token")
    server = serve(controller)
    yield controller, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def configure(url: str, variables: dict) -> Run:
    login = {"CONTROLLER_HOST": url, "CONTROLLER_USERNAME": "admin", "CONTROLLER_PASSWORD": "an administrator's"}
    return run_playbook("awx/configure.yml", "-v", "--diff", variables=variables, inventory="localhost,", **login)


@pytest.fixture(scope="module")
def first(awx):
    run = configure(awx[1], VARIABLES)
    assert run.rc == 0, run.output
    return run


def named(controller: Controller, kind: str) -> dict[str, dict]:
    return {item["name"]: item for item in controller.objects[kind].values()}


def test_project_without_an_address_is_refused(awx):
    run = configure(awx[1], {})
    assert run.rc != 0
    assert "localhost: awx_project_url is empty; expected the address from which AWX clones the project." in run.text
    assert awx[0].writes == []


def test_everything_is_made_once(first, awx):
    controller, _url = awx
    counts = Counter(path for method, path, _body in controller.writes if method == "POST" and path.count("/") == 4)
    nodes = sum(len(workflow["nodes"]) for workflow in DATA["gpustack_workflows"])
    assert counts == {
        "/api/v2/organizations/": 1,
        "/api/v2/execution_environments/": 1,
        "/api/v2/credential_types/": 1,
        "/api/v2/credentials/": 2,
        "/api/v2/projects/": 1,
        "/api/v2/inventories/": 1,
        "/api/v2/inventory_sources/": 1,
        "/api/v2/job_templates/": len(DATA["gpustack_job_templates"]),
        "/api/v2/workflow_job_templates/": len(DATA["gpustack_workflows"]),
        "/api/v2/workflow_job_template_nodes/": nodes,
    }


def test_collections_of_the_project_are_installed(first, awx):
    """AWX passes over collections/requirements.yml where the organization has no Galaxy credential."""
    controller, _url = awx
    (organization,) = controller.objects["organizations"]
    linked = controller.links["organizations", organization, "galaxy_credentials"]
    assert [controller.objects["credentials"][number]["name"] for number in linked] == ["Ansible Galaxy"]


def test_job_templates_prompt_and_ask(first, awx):
    controller, _url = awx
    templates = named(controller, "job_templates")
    assert {name: (item["playbook"], item["job_type"]) for name, item in templates.items()} == {
        item["name"]: (item["playbook"], item.get("job_type", "run")) for item in DATA["gpustack_job_templates"]
    }
    for template in templates.values():
        assert template["ask_limit_on_launch"] and template["ask_forks_on_launch"]
        linked = controller.links["job_templates", template["id"], "credentials"]
        assert sorted(controller.objects["credentials"][number]["name"] for number in linked) == ["Atlas servers", "GPUStack secrets"]
    surveys = {
        item["name"]: sorted(
            question["variable"] for question in controller.surveys["job_templates", templates[item["name"]]["id"]]["spec"]
        )
        for item in DATA["gpustack_job_templates"]
        if "survey" in item
    }
    assert surveys == {item["name"]: sorted(item["survey"]) for item in DATA["gpustack_job_templates"] if "survey" in item}


def test_secrets_become_variables_of_the_run(first, awx):
    controller, _url = awx
    kind = named(controller, "credential_types")["GPUStack"]
    assert kind["injectors"]["extra_vars"] == {
        name: f"{{{{ {name} }}}}"
        for name in (
            *("gpustack_token", "gpustack_bootstrap_password", "gpustack_registry_username", "gpustack_registry_password"),
            "gpustack_backup_passphrase",
        )
    }
    assert SECRET not in first.output


def ways(controller: Controller, workflow: str) -> dict[str, tuple]:
    """What each node of a workflow runs, and which nodes come after it."""
    number = named(controller, "workflow_job_templates")[workflow]["id"]
    nodes = {
        node["id"]: node for node in controller.objects["workflow_job_template_nodes"].values() if node["workflow_job_template"] == number
    }
    return {
        node["identifier"]: (
            controller.unified(node["unified_job_template"])["name"],
            [nodes[other]["identifier"] for other in controller.links["workflow_job_template_nodes", key, "success_nodes"]],
        )
        for key, node in nodes.items()
    }


def test_workflows_lead_from_check_to_result_and_over_an_approval(first, awx):
    controller, _url = awx
    assert ways(controller, "GPUStack: preflight, deploy, verify") == {
        "preflight": ("GPUStack: preflight", ["deploy"]),
        "deploy": ("GPUStack: deploy", ["verify"]),
        "verify": ("GPUStack: verify", []),
    }
    assert ways(controller, "GPUStack: reset with approval") == {
        "preview": ("GPUStack: reset", ["approval"]),
        "approval": ("Remove it", ["reset"]),
        "reset": ("GPUStack: reset", []),
    }


def test_second_run_changes_nothing(first, awx):
    controller, url = awx
    before = json.dumps([controller.objects, list(controller.surveys.values())], sort_keys=True, default=str)
    run = configure(url, VARIABLES)
    assert run.rc == 0, run.output
    assert run.recap["localhost"]["changed"] == 0
    assert json.dumps([controller.objects, list(controller.surveys.values())], sort_keys=True, default=str) == before
