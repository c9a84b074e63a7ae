"""What a GPUStack server has, by its own answers, and what an operator does to lose it."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from conftest import HOSTS, reached, run_playbook, wait_until

THREE = HOSTS[:3]
LIMIT = ("--limit", ",".join(THREE))
PASSWORD = "Operator-4711"
BACKUPS = "/var/lib/gpustack-backup"
DATA = "/var/lib/docker/volumes/gpustack-data/_data"
PASSPHRASE = "vAulted-Passphrase-4711"


@dataclass(frozen=True)
class Api:
    """The management API on a host, asked as the administrator."""

    host: Any
    prefix: str

    def __call__(self, path: str, body: dict | None = None) -> Any:
        data = f"-H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}" if body is not None else ""
        ask = f"printf 'user = \"admin:{PASSWORD}\"' | curl -fsS -K - {data} 'http://127.0.0.1:8080/{self.prefix}/{path}'"
        return json.loads(self.host.check_output(ask))

    def names(self, path: str, key: str) -> list[str]:
        return sorted(item[key] for item in self(f"{path}?perPage=100")["items"])

    def workers(self) -> dict[str, dict]:
        return {worker["name"]: worker for worker in self("workers?perPage=100")["items"]}

    def state(self) -> dict[str, Any]:
        """Users, keys, models and workers, with what makes each the same one."""
        workers = reached(self.workers)
        return {
            "users": self.names("users", "username"),
            "keys": self.names("api-keys", "name"),
            "models": self.names("models", "name"),
            "workers": {name: (worker["id"], worker["created_at"]) for name, worker in workers.items()},
            "token": self.host.check_output("docker exec gpustack cat /var/lib/gpustack/token"),
        }


def fill(api: Api, model: dict) -> str:
    """What people make on GPUStack's page; the value of a key of theirs."""
    api("users", {"username": "alice", "password": "Alice_4711!x", "full_name": "Alice", "is_admin": False})
    api("models", {"name": "kept", "source": "local_path", "local_path": "/data/models/none", "replicas": 0, **model})
    return api("api-keys", {"name": "ops", "description": "", "expires_in": 0})["value"]


def destroy(host: Any) -> None:
    """As a disk that is lost: container, volume and settings."""
    host.check_output("docker rm -f gpustack; docker volume rm gpustack-data; rm -rf /etc/gpustack")


def backups(host: Any, pattern: str = "*") -> list[str]:
    return host.run(f"ls -1 {BACKUPS}/gpustack-{pattern}").stdout.split()


def containers(host: Any) -> list[str]:
    return sorted(host.check_output("docker ps --all --format '{{.Names}}'").split())


def started(host: Any) -> str:
    return host.check_output("docker inspect gpustack --format '{{.Id}} {{.State.StartedAt}}'")


def restored(variables: dict, *arguments: str, **given: Any) -> Any:
    return run_playbook("restore", *LIMIT, *arguments, variables={**variables, **given})


def settled(api: Api, state: dict) -> bool:
    """Whether the server has again just what it had, once its workers are back."""
    return wait_until("the server has what it had", lambda: api.state() == state, pause=3)
