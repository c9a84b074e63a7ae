"""The containers that GPUStack makes for models: told by what GPUStack gives them, and whose they are."""

from __future__ import annotations

import copy
import json
import pathlib
from typing import Any

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import workloads

(RECORDED,) = json.loads((pathlib.Path(__file__).parent / "samples/gpustack_api/model_container_2.3.0.json").read_text())
DATA = {"name": "gpustack-data", "path": "/var/lib/docker/volumes/gpustack-data/_data"}
SOCKET = {"Type": "bind", "Source": "/var/run/docker.sock", "Destination": "/var/run/docker.sock"}


def model(*environment: str, mounts: list[dict[str, Any]] | None = None, name: str = "tiny-050qc", running: bool = True) -> list[dict]:
    """An instance's two containers, as recorded but for its mounts and further variables."""
    found = copy.deepcopy(RECORDED)
    found["Mounts"] = [{"Type": "bind", "Source": "/data/models", "Destination": "/data/models"}, *(mounts or [])]
    found["Config"]["Env"] += environment
    found["Config"]["Labels"]["runtime.gpustack.ai/workload"] = name
    found["State"]["Running"] = running
    found["Name"] = f"/{name}-run-0"
    # It has no mounts and none of the variables.
    pause = copy.deepcopy(found)
    pause.update(Name=f"/{name}-pause", Mounts=[])
    pause["Config"]["Env"] = ["PATH=/usr/bin"]
    pause["Config"]["Labels"]["runtime.gpustack.ai/component"] = "pause"
    return [found, pause]


def worker(name: str, *environment: str, mounts: list[dict[str, Any]] | None = None, running: bool = True) -> dict[str, Any]:
    given = environment or (f"GPUSTACK_RUNTIME_DEPLOY_MIRRORED_NAME={name}",)
    return {
        "Name": f"/{name}",
        "Config": {"Env": ["PATH=/usr/bin", *given], "Labels": {}},
        "Mounts": [SOCKET] if mounts is None else mounts,
        "State": {"Running": running},
    }


def look(*containers: Any, **given: Any) -> dict[str, Any]:
    """What is seen of the containers by a node that has its data, or with data=None by one that has none."""
    data = given.get("data", DATA)
    return workloads.look([part for each in containers for part in (each if isinstance(each, list) else [each])], "gpustack", data)


def ours(*containers: Any, **given: Any) -> list[bool]:
    return [each["ours"] for each in look(*containers, **given)["workloads"]]


def test_an_instance_is_told_with_its_containers_and_npus():
    assert look(model()) == {
        "workers": [],
        "nodes": [],
        "workloads": [
            {
                "name": "tiny-050qc",
                "containers": ["tiny-050qc-pause", "tiny-050qc-run-0"],
                "running": True,
                "ours": False,
                "npus": [0, 1],
            }
        ],
    }
    assert look() == {"workers": [], "nodes": [], "workloads": []}


def test_models_of_this_node_are_known_by_its_mark_and_by_its_data():
    assert ours(model("ASCEND_GPUSTACK_DATA=gpustack-data")) == [True]
    assert ours(model(mounts=[{"Type": "volume", "Name": "gpustack-data", "Source": DATA["path"]}])) == [True]
    assert ours(model(mounts=[{"Type": "bind", "Source": "/srv/own"}]), data={"name": "/srv/own", "path": "/srv/own"}) == [True]


@pytest.mark.parametrize(
    "containers",
    [
        model(),
        model("ASCEND_GPUSTACK_DATA=another"),
        model(mounts=[{"Type": "volume", "Name": "another", "Source": "/var/lib/docker/volumes/another/_data"}]),
    ],
)
def test_models_of_another_are_not_taken_for_this_nodes(containers):
    assert ours(containers) == ours(containers, data=None) == [False]
    # Its worker ended, and leaves them running.
    assert ours(containers, worker("gpustack", running=False)) == [False]


def test_models_beside_the_only_worker_are_its_own():
    # Those that it made before it was given a mark
    assert ours(model(), worker("gpustack")) == [True]
    assert ours(model(), worker("gpustack"), worker("gpustack-worker")) == [False]


def test_another_worker_is_known_by_dockers_socket_and_what_the_image_brings():
    ignored = "GPUSTACK_RUNTIME_DEPLOY_MIRRORED_DEPLOYMENT_IGNORE_VOLUMES=/var/run/cdi"
    assert look(worker("gpustack"), worker("gpustack-worker"), worker("by-hand", ignored))["workers"] == ["by-hand", "gpustack-worker"]
    # A server that does not work, and what only watches Docker
    others = worker("gpustack-server", ignored, mounts=[]), worker("portainer", "TZ=UTC")
    assert look(*others)["workers"] == []


def test_what_the_node_had_before_a_restore_or_an_upgrade_is_no_other_worker():
    kept = [worker(f"gpustack-before-{occasion}", running=False) for occasion in ("restore", "upgrade")]
    assert look(worker("gpustack"), *kept)["workers"] == []
    runs, of_another = worker("gpustack-before-restore"), worker("other-before-restore", running=False)
    assert look(worker("gpustack"), runs, of_another)["workers"] == ["gpustack-before-restore", "other-before-restore"]


def test_a_models_containers_and_workers_are_no_strangers_that_hold_npus():
    assert all(workloads.is_part(each) for each in [*model(), worker("gpustack-worker")])
    assert not any(workloads.is_part(each) for each in (worker("portainer", "TZ=UTC"), worker("gpustack", mounts=[])))


def test_a_server_of_another_name_is_seen_and_a_models_container_is_never_taken_for_one():
    mount = {"Type": "volume", "Name": "gpustack-data", "Source": DATA["path"], "Destination": "/var/lib/gpustack"}
    server = worker("gpustack-server", "PATH=/usr/bin", mounts=[mount])
    assert look(server, model(mounts=[mount]))["nodes"] == ["gpustack-server"]
    assert look(worker("gpustack-old", "PATH=/usr/bin", mounts=[mount], running=False))["nodes"] == []
    assert look(worker("gpustack", "PATH=/usr/bin", mounts=[mount]))["nodes"] == []
    assert look(worker("gpustack-worker", mounts=[SOCKET, mount])) == {"workers": ["gpustack-worker"], "nodes": [], "workloads": []}
