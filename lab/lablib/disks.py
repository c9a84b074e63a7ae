# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What virtual machines are made of: a kernel, disks, and what each was right after its first boot.

As in the rest of the cache, names have a hash of what the thing is made from, and nothing appears before it is finished.
"""

from __future__ import annotations

import dataclasses
import pathlib

from lablib import images, qemu, shell, ssh
from lablib.images import PARTIAL, partial
from lablib.settings import PERSONAS, SOURCE, Lab

RECIPE = SOURCE / "host" / "vm"
DEBIAN = (3,)  # which of the hosts are Debian; all others are openEuler
MOST = 4


@dataclasses.dataclass(frozen=True)
class Parts:
    kernel: pathlib.Path
    roots: dict[str, pathlib.Path]
    seed: pathlib.Path

    @staticmethod
    def persona(number: int) -> str:
        return "debian" if number in DEBIAN else "openeuler"

    def root(self, number: int) -> pathlib.Path:
        return self.roots[self.persona(number)]

    def snapshot_prefix(self, number: int) -> str:
        return f"atlas{number}-{images.key(self.kernel.name, self.seed.name, self.root(number).name)}"


def folder(lab: Lab) -> pathlib.Path:
    return lab.cache / "vm"


def current(lab: Lab) -> Parts:
    """Where the parts are, or will be."""
    kernel_key = images.key(*((RECIPE / name).read_text(encoding="utf-8") for name in ("kernel", "initrd", "init")))
    public = ssh.public_key(lab).read_text(encoding="utf-8")
    roots = {}
    for persona in PERSONAS:
        tree = images.tree_key(dataclasses.replace(lab, persona=persona))
        key = images.key(tree, kernel_key, public, RECIPE, SOURCE / "npu")
        roots[persona] = folder(lab) / f"root-{persona}-{key}.raw"
    seed = folder(lab) / f"{images.seed_path(lab).name}.raw"
    return Parts(folder(lab) / f"kernel-{kernel_key}", roots, seed)


def build(lab: Lab, numbers: list[int]) -> Parts:
    """Make what is missing for these hosts. The caller holds the lock, and has made sure that the seed is there."""
    ssh.make_key(lab)
    folder(lab).mkdir(exist_ok=True)
    images.remove_leftovers(folder(lab))
    parts = current(lab)
    personas = {parts.persona(number) for number in numbers}
    missing = [persona for persona in personas if not parts.roots[persona].exists()]
    with lab.lock("images"):
        images.remove_leftovers(lab.cache)
        trees = {persona: images.tree(dataclasses.replace(lab, persona=persona)) for persona in missing}
        kernel(lab, parts.kernel)
        images.dcmi(lab)
    for persona, tree in trees.items():
        root_disk(lab, persona, tree, parts)
    if not parts.seed.exists():
        with shell.stage("make the disk with the images"), partial(parts.seed) as path:
            # Sparse, and without a journal: nobody writes to it.
            shell.run("mkfs.ext4", "-q", "-O", "^has_journal", "-d", str(images.seed_path(lab)), str(path), "8G")
    return parts


def kernel(lab: Lab, target: pathlib.Path) -> None:
    if not target.exists():
        with shell.stage("fetch a kernel"), partial(target) as path:
            path.mkdir()
            images.mmdebstrap("kernel", str(RECIPE / "kernel"), str(path), lab=lab)


def root_disk(lab: Lab, persona: str, tree: pathlib.Path, parts: Parts) -> None:
    target = parts.roots[persona]
    with shell.stage(f"make the {persona} disk"), partial(target) as path:
        work = target.with_name(f"tree{PARTIAL}")
        words = (tree, parts.kernel, images.dcmi_path(lab), ssh.public_key(lab), work, path)
        images.alone(str(RECIPE / "disk"), *map(str, words), log=lab.cache / "build-disk.log")


def words(lab: Lab, parts: Parts, number: int) -> list[str]:
    """How QEMU is started for this host, but for its name and the ports that lead to it."""
    # Programs that always lie at the same addresses need less translation by the emulator.
    parameters = ["tsc=reliable", "norandmaps", "apparmor=0", f"lab.address={lab.address(number)}"]
    if lab.unique_hostnames:
        parameters.append(f"systemd.hostname=atlas{number}")
    accelerator = qemu.accelerator(folder(lab), parts.kernel)
    # What guests ask to be written through stays in this machine's memory: it is faster, and as safe as a lab needs.
    root = qemu.disk("root", "disk.qcow2", "qcow2", "cache=unsafe")
    seed = qemu.disk("seed", str(parts.seed), "raw", "readonly=on")
    return [*qemu.machine(lab), *accelerator, *qemu.starting(parts.kernel, *parameters), *root, *seed]


def snapshot_path(lab: Lab, parts: Parts, number: int) -> pathlib.Path:
    """Of one host at one address: it can be no other's, for it has a host key and an engine of its own."""
    return folder(lab) / f"{parts.snapshot_prefix(number)}-{images.key(qemu.version(), *words(lab, parts, number))}"


def overlay(path: pathlib.Path, base: pathlib.Path, base_format: str) -> None:
    path.unlink(missing_ok=True)
    shell.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", base_format, str(path))


def prune(lab: Lab) -> None:
    """Remove what is half made or of another time. No virtual machine is left that could need it."""
    if not ssh.public_key(lab).exists():
        return
    parts = current(lab)
    kept = {path.name for path in (parts.kernel, parts.seed, *parts.roots.values())}
    prefixes = tuple(parts.snapshot_prefix(number) for number in range(1, MOST + 1))
    for path in folder(lab).glob("*-*"):
        if not (path.name in kept or path.name.startswith(("kvm-", *prefixes))):
            images.remove_tree(path)
    images.remove_leftovers(folder(lab))
