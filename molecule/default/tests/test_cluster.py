"""The cluster that site.yml makes of five empty servers, asked of GPUStack, Docker and the hosts, not of the roles."""

from __future__ import annotations

import json
import os
import shlex
import subprocess

import yaml
from conftest import HOSTS, INVENTORY, ROOT, inspect

ON_THE_CONTROLLER = {"assert", "debug", "fail", "import_role", "include_role", "include_tasks", "set_fact", "set_stats"}
ON_THE_CONTROLLER.add("validate_argument_spec")


def test_five_workers_are_ready_with_eight_npus_each(workers):
    found = workers()
    assert sorted(found) == HOSTS
    for name, worker in found.items():
        assert worker["state"] == "ready", (name, worker["state_message"])
        npus = worker["status"]["gpu_devices"]
        assert [(npu["name"], npu["memory"]["total"]) for npu in npus] == [("910B4", 32 * 2**30)] * 8, name


def test_workers_that_share_a_hostname_have_their_own_names_and_addresses(api, each):
    assert each.check_output("hostname") == "localhost.localdomain"
    workers = api("workers?perPage=100")["items"]
    assert len({worker["ip"] for worker in workers}) == len({worker["worker_uuid"] for worker in workers}) == 5


def test_container_has_what_the_guide_gives_it(each):
    container = inspect(each)
    config = container["HostConfig"]
    assert (config["NetworkMode"], config["IpcMode"], config["Privileged"]) == ("host", "host", False)
    assert config["RestartPolicy"]["Name"] == "unless-stopped"
    managers = ["/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"]
    assert sorted(device["PathOnHost"] for device in config["Devices"]) == sorted(
        [f"/dev/davinci{number}" for number in range(8)] + managers
    )
    mounts = {mount["Destination"]: mount for mount in container["Mounts"]}
    assert mounts["/var/lib/gpustack"]["Name"] == "gpustack-data"
    assert mounts["/models"]["Source"] == mounts["/data/models"]["Source"] == "/data/models"
    read_only = ["/usr/local/dcmi", "/usr/local/bin/npu-smi", "/usr/local/Ascend/driver", "/etc/ascend_install.info"]
    assert [mounts[path]["RW"] for path in read_only] == [False] * 4
    assert container["State"]["Health"]["Status"] == "healthy"


def test_npus_are_opened_by_the_container_because_the_cgroup_allows_it(each):
    # ENXIO is the simulated node's own answer; without the device rule it would be EPERM.
    answer = each.run("docker exec gpustack sh -c 'exec 3</dev/davinci3'")
    assert "No such device or address" in answer.stderr


def test_gpustacks_own_parser_and_npu_info_read_the_same_npus(atlas, tmp_path):
    host = atlas("atlas2")
    host.check_output("npu-sim set memory-used 3 20480 && npu-sim set link 5 down && npu-sim set process 3 4711 python3 17609")
    # As modules of the collection see the host, and as GPUStack does from its container.
    arguments = json.dumps({"gather": ["usages", "network"]})
    command = ["ansible", "-i", INVENTORY, "atlas2", "--tree", str(tmp_path), "-m", "ascend.gpustack.npu_info", "-a", arguments]
    try:
        subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")})
        program = (
            "import json; from gpustack.detectors.npu_smi.npu_smi import NPUSMI;"
            "print(json.dumps([npu.model_dump() for npu in NPUSMI().gather_gpu_info()]))"
        )
        told = host.check_output(
            f"docker exec gpustack bash -lc {shlex.quote(f'/opt/venvs/gpustack/bin/python -c {shlex.quote(program)}')}"
        )
    finally:
        host.check_output("npu-sim reset")
    ours = json.loads((tmp_path / "atlas2").read_text())
    used = {usage["npu_id"]: (usage["hbm_usage_rate_percent"], usage["aicore_usage_rate_percent"]) for usage in ours["usages"]}
    # Of a port without link GPUStack asks no more.
    keys = ("address", "netmask", "gateway")
    ports = {
        port["npu_id"]: ("up", *(port[key] for key in keys)) if port["link"] == "UP" else ("down", "", "", "") for port in ours["network"]
    }
    read = [
        (chip["logic_id"], chip["npu_id"], chip["chip_id"], chip["name"], chip["memory_total_mb"], chip["temperature_c"])
        + used[chip["npu_id"]]
        + ports[chip["npu_id"]]
        for chip in ours["chips"]
    ]
    theirs = [
        (npu["index"], npu["device_index"], npu["device_chip_index"], npu["name"], npu["memory"]["total"] // 2**20, npu["temperature"])
        + (npu["memory"]["utilization_rate"], npu["core"]["utilization_rate"])
        + tuple(npu["network"][key] for key in ("status", "inet", "netmask", "gateway"))
        for npu in json.loads(told.splitlines()[-1])
    ]
    assert len(read) == 8 and read == theirs


def test_downloaded_models_land_on_the_shared_store(atlas):
    config = atlas("atlas2").file("/etc/gpustack/config.yaml").content_string
    assert 'cache_dir: "/data/models/gpustack-cache"' in config
    atlas("atlas1").check_output("echo shared > /data/models/gpustack-cache/probe")
    for name in HOSTS:
        assert atlas(name).check_output("docker exec gpustack cat /models/gpustack-cache/probe") == "shared"
    atlas("atlas1").check_output("rm /data/models/gpustack-cache/probe")


def test_secrets_stand_in_no_place_that_others_read(each, token):
    config = each.file("/etc/gpustack/config.yaml")
    assert (config.mode, config.user) == (0o600, "root")
    assert each.file("/etc/gpustack").mode == 0o700
    assert token not in each.check_output("docker inspect gpustack")
    assert token not in each.check_output("ps -ef e ww")
    assert token not in each.check_output("cat /var/log/*.log /tmp/* 2>/dev/null; journalctl --no-pager 2>/dev/null || true")


def test_request_from_localhost_needs_credentials(atlas):
    status = atlas("atlas1").check_output("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8080/v1/workers")
    assert status == "401"


def test_initial_password_works_as_told(atlas):
    server = atlas("atlas1")
    login = (
        "docker exec gpustack cat /var/lib/gpustack/initial_admin_password | "
        '(read -r word; printf \'user = "admin:%s"\' "$word") | curl -fsS -K - http://127.0.0.1:8080/v1/users/me'
    )
    assert json.loads(server.check_output(login))["username"] == "admin"


def test_firewalld_stays_on_with_the_cluster_s_ports_open_and_docker_has_its_chain(each):
    service = each.service("firewalld")
    assert service.is_running and service.is_enabled
    for permanent in ("", "--permanent "):
        zone = each.check_output(f"firewall-cmd {permanent}--zone=public --list-all")
        assert 'source address="' in zone and 'service name="gpustack-cluster" accept' in zone
    assert each.run("iptables -t nat -S DOCKER").rc == 0


def public_booleans() -> list[str]:
    specs = [yaml.safe_load(path.read_text()) for path in (ROOT / "roles").glob("*/meta/argument_specs.yml")]
    options = [spec["argument_specs"]["main"]["options"] for spec in specs]
    return [name for named in options for name, option in named.items() if option["type"] == "bool"]


def test_second_run_changes_nothing_with_at_most_20_module_executions_per_worker(playbook):
    # Every public boolean as AWX would send it; off is what all of them mean here.
    off = dict.fromkeys(public_booleans(), "false")
    run = playbook("site", variables=off, ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
    assert run.rc == 0
    assert "no_log: true" not in run.output, "gpustack_secure_logging is not off"
    result = json.loads(run.output[run.output.index("{\n") :])
    assert {host: counts["changed"] for host, counts in result["stats"].items()} == dict.fromkeys(HOSTS, 0)
    executions = dict.fromkeys(HOSTS, 0)
    for task in (task for play in result["plays"] for task in play["tasks"]):
        for host, answer in task["hosts"].items():
            executions[host] += answer["action"].rsplit(".", 1)[-1] not in ON_THE_CONTROLLER and not answer.get("skipped", False)
    print(executions)
    assert max(executions.values()) <= 20


def test_host_that_sees_another_store_is_refused_by_name(atlas, playbook):
    right, wrong = atlas("atlas1").check_output("cat /data/models/.gpustack-store-id"), "5" * 32
    host = atlas("atlas3")
    host.check_output(f"mount -t tmpfs none /data/models && echo {wrong} >/data/models/.gpustack-store-id")
    try:
        run = playbook("storage")
    finally:
        host.check_output("umount /data/models")
    assert run.rc == 2
    told = f"is another store ({wrong}) than on atlas1, atlas2, atlas4 … ({right}); expected one store on all hosts."
    assert f"atlas3: /data/models {told} Mount the same one everywhere." in run.text
    assert {name: counts["failed"] for name, counts in run.recap.items()} == {**dict.fromkeys(HOSTS, 0), "atlas3": 1}
