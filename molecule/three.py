"""A cluster of three hosts with the version of GPUStack in its inventory, as people have it."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from conftest import ROOT, run_playbook

NAMES = ("atlas1", "atlas2", "atlas3")
PASSWORD = "Operator-4711"
ASIDE = "gpustack-before-upgrade"
CALLBACKS = str(ROOT / "molecule/interrupted/callbacks")


class Cluster:
    """folder: where its inventory lies; version: of GPUStack, which the inventory asks for; what else it says."""

    def __init__(self, folder: pathlib.Path, version: str, **variables: Any) -> None:
        self.folder = folder
        workers = {name: {"ansible_host": "{{ lab_net }}." + str(105 + int(name[-1]))} for name in NAMES}
        groups = {"gpustack_server": {"hosts": {"atlas1": None}}, "gpustack_store": {"hosts": {}}, "gpustack_worker": {"hosts": workers}}
        (folder / "hosts.yml").write_text(json.dumps({"all": {"children": groups}}))
        (folder / "group_vars").symlink_to(ROOT / "inventories/lab/group_vars")
        self.ask_for(version, **variables)

    def ask_for(self, version: str, **variables: Any) -> None:
        said = {"gpustack_version": version, "gpustack_bootstrap_password": PASSWORD, **variables}
        (self.folder / "version.yml").write_text(json.dumps({"all": {"vars": said}}))

    def play(self, name: str, *arguments: str, **variables: Any) -> Any:
        further = ("-i", str(self.folder / "version.yml"), *arguments)
        return run_playbook(name, *further, variables=variables, inventory=str(self.folder / "hosts.yml"))

    def killed(self, name: str, on: str, seconds: float, task: str, hosts: dict) -> Any:
        """A run that dies so many seconds after a host has begun a task of this name, and with it what it had running on the hosts."""
        further = ("-i", str(self.folder / "version.yml"))
        during = {"ANSIBLE_CALLBACK_PLUGINS": CALLBACKS, "ANSIBLE_CALLBACKS_ENABLED": "kill_run", "KILL_DURING": f"{on} {seconds} {task}"}
        run = run_playbook(name, *further, inventory=str(self.folder / "hosts.yml"), **during)
        for host in hosts.values():
            host.run("pkill -KILL -f '[A]nsiballZ_|[g]pustack-backup'")
        return run


def versions(hosts: dict) -> dict[str, str]:
    """What runs on each host, by its label."""
    ask = "docker inspect gpustack --format '{{.State.Running}} {{index .Config.Labels \"ascend.gpustack.version\"}}'"
    return {name: host.run(ask).stdout.strip() for name, host in hosts.items()}


def running(*found: str) -> dict[str, str]:
    return {name: f"true {version}" for name, version in zip(NAMES, found)}
