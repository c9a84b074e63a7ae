"""What the host tells: the store, the firewall, who listens, in one answer of gpustack_host_info."""

from __future__ import annotations

import json
import os
import pwd
import socket

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import daemon as docker_daemon
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import logs as docker_logs
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.cli import Engine
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import config_file as gpustack_config_file
from ansible_collections.ascend.gpustack.plugins.module_utils.host import firewalld as host_firewalld
from ansible_collections.ascend.gpustack.plugins.module_utils.host import listeners as host_listeners
from ansible_collections.ascend.gpustack.plugins.module_utils.host import mounts as host_mounts
from ansible_collections.ascend.gpustack.plugins.module_utils.host import reach, store
from ansible_collections.ascend.gpustack.plugins.module_utils.npu import holders as npu_holders
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result, run
from ansible_collections.ascend.gpustack.plugins.modules import gpustack_host_info, model_store_info
from shared import answers

OURS = "a" * 64
OTHER = "b" * 64
VOLUME = "/var/lib/docker/volumes/gpustack-data/_data"
MOUNTINFO = r"""22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/mapper/openeuler-root rw
23 22 0:21 / /proc rw,nosuid shared:12 - proc proc rw
30 22 253:2 / /data rw,relatime shared:29 - xfs /dev/sdb1 rw,attr2
95 30 0:52 / /data/models rw,relatime shared:50 - nfs 172.16.33.106:/data/models rw,vers=3,hard,timeo=600
96 30 0:53 / /data/with\040space ro,relatime shared:51 master:3 - nfs4 nas:/a\040b rw,vers=4.2
97 22 253:0 /srv/local /srv/models rw,relatime shared:1 - ext4 /dev/mapper/openeuler-root rw
"""
# /proc/fs/nfsfs/volumes; the last id is the server's own of the file system
VOLUMES = """NV SERVER   PORT DEV          FSID                              FSC
v3 ac10216a  801 0:52         3d0c1ae5f1b84a1e:0                no
"""
STAT_DEAD = "stat: cannot statx '/data/models': Stale file handle\n"
STAT_MISSING = "stat: cannot statx '/data/models': No such file or directory\n"
TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5001 1 0000000016e8df36 100
   1: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5002 1 0000000016e8df37 100
   2: 6A2110AC:1F90 6B2110AC:A674 01 00000000:00000000 02:000009E8 00000000     0        0 5003 3 00000000fdec5ec2 20
"""
ANY6 = "0" * 32
REST = "00000000:00000000 00:00000000 00000000     0        0"
TCP6 = f"""  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: {ANY6}:27A6 {ANY6}:0000 0A {REST} 6001 1 0000000016e8df36 100 0 0 10 0
   1: {ANY6}:0016 {ANY6}:0000 0A {REST} 6002 1 0000000016e8df36 100 0 0 10 0
"""


def healthy_probe(path="/data/models"):
    return Result(0, f"{path}\nkind directory\nfree 262144 4096 0\nwritable\nid 5ba7\n")


def test_a_live_store_is_described():
    assert store.store(answers({"sh": healthy_probe()}), "/data/models", MOUNTINFO, VOLUMES, 10) == {
        "path": "/data/models",
        "real": "/data/models",
        "exists": True,
        "answers": True,
        "error": None,
        "is_mount": True,
        "source": "172.16.33.106:/data/models",
        "fstype": "nfs",
        "target": "/data/models",
        "free_mb": 1024,
        "root_fs": False,
        "writable": True,
        "id": "5ba7",
        "fs_id": "3d0c1ae5f1b84a1e:0",
    }


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (Result(-9, "/data/models\n", "", timed_out=True), "no answer within 10 s"),
        (Result(-9, "", "", timed_out=True), "no answer within 10 s"),
        (Result(3, "/data/models\n", STAT_DEAD), STAT_DEAD.strip()),
        (Result(137, "", ""), "no answer (return code 137)"),
    ],
    ids=["hangs", "hangs at once", "stale", "killed"],
)
def test_a_dead_store_still_tells_where_it_is_mounted(result, error):
    assert store.store(answers({"sh": result}), "/data/models/", MOUNTINFO, VOLUMES, 10) == {
        "path": "/data/models/",
        "real": "/data/models",
        "exists": None,
        "answers": False,
        "error": error,
        "is_mount": True,
        "source": "172.16.33.106:/data/models",
        "fstype": "nfs",
        "target": "/data/models",
        "free_mb": None,
        "root_fs": False,
        "writable": None,
        "id": None,
        "fs_id": "3d0c1ae5f1b84a1e:0",
    }


def test_a_missing_store_answers_that_it_is_not_there():
    found = store.store(answers({"sh": Result(3, "/models\n", STAT_MISSING)}), "/models", MOUNTINFO, VOLUMES, 10)
    assert found == {
        "path": "/models",
        "real": "/models",
        "exists": False,
        "answers": True,
        "error": None,
        "is_mount": False,
        "source": "/dev/mapper/openeuler-root",
        "fstype": "ext4",
        "target": "/",
        "free_mb": None,
        "root_fs": True,
        "writable": False,
        "id": None,
        "fs_id": None,
    }


def test_a_store_behind_a_link_is_looked_for_where_the_link_leads():
    found = store.store(answers({"sh": healthy_probe("/data/models/x")}), "/models", MOUNTINFO, VOLUMES, 10)
    assert (found["target"], found["is_mount"], found["root_fs"]) == ("/data/models", False, False)


def test_a_store_mounted_read_only_is_not_writable():
    found = store.store(answers({"sh": healthy_probe("/data/with space")}), "/data/with space", MOUNTINFO, VOLUMES, 10)
    assert (found["source"], found["writable"]) == ("nas:/a b", False)


def test_a_directory_bound_from_the_root_file_system_still_lies_on_it():
    found = store.store(answers({"sh": healthy_probe("/srv/models")}), "/srv/models", MOUNTINFO, VOLUMES, 10)
    assert (found["is_mount"], found["root_fs"]) == (True, True)


def test_of_two_mounts_on_one_point_the_later_counts():
    later = "120 95 0:60 / /data/models rw - tmpfs tmpfs rw\n"
    mount = host_mounts.holding(host_mounts.parse_mountinfo(MOUNTINFO + later), "/data/models/x")
    assert (mount.fstype, mount.target) == ("tmpfs", "/data/models")


def test_damaged_mountinfo_gives_no_mount():
    assert host_mounts.parse_mountinfo("22 1 253:0 / / rw\nx\n\n22 1 253:0 / / rw shared:1 a b c - \n") == []


def test_the_real_probe_examines_a_path(tmp_path):
    target = tmp_path / "a 'b"
    target.mkdir()
    found = store.probe(run, str(target), 10)
    assert (found.path, found.exists, found.answers, found.writable, found.error) == (
        str(target),
        True,
        True,
        True,
        None,
    )
    assert found.free_mb is not None
    missing = store.probe(run, str(tmp_path / "none"), 10)
    assert missing == store.Probe(str(tmp_path / "none"), False, True, None, False, None)


def test_configuration_of_a_worker_names_its_server(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text('cache_dir: "/c"\nserver_url: "http://198.18.0.11:8080"\n')
    assert gpustack_config_file.config_file(str(path))["joins"] is True


def test_a_configuration_file_shows_its_mode_and_owner(tmp_path):
    path = tmp_path / "config.yaml"
    missing = {"path": str(path), "exists": False, "mtime": None, "mode": None, "owner": None, "joins": None}
    assert gpustack_config_file.config_file(str(path)) == missing
    path.write_text("port: 8080\n")
    path.chmod(0o640)
    os.utime(path, (100.5, 100.5))
    owner = pwd.getpwuid(os.getuid()).pw_name
    there = {"path": str(path), "exists": True, "mtime": 100.5, "mode": "0640", "owner": owner, "joins": False}
    assert gpustack_config_file.config_file(str(path)) == there


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Result(0, "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n"), (True, True, True)),
        (Result(0, "LoadState=loaded\nActiveState=inactive\nUnitFileState=disabled\n"), (True, False, False)),
        (Result(0, "LoadState=masked\nActiveState=inactive\nUnitFileState=masked\n"), (True, False, False)),
        (Result(0, "LoadState=not-found\nActiveState=inactive\nUnitFileState=\n"), (False, False, False)),
        (
            Result(1, "", "System has not been booted with systemd as init system (PID 1). Can't operate.\n"),
            (None,) * 3,
        ),
        (Result(-9, "LoadState=loaded\n", "", timed_out=True), (None,) * 3),
    ],
    ids=["running", "stopped", "masked", "missing", "no systemd", "hanging"],
)
def test_the_state_of_firewalld(result, expected):
    found = host_firewalld.firewalld(answers({"systemctl show": result}), 10)
    assert found == dict(zip(("installed", "running", "enabled"), expected))


@pytest.mark.parametrize(
    ("result", "present"),
    [
        (Result(0, "-N DOCKER\n-A DOCKER -i docker0 -j RETURN\n"), True),
        (Result(1, "", "iptables: No chain/target/match by that name.\n"), False),
        (
            Result(1, "", "iptables v1.8.9 (nf_tables): chain `DOCKER' in table `nat' is incompatible, use 'nft' tool.\n"),
            False,
        ),
        (Result(3, "", "iptables v1.8.7 (legacy): can't initialize iptables table `nat': Permission denied\n"), None),
        (Result(4, "", "Another app is currently holding the xtables lock. Stopped waiting after 5s.\n"), None),
        (Result(127, "", "[Errno 2] No such file or directory: 'iptables'"), None),
        (Result(-9, "", "", timed_out=True), None),
    ],
)
def test_whether_the_nat_chain_of_docker_is_there(result, present):
    engine = Engine(installed=True, running=True)
    found = docker_daemon.docker_chain(answers({"iptables": result}), engine, {}, ["gpustack"], 10)
    assert found == {"managed": True, "present": present, "running_containers": ["gpustack"]}


@pytest.mark.parametrize(
    ("arguments", "text", "backend", "managed"),
    [
        (["/usr/bin/dockerd", "-H", "fd://"], "", None, True),
        (["/usr/bin/dockerd", "--iptables=false"], "", None, False),
        (["/usr/bin/dockerd"], '{"iptables": false}', None, False),
        (["/usr/bin/dockerd"], '{"iptables": tru', "iptables", True),
        (["/usr/bin/dockerd"], "[]", "nftables", False),
    ],
    ids=["default", "flag", "file", "damaged file", "nftables"],
)
def test_whether_docker_manages_the_chain(tmp_path, arguments, text, backend, managed):
    (tmp_path / "daemon.json").write_text(text)
    settings = docker_daemon.daemon_settings(arguments, str(tmp_path / "daemon.json"))
    engine = Engine(installed=True, running=True, firewall_backend=backend)
    runner = answers({"iptables": Result(0)})
    assert docker_daemon.docker_chain(runner, engine, settings, None, 10)["managed"] is managed


ACTIVE = """docker
  interfaces: br-0123456789ab docker_gwbridge
public (default)
  interfaces: enp189s0f0 virbr0 br-lan
trusted
  interfaces: docker0
  sources: 10.0.0.0/8
"""


def test_bridges_of_docker_in_other_zones_than_its_own_are_known_in_force_and_for_good(tmp_path):
    (tmp_path / "internal.xml").write_text("<zone>\n  <interface name='docker_gwbridge'/>\n  <interface name=\"eth0\"/>\n</zone>\n")
    (tmp_path / "internal.xml.old").write_text('<interface name="docker0"/>')
    seen = host_firewalld.strayed_bridges(answers({"firewall-cmd": Result(0, ACTIVE)}), "docker0", 10, str(tmp_path))
    assert seen == [
        {"interface": "docker0", "zone": "trusted", "default": True, "in_force": True},
        {"interface": "docker_gwbridge", "zone": "internal", "default": False, "in_force": False},
    ]
    gone = answers({"firewall-cmd": Result(252, "", "FirewallD is not running")})
    assert host_firewalld.strayed_bridges(gone, "docker0", 10, str(tmp_path / "none")) == []
    assert host_firewalld.strayed_bridges(answers({"firewall-cmd": Result(0, ACTIVE)}), "br-lan", 10, "/none")[0]["zone"] == "public"


@pytest.mark.parametrize("form", [["--config-file={}"], ["--config-file", "{}"]])
def test_the_configuration_file_named_to_the_daemon_is_read(tmp_path, form):
    path = tmp_path / "other.json"
    path.write_text('{"log-driver": "journald"}')
    arguments = ["dockerd", *(part.format(path) for part in form)]
    assert docker_daemon.daemon_settings(arguments, "/none") == {"log-driver": "journald"}


def make_process(proc, pid, parent, name, cgroup="0::/\n", sockets=()):
    base = proc / str(pid)
    (base / "fd").mkdir(parents=True)
    (base / "stat").write_text(f"{pid} ({name}) S {parent} {pid} {pid} 0 -1 4194560 1 2\n")
    (base / "cgroup").write_text(cgroup)
    for number, inode in enumerate(sockets):
        (base / "fd" / str(number)).symlink_to(f"socket:[{inode}]")


@pytest.fixture
def proc(tmp_path):
    root = tmp_path / "proc"
    (root / "net").mkdir(parents=True)
    (root / "net" / "tcp").write_text(TCP)
    (root / "net" / "tcp6").write_text(TCP6)
    (root / "self").mkdir()
    (root / "self" / "mountinfo").write_text(MOUNTINFO)
    return root


def container(identity, name, pid, **host_config):
    return {
        "Id": identity,
        "Name": f"/{name}",
        "State": {"Status": "running" if pid else "exited", "Running": bool(pid), "Pid": pid},
        "HostConfig": host_config,
    }


CGROUPS = {
    "v1": f"9:name=systemd:/docker/{OURS}\n8:pids:/docker/{OURS}\n0::/docker/{OURS}\n",
    "v1 nested": f"9:name=systemd:/docker/{'e' * 64}/docker/{OURS}\n",
    "v2": f"0::/system.slice/docker-{OURS}.scope\n",
}


@pytest.mark.parametrize("cgroup", CGROUPS.values(), ids=CGROUPS.keys())
def test_a_listener_in_our_container_is_ours(proc, cgroup):
    make_process(proc, 700, 1, "gpustack", cgroup, [5001])
    found = host_listeners.listeners(str(proc), [8080, 9999], [container(OURS, "gpustack", 690)], "gpustack")
    assert found == [{"port": 8080, "pid": 700, "process": "gpustack", "container": "gpustack", "ours": True}]


def test_a_listener_is_known_by_its_ancestors_where_cgroups_say_nothing(proc):
    make_process(proc, 690, 1, "tini")
    make_process(proc, 700, 690, "python (3.11) x", sockets=[6001])
    found = host_listeners.listeners(str(proc), [10150], [container(OURS, "gpustack", 690)], "gpustack")
    assert found == [{"port": 10150, "pid": 700, "process": "python (3.11) x", "container": "gpustack", "ours": True}]


def test_foreign_listeners_are_named(proc):
    make_process(proc, 1, 0, "systemd")
    make_process(proc, 70, 1, "nginx", sockets=[5002])
    make_process(proc, 71, 70, "nginx", sockets=[5002])
    make_process(proc, 80, 1, "java", f"0::/system.slice/docker-{OTHER}.scope\n", [5001])
    containers = [container(OURS, "gpustack", 0), container(OTHER, "jenkins", 79)]
    assert host_listeners.listeners(str(proc), [8080, 80, 22], containers, "gpustack") == [
        {"port": 22, "pid": None, "process": None, "container": None, "ours": False},
        {"port": 80, "pid": 70, "process": "nginx", "container": None, "ours": False},
        {"port": 8080, "pid": 80, "process": "java", "container": "jenkins", "ours": False},
    ]


def test_a_published_port_belongs_to_the_container_that_publishes_it(proc):
    make_process(proc, 90, 1, "docker-proxy", sockets=[5002])
    containers = [container(OURS, "gpustack", 690, PortBindings={"80/tcp": [{"HostIp": "", "HostPort": "80"}]})]
    found = host_listeners.listeners(str(proc), [80], containers, "gpustack")
    assert found == [{"port": 80, "pid": 90, "process": "docker-proxy", "container": "gpustack", "ours": True}]


def test_a_file_that_the_process_has_just_closed_hides_no_listener(proc, monkeypatch):
    """What a busy process has open changes while it is read."""
    make_process(proc, 10, 1, "gpustack", sockets=["4711"])
    listing = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: ["closed", *listing(path)] if path.endswith("/fd") else listing(path))
    assert host_listeners.socket_owners(str(proc), ["4711"]) == {"4711": 10}


def test_a_foreign_listener_is_not_hidden_by_ours_on_the_same_port(proc):
    (proc / "net" / "tcp6").write_text(TCP6.replace(":27A6", ":1F90"))
    make_process(proc, 700, 1, "gpustack", CGROUPS["v2"], [5001])
    make_process(proc, 60, 1, "nginx", sockets=[6001])
    found = host_listeners.listeners(str(proc), [8080], [container(OURS, "gpustack", 690)], "gpustack")
    assert found == [{"port": 8080, "pid": 60, "process": "nginx", "container": None, "ours": False}]


def test_npus_held_by_other_running_containers_are_named():
    def devices(*numbers):
        return [{"PathOnHost": f"/dev/davinci{number}"} for number in numbers]

    containers = [
        container(OURS, "gpustack", 690, Devices=devices(0, 1)),
        container(OTHER, "vllm", 80, Devices=devices(4, 5)),
        container("c" * 64, "stopped", 0, Devices=devices(6)),
        container("d" * 64, "monitor", 81, Privileged=True),
        container("e" * 64, "nginx", 82),
    ]
    found = npu_holders.holding_containers(containers, [0, 1, 2])
    assert [(each.container, each.npus, each.via) for each in found] == [
        ("gpustack", [0, 1], "devices"),
        ("monitor", [0, 1, 2], "privileged"),
        ("vllm", [4, 5], "devices"),
    ]


def test_npus_that_swarm_allotted_are_held_by_its_task_and_are_the_stacks_own():
    task = container(OTHER, "vllm_qwen.x.y", 80, Runtime="gpustack-npu")
    task["Config"] = {
        "Env": ["ASCEND_VISIBLE_DEVICES=7", "DOCKER_RESOURCE_NPU=Ascend910-0,Ascend910-3"],
        "Labels": {"com.docker.stack.namespace": "vllm"},
    }
    (found,) = npu_holders.holding_containers([task], [0, 1])
    assert (found.container, found.npus, found.via, found.visible_devices) == ("vllm_qwen.x.y", [0, 3], "environment", "7")
    assert docker_cli.is_ours(task, "", "vllm") and not docker_cli.is_ours(task, "", "other")


@pytest.mark.parametrize(
    ("name", "results", "expected"),
    [
        ("172.16.33.107", {}, "172.16.33.107"),
        ("[fd00::7]", {}, "fd00::7"),
        ("atlas2", {"getent ahostsv4": Result(0, "127.0.1.1 STREAM atlas2\n172.16.33.107 STREAM\n")}, "172.16.33.107"),
        ("atlas1", {"getent ahostsv4": Result(0, "127.0.1.1 STREAM atlas1\n127.0.1.1 DGRAM\n")}, "127.0.1.1"),
        ("six", {"getent ahostsv4": Result(2), "getent ahosts ": Result(0, "fd00::9 STREAM six\n")}, "fd00::9"),
        ("none", {"getent ahosts": Result(2)}, None),
        ("slow", {"getent ahosts": Result(-9, timed_out=True)}, None),
    ],
)
def test_a_name_is_resolved_to_an_address_that_others_can_use(name, results, expected):
    assert reach.resolve(answers(results), name, 10) == expected


PARAMETERS = {
    "container": "gpustack",
    "config_path": "/none/config.yaml",
    "data_volume": "gpustack-data",
    "stack": None,
    "store_path": "/data/models",
    "image": "gpustack/gpustack:v0.7.1-npu",
    "images": [],
    "ports": [8080],
    "resolve": ["172.16.33.107"],
    "probe": [],
    "controller_time": 990.0,
    "timeout": 10,
}


def test_ports_that_answer_are_told_from_those_nobody_listens_on():
    with socket.create_server(("127.0.0.1", 0)) as open_one, socket.create_server(("127.0.0.1", 0)) as closed_one:
        open_port, closed_port = open_one.getsockname()[1], closed_one.getsockname()[1]
        closed_one.close()
        targets = [("node1", open_port), ("127.0.0.1", closed_port), ("127.0.0.1", 99999), ("no-such-host", 80)]
        names = {"getent ahostsv4 node1": Result(0, "127.0.0.1 STREAM node1\n"), "getent": Result(2)}
        found = reach.probe_ports(answers(names), [{"host": host, "port": port} for host, port in targets], 10)
    assert [(each["host"], each["port"]) for each in found] == targets
    assert [each["result"] for each in found] == ["open", "refused", "unreachable", "unresolved"]


IP4 = bytes.fromhex("45c00050 a1b20000 4001 0000 ac10256b ac10256a".replace(" ", ""))
TCP_TO_8080 = bytes.fromhex("c350 1f90 00000001 00000000 a002 faf0 0000 0000".replace(" ", ""))


def icmp4(kind=3, protocol=6):
    sent = bytes.fromhex("4500003c1c464000 40") + bytes([protocol]) + bytes.fromhex("0000 ac10256a ac10256b".replace(" ", ""))
    return IP4 + bytes([kind, 3, 0, 0, 0, 0, 0, 0]) + sent + TCP_TO_8080


def test_rejection_by_a_firewall_names_the_connection_that_it_is_about():
    sent6 = bytes.fromhex("6000000000140640" + "fd00000000000000000000000000000a" + "fd00000000000000000000000000000b") + TCP_TO_8080
    assert reach.rejected_target(icmp4(), socket.AF_INET) == ("172.16.37.107", 8080)
    assert reach.rejected_target(bytes([1, 4, 0, 0, 0, 0, 0, 0]) + sent6, socket.AF_INET6) == ("fd00::b", 8080)


@pytest.mark.parametrize(
    "packet", [icmp4(kind=8), icmp4(protocol=17), icmp4()[:50], IP4[:9], b""], ids=["ping", "udp", "cut", "header", "empty"]
)
def test_other_messages_reject_nothing(packet):
    assert reach.rejected_target(packet, socket.AF_INET) is None


def test_more_ports_than_fit_at_once_are_all_probed():
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
        targets = [{"host": f"127.0.{number // 250}.{number % 250 + 1}", "port": server.getsockname()[1]} for number in range(600)]
        results = [each["result"] for each in reach.probe_ports(answers({}), targets, 10)]
    assert (results[0], results[1:]) == ("open", ["refused"] * 599)


def places(tmp_path, proc):
    dev = tmp_path / "dev"
    dev.mkdir()
    for name in ("davinci0", "davinci1", "davinci_manager"):
        (dev / name).touch()
    paths = (str(tmp_path / name) for name in ("docker.pid", "daemon.json"))
    return gpustack_host_info.Places(str(proc), str(dev), *paths, zones=str(tmp_path / "zones"))


IP = (
    "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever\n"
    "2: enp1s0f0    inet 172.16.33.107/24 brd 172.16.33.255 scope global dynamic enp1s0f0\\       valid_lft 85942sec\n"
    "2: enp1s0f0    inet 172.16.33.200/32 scope global enp1s0f0\\       valid_lft forever preferred_lft forever\n"
    "2: enp1s0f0    inet6 fe80::42:1/64 scope link \\       valid_lft forever preferred_lft forever\n"
    "3: docker0    inet 172.17.0.1/16 brd 172.17.255.255 scope global docker0\\       valid_lft forever preferred_lft forever\n"
    "4: br-c32a13e0afa2    inet 172.18.0.1/16 brd 172.18.255.255 scope global br-c32a13e0afa2\\       valid_lft forever\n"
    "9: vlan7@bond0    inet 10.0.7.7/24 scope global vlan7\\       valid_lft forever preferred_lft forever\n"
)


def told(facts):
    """Without what differs from one machine to the next."""
    different = ("hostname", "machine", "python", "python_packaged", "python_requests", "root")
    return {key: value for key, value in facts.items() if key not in different}


def test_the_store_alone_is_read_without_asking_for_anything_else(proc):
    seen = store.read(answers({"sh -c": healthy_probe()}), "/data/models", str(proc), 20)
    assert (seen["answers"], seen["id"]) == (True, "5ba7")


@pytest.mark.parametrize(
    ("result", "status", "still"),
    [
        (Result(0, json.dumps([{"Name": "/gpustack", "State": {"Status": "running", "Running": True}}])), "running", False),
        (Result(0, json.dumps([{"Name": "/gpustack", "State": {"Status": "restarting"}}])), "restarting", False),
        (Result(0, json.dumps([{"Name": "/gpustack", "State": {"Status": "exited"}}])), "exited", True),
        (Result(1, "[]", "Error response from daemon: No such container: gpustack"), "missing", True),
        (Result(1, "[]", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."), None, False),
    ],
)
def test_the_container_is_looked_at_beside_the_store_which_verify_trusts_more_than_gpustack(proc, result, status, still):
    asked = {"path": "/data/models", "container": "gpustack", "timeout": 20}
    answering = answers({"sh -c": healthy_probe(), "docker container inspect gpustack": result})
    seen = model_store_info.gather(asked, answering, str(proc))["container"]
    assert (seen["name"], seen["status"], seen["stands_still"]) == ("gpustack", status, still)
    assert (seen["error"] is None) == (status is not None)


def test_no_container_is_looked_for_where_none_is_asked_for_or_the_store_is_dead(proc):
    asked = {"path": "/data/models", "container": None, "timeout": 20}
    assert model_store_info.gather(asked, answers({"sh -c": healthy_probe()}), str(proc))["container"] is None
    dead = answers({"sh -c": Result(-9, "", "", timed_out=True)})
    assert model_store_info.gather({**asked, "container": "gpustack"}, dead, str(proc))["container"] is None


def test_a_host_without_docker_is_described_without_asking_docker_on(tmp_path, proc):
    (proc / "net" / "tcp").write_text("")
    (proc / "net" / "tcp6").write_text("")
    runner = answers(
        {
            "ip -o": Result(127),
            "docker version": Result(127),
            "iptables": Result(127),
            "systemctl": Result(0, "LoadState=not-found\nActiveState=inactive\nUnitFileState=\n"),
            "sh -c": Result(-9, "", "", timed_out=True),
        }
    )
    facts = gpustack_host_info.gather(PARAMETERS, runner, 1000.0, places(tmp_path, proc))
    assert told(facts) == {
        "clock": {"epoch": 1000.0, "skew_s": 10.0},
        "docker": {
            "installed": False,
            "running": False,
            "server_version": None,
            "api_version": None,
            "root_dir": None,
            "root_free_mb": None,
            "live_restore": None,
            "swarm": None,
            "swarm_node": None,
            "log_driver": None,
            "default_runtime": None,
            "runtimes": [],
            "firewall_backend": None,
            "error": "the command docker is not there",
        },
        "container": None,
        "npu_holders": [],
        "models": {"workers": [], "nodes": [], "workloads": []},
        "listeners": [],
        "docker_chain": {"managed": True, "present": None, "running_containers": None},
        "docker_bridges": [],
        "image": {"name": "gpustack/gpustack:v0.7.1-npu", "present": None, "id": None, "repo_digests": [], "architecture": None},
        "images": {},
        "data": {
            "name": "gpustack-data",
            "exists": None,
            "path": None,
            "managed": None,
            "on_store": False,
            "cluster": None,
            "restoring": False,
            "upgrade": None,
            "worker_uuid": None,
            "worker_name": None,
        },
        "config": {"path": "/none/config.yaml", "exists": False, "mtime": None, "mode": None, "owner": None, "joins": None},
        "store": {
            "path": "/data/models",
            "real": "/data/models",
            "exists": None,
            "answers": False,
            "error": "no answer within 10 s",
            "is_mount": True,
            "source": "172.16.33.106:/data/models",
            "fstype": "nfs",
            "target": "/data/models",
            "free_mb": None,
            "root_fs": False,
            "writable": None,
            "id": None,
            "fs_id": None,
        },
        "firewalld": {"installed": False, "running": False, "enabled": False},
        "probes": [],
        "resolved": {"172.16.33.107": "172.16.33.107"},
        "addresses": None,
        "logs": {"driver": None, "max_size": None},
    }


def test_a_host_with_the_container_is_described(tmp_path, proc):
    make_process(proc, 700, 1, "gpustack", CGROUPS["v1"], [5001])
    ours = {
        **container(OURS, "gpustack", 690),
        "Image": "sha256:f41f",
        "Created": "1970-01-01T00:00:10Z",
        "Config": {"Image": "gpustack/gpustack:v0.7.1-npu", "Labels": {"ascend.gpustack.managed": "true"}},
    }
    privileged = container(OTHER, "monitor", 81, Privileged=True)
    version = {"Server": {"Version": "26.1.3", "ApiVersion": "1.45"}}
    info = {"DockerRootDir": "/var/lib/docker", "Swarm": {"LocalNodeState": "active", "NodeID": "n1"}}
    runner = answers(
        {
            "ip -o": Result(0, IP),
            "docker version": Result(0, json.dumps(version)),
            "docker info": Result(0, json.dumps(info)),
            "docker ps": Result(0, f"{OURS}\n{OTHER}\n"),
            "docker container inspect": Result(0, json.dumps([ours, privileged])),
            "docker image inspect gpustack/runtime:pause": Result(
                1, "[]", "Error response from daemon: No such image: gpustack/runtime:pause"
            ),
            "docker image inspect": Result(0, json.dumps([{"Id": "sha256:f41f", "RepoDigests": None, "Architecture": "arm64"}])),
            "docker volume inspect": Result(0, json.dumps([{"Mountpoint": VOLUME, "Labels": {"ascend.gpustack.managed": "true"}}])),
            f"readlink -m -- {VOLUME}": Result(0, f"{VOLUME}\n"),
            f"ls -A -- {VOLUME}": Result(0, "bin\ncache\npostgresql\nrun\ntoken\nworker_name\nworker_uuid\n"),
            f"head -c 256 {VOLUME}/worker_uuid": Result(0, "7798fc9a-c45a-4cac-823c-8dd9f62f87b6"),
            f"head -c 256 {VOLUME}/worker_name": Result(0, "atlas2"),
            "iptables": Result(1, "", "iptables: No chain/target/match by that name.\n"),
            "systemctl": Result(0, "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n"),
            "firewall-cmd": Result(0, "docker\n  interfaces: docker0\n"),
            "sh -c": healthy_probe(),
        }
    )
    (tmp_path / "zones").mkdir()
    (tmp_path / "zones" / "trusted.xml").write_text('<zone target="ACCEPT">\n  <interface name="docker0"/>\n</zone>\n')
    parameters = {**PARAMETERS, "images": ["gpustack/runtime:pause", "gpustack/runtime:health"]}
    facts = gpustack_host_info.gather(parameters, runner, 1000.0, places(tmp_path, proc))
    chosen = {key: facts[key] for key in ("image", "images", "data", "npu_holders", "listeners", "docker_chain")}
    assert chosen == {
        "image": {
            "name": "gpustack/gpustack:v0.7.1-npu",
            "present": True,
            "id": "sha256:f41f",
            "repo_digests": [],
            "architecture": "arm64",
        },
        "images": {
            "gpustack/runtime:pause": {
                "name": "gpustack/runtime:pause",
                "present": False,
                "id": None,
                "repo_digests": [],
                "architecture": None,
            },
            "gpustack/runtime:health": {
                "name": "gpustack/runtime:health",
                "present": True,
                "id": "sha256:f41f",
                "repo_digests": [],
                "architecture": "arm64",
            },
        },
        "data": {
            "name": "gpustack-data",
            "exists": True,
            "path": VOLUME,
            "managed": True,
            "on_store": False,
            "cluster": ["postgresql", "token"],
            "restoring": False,
            "upgrade": None,
            "worker_uuid": "7798fc9a-c45a-4cac-823c-8dd9f62f87b6",
            "worker_name": "atlas2",
        },
        "npu_holders": [{"container": "monitor", "npus": [0, 1], "via": "privileged"}],
        "listeners": [{"port": 8080, "pid": 700, "process": "gpustack", "container": "gpustack", "ours": True}],
        "docker_chain": {"managed": True, "present": False, "running_containers": ["gpustack", "monitor"]},
    }
    # Those of Docker's bridges are the same on every host.
    assert facts["addresses"] == ["127.0.0.1", "172.16.33.107", "172.16.33.200", "fe80::42:1", "10.0.7.7"]
    assert facts["docker"]["swarm_node"] == "n1"
    assert facts["docker_bridges"] == [{"interface": "docker0", "zone": "trusted", "default": True, "in_force": False}]
    assert (facts["container"]["name"], facts["container"]["managed"], facts["docker"]["root_free_mb"]) == (
        "gpustack",
        True,
        1024,
    )


@pytest.mark.parametrize(
    ("settings", "arguments", "max_size"),
    [
        ({}, ["dockerd", "-H", "fd://"], None),
        ({"log-opts": {"max-size": "10m"}}, [], "10m"),
        ({"log-opts": {"max-file": "3"}}, [], None),
        ({"log-opts": None}, ["dockerd", "--log-opt", "max-size=20m"], "20m"),
        ({"log-opts": ["max-size=1m"]}, ["dockerd", "--log-opt=max-size=30m"], "30m"),
    ],
)
def test_the_bound_of_the_engines_own_logs_is_read_from_its_settings_and_its_flags(settings, arguments, max_size):
    assert docker_logs.of_engine("json-file", settings, arguments) == {"driver": "json-file", "max_size": max_size}


def test_containers_that_cannot_be_read_are_not_taken_for_none(tmp_path, proc):
    version = {"Server": {"Version": "26.1.3", "ApiVersion": "1.45"}}
    runner = answers(
        {
            "ip -o": Result(0, IP),
            "docker version": Result(0, json.dumps(version)),
            "docker info": Result(0, json.dumps({"DockerRootDir": "/var/lib/docker"})),
            "docker ps": Result(-9, "", "", timed_out=True),
            "iptables": Result(0),
            "systemctl": Result(0, "LoadState=not-found\nActiveState=inactive\nUnitFileState=\n"),
            "sh -c": healthy_probe(),
        }
    )
    docker = gpustack_host_info.gather(PARAMETERS, runner, 1000.0, places(tmp_path, proc))["docker"]
    assert (docker["running"], docker["error"]) == (False, "docker ps did not answer within 10 s")
