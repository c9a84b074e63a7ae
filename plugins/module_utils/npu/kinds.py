# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the generations of Ascend chips differ in, for all that looks at a host's NPUs or gives them to a container."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

# What HCCL reads of how a host's NPUs are joined
ROOT_INFO = "/etc/hccl_rootinfo.json"


@dataclass(frozen=True)
class Kind:
    """One generation of chips.

    name: as tags of images with engines have it; title: as people say it; pattern: of its chips' names in npu-smi, without Ascend.
    managers: the driver's own device nodes, without which a container can use no NPU. fabric: device nodes, or directories of them,
    through which the NPUs talk to each other, on machines of this name. root_info: the version of ROOT_INFO that its HCCL takes, which
    refuses every other (EI0014), empty where that is not known; given: whether a container needs that file. joined: what joins the NPUs
    of several hosts beside the network ports that hccn_tool shows, empty where nothing does.
    """

    name: str
    title: str
    pattern: str
    managers: tuple[str, ...] = ("davinci_manager", "devmm_svm", "hisi_hdc")
    fabric: tuple[str, ...] = ()
    machine: str = ""
    root_info: str = ""
    given: bool = False
    joined: str = ""


KINDS = (
    Kind("910b", "910B", r"910B", root_info="1.0"),
    Kind("310p", "310P", r"310P"),
    # That links which are DOWN do no harm there rests on the notes of two users; vllm-ascend's page on large scale EP has HCCS join the
    # NPUs of a host and of several hosts.
    Kind("a3", "A3", r"910_9|910$", root_info="1.2", joined="HCCS"),
    # The nodes as in vllm-ascend's and CANN's commands for 950, which has the fabric on aarch64 alone.
    # Without the file HCCL asks the driver.
    Kind(
        "950",
        "950",
        r"950",
        managers=("davinci_manager", "hisi_hdc"),
        fabric=("uburma", "ummu"),
        machine="aarch64",
        root_info="2.0",
        given=True,
        joined="UB",
    ),
)
# Of a chip that is none of these
OTHER = Kind("", "", r"(?!)")
# Device nodes of the driver's own and further files of all kinds, by their paths
NODES = tuple(dict.fromkeys(f"/dev/{name}" for kind in (*KINDS, OTHER) for name in (*kind.managers, *kind.fabric)))
FILES = (ROOT_INFO,)


def of_chip(name: str | None) -> Kind:
    short = re.sub(r"^Ascend", "", str(name or ""))
    return next((kind for kind in KINDS if re.match(kind.pattern, short)), OTHER)


def of_host(names: Iterable[str | None], dev: str) -> Kind:
    """By the first of its chips that has a name; without any, by a fabric that no other kind has. dev: the directory of device nodes."""
    known = [of_chip(name) for name in names if name]
    shown = [kind for kind in KINDS if any(os.path.exists(os.path.join(dev, name)) for name in kind.fabric)]
    return next(iter(known + shown), OTHER)


def of_root_info(version: str) -> str:
    """Whose file of this version is."""
    return next((kind.title for kind in KINDS if kind.root_info == version), "no chips that are known")
