# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is to say of the models of a generation of GPUStack: data alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Backend:
    """What runs a model. name: GPUStack's; parallel, context and memory: its parameters for the NPUs of an instance, the context length and
    the share of an NPU's memory, each with the other names that it goes by; share and shared_memory: what these are by default, the latter
    in GiB, 0 for its own; config: whether a model's folder has to have a config.json; spreads: whether an instance can run over several
    workers; engine: what runners have it by, empty where none has."""

    name: str
    parallel: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()
    share: float = 0.0
    shared_memory: int = 0
    config: bool = False
    spreads: bool = False
    engine: str = ""


@dataclass(frozen=True)
class Models:
    """What a model is to the management API. backends: by the names that gpustack_models has for them, and others whether further ones can
    be added; usual, gguf and speech: which of them is taken for a model that names none; selector: the worker's labels that GPUStack puts
    on a model without any; per_instance: the field of the number of NPUs of an instance, where those that are named are shared out among a
    model's instances, while elsewhere each takes them all; shared_memory: the variable with the size of /dev/shm in GiB; created: further
    fields of a model that is made; cluster: the field of its cluster; refused: parameters that GPUStack sets itself; asked: where a
    model is asked for an answer, by what it is asked for; bearer: whether the cluster token is shown as one there, of an account whose
    models GPUStack reads anew after minutes; beside: before these paths, where the same token is not that of an account.

    unsent: fields of GPUStack's own, which are read alone; untold: those that go back as they are, and say nothing of what the model is;
    defaults: of fields whose default is not empty."""

    backends: Mapping[str, Backend]
    usual: str
    gguf: str
    speech: str
    unsent: tuple[str, ...]
    untold: tuple[str, ...]
    defaults: Mapping[str, Any]
    refused: tuple[str, ...]
    asked: Mapping[str, str]
    others: bool = False
    selector: Mapping[str, str] = field(default_factory=dict)
    per_instance: str = ""
    shared_memory: str = ""
    created: Mapping[str, Any] = field(default_factory=dict)
    cluster: str = ""
    bearer: bool = False
    beside: str = ""
