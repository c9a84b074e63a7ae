# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What hosts are made of: the host image, and the images that each host's own Docker Engine starts with.

Everything is kept in the cache under a name with a hash of what it is made from, and appears there by a rename, so
that a build that was killed leaves nothing that looks finished.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import shlex
import shutil
import ssl
import subprocess

from lablib import engine, shell
from lablib.settings import LABEL, PERSONAS, SOURCE, Lab

GPUSTACK_VERSIONS = ("0.7.1", "0.7.0", "2.3.0", "2.2.3")
RECIPES = ("gpustack", "runner", "vllm")
# By these standards it asks for no function that only this machine's C library has.
COMPILER = ("gcc", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-O2")
# A shell, as the image of that name has one; and its users.
HAPROXY = (
    "--variant=extract",
    "--include=haproxy,dash",
    "--extract-hook=mkdir -p $1/run $1/usr/local/etc/haproxy $1/var/lib/haproxy",
    "--extract-hook=printf 'root:x:0:0::/root:/bin/sh\\nhaproxy:x:99:99::/var/lib/haproxy:/usr/sbin/nologin\\n' >$1/etc/passwd",
    "--extract-hook=printf 'root:x:0:\\nhaproxy:x:99:\\n' >$1/etc/group",
)
PARTIAL = ".partial"
DEBIAN_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
CGROUP_V1 = not pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists()

# In place of --privileged, which needs a capability (SYS_RESOURCE) that not every machine gives. With the cgroup
# namespace of the machine, engines in the hosts work on cgroup v1 and v2 alike.
PRIVILEGES = (
    "--cap-add=ALL",
    "--cap-drop=SYS_RESOURCE",
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--security-opt=systempaths=unconfined",
    "--device-cgroup-rule=a *:* rwm",
    "--cgroupns=host",
    "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
    "--tmpfs=/run:mode=755",
    "--tmpfs=/tmp:exec,mode=1777",
)


@dataclasses.dataclass(frozen=True)
class Built:
    host_image: str
    seed: pathlib.Path


def key(*parts: str | pathlib.Path) -> str:
    """A hash over texts and over the names, modes and contents of the files below folders."""
    found = hashlib.sha256()
    for part in parts:
        files = [part] if isinstance(part, str) else sorted(path for path in part.rglob("*") if not path.is_dir())
        for file in files:
            if isinstance(file, str):
                found.update(file.encode())
                continue
            if "__pycache__" in file.parts:
                continue
            content = os.readlink(file).encode() if file.is_symlink() else file.read_bytes()
            found.update(f"{file.relative_to(SOURCE)} {file.lstat().st_mode:o}".encode() + content)
    return found.hexdigest()[:12]


@contextlib.contextmanager
def partial(target: pathlib.Path) -> collections.abc.Iterator[pathlib.Path]:
    """Give a path to build at, which takes the target's name when all went well."""
    path = target.with_name(target.name + PARTIAL)
    yield path
    path.rename(target)


def remove_leftovers(folder: pathlib.Path) -> None:
    for leftover in folder.glob(f"*{PARTIAL}"):
        remove_tree(leftover)


def remove_tree(path: pathlib.Path) -> None:
    shell.run("rm", "-rf", "--one-file-system", "--", str(path))


def has_image(name: str) -> bool:
    words = ["docker", "image", "inspect", name]
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60).returncode == 0


def tree(lab: Lab) -> pathlib.Path:
    """The root file system of the persona's hosts, without NPUs, as a tar file."""
    target = tree_path(lab)
    if not target.exists():
        with shell.stage(f"build the {lab.persona} file system"), partial(target) as path:
            mmdebstrap("host", str(SOURCE / "host" / "build"), lab.persona, str(path), lab=lab)
    return target


def tree_path(lab: Lab) -> pathlib.Path:
    return lab.cache / f"host-{lab.persona}-{tree_key(lab)}.tar"


def tree_key(lab: Lab) -> str:
    host = SOURCE / "host"
    return key(host / "common", host / lab.persona, (host / "build").read_text(encoding="utf-8"))


def mmdebstrap(what: str, *words: str, lab: Lab) -> None:
    if not shutil.which("mmdebstrap"):
        engine.install_packages("mmdebstrap")
    work = lab.cache / f"tree{PARTIAL}"
    work.mkdir()
    alone("env", f"TMPDIR={work}", *words, log=lab.cache / f"build-{what}.log")
    remove_tree(work)


def alone(*words: str, log: pathlib.Path) -> None:
    """Run what mounts or unpacks: when this process is killed, it dies with all its children, and its mounts go with it."""
    namespaces = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    shell.run("setpriv", "--pdeathsig", "KILL", *namespaces, *words, log=log)


def host_image(lab: Lab) -> str:
    """The container image of a host: the tree and the simulated NPUs, which change more often and are put on top."""
    base = f"{lab.name}/base:{lab.persona}-{tree_key(lab)}"
    image = host_image_name(lab)
    if has_image(image):
        return image
    if not has_image(base):
        archive = tree(lab)
        with shell.stage(f"import the {lab.persona} host image"):
            shell.docker("import", "--change", f"LABEL {LABEL}={lab.name}", str(archive), base)
    container = f"{lab.name}-host-build"
    shell.docker("rm", "--force", container)
    options = ("--name", container, "--label", lab.label, "--network=none", f"--volume={SOURCE}:/mnt:ro")
    setup = "sh /mnt/npu/install.sh / /media/libdcmi.so && sh /mnt/host/container/setup"
    shell.docker("run", *options, f"--volume={dcmi(lab).parent}:/media:ro", base, "sh", "-c", setup)
    shell.docker("commit", "--change", 'CMD ["/lib/systemd/systemd"]', container, image)
    shell.docker("rm", "--force", container)
    return image


def dcmi_path(lab: Lab) -> pathlib.Path:
    return lab.cache / f"dcmi-{key((SOURCE / 'npu' / 'libdcmi.c').read_text(encoding='utf-8'), *COMPILER)}" / "libdcmi.so"


def dcmi(lab: Lab) -> pathlib.Path:
    """The driver's library that GPUStack 2 loads, for NPUs that are simulated. The caller holds the lock of the images."""
    target = dcmi_path(lab)
    if not target.exists():
        if not shutil.which(COMPILER[0]):
            engine.install_packages("gcc", "libc6-dev")
        with partial(target.parent) as folder:
            folder.mkdir()
            shell.run(*COMPILER, "-o", str(folder / target.name), str(SOURCE / "npu" / "libdcmi.c"))
    return target


def pip_settings() -> str:
    """How pip reaches the index inside the build, as it does here."""
    settings = {"cert": "/mnt/ca.pem", "no-cache-dir": "true", "disable-pip-version-check": "true"}
    settings["root-user-action"] = "ignore"
    for name, variable in (("index-url", "PIP_INDEX_URL"), ("proxy", "https_proxy")):
        if os.environ.get(variable):
            settings[name] = os.environ[variable]
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())


def pip_certificates() -> str:
    return os.environ.get("PIP_CERT") or ssl.get_default_verify_paths().cafile or DEBIAN_CERTIFICATES


def seed_path(lab: Lab) -> pathlib.Path:
    return lab.cache / f"seed-{key(*(SOURCE / name for name in RECIPES), *GPUSTACK_VERSIONS, *HAPROXY)}"


def seed_builder(lab: Lab) -> str:
    """One name for all labs of a cache: whichever builds next must find the container of one that was killed."""
    return f"ascend-gpustack-lab-seed-build-{key(str(lab.cache))}"


def seed(lab: Lab, host: str) -> pathlib.Path:
    """A folder with the data of a Docker Engine that has the images: what is copied, and layers to share."""
    target = seed_path(lab)
    if target.exists():
        return target
    haproxy = haproxy_tree(lab)
    with shell.stage("build the GPUStack and vLLM images"), partial(target) as path:
        (path / "debs").mkdir(parents=True)
        options = ["--variant=minbase", f"--include={','.join(packages('gpustack/packages'))}"]
        options += aside(packages("gpustack/v2/packages"), path / "debs")
        mmdebstrap("gpustack", "mmdebstrap", *options, "bookworm", str(path / "base.tar"), lab=lab)
        build_in_engine(lab, host, haproxy, path)
    return target


def packages(path: str) -> list[str]:
    return [line for line in shell.lines((SOURCE / path).read_text(encoding="utf-8")) if not line.startswith("#")]


def aside(names: list[str], folder: pathlib.Path) -> list[str]:
    """Options that put packages, without what they need, into a folder of this machine rather than into the tree."""
    fetch = f"cd /tmp/debs && apt-get -qq download {' '.join(names)}"
    hooks = ('mkdir -m 777 "$1/tmp/debs"', f"chroot \"$1\" sh -c '{fetch}'", f"sync-out /tmp/debs {shlex.quote(str(folder))}")
    return [f"--customize-hook={hook}" for hook in (*hooks, 'rm -r "$1/tmp/debs"')]


def haproxy_path(lab: Lab) -> pathlib.Path:
    return lab.cache / f"haproxy-{key(*HAPROXY)}"


def haproxy_tree(lab: Lab) -> pathlib.Path:
    """A file system with Debian's HAProxy, as a folder. The caller holds the lock of the images."""
    target = haproxy_path(lab)
    if not target.exists():
        with shell.stage("fetch HAProxy"), partial(target) as path:
            mmdebstrap("haproxy", "mmdebstrap", *HAPROXY, "bookworm", str(path), lab=lab)
    return target


def build_in_engine(lab: Lab, host: str, haproxy: pathlib.Path, path: pathlib.Path) -> None:
    build = path.with_name(f"gpustack-build{PARTIAL}")
    build.mkdir()
    for name in RECIPES:
        shutil.copytree(SOURCE / name, build / name)
    (build / "pip.conf").write_text(pip_settings(), encoding="utf-8")
    (build / "pip.conf").chmod(0o600)
    shutil.copy(pip_certificates(), build / "ca.pem")
    volumes = (f"--volume={build}:/lab-build", f"--volume={haproxy}:/lab-haproxy:ro", f"--volume={path}:/lab-seed")
    words = ("sh", "/lab-build/gpustack/build", *GPUSTACK_VERSIONS)
    options = ("--rm", "--name", seed_builder(lab), "--label", lab.label, "--network=host", *cgroup_options(lab))
    shell.run("docker", "run", *options, *PRIVILEGES, *volumes, host, *words, log=lab.cache / "build-gpustack.log")
    remove_tree(build)


def cgroup_options(lab: Lab) -> tuple[str, ...]:
    """On cgroup v1 the engines in the hosts make their groups at the machine's root: have them in one place."""
    return (f"--env=DOCKER_OPTS=--cgroup-parent=/{lab.name}",) if CGROUP_V1 else ()


def host_image_name(lab: Lab) -> str:
    return f"{lab.name}/host:{lab.persona}-{key(tree_key(lab), SOURCE / 'npu', SOURCE / 'host' / 'container')}"


def build(lab: Lab) -> Built:
    if has_image(host_image_name(lab)) and seed_path(lab).exists():
        return Built(host_image_name(lab), seed_path(lab))
    with lab.lock("images"):
        # A build that was killed may have left its container at work on the folder.
        shell.docker("rm", "--force", seed_builder(lab))
        remove_leftovers(lab.cache)
        image = host_image(lab)
        return Built(image, seed(lab, image))


def remove(lab: Lab) -> None:
    """Remove this lab's images from the engine of the machine."""
    words = ("image", "ls", "--no-trunc", "--filter", f"label={lab.label}", "--format", "{{.Repository}} {{.ID}}")
    # Hosts come before the bases that they stand on.
    images = [line.split()[1] for line in sorted(shell.lines(shell.docker(*words)), reverse=True)]
    if images:
        with shell.stage("remove images"):
            shell.docker("image", "rm", "--force", *dict.fromkeys(images))


def mounted() -> set[str]:
    """What containers of this machine have mounted: another lab may still run on an older seed."""
    names = shell.lines(shell.docker("ps", "--all", "--quiet"))
    template = "{{range .Mounts}}{{.Source}}\n{{end}}"
    return set(shell.lines(shell.docker("inspect", "--format", template, *names))) if names else set()


def prune(lab: Lab) -> None:
    """Remove from the cache what is half made or of another time."""
    used = mounted()
    kept = {tree_path(dataclasses.replace(lab, persona=persona)) for persona in PERSONAS}
    kept |= {seed_path(lab), haproxy_path(lab), dcmi_path(lab).parent}
    for path in (path for pattern in ("host-*", "seed-*", "haproxy-*", "dcmi-*", f"*{PARTIAL}") for path in lab.cache.glob(pattern)):
        if path not in kept and str(path) not in used:
            remove_tree(path)
