"""One cluster whose workers rest, change their token and leave, in this order; each test goes on where the one before ended."""

from __future__ import annotations

import json
import pathlib

import pytest
import small_model
import yaml
from conftest import INVENTORY, ROOT, Run, inspect, lab, run_playbook, wait_until

HOSTS = ["atlas1", "atlas2", "atlas3"]
LIMIT = ("--limit", ",".join(HOSTS))
VARIABLES = {"gpustack_runners": [small_model.RUNNER]}


def run(name: str, **given: object) -> Run:
    return run_playbook(name, *LIMIT, variables={**VARIABLES, **given})


@pytest.fixture
def where(api):
    """A function from a model's name to the worker on which it runs, empty where it does not."""

    def ask(model: str) -> str:
        found = api("model-instances?perPage=100")["items"]
        return next((each["worker_name"] for each in found if each["model_name"] == model and each["state"] == "running"), "")

    return ask


@pytest.fixture(scope="module")
def site(atlas) -> Run:
    done = run("site")
    assert done.rc == 0, done.failure
    atlas("atlas1").check_output(
        f"mkdir -p {small_model.STORE} && echo '{json.dumps(small_model.CONFIG)}' > {small_model.STORE}/config.json"
    )
    return done


def states(api) -> dict[str, str]:
    return {each["name"]: each["state"] for each in api("workers?perPage=100")["items"]}


def test_workers_that_rest_get_no_models_and_stay_so(site, api, where):
    rested = run("drain", gpustack_drain=["atlas1", "atlas2"])
    assert rested.rc == 0, rested.failure
    assert "atlas1, atlas2 rest, and GPUStack places no models there." in rested.text
    api("models", "POST", {**small_model.MODEL, "name": "tiny"})
    wait_until("the model runs", lambda: where("tiny"), pause=3)
    assert where("tiny") == "atlas3"
    again = run("site")
    assert again.rc == 0, again.failure
    assert {name: counts["changed"] for name, counts in again.recap.items()} == dict.fromkeys(HOSTS, 0)
    assert "1 of 3 workers ready, 2 drained" in again.text
    assert states(api) == {"atlas1": "maintenance", "atlas2": "maintenance", "atlas3": "ready"}


def test_they_come_back(site, api):
    done = run("undrain", gpustack_drain="atlas1,atlas2")
    assert done.rc == 0, done.failure
    assert set(states(api).values()) == {"ready"}


def test_a_model_without_another_place_is_named_before_anything_changes(site, api, where):
    api("models", "POST", {**small_model.MODEL, "name": "bound", "gpu_selector": {"gpu_ids": ["atlas3:cann:7"], "gpus_per_replica": 1}})
    wait_until("the model runs", lambda: where("bound"), pause=3)
    refused = run("drain", gpustack_drain=["atlas3"])
    assert refused.rc != 0 and "Nothing was changed: bound finds no other place, as told above" in refused.text
    assert "which stops: its NPUs are given by name, and no other worker has one of them" in refused.text
    assert set(states(api).values()) == {"ready"} and where("tiny") == where("bound") == "atlas3"


def test_models_move_and_those_that_may_stop(site, api, where):
    done = run("drain", gpustack_drain=["atlas3"], gpustack_drain_stop=True)
    assert done.rc == 0, done.failure
    wait_until("the model runs elsewhere", lambda: where("tiny") in ("atlas1", "atlas2"), pause=3)
    assert where("bound") == "" and states(api)["atlas3"] == "maintenance"
    back = run("undrain", gpustack_drain=["atlas3"])
    assert back.rc == 0, back.failure
    wait_until("the model comes back", lambda: where("bound") == "atlas3", pause=3)


def asked(host, header: str) -> str:
    command = (
        f"printf 'header = \"Authorization: {header}\"' | curl -sS -o /dev/null -w '%{{http_code}}' -K - http://127.0.0.1:8080/v2/workers"
    )
    return host.check_output(command)


def test_another_token_and_the_models_run_on(site, atlas, token, where):
    host = atlas(where("tiny"))
    name = host.check_output("docker ps --format '{{.Names}}' | grep '^tiny-.*-run-0$'")
    before = inspect(host, name)["State"]
    done = run("rotate_token")
    assert done.rc == 0, done.failure
    server = atlas("atlas1")
    new = server.check_output("docker exec gpustack cat /var/lib/gpustack/token")
    assert new != token and token not in done.output and new not in done.output
    assert asked(server, f"Bearer {token}") == "401" and asked(server, f"Bearer {new}") == "200"
    assert {key: inspect(host, name)["State"][key] for key in ("Pid", "StartedAt")} == {key: before[key] for key in ("Pid", "StartedAt")}
    again = run("site")
    assert {name: counts["changed"] for name, counts in again.recap.items()} == dict.fromkeys(HOSTS, 0)


def test_a_host_that_was_off_is_brought_over(site, atlas, api):
    lab("stop", "atlas2")
    # At the end, the host that is off is waited for as long as a start may take.
    rotated = run("rotate_token", gpustack_wait=300)
    lab("start", "atlas2")
    # With those of the inventory that the run leaves out
    assert "WARN the old token is left on atlas2, atlas4, atlas5. Once up again, run:" in rotated.text
    done = run("site")
    assert done.rc == 0, done.failure


@pytest.fixture
def inventory(tmp_path):
    """A function that leaves hosts out of the inventory, and the groups of a Swarm, whose hosts the others would let in as well."""

    def without(*names: str) -> str:
        hosts = yaml.safe_load((ROOT / INVENTORY).read_text())

        def cut(node: object) -> None:
            for name, each in (node or {}).items() if isinstance(node, dict) else ():
                if name == "hosts" and isinstance(each, dict):
                    for gone in names:
                        each.pop(gone, None)
                cut(each)

        cut(hosts)
        for group in [name for name in hosts["all"]["children"] if name.startswith("docker_swarm")]:
            del hosts["all"]["children"][group]
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump(hosts))
        group_vars = tmp_path / "group_vars"
        if not group_vars.exists():
            group_vars.symlink_to((ROOT / pathlib.Path(INVENTORY).parent / "group_vars").resolve())
        return str(tmp_path / "hosts.yml")

    return without


def sources(host) -> str:
    return host.check_output("firewall-cmd --list-all-zones 2>/dev/null || true")


def test_a_worker_leaves_and_the_rest_is_as_it_was(site, atlas, api, inventory):
    address = api("workers?perPage=100")["items"]
    (gone,) = [each["ip"] for each in address if each["name"] == "atlas3"]
    leaves = {"variables": {**VARIABLES, "gpustack_remove": ["atlas3"]}, "inventory": inventory("atlas4", "atlas5")}
    listed = run_playbook("remove", **leaves)
    assert listed.rc != 0 and "Nothing was removed. Expected gpustack_remove_confirm: true" in listed.text
    assert "atlas3: the container gpustack (running)" in listed.text and "atlas3" in states(api)
    leaves["variables"]["gpustack_remove_confirm"] = True
    done = run_playbook("remove", **leaves)
    assert done.rc == 0, done.failure
    assert "atlas3" not in states(api)
    host = atlas("atlas3")
    assert host.check_output("docker ps -aq") == "" and not host.file("/etc/gpustack").exists
    assert "gpustack-data" in host.check_output("docker volume ls -q")
    assert gone not in sources(atlas("atlas1"))
    again = run_playbook("site", variables=VARIABLES, inventory=inventory("atlas3", "atlas4", "atlas5"))
    assert again.rc == 0, again.failure
    assert {name: counts["changed"] for name, counts in again.recap.items()} == dict.fromkeys(["atlas1", "atlas2"], 0)


def test_a_dead_worker_leaves(site, api, inventory):
    lab("stop", "atlas2")
    done = run_playbook(
        "remove",
        variables={**VARIABLES, "gpustack_remove": ["atlas2"], "gpustack_remove_confirm": True},
        inventory=inventory("atlas3", "atlas4", "atlas5"),
    )
    assert "no answer from atlas2, where all is as it was." in done.text
    assert set(states(api)) == {"atlas1"}
    again = run_playbook("site", variables=VARIABLES, inventory=inventory("atlas2", "atlas3", "atlas4", "atlas5"))
    assert again.rc == 0 and again.recap["atlas1"]["changed"] == 0, again.failure
