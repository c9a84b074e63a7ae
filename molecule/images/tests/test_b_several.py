"""The images of a worker of GPUStack 2, of which models' containers are made too: all come from one mirror, or from several archives."""

from __future__ import annotations

import pytest

MIRROR = "127.0.0.1:5000"
RUNNER = "cann8.5-910b-vllm0.18.0"
NAMES = ("gpustack/gpustack:v2.3.0", "gpustack/runtime:health", "gpustack/runtime:pause", f"gpustack/runner:{RUNNER}")
GIVEN = {"gpustack_version": "2.3.0", "gpustack_runners": [RUNNER], "gpustack_server_config": {}, "gpustack_worker_config": {}}
MIRRORED = {**GIVEN, "gpustack_registry": MIRROR}
ARCHIVES = ["/data/models/images/gpustack-2.tar", "/data/models/images/models-2.tar"]


def images(host) -> set[str]:
    listed = host.check_output("docker images --format '{{.Repository}}:{{.Tag}}'").split()
    return {name for name in listed if "gpustack/" in name and "<none>" not in name and "team/" not in name}


@pytest.fixture
def bare(atlas):
    """The host without the container and its data, and without an image of GPUStack's name."""
    host = atlas("atlas1")
    host.check_output("docker rm -f gpustack; docker volume rm -f gpustack-data; rm -rf /etc/gpustack")
    for name in images(host):
        host.check_output(f"docker rmi {name}")
    return host


def test_one_mirror_brings_all_that_a_worker_needs_and_a_second_run_changes_nothing(bare, playbook):
    run = playbook("server", variables=MIRRORED)
    assert run.rc == 0, run.failure
    assert images(bare) == {f"{MIRROR}/{name}" for name in NAMES}
    assert f'system_default_container_registry: "{MIRROR}"' in bare.file("/etc/gpustack/config.yaml").content_string
    assert playbook("server", variables=MIRRORED).recap["atlas1"]["changed"] == 0


def test_check_names_every_image_that_is_to_be_brought(bare, playbook):
    run = playbook("server", "--check", variables=MIRRORED)
    assert run.rc == 0, run.failure
    for name in NAMES:
        assert f"image {MIRROR}/{name}: brought to the host" in run.text
    assert images(bare) == set()


def test_archives_bring_them_without_a_registry_and_a_second_run_changes_nothing(bare, playbook):
    given = {**GIVEN, "gpustack_image_archives": ARCHIVES}
    run = playbook("server", variables=given)
    assert run.rc == 0, run.failure
    assert images(bare) == set(NAMES)
    assert playbook("server", variables=given).recap["atlas1"]["changed"] == 0


def test_archive_that_lacks_one_of_them_is_refused_before_anything_is_loaded(bare, playbook):
    run = playbook("preflight", "--limit=atlas1", variables={**GIVEN, "gpustack_image_archives": ARCHIVES[:1]})
    assert run.rc != 0
    told = next(line for line in run.output.splitlines() if line.startswith("FAIL [image]"))
    print(told)
    assert all(name in told for name in NAMES[1:])
    assert images(bare) == set()


def test_runner_that_the_mirror_lacks_is_named_by_preflight(bare, playbook):
    other = "cann8.5-910b-vllm0.17.0"
    run = playbook("preflight", "--limit=atlas1", variables={**MIRRORED, "gpustack_runners": [other]})
    assert run.rc != 0
    told = next(line for line in run.output.splitlines() if line.startswith("FAIL [image]"))
    print(told)
    assert f"{MIRROR}/gpustack/runner:{other}" in told and "gpustack/runtime" not in told
