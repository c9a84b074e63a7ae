"""Lines that a person is to read, or to copy, reach the screen as they are, with a configuration of the user's own as with none."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
import yaml

COLLECTIONS = pathlib.Path(__file__).resolve().parents[2] / "collections"
COMMAND = "  docker exec gpustack cat " + "/a-folder-with-a-long-name" * 5 + " && echo 'it is quoted' \"twice\""
LINES = ["Preflight found 1 problem and 1 warning:", "WARN [clock] 节点一: it is odd.", "FAIL [docker] atlas2: it is away.", COMMAND]

SECRET = "docker said: --token=S3cr3tPart"


def shown(folder: pathlib.Path, **environment: str) -> str:
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [{"ascend.gpustack.report": {"lines": [*LINES, SECRET]}}]}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    paths = {"ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"), "ANSIBLE_HOME": str(folder / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "play.yml"],
        cwd=folder, env={**kept, **paths, **environment}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("result_format", ["json", "yaml"])
def test_lines_are_neither_folded_nor_quoted(tmp_path, result_format):
    output = shown(tmp_path, ANSIBLE_CALLBACK_RESULT_FORMAT=result_format, ANSIBLE_NOCOLOR="1")
    assert "\n".join(LINES) in output
    assert all(output.count(line) == 1 for line in LINES)
    assert "docker said: --token=***" in output and "S3cr3tPart" not in output


def test_failures_are_red_and_warnings_yellow(tmp_path):
    output = shown(tmp_path, ANSIBLE_FORCE_COLOR="1")
    assert f"\x1b[0;33m{LINES[1]}\x1b[0m\n\x1b[0;31m{LINES[2]}\x1b[0m\n{COMMAND}\n" in output
