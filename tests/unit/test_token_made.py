"""The cluster token of a server whose GPUStack makes none: made once by the role, and never where the data or the inventory has one."""

from __future__ import annotations

import base64

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.generation import DEPLOYED
from ansible_collections.ascend.gpustack.plugins.plugin_utils.given import _trusted
from test_node_spec import ROOT, STORE, variables_of

VERSIONS = {generation.data.given_token: generation.release for generation in DEPLOYED}
TOKEN = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


def asked(name: str, cluster: list[str] | None, given_token: bool = True, role: str = "server", groups: str = "both", **given: object):
    variables = variables_of(role, groups, "1.45", STORE, {"gpustack_version": VERSIONS[given_token], **given})
    variables["__gpustack_host"]["data"] = {"path": "/srv/data", "cluster": cluster}
    return Templar(loader=DataLoader(), variables=variables).template(_trusted("{{ " + name + " | bool }}"))


def test_a_fresh_server_gets_a_token_where_gpustack_makes_none():
    assert asked("_gpustack_token_to_make", [])
    assert asked("_gpustack_token_to_make", [], groups="server")
    assert not asked("_gpustack_token_to_make", [], given_token=False)


@pytest.mark.parametrize(
    ("cluster", "given"),
    [
        (["token"], {}),
        # An earlier generation's database, whose token comes with it
        (["database.db"], {}),
        (["postgresql"], {}),
        # What can't be seen may be a cluster.
        (None, {}),
        ([], {"gpustack_token": TOKEN}),
        ([], {"__gpustack_handmade_token": {"token": TOKEN}}),
        ([], {"gpustack_server_config": {"token": TOKEN}}),
        ([], {"gpustack_env": {"GPUSTACK_TOKEN": TOKEN}}),
        ([], {"role": "worker", "groups": "worker"}),
    ],
)
def test_no_token_is_made_where_there_is_one(cluster, given):
    assert not asked("_gpustack_token_to_make", cluster, **given)


def test_a_given_token_is_held_against_that_of_the_cluster_alone():
    assert asked("_gpustack_token_fixed", ["postgresql", "token"], gpustack_token=TOKEN)
    assert not asked("_gpustack_token_fixed", ["postgresql", "token"])
    assert not asked("_gpustack_token_fixed", ["database.db"], gpustack_token=TOKEN)
    assert not asked("_gpustack_token_fixed", [], gpustack_token=TOKEN)
    assert not asked("_gpustack_token_fixed", ["token"], gpustack_token=TOKEN, given_token=False)
    assert not asked("_gpustack_token_fixed", ["token"], gpustack_token=TOKEN, role="worker", groups="worker")


def problems(cluster: list[str], **given: object) -> list[str]:
    variables = variables_of("server", "both", "1.45", STORE, {"gpustack_version": VERSIONS[True], **given})
    variables["__gpustack_host"]["data"] = {"path": "/srv/data", "cluster": cluster}
    return Templar(loader=DataLoader(), variables=variables).template(_trusted("{{ _gpustack_setting_problems }}"))


@pytest.mark.parametrize("kept", [TOKEN + "\n", "another\n"])
def test_another_token_than_the_clusters_is_refused_and_not_shown(kept):
    task = yaml.safe_load((ROOT / "roles/gpustack/tasks/token_kept.yml").read_text())[1]["ansible.builtin.set_fact"]
    variables = {"gpustack_token": TOKEN, "__gpustack_kept_token": {"content": base64.b64encode(kept.encode()).decode()}}
    differs = Templar(loader=DataLoader(), variables=variables).template(_trusted(task["__gpustack_token_differs"]))
    found = problems(["token"], gpustack_token=TOKEN, __gpustack_token_differs=differs)
    assert len(found) == (kept != TOKEN + "\n") and not any(secret in str(found) for secret in (TOKEN, "another\n"))
    if found:
        assert "GPUStack keeps in /srv/data/token" in found[0]


def test_a_database_elsewhere_needs_the_token_of_its_cluster():
    elsewhere = {"gpustack_server_config": {"database_url": "postgresql://db"}}
    assert problems([], **elsewhere)[0].startswith("gpustack_server_config has a database_url, and gpustack_token is not set; ")
    assert len(problems([], gpustack_env={"GPUSTACK_DATABASE_URL": "postgresql://db"})) == 1
    assert problems([], **elsewhere, gpustack_token=TOKEN) == problems(["token"], **elsewhere) == problems([]) == []
