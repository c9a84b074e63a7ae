"""The cluster that site.yml makes of five empty servers, asked of GPUStack, Docker and the hosts, not of the roles."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass

import pytest
import small_model
import yaml
from conftest import HOSTS, IMAGE, ROOT, Run, api_of, inspect, run_playbook, tls_of, wait_until

ON_THE_CONTROLLER = {"assert", "debug", "fail", "import_role", "include_role", "include_tasks", "set_fact", "set_stats"}
ON_THE_CONTROLLER.add("validate_argument_spec")
SECRETS = {"HF_TOKEN": "hf_VeryPrivate0815", "HTTPS_PROXY": "http://pruser:PrPass4711@198.18.0.9:3128"}
PASSWORD = "PrPass4711"
URL = "https://127.0.0.1:8080"
VARIABLES = {
    "gpustack_runners": [small_model.RUNNER],
    "gpustack_env": {**SECRETS, "TZ": "Asia/Shanghai"},
}
# Its NPU 0 is in Alarm.
SEVEN = "atlas3"
NPUS = {name: list(range(1 if name == SEVEN else 0, 8)) for name in HOSTS}
# Files of GPUStack that hold a secret
FILES = ("token", "*_token", "jwt_secret_key", "postgres_root_pass", "config.yaml", "initial_admin_password", "tls.key")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> dict[str, str]:
    return tls_of("atlas1", tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def variables(certificate) -> dict:
    return {**VARIABLES, **certificate}


@pytest.fixture(scope="module")
def inventory(tmp_path_factory) -> list[str]:
    path = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    path.write_text(yaml.safe_dump({"all": {"hosts": {SEVEN: {"ascend_driver_check_expected_npus": 7}}}}))
    return ["-i", str(path)]


@pytest.fixture(scope="module")
def site(inventory, variables, atlas) -> Run:
    atlas(SEVEN).check_output("npu-sim set health 0 Alarm")
    run = run_playbook("site", *inventory, "-vvv", "--diff", variables=variables)
    assert run.rc == 0, run.failure
    return run


@pytest.fixture(scope="module")
def api(site, atlas):
    token = atlas("atlas1").check_output("docker exec gpustack cat /var/lib/gpustack/token")
    return api_of(atlas("atlas1"), token, URL)


@pytest.fixture(params=HOSTS)
def each(request, atlas, site):
    return atlas(request.param)


def test_five_workers_are_ready_with_the_npus_that_are_well(site, workers):
    assert "5 of 5 workers ready, 39 NPUs, GPUStack v2.3.0" in site.text
    found = workers()
    assert {name: worker["state"] for name, worker in found.items()} == dict.fromkeys(HOSTS, "ready")
    npus = {name: sorted(npu["index"] for npu in worker["status"]["gpu_devices"]) for name, worker in found.items()}
    assert npus == NPUS
    chips = {(npu["name"], npu["memory"]["total"]) for worker in found.values() for npu in worker["status"]["gpu_devices"]}
    assert chips == {("910B4", 32 * 2**30)}


def test_workers_that_share_a_hostname_have_their_own_names_and_addresses(each, workers):
    assert each.check_output("hostname") == "localhost.localdomain"
    assert len({worker["ip"] for worker in workers().values()}) == 5


def test_container_has_what_a_node_of_it_needs(each):
    container = inspect(each)
    config = container["HostConfig"]
    assert container["Config"]["Image"] == IMAGE
    assert (config["NetworkMode"], config["Privileged"], config["RestartPolicy"]["Name"]) == ("host", True, "unless-stopped")
    mounts = {mount["Destination"]: mount for mount in container["Mounts"]}
    assert mounts["/var/lib/gpustack"]["Name"] == "gpustack-data"
    assert mounts["/models"]["Source"] == mounts["/data/models"]["Source"] == "/data/models"
    assert mounts["/var/run/docker.sock"]["RW"]
    read_only = ["/usr/local/dcmi", "/usr/local/bin/npu-smi", "/usr/local/Ascend/driver", "/etc/ascend_install.info"]
    assert [mounts[path]["RW"] for path in read_only] == [False] * 4
    assert container["State"]["Health"]["Status"] == "healthy"


def test_downloaded_models_land_on_the_shared_store(site, atlas):
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


def test_run_that_prints_everything_prints_no_secret(site, token, certificate):
    key = certificate["gpustack_tls_key"].splitlines()[1]
    assert len(token) == 32
    assert [secret for secret in (token, PASSWORD, SECRETS["HF_TOKEN"], key) if secret in site.output] == []
    assert not re.search(r"worker_token\W+\w", site.output)


def test_request_from_localhost_needs_credentials(site, atlas):
    status = atlas("atlas1").check_output(f"curl -ks -o /dev/null -w '%{{http_code}}' {URL}/v2/workers")
    assert status == "401"


def test_initial_password_works_as_told(site, atlas):
    tell = "docker exec gpustack cat /var/lib/gpustack/initial_admin_password"
    assert tell in site.text
    form = f"-d username=admin --data-urlencode password@- {URL}/auth/login"
    assert atlas("atlas1").check_output(f"{tell} | tr -d '\\n' | curl -ksS -o /dev/null -w '%{{http_code}}' {form}") == "200"


def test_database_is_closed_to_all_but_gpustack(site, atlas):
    listening = atlas("atlas1").check_output("ss -Hltn sport = :5432")
    assert [line.split()[3] for line in listening.splitlines()] == ["127.0.0.1:5432"]


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


def test_second_run_changes_nothing_with_at_most_20_module_executions_per_worker(site, inventory, variables, playbook):
    # Every public boolean as AWX would send it; off is what all of them mean here.
    off = dict.fromkeys(public_booleans(), "false")
    run = playbook("site", *inventory, variables={**off, **variables}, ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
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


@dataclass(frozen=True)
class Model:
    """One that runs: its host, and the name of its container."""

    host: object
    container: str

    def inside(self, command: str):
        return self.host.run(f"docker exec {self.container} bash -c {shlex.quote(command)}")


@pytest.fixture(scope="module")
def models(site, atlas, api) -> dict[str, Model]:
    """A model on the server, and one on the host of which GPUStack may not use the first NPU, by their hosts."""
    hosts = {name: atlas(name) for name in ("atlas1", SEVEN)}
    names = small_model.deploy(api, hosts, {"atlas1": 5, SEVEN: 2}, any_version=(SEVEN,))
    return {host: Model(hosts[host], name) for host, name in names.items()}


def test_models_answer_and_stream(models, atlas, token):
    for host in models:
        answer = small_model.chat(atlas("atlas1"), token, f"tiny-{host}", URL)
        assert answer.count("data: {") > 2 and "data: [DONE]" in answer, answer


def test_model_without_a_version_gets_the_newest_engine_that_the_driver_carries(models):
    """Driver 25.2.0 is listed for CANN 9.1 at most, and GPUStack's newest engine is of CANN 9.2."""
    asked_for = models[SEVEN].host.check_output("docker exec gpustack grep -rhoE 'gpustack/runner:[a-z0-9.-]+' /var/lib/gpustack/log")
    assert set(asked_for.split()) == {"gpustack/runner:cann9.1-910b-vllm0.30.0"}


def test_model_takes_the_chip_that_it_was_given_and_never_one_in_alarm(models):
    """The chips that the model's process has locked, by the simulated driver, not by what GPUStack reports."""
    held = {host: model.host.check_output("npu-sim holders") for host, model in models.items()}
    print(held)
    assert {host: sorted(set(re.findall(r"^(?:NPU )?(\d+)", text, flags=re.M))) for host, text in held.items()} == {
        "atlas1": ["5"],
        SEVEN: ["2"],
    }


@pytest.mark.parametrize("host", ["atlas1", SEVEN])
def test_no_secret_of_the_cluster_is_found_from_inside_a_models_container(models, token, certificate, atlas, host):
    model, server = models[host], atlas("atlas1")
    secrets = [token, PASSWORD, SECRETS["HF_TOKEN"], certificate["gpustack_tls_key"].splitlines()[1]]
    for file in ("jwt_secret_key", "postgres_root_pass", "initial_admin_password", "worker_token"):
        found = server.run(f"docker exec gpustack cat /var/lib/gpustack/{file}").stdout.strip()
        secrets += [found] if found else []
    assert len(secrets) >= 7
    described = json.dumps(inspect(model.host, model.container))
    seen = model.inside("cat /proc/1/environ; cat /proc/mounts").stdout
    assert "ASCEND_RT_VISIBLE_DEVICES=" in seen
    assert [secret for secret in secrets if secret in described or secret in seen] == []
    names = " -o ".join(f"-name '{name}'" for name in FILES)
    assert model.inside(f"find / -xdev -path /proc -prune -o \\( {names} \\) -path '*gpustack*' -print").stdout == ""
    pattern = "|".join(re.escape(secret) for secret in secrets)
    searched = model.inside(f"grep -rlE '{pattern}|Qwen2ForCausalLM' /etc /root /tmp /run /srv /var /data /models 2>/dev/null")
    # The model's own file is found, and nothing else.
    assert searched.stdout.split() == [f"{small_model.STORE}/config.json", "/models/tiny/config.json"]


def test_model_logs_in_to_no_database(models):
    """PostgreSQL of the official image lets root in from 127.0.0.1, and a model's container is on the host's network."""
    ask = (
        "exec 3<>/dev/tcp/127.0.0.1/5432; printf '\\0\\0\\0\\x25\\0\\3\\0\\0user\\0root\\0database\\0gpustack\\0\\0' >&3; "
        "head -c 9 <&3 | od -An -tx1"
    )
    answer = models["atlas1"].inside(ask).stdout.split()
    # R, its length, and what is asked for: 0 would be nothing at all, 10 is SCRAM.
    assert answer[0] == "52" and answer[5:9] == ["00", "00", "00", "0a"], answer


@pytest.mark.long
def test_renewed_certificate_is_served_and_stops_no_model(models, inventory, variables, atlas, tmp_path, playbook):
    server = atlas("atlas1")
    shown = f"openssl s_client -connect {URL.removeprefix('https://')} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    before = server.check_output(shown), {name: inspect(model.host, model.container)["Id"] for name, model in models.items()}
    renewed = {**variables, **tls_of("atlas1", tmp_path)}
    run = playbook("site", *inventory, variables=renewed)
    assert run.rc == 0, run.failure
    assert server.check_output(shown) != before[0]
    states = {name: inspect(model.host, model.container) for name, model in models.items()}
    assert {name: state["Id"] for name, state in states.items()} == before[1]
    assert [state["State"]["Running"] for state in states.values()] == [True, True]
    # For the tests that follow
    variables.update(renewed)


def test_store_that_goes_and_comes_back_needs_no_hand(models, atlas):
    """No GPUStack runs on a host without the store, and it starts when the store is back."""
    host = atlas("atlas4")
    host.check_output("mount -t tmpfs none /data/models && docker restart gpustack")
    try:
        told = "The model store /data/models is not there yet"
        wait_until("the container looks for the store", lambda: told in host.check_output("docker logs --since 60s gpustack 2>&1"))
        assert host.run("pgrep -f '[/]opt/venvs/gpustack/bin'").rc != 0
    finally:
        host.check_output("umount /data/models")
    healthy = "docker inspect --format '{{.State.Health.Status}}' gpustack"
    wait_until("GPUStack runs again", lambda: host.check_output(healthy) == "healthy", pause=1)


def test_host_that_sees_another_store_is_refused_by_name(site, atlas, playbook):
    right, wrong = atlas("atlas1").check_output("cat /data/models/.gpustack-store-id"), "5" * 32
    host = atlas("atlas5")
    host.check_output(f"mount -t tmpfs none /data/models && echo {wrong} >/data/models/.gpustack-store-id")
    try:
        run = playbook("storage")
    finally:
        host.check_output("umount /data/models")
    assert run.rc == 2
    told = f"is another store ({wrong}) than on atlas1, atlas2, atlas3 … ({right}); expected one store on all hosts."
    assert f"atlas5: /data/models {told} Mount the same one everywhere." in run.text
    assert {name: counts["failed"] for name, counts in run.recap.items()} == {**dict.fromkeys(HOSTS, 0), "atlas5": 1}
