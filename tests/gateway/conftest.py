"""The cluster of cluster.py as fixtures; with the collection importable, as unit tests have it."""

from __future__ import annotations

import collections.abc
import runpy

import pytest
from cluster import GATEWAY, HOSTS, ROOT, SERVICES, SETTINGS, Gateway, Server, command, wait_until

runpy.run_path(str(ROOT / "tests/unit/conftest.py"))


@pytest.fixture(scope="session")
def network() -> None:
    command("ip", "link", "add", "cluster", "type", "bridge")
    command("ip", "address", "add", f"{GATEWAY}/24", "dev", "cluster")
    command("ip", "link", "set", "cluster", "up")
    for host in HOSTS:
        name = host["name"]
        command("ip", "netns", "add", name)
        command("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        command("ip", "link", "set", name, "master", "cluster", "up")
        command("ip", "-netns", name, "address", "add", f"{host['address']}/24", "dev", "eth0")
        command("ip", "-netns", name, "link", "set", "eth0", "up")
        command("ip", "-netns", name, "link", "set", "lo", "up")


@pytest.fixture(scope="session")
def servers(network, tmp_path_factory) -> collections.abc.Iterator[dict[tuple[str, str], Server]]:
    """By service and host."""
    found = {}
    for number, service in enumerate(SERVICES):
        for host in HOSTS:
            # As on a host where each service has four NPUs of its own.
            root = tmp_path_factory.mktemp(f"{host['name']}-{service['name']}")
            command("sh", str(ROOT / "lab/npu/install.sh"), str(root))
            for npu in range(4 * number, 4 * number + 4):
                (root / "dev").mkdir(exist_ok=True)
                (root / f"dev/davinci{npu}").touch()
            for name in ("davinci_manager", "devmm_svm", "hisi_hdc"):
                (root / "dev" / name).touch()
            (root / "dev/shm").mkdir()
            found[service["name"], host["name"]] = Server(host["name"], service, root)
    for server in found.values():
        server.start()
    wait_until(lambda: all(server.answers() for server in found.values()))
    yield found
    for server in found.values():
        server.end()


@pytest.fixture(scope="session")
def gateway(servers) -> collections.abc.Iterator[Gateway]:
    found = Gateway(SETTINGS)
    found.start()
    yield found
    found.end()


@pytest.fixture
def all_up(gateway, servers) -> None:
    wait_until(lambda: all(gateway.is_up(host["name"]) for host in HOSTS))
