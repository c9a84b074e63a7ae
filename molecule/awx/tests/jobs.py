"""Jobs as AWX runs them: from a clone of the project with its requirements installed, by ansible-runner in a directory for each job."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
from dataclasses import dataclass

import yaml
from conftest import LAB, ROOT

LAB_NET = os.environ.get("LAB_NET", "198.18.33")
CACHE = pathlib.Path(os.environ.get("ASCEND_GPUSTACK_CACHE") or pathlib.Path.home() / ".cache/ascend-gpustack")
VAULT_PASSWORD = "the vault's own"
TOKEN = "0123456789abcdef0123456789abcdef"
TEMPLATES = {template["name"]: template for template in yaml.safe_load((ROOT / "awx/templates.yml").read_text())["gpustack_job_templates"]}


@dataclass(frozen=True)
class Job:
    """A finished job: its exit status, what it printed, and the artifacts that it hands on."""

    rc: int
    output: str
    artifacts: dict

    @property
    def text(self) -> str:
        return " ".join(self.output.split())


def operators_project(folder: pathlib.Path) -> pathlib.Path:
    """Export the project, and commit an operator's inventory to it: the lab's first two hosts, and a token from a vault."""
    origin = folder / "origin"
    call([ROOT / "awx/export", origin], folder)
    group_vars = yaml.safe_load((ROOT / "inventories/lab/group_vars/all.yml").read_text())
    kept = {
        name: group_vars[name]
        for name in group_vars
        if name.startswith(("ansible_user", "ansible_ssh_common", "gpustack_", "ascend_", "vllm_"))
    }
    password = folder / "vault"
    password.write_text(VAULT_PASSWORD)
    words = ["ansible-vault", "encrypt_string", "--vault-password-file", password, "--name", "gpustack_token", TOKEN]
    variables = yaml.safe_dump(kept) + subprocess.run(words, check=True, capture_output=True, text=True).stdout
    workers = {name: {"ansible_host": f"{LAB_NET}.{number}"} for name, number in (("atlas1", 106), ("atlas2", 107))}
    groups = {"gpustack_server": {"hosts": {"atlas1": None}}, "gpustack_worker": {"hosts": workers}}
    groups |= {"docker_swarm_manager": {"hosts": {"atlas1": None}}, "docker_swarm_worker": {"hosts": {"atlas2": None}}}
    (origin / "inventories/example/hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}))
    (origin / "inventories/example/group_vars/all.yml").write_text(variables)
    identity = ("-c", "user.name=operator", "-c", "user.email=operator@example.com")
    call(["git", *identity, "commit", "--quiet", "--all", "--message", "our two servers"], origin)
    return origin


def call(words: list, folder: pathlib.Path, **environment: str) -> str:
    """Run a command with nothing of the checkout and of this user's Ansible in its environment."""
    plain = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(folder)}
    done = subprocess.run(words, cwd=folder, env=plain | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Controller:
    """What AWX keeps of a project between its jobs: the clone, the collections, and the inventory that it read from the clone."""

    def __init__(self, folder: pathlib.Path, origin: pathlib.Path):
        self.folder, self.project, self.collections = folder, folder / "project", folder / "requirements_collections"
        self.environment = {"ANSIBLE_COLLECTIONS_PATH": str(self.collections), "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false"}
        self.jobs = 0
        call(["git", "clone", "--quiet", origin, self.project], folder)
        # As AWX does, which knows no --offline: nothing answers at the address of Galaxy, and nothing is to be asked of it.
        words = ["ansible-galaxy", "collection", "install", "-r", "collections/requirements.yml", "--collections-path", self.collections]
        call(words, self.project, HOME=str(folder), ANSIBLE_GALAXY_SERVER="http://127.0.0.1:9/", **self.environment)
        words = ["ansible-inventory", "-i", "inventories/example/hosts.yml", "--list", "--export"]
        self.inventory = json.loads(call(words, self.project, HOME=str(folder), **self.environment))

    def run(self, template: str, answers: dict, limit: str = "", job_type: str = "", forks: int = 5, image: str = "") -> Job:
        """Run a job template, here or in an image: answers become extra variables, prompted fields options of ansible-playbook."""
        self.jobs += 1
        private = self.folder / f"awx_{self.jobs}"
        (private / "env").mkdir(parents=True)
        (private / "inventory").mkdir()
        call(["git", "clone", "--quiet", self.project, private / "project"], self.folder)
        script = private / "inventory/hosts"
        script.write_text(f"#!/usr/bin/env python3\nprint({json.dumps(self.inventory)!r})\n")
        script.chmod(0o700)
        job_type = job_type or TEMPLATES[template].get("job_type", "run")
        options = ["-u root", f"--forks {forks}", "--ask-vault-pass", *(["--check"] if job_type == "check" else [])]
        options += [f"--limit {limit}"] if limit else []
        self.write(private / "env", options, answers, {} if image else self.environment)
        words = ["ansible-runner", "run", "/runner" if image else private, "--playbook", TEMPLATES[template]["playbook"], "--ident", "1"]
        if image:
            words = ["docker", "run", "--rm", f"--network={LAB}", "--user=root", f"--volume={private}:/runner", image, *words]
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(home)}
        done = subprocess.run(words, cwd=private, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return Job(done.returncode, done.stdout + done.stderr, artifacts(private / "artifacts/1/job_events"))

    def write(self, env: pathlib.Path, options: list[str], answers: dict, environment: dict) -> None:
        (env / "cmdline").write_text(" ".join(options))
        (env / "extravars").write_text(json.dumps(answers))
        (env / "envvars").write_text(
            json.dumps({**environment, "ANSIBLE_HOST_KEY_CHECKING": "False", "AWX_HOST": "https://awx.example.com"})
        )
        (env / "passwords").write_text(json.dumps({r"Vault password:\s*?$": VAULT_PASSWORD}))
        shutil.copy(CACHE / "lab/ssh/id_ed25519", env / "ssh_key")


def artifacts(events: pathlib.Path) -> dict:
    """What set_stats left, which AWX keeps as the job's artifacts."""
    found = [json.loads(path.read_text()) for path in events.glob("*.json")]
    stats = [event["event_data"] for event in found if event["event"] == "playbook_on_stats"]
    return stats[0].get("artifact_data", {}) if stats else {}
