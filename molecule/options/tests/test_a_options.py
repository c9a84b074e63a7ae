"""What an operator may set, seen in the containers that come of it."""

from __future__ import annotations

import options
import pytest
from conftest import OLD, api_of, inspect, run_playbook, tls_of


@pytest.fixture(scope="module")
def variables(tmp_path_factory) -> dict:
    """What is common to both generations, and a certificate."""
    given = options.of_0_7() if OLD else options.VARIABLES
    return {**given, **tls_of("atlas1", tmp_path_factory.mktemp("certificate"))}


@pytest.fixture(scope="module")
def inventory(tmp_path_factory) -> str:
    return options.inventory(tmp_path_factory.mktemp("inventory"))


@pytest.fixture(scope="module")
def site(inventory, variables, atlas):
    options.prepare(atlas)
    run = run_playbook("site", "-vvv", "--diff", inventory=inventory, variables=variables)
    assert run.rc == 0, run.output
    return run


@pytest.fixture
def token(atlas) -> str:
    return atlas("atlas1").check_output("cat /srv/gpustack/token")


def test_server_without_npus_serves_and_does_not_work(site, token, atlas):
    ask = api_of(atlas("atlas1"), token, "https://127.0.0.1:9090")
    assert "1 of 1 workers ready, 8 NPUs" in site.text
    assert not [device for device in inspect(atlas("atlas1"))["HostConfig"]["Devices"] or [] if "davinci" in device["PathOnHost"]]
    assert [(worker["name"], worker["port"]) for worker in ask("workers")["items"]] == [("npu-a", 10250)]


def test_containers_have_the_options(site, atlas):
    for name in ("atlas1", "atlas2"):
        config = inspect(atlas(name))["HostConfig"]
        assert (config["ShmSize"], config["Memory"], config["CpusetCpus"]) == (2 * 2**30, 6 * 2**30, "0")
        assert config["Ulimits"] == [{"Name": "nofile", "Soft": 1024, "Hard": 2048}]
        assert config["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "50m", "max-file": "3"}}
        assert (config["Dns"], config["CapAdd"], config["ExtraHosts"]) == (["192.0.2.53"], ["IPC_LOCK"], ["mirror.example.com:192.0.2.2"])
        assert "no-new-privileges" in config["SecurityOpt"]
        assert atlas(name).run("docker exec gpustack ls /srv/extra/here").rc == 0


def test_proxy_is_never_used_between_the_nodes(site, atlas):
    env = dict(item.split("=", 1) for item in inspect(atlas("atlas2"))["Config"]["Env"])
    addresses = sorted(atlas(name).interface("eth0").addresses[0] for name in ("atlas1", "atlas2"))
    assert env["NO_PROXY"] == env["no_proxy"] == ",".join(["mirror.example.com", "localhost", "127.0.0.1", *addresses])
    assert (env["HTTP_PROXY"], env["HF_ENDPOINT"]) == ("http://192.0.2.1:3128", "https://hf.example.com")


def test_secret_among_the_settings_is_written_and_printed_nowhere(site, atlas):
    assert 'huggingface_token: "hf_thisisasecret"' in atlas("atlas1").file("/etc/gpustack/config.yaml").content_string
    assert "hf_thisisasecret" not in site.output


def test_second_run_changes_nothing(site, inventory, variables):
    run = run_playbook("site", inventory=inventory, variables=variables)
    assert {host: counts["changed"] for host, counts in run.recap.items()} == {"atlas1": 0, "atlas2": 0}


def test_dropped_option_replaces_the_container_and_is_named(site, inventory, variables):
    fewer = {**variables, "gpustack_container_options": {"shm_size": "2g"}, "gpustack_env": {}}
    run = run_playbook("workers", "--check", inventory=inventory, variables=fewer)
    assert "container gpustack: replaced" in run.text
    assert "env: - HTTP_PROXY=http://192.0.2.1:3128" in run.text
    assert '"memory": "6g"' in run.text.split("labels: - ascend.gpustack.options=")[1]
    assert 'labels: + ascend.gpustack.options={"shm_size": "2g"}' in run.text
