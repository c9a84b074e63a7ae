"""The collection's file, installed into an empty folder beside the two collections that it needs, as by a person who has no checkout."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUN = [str(ROOT / "tests/controller/run"), os.environ["CONTROLLER"]]
VERSION = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
# Nobody answers at this address; the other groups are there and empty, or not there.
NEEDED = """
[gpustack_server]
atlas1 ansible_host=127.0.0.1 ansible_port=1

[gpustack_worker]
atlas1

[all:vars]
gpustack_store_type=external
"""
INVENTORIES = {
    "hosts.ini": f"{NEEDED}\n[gpustack_store]\n\n[docker_swarm_manager]\n\n[docker_swarm_worker]\n",
    "few.ini": NEEDED,
}


@pytest.fixture(scope="module")
def ansible(tmp_path_factory):
    """A function that runs a command in that folder without the checkout's settings; gives its status and its output."""
    folder = tmp_path_factory.mktemp("empty")
    for name, text in INVENTORIES.items():
        (folder / name).write_text(text)
    environment = {name: value for name, value in os.environ.items() if name != "ANSIBLE_CONFIG"} | {
        "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
        "CONTROLLER_DIRECTORY": str(folder),
    }

    def run(*words: str) -> tuple[int, str]:
        done = subprocess.run([*RUN, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        print(done.stdout)
        return done.returncode, done.stdout

    subprocess.run(["ansible-galaxy", "collection", "build", "--output-path", folder], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    present = run("python3", "-c", "import os, ansible_collections.community as here; print(list(here.__path__)[0])")[1].split()[-1]
    for name in ("ansible/posix", "community/docker", "community/library_inventory_filtering_v1"):
        shutil.copytree(pathlib.Path(present).parent / name, folder / "collections/ansible_collections" / name)
    (tarball,) = folder.glob("*.tar.gz")
    rc, output = run("ansible-galaxy", "collection", "install", "--offline", "-p", "collections", tarball.name)
    assert rc == 0, output
    return run


def preflight(ansible) -> str:
    rc, output = ansible("ansible-playbook", "-i", "hosts.ini", "ascend.gpustack.preflight")
    assert rc == 2
    return output


def test_preflight_says_its_findings_and_no_warning(ansible):
    output = preflight(ansible)
    assert "\nFAIL [reachable] atlas1:" in output
    assert f"on 1 of 1 host (ascend.gpustack {VERSION}):" in output
    assert "WARNING" not in output


@pytest.mark.parametrize("inventory, names", [("hosts.ini", ("site", "swarm", "reset")), ("few.ini", ("site", "reset"))])
def test_playbooks_take_groups_that_are_empty_or_not_there_without_a_warning(ansible, inventory, names):
    rc, output = ansible("ansible-playbook", "-i", inventory, *(f"ascend.gpustack.{name}" for name in names), "--list-hosts")
    assert rc == 0 and "WARNING" not in output
    assert output.count("hosts (0):") >= 2 and "hosts (1):\n      atlas1" in output


def test_older_ansible_is_refused_by_preflight_with_the_way_out(ansible):
    output = " ".join(preflight(ansible).split())
    assert f"FAIL [ansible] atlas1: ansible-core is {os.environ['CONTROLLER']}." in output
    assert "expected 2.15 or newer. Take one with pip install in an environment of its own, or an execution environment" in output
