"""Containers made by hand, as docker describes them, and what gpustack_takeover_info says of each."""

from __future__ import annotations

import copy
import io
import json
import tarfile

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import cli as docker_cli
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import run as docker_run
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.cli import DockerError
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import version as versions
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.container import read_version
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.takeover import analysis as takeover
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.takeover import old as old_container
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Result
from ansible_collections.ascend.gpustack.plugins.modules import gpustack_takeover_info

ID = "1d56b312b693de609b1cf769a4290e622e467982ecf1a2319853f6e9a5bed11a"
IMAGE_ID = "sha256:d8cd514bd0aae3fc4dd3e276b0a9ac0c3f00bf074a4eb8d8989749e690a6c893"
ANONYMOUS = "5e2a1f0c7d3b4a6988776655443322110ffeeddccbbaa0123456789abcdef012"
TOKEN = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
IMAGE_ENV = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "ASCEND_HOME_PATH=/usr/local/Ascend/ascend-toolkit/latest",
    "PIPX_HOME=/var/lib/gpustack/pipx",
]
ENTRYPOINT = ["tini", "--", "/usr/bin/bash", "-c", 'source /etc/profile && exec gpustack start "$@"', "--"]
IMAGE = {
    "Id": IMAGE_ID,
    "RepoTags": ["gpustack/gpustack:latest-npu"],
    "Config": {"Env": IMAGE_ENV, "Entrypoint": ENTRYPOINT, "Cmd": None, "Labels": {"maintainer": "x"}, "Volumes": None},
}
NPUS = [f"/dev/davinci{number}" for number in range(8)]
MANAGERS = ["/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"]
DRIVER_FILES = [
    "/usr/local/dcmi",
    "/usr/local/bin/npu-smi",
    "/usr/local/Ascend/driver/lib64",
    "/usr/local/Ascend/driver/version.info",
    "/etc/ascend_install.info",
]
HOST_CONFIG = {
    "ContainerIDFile": "",
    "LogConfig": {"Type": "json-file", "Config": {}},
    "NetworkMode": "host",
    "PortBindings": {},
    "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0},
    "AutoRemove": False,
    "VolumesFrom": None,
    "CapAdd": None,
    "CapDrop": None,
    "CgroupnsMode": "host",
    "Dns": [],
    "DnsOptions": [],
    "DnsSearch": [],
    "ExtraHosts": None,
    "GroupAdd": None,
    "IpcMode": "host",
    "Links": None,
    "OomScoreAdj": 0,
    "PidMode": "",
    "Privileged": False,
    "PublishAllPorts": False,
    "ReadonlyRootfs": False,
    "SecurityOpt": ["label=disable"],
    "UTSMode": "",
    "UsernsMode": "",
    "ShmSize": 67108864,
    "Runtime": "runc",
    "CpuShares": 0,
    "Memory": 0,
    "NanoCpus": 0,
    "CgroupParent": "",
    "BlkioWeight": 0,
    "CpuPeriod": 0,
    "CpuQuota": 0,
    "CpusetCpus": "",
    "CpusetMems": "",
    "DeviceCgroupRules": None,
    "DeviceRequests": None,
    "MemoryReservation": 0,
    "MemorySwap": 0,
    "MemorySwappiness": None,
    "OomKillDisable": False,
    "PidsLimit": None,
    "Ulimits": [],
}


def bind(source, target=None, writable=True):
    return {
        "Type": "bind",
        "Source": source,
        "Destination": target or source,
        "Mode": "" if writable else "ro",
        "RW": writable,
        "Propagation": "rprivate",
    }


def volume(name, target):
    return {
        "Type": "volume",
        "Name": name,
        "Source": f"/var/lib/docker/volumes/{name}/_data",
        "Destination": target,
        "Driver": "local",
        "Mode": "z",
        "RW": True,
        "Propagation": "",
    }


def described(arguments, env=(), mounts=None, data=None, running=True, labels=None, config=None, **host_config):
    """`docker container inspect` of guide 1's container with other arguments, and with more of everything."""
    guide = [*(bind(path) for path in DRIVER_FILES), bind("/data/models", "/models")]
    devices = [{"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rwm"} for path in NPUS + MANAGERS]
    return {
        "Id": ID,
        "Created": "2025-07-20T03:11:21.948046578Z",
        "Path": "tini",
        "Args": [*ENTRYPOINT[1:], *arguments],
        "State": {
            "Status": "running" if running else "exited",
            "Running": running,
            "Paused": False,
            "Restarting": False,
            "Pid": 4711 if running else 0,
            "ExitCode": 0,
            "StartedAt": "2025-07-20T03:11:22.131246015Z",
        },
        "Image": IMAGE_ID,
        "Name": "/gpustack",
        "HostConfig": {**copy.deepcopy(HOST_CONFIG), "Devices": devices, **host_config},
        "Mounts": (guide if mounts is None else mounts) + ([volume("gpustack-data", "/var/lib/gpustack")] if data is None else data),
        "Config": {
            "Hostname": "localhost.localdomain",
            "User": "",
            "Tty": False,
            "Env": [*env, *IMAGE_ENV],
            "Cmd": list(arguments),
            "Image": "gpustack/gpustack:latest-npu",
            "Volumes": None,
            "WorkingDir": "",
            "Entrypoint": ENTRYPOINT,
            "Labels": {"maintainer": "x", **(labels or {})},
            **(config or {}),
        },
    }


SERVER = ["--port", "8080", "--cache-dir", "/models/gpustack-cache"]
URL = "http://172.16.33.106:8080"
WORKER = ["--server-url", URL, "--token", TOKEN, "--cache-dir", "/models/gpustack-cache"]
VOLUMES = (
    "gpustack-data:/var/lib/gpustack",
    "/etc/gpustack/config.yaml:/etc/gpustack/config.yaml:ro",
    "/data/models:/data/models",
    "/data/models:/models",
)


def desired(role="server", **changes):
    config = {"cache_dir": "/data/models/gpustack-cache", "worker_ip": "172.16.33.106", "disable_update_check": True}
    config.update({"port": 8080, "force_auth_localhost": True} if role == "server" else {"server_url": URL})
    values = {
        "role": role,
        "data_volume": "gpustack-data",
        "models_dir": "/data/models",
        "version": "0.7.1",
        "server_url": URL,
        "config": config,
        "volumes": VOLUMES,
        "devices": tuple(f"{path}:{path}:rwm" for path in NPUS + MANAGERS),
        "image": "gpustack/gpustack:v0.7.1-npu",
    }
    values.update(changes)
    return old_container.Desired(**values)


def archived(text):
    """What `docker cp … -` prints for a file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("file")
        entry.size = len(text.encode())
        archive.addfile(entry, io.BytesIO(text.encode()))
    return Result(0, stream.getvalue().decode())


class Docker:
    """A docker command that knows one container, and files in it. version: what its image's GPUStack says."""

    def __init__(self, container, version="gpustack 0.7.1", files=None, **image):
        self.container = container
        self.version = version if isinstance(version, Result) else Result(0, version + "\n")
        self.files = {"/var/lib/gpustack/worker_name": "atlas1\n", **(files or {})}
        self.image = image.get("image", IMAGE)
        self.asked = []

    def __call__(self, argv, timeout):
        self.asked.append(argv[1])
        if argv[1:3] == ["image", "inspect"]:
            missing = Result(1, "[]", "Error response from daemon: No such image: x\n")
            return Result(0, json.dumps([self.image])) if self.image else missing
        if argv[1:3] == ["container", "inspect"]:
            return Result(0, json.dumps([self.container]))
        if argv[1] == "info":
            return Result(0, json.dumps({"LoggingDriver": "json-file", "DefaultRuntime": "runc"}))
        if argv[1] == "run" or "bash" in argv:
            return self.version
        return self._file(argv)

    def _file(self, argv):
        path = argv[-1] if argv[1] == "exec" else argv[-2].partition(":")[2]
        if argv[1] == "exec" and not self.container["State"]["Running"]:
            return Result(1, "", f"Error response from daemon: container {ID} is not running\n")
        if path not in self.files:
            return Result(1, "", f"cat: {path}: No such file or directory\n")
        return Result(0, self.files[path]) if argv[1] == "exec" else archived(self.files[path])


def examined(container, wanted, **docker):
    return gpustack_takeover_info.examine(container, wanted, Docker(container, **docker), 10, 120)


def extra(name, kind, text, covered=False, dropped=False):
    return {"name": name, "kind": kind, "text": text, "covered": covered, "dropped": dropped}


def test_the_server_of_the_guide_may_be_taken_over():
    assert examined(described(SERVER), desired()) == {
        "exists": True,
        "hand_made": True,
        "running": True,
        "version": "0.7.1",
        "version_relation": "equal",
        "apart": False,
        "role": "server",
        "worker_name": "atlas1",
        "token_source": "file",
        "data_mount": {
            "type": "volume",
            "source": "/var/lib/docker/volumes/gpustack-data/_data",
            "name": "gpustack-data",
        },
        "extras": [],
        "problems": [],
        "notes": [
            "The data in gpustack-data is kept.",
            "The cluster token in its data stays the same.",
            "Its worker is called atlas1 now.",
            "Its image gpustack/gpustack:latest-npu becomes gpustack/gpustack:v0.7.1-npu.",
        ],
    }


def test_the_worker_of_the_guide_may_be_taken_over():
    found = examined(described(WORKER), desired("worker"), files={"/var/lib/gpustack/worker_name": "localhost.localdomain-48213"})
    assert found == {
        "exists": True,
        "hand_made": True,
        "running": True,
        "version": "0.7.1",
        "version_relation": "equal",
        "apart": False,
        "role": "worker",
        "worker_name": "localhost.localdomain-48213",
        "token_source": "argument",
        "data_mount": {
            "type": "volume",
            "source": "/var/lib/docker/volumes/gpustack-data/_data",
            "name": "gpustack-data",
        },
        "extras": [],
        "problems": [],
        "notes": [
            "The data in gpustack-data is kept.",
            "Its worker is called localhost.localdomain-48213 now.",
            "Its image gpustack/gpustack:latest-npu becomes gpustack/gpustack:v0.7.1-npu.",
        ],
    }


@pytest.mark.parametrize(
    ("container", "files", "source"),
    [
        (described([*SERVER, "--token", TOKEN]), {}, "argument"),
        (described([*SERVER, f"--token={TOKEN}"]), {}, "argument"),
        (described([*SERVER, f"-t{TOKEN}"]), {}, "argument"),
        (described([*SERVER, "--tok", TOKEN]), {}, "argument"),
        (described(SERVER, env=[f"GPUSTACK_TOKEN={TOKEN}"]), {}, "environment"),
        (described([*SERVER, "--config-file", "/c.yaml"]), {"/c.yaml": f"token: {TOKEN}\n"}, "config"),
    ],
    ids=["argument", "argument with =", "short", "shortened", "environment", "file"],
)
def test_the_token_of_a_server_is_found_and_never_told(container, files, source):
    found = examined(container, desired(), files=files)
    assert (found["token_source"], found["problems"], found["extras"]) == (source, [], [])
    assert TOKEN not in json.dumps(found)


def test_all_that_goes_beyond_the_guide_is_listed_in_one_sentence():
    container = described(
        [*SERVER, "-d", "--service-port-range=41000-41063", "--huggingface-token", "hf_secret", "--system-reserved", "{}"],
        env=["HTTP_PROXY=http://me:mine@proxy:3128", "GPUSTACK_ENABLE_RAY=1", "MY_SECRET=abcdefgh", "LD_PRELOAD=/x.so"],
        mounts=[bind("/data/models", "/models"), bind("/opt/tools", "/tools", writable=False), volume(ANONYMOUS, "/tmp/x")],
        ShmSize=17179869184,
        Ulimits=[{"Name": "nofile", "Hard": 65535, "Soft": 65535}],
        Privileged=True,
        LogConfig={"Type": "json-file", "Config": {"max-size": "100m"}},
        Devices=[{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"}],
    )
    found = examined(container, desired(devices=()))
    assert found["extras"] == [
        extra("--debug", "argument", "--debug"),
        extra("GPUSTACK_ENABLE_RAY", "environment", "-e GPUSTACK_ENABLE_RAY=1"),
        extra("--huggingface-token", "argument", "--huggingface-token ***"),
        extra("--service-port-range", "argument", "--service-port-range 41000-41063"),
        extra("--system-reserved", "argument", "--system-reserved {}"),
        extra("HTTP_PROXY", "environment", "-e HTTP_PROXY=http://***@proxy:3128"),
        extra("LD_PRELOAD", "environment", "-e LD_PRELOAD=/x.so"),
        extra("MY_SECRET", "environment", "-e MY_SECRET=***"),
        extra("/tmp/x", "mount", "-v /tmp/x"),
        extra("/tools", "mount", "-v /opt/tools:/tools:ro"),
        extra("--log-opt", "option", "--log-opt=max-size=100m"),
        extra("--privileged", "option", "--privileged"),
        extra("--shm-size", "option", "--shm-size=16g"),
        extra("--ulimit", "option", "--ulimit=nofile=65535:65535"),
        extra("--device", "option", "--device=/dev/fuse"),
    ]
    assert found["problems"] == [
        "The container gpustack was made by hand with what the variables do not say: --debug, -e GPUSTACK_ENABLE_RAY=1,"
        " --huggingface-token ***, --service-port-range 41000-41063, --system-reserved {}, -e"
        " HTTP_PROXY=http://***@proxy:3128, -e LD_PRELOAD=/x.so, -e MY_SECRET=***, -v /tmp/x, -v /opt/tools:/tools:ro,"
        " --log-opt=max-size=100m, --privileged, --shm-size=16g, --ulimit=nofile=65535:65535, --device=/dev/fuse. Set"
        " gpustack_server_config.debug, gpustack_server_config.enable_ray, gpustack_server_config.huggingface_token,"
        " gpustack_server_config.service_port_range, gpustack_server_config.system_reserved, gpustack_env.HTTP_PROXY,"
        " gpustack_env.LD_PRELOAD, gpustack_env.MY_SECRET, gpustack_volumes, gpustack_container_options.log_options,"
        " gpustack_container_options.privileged, gpustack_container_options.shm_size, gpustack_container_options.ulimits"
        ' to the same, and give up the rest with gpustack_takeover_drop: ["--device"]; or give up all of it with gpustack_takeover_drop:'
        ' ["--debug", "GPUSTACK_ENABLE_RAY", "--huggingface-token", "--service-port-range", "--system-reserved",'
        ' "HTTP_PROXY", "LD_PRELOAD", "MY_SECRET", "/tmp/x", "/tools", "--log-opt", "--privileged", "--shm-size",'
        ' "--ulimit", "--device"].'
    ]
    wanted = desired(
        devices=("/dev/fuse:/dev/fuse:rwm",),
        config={
            "port": 8080,
            "cache_dir": "/data/models/gpustack-cache",
            "debug": True,
            "enable_ray": True,
            "service_port_range": "41000-41063",
            "system_reserved": {},
        },
        secret_keys=frozenset({"huggingface_token"}),
        env={"HTTP_PROXY": "http://me:mine@proxy:3128", "MY_SECRET": "abcdefgh"},
        volumes=(*VOLUMES, "/opt:/opt", "/opt/tools:/tools:ro"),
        options={
            "shm_size": "16G",
            "ulimits": ["nofile:65535"],
            "privileged": True,
            "log_options": {"max-size": "100m", "max-file": "3"},
        },
        drop=frozenset({"LD_PRELOAD", "/tmp/x"}),
    )
    found = examined(container, wanted)
    assert found["problems"] == []
    assert [(each["name"], each["dropped"]) for each in found["extras"] if not each["covered"]] == [
        ("LD_PRELOAD", True),
        ("/tmp/x", True),
    ]
    assert found["notes"][-1] == "Given up: -e LD_PRELOAD=/x.so, -v /tmp/x."


def test_what_is_given_up_can_be_named_as_it_was_typed():
    container = described(SERVER, env=["LANG=zh_CN.UTF-8"], ShmSize=1073741824)
    found = examined(container, desired(drop=frozenset({"--shm-size=1g", "LANG=zh_CN.UTF-8"})))
    assert (found["problems"], [each["dropped"] for each in found["extras"]]) == ([], [True, True])


def test_settings_are_compared_by_what_they_mean():
    arguments = ["--debug", "--ray-port", "40096", "--allow-origins", "a", "--allow-origins=b", "--system-reserved"]
    container = described([*SERVER, *arguments, '{"ram": 2, "vram": 1}'], env=["GPUSTACK_DISABLE_METRICS=false", "HF_TOKEN=hf_x"])
    config = {
        "port": 8080,
        "cache_dir": "/data/models/gpustack-cache",
        "debug": "yes",
        "ray_port": 40096,
        "allow_origins": ["a", "b"],
        "system_reserved": {"vram": 1, "ram": 2},
    }
    found = examined(container, desired(config=config, env={"HF_TOKEN": "hf_x"}))
    assert (found["problems"], all(each["covered"] for each in found["extras"])) == ([], True)
    config["allow_origins"], config["debug"] = ["b"], False
    found = examined(container, desired(config=config, env={"HF_TOKEN": "other"}))
    assert [each["name"] for each in found["extras"] if not each["covered"]] == [
        "--allow-origins",
        "--debug",
        "HF_TOKEN",
    ]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("no_such", 'no_such: 1 (in /c.yaml), no setting of GPUStack 0.7.1. Give them up with gpustack_takeover_drop: ["--no-such"].'),
        ("metrics_port", "metrics_port: 1 (in /c.yaml). Set gpustack_server_config.metrics_port to the same, or give them up with "),
    ],
)
def test_no_variable_is_named_for_a_setting_that_gpustack_does_not_have(setting, told):
    found = examined(described([*SERVER, "--config-file", "/c.yaml"]), desired(), files={"/c.yaml": f"{setting}: 1\n"})
    assert told in found["problems"][0]


def test_no_variable_is_named_for_a_name_that_it_does_not_take():
    found = examined(described(SERVER, env=["A-B=1"]), desired())
    assert found["problems"][0].endswith('-e A-B=***. Give them up with gpustack_takeover_drop: ["A-B"].')


def test_the_command_line_counts_before_the_environment_and_that_before_the_file():
    container = described(
        [*SERVER, "--config-file=/c.yaml", "--worker-name", "atlas1"],
        env=["GPUSTACK_WORKER_NAME=second", "GPUSTACK_DEBUG=false", "GPUSTACK_PORT=9090"],
    )
    found = examined(container, desired(), files={"/c.yaml": "worker_name: third\ndebug: true\nport: 7070\n"})
    assert (found["worker_name"], found["problems"]) == ("atlas1", [])
    assert found["extras"] == [extra("GPUSTACK_DEBUG", "environment", "-e GPUSTACK_DEBUG=false", covered=True)]


def test_a_configuration_file_is_judged_key_by_key():
    text = "log-dir: /logs\njwt_secret_key: abcdefghijkl\nsystem_reserved:\n  ram: 4\nforce_auth_localhost: true\nbin_dir:\n"
    container = described(
        ["--config-file", "/etc/gpustack.yaml", *SERVER],
        data=[volume("gpustack-data", "/var/lib/gpustack"), bind("/root/gpustack.yaml", "/etc/gpustack.yaml")],
    )
    found = examined(container, desired(), files={"/etc/gpustack.yaml": text})
    assert found["extras"] == [
        extra("--force-auth-localhost", "argument", "force_auth_localhost: true (in /etc/gpustack.yaml)", covered=True),
        extra("--jwt-secret-key", "argument", "jwt_secret_key: *** (in /etc/gpustack.yaml)"),
        extra("--log-dir", "argument", "log_dir: /logs (in /etc/gpustack.yaml)"),
        extra("--system-reserved", "argument", "system_reserved: ... (in /etc/gpustack.yaml)"),
    ]


def test_a_configuration_file_that_cannot_be_read_is_a_problem():
    container = described(["--config-file", "/etc/gpustack.yaml", *SERVER])
    assert examined(container, desired())["problems"] == [
        "The configuration file of the container gpustack can't be read (/etc/gpustack.yaml: it is not there), so what it"
        " sets would be lost. Start the container, or put the file where it was (docker inspect gpustack)."
    ]


def test_data_in_a_directory_of_the_host_is_to_be_named():
    container = described(SERVER, data=[bind("/data/gpustack", "/var/lib/gpustack")])
    found = examined(container, desired())
    assert found["data_mount"] == {"type": "bind", "source": "/data/gpustack", "name": "/data/gpustack"}
    assert found["problems"] == [
        "The data of the container gpustack is in /data/gpustack; the collection would mount gpustack-data. Set"
        " gpustack_data_volume: /data/gpustack for this host."
    ]
    volumes = ("/data/gpustack:/var/lib/gpustack", *VOLUMES[1:])
    assert examined(container, desired(data_volume="/data/gpustack/", volumes=volumes))["problems"] == []


def test_data_in_an_anonymous_volume_is_to_be_named():
    container = described(SERVER, data=[volume(ANONYMOUS, "/var/lib/gpustack")])
    assert examined(container, desired())["problems"] == [
        f"The data of the container gpustack is in {ANONYMOUS}; the collection would mount gpustack-data. Set"
        f" gpustack_data_volume: {ANONYMOUS} for this host."
    ]


def test_data_below_what_is_mounted_is_named_by_its_directory():
    container = described([*SERVER, "--data-dir", "/srv/gpustack/"], data=[volume("srv", "/srv")])
    found = examined(container, desired(), files={"/srv/gpustack/worker_name": "atlas9\n"})
    assert found["worker_name"] == "atlas9"
    assert found["problems"] == [
        "The data of the container gpustack is in /var/lib/docker/volumes/srv/_data/gpustack; the collection would mount"
        " gpustack-data. Set gpustack_data_volume: /var/lib/docker/volumes/srv/_data/gpustack for this host."
    ]


@pytest.mark.parametrize("extra_mount", [[], [{"Type": "tmpfs", "Destination": "/var/lib/gpustack", "RW": True}]])
def test_data_in_the_container_itself_is_to_be_copied_out(extra_mount):
    assert examined(described(SERVER, data=extra_mount), desired())["problems"] == [
        "The data of the container gpustack (/var/lib/gpustack) lies in the container itself and would go with it. Run"
        " docker stop gpustack; docker cp gpustack:/var/lib/gpustack/. /var/lib/gpustack-data; docker rename gpustack"
        " gpustack-old; then set gpustack_data_volume: /var/lib/gpustack-data (and gpustack_token, if the container was"
        " given one)."
    ]


def test_other_models_are_to_be_named():
    container = described(SERVER, mounts=[bind("/mnt/nas", "/models")])
    found = examined(container, desired())
    assert found["problems"] == [
        "The container gpustack was made by hand with what the variables do not say: --cache-dir /models/gpustack-cache."
        ' Set gpustack_cache_dir to the same, or give them up with gpustack_takeover_drop: ["--cache-dir"].',
        "The container gpustack has /mnt/nas as /models; the collection would mount /data/models, and models would not be"
        " found. Set gpustack_models_dir: /mnt/nas for this host.",
    ]
    config = {"port": 8080, "cache_dir": "/mnt/nas/gpustack-cache"}
    volumes = (VOLUMES[0], "/mnt/nas:/mnt/nas", "/mnt/nas:/models")
    assert examined(container, desired(models_dir="/mnt/nas/", config=config, volumes=volumes))["problems"] == []


def test_a_cache_of_its_own_stays_where_it_is():
    notes = examined(described(["--port=8080"]), desired())["notes"]
    assert "Models in /var/lib/gpustack/cache stay there; new ones go to /data/models/gpustack-cache." in notes


def test_a_bridge_network_with_published_ports_is_one_decision():
    container = described(
        ["--cache-dir", "/models/gpustack-cache"],
        NetworkMode="bridge",
        PortBindings={"80/tcp": [{"HostIp": "", "HostPort": "80"}]},
        IpcMode="private",
        SecurityOpt=None,
        config={"Hostname": ID[:12]},
    )
    found = examined(container, desired())
    assert found["extras"] == [extra("--network", "option", "--network=bridge --publish=80:80")]
    assert found["problems"] == [
        "The container gpustack was made by hand with what the variables do not say: --network=bridge --publish=80:80."
        ' Give them up with gpustack_takeover_drop: ["--network"].',
        "Users and workers reach the container gpustack on port 80; the collection would serve on port 8080. Set"
        " gpustack_port: 80, or add '--port' to gpustack_takeover_drop and tell the users.",
    ]
    assert examined(container, desired(drop=frozenset({"--network", "--port"})))["problems"] == []


def test_the_port_that_counts_is_the_one_that_others_reach():
    published = {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}
    container = described(
        ["--cache-dir", "/models/gpustack-cache"],
        NetworkMode="bridge",
        PortBindings=published,
        config={"Hostname": ID[:12]},
    )
    assert examined(container, desired(drop=frozenset({"--network"})))["problems"] == []


def test_a_stopped_container_is_examined_without_being_started():
    container = described([*SERVER, "--config-file", "/c.yaml"], running=False)
    docker = Docker(container, files={"/c.yaml": "debug: true\n"})
    found = gpustack_takeover_info.examine(container, desired(), docker, 10, 120)
    assert (found["running"], found["worker_name"], found["version"]) == (False, "atlas1", "0.7.1")
    assert found["extras"] == [extra("--debug", "argument", "debug: true (in /c.yaml)")]
    assert "exec" not in docker.asked


def test_a_server_where_a_worker_is_wanted_is_refused():
    wanted = desired("worker")
    assert examined(described(SERVER), wanted)["problems"] == [
        "The container gpustack runs a server; the inventory wants a worker here. Put the host into the group"
        " gpustack_server, or remove the container once what it holds is no longer needed."
    ]
    assert examined(described(WORKER), desired())["problems"] == [
        f"The container gpustack runs a worker of {URL}; the inventory wants a server here. Put the host into the group"
        " gpustack_worker, or remove the container once what it holds is no longer needed."
    ]


def test_a_worker_of_another_server_is_refused():
    container = described(["-s", "http://172.16.33.99:8080/", *WORKER[2:]])
    assert examined(container, desired("worker"))["problems"] == [
        "The container gpustack is a worker of http://172.16.33.99:8080; the inventory's server is"
        " http://172.16.33.106:8080. Set gpustack_server_url: http://172.16.33.99:8080 if that is the same server, or add"
        " '--server-url' to gpustack_takeover_drop to move the worker."
    ]
    assert examined(container, desired("worker", drop=frozenset({"--server-url"})))["problems"] == []
    same = described(["--server-url", URL + "/", *WORKER[2:]])
    assert examined(same, desired("worker"))["problems"] == []


def test_an_older_version_is_refused_until_the_upgrade_is_allowed():
    container = described(SERVER)
    found = examined(container, desired(), version="bash: warning\ngpustack 0.7.0")
    assert (found["version"], found["version_relation"]) == ("0.7.0", "older")
    assert found["problems"] == [
        "The container gpustack runs GPUStack 0.7.0; 0.7.1 would change its data for good. Set gpustack_takeover_upgrade:"
        " true to upgrade it (its data is copied first), or gpustack_version: 0.7.0 to stay."
    ]
    allowed = examined(container, desired(upgrade=True), version="gpustack 0.7.0")
    assert (allowed["problems"], "GPUStack 0.7.0 becomes 0.7.1." in allowed["notes"]) == ([], True)


def test_a_container_of_the_guides_is_refused_with_its_version_alone_where_a_new_cluster_would_get_another():
    """What of it the variables don't say is told once they are said for its generation."""
    given = ["--disable-rpc-servers", "--enable-ray", "--ray-args=--num-cpus=1", "--debug", "--disable-update-check"]
    container = described([*SERVER, *given], env=["GPUSTACK_METRICS_PORT=9100"])
    found = examined(container, desired(version=generation.DEFAULT.release, data_volume="gpustack-data"))
    assert found["problems"] == [
        "The container gpustack runs GPUStack 0.7.1, whose data 2.3.0 does not take. Set gpustack_version: 0.7.1 to keep it, or "
        "remove it and set gpustack_data_volume to a new one to begin anew."
    ]
    assert found["apart"] is True
    kept = examined(container, desired())
    assert (kept["apart"], "--debug" in kept["problems"][0]) == (False, True)


def test_a_container_of_the_guides_whose_version_is_not_told_is_read_with_its_own_settings():
    """Where the one that the inventory wants has other settings too."""
    unread = Result(127, "", "docker: Error response from daemon: exec: bash: not found.\n")
    container = described([*SERVER, "--ray-args=--num-cpus=1", "--ray-args=--block"])
    for wanted, told in (("0.7.1", ""), (generation.DEFAULT.release, f", no setting of GPUStack {generation.DEFAULT.release}")):
        found = examined(container, desired(version=wanted), version=unread)
        (extra,) = [each["text"] for each in found["extras"] if each["name"] == "--ray-args"]
        assert extra == "--ray-args --num-cpus=1 --ray-args --block" + told
        assert (
            f"can't be read (docker: Error response from daemon: exec: bash: not found.); expected one up to {wanted}, since"
            in (found["problems"][-1])
        )
        assert not [sentence for sentence in found["problems"] if "token" in sentence]


@pytest.mark.parametrize(("before", "wanted"), [("0.7.1", "2.3.0"), ("2.3.0", "0.7.1")])
def test_another_generation_is_refused_whatever_is_allowed(before, wanted):
    found = examined(described(SERVER), desired(upgrade=True, version=wanted), version=f"gpustack {before}")
    assert found["problems"] == [
        f"The container gpustack runs GPUStack {before}, whose data {wanted} does not take. Set gpustack_version: {before} to keep it, or "
        "remove it and set gpustack_data_volume to a new one to begin anew."
    ]


def test_a_newer_version_is_refused_whatever_is_allowed():
    found = examined(described(SERVER), desired(upgrade=True), version="v2.0.1 (abcdef0)")
    assert (found["version"], found["version_relation"]) == ("2.0.1", "newer")
    assert found["problems"] == [
        "The container gpustack runs GPUStack 2.0.1, whose data 0.7.1 does not take. Set gpustack_version: 2.3.0 to keep it, or remove it "
        "and set gpustack_data_volume to a new one to begin anew."
    ]


def test_a_version_that_cannot_be_read_is_refused_with_the_reason():
    answer = Result(127, "", "docker: Error response from daemon: exec: bash: not found.\n")
    found = examined(described(SERVER), desired(upgrade=True), version=answer)
    assert (found["version"], found["version_relation"]) == (None, "unknown")
    assert found["problems"] == [
        "The GPUStack version of the container gpustack can't be read (docker: Error response from daemon: exec: bash: not"
        " found.); expected one up to 0.7.1, since a newer one's data can't be taken over. Make this work: docker run --rm"
        " --entrypoint bash gpustack/gpustack:latest-npu -lc 'gpustack version'"
    ]


def test_a_development_build_has_no_known_version():
    found = examined(described(SERVER), desired(), version="gpustack 0.0.0")
    assert (found["version"], found["version_relation"]) == ("0.0.0", "unknown")
    assert "is 0.0.0, which is no release; expected one up to 0.7.1" in found["problems"][0]


def test_an_image_that_is_gone_or_silent_is_helped_by_the_running_container_or_a_label():
    container = described(SERVER)

    class GoneImage(Docker):
        def __call__(self, argv, timeout):
            return Result(125, "", "Unable to find image\n") if argv[1] == "run" else super().__call__(argv, timeout)

    assert read_version(GoneImage(container), container, None, 10) == ("0.7.1", None)
    labelled = {"Config": {"Labels": {"org.opencontainers.image.version": "v0.6.2"}}}
    silent = Docker(container, version=Result(-9, "", "", timed_out=True))
    assert read_version(silent, container, labelled, 10) == ("0.6.2", None)
    ubuntu = {"Config": {"Labels": {"org.opencontainers.image.version": "22.04"}}}
    assert read_version(silent, container, ubuntu, 10) == (None, "docker run did not answer within 10 s")


def test_a_server_without_a_worker_has_no_worker_name():
    container = described([*SERVER, "--disable-worker"])
    found = examined(container, desired(config={**desired().config, "disable_worker": True}))
    assert (found["worker_name"], found["problems"]) == (None, [])


def test_the_guide_s_server_does_not_lose_its_worker_because_a_group_is_forgotten():
    wanted = {"works": False, "config": {**desired().config, "disable_worker": True}}
    assert examined(described(SERVER), desired(**wanted))["problems"] == [
        "The container gpustack is the worker atlas1 too, which models may name; the inventory wants no worker on this host. Put it into"
        " the group gpustack_worker too, or add '--worker-name' to gpustack_takeover_drop."
    ]
    assert examined(described(SERVER), desired(**wanted, drop=frozenset({"--worker-name"})))["problems"] == []


def test_a_worker_that_never_joined_has_no_name_and_one_that_cannot_be_read_is_a_problem():
    class Silent(Docker):
        def _file(self, argv):
            return Result(124, "", "", timed_out=True)

    missing = Docker(described(WORKER), files={})
    del missing.files["/var/lib/gpustack/worker_name"]
    found = gpustack_takeover_info.examine(described(WORKER), desired("worker"), missing, 10, 120)
    assert (found["worker_name"], found["problems"]) == (None, [])
    found = gpustack_takeover_info.examine(described(WORKER), desired("worker"), Silent(described(WORKER)), 10, 120)
    assert found["problems"] == [
        "The name of the worker in the container gpustack can't be read (docker exec did not answer within 10 s), and models may"
        " name it. Make this work: docker exec gpustack cat /var/lib/gpustack/worker_name (or docker start gpustack, if it stands"
        " still)."
    ]


def test_proxies_count_as_covered_when_the_cluster_is_added_to_no_proxy():
    container = described(SERVER, env=["http_proxy=http://p:1", "no_proxy=localhost, 10.0.0.1"])
    env = {"HTTP_PROXY": "http://p:1", "NO_PROXY": "localhost,10.0.0.1,172.16.33.106"}
    found = examined(container, desired(env=env))
    assert (found["problems"], [each["covered"] for each in found["extras"]]) == ([], [True, True])


def test_what_docker_compose_made_is_said():
    labels = {"com.docker.compose.project": "gpustack", "com.docker.compose.service": "server"}
    found = examined(described(SERVER, labels=labels), desired())
    assert found["problems"] == []
    assert found["notes"][-1] == "It was made by docker compose (project gpustack): do not run that project again."


def test_nodes_and_files_of_every_generation_of_chips_are_no_wish_of_their_own():
    paths = [*NPUS, "/dev/davinci_manager", "/dev/hisi_hdc", "/dev/uburma", "/dev/ummu"]
    devices = [{"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rwm"} for path in paths]
    mounts = [{"Type": "bind", "Source": path, "Destination": path, "RW": True} for path in ("/etc/hccl_rootinfo.json",)]
    container = described(SERVER, Devices=devices)
    container["Mounts"] += mounts
    found = examined(container, desired())
    assert [each["name"] for each in found["extras"] if each["kind"] in ("option", "mount")] == []


def test_npus_that_it_loses_are_said():
    found = examined(described(SERVER), desired(devices=tuple(NPUS[:6] + MANAGERS)))
    assert found["notes"][-1] == "It no longer gets /dev/davinci6, /dev/davinci7."


def test_a_token_given_by_variable_replaces_the_old_one():
    found = examined(described([*SERVER, "--token", TOKEN]), desired(has_token=True))
    assert "gpustack_token takes the place of the cluster token in its arguments: other workers need the same." in found["notes"]


def test_a_bootstrap_password_is_let_go_without_being_shown():
    found = examined(described([*SERVER, "--bootstrap-password", "hunter2hunter2"]), desired())
    assert (found["problems"], "hunter2" in json.dumps(found)) == ([], False)


def test_every_option_of_docker_run_is_read_back_as_it_was_typed():
    container = described(
        SERVER,
        mounts=[],
        CapAdd=["CAP_SYS_ADMIN"],
        CapDrop=["NET_RAW"],
        CgroupParent="/x",
        CpuShares=512,
        CpusetCpus="0-3",
        DeviceCgroupRules=["c 240:* rwm"],
        DeviceRequests=[{"Count": -1}],
        Dns=["10.0.0.53"],
        ExtraHosts=["nas:10.0.0.9"],
        IpcMode="container:other",
        NetworkMode="default",
        LogConfig={"Type": "syslog", "Config": {"tag": "gpustack"}},
        Memory=64 * 1024**3,
        MemorySwap=-1,
        NanoCpus=1500000000,
        PidMode="host",
        PidsLimit=100,
        ReadonlyRootfs=True,
        RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 5},
        Runtime="ascend",
        SecurityOpt=["seccomp:unconfined", "label=disable"],
        Sysctls={"net.core.somaxconn": "1024"},
        Tmpfs={"/scratch": "size=1g"},
        config={"User": "1000", "Entrypoint": ["gpustack"], "StopTimeout": 30, "Labels": {"a": "b"}, "Hostname": "npu1"},
    )
    found = docker_run.options(container, IMAGE, docker_run.EngineDefaults())
    assert [option.text for option in found] == [
        "--add-host=nas:10.0.0.9",
        "--cap-add=SYS_ADMIN",
        "--cap-drop=NET_RAW",
        "--cgroup-parent=/x",
        "--cpu-shares=512",
        "--cpus=1.5",
        "--cpuset-cpus=0-3",
        "--device-cgroup-rule=c 240:* rwm",
        "--dns=10.0.0.53",
        "--entrypoint=gpustack",
        "--gpus=...",
        "--hostname=npu1",
        "--ipc=container:other",
        "--label=a=b",
        "--log-driver=syslog",
        "--log-opt=tag=gpustack",
        "--memory=64g",
        "--memory-swap=-1",
        "--network=bridge",
        "--pid=host",
        "--pids-limit=100",
        "--read-only",
        "--restart=on-failure",
        "--runtime=ascend",
        "--security-opt=seccomp=unconfined",
        "--stop-timeout=30",
        "--sysctl=net.core.somaxconn=1024",
        "--user=1000",
    ]
    assert docker_run.mounts(container)[-1].text == "--tmpfs /scratch"


def test_what_the_engine_gives_by_itself_is_no_option():
    settings = {"log-opts": {"max-size": "100m"}, "default-shm-size": "1g"}
    info = {"LoggingDriver": "journald", "DefaultRuntime": "ascend"}
    defaults = gpustack_takeover_info.engine_defaults(info, settings)
    container = described(
        SERVER,
        LogConfig={"Type": "journald", "Config": {"max-size": "100m"}},
        ShmSize=1024**3,
        Runtime="ascend",
    )
    assert docker_run.options(container, IMAGE, defaults) == []


def test_options_given_by_variable_are_brought_into_the_same_form():
    given = {
        "privileged": "true",
        "shm_size": "16G",
        "memory": "65536m",
        "ulimits": ["nofile:65535:65536", "memlock:-1"],
        "etc_hosts": {"nas": "10.0.0.9"},
        "security_opts": ["seccomp:unconfined"],
        "capabilities": ["cap_sys_admin"],
        "dns_servers": ["10.0.0.53"],
        "log_options": {"max-size": "100m"},
        "runtime": "ascend",
    }
    assert docker_run.wanted_values(given) == {
        "--privileged": [""],
        "--shm-size": ["16g"],
        "--memory": ["64g"],
        "--ulimit": ["nofile=65535:65536", "memlock=-1:-1"],
        "--add-host": ["nas:10.0.0.9"],
        "--security-opt": ["seccomp=unconfined"],
        "--cap-add": ["SYS_ADMIN"],
        "--dns": ["10.0.0.53"],
        "--log-opt": ["max-size=100m"],
        "--runtime": ["ascend"],
    }


def test_a_missing_container_is_told_from_a_docker_that_does_not_answer():
    def answering(result):
        return lambda argv, timeout: result

    missing = Result(1, "[]\n", "Error response from daemon: No such container: gpustack\n")
    assert docker_cli.read_container(answering(missing), "gpustack", 10) is None
    dead = Result(1, "[]\n", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\n")
    with pytest.raises(DockerError, match="Cannot connect to the Docker daemon"):
        docker_cli.read_container(answering(dead), "gpustack", 10)
    with pytest.raises(DockerError, match="did not answer within 10 s"):
        docker_cli.read_container(answering(Result(-9, "", "", timed_out=True)), "gpustack", 10)


def test_secrets_of_the_container_are_known_to_be_kept_out_of_all_output():
    container = described(["--token", TOKEN, "--port", "8080"], env=["HF_TOKEN=hf_abcdef", "A_KEY=12", "LANG=C.UTF-8"])
    assert takeover.secrets_of(container) == {TOKEN, "hf_abcdef"}
    # Shortened as either generation's parser takes it: the one knows two settings of this beginning.
    before = described(["--database", "postgresql://root:of-0.7-only@db/gpustack"])
    later = described(["--redis", "redis://:of-2-alone@redis:6379/0"])
    assert takeover.secrets_of(before) >= {"postgresql://root:of-0.7-only@db/gpustack"}
    assert takeover.secrets_of(later) >= {"redis://:of-2-alone@redis:6379/0"}
    env = {"HTTPS_PROXY": "http://me:mine12@proxy:1", "MY_PASSWORD": "hunter2hunter2", "PORT": "8080"}
    assert redact.secrets_of([], env) == {"me:mine12", "hunter2hunter2"}


@pytest.mark.parametrize(
    ("old", "target", "expected"),
    [
        ("0.7.0", "0.7.1", "older"),
        ("v0.7.1", "0.7.1", "equal"),
        ("0.7.1rc2", "0.7.1", "older"),
        ("0.10.0", "0.7.1", "newer"),
        ("2.0.0", "0.7.1", "newer"),
        ("0.0.0", "0.7.1", "unknown"),
        (None, "0.7.1", "unknown"),
    ],
)
def test_versions_are_ordered(old, target, expected):
    assert versions.relation(old, target) == expected
