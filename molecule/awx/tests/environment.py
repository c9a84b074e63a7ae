"""The project's execution environment without internet, built on a base image that is made here."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

import yaml
from conftest import LAB, ROOT

sys.path.insert(0, str(ROOT / "lab"))

from lablib import images
from lablib.settings import LABEL

BASE, IMAGE = f"{LAB}/controller:latest", f"{LAB}/execution-environment:latest"


def build(project: pathlib.Path, folder: pathlib.Path) -> str:
    """Build the image from the project's own definition, changed in what names a registry and RPMs; return its name."""
    archive = run(ROOT / "lab/archive", "controller").splitlines()[-1]
    run("docker", "import", "--change", f"LABEL {LABEL}={LAB}", archive, BASE)
    shutil.copytree(project, folder)
    (folder / "mirror/pip.conf").write_text(images.pip_settings())
    shutil.copy(images.pip_certificates(), folder / "mirror/ca.pem")
    definition = yaml.safe_load((folder / "execution-environment-airgap.yml").read_text())
    definition["images"]["base_image"]["name"] = BASE
    del definition["dependencies"]["python_interpreter"]
    definition["options"] = {"package_manager_path": "/usr/bin/apt-get", "skip_pip_install": True}
    definition["additional_build_steps"]["prepend_base"].append("COPY _build/mirror/ca.pem /mnt/ca.pem")
    (folder / "here.yml").write_text(yaml.safe_dump(definition))
    run("ansible-builder", "create", "--file", "here.yml", "--output-filename", "Containerfile", cwd=folder)
    options = ("--network=host", "--build-arg", "PKGMGR_PRESERVE_CACHE=always", "--label", f"{LABEL}={LAB}", "--tag", IMAGE)
    run("docker", "build", *options, "--file", "context/Containerfile", "context", cwd=folder)
    return IMAGE


def run(*words: object, cwd: pathlib.Path = ROOT) -> str:
    done = subprocess.run([str(word) for word in words], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout
