"""Who may reach which port of a host: the one table that the firewall is configured from, and that the probes of the preflight use."""

from __future__ import annotations

import pathlib

import yaml
from ansible_collections.ascend.gpustack.plugins.plugin_utils import cluster
from ansible_collections.ascend.gpustack.plugins.plugin_utils import ports as port_table

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = [f"atlas{number}" for number in range(1, 6)]
HOSTVARS = {name: {"ansible_host": f"10.0.0.{number}"} for number, name in enumerate(NAMES, 1)}
CLUSTER = [f"10.0.0.{number}" for number in range(1, 6)]
GPUSTACK = {"gpustack_server": ["atlas1"], "gpustack_worker": NAMES, "gpustack_store": ["atlas1"]}
V0_7 = {"gpustack_version": "0.7.1"}
V2 = {"gpustack_version": "2.3.0"}
WORKER = ["10150/tcp", "10151/tcp"]
WORKER_0_7 = [*WORKER, "40000-40063/tcp", "40064-40095/tcp"]
NFS = ["2049/tcp", "111/tcp", "20048/tcp", "111/udp", "20048/udp", "662/tcp", "662/udp", "32803/tcp", "32769/udp"]


def access(host: str, groups: dict | None = None, store_type: str = "nfs", version: str = "", **variables: dict) -> dict[str, tuple]:
    """Ports and sources by service; version is the GPUStack that is asked for, variables are those of hosts, by their names."""
    asked = {"gpustack_version": version} if version else {}
    hostvars = {name: {**HOSTVARS[name], **asked, **variables.get(name, {})} for name in NAMES}
    services = port_table.firewall_access(host, hostvars, groups or GPUSTACK, store_type)["services"]
    return {service["name"]: (service["ports"], service["sources"]) for service in services}


def test_a_worker_opens_its_ports_to_the_cluster_alone():
    assert access("atlas2") == {"gpustack-cluster": (WORKER, CLUSTER)}
    assert access("atlas2", version="0.7.1") == {"gpustack-cluster": (WORKER_0_7, CLUSTER)}


def test_the_server_opens_its_page_to_everyone_and_the_store_to_the_cluster():
    assert access("atlas1", atlas1={"gpustack_port": "80"}) == {"gpustack": (["80/tcp"], []), "gpustack-store": (NFS, CLUSTER)}
    assert access("atlas1", version="0.7.1", atlas1={"gpustack_port": "80"}) == {
        "gpustack": (["80/tcp"], []),
        "gpustack-cluster": (WORKER_0_7, CLUSTER),
        "gpustack-store": (NFS, CLUSTER),
    }
    assert list(access("atlas1", store_type="external")) == ["gpustack"]


def test_a_host_of_the_store_alone_opens_nothing_else():
    groups = {"gpustack_server": ["atlas1"], "gpustack_worker": ["atlas1"], "gpustack_store": ["atlas5"]}
    assert access("atlas5", groups) == {"gpustack-store": (NFS, ["10.0.0.1", "10.0.0.5"])}
    assert access("atlas5", groups, "external") == {}


def test_a_store_with_a_network_of_its_own_is_open_there_and_for_its_clients():
    own = {"nfs_server_clients": ["192.168.7.0/24"], "gpustack_store_server": "192.168.7.1"}
    assert access("atlas1", atlas1=own)["gpustack-store"] == (NFS, ["192.168.7.0/24"])
    hostvars = {**HOSTVARS, "atlas1": {**HOSTVARS["atlas1"], **own}}
    assert port_table.firewall_access("atlas1", hostvars, GPUSTACK, "nfs")["addresses"] == ["10.0.0.1", "192.168.7.1"]
    assert port_table.firewall_access("atlas2", hostvars, GPUSTACK, "nfs")["addresses"] == ["10.0.0.2"]


def test_ports_that_gpustack_is_configured_with_are_those_that_are_opened():
    moved = {"gpustack_worker_config": {"worker_port": 9000, "worker_metrics_port": 9001, "service_port_range": "50000-50010"}}
    assert access("atlas2", atlas2=moved)["gpustack-cluster"][0] == ["9000/tcp", "9001/tcp"]
    workers = {"atlas2": {"gpustack_worker_config": {"worker_port": 9000, "service_port_range": "50000-50010"}}}
    ports = ["9000/tcp", "10151/tcp", "50000-50010/tcp", "40064-40095/tcp"]
    assert access("atlas2", version="0.7.1", **workers)["gpustack-cluster"][0] == ports
    # The server's own worker has the server's configuration.
    server = {"atlas1": {"gpustack_server_config": {"metrics_port": 9001}, "gpustack_worker_config": {"metrics_port": 9002}}}
    assert access("atlas1", version="0.7.1", **server)["gpustack-cluster"][0] == ["10150/tcp", "9001/tcp", *WORKER_0_7[2:]]


def test_ray_s_ports_are_open_where_it_runs():
    node = ["40098/tcp", "40099/tcp", "40101/tcp", "40103/tcp", "40200-40999/tcp", "52365/tcp"]
    on = {"gpustack_server_config": {"enable_ray": "true"}, "gpustack_worker_config": {"enable_ray": True}}
    assert access("atlas2", version="0.7.1", atlas2=on)["gpustack-cluster"][0] == [*WORKER_0_7, *node]
    head = ["40096/tcp", "40097/tcp", "8265/tcp"]
    assert access("atlas1", version="0.7.1", atlas1=on)["gpustack-cluster"][0] == [*WORKER_0_7, *node, *head]
    off = {"gpustack_worker_config": {"enable_ray": "false"}}
    assert access("atlas2", version="0.7.1", atlas2=off)["gpustack-cluster"][0] == WORKER_0_7


def test_workers_that_serve_a_model_together_reach_one_another_s_hccl():
    together = {"atlas2": {"ascend_driver_check_multi_node": "true"}}
    assert access("atlas2", version="0.7.1", **together)["gpustack-cluster"][0] == [*WORKER_0_7, "60000-60031/tcp"]


def test_hosts_of_a_swarm_open_the_gateway_to_everyone_and_its_members_to_one_another():
    groups = {"docker_swarm_manager": NAMES[:3], "docker_swarm_worker": NAMES[3:]}
    services = {"vllm_stack_services": [{"port": 8001}, {"port": "8002"}], "vllm_stack_port": 80}
    everywhere = ["7946/tcp", "7946/udp", "4789/udp", "8001/tcp", "8002/tcp", "8404/tcp"]
    found = {name: access(name, groups, **dict.fromkeys(NAMES, services)) for name in ("atlas1", "atlas5")}
    assert found["atlas1"] == {"gpustack": (["80/tcp"], []), "gpustack-cluster": (["2377/tcp", *everywhere], CLUSTER)}
    assert found["atlas5"] == {"gpustack": (["80/tcp"], []), "gpustack-cluster": (everywhere, CLUSTER)}
    assert access("atlas5", groups) == {"gpustack": (["8000/tcp"], []), "gpustack-cluster": ([*everywhere[:3], "8404/tcp"], CLUSTER)}


def test_hosts_of_both_kinds_have_the_ports_of_both_and_one_list_of_sources():
    groups = {
        "gpustack_server": ["atlas1"],
        "gpustack_worker": ["atlas1"],
        "docker_swarm_manager": ["atlas1"],
        "docker_swarm_worker": ["atlas2"],
    }
    swarm = ["2377/tcp", "7946/tcp", "7946/udp", "4789/udp", "8404/tcp"]
    for version, ports in (("0.7.1", [*WORKER_0_7, *swarm]), ("", swarm)):
        assert access("atlas1", groups, "external", version) == {
            "gpustack": (["8080/tcp", "8000/tcp"], []),
            "gpustack-cluster": (ports, ["10.0.0.1", "10.0.0.2"]),
        }


def test_the_address_is_the_one_that_other_hosts_use():
    hostvars = {**HOSTVARS, "atlas2": {"ansible_host": "127.0.0.1", "gpustack_address": "atlas2.example.com"}, "atlas3": {}}
    found = port_table.firewall_access("atlas2", hostvars, GPUSTACK, "nfs")
    assert found["addresses"] == ["atlas2.example.com"]
    assert found["services"][0]["sources"] == ["10.0.0.1", "atlas2.example.com", "atlas3", "10.0.0.4", "10.0.0.5"]


def test_nfs_s_ports_are_those_where_nfs_server_puts_its_services():
    fixed = yaml.safe_load((ROOT / "roles/nfs_server/vars/main.yml").read_text())
    ports = {f"{port}/tcp" for port in fixed["_nfs_server_ports"].values()} | {f"{fixed['_nfs_server_lockd_udp_port']}/udp"}
    assert ports < set(NFS)


def listening(host: str, kind: str, **variables: object) -> list[int]:
    return port_table.listening_ports(host, {**HOSTVARS, host: {**HOSTVARS[host], **variables}}, GPUSTACK, kind)


def test_containers_of_gpustack_listen_on_the_ports_that_are_set_for_them():
    assert listening("atlas1", "gpustack", **V0_7) == [8080, 10150, 10151]
    moved = {**V0_7, "gpustack_port": "80"}
    assert listening("atlas2", "gpustack", **moved, gpustack_worker_config={"worker_port": 10160}) == [10160, 10151]
    assert listening("atlas1", "gpustack", **moved, gpustack_server_config={"metrics_port": "9100"}) == [80, 10150, 9100]


SERVER_V2 = [8080, 30080, 30079, 10161, 5432, 19090, 13000, 18443, 9876, 15010, 15012, 8888, 15051, 15000, 15020, 15021, 15090]


def test_every_port_of_the_next_generation_s_image_is_looked_at():
    """As its own check before the start has them (gpustack/cmd/prerun.py)."""
    assert listening("atlas1", "gpustack", **V2) == listening("atlas1", "gpustack") == [*SERVER_V2, 10150, 10151]
    assert listening("atlas2", "gpustack", **V2) == [10150, 10151]
    moved = {"database_port": 5433, "worker_metrics_port": 11151, "metrics_port": "10162"}
    assert set(SERVER_V2) ^ set(listening("atlas1", "gpustack", **V2, gpustack_server_config=moved)) == {
        *(5432, 5433, 10161, 10162, 10150, 11151),
    }
    without = {"database_url": "postgresql://db/gpustack", "disable_builtin_observability": "yes", "disable_metrics": False}
    assert set(SERVER_V2) - set(listening("atlas1", "gpustack", **V2, gpustack_server_config=without)) == {5432, 19090, 13000}
    tls = {"ssl_certfile": "/etc/gpustack.crt", "ssl_keyfile": "/etc/gpustack.key"}
    assert set(listening("atlas1", "gpustack", **V2, gpustack_server_config=tls)) - set(SERVER_V2) == {30081, 10150, 10151}
    assert set(listening("atlas1", "gpustack", **V2, gpustack_tls_certificate="PEM")) - set(SERVER_V2) == {30081, 10150, 10151}


def test_ports_are_those_of_the_version_that_stays():
    def runs(host: str, **container: object) -> dict:
        return {**HOSTVARS, host: {**HOSTVARS[host], "ascend_driver_check_host": {"container": {"managed": True, **container}}}}

    assert cluster.version_to_run("atlas2", runs("atlas2", version="2.2.3"), GPUSTACK) == "2.2.3"
    assert cluster.version_to_run("atlas2", runs("atlas1", version="2.2.3"), GPUSTACK) == "2.2.3"
    usual = cluster.generation.DEFAULT.release
    assert cluster.version_to_run("atlas2", runs("atlas1", version="2.2.3", managed=False), GPUSTACK) == usual
    assert cluster.version_to_run("atlas2", {**HOSTVARS, "atlas2": {"gpustack_version": "0.7.0"}}, GPUSTACK) == "0.7.0"
    assert 5432 in port_table.port_settings("atlas1", runs("atlas1", version="2.2.3"), GPUSTACK)


def test_a_port_is_known_with_what_moves_it():
    hostvars = {**HOSTVARS, "atlas1": {**HOSTVARS["atlas1"], **V2}}
    found = port_table.port_settings("atlas1", hostvars, GPUSTACK)
    assert (found[8080], found[5432], found[15010]) == ("gpustack_port", "database_port in gpustack_server_config", "")
    assert found[10151] == "worker_metrics_port in gpustack_server_config"
    assert port_table.port_settings("atlas2", HOSTVARS, GPUSTACK)[10151] == "worker_metrics_port in gpustack_worker_config"
    before = {**HOSTVARS, "atlas2": {**HOSTVARS["atlas2"], **V0_7}}
    assert port_table.port_settings("atlas2", before, GPUSTACK)[10151] == "metrics_port in gpustack_worker_config"


def test_of_the_next_generation_others_ask_a_worker_s_api_and_metrics_alone():
    every = dict.fromkeys(NAMES, V2)
    assert access("atlas2", **every) == {"gpustack-cluster": (["10150/tcp", "10151/tcp"], CLUSTER)}
    # Nobody but the server asks the server's own worker.
    assert access("atlas1", store_type="external", **every) == {"gpustack": (["8080/tcp"], [])}
    direct = {"atlas2": {**V2, "gpustack_worker_config": {"proxy_mode": "direct", "service_port_range": "50000-50010"}}}
    assert access("atlas2", **direct)["gpustack-cluster"][0] == ["10150/tcp", "10151/tcp", "50000-50010/tcp"]
    together = {name: {**V2, "ascend_driver_check_multi_node": "true"} for name in NAMES}
    assert access("atlas2", **together)["gpustack-cluster"][0] == [
        *("10150/tcp", "10151/tcp", "40000-40063/tcp", "41000-41999/tcp", "60000-60031/tcp"),
    ]
    assert access("atlas1", **together)["gpustack-cluster"][0] == ["40000-40063/tcp", "41000-41999/tcp", "60000-60031/tcp"]


def test_what_only_a_firewall_keeps_closed_is_known():
    tls = {"ssl_certfile": "/etc/gpustack.crt", "ssl_keyfile": "/etc/gpustack.key", "metrics_port": 9161}
    hostvars = {
        **HOSTVARS,
        "atlas1": {**HOSTVARS["atlas1"], **V2, "gpustack_server_config": tls},
        "atlas2": {**HOSTVARS["atlas2"], **V2},
        "atlas3": {**HOSTVARS["atlas3"], **V0_7},
    }
    assert port_table.open_ports("atlas1", hostvars, GPUSTACK) == [
        *("9161", "10151", "15020", "15021", "15090", "19090", "30081", "40000-40063"),
    ]
    assert port_table.open_ports("atlas2", hostvars, GPUSTACK) == ["10151", "40000-40063"]
    assert port_table.open_ports("atlas3", hostvars, GPUSTACK) == []


def test_every_node_of_a_swarm_has_the_gateway_and_the_services():
    services = [{"name": "qwen3", "port": 8001}, {"name": "coder", "port": "8002"}]
    assert listening("atlas2", "swarm", vllm_stack_services=services, vllm_stack_port=443) == [443, 8404, 8001, 8002]
    assert listening("atlas3", "swarm") == [8000, 8404]
