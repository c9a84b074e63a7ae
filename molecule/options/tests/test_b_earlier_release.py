"""A cluster that an earlier release made, with every option of the container, is one that this release has nothing to do on: a label, a
default or an entry point that became another would restart every cluster there is."""

from __future__ import annotations

import tarfile

import options
import pytest
from conftest import OLD, ROOT, inspect, lab, run_playbook

# The collection's file as that release built it, of the commit in its name
RELEASE = ROOT / "tests/releases/ascend-gpustack-0.1.0-0adbf73.tar.gz"
NAMES = ("atlas1", "atlas2")
STAYS = (
    "WARN [version] atlas1, atlas2: the container gpustack runs GPUStack 0.7.1, which stays, since gpustack_version is not set. "
    "2.3.0 is what new clusters get. Set gpustack_version: 0.7.1 to keep it, "
    "2.3.0 with gpustack_upgrade_migrate: true to take its data along, or 2.3.0 with a new gpustack_data_volume to begin anew with that."
)


def identities(atlas) -> dict[str, tuple[str, str]]:
    containers = {name: inspect(atlas(name)) for name in NAMES}
    return {name: (container["Id"], container["State"]["StartedAt"]) for name, container in containers.items()}


@pytest.fixture(scope="module")
def inventory(tmp_path_factory) -> str:
    return options.inventory(tmp_path_factory.mktemp("inventory"))


@pytest.fixture(scope="module")
def made_before(inventory, tmp_path_factory, atlas) -> dict[str, tuple[str, str]]:
    """The containers as the earlier release leaves them, on servers that are new."""
    lab("reset", "2")
    options.prepare(atlas)
    collections = tmp_path_factory.mktemp("collections")
    place = collections / "ansible_collections/ascend/gpustack"
    place.mkdir(parents=True)
    with tarfile.open(RELEASE) as release:
        release.extractall(place)
    paths = {"ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_ROLES_PATH": str(place / "roles")}
    run = run_playbook(str(place / "playbooks/site.yml"), inventory=inventory, variables=options.of_0_7(), **paths)
    assert run.rc == 0, run.failure
    return identities(atlas)


def test_run_of_this_release_changes_nothing_and_restarts_nothing(made_before, inventory, atlas):
    run = run_playbook("site", "--diff", inventory=inventory, variables=options.of_0_7())
    assert run.rc == 0, run.failure
    assert {name: counts["changed"] for name, counts in run.recap.items()} == dict.fromkeys(NAMES, 0)
    assert identities(atlas) == made_before
    # Where the inventory says that version, there is nothing to mention.
    assert (STAYS in run.text) is not OLD
