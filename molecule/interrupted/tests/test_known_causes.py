"""What stops a container is named, each cause by itself, on the cluster that the killed runs have left."""

from __future__ import annotations

import pytest
from conftest import OLD, inspect, run_playbook, wait_until

BOTH = ("--limit", "atlas1,atlas2")
CONFIG = "/etc/gpustack/config.yaml"
DATA = "/var/lib/docker/volumes/gpustack-data/_data"
TIME = "raise gpustack_wait"


def worker_state(api, name: str) -> str:
    return next(worker["state"] for worker in api("workers?perPage=100")["items"] if worker["name"] == name)


@pytest.fixture
def server(atlas):
    return atlas("atlas1")


def test_option_that_docker_does_not_take_is_named(server):
    run = run_playbook("server", variables={"gpustack_container_options": {"ulimits": ["nofile=none"]}})
    assert run.rc != 0 and "gpustack_container_options" in run.text and TIME not in run.text.lower()


def test_runtime_that_docker_does_not_have_is_named_before_the_container_is_touched(server):
    before = inspect(server)
    run = run_playbook("server", variables={"gpustack_container_options": {"runtime": "nosuch"}})
    assert run.rc != 0 and "gpustack_container_options has runtime: nosuch, and Docker there has " in run.text
    assert inspect(server)["State"]["StartedAt"] == before["State"]["StartedAt"]


@pytest.mark.parametrize("options", [{"log_driver": "nosuch"}, {"log_driver": "json-file", "log_options": {"max_size": "10m"}}])
def test_container_stays_where_docker_refuses_the_next(server, options):
    before = inspect(server)
    run = run_playbook("server", variables={"gpustack_container_options": options})
    assert run.rc != 0 and "Correct gpustack_container_options" in run.text
    assert "The container that is there was left as it is." in run.text
    after = inspect(server)
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])
    assert server.check_output("docker ps --all --format '{{.Names}}'") == "gpustack"


@pytest.mark.long
def test_worker_with_an_old_token_is_told_from_one_whose_clock_is_wrong(atlas, api):
    worker = atlas("atlas2")
    worker.check_output(f"cp {CONFIG} /root/config.yaml; sed -i 's/^token:.*/token: \"0123456789abcdef0123456789abcdef\"/' {CONFIG}")
    # A worker of GPUStack 2 that has once joined has a credential of its own.
    worker.check_output(f"docker stop gpustack && rm -f {DATA}/worker_token && docker start gpustack")
    refused = "Invalid authentication credentials"
    wait_until("the refusal", lambda: refused in worker.check_output("docker logs --since 1m gpustack 2>&1"), pause=2)
    # GPUStack takes minutes to find out that a worker which was ready is silent.
    wait_until("GPUStack misses the worker", lambda: worker_state(api, "atlas2") != "ready", pause=2)
    try:
        run = run_playbook("verify", *BOTH, variables={"gpustack_wait": 100})
        assert run.rc != 0
        assert f"the server refuses the token of gpustack ({refused}); expected the server's. Run the playbook workers" in run.text
        assert "compare its clock" not in run.text
    finally:
        assert run_playbook("workers", "--limit=atlas2").rc == 0


# What is wrong with the database, and what GPUStack or its PostgreSQL say of it
GARBAGE = (
    ("database.db*", f"rm -f {DATA}/database.db-*; head -c 20000 /dev/urandom >{DATA}/database.db", "file is not a database")
    if OLD
    else ("postgresql", f"echo 9 >{DATA}/postgresql/data/PG_VERSION", "database files are incompatible with server")
)


@pytest.mark.long
def test_database_that_is_garbage_is_named_with_the_place_of_the_copies(server):
    files, spoil, told = GARBAGE
    server.check_output("docker stop gpustack")
    server.check_output(f"mkdir /root/data && cp -a {DATA}/{files} /root/data/ && {spoil}")
    try:
        run = run_playbook("server")
        assert run.rc != 0
        assert f"GPUStack can't read its database in gpustack-data ({told})" in run.text
        assert "ls -l /var/lib/gpustack-backup" in run.text and TIME not in run.text.lower()
        assert "container gpustack: running, starting" in run.text
    finally:
        server.check_output(f"docker stop gpustack; rm -rf {DATA}/{files}; cp -a /root/data/* {DATA}/")
    assert run_playbook("server").rc == 0
