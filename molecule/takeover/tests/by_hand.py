"""GPUStack as an operator starts it who follows the guide, and its API as it answers there."""

from __future__ import annotations

import json
import shlex
from typing import Any

from conftest import DATA, reached, wait_until

DEVICES = [f"/dev/davinci{number}" for number in range(8)] + ["/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"]
MOUNTS = [
    "/usr/local/dcmi:/usr/local/dcmi",
    "/usr/local/bin/npu-smi:/usr/local/bin/npu-smi",
    "/usr/local/Ascend/driver/lib64/:/usr/local/Ascend/driver/lib64/",
    "/usr/local/Ascend/driver/version.info:/usr/local/Ascend/driver/version.info",
    "/etc/ascend_install.info:/etc/ascend_install.info",
    "/data/models:/models",
    "gpustack-data:/var/lib/gpustack",
]
CACHE = ["--cache-dir", "/models/gpustack-cache"]


def docker_run(host: Any, version: str, *arguments: str, options: tuple[str, ...] = ()) -> None:
    """Start the guide's container; the guide's image is latest-npu, whatever that is at the time."""
    words = ["docker", "run", "-d", "--name", "gpustack", "--restart=unless-stopped", "--network=host", "--ipc=host"]
    words += [word for device in DEVICES for word in ("--device", device)] + [word for mount in MOUNTS for word in ("-v", mount)]
    # The end of the guides' story: without it no worker reaches the server.
    host.check_output("systemctl disable --now firewalld && systemctl restart docker")
    host.check_output(f"docker tag gpustack/gpustack:v{version}-npu gpustack/gpustack:latest-npu && mkdir -p /data/models/gpustack-cache")
    host.check_output(shlex.join([*words, *options, "gpustack/gpustack:latest-npu", *arguments]))


def url(server: Any) -> str:
    return f"http://{server.interface('eth0').addresses[0]}:8080"


def token_of(host: Any) -> str:
    return wait_until("the token is there", lambda: host.run(f"docker exec gpustack cat {DATA}/token").stdout.strip())


def joined(host: Any, server: Any, token: str) -> str:
    """The name under which GPUStack took the worker on this host in. The file has the host's name first, and the one that GPUStack
    changed it to half a minute later; only GPUStack's own answer tells which of them it is."""

    def name() -> str:
        uuid, written = (host.run(f"docker exec gpustack cat {DATA}/{file}").stdout.strip() for file in ("worker_uuid", "worker_name"))
        known = [known for known, worker in workers(server, token).items() if uuid and worker["worker_uuid"] == uuid]
        return written if known == [written] else ""

    return wait_until("the worker has joined", name)


def ask(host: Any, token: str, path: str, body: dict | None = None) -> Any:
    """What the server on this host answers to whoever has the token; None while it does not."""
    data = f"-H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}" if body else ""
    done = host.run(f"printf 'user = \"system/worker/x:{token}\"' | curl -fsS -K - {data} 'http://127.0.0.1:8080{path}'")
    return json.loads(done.stdout) if done.rc == 0 else None


def workers(host: Any, token: str) -> dict[str, dict]:
    return {worker["name"]: worker for worker in (ask(host, token, "/v1/workers?perPage=100") or {"items": []})["items"]}


def both(host: Any, token: str) -> dict[str, dict]:
    """The two workers, once there are two."""
    found = workers(host, token)
    return found if len(found) == 2 else {}


def reached_workers(host: Any, token: str) -> dict[str, dict]:
    return reached(lambda: workers(host, token))


def identities(found: dict[str, dict]) -> set[tuple]:
    """What makes a worker the same one, whatever its name."""
    return {(worker["id"], worker["worker_uuid"]) for worker in found.values()}
