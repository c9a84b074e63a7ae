"""Every command of the READMEs, the guides and AGENTS.md works as it stands, in a clone and where the collection was installed.

The shell runs each block. What would need the internet, a host or a person has a stand-in, which notes how it was called; Ansible's own
programs are real where no host is asked. A block that needs the internet says so in the source, behind its language: ```sh internet.
"""

from __future__ import annotations

import importlib
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from shared import PAGES, ROOT

GUIDES = [ROOT / "README.md", ROOT / "README.zh-CN.md", *PAGES["en"], *PAGES["zh"]]
INTERNET = re.compile(
    r"git clone|pip (install(?! --no-index)|download)|ansible-galaxy collection download|docker (pull|save)|apt-get|make demo"
    r"|ansible-builder|podman push|(?<!galaxy && )ansible-galaxy collection install"
)
# What only a clone has
CLONE = re.compile(r"git clone|\bmake |awx|requirements\.(txt|yml)|cp -r inventories/example")
# The block that makes the folder in which all others are run; that folder; and where Ansible finds the collection
PLACES = {
    "clone": ("git clone", "ascend.gpustack", "ascend.gpustack/collections"),
    "installed": ("collection install ascend.gpustack", "gpustack", ".ansible/collections"),
}
NOTE = """printf '%s\\0' "${0##*/}" "$@" >>"$STANDIN_NOTES"; echo >>"$STANDIN_NOTES"\n"""
STANDINS = {
    **dict.fromkeys(("ansible", "ansible-playbook", "docker", "podman", "pip", "curl", "ssh-copy-id", "firewall-cmd", "apt-get"), ""),
    "ansible-builder": "",
    "ansible-galaxy": """case "$*" in
      *" ascend.gpustack") mkdir -p ~/.ansible && cp -r "$STANDIN_INSTALLED"/. ~/.ansible;;
      *" -p galaxy") mkdir galaxy;;
    esac""",
    "git": 'cp -r "$STANDIN_CLONE" "${2##*/}"',
    "make": 'exec /usr/bin/make --no-print-directory -n "$@" >/dev/null',
    "python3": "mkdir -p ~/gpustack-venv/bin && touch ~/gpustack-venv/bin/activate",
    "ssh-keygen": "mkdir -p ~/.ssh && touch ~/.ssh/id_ed25519",
}
PROGRAMS = {"ansible": "adhoc", "ansible-playbook": "playbook", "ansible-galaxy": "galaxy"}


def blocks() -> Iterator[tuple[str, str, pathlib.Path]]:
    """(what stands behind the language, commands, page) of each block of commands."""
    for page in GUIDES:
        for indent, mark, text in re.findall(r"^( *)```sh *([^\n]*)\n(.*?)^ *```$", page.read_text(), flags=re.M | re.S):
            yield mark, re.sub(rf"^{indent}", "", text, flags=re.M), page


def of_assistants() -> str:
    """The commands of AGENTS.md, which stand in its tables."""
    found = re.findall(r"`(ansible[\w-]* [^`]+)`", (ROOT / "AGENTS.md").read_text())
    return "\n".join(found).replace("INVENTORY", "inventories/mine/hosts.yml").replace("NAME", "atlas6")


def elsewhere() -> dict[str, str]:
    """The environment without what the checkout has set for Ansible."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}


@dataclass
class Place:
    """Where a person stands who took the collection in one of the two ways."""

    name: str
    home: pathlib.Path
    environment: dict[str, str]

    def run(self, commands: str, beginning: bool = False) -> str:
        folder = self.home if beginning else self.home / PLACES[self.name][1]
        command = ["bash", "-euo", "pipefail", "-c", commands]
        done = subprocess.run(
            command,
            cwd=folder,
            env=self.environment,
            input="secret\n",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{self.name}: {commands}\n{done.stdout}"
        return done.stdout

    def calls(self) -> list[list[str]]:
        return [line.split("\0")[:-1] for line in (self.home / "notes").read_text().splitlines()]

    def ansible(self, *words: str) -> str:
        """The real one, without a word against what it reads."""
        vault = ["--vault-password-file", str(self.home / ".gpustack-vault")]
        told = self.run(" ".join([f"{sys.executable} -m ansible playbook -i inventories/mine/hosts.yml", *vault, *words]))
        assert "WARNING" not in told
        return told


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> pathlib.Path:
    """A folder with what git has, and with what ansible-galaxy makes and installs of that."""
    folder = tmp_path_factory.mktemp("sources")
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    (folder / "clone").mkdir()
    copy = ["xargs", "-0", "cp", "--parents", "--no-dereference", "--target-directory", str(folder / "clone")]
    subprocess.run(copy, cwd=ROOT, input=files.stdout, check=True)
    galaxy = [sys.executable, "-m", "ansible", "galaxy", "collection"]
    environment = {**elsewhere(), "HOME": str(folder)}
    build = [*galaxy, "build", "--output-path", str(folder), str(folder / "clone")]
    subprocess.run(build, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    (tarball,) = folder.glob("*.tar.gz")
    install = [*galaxy, "install", "--offline", "--no-deps", "-p", str(folder / "installed/collections"), str(tarball)]
    subprocess.run(install, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="module", params=PLACES)
def place(request, sources, tmp_path_factory) -> Place:
    """A place in which the steps up to the inventory were done as they are written, and then all other commands once."""
    home = tmp_path_factory.mktemp(request.param)
    (home / "bin").mkdir()
    for name, text in STANDINS.items():
        (home / "bin" / name).write_text(f"#!/bin/bash\n{NOTE}{text}\n")
        (home / "bin" / name).chmod(0o755)
    environment = elsewhere()
    path = os.pathsep.join([str(home / "bin"), str(pathlib.Path(sys.executable).parent), environment["PATH"]])
    environment |= {"HOME": str(home), "PATH": path, "STANDIN_NOTES": str(home / "notes")}
    environment |= {"STANDIN_CLONE": str(sources / "clone"), "STANDIN_INSTALLED": str(sources / "installed")}
    found = Place(request.param, home, environment)
    first, folder, _collections = PLACES[request.param]
    texts = dict.fromkeys(text for _mark, text, _page in blocks())
    found.run(next(text for text in texts if text.startswith("python3 -m venv") and "pip" not in text), beginning=True)
    found.run(next(text for text in texts if first in text), beginning=True)
    (home / ".gpustack-vault").write_text("secret\n")
    (home / "gpustack-awx").mkdir()
    for name in ("server.crt", "chain.crt", "server.key"):
        (home / folder / name).write_text(f"{name}\n")
    return found


def test_blocks_that_need_the_internet_say_so_and_no_other_does():
    found = list(blocks())
    assert len(found) > 80
    assert [
        text for mark, text, _page in found if (mark == "internet") != bool(INTERNET.search(text)) or mark not in ("", "internet")
    ] == []


def test_variables_of_the_example_are_judged_and_no_host_is_asked(place):
    assert "failed=0" in place.ansible("ascend.gpustack.variables")


def test_every_command_runs_and_ansible_takes_its_arguments(place):
    texts = dict.fromkeys(text for _mark, text, _page in blocks() if not any(first in text for first, *_folders in PLACES.values()))
    for text in [*texts, of_assistants()]:
        if place.name == "clone" or not CLONE.search(text):
            place.run(text)
    calls = [call for call in place.calls() if call[0] in PROGRAMS and "--version" not in call]
    assert len(calls) > 20
    for program, *arguments in calls:
        name = PROGRAMS[program]
        module = importlib.import_module(f"ansible.cli.{name}")
        cli = getattr(module, f"{'AdHoc' if name == 'adhoc' else name.title()}CLI")([program, *arguments])
        cli.init_parser()
        cli.parser.parse_args(arguments)
    playbooks = {word for call in calls for word in call if call[0] == "ansible-playbook" and word.startswith("ascend.gpustack.")}
    told = place.ansible("--list-tasks", *sorted(playbooks))
    taken = [pathlib.Path(path) for path in re.findall(r"^playbook: (\S+)$", told, flags=re.M)]
    assert {path.parent for path in taken} == {place.home / PLACES[place.name][2] / "ansible_collections/ascend/gpustack/playbooks"}
    assert [f"ascend.gpustack.{path.stem}" for path in taken] == sorted(playbooks)
    assert playbooks >= {
        f"ascend.gpustack.{name}" for name in ("site", "preflight", "verify", "variables", "swarm", "reset", "storage", "firewall")
    }
