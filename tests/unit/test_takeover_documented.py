"""Containers started by the commands of GPUStack 2's documentation and page, as docker describes them, and what it takes to have the
collection's in their place."""

from __future__ import annotations

import json

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import token
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.takeover import old as old_container
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result
from ansible_collections.ascend.gpustack.plugins.modules import gpustack_takeover_info
from ansible_collections.ascend.gpustack.plugins.plugin_utils.given import _trusted
from ansible_collections.ascend.gpustack.plugins.plugin_utils.node import node_spec
from test_node_spec import HOSTS, ROOT, STORE, variables_of
from test_takeover_containers import HOST_CONFIG, ID, IMAGE_ID, Docker, bind, extra, volume

TOKEN = "0123456789abcdef0123456789abcdef"
PAGE_TOKEN = "gpustack_0123456789abcdef_0123456789abcdef0123456789abcdef"
PASSWORD = "Bootstrap-1234"
URL = "http://172.16.33.106:8080"
ENTRYPOINT = ["/usr/bin/entrypoint.sh"]
IGNORED = "/var/run/cdi;/usr/local/Ascend/ascend-toolkit"
IMAGE_ENV = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "GPUSTACK_RUNTIME_DEPLOY_MIRRORED_DEPLOYMENT=true",
    f"GPUSTACK_RUNTIME_DEPLOY_MIRRORED_DEPLOYMENT_IGNORE_VOLUMES={IGNORED}",
]
IMAGE = {
    "Id": IMAGE_ID,
    "RepoTags": ["gpustack/gpustack:v2.3.0"],
    "Config": {"Env": IMAGE_ENV, "Entrypoint": ENTRYPOINT, "Cmd": None, "Volumes": {"/var/lib/gpustack": {}}},
}
SOCKET = bind("/var/run/docker.sock")
DEVICES = [f"/dev/davinci{number}" for number in range(8)] + ["/dev/davinci_manager"]
NPUS = {"devices": DEVICES, "mounts": ["/usr/local/dcmi", "/usr/local/Ascend/driver"], "problems": [], "chip": "910B4"}
DATA = "/var/lib/docker/volumes/gpustack-data/_data"


def described(name, arguments=(), env=(), mounts=None, **host_config):
    """`docker container inspect` of what the image's own entry point runs."""
    return {
        "Id": ID,
        "Path": ENTRYPOINT[0],
        "Args": list(arguments),
        "State": {"Status": "running", "Running": True, "ExitCode": 0, "Pid": 4711},
        "Image": IMAGE_ID,
        "Name": f"/{name}",
        "HostConfig": {**HOST_CONFIG, "IpcMode": "private", "SecurityOpt": None, "Devices": [], **host_config},
        "Mounts": [volume("gpustack-data", "/var/lib/gpustack")] if mounts is None else mounts,
        "Config": {
            "Hostname": ID[:12],
            "User": "",
            "Env": [*env, *IMAGE_ENV],
            "Cmd": list(arguments) or None,
            "Image": "gpustack/gpustack:latest",
            "WorkingDir": "",
            "Entrypoint": ENTRYPOINT,
            "Labels": {},
        },
    }


def server(arguments=(), env=(f"GPUSTACK_TOKEN={TOKEN}",), publish=("8080:80", "10161:10161"), **more):
    """docker run -d --name gpustack-server --restart unless-stopped -p 8080:80 -p 10161:10161 -v gpustack-data:/var/lib/gpustack …"""
    ports = {f"{inside}/tcp": [{"HostIp": "", "HostPort": outside}] for outside, inside in (each.split(":") for each in publish)}
    return described("gpustack-server", arguments, env, **{"NetworkMode": "bridge", "PortBindings": ports, **more})


def worker(arguments=(), env=(), token=TOKEN, mounts=(), **more):
    """What GPUStack's page gives for Ascend: the token and the container's name in the environment, its server and address as arguments."""
    return described(
        "gpustack-worker",
        ["--server-url", URL, "--worker-ip", "172.16.33.107", *arguments],
        [
            "GPUSTACK_RUNTIME_DEPLOY_MIRRORED_NAME=gpustack-worker",
            f"GPUSTACK_TOKEN={token}",
            "ASCEND_VISIBLE_DEVICES=0",
            *env,
        ],
        mounts=[SOCKET, volume("gpustack-data", "/var/lib/gpustack"), bind("/data/models"), *mounts],
        **{"Privileged": True, "SecurityOpt": ["label=disable"], **more},
    )


def desired(role, works=True, version="2.3.0", options=None, given_token="", token=TOKEN, drop=(), upgrade=False, **node):
    """What the collection would run with usual variables, and with others of the node."""
    options = options or {}
    whole = {
        "version": version,
        "role": role,
        "works": works,
        "config_path": "/etc/gpustack/config.yaml",
        "local_url": "http://127.0.0.1:8080",
        "port": 8080,
        "server_url": URL if role == "worker" else "",
        "worker_name": "atlas1",
        "worker_ip": "172.16.33.107",
        "settings": {},
        "token": token,
        "bootstrap_password": "",
        "data_volume": "gpustack-data",
        "cache_dir": "/data/models/gpustack-cache",
        "models_dir": "/data/models",
        "store": {"id": "0123", "fstype": "nfs"},
        "npus": NPUS if works else {"devices": [], "mounts": [], "problems": []},
        "volumes": [],
        "env": {},
        "registry": {"name": "", "username": "", "password": ""},
        "tls": {"certificate": "", "key": "", "ca": ""},
        "driver": "25.2.0",
        "addresses": [],
        "container": f"gpustack-{role}",
        "options": options,
        "docker_api": "1.45",
        **node,
    }
    spec = node_spec(whole)
    return old_container.Desired(
        role=role,
        works=works,
        data_volume=whole["data_volume"],
        models_dir=whole["models_dir"],
        version=version,
        server_url=URL,
        config=spec["config"],
        secret_keys=frozenset(key for key, value in spec["secrets"].items() if value),
        has_token=bool(given_token),
        token=given_token or token,
        env=spec["env"],
        volumes=tuple(spec["container"]["volumes"]),
        options=options,
        privileged=bool(spec["container"].get("privileged")),
        devices=tuple(spec["container"]["devices"]),
        image="gpustack/gpustack:v2.3.0",
        drop=frozenset(drop),
        upgrade=upgrade,
    )


class Host(Docker):
    """A docker command, and ls of the host. files: of the container, with None for those that it lacks; listed: directories of the host."""

    def __init__(self, container, files=None, version="gpustack 2.3.0", listed=None):
        super().__init__(container, version, image=IMAGE)
        self.files = {"/var/lib/gpustack/token": f"{TOKEN}\n", **(files or {})}
        self.listed = listed or {}

    def __call__(self, argv, timeout):
        if argv[0] == "ls":
            found = self.listed.get(argv[-1])
            return Result(2, "", "ls: cannot access") if found is None else Result(0, "\n".join(found))
        return super().__call__(argv, timeout)


def examined(container, wanted, **host):
    return gpustack_takeover_info.examine(container, wanted, Host(container, **host), 10, 120)


NAMED = {"/var/lib/gpustack/worker_name": "npu01"}


def test_the_documented_server_may_be_taken_over_once_its_network_is_given_up():
    env = (f"GPUSTACK_TOKEN={TOKEN}", f"GPUSTACK_BOOTSTRAP_PASSWORD={PASSWORD}")
    found = examined(server(env=env), desired("server", works=False))
    assert found["extras"] == [extra("--network", "option", "--network=bridge --publish=10161:10161 --publish=8080:80")]
    assert found["problems"] == [
        "The container gpustack-server was made by hand with what the variables do not say: --network=bridge --publish=10161:10161"
        ' --publish=8080:80. Give them up with gpustack_takeover_drop: ["--network"].'
    ]
    found = examined(server(env=env), desired("server", works=False, drop=["--network"]))
    assert (found["problems"], found["role"], found["worker_name"], found["token_source"]) == ([], "server", None, "environment")
    assert found["notes"] == [
        "The data in gpustack-data is kept.",
        "The cluster token in its environment stays the same.",
        "Models in /var/lib/gpustack/cache stay there; new ones go to /data/models/gpustack-cache.",
        "Its image gpustack/gpustack:latest becomes gpustack/gpustack:v2.3.0.",
        "The bootstrap password is not carried over: once the user admin exists, it has no effect.",
        "Given up: --network=bridge --publish=10161:10161 --publish=8080:80.",
    ]
    assert TOKEN not in json.dumps(found) and PASSWORD not in json.dumps(found)


def test_the_page_s_worker_may_be_taken_over():
    found = examined(worker(), desired("worker"), files=NAMED)
    assert (found["problems"], found["role"], found["worker_name"]) == ([], "worker", "npu01")
    assert [each["name"] for each in found["extras"] if not each["covered"]] == []
    assert found["notes"] == [
        "The data in gpustack-data is kept.",
        "Its worker is called npu01 now.",
        "Models in /var/lib/gpustack/cache stay there; new ones go to /data/models/gpustack-cache.",
        "Its image gpustack/gpustack:latest becomes gpustack/gpustack:v2.3.0.",
    ]
    assert TOKEN not in json.dumps(found)


def test_the_page_s_runtime_is_one_decision():
    container = worker(Runtime="ascend")
    assert examined(container, desired("worker"), files=NAMED)["problems"] == [
        "The container gpustack-worker was made by hand with what the variables do not say: --runtime=ascend. Set"
        ' gpustack_container_options.runtime to the same, or give them up with gpustack_takeover_drop: ["--runtime"].'
    ]
    assert examined(container, desired("worker", options={"runtime": "ascend"}), files=NAMED)["problems"] == []


def test_a_worker_with_all_its_settings_in_the_environment_is_read_like_one_with_arguments():
    env = [f"GPUSTACK_SERVER_URL={URL}", f"GPUSTACK_TOKEN={TOKEN}", "GPUSTACK_WORKER_NAME=npu01", "GPUSTACK_WORKER_METRICS_PORT=11151"]
    container = described("gpustack-worker", [], env, Privileged=True, SecurityOpt=["label=disable"])
    found = examined(container, desired("worker"))
    assert (found["role"], found["worker_name"], found["token_source"]) == ("worker", "npu01", "environment")
    assert (
        found["problems"]
        == [
            "The container gpustack-worker was made by hand with what the variables do not say: -e GPUSTACK_WORKER_METRICS_PORT=11151. Set"
            " gpustack_worker_config.worker_metrics_port to the same, or give them up with gpustack_takeover_drop:"
            ' ["GPUSTACK_WORKER_METRICS_PORT"].'
        ]
        or "worker_metrics_port" in found["problems"][0]
    )
    assert examined(container, desired("worker", settings={"worker_metrics_port": 11151}))["problems"] == []


def test_the_address_that_the_documentation_gives_a_worker_is_the_inventory_s():
    found = examined(worker(["--advertise-address", "172.16.33.107"]), desired("worker"), files=NAMED)
    assert found["problems"] == []
    found = examined(worker(["--advertise-address", "10.9.9.9"]), desired("worker"), files=NAMED)
    assert "--advertise-address 10.9.9.9. Set gpustack_worker_config.advertise_address to the same" in found["problems"][0]


def test_a_registry_is_said_by_its_own_variables():
    name = "GPUSTACK_RUNTIME_DEPLOY_DEFAULT_CONTAINER_REGISTRY"
    env = [f"{name}_USERNAME=me", f"{name}_PASSWORD=xyzzy1"]
    container = worker(["--system-default-container-registry", "quay.io"], env)
    found = examined(container, desired("worker"), files=NAMED)
    assert "Set gpustack_registry, gpustack_registry_password, gpustack_registry_username to the same" in found["problems"][0]
    assert "xyzzy1" not in json.dumps(found)
    registry = {"name": "quay.io", "username": "me", "password": "xyzzy1"}
    assert examined(container, desired("worker", registry=registry), files=NAMED)["problems"] == []


def test_what_is_kept_from_models_by_hand_is_said_by_a_list_that_has_it():
    name = "GPUSTACK_RUNTIME_DEPLOY_MIRRORED_DEPLOYMENT_IGNORE_VOLUMES"
    container = worker(env=[f"{name}=/var/run/cdi;/secret"])
    container["Config"]["Env"] = [entry for entry in container["Config"]["Env"] if entry != f"{name}={IGNORED}"]
    assert name in examined(container, desired("worker"), files=NAMED)["problems"][0]
    assert examined(container, desired("worker", env={name: "/secret"}), files=NAMED)["problems"] == []


def test_settings_that_do_nothing_any_more_are_not_asked_for():
    found = examined(worker(["--enable-hf-transfer"], ["GPUSTACK_FORCE_AUTH_LOCALHOST=true"]), desired("worker"), files=NAMED)
    assert found["problems"] == []
    assert [each["name"] for each in found["extras"]] == ["--worker-ip", "/data/models", "/var/run/docker.sock", "--privileged"]


@pytest.mark.parametrize(
    ("publish", "settings", "port", "expected"),
    [
        (("80:80",), {}, 8080, 80),
        (("80:80", "8080:80"), {}, 8080, None),
        (("80:80", "443:443"), {"ssl_certfile": "/c.crt", "ssl_keyfile": "/c.key"}, 443, None),
        (("80:80", "9443:443"), {"ssl_certfile": "/c.crt", "ssl_keyfile": "/c.key"}, 443, 9443),
    ],
    ids=["another", "one of two", "TLS", "another with TLS"],
)
def test_the_port_of_a_server_is_the_one_that_users_ask(publish, settings, port, expected):
    env = [f"GPUSTACK_TOKEN={TOKEN}", *(f"GPUSTACK_{key.upper()}={value}" for key, value in settings.items())]
    drop = ["--network"]
    found = examined(server(env=env, publish=publish), desired("server", works=False, port=port, settings=settings, drop=drop))
    told = [
        f"Users and workers reach the container gpustack-server on port {expected}; the collection would serve on port {port}. Set"
        f" gpustack_port: {expected}, or add '--port' to gpustack_takeover_drop and tell the users."
    ]
    assert found["problems"] == (told if expected else [])


def test_a_server_with_tls_on_the_host_s_network_is_asked_at_its_tls_port():
    tls = ["--tls-port", "8443", "--ssl-certfile", "/c.crt", "--ssl-keyfile", "/c.key"]
    settings = {"ssl_certfile": "/c.crt", "ssl_keyfile": "/c.key"}
    container = server(tls, publish=(), NetworkMode="host")
    assert examined(container, desired("server", works=False, port=8443, settings=settings))["problems"] == []
    found = examined(container, desired("server", works=False, port=443, settings=settings))
    assert "on port 8443; the collection would serve on port 443" in found["problems"][0]


def test_data_in_a_directory_of_the_host_is_to_be_named():
    container = server(mounts=[bind("/var/lib/gpustack-server", "/var/lib/gpustack")], publish=("8080:80",))
    assert examined(container, desired("server", works=False, drop=["--network"]))["problems"] == [
        "The data of the container gpustack-server is in /var/lib/gpustack-server; the collection would mount gpustack-data. Set"
        " gpustack_data_volume: /var/lib/gpustack-server for this host."
    ]
    wanted = desired("server", works=False, drop=["--network"], data_volume="/var/lib/gpustack-server")
    assert examined(container, wanted)["problems"] == []


def test_a_server_whose_clusters_were_made_on_its_page_needs_a_token_of_its_own():
    none = {"/var/lib/gpustack/token": ""}
    refused = [
        "The container gpustack-server has no cluster token: its clusters were made on its page, and each has a token of its own, which"
        " GPUStack takes for no other. Set gpustack_token to a new one (openssl rand -hex 16); GPUStack then makes a cluster with that for"
        " the inventory's workers, beside those that there are."
    ]
    container = server(env=())
    found = examined(container, desired("server", works=False, drop=["--network"], token=""), files=none)
    assert (found["problems"], found["token_source"]) == (refused, None)
    # GPUStack would end at its start.
    found = examined(container, desired("server", works=False, drop=["--network"], given_token=PAGE_TOKEN), files=none)
    assert found["problems"] == refused
    found = examined(container, desired("server", works=False, drop=["--network"], given_token=TOKEN), files=none)
    assert found["problems"] == []
    assert "GPUStack makes a cluster with gpustack_token, beside those that were made on its page." in found["notes"]


def test_a_token_in_the_data_is_the_cluster_s():
    found = examined(server(env=()), desired("server", works=False, drop=["--network"], token=""))
    assert (found["problems"], found["token_source"]) == ([], "file")


def test_a_worker_of_another_cluster_is_refused_without_its_token_being_told():
    found = examined(worker(token=PAGE_TOKEN), desired("worker"), files=NAMED)
    assert found["problems"] == [
        "The container gpustack-worker has another token than the inventory's cluster, so its worker npu01 is in another cluster, and"
        " GPUStack takes no worker from one into the other. Delete that worker on GPUStack's page, set gpustack_data_volume to a new one"
        " for this host, so that it joins anew, and add '--token' to gpustack_takeover_drop; or leave the host as it is."
    ]
    assert TOKEN not in json.dumps(found) and PAGE_TOKEN not in json.dumps(found)
    # Before the server's is known
    assert examined(worker(token=PAGE_TOKEN), desired("worker", token=""), files=NAMED)["problems"] == []


def test_models_downloaded_into_the_data_stay_where_models_containers_find_them():
    listed = {f"{DATA}/cache/huggingface": [], f"{DATA}/cache/model_scope": ["Qwen"]}
    found = examined(worker(), desired("worker"), files=NAMED, listed=listed)
    assert found["problems"] == [
        f"The container gpustack-worker has downloaded models into {DATA}/cache, among its data, which models' containers do not get from"
        f" the collection's. Add {DATA}/cache:/var/lib/gpustack/cache to gpustack_volumes for this host, or add '--cache-dir' to"
        " gpustack_takeover_drop and have them downloaded anew on GPUStack's page."
    ]
    wanted = desired("worker", volumes=[f"{DATA}/cache:/var/lib/gpustack/cache"])
    assert examined(worker(), wanted, files=NAMED, listed=listed)["problems"] == []
    # The page's own directory for them
    container = worker(mounts=[bind("/data/cache", "/var/lib/gpustack/cache")])
    found = examined(container, desired("worker"), files=NAMED, listed=listed)
    assert found["problems"] == [
        "The container gpustack-worker was made by hand with what the variables do not say: -v /data/cache:/var/lib/gpustack/cache. Set"
        ' gpustack_volumes to the same, or give them up with gpustack_takeover_drop: ["/var/lib/gpustack/cache"].'
    ]
    wanted = desired("worker", volumes=["/data/cache:/var/lib/gpustack/cache"])
    assert examined(container, wanted, files=NAMED, listed=listed)["problems"] == []


def test_a_server_that_works_too_is_not_made_one_alone_unasked():
    container = server(["--enable-worker", "--port=8080"], publish=(), NetworkMode="host")
    assert examined(container, desired("server", works=False), files=NAMED)["problems"] == [
        "The container gpustack-server is the worker npu01 too, which models may name; the inventory wants no worker on this host. Put it"
        " into the group gpustack_worker too, or add '--worker-name' to gpustack_takeover_drop."
    ]
    assert examined(container, desired("server", works=False, drop=["--worker-name"]), files=NAMED)["problems"] == []
    privileged = server(
        ["--enable-worker", "--port", "8080"],
        publish=(),
        NetworkMode="host",
        Privileged=True,
        SecurityOpt=["label=disable"],
        mounts=[SOCKET, volume("gpustack-data", "/var/lib/gpustack")],
    )
    assert examined(privileged, desired("server"), files=NAMED)["problems"] == []


def test_a_server_that_was_to_have_no_worker_gets_one_by_decision():
    container = server(["--disable-worker", "--port", "8080"], publish=(), NetworkMode="host")
    assert "Set the inventory's groups to the same, or give them up" in examined(container, desired("server"))["problems"][0]


def test_a_container_of_a_model_is_no_gpustack():
    container = worker()
    container["Config"]["Labels"] = {"runtime.gpustack.ai/workload": "tiny-050qc"}
    assert examined(container, desired("worker"), files=NAMED)["problems"] == [
        "The container gpustack-worker is one of a model's, which GPUStack made, and no GPUStack itself; expected another name for this"
        " collection's. Set gpustack_container_name."
    ]


def test_an_earlier_release_of_the_generation_is_upgraded_when_that_is_allowed():
    found = examined(worker(), desired("worker"), files=NAMED, version="gpustack 2.1.0")
    assert found["problems"] == [
        "The container gpustack-worker runs GPUStack 2.1.0; 2.3.0 would change its data for good. Set gpustack_takeover_upgrade: true to"
        " upgrade it (its data is copied first)."
    ]
    assert examined(worker(), desired("worker", upgrade=True), files=NAMED, version="gpustack 2.1.0")["problems"] == []


@pytest.mark.parametrize(("before", "keep"), [("0.6.2", "Set gpustack_version: 0.7.1 to keep it, or"), ("3.0.0", "Leave the host out")])
def test_a_version_that_is_not_deployed_is_no_way_round_the_generations(before, keep):
    found = examined(worker(), desired("worker", upgrade=True), files=NAMED, version=f"gpustack {before}")
    assert [sentence for sentence in found["problems"] if keep in sentence and f"runs GPUStack {before}" in sentence]


def test_the_documented_compose_file_s_server_keeps_its_volume_and_leaves_its_project():
    container = server(
        publish=("80:80",),
        NetworkMode="docker-compose_default",
        mounts=[volume("docker-compose_gpustack-data", "/var/lib/gpustack")],
    )
    container["Config"]["Labels"] = {"com.docker.compose.project": "docker-compose", "com.docker.compose.service": "gpustack-server"}
    assert examined(container, desired("server", works=False))["problems"] == [
        "The container gpustack-server was made by hand with what the variables do not say: --network=docker-compose_default"
        ' --publish=80:80. Give them up with gpustack_takeover_drop: ["--network"].',
        "Users and workers reach the container gpustack-server on port 80; the collection would serve on port 8080. Set"
        " gpustack_port: 80, or add '--port' to gpustack_takeover_drop and tell the users.",
        "The data of the container gpustack-server is in docker-compose_gpustack-data; the collection would mount gpustack-data. Set"
        " gpustack_data_volume: docker-compose_gpustack-data for this host.",
    ]
    wanted = desired("server", works=False, port=80, data_volume="docker-compose_gpustack-data", drop=["--network"])
    found = examined(container, wanted)
    assert found["problems"] == []
    assert "It was made by docker compose (project docker-compose): do not run that project again." in found["notes"]


def test_a_worker_with_its_settings_in_a_file_among_its_data_is_read_there():
    container = worker(token=TOKEN)
    container["Config"]["Cmd"] = ["--config-file=/var/lib/gpustack/config.yaml"]
    container["Config"]["Env"] = [entry for entry in container["Config"]["Env"] if not entry.startswith("GPUSTACK_TOKEN=")]
    text = f"server_url: {URL}\ntoken: {PAGE_TOKEN}\nworker_name: npu01\n"
    found = examined(container, desired("worker", token=PAGE_TOKEN), files={"/var/lib/gpustack/config.yaml": text})
    assert (found["problems"], found["role"], found["worker_name"], found["token_source"]) == ([], "worker", "npu01", "config")
    found = examined(container, desired("worker"), files={"/var/lib/gpustack/config.yaml": text})
    assert "has another token than the inventory's cluster" in found["problems"][0]
    assert PAGE_TOKEN not in json.dumps(found)


def test_npus_listed_by_hand_are_not_told_lost_by_a_container_that_has_all():
    devices = [{"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rwm"} for path in DEVICES]
    found = examined(worker(Privileged=False, SecurityOpt=None, Devices=devices), desired("worker"), files=NAMED)
    assert not [note for note in found["notes"] if "no longer gets" in note]


def rendered(role, groups, given, text):
    variables = {**variables_of(role, groups, "1.45", STORE, {}), **given}
    return Templar(loader=DataLoader(), variables=variables).template(_trusted(text))


TAKEOVER = yaml.safe_load((ROOT / "roles/gpustack/tasks/takeover.yml").read_text())
MODULE = "ascend.gpustack.gpustack_takeover_info"


@pytest.mark.parametrize(
    ("role", "given", "expected"),
    [
        ("worker", {"gpustack_version": "2.3.0"}, True),
        ("worker", {"gpustack_version": "2.3.0", "gpustack_token": TOKEN}, False),
        ("worker", {"gpustack_version": "0.7.1"}, False),
        ("server", {"gpustack_version": "2.3.0"}, False),
    ],
)
def test_preflight_knows_the_cluster_s_token_before_it_judges_a_worker_s(role, given, expected):
    first, second = TAKEOVER[:2]
    assert (first["ansible.builtin.include_tasks"], MODULE in second) == ("token.yml", True)
    conditions = [rendered(role, role, given, f"{{{{ {condition} }}}}") for condition in first["when"]]
    assert all(str(condition) == "True" for condition in conditions) is expected


def test_settings_and_images_are_no_finding_as_long_as_a_container_of_another_generation_is_to_be_kept_or_given_up():
    tasks = yaml.safe_load((ROOT / "roles/gpustack/tasks/preflight.yml").read_text())
    for step in ("Keep what stands against GPUStack's own settings", "See whether the images can be had"):
        (condition,) = [each for task in tasks if task["name"] == step for each in task["when"] if "__gpustack_takeover" in each]
        told = [
            rendered("worker", "worker", given, f"{{{{ {condition} }}}}")
            for given in ({}, {"__gpustack_takeover": {"msg": "no"}}, {"__gpustack_takeover": {"apart": True}})
        ]
        assert [str(each) for each in told] == ["True", "True", "False"]


def test_the_role_compares_with_what_the_node_s_container_will_be():
    asked = next(task[MODULE] for task in TAKEOVER if MODULE in task)
    told = []
    cases = (("worker", "worker", "2.3.0"), ("server", "server", "2.3.0"), ("server", "both", "2.3.0"), ("worker", "worker", "0.7.1"))
    for role, groups, version in cases:
        found = rendered(role, groups, {"gpustack_version": version, "gpustack_token": TOKEN}, asked)
        told.append([found[name] for name in ("works", "privileged", "token", "has_token")])
    assert [[str(each) for each in values] for values in told] == [
        ["True", "True", TOKEN, "True"],
        ["False", "False", TOKEN, "True"],
        ["True", "True", TOKEN, "True"],
        ["True", "False", TOKEN, "True"],
    ]


@pytest.mark.parametrize(
    ("own", "of_server", "expected"),
    [
        ({}, {}, "gpustack"),
        ({"gpustack_container_name": "gpustack-worker"}, {}, "gpustack"),
        ({"gpustack_container_name": "gpustack-worker"}, {"gpustack_container_name": "gpustack-server"}, "gpustack-server"),
        ({}, {"gpustack_container_name": "gpustack-server"}, "gpustack-server"),
    ],
)
def test_a_worker_of_another_name_reads_the_token_in_the_server_s_container(own, of_server, expected):
    hosts = {"atlas1": {**HOSTS["atlas1"], **of_server}, "atlas2": {**HOSTS["atlas2"], **own}}
    for name in ("token", "stale_judged"):
        tasks = yaml.safe_load((ROOT / f"roles/gpustack/tasks/{name}.yml").read_text())
        (asked,) = [each[key]["container"] for each in tasks for key in each if key.startswith("ascend.gpustack.gpustack_")]
        assert rendered("worker", "worker", {"hostvars": hosts, **own}, asked) == expected


def test_the_token_of_a_documented_server_is_read_from_its_environment():
    container = server(["--enable-worker", "--tls-port", "8443", "--proxy-mode", "direct"])
    docker = Host(container)
    known = token.described(container)
    settings = token.Settings(docker, known, known.generation.command_line)
    assert token.find_token(docker, known, settings, "/var/lib/gpustack") == token.Token(TOKEN, "environment", False)
