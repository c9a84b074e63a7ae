"""Ansible's settings in the checkout and in the project for AWX, and where the checkout's connections are."""

from __future__ import annotations

import configparser
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
# How a run looks on the screen
OUTPUT = [
    ("defaults", "callback_result_format"),
    ("defaults", "display_skipped_hosts"),
    ("defaults", "show_task_path_on_failure"),
    ("diff", "context"),
]


def settings(path: str) -> dict[tuple[str, str], str]:
    found = configparser.ConfigParser()
    found.read(ROOT / path)
    return {(section, key): value for section in found.sections() for key, value in found.items(section)}


def test_a_run_looks_the_same_in_the_checkout_and_in_awx():
    checkout, project = settings("ansible.cfg"), settings("awx/project/ansible.cfg")
    assert set(OUTPUT) <= set(project)
    assert project.items() <= checkout.items()
    assert checkout["defaults", "display_skipped_hosts"] == "false"


def test_make_clean_looks_for_the_sockets_where_ansible_puts_them(tmp_path):
    environment = {**os.environ, "ASCEND_GPUSTACK_CACHE": str(tmp_path), "MAKEFLAGS": ""}
    words = ["make", "--no-print-directory", "--eval", "sockets: ; @echo $$ANSIBLE_SSH_CONTROL_PATH_DIR"]
    folder, clean = (
        subprocess.run([*words, *target], cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
        for target in (["sockets"], ["--dry-run", "clean"])
    )
    assert folder == f"{tmp_path}/ansible/cp\n"
    assert f"in {folder.strip()}/*" in clean
