"""A Swarm that hands out NPUs, told in the order in which an operator meets it; each test goes on where the one before ended."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import openai
import pytest
from conftest import HOSTS, LAB, ROOT, inspect, lab, run_playbook, wait_until
from load import PORT, load, spread

NET = os.environ.get("LAB_NET", "198.18.33")
ADDRESSES = {name: f"{NET}.{106 + number}" for number, name in enumerate(HOSTS)}
VLLM = "quay.io/ascend/vllm-ascend:v0.9.2rc1"
MODELS = {"qwen3": "Qwen/Qwen3-30B-A3B", "coder": "Qwen/Qwen2.5-Coder-32B-Instruct"}
PORTS = {"qwen3": 8001, "coder": 8002}
VENDOR = "/usr/local/bin/ascend-docker-runtime"
FOREIGN = {"log-opts": {"max-size": "100m"}, "registry-mirrors": ["https://mirror.example.com"], "labels": ["rack=r1"]}
FOREIGN |= {"runtimes": {"ascend": {"path": VENDOR, "runtimeArgs": []}}, "default-runtime": "ascend"}
DAEMON = "/etc/docker/daemon.json"
KEY, NEW_KEY = "sk-0123456789abcdef", "sk-fedcba9876543210"
# The lab's services, with another context length for one of them
CHANGED = [
    {"name": "qwen3", "model": MODELS["qwen3"], "npus": 4, "port": 8001, "max_model_len": 16384, "start_period": 60},
    {"name": "coder", "model": MODELS["coder"], "npus": 4, "port": 8002, "max_model_len": 32768, "start_period": 60},
]
# Of the gateways' health checks; with the third that fails a server is out.
CHECK_INTERVAL_S = 5
KILLED = "atlas5"


def play(*args: str, **variables):
    run = run_playbook("swarm", *args, variables={"vllm_stack_api_key": KEY, **variables})
    assert not [secret for secret in (KEY, NEW_KEY, "PRIVATE KEY-----") if secret in run.output]
    return run


def unchanged(run) -> bool:
    return {name: counts["changed"] for name, counts in run.recap.items()} == dict.fromkeys(HOSTS, 0)


def traces(host) -> str:
    """What a Swarm could leave on a host."""
    commands = (
        f"cat {DAEMON} 2>/dev/null | python3 -m json.tool --sort-keys 2>/dev/null",
        "ls -d /usr/local/lib/gpustack /etc/systemd/system/docker.service.d 2>/dev/null",
        "docker ps -aq; docker network ls --format '{{.Name}} {{.Driver}}'; docker volume ls -q",
        "docker info --format '{{.Swarm.LocalNodeState}} {{.DefaultRuntime}} {{json .GenericResources}}'",
    )
    return host.run("; ".join(commands)).stdout


def task_of(host, service: str) -> str:
    """The container of a service's task."""
    return host.check_output(f"docker ps -q --filter label=com.docker.swarm.service.name=vllm_{service}")


def npus_of(host, service: str) -> list[int]:
    """The NPUs that a service holds on a host, by its own word."""
    head = host.check_output(f"curl -sS -o /dev/null -D - http://127.0.0.1:{PORTS[service]}/v1/models")
    return [int(number) for number in re.search(r"X-NPUs: (\S+)", head)[1].split(",")]


def healthy(atlas) -> Counter:
    """How many tasks of each service run; with a health check they do only when it passed."""
    listed = atlas("atlas1").check_output("docker stack ps vllm --filter desired-state=running --format '{{.Name}} {{.CurrentState}}'")
    return Counter(line.split(".")[0] for line in listed.splitlines() if " Running " in line)


@pytest.fixture(scope="module")
def prepared(atlas):
    """Settings of others in Docker's file on one host, with Ascend's runtime as the default one, and the models in the store."""
    runtime = ROOT / "molecule/swarm/tests/ascend-docker-runtime"
    subprocess.run(["docker", "cp", runtime, f"{LAB}-atlas1:{VENDOR}"], check=True)
    atlas("atlas1").check_output(f"mkdir -p {' '.join(f'/data/models/{model}' for model in MODELS.values())}")
    atlas("atlas1").check_output(f"printf '%s' '{json.dumps(FOREIGN)}' >{DAEMON} && systemctl restart docker")
    return {name: traces(atlas(name)) for name in HOSTS}


@pytest.fixture(scope="module")
def refused(prepared, atlas):
    """A preflight over everything that can stand against a Swarm at once."""
    atlas("atlas2").check_output(f"printf '%s' '{{\"log-driver\": \"journald\",}}' >{DAEMON}")
    atlas("atlas3").check_output(f"printf '%s' '{{\"live-restore\": true}}' >{DAEMON}")
    atlas("atlas4").check_output(f"docker run -d --name train --network none --device /dev/davinci3 --entrypoint sleep {VLLM} infinity")
    run = play()
    for name in ("atlas2", "atlas3"):
        atlas(name).check_output(f"rm {DAEMON}")
    atlas("atlas4").check_output("docker rm -f train")
    return run


def test_what_stands_against_a_swarm_is_said_at_once_and_nothing_is_touched(refused, prepared, atlas):
    assert refused.rc == 2
    for sentence in (
        f"FAIL [docker_settings] atlas2: {DAEMON} is no valid JSON (",
        f'FAIL [docker_settings] atlas3: {DAEMON} has "live-restore": true, with which Docker refuses to join a Swarm',
        "FAIL [npu_holders] atlas4: the container train holds NPU 3; an NPU serves one container. "
        "Stop it; of what Swarm runs, remove the service: docker stop train",
    ):
        assert sentence in refused.text, refused.failure
    assert {name: traces(atlas(name)) for name in HOSTS} == prepared


def test_impossible_services_are_refused_before_anything_is_deployed(prepared):
    services = [{"name": "a", "model": "none", "npus": 8, "port": 8001}, {"name": "b", "model": "none", "npus": 4, "port": 8001}]
    run = play(vllm_stack_services=services)
    assert run.rc == 2
    told = "".join(line for line in run.output.splitlines() if line.startswith("FAIL [services]"))
    for words in ("port 8001 is asked for by", "need 12 NPUs", "the served_name none"):
        assert words in told, run.failure


@pytest.fixture(scope="module")
def checked(refused, prepared, atlas):
    run = play("--check", "--diff")
    return run, {name: traces(atlas(name)) for name in HOSTS}


def test_check_names_what_comes_and_changes_nothing(checked, prepared):
    run, after = checked
    assert run.rc == 0, run.failure
    assert after == prepared
    for text in ('+  "default-runtime": "gpustack-npu"', "NPU=Ascend910-7", '"rack=r1"', "Docker is restarted for its new settings"):
        assert text in run.output, text


@pytest.fixture(scope="module")
def swarm(checked):
    start = time.monotonic()
    run = play("-vv", "--diff")
    print(f"swarm.yml: {time.monotonic() - start:.0f} s")
    assert run.rc == 0, run.failure
    return run


def test_both_services_run_on_every_host(swarm, atlas):
    assert healthy(atlas) == {"vllm_qwen3": 5, "vllm_coder": 5, "vllm_gateway": 5}
    assert "SWMTKN-1-" not in swarm.output


def test_swarm_has_five_nodes_of_one_host_name_told_apart_by_label(swarm, atlas):
    ids = atlas("atlas1").check_output("docker node ls -q").split()
    nodes = json.loads(atlas("atlas1").check_output(f"docker node inspect {' '.join(ids)}"))
    assert {node["Description"]["Hostname"] for node in nodes} == {"localhost.localdomain"}
    labels = {node["Spec"]["Labels"]["gpustack.name"]: node["Spec"]["Labels"] for node in nodes}
    assert sorted(labels) == HOSTS
    assert labels["atlas4"] == {
        "gpustack.name": "atlas4",
        "gpustack.npu": "true",
        "gpustack.npu.chip": "910B4",
        "gpustack.npu.count": "8",
    }
    assert sorted(node["Spec"]["Role"] for node in nodes) == ["manager"] * 3 + ["worker"] * 2


@pytest.mark.parametrize("name", HOSTS)
def test_each_host_has_its_npus_split_between_the_services(swarm, atlas, name):
    held = {service: npus_of(atlas(name), service) for service in MODELS}
    assert sorted(map(sorted, held.values())) == [[0, 1, 2, 3], [4, 5, 6, 7]], held
    for service, npus in held.items():
        inside = atlas(name).check_output(f"docker exec {task_of(atlas(name), service)} sh -c 'ls -d /dev/davinci[0-9]*'").split()
        assert inside == [f"/dev/davinci{npu}" for npu in npus]


def test_ascends_own_runtime_gives_the_npus_where_it_is_registered(swarm, atlas):
    noted = atlas("atlas1").check_output("cat /run/ascend-docker-runtime.log").split()
    assert Counter(noted) == {"none": noted.count("none"), "0,1,2,3": 1, "4,5,6,7": 1} and "none" in noted
    assert "cat: " in atlas("atlas2").run("cat /run/ascend-docker-runtime.log").stderr


def test_shared_memory_has_its_size_and_the_store_is_read_only(swarm, atlas):
    host = atlas("atlas2")
    task = task_of(host, "coder")
    assert host.check_output(f"docker exec {task} sh -c 'df -m /dev/shm | tail -1'").split()[1] == str(16 * 1024)
    assert "Read-only" in host.run(f"docker exec {task} touch /models/x").stderr


def opens(host, *options: str, node: str = "/dev/davinci2") -> str:
    """What the kernel answers a container that opens a NPU's node."""
    program = f"import os; os.open('{node}', os.O_RDWR)"
    words = f'docker run --rm --network none {" ".join(options)} --entrypoint python3 {VLLM} -c "{program}"'
    return host.run(words).stderr.strip().splitlines()[-1]


def test_container_without_a_claim_can_open_no_npu(swarm, atlas):
    host = atlas("atlas3")
    assert "No such file" in opens(host)
    # A node alone is no right to open it.
    assert "Operation not permitted" in opens(host, "--volume /dev/davinci2:/dev/davinci2")
    assert "No such device or address" in opens(host, "--env ASCEND_VISIBLE_DEVICES=2")


def test_without_the_rule_of_the_device_cgroup_a_claim_opens_nothing(swarm, atlas):
    """So that the test above can fail."""
    host = atlas("atlas3")
    claim = "/usr/local/lib/gpustack/npu-claim"
    host.check_output(f"cp -p {claim} {claim}.kept && sed -i '/rules.append/d' {claim} && ! cmp {claim} {claim}.kept")
    try:
        assert "Operation not permitted" in opens(host, "--env ASCEND_VISIBLE_DEVICES=2")
    finally:
        host.check_output(f"mv {claim}.kept {claim}")


def test_broken_runtime_stops_no_ordinary_container_and_lets_no_claim_through(swarm, atlas):
    host = atlas("atlas3")
    claim = "/usr/local/lib/gpustack/npu-claim"
    host.check_output(f"cp -p {claim} {claim}.kept && echo 'raise SystemExit(139)' | tee {claim}.x >{claim}")
    try:
        assert host.run(f"docker run --rm --network none --entrypoint true {VLLM}").rc == 0
        assert host.run(f"docker run --rm --network none --env ASCEND_VISIBLE_DEVICES=2 --entrypoint true {VLLM}").rc != 0
    finally:
        host.check_output(f"mv {claim}.kept {claim} && rm {claim}.x")


def test_runtime_costs_an_ordinary_container_little(swarm, atlas):
    """Compared on one host, one after the other; of each kind the quickest start, which what else the machine does disturbs least."""
    seconds = {}
    for kind, options in (("runc", "--runtime runc"), ("no claim", ""), ("claim", "--env ASCEND_VISIBLE_DEVICES=0-7")):
        command = f"docker run --rm --network none {options} --entrypoint true {VLLM}"
        times = atlas("atlas4").check_output(f"for i in 1 2 3 4 5 6 7 8 9 10; do date +%s%N; {command}; date +%s%N; done").split()
        seconds[kind] = min(int(end) - int(start) for start, end in zip(times[::2], times[1::2])) / 1e9
    print({kind: f"{value * 1000:.0f} ms per start" for kind, value in seconds.items()})
    assert seconds["no claim"] < 1.5 * seconds["runc"]
    assert seconds["claim"] < 2 * seconds["runc"] + 0.3


def test_docker_keeps_what_others_wrote(swarm, atlas):
    settings = json.loads(atlas("atlas1").check_output(f"cat {DAEMON}"))
    wrapper = settings["runtimes"].pop("gpustack-npu")
    assert settings.pop("default-runtime") == "gpustack-npu"
    assert wrapper["runtimeArgs"] == ["--was=ascend", f"--vendor={VENDOR}", f"--next={VENDOR}", "--"]
    assert settings == {key: value for key, value in FOREIGN.items() if key != "default-runtime"} | {
        "node-generic-resources": [f"NPU=Ascend910-{npu}" for npu in range(8)]
    }


def test_second_run_changes_nothing(swarm):
    run = play("--diff")
    assert run.rc == 0, run.failure
    assert unchanged(run), run.recap


def test_gpustack_is_refused_beside_the_services(swarm):
    run = run_playbook("preflight", "--limit", "atlas1,atlas2")
    assert run.rc == 2
    assert re.search(r"FAIL \[npu_holders\] atlas1: the container vllm_(qwen3|coder)\.\S+ holds NPU 0, 1, 2, 3;", run.text), run.failure


def test_openai_client_is_served_by_any_host(swarm):
    for name, model in zip(("atlas2", "atlas5"), MODELS.values()):
        client = openai.OpenAI(base_url=f"http://{ADDRESSES[name]}:{PORT}/v1", api_key=KEY, timeout=60)
        assert {entry.id for entry in client.models.list()} == set(MODELS.values())
        messages = [{"role": "user", "content": "Hello"}]
        whole = client.chat.completions.create(model=model, messages=messages, max_tokens=8)
        parts = [part for part in client.chat.completions.create(model=model, messages=messages, max_tokens=8, stream=True) if part.choices]
        assert whole.choices[0].message.content == "".join(part.choices[0].delta.content or "" for part in parts)
        assert " NPUs " in whole.system_fingerprint
        with pytest.raises(openai.NotFoundError, match="Qwen/Qwen3-30B-A3B"):
            client.chat.completions.create(model="gpt-4", messages=messages)
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key=NEW_KEY).chat.completions.create(model=model, messages=messages)


@pytest.fixture(scope="module")
def loaded(swarm):
    """1,000 requests over the surviving hosts' gateways, while one host dies."""
    survivors = [address for name, address in ADDRESSES.items() if name != KILLED]
    return load(survivors, list(MODELS.values()), KEY, 1000, 24, lambda: lab("stop", KILLED))


def test_only_streams_of_a_host_that_dies_fail(loaded):
    answers, killed = loaded
    failed = [answer for answer in answers if answer.error]
    print(
        f"{len(answers)} answers, host killed at {killed:.1f} s, end at {max(answer.ended for answer in answers):.1f} s, failed: {failed}"
    )
    assert len(answers) == 1000
    assert all(answer.streamed and answer.served_by == ADDRESSES[KILLED] and answer.status == 200 for answer in failed), failed
    assert not [answer for answer in failed if answer.began > killed + 3 * CHECK_INTERVAL_S], failed


def test_servers_get_about_as_many_requests_each(loaded):
    answers, killed = loaded
    before = spread([answer for answer in answers if answer.ended < killed])
    after = spread([answer for answer in answers if answer.began > killed + 3 * CHECK_INTERVAL_S])
    print(before, after)
    assert len(before) == 5 and max(before.values()) <= 1.3 * min(before.values()), before
    assert len(after) == 4 and max(after.values()) <= 1.3 * min(after.values()), after


def test_host_that_comes_back_serves_again_without_a_hand(loaded, atlas):
    lab("start", KILLED)
    wait_until("all tasks are healthy", lambda: healthy(atlas) == {"vllm_qwen3": 5, "vllm_coder": 5, "vllm_gateway": 5}, pause=1)


def started(atlas, service: str) -> dict[str, str]:
    return {name: inspect(atlas(name), task_of(atlas(name), service))["State"]["StartedAt"] for name in HOSTS}


@pytest.fixture(scope="module")
def updated(loaded, atlas):
    before = {service: started(atlas, service) for service in MODELS}
    told = atlas("atlas1").check_output(
        "cat /dev/null; docker service inspect vllm_qwen3 --format '{{json .Spec.TaskTemplate.ContainerSpec.Args}}'"
    )
    run = play("--diff", vllm_stack_services=CHANGED)
    assert run.rc == 0, run.failure
    return before, {service: started(atlas, service) for service in MODELS}, run, told


def test_changed_argument_updates_one_service_one_host_at_a_time(updated, atlas):
    before, after, run, told = updated
    assert "32768" in told and "16384" in run.output
    assert after["coder"] == before["coder"]
    assert not set(after["qwen3"].values()) & set(before["qwen3"].values())
    moments = sorted(datetime.fromisoformat(moment[:26].rstrip("Z") + "+00:00") for moment in after["qwen3"].values())
    pauses = [(later - earlier).total_seconds() for earlier, later in zip(moments, moments[1:])]
    print("seconds between the starts", pauses)
    # A new task counts as running when it is healthy, which takes the stand-in two seconds at least.
    assert min(pauses) > 2


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """One for all hosts' addresses, with its key."""
    path = tmp_path_factory.mktemp("tls") / "gateway.pem"
    names = ",".join(f"IP:{address}" for address in ADDRESSES.values())
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=models"]
    subprocess.run([*words, "-addext", f"subjectAltName={names}", "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True)
    path.write_text((path.parent / "gateway.pem.crt").read_text() + path.read_text())
    return path


@pytest.fixture(scope="module")
def later(certificate):
    """Encryption, another key, and for one service replicas instead of a container on every host."""
    services = [{**service, "replicas": 3} if service["name"] == "coder" else service for service in CHANGED]
    return {"vllm_stack_services": services, "vllm_stack_tls": certificate.read_text(), "vllm_stack_api_key": NEW_KEY}


@pytest.fixture(scope="module")
def secured(updated, later, atlas):
    before = started(atlas, "qwen3")
    run = play("--diff", **later)
    assert run.rc == 0, run.failure
    return run, before


def test_replicas_are_on_hosts_of_their_own_and_the_other_service_runs_on(secured, atlas):
    run, before = secured
    assert (
        "service coder: removed and made anew, all its containers at once, since Swarm does not change global to replicated 3" in run.text
    )
    assert healthy(atlas) == {"vllm_qwen3": 5, "vllm_coder": 3, "vllm_gateway": 5}
    assert sorted(len(task_of(atlas(name), "coder").split()) for name in HOSTS) == [0, 0, 1, 1, 1]
    assert started(atlas, "qwen3") == before


def test_new_certificate_and_key_count_and_the_old_ones_are_gone(secured, certificate, atlas):
    trusted = openai.DefaultHttpxClient(verify=ssl.create_default_context(cafile=certificate))
    client = openai.OpenAI(base_url=f"https://{ADDRESSES['atlas3']}:{PORT}/v1", api_key=NEW_KEY, http_client=trusted)
    messages = [{"role": "user", "content": "Hello"}]
    assert [client.chat.completions.create(model=model, messages=messages).model for model in MODELS.values()] == list(MODELS.values())
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key=KEY).models.list()
    secrets = atlas("atlas1").check_output("docker secret ls --format '{{.Name}}'").split()
    assert sorted(name.rpartition("_")[0] for name in secrets) == ["vllm_gateway_api_key", "vllm_gateway_tls"]
    shown = atlas("atlas1").check_output("docker service inspect vllm_gateway; docker secret inspect $(docker secret ls -q)")
    shown += atlas("atlas1").check_output(f"docker inspect {task_of(atlas('atlas1'), 'gateway')}; ps -ef")
    assert not [secret for secret in (NEW_KEY, "PRIVATE KEY-----") if secret in shown]


# As the guide's stack: on a network of the Swarm's own
GUIDES = {"probe": {"image": VLLM, "entrypoint": ["sleep", "infinity"]}}
GUIDES["probe"]["deploy"] = {"mode": "global", "placement": {"constraints": ["node.labels.gpustack.name == atlas4"]}}


def test_deployment_that_fails_for_a_chain_that_firewalld_flushed_is_mended(secured, atlas):
    """The guide's failure, word for word: Docker, started before firewalld, does not notice its reload."""
    host, manager = atlas("atlas4"), atlas("atlas1")
    host.check_output("systemctl stop firewalld && systemctl restart docker && systemctl start firewalld && firewall-cmd --complete-reload")
    assert host.run("iptables -t nat -S DOCKER").rc != 0
    probe = f"docker run --rm --publish 8099:80 --entrypoint true {VLLM}"
    assert "No chain/target/match by that name" in host.run(probe).stderr
    # Swarm's own network for published ports may have made the bridge before the chain was gone; Docker is to make it now.
    away = "docker network disconnect --force docker_gwbridge gateway_ingress-sbox; docker network rm docker_gwbridge"
    wait_until("docker_gwbridge is gone", lambda: host.run(f"{away}; docker network inspect docker_gwbridge").rc != 0, pause=1)
    stack = json.dumps({"version": "3.8", "services": GUIDES})
    manager.check_output(f"echo '{stack}' | docker stack deploy --detach=true --resolve-image never --compose-file - guide")
    tasks = "docker stack ps guide --no-trunc --format '{{.CurrentState}} {{.Error}}'"
    wait_until("a task has failed", lambda: "Failed" in manager.check_output(tasks), pause=1)
    said = " ".join(manager.check_output(tasks).split())
    assert "error creating external connectivity network: Failed to Setup IP tables: Unable to enable SKIP DNAT rule" in said
    assert "iptables --wait -t nat -I DOCKER -i docker_gwbridge -j RETURN: iptables: No chain/target/match by that name." in said
    run = run_playbook("firewall", "--limit", "atlas4")
    assert run.rc == 0, run.failure
    assert "chain DOCKER is missing from the nat table; Docker is restarted, and with it the running containers: vllm_" in run.text
    assert host.run("iptables -t nat -S DOCKER").rc == 0
    assert host.run(probe).rc == 0
    wait_until("the same stack runs", lambda: manager.check_output(tasks).startswith("Running"), pause=1)
    manager.check_output("docker stack rm guide")
    wait_until("all tasks are healthy", lambda: healthy(atlas) == {"vllm_qwen3": 5, "vllm_coder": 3, "vllm_gateway": 5}, pause=1)


def reachable(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=3):
            return True
    except OSError:
        return False


def test_from_outside_of_the_cluster_only_public_ports_answer(secured, atlas):
    """This machine is none of the cluster's hosts; SSH is open by firewalld's own default."""
    assert {atlas(name).check_output("systemctl is-active firewalld") for name in HOSTS} == {"active"}
    asked, other = [name for name in HOSTS if task_of(atlas(name), "coder")][:2]
    ports = (22, PORT, 8001, 8002, 8404, 2377, 7946)
    with ThreadPoolExecutor(8) as pool:
        seen = dict(zip(ports, pool.map(lambda port: reachable(ADDRESSES[asked], port), ports)))
    assert seen == {port: port in (22, PORT) for port in ports}
    inside = "; ".join(f"curl -s -o /dev/null -m 3 http://{ADDRESSES[asked]}:{port}/ && echo {port}" for port in (8001, 8002, 8404))
    assert atlas(other).run(inside).stdout.split() == ["8001", "8002", "8404"]


def test_dead_node_is_forgotten_by_name(secured, later, atlas):
    lab("stop", KILLED)
    wait_until("the Swarm has it as down", lambda: "Down" in atlas("atlas1").check_output("docker node ls"), pause=1)
    run = play("--limit", "!" + KILLED, docker_swarm_remove=[KILLED], **later)
    assert run.rc == 0, run.failure
    assert f"{KILLED}: removed" in run.output
    assert len(atlas("atlas1").check_output("docker node ls -q").split()) == 4
    lab("start", KILLED)


def test_removal_leaves_the_hosts_as_they_were(secured, prepared, atlas):
    host = atlas("atlas2")
    host.check_output("docker create --name made-then gpustack/runtime:pause")
    run = play("--diff", docker_swarm_state="absent")
    assert run.rc == 0, run.failure
    # Docker has given it the runtime that was the default.
    assert "atlas2: the Swarm's runtime stays" in run.text and "made-then; make them anew, and run this again." in run.text
    host.check_output("docker start made-then && docker rm -f made-then")
    run = play(docker_swarm_state="absent")
    assert run.rc == 0, run.failure
    assert {name: traces(atlas(name)) for name in HOSTS} == prepared
