"""What a node's container and its configuration file become, from the variables: held to what the release before made of the same ones,
since Docker is compared strictly and whatever differs would replace the container of every cluster there is."""

from __future__ import annotations

import json
import pathlib
import re
import stat
import subprocess

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation
from ansible_collections.ascend.gpustack.plugins.plugin_utils.given import _of_roles, _trusted

ROOT = pathlib.Path(__file__).resolve().parents[2]
# As the roles at 0adbf73 made them; the store at /models, which Docker then refused, as those after them
RECORDED = pathlib.Path(__file__).parent / "samples/node_spec.json"
# As they were proven to run
RECORDED_V2 = pathlib.Path(__file__).parent / "samples/node_spec_v2.json"

NPUS = {
    "devices": ["/dev/davinci0", "/dev/davinci1", "/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"],
    "mounts": ["/usr/local/dcmi", "/usr/local/bin/npu-smi", "/usr/local/Ascend/driver", "/etc/hccn.conf"],
    "problems": [],
    "chip": "910B4",
}
STORE = {"id": "0123456789abcdef0123456789abcdef", "fstype": "nfs", "source": "10.0.0.1:/data/models"}
EXTERNAL = {"id": None, "fstype": "gpfs", "source": "/dev/gpfs0"}
HOSTS = {"atlas1": {"ansible_host": "10.0.0.1"}, "atlas2": {"ansible_host": "10.0.0.2"}}
# The server's, as a host of the run has read it
READ = {"__gpustack_token_read": {"token": "fedcba9876543210fedcba9876543210"}}
TOKEN = {
    "hostvars": {"atlas1": {**HOSTS["atlas1"], "__gpustack_token_holder": "atlas2"}, "atlas2": {**HOSTS["atlas2"], **READ}},
}
PROXIES = {"HTTP_PROXY": "http://proxy:3128", "no_proxy": "example.org", "TZ": "Asia/Shanghai", "OMP_NUM_THREADS": 4}
OPTIONS = {
    "shm_size": "16g",
    "ulimits": ["nofile:65535:65535"],
    "security_opts": ["seccomp=unconfined"],
    "log_driver": "json-file",
    "log_options": {"max-size": "10m"},
    "etc_hosts": {"filer": "10.0.0.9"},
    "privileged": True,
}
SETTINGS = {"debug": True, "worker_port": 11150, "huggingface_token": "hf_abc", "system_reserved": {"ram": 4, "vram": 1}}
TLS = {"ssl_certfile": "/etc/ssl/gpustack.crt", "ssl_keyfile": "/etc/ssl/gpustack.key", "jwt_secret_key": "0123"}

# Name to role, groups of the host, Docker's API, the store, and variables
CASES = {
    "server that works": ("server", "both", "1.45", STORE, {}),
    "server that works, Docker 24": ("server", "both", "1.43", STORE, {}),
    "server that works, store without id": ("server", "both", "1.45", EXTERNAL, {"gpustack_store_type": "external"}),
    "server alone": ("server", "server", "1.45", STORE, {"gpustack_bootstrap_password": "Bootstrap-1234"}),
    "server alone, Docker 24": ("server", "server", "1.43", EXTERNAL, {}),
    "server with a token": ("server", "both", "1.45", STORE, {"gpustack_token": "abcdef"}),
    "server made by hand": ("server", "both", "1.45", STORE, {"__gpustack_handmade_token": {"token": "by-hand"}}),
    "server of another port": ("server", "both", "1.45", STORE, {"gpustack_port": "9090", "gpustack_server_config": SETTINGS}),
    "server with TLS": ("server", "both", "1.45", STORE, {"gpustack_server_config": TLS}),
    "server and its port by its settings": (
        "server",
        "server",
        "1.45",
        STORE,
        {"gpustack_server_config": {"port": 8443, "host": "0.0.0.0"}},
    ),
    "worker": ("worker", "worker", "1.45", STORE, TOKEN),
    "worker, Docker 24": ("worker", "worker", "1.43", STORE, TOKEN),
    "worker, store without id": ("worker", "worker", "1.45", EXTERNAL, {**TOKEN, "gpustack_models_dir": "/data/my models"}),
    "worker with a token": ("worker", "worker", "1.45", STORE, {"gpustack_token": "abcdef"}),
    "worker before the token is known": ("worker", "worker", "1.45", STORE, {}),
    "worker with settings": ("worker", "worker", "1.45", STORE, {**TOKEN, "gpustack_worker_config": SETTINGS}),
    "worker of a server elsewhere": ("worker", "worker", "1.45", STORE, {**TOKEN, "gpustack_server_url": "https://gpustack.example.com"}),
    "worker without NPUs": (
        "worker",
        "worker",
        "1.45",
        STORE,
        {**TOKEN, "ascend_driver_check_npus": {**NPUS, "devices": [], "mounts": []}},
    ),
    "worker behind proxies": ("worker", "worker", "1.45", STORE, {**TOKEN, "gpustack_env": PROXIES}),
    "worker with environment": ("worker", "worker", "1.45", STORE, {**TOKEN, "gpustack_env": {"A": 1, "B": "x y", "C": "true"}}),
    "worker with volumes": (
        "worker",
        "worker",
        "1.45",
        STORE,
        {**TOKEN, "gpustack_volumes": ["/etc/pki:/etc/pki:ro"], "gpustack_data_volume": "/srv/gpustack"},
    ),
    "worker with options": ("worker", "worker", "1.45", STORE, {**TOKEN, "gpustack_container_options": OPTIONS}),
    "worker with the store at /models": (
        "worker",
        "worker",
        "1.45",
        STORE,
        {**TOKEN, "gpustack_models_dir": "/models", "gpustack_cache_dir": "/var/lib/gpustack/cache"},
    ),
}
GROUPS = {
    "both": {"gpustack_server": ["atlas2"], "gpustack_worker": ["atlas1", "atlas2"]},
    "server": {"gpustack_server": ["atlas2"], "gpustack_worker": ["atlas1"]},
    "worker": {"gpustack_server": ["atlas1"], "gpustack_worker": ["atlas1", "atlas2"]},
}


def variables_of(role: str, groups: str, api: str, store: dict, given: dict) -> dict:
    names = {"inventory_hostname": "atlas2", "groups": GROUPS[groups], "ansible_check_mode": False, "omit": "__omitted__"}
    facts = {
        "__gpustack_host": {"docker": {"api_version": api}, "store": store, "resolved": {"10.0.0.2": "10.0.0.2"}},
        "__gpustack_cluster_addresses": ["10.0.0.2", "10.0.0.1"],
        "ascend_driver_check_npus": NPUS,
        "ansible_host": "10.0.0.2",
        "_gpustack_role": role,
    }
    return {**_of_roles(str(ROOT / "roles")), **names, **facts, "hostvars": HOSTS, **given}


V0_7 = {"gpustack_version": "0.7.1"}
V2 = {"gpustack_version": "2.3.0"}
SECRETS = {
    "gpustack_env": {
        "HF_TOKEN": "hf_0123456789abcdefghijklmn",
        "HTTPS_PROXY": "http://operator:pass@proxy:3128",
        "TZ": "Asia/Shanghai",
    },
    "gpustack_volumes": ["/etc/pki/gpustack:/etc/pki/gpustack:ro", "/srv/keys/ops_token:/run/ops:ro", "/srv/lora:/srv/lora"],
    "gpustack_server_config": {"ssl_certfile": "/etc/pki/gpustack/server.crt", "ssl_keyfile": "/etc/pki/gpustack/server.key"},
}
CHIPS = [
    {"logic_id": number, "npu_id": number, "chip_id": 0, "name": "910B4", "memory_total_mb": 32768} for number in range(8) if number != 2
]
ALARM = {
    **NPUS,
    "devices": [*(f"/dev/davinci{chip['logic_id']}" for chip in CHIPS), "/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"],
    "chips": CHIPS,
    "unwell": ["NPU 2 health is Alarm (npu-smi info -t health -i 2)"],
}
CERTIFIED = {"gpustack_tls_certificate": "certificate", "gpustack_tls_key": "key", "gpustack_tls_ca": "authority"}
CASES_V2 = {
    "server alone": ("server", "server", "1.45", STORE, {**V2, "gpustack_token": "0123456789abcdef0123456789abcdef"}),
    "server that works": ("server", "both", "1.45", STORE, {**V2, "gpustack_token": "0123456789abcdef0123456789abcdef"}),
    "server that works, with secrets and TLS": ("server", "both", "1.45", STORE, {**V2, **SECRETS}),
    "worker": ("worker", "worker", "1.45", STORE, {**TOKEN, **V2}),
    "worker, Docker 24, store without id": ("worker", "worker", "1.43", EXTERNAL, {**TOKEN, **V2}),
    "worker with Ascend's runtime": (
        "worker",
        "worker",
        "1.45",
        STORE,
        {**TOKEN, **V2, "gpustack_container_options": {"runtime": "ascend", "security_opts": ["seccomp=unconfined"]}},
    ),
    "worker with an NPU in Alarm": ("worker", "worker", "1.45", STORE, {**TOKEN, **V2, "ascend_driver_check_npus": ALARM}),
    "server of 2.2.3": ("server", "server", "1.45", STORE, {"gpustack_version": "2.2.3"}),
    "server that works, with a certificate": ("server", "both", "1.45", STORE, {**V2, **CERTIFIED}),
    "worker of a server with a certificate": ("worker", "worker", "1.45", STORE, {**TOKEN, **V2, **CERTIFIED, "gpustack_tls_key": ""}),
    "worker of 2.2.3": ("worker", "worker", "1.45", STORE, {**TOKEN, "gpustack_version": "2.2.3"}),
}

# How a run goes about it, which is no part of what Docker has
OF_THE_RUN = ("state", "healthy_wait_timeout", "restart")


def arguments(templar: Templar, module: str) -> dict:
    """What the first task of container.yml that calls a module gives to it."""
    tasks = yaml.safe_load((ROOT / "roles/gpustack/tasks/container.yml").read_text())
    found = templar.template(_trusted(next(task[module] for task in tasks if module in task)))
    return {key: value for key, value in found.items() if value != "__omitted__"}


def container(templar: Templar) -> dict:
    """What Docker has to make."""
    found = arguments(templar, "ascend.gpustack.gpustack_container")["definition"]
    return {key: value for key, value in found.items() if value != "__omitted__" and key not in OF_THE_RUN}


def rendered(case: tuple) -> dict:
    variables = {**variables_of(*case), "__gpustack_plan": {}}
    variables["__gpustack_definition"] = Templar(loader=DataLoader(), variables=variables).template(
        _trusted("{{ _gpustack_spec.container }}")
    )
    templar = Templar(loader=DataLoader(), variables=variables)
    file = arguments(templar, "ascend.gpustack.gpustack_config")
    # Empty ones are none.
    beside = {each["path"]: each["content"] for each in file.pop("files") if each["content"]}
    return json.loads(json.dumps({"container": container(templar), "file": file, **({"beside": beside} if beside else {})}))


@pytest.mark.parametrize("case", CASES)
def test_a_container_that_the_release_before_made_stays_as_it_is(case):
    recorded = json.loads(RECORDED.read_text())[case]
    *node, given = CASES[case]
    made = rendered((*node, {**V0_7, **given}))
    assert made == recorded
    # A file's lines have an order.
    assert json.dumps(made["file"]) == json.dumps(recorded["file"])


@pytest.mark.parametrize("case", CASES_V2)
def test_a_container_of_the_next_generation_stays_as_it_is(case):
    assert rendered(CASES_V2[case]) == json.loads(RECORDED_V2.read_text())[case]


@pytest.mark.parametrize("case", ["server that works, with secrets and TLS", "worker"])
def test_a_new_cluster_gets_the_next_generation(case):
    *node, given = CASES_V2[case]
    assert rendered((*node, {key: value for key, value in given.items() if key not in V2})) == json.loads(RECORDED_V2.read_text())[case]


def version(host: dict, **more: dict) -> str:
    """What the role says where the inventory asks for none."""
    read = {"docker": {"api_version": "1.45"}, "store": STORE, "resolved": {"10.0.0.2": "10.0.0.2"}}
    variables = {**variables_of("worker", "worker", "1.45", STORE, more), **({"__gpustack_host": {**read, **host}} if host else {})}
    return Templar(loader=DataLoader(), variables=variables).template(_trusted("{{ gpustack_version }} {{ gpustack_image }}"))


def test_what_runs_stays_where_the_inventory_asks_for_no_version():
    usual = generation.DEFAULT.release
    assert version({}).split()[0] == version({"container": None}).split()[0] == usual
    mine = {"container": {"managed": True, "version": "2.2.3"}}
    assert version(mine) == "2.2.3 gpustack/gpustack:v2.2.3"
    assert version({"container": {"managed": False, "version": "2.2.3"}}).split()[0] == usual
    # A worker that joins gets what the server runs, read in this run or told by GPUStack.
    server = {"hostvars": {**HOSTS, "atlas1": {**HOSTS["atlas1"], "ascend_driver_check_host": mine}}}
    assert version({"container": None}, **server).split()[0] == "2.2.3"
    assert version({"container": None}, __gpustack_cluster={"version": "v2.3.0"}).split()[0] == "2.3.0"
    assert version(mine, gpustack_version="2.3.0").split()[0] == "2.3.0"


def test_server_made_by_hand_is_taken_over_to_what_preflight_has_said_whatever_it_answers():
    by_hand = {"container": {"managed": False, "version": None, "image": "gpustack/gpustack:v2.2.3"}}
    read = {**HOSTS["atlas1"], "ascend_driver_check_host": by_hand}
    given = {"hostvars": {**HOSTS, "atlas1": read}, "__gpustack_cluster": {"version": "v2.2.3"}}
    assert version(by_hand, **given).split()[0] == generation.DEFAULT.release
    assert version({"container": None}, **given).split()[0] == generation.DEFAULT.release
    unlabelled = {**HOSTS["atlas1"], "ascend_driver_check_host": {"container": {"managed": True, "version": None}}}
    assert version({"container": None}, **{**given, "hostvars": {**HOSTS, "atlas1": unlabelled}}).split()[0] == "2.2.3"


BOUND = {"max-size": "100m", "max-file": "3"}
ENDLESS = {"driver": "json-file", "max_size": None}


def logged(logs: dict, **options: object) -> tuple:
    """The log driver, its options, and how those are compared that a container has already."""
    role, groups, api, store, given = CASES["worker"]
    host = {**variables_of(role, groups, api, store, {})["__gpustack_host"], "logs": logs}
    made = rendered((role, groups, api, store, {**given, "__gpustack_host": host, "gpustack_container_options": options}))["container"]
    return made.get("log_driver"), made.get("log_options"), made["comparisons"]


def test_a_new_container_does_not_fill_the_disk_with_its_log_and_a_running_one_is_left_alone():
    assert logged(ENDLESS) == ("json-file", BOUND, {"*": "strict", "log_driver": "ignore", "log_options": "ignore"})
    # Whoever names the driver gets another one replaced by it, and not for its bound.
    assert logged(ENDLESS, log_driver="json-file") == ("json-file", BOUND, {"*": "strict", "log_options": "ignore"})
    assert logged({"driver": "local", "max_size": None}, log_driver="json-file")[1] == BOUND


@pytest.mark.parametrize(
    "logs", [{}, {"driver": None, "max_size": None}, {"driver": "json-file", "max_size": "10m"}, {"driver": "journald"}]
)
def test_where_docker_bounds_logs_or_has_another_driver_nothing_is_said_of_them(logs):
    assert logged(logs) == (None, None, {"*": "strict"})


def test_what_the_inventory_says_of_logs_counts_and_needs_no_driver_named():
    given = {"max-size": "10m"}
    assert logged(ENDLESS, log_driver="local", log_options=given) == ("local", given, {"*": "strict"})
    assert logged(ENDLESS, log_driver="journald") == ("journald", None, {"*": "strict"})
    assert logged(ENDLESS, log_options=given) == ("json-file", given, {"*": "strict", "log_driver": "ignore"})
    assert logged(ENDLESS, log_options={}) == ("json-file", {}, {"*": "strict", "log_driver": "ignore"})


MIRRORED = "GPUSTACK_RUNTIME_DEPLOY_MIRRORED_"
SOCKET = "/var/run/docker.sock:/var/run/docker.sock"


def test_a_server_that_does_not_work_is_not_privileged_and_has_no_socket_of_docker():
    container = rendered(CASES_V2["server alone"])["container"]
    assert "privileged" not in container and SOCKET not in container["volumes"]
    assert not any(name.startswith(MIRRORED) for name in container["env"])


@pytest.mark.parametrize("case", ["server that works", "worker", "worker with Ascend's runtime"])
def test_a_node_that_works_makes_containers_of_models_like_its_own(case):
    container = rendered(CASES_V2[case])["container"]
    assert container["privileged"] is True and container["devices"] == [] and SOCKET in container["volumes"]
    assert container["env"][f"{MIRRORED}NAME"] == container["name"]


def test_no_secret_of_the_cluster_reaches_a_model():
    made = rendered(CASES_V2["server that works, with secrets and TLS"])["container"]
    kept = made["env"][f"{MIRRORED}DEPLOYMENT_IGNORE_VOLUMES"].split(";")
    handed_on = [volume for volume in made["volumes"] if volume.split(":")[1] not in kept and volume != SOCKET]
    assert handed_on == [
        *("/data/models:/data/models", "/data/models:/models"),
        *(f"{path}:{path}:ro" for path in NPUS["mounts"]),
        "/srv/lora:/srv/lora",
    ]
    assert made["env"][f"{MIRRORED}DEPLOYMENT_IGNORE_ENVIRONMENTS"].split(";") == ["HF_TOKEN", "HTTPS_PROXY"]


def test_no_key_reaches_a_model_of_a_server_that_works_and_no_worker_has_one():
    made = rendered(CASES_V2["server that works, with a certificate"])
    assert made["beside"]["/etc/gpustack/managed/tls/server.key"] == "key\n"
    assert "/etc/gpustack/managed/tls:/etc/gpustack/managed/tls:ro" in made["container"]["volumes"]
    assert "/etc/gpustack/managed/tls" in made["container"]["env"][f"{MIRRORED}DEPLOYMENT_IGNORE_VOLUMES"].split(";")
    assert made["file"]["config"]["tls_port"] == 8080
    worker = rendered(CASES_V2["worker of a server with a certificate"])
    assert worker["beside"] == {"/etc/gpustack/managed/trust/ca.crt": "authority\n"}
    assert worker["file"]["config"]["server_url"] == "https://10.0.0.1:8080"


def test_a_server_of_the_generation_before_serves_its_certificate_at_its_port():
    made = rendered(("server", "both", "1.45", STORE, {**V0_7, **CERTIFIED}))
    assert made["container"]["healthcheck"]["test"][1].startswith(
        "curl -fsSk --noproxy '*' -m 4 -o /dev/null https://127.0.0.1:8080/healthz"
    )
    assert made["file"]["config"]["port"] == 8080 and made["file"]["config"]["ssl_keyfile"] == "/etc/gpustack/managed/tls/server.key"
    worker = rendered(("worker", "worker", "1.45", STORE, {**TOKEN, **V0_7, **CERTIFIED}))
    assert worker["container"]["env"] == {"SSL_CERT_FILE": "/etc/gpustack/managed/trust/ca.crt"}
    assert worker["beside"] == {"/etc/gpustack/managed/trust/ca.crt": "authority\n"}


def test_a_store_with_a_telling_name_is_not_kept_from_models():
    role, groups, api, store, given = CASES_V2["worker"]
    made = rendered((role, groups, api, store, {**given, "gpustack_models_dir": "/srv/private/models"}))["container"]
    assert "/srv/private/models" not in made["env"][f"{MIRRORED}DEPLOYMENT_IGNORE_VOLUMES"].split(";")


def test_what_the_inventory_keeps_from_models_is_kept_besides():
    name = f"{MIRRORED}DEPLOYMENT_IGNORE_VOLUMES"
    role, groups, api, store, given = CASES_V2["worker"]
    made = rendered((role, groups, api, store, {**given, "gpustack_env": {name: "/srv/private"}}))["container"]["env"]
    assert made[name].endswith(";/etc/gpustack/config.yaml;/var/lib/gpustack;/srv/private")


def test_an_npu_in_alarm_never_gets_a_model_and_the_others_keep_their_numbers():
    made = rendered(CASES_V2["worker with an NPU in Alarm"])
    devices = made["file"]["config"]["resources"]["gpu_devices"]
    assert [device["index"] for device in devices] == [0, 1, 3, 4, 5, 6, 7]
    assert devices[2] == {
        "vendor": "ascend",
        "name": "910B4",
        "arch_family": "Ascend910B4",
        "index": 3,
        "device_index": 3,
        "device_chip_index": 0,
        "memory": {"total": 32 << 30},
    }
    # GPUStack tells a model's container the places of its NPUs among all that the worker sees.
    assert made["container"]["privileged"] is True and made["container"]["devices"] == []
    assert "resources" not in rendered(CASES_V2["worker"])["file"]["config"]


def test_tls_is_where_people_look_for_it():
    made = rendered(CASES_V2["server that works, with secrets and TLS"])
    assert made["file"]["config"]["tls_port"] == 8080
    # The same without TLS; another name than the certificate's would be refused there.
    port = made["file"]["config"]["port"]
    assert f"http://127.0.0.1:{port}/readyz" in made["container"]["healthcheck"]["test"][1]


def test_ascends_own_runtime_brings_the_drivers_files():
    made = rendered(CASES_V2["worker with Ascend's runtime"])["container"]
    assert [volume for volume in made["volumes"] if "Ascend/driver" in volume or "dcmi" in volume or "npu-smi" in volume] == [
        "/usr/local/Ascend/driver:/usr/local/Ascend/driver:ro"
    ]
    assert (made["runtime"], made["env"]["ASCEND_VISIBLE_DEVICES"]) == ("ascend", "0")
    assert made["security_opts"] == ["seccomp=unconfined", "label=disable"]


def test_the_image_becomes_process_one_and_closes_its_database_to_models(tmp_path):
    """The words before it are run here on a database's files as pack/Dockerfile leaves them."""
    script = rendered(CASES_V2["server alone"])["container"]["entrypoint"][2]
    assert script.endswith('&& exec /usr/bin/entrypoint.sh "$@"')
    for name in ("etc/postgresql/main", "var/lib/gpustack", "run"):
        (tmp_path / name).mkdir(parents=True)
    hba, conf = tmp_path / "etc/postgresql/main/pg_hba.conf", tmp_path / "etc/postgresql/main/postgresql.conf"
    hba.write_text(
        "local all  postgres            peer\nhost  all  root  127.0.0.1/32  trust\nhost  all  all   0.0.0.0/0     scram-sha-256\n"
    )
    conf.write_text("#listen_addresses = 'localhost'\nport = 5432\nlisten_addresses='*'\n")
    words = script.partition("; ")[2].partition("exit 1; }; ")[2].replace('exec /usr/bin/entrypoint.sh "$@"', 'cat "$PGPASSFILE"; id')
    for path in ("/etc/postgresql", "/var/lib/gpustack", "/run/"):
        words = words.replace(path, f"{tmp_path}{path}")
    first = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=True)
    again = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=True)
    password = (tmp_path / "var/lib/gpustack/postgres_root_pass").read_text()
    assert re.fullmatch("[0-9a-f]{32}", password)
    assert first.stdout == again.stdout and first.stdout.splitlines()[:2] == [
        f"127.0.0.1:*:*:root:{password}",
        f"localhost:*:*:root:{password}",
    ]
    assert "trust" not in hba.read_text() and "0.0.0.0" not in hba.read_text()
    assert conf.read_text().splitlines()[1:] == ["port = 5432", "listen_addresses='127.0.0.1'"]
    # PostgreSQL's own user reads the first two.
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (hba, conf, tmp_path / "run/gpustack-pgpass")]
    assert modes == [0o644, 0o644, 0o600]
