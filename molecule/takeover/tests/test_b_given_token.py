"""A server that was given its token by hand, and so has it in no file, standing still as a killed run leaves it."""

from __future__ import annotations

import json

import by_hand
import pytest
from conftest import DATA, inspect, lab, run_playbook, wait_until

BOTH = ("--limit", "atlas1,atlas2")
TOKEN = "chosen-by-an-operator-2025"


@pytest.fixture(scope="module")
def server(atlas):
    return atlas("atlas1")


@pytest.fixture(scope="module")
def before(server, atlas):
    """The workers' identities, of a server that is stopped and a worker that goes on looking for it."""
    lab("reset", "2")
    by_hand.docker_run(server, "0.7.1", "--port", "8080", "--token", TOKEN, "--worker-name", "atlas1", *by_hand.CACHE)
    given = ["--token", TOKEN, "--worker-name", "second"]
    by_hand.docker_run(atlas("atlas2"), "0.7.1", "--server-url", by_hand.url(server), *given, *by_hand.CACHE)
    found = wait_until("both workers have joined", lambda: by_hand.both(server, TOKEN))
    server.check_output("docker stop gpustack")
    assert sorted(found) == ["atlas1", "second"]
    return by_hand.identities(found)


@pytest.fixture(scope="module")
def taken_over(before):
    return run_playbook("site", "-vvv", "--diff", *BOTH)


def test_newer_version_is_refused_whatever_is_allowed(before):
    run = run_playbook("preflight", *BOTH, variables={"gpustack_version": "0.7.0", "gpustack_takeover_upgrade": True})
    assert run.rc != 0
    assert (
        "FAIL [takeover] atlas1, atlas2: The container gpustack runs GPUStack 0.7.1, newer than 0.7.0: its data does not go back. "
        "Set gpustack_version: 0.7.1 to keep it."
    ) in run.text


def test_stopped_server_is_taken_over_with_its_token(taken_over, before, server):
    assert taken_over.rc == 0
    assert "The cluster token in its arguments stays the same." in taken_over.text
    assert not server.run(f"docker exec gpustack cat {DATA}/token").stdout
    config = server.file("/etc/gpustack/config.yaml")
    assert config.mode == 0o600
    assert f'token: "{TOKEN}"' in config.content_string.splitlines()


def test_workers_join_with_that_token_and_are_the_same_ones(taken_over, before, server):
    found = by_hand.reached_workers(server, TOKEN)
    assert {name: worker["state"] for name, worker in found.items()} == {"atlas1": "ready", "atlas2": "ready"}
    assert by_hand.identities(found) == before


def test_token_is_printed_nowhere_and_stands_on_no_command_line(taken_over, atlas):
    assert TOKEN not in taken_over.output
    for name in ("atlas1", "atlas2"):
        assert TOKEN not in json.dumps(inspect(atlas(name)))
        assert TOKEN not in atlas(name).check_output("ps -ef e ww")


def test_next_run_keeps_the_token(taken_over, server):
    config = server.file("/etc/gpustack/config.yaml").content_string
    run = run_playbook("server")
    assert (run.rc, run.recap["atlas1"]["changed"]) == (0, 0)
    assert server.file("/etc/gpustack/config.yaml").content_string == config
