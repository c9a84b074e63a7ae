"""What the scenarios' tests share: the lab's hosts (asked through the engine that runs them), playbook runs, and GPUStack's API."""

from __future__ import annotations

import json
import os
import pathlib
import shlex
import subprocess
import tempfile
import time
from dataclasses import dataclass

import pytest
import testinfra

ROOT = pathlib.Path(__file__).resolve().parents[1]
LAB = os.environ.get("LAB_NAME", "ascend-gpustack-lab")
HOSTS = [f"atlas{number}" for number in range(1, 6)]
DATA = "/var/lib/gpustack"
INVENTORY = "inventories/lab/hosts.yml"
MACHINES = "inventories/vm/hosts.yml"
# Added to the inventory, has the lab run GPUStack 0.7
EARLIER = "inventories/lab/gpustack-0.7.yml"

LONG = bool(os.environ.get("TEST_LONG"))
# Whether a scenario that is the same for both generations of GPUStack runs with 0.7
OLD = bool(os.environ.get("TEST_GPUSTACK_0_7"))
VERSION = "0.7.1" if OLD else "2.3.0"
IMAGE = f"gpustack/gpustack:v{VERSION}{'-npu' if OLD else ''}"
API = "/v1" if OLD else "/v2"


def pytest_configure(config) -> None:
    config.addinivalue_line("markers", "long: slow, and rarely broken; a part of make test-long")


def pytest_collection_modifyitems(config, items) -> None:
    """Leave what is marked as long to make test-long."""
    left_out = [item for item in items if item.get_closest_marker("long") and not LONG]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@dataclass(frozen=True)
class Run:
    """A finished ansible-playbook: its exit status and all that it printed."""

    rc: int
    output: str

    @property
    def text(self) -> str:
        """The output with its line breaks folded, to find a sentence in."""
        return " ".join(self.output.split())

    @property
    def failure(self) -> str:
        """What the tasks that failed said, to end a test with: what comes before it may be cut."""
        told = self.output.split("\nPLAY RECAP", 1)[0].split("\nTASK ")
        return "\n".join(task for task in told if "\nfatal: " in task or "[ERROR]" in task) or self.output[-2000:]

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        """Counts by host, from the play recap."""
        lines = self.output.split("PLAY RECAP", 1)[1].splitlines()[1:]
        rows = [line.split(":", 1) for line in lines if " : ok=" in line]
        return {name.strip(): {key: int(value) for key, value in (item.split("=") for item in counts.split())} for name, counts in rows}


def playbook_command(name: str, inventory: str = INVENTORY) -> list[str]:
    """The words that run a playbook of the collection (or one by its path), with the GPUStack that the scenario is about."""
    version = ["-i", EARLIER] if OLD and inventory != MACHINES else []
    return ["ansible-playbook", "-i", inventory, *version, name if name.endswith(".yml") else f"playbooks/{name}.yml"]


def run_playbook(name: str, *args: str, variables: dict | None = None, inventory: str = INVENTORY, **environment: str) -> Run:
    """Run a playbook of the collection (or one by its path) against the lab, as an operator would; variables become extra variables."""
    command = [*playbook_command(name, inventory), *args]
    if variables:
        given = pathlib.Path(tempfile.mkstemp(suffix=".json")[1])
        given.write_text(json.dumps(variables))
        command += ["--extra-vars", f"@{given}"]
    env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1", **environment}
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if variables:
        given.unlink()
    print(done.stdout)
    return Run(done.returncode, done.stdout)


def lab(*args: str, command: str = "lab") -> str:
    """Call lab/lab, or lab/vm."""
    return subprocess.run([str(ROOT / "lab" / command), *args], check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.fixture(scope="session")
def atlas():
    """A function from a host's name to the host."""
    return lambda name: testinfra.get_host(f"docker://{LAB}-{name}")


@pytest.fixture(scope="session")
def machine():
    """A function from the name of a virtual machine to the host."""
    cache = pathlib.Path(os.environ.get("ASCEND_GPUSTACK_CACHE") or pathlib.Path.home() / ".cache/ascend-gpustack")
    first = int(os.environ.get("LAB_VM_SSH_PORT", "22220"))
    return lambda name: testinfra.get_host(
        f"ssh://root@127.0.0.1:{first + int(name.removeprefix('atlas'))}",
        ssh_identity_file=str(cache / "lab/ssh/id_ed25519"),
        ssh_extra_args="-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
        timeout=60,
    )


@pytest.fixture(params=HOSTS)
def each(request, atlas):
    """Every host of the lab in turn."""
    return atlas(request.param)


@pytest.fixture
def playbook():
    return run_playbook


@pytest.fixture
def token(atlas) -> str:
    return atlas("atlas1").check_output(f"docker exec gpustack cat {DATA}/token")


@pytest.fixture
def api(atlas, token):
    """A function from a path of GPUStack's API to its answer, asked on the server with the cluster token."""
    return api_of(atlas("atlas1"), token)


@pytest.fixture
def workers(api):
    """A function that returns GPUStack's workers by name, once it reaches each of them."""
    return lambda: reached(lambda: {worker["name"]: worker for worker in api("workers?perPage=100")["items"]})


def api_of(server, token: str, url: str = "http://127.0.0.1:8080"):
    """A function from a path of the API at a url to its answer, asked on the server itself; no certificate is judged."""

    def ask(path: str, method: str = "GET", body: dict | None = None) -> dict:
        data = f"-H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}" if body is not None else ""
        command = f"printf 'user = \"system/worker/x:{token}\"' | curl -kfsS -K - -X {method} {data} '{url}{API}/{path}'"
        return json.loads(server.check_output(command) or "{}")

    return ask


def tls_of(name: str, folder: pathlib.Path) -> dict[str, str]:
    """The variables with a new certificate of a host's address, which is its own authority, made in a folder."""
    address = f"{os.environ.get('LAB_NET', '198.18.33')}.{105 + int(name.removeprefix('atlas'))}"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "90", "-subj", "/CN=gpustack.example.com"]
    words += ["-addext", f"subjectAltName=IP:{address}", "-keyout", "key", "-out", "certificate"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    certificate, key = ((folder / file).read_text() for file in ("certificate", "key"))
    return {"gpustack_tls_certificate": certificate, "gpustack_tls_key": key, "gpustack_tls_ca": certificate}


def identity(host) -> str:
    """The one by which GPUStack knows the worker on a host, from its data."""
    return host.check_output(f"docker exec gpustack cat {DATA}/worker_uuid")


def log_in(server, password: str) -> str:
    """The status with which GPUStack answers to an administrator's password."""
    form = "-d username=admin --data-urlencode password@- http://127.0.0.1:8080/auth/login"
    return server.check_output(f"printf %s {shlex.quote(password)} | curl -sS -o /dev/null -w '%{{http_code}}' {form}")


def inspect(host, container: str = "gpustack") -> dict:
    return json.loads(host.check_output(f"docker inspect {container}"))[0]


def reached(ask) -> dict[str, dict]:
    """Workers by name, once GPUStack takes none for unreachable. ask: a function that returns them by name.

    GPUStack asks a worker for its health every 15 s, and one that does not answer again for 10 s; so one that was just started may be
    taken for unreachable once more although it is ready.
    """

    def reachable() -> dict[str, dict]:
        found = ask()
        return {} if any(worker["state"] == "unreachable" for worker in found.values()) else found

    return wait_until("GPUStack reaches every worker", reachable, pause=1)


def wait_until(what: str, condition, seconds: float = 900, pause: float = 0.2):
    """The condition's first true answer, asked for again after a pause (s) that suits what a question costs."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(pause)
    return found
