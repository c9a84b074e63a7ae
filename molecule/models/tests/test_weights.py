"""OpenAI's client, and weights: after the models of the same cluster, of which one still runs."""

from __future__ import annotations

import os
import subprocess
import time

import openai
import pytest
import small_model
from conftest import INVENTORY, ROOT, playbook_command
from test_models import OTHER, STORE, changed, models

NEW = f"{STORE}/Qwen/Tiny"
HASHES = {"gpustack_weights_hashes": True}


@pytest.fixture(scope="module", autouse=True)
def served(atlas):
    """One model runs, with what is in the store by hand."""
    atlas("atlas1").check_output(f"mkdir -p {STORE}/tiny && test -f {STORE}/tiny/config.json || echo '{{}}' > {STORE}/tiny/config.json")
    run = models(OTHER)
    assert run.rc == 0, run.failure


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a model, where Ansible runs."""
    path = tmp_path_factory.mktemp("usb")
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(os.urandom(300 * 1024 * 1024))
    sums = subprocess.run(["sha256sum", *sorted(os.listdir(path))], cwd=path, check=True, capture_output=True, text=True).stdout
    (path / "SHA256SUMS").write_text(sums)
    return path


def weights(path: str, arguments: tuple = (), playbook: str = "weights", more: dict | None = None, **source):
    return models(playbook=playbook, arguments=arguments, gpustack_weights=[{"path": path, **source}], **(more or {}))


def test_openai_s_client_is_answered_at_the_address_of_users(token):
    asked = small_model.client(token)
    assert small_model.hello(asked, "other").startswith("An NPU answers")
    assert small_model.hello(asked, "other", stream=True).startswith("An NPU answers")
    with pytest.raises(openai.APIStatusError):
        small_model.hello(asked, "none")


def test_folder_of_the_controller_that_was_cut_off_at_half_is_gone_on_with(atlas, folder, tmp_path):
    server = atlas("atlas1")
    half = f"{STORE}/Qwen/.Tiny.gpustack-part/model.safetensors"
    file = tmp_path / "weights.yml"
    file.write_text(f"gpustack_weights: [{{path: {NEW}, folder: {folder}}}]")
    command = [*playbook_command("weights", INVENTORY), "--limit", "atlas1,atlas2,atlas3", "-e", f"@{file}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while not int(server.run(f"stat -c %s {half} 2>/dev/null || echo 0").stdout) > 100 * 1024 * 1024:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        # With those that it forked, which have a session of their own each
        subprocess.run(["pkill", "-KILL", "-f", str(file)], check=True)
        process.wait()
    assert not server.file(NEW).exists
    run = weights(NEW, folder=str(folder))
    assert run.rc == 0, run.failure
    assert changed(run) == 1 and server.run(f"cd {NEW} && sha256sum --check SHA256SUMS").rc == 0
    assert changed(weights(NEW, folder=str(folder))) == 0


def test_one_flipped_byte_is_found_and_mended(atlas, folder):
    atlas("atlas1").check_output(f"printf x | dd of={NEW}/model.safetensors bs=1 seek=1000000 conv=notrunc status=none")
    assert changed(weights(NEW, folder=str(folder))) == 0
    check = weights(NEW, ("--check",), more=HASHES, folder=str(folder))
    assert check.rc == 0 and changed(check) == 1 and "to be mended" in check.text
    run = weights(NEW, more=HASHES, folder=str(folder))
    assert run.rc == 0, run.failure
    assert atlas("atlas1").run(f"cd {NEW} && sha256sum --check SHA256SUMS").rc == 0
    atlas("atlas1").check_output(f"rm {NEW}/model.safetensors")
    told = weights(NEW, playbook="verify", folder=str(folder))
    assert told.rc != 0 and f"the folder {NEW} is damaged: model.safetensors is missing; expected what was brought" in told.text
    assert weights(NEW, folder=str(folder)).rc == 0


def test_of_two_runs_at_once_one_writes_and_a_folder_made_by_hand_is_left_alone(atlas):
    atlas("atlas2").check_output(
        "mkdir -p /root/Big && dd if=/dev/urandom of=/root/Big/m.bin bs=1M count=300 status=none && tar -C /root -cf /root/big.tar Big"
    )
    source = {"archive": "/root/big.tar", "host": "atlas2"}
    command = [
        "-e",
        f"{{gpustack_weights: [{{path: {STORE}/Big, archive: /root/big.tar, host: atlas2}}]}}",
        "--limit",
        "atlas1,atlas2,atlas3",
    ]
    other = subprocess.Popen([*playbook_command("weights", INVENTORY), *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    run = weights(f"{STORE}/Big", **source)
    told, _err = other.communicate(timeout=300)
    assert run.rc == 0 and other.returncode == 0, run.failure + told
    same = "sha256sum < /root/Big/m.bin", f"sha256sum < {STORE}/Big/m.bin"
    assert len({atlas("atlas2").check_output(command) for command in same}) == 1
    refused = weights(f"{STORE}/tiny", **source)
    assert refused.rc != 0 and "the playbook weights did not make it; expected a free place" in refused.text


def test_folder_that_a_running_model_uses_is_not_replaced(atlas, folder):
    model = {"name": "own", "path": NEW, "version": "0.18.0", "npus": 1}
    atlas("atlas1").check_output(f"cp {STORE}/tiny/config.json {NEW}/config.json")
    assert models(model).rc == 0
    run = weights(NEW, folder=str(folder))
    assert run.rc != 0 and "and own runs with it; expected no running model there" in run.text
    assert models({"name": "own", "state": "absent"}).rc == 0
    assert weights(NEW, folder=str(folder)).rc == 0
