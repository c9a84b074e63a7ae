"""How the image comes to a host: from registries, from archives, and what is said when it does not."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess

import pytest
from conftest import LAB, ROOT, inspect, playbook_command, wait_until

NAME = "gpustack/gpustack:v0.7.1-npu"
USER, PASSWORD = "lab", "Mirror-of-the-lab-9"
PRIVATE = {"gpustack_registry": "127.0.0.1:5001", "gpustack_registry_username": USER, "gpustack_registry_password": PASSWORD}
FILE = "or bring the image as a file with gpustack_image_archive."
NETWORK = f"Check gpustack_registry, and there the mirrors and proxies that `docker info` shows, {FILE}"
CREDENTIALS = f"Check gpustack_registry_username and gpustack_registry_password, {FILE}"
AT_WORK = "/run/gpustack-image.json"
COPY = "/var/lib/gpustack-image"


@pytest.fixture
def host(atlas):
    return atlas("atlas1")


@pytest.fixture
def bare(host):
    """The host without the container, and without an image of GPUStack's name."""
    host.check_output("docker rm -f gpustack")
    # A digest goes with its last tag, and without one only by itself.
    for kind in ("RepoTags", "RepoDigests"):
        images = json.loads(host.check_output("docker image inspect stand-in:one stand-in:two"))
        for name in (name for image in images for name in image[kind] if not name.startswith("stand-in")):
            host.check_output(f"docker rmi {name}")
    return host


def image_id(host, name: str) -> str:
    return host.check_output(f"docker image inspect -f '{{{{.Id}}}}' {name}")


def is_at_work(host) -> bool:
    """Whether a process brings an image to the host."""
    return '"finished": false' in host.run(f"cat {AT_WORK}").stdout


def assert_node_runs(host, stand_in: str, name: str) -> None:
    container = inspect(host)
    assert (container["Config"]["Image"], container["State"]["Health"]["Status"]) == (name, "healthy")
    assert container["Image"] == image_id(host, f"stand-in:{stand_in}")


def assert_password_stays_nowhere(host) -> None:
    encoded = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    for secret in (PASSWORD, encoded):
        assert host.run(f"grep -rlF -e '{secret}' /root /etc /tmp /run /var/lib/gpustack /var/log /var/tmp").stdout == ""
    assert not host.file("/root/.docker/config.json").exists


def test_mirror_gives_the_image_of_the_version_and_a_second_run_changes_nothing(bare, playbook):
    mirror = {"gpustack_registry": "127.0.0.1:5000"}
    run = playbook("server", variables=mirror)
    assert run.rc == 0
    assert_node_runs(bare, "one", f"127.0.0.1:5000/{NAME}")
    assert playbook("server", variables=mirror).recap["atlas1"]["changed"] == 0


def test_version_alone_names_the_image_and_its_check_says_that_it_is_to_be_brought(bare, playbook):
    run = playbook("server", "--check", variables={"gpustack_version": "0.7.0"})
    assert run.rc == 0
    assert "image gpustack/gpustack:v0.7.0-npu: brought to the host" in run.text


def test_image_by_digest_replaces_the_container_once(bare, playbook):
    playbook("server", variables={"gpustack_registry": "127.0.0.1:5000"})
    accept = "Accept: application/vnd.docker.distribution.manifest.v2+json"
    head = bare.check_output(f"curl -fsSI -H '{accept}' http://127.0.0.1:5000/v2/team/gpustack/manifests/newer")
    digest = "127.0.0.1:5000/team/gpustack@" + head.lower().split("docker-content-digest: ")[1].split()[0]
    run = playbook("server", variables={"gpustack_image": digest})
    assert run.rc == 0
    assert_node_runs(bare, "two", digest)
    assert playbook("server", variables={"gpustack_image": digest}).recap["atlas1"]["changed"] == 0


def test_private_registry_gets_its_password_and_nobody_else_does(bare, playbook):
    run = playbook("server", "-vvv", "--diff", variables=PRIVATE)
    assert run.rc == 0
    assert_node_runs(bare, "one", f"127.0.0.1:5001/{NAME}")
    assert PASSWORD not in run.output
    assert_password_stays_nowhere(bare)


def test_wrong_password_is_refused_with_the_remedy(bare, playbook):
    run = playbook("server", "-vvv", variables={**PRIVATE, "gpustack_registry_password": "not-the-word"})
    assert run.rc != 0
    assert (
        f"atlas1: 127.0.0.1:5001/{NAME} could not be pulled from 127.0.0.1:5001: unauthorized: authentication required. {CREDENTIALS}"
    ) in run.text
    assert "not-the-word" not in run.output


def test_registry_that_cannot_be_reached_is_named(bare, playbook):
    run = playbook("server", variables={"gpustack_registry": "127.0.0.1:5999"})
    assert run.rc != 0
    assert f"atlas1: 127.0.0.1:5999/{NAME} could not be pulled from 127.0.0.1:5999: Get " in run.text
    assert f"connection refused. {NETWORK}" in run.text


def test_registry_that_does_not_answer_is_given_up_in_time(bare, playbook):
    bare.check_output("docker pause registry-open")
    try:
        run = playbook("server", variables={"gpustack_registry": "127.0.0.1:5000", "gpustack_image_timeout": 8})
    finally:
        bare.check_output("docker unpause registry-open")
    assert run.rc != 0
    assert f"127.0.0.1:5000: no end within 8 s. Raise gpustack_image_timeout if it only needs longer, {FILE}" in run.text
    # The wait shows that it goes on.
    assert " s so far" in run.output


def test_preflight_says_before_anything_is_changed_that_the_image_cannot_be_had(bare, playbook):
    lacks, missing = "FAIL [image] atlas1: it lacks", f"Check gpustack_registry, gpustack_version and gpustack_image, {FILE}"
    run = playbook("site", "--limit=atlas1", variables={"gpustack_registry": "127.0.0.1:5000", "gpustack_version": "0.7.9"})
    assert (run.rc != 0, run.recap["atlas1"]["changed"]) == (True, 0)
    assert (
        f"{lacks} 127.0.0.1:5000/gpustack/gpustack:v0.7.9-npu, which can't be pulled from 127.0.0.1:5000 "
        f"(manifest unknown: manifest unknown); expected it there. {missing}"
    ) in run.text
    run = playbook("preflight", "--limit=atlas1", "-vvv", variables={**PRIVATE, "gpustack_registry_password": "not-the-word"})
    assert f"{lacks} 127.0.0.1:5001/{NAME}, which can't be pulled from 127.0.0.1:5001 (unauthorized: authentication required)" in run.text
    assert CREDENTIALS in run.text and "not-the-word" not in run.output
    run = playbook("preflight", "--limit=atlas1", variables={"gpustack_image_archive": "/data/models/images/none.tar"})
    assert "FAIL [image] atlas1: /data/models/images/none.tar does not exist; expected an archive made by docker save." in run.text


def test_preflight_finds_the_image_in_a_private_registry_or_in_its_archive_and_brings_nothing(bare, playbook):
    run = playbook("preflight", "--limit=atlas1", "-vvv", variables=PRIVATE)
    assert run.rc == 0
    assert PASSWORD not in run.output
    assert_password_stays_nowhere(bare)
    assert playbook("preflight", "--limit=atlas1", variables={"gpustack_image_archive": "/data/models/images/one.tar"}).rc == 0
    assert NAME not in bare.check_output("docker images --format '{{.Repository}}:{{.Tag}}'").split()


def test_image_for_other_npus_is_refused_by_name(bare, playbook):
    run = playbook("preflight", "--limit=atlas1", variables={"gpustack_image": "127.0.0.1:5000/gpustack/gpustack:v0.7.1-npu-310p"})
    assert (
        "FAIL [image] atlas1: its NPUs are 910B4, and 127.0.0.1:5000/gpustack/gpustack:v0.7.1-npu-310p has engines for 310P; "
        f"expected 127.0.0.1:5000/{NAME}. Set gpustack_image to that, or remove it."
    ) in run.text


def test_killed_run_leaves_a_pull_that_the_next_one_joins_and_no_password(bare, playbook, tmp_path):
    variables, output = tmp_path / "variables.json", tmp_path / "output"
    variables.write_text(json.dumps(PRIVATE))
    command = [*playbook_command("server"), "--extra-vars", f"@{variables}"]
    bare.check_output("docker pause registry-private")
    try:
        with output.open("w") as file:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
            # Docker itself gives a registry that is silent up after 15 s.
            wait_until("the image is being pulled", lambda: is_at_work(bare) or process.poll() is not None)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert is_at_work(bare), output.read_text()
        assert PASSWORD not in bare.check_output("ps -ef e ww")
        job = json.loads(bare.check_output(f"cat {AT_WORK}"))["job"]
        joined = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}, stdout=subprocess.PIPE
        )
    finally:
        bare.check_output("docker unpause registry-private")
    joined.communicate()
    assert joined.returncode == 0
    assert json.loads(bare.check_output(f"cat {AT_WORK}"))["job"] == job
    assert_node_runs(bare, "one", f"127.0.0.1:5001/{NAME}")
    assert_password_stays_nowhere(bare)


def test_archive_on_the_store_is_loaded_once_and_again_when_it_holds_a_newer_image(bare, playbook):
    archive = {"gpustack_image_archive": "/data/models/images/image.tar"}
    bare.check_output("cp /data/models/images/one.tar /data/models/images/image.tar")
    assert playbook("server", variables=archive).rc == 0
    assert_node_runs(bare, "one", NAME)
    assert playbook("server", variables=archive).recap["atlas1"]["changed"] == 0
    bare.check_output("cp /data/models/images/two.tar /data/models/images/image.tar")
    assert playbook("server", variables=archive).rc == 0
    assert_node_runs(bare, "two", NAME)


@pytest.mark.parametrize(
    "name, sentences",
    [
        (
            "cut",
            "/data/models/images/cut.tar can't be read (unexpected end of data); expected an archive made by docker save. "
            "It may be cut off; copy it again.",
        ),
        (
            "none",
            "/data/models/images/none.tar does not exist; expected an archive made by docker save. "
            "Put it there, or correct the variable that names it.",
        ),
        (
            "other",
            f"atlas1: /data/models/images/other.tar holds example/other:1; expected {NAME}. "
            "Set gpustack_image to what it holds, or gpustack_image_archive to another file.",
        ),
    ],
)
def test_archive_that_does_not_serve_is_refused(bare, playbook, name, sentences):
    run = playbook("server", variables={"gpustack_image_archive": f"/data/models/images/{name}.tar"})
    assert run.rc != 0
    assert sentences in run.text


def test_check_before_the_store_is_mounted_does_not_ask_for_the_archive_on_it(bare, playbook):
    archive = {"gpustack_image_archive": "/data/models/not-yet-there.tar", "gpustack_image": "example.com/other:1"}
    assert playbook("server", "--check", variables={**archive, "gpustack_store_type": "nfs", "gpustack_store_server": "filer"}).rc == 0
    run = playbook("server", "--check", variables=archive)
    assert run.rc == 2
    assert "/data/models/not-yet-there.tar does not exist; expected an archive made by docker save." in run.text


def test_archive_on_the_controller_is_copied_to_a_host_without_the_image_and_to_no_other(bare, playbook, tmp_path):
    archive = tmp_path / "image.tar"
    subprocess.run(["docker", "cp", f"{LAB}-atlas1:/data/models/images/one.tar", str(archive)], check=True)
    variables = {"gpustack_image_archive": str(archive), "gpustack_image_archive_on_controller": True}
    assert playbook("server", variables=variables).rc == 0
    assert_node_runs(bare, "one", NAME)
    assert not bare.file(COPY).exists
    # What a run that was killed in the middle of the copy leaves.
    bare.check_output(f"mkdir -p {COPY}/tmp/ansible-tmp-1 && head -c 4096 /dev/zero >{COPY}/tmp/ansible-tmp-1/.source.tar")
    run = playbook("server", variables=variables)
    assert run.rc == 0
    assert "Copy the image archive to the host" not in run.output
    assert not bare.file(COPY).exists
    assert playbook("server", variables=variables).recap["atlas1"]["changed"] == 0
