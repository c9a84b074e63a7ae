# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The hosts themselves: containers that boot systemd and are reached over SSH."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

from lablib import images, shell, ssh
from lablib.images import Built
from lablib.settings import Lab

BOOT_SECONDS = 120


def containers(lab: Lab) -> dict[str, str]:
    """Names and states of this lab's containers."""
    words = ("ps", "--all", "--filter", f"label={lab.label}", "--format", "{{.Names}} {{.State}}")
    return dict(line.split(" ", 1) for line in shell.lines(shell.docker(*words)))


def make_network(lab: Lab) -> None:
    names = shell.docker("network", "ls", "--filter", f"label={lab.label}", "--format", "{{.Name}}")
    if lab.name not in shell.lines(names):
        outside = "com.docker.network.bridge.enable_ip_masquerade=false"
        subnet = f"--subnet={lab.net}.0/24"
        try:
            shell.docker("network", "create", "--label", lab.label, "--opt", outside, subnet, lab.name)
        except shell.Failure as failure:
            raise shell.Failure(f"{failure}\nSet LAB_NET where {lab.net}.0/24 is in use on this machine.") from failure


def make_volume(lab: Lab, name: str) -> None:
    shell.docker("volume", "create", "--label", lab.label, name)


def create(lab: Lab, built: Built, number: int) -> None:
    name = lab.host(f"atlas{number}")
    make_volume(lab, f"{name}-docker")
    options = [f"--name={name}", f"--label={lab.label}", f"--network={lab.name}", f"--ip={lab.address(number)}"]
    options += ["--hostname", f"atlas{number}" if lab.unique_hostnames else "localhost.localdomain"]
    options += [f"--volume={name}-docker:/var/lib/docker", f"--volume={lab.store}:/data/models"]
    options += [f"--volume={built.seed}:/usr/share/lab/seed:ro", f"--volume={ssh.public_key(lab)}:/root/.ssh/authorized_keys:ro"]
    if number == 1:
        options += [f"--publish=127.0.0.1:{lab.page_port}:8080"]
    # As much shared memory as an engine of a container that shares the host's asks for; Docker's own default is less.
    options += ["--shm-size=2g", *images.PRIVILEGES, *images.cgroup_options(lab)]
    shell.docker("run", "--detach", *options, built.host_image, "/lib/systemd/systemd")


def wait_for_boot(name: str) -> None:
    address = shell.docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name).strip()
    shell.wait_until(f"{name} answers on SSH", lambda: ssh.answers(address), BOOT_SECONDS)
    words = ["docker", "exec", name, "systemctl", "is-system-running", "--wait"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BOOT_SECONDS)
    if done.stdout.strip() != "running":
        units = shell.docker("exec", name, "systemctl", "--failed", "--no-legend", "--plain")
        raise shell.Failure(f"{name} is {done.stdout.strip() or done.stderr.strip()}: {units}")


def up(lab: Lab, built: Built, count: int) -> None:
    """Make the hosts that are not there and start those that stand still; the running ones stay as they are."""
    present = containers(lab)
    names = [lab.host(f"atlas{number}") for number in range(1, count + 1)]
    with shell.stage(f"start {count} hosts"):
        ssh.make_key(lab)
        make_network(lab)
        make_volume(lab, lab.store)
        missing = [number for number in range(1, count + 1) if names[number - 1] not in present]
        shell.together(lambda number: create(lab, built, number), missing)
        shell.together(lambda name: shell.docker("start", name), [name for name in names if present.get(name, "running") != "running"])
    with shell.stage("wait for their boot"):
        shell.together(wait_for_boot, names)


def reset(lab: Lab, built: Built, count: int) -> None:
    with shell.stage("remove the hosts"):
        remove_hosts(lab)
    up(lab, built, count)


def remove_hosts(lab: Lab) -> None:
    """Remove containers and volumes, also those that a killed run left."""
    names = list(containers(lab))
    shell.together(lambda name: shell.docker("rm", "--force", "--volumes", name), names)
    volumes = shell.lines(shell.docker("volume", "ls", "--quiet", "--filter", f"label={lab.label}"))
    if volumes:
        shell.docker("volume", "rm", "--force", *volumes)
    remove_cgroups(lab)


def remove_cgroups(lab: Lab) -> None:
    """On cgroup v1 nobody else removes the groups of containers that died with their engine."""
    if images.CGROUP_V1:
        for root in pathlib.Path("/sys/fs/cgroup").glob(f"*/{lab.name}"):
            for folder in sorted((path for path in (root, *root.rglob("*")) if path.is_dir()), reverse=True):
                folder.rmdir()


def down(lab: Lab) -> None:
    with shell.stage("remove hosts, volumes, network"):
        remove_hosts(lab)
        networks = shell.lines(shell.docker("network", "ls", "--quiet", "--filter", f"label={lab.label}"))
        if networks:
            shell.docker("network", "rm", *networks)


def stop(lab: Lab, names: list[str]) -> None:
    shell.together(lambda name: shell.docker("kill", lab.host(name)), names)


def start(lab: Lab, names: list[str]) -> None:
    shell.together(lambda name: shell.docker("start", lab.host(name)), names)
    shell.together(lambda name: wait_for_boot(lab.host(name)), names)


def execute(lab: Lab, name: str, words: list[str]) -> None:
    """Become the command on the host."""
    terminal = ["--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    words = words[1:] if words[:1] == ["--"] else words
    os.execvp("docker", ["docker", "exec", "--interactive", *terminal, lab.host(name), *(words or ["bash"])])


def status(lab: Lab) -> None:
    for name, state in sorted(containers(lab).items()):
        address = shell.docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name).strip()
        print(f"{name:32} {address or '-':16} {state}")
