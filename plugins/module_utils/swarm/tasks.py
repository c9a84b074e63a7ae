# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a stack's services stand, from what `docker inspect` tells of its nodes, services and tasks. Pure functions.

A task whose service has a health check is running once that has passed; until then it is starting. Nodes are known by their ID,
and told by the label gpustack.name, since several hosts may share one host name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.cli import epoch

NAME_LABEL, NPU_LABEL = "gpustack.name", "gpustack.npu"
KIND = "NPU"
# As often in one place since the wait began, a task that ended is not going to run.
REPEATED = 3
# Seconds after which a task without a host is not going to get one: longer than what it replaces takes to stop
UNPLACED = 120
ENDED = ("failed", "rejected", "complete")
_CONSTRAINT = re.compile(r"node\.labels\.(\S+?)\s*(==|!=)\s*(.*)\Z")
_LOG = "Its log says why: docker service logs --tail 50 {name}"
_REMEDIES = (
    (r"No chain/target/match by that name", "A firewall removed Docker's iptables chains: run playbooks/firewall.yml for this host."),
    (r"insufficient resources", "See what holds the NPUs there, or lower the service's npus."),
    (r"No such image|no such image|pull access denied|manifest unknown|failed to resolve reference", "Bring the image to this host."),
    (r"bind source path does not exist", "Mount the model store there: run playbooks/storage.yml."),
    (r"npu-runtime", "Run playbooks/preflight.yml for this host."),
    (r"unhealthy", "If loading the weights takes longer, raise the service's start_period; its log: docker service logs --tail 50 {name}"),
    (r"non-zero exit", _LOG),
)  # fmt: skip
_DEFAULT = "Mend what that names; Swarm goes on trying."


@dataclass(frozen=True)
class Service:
    """How one service stands. hosts are those where it runs. stuck: waiting longer is in vain."""

    name: str
    wanted: int
    running: int
    starting: int
    hosts: list[str]
    update: str | None
    problems: list[str]
    stuck: bool

    def as_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("name", "wanted", "running", "starting", "hosts", "update")}


def node_name(node: Mapping[str, Any]) -> str:
    return (node["Spec"].get("Labels") or {}).get(NAME_LABEL) or f"node {node['ID']}"


def is_ready(node: Mapping[str, Any]) -> bool:
    return node["Status"].get("State") == "ready" and node["Spec"].get("Availability") == "active"


def npu_nodes(nodes: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many NPUs each host offers that services with NPUs may use."""
    found = {}
    for node in nodes:
        if (node["Spec"].get("Labels") or {}).get(NPU_LABEL) == "true":
            resources = (node["Description"].get("Resources") or {}).get("GenericResources") or []
            found[node_name(node)] = sum(map(_amount, resources))
    return dict(sorted(found.items()))


def _amount(resource: Mapping[str, Any]) -> int:
    named, discrete = resource.get("NamedResourceSpec") or {}, resource.get("DiscreteResourceSpec") or {}
    if named.get("Kind") == KIND:
        return 1
    return int(discrete.get("Value", 0)) if discrete.get("Kind") == KIND else 0


def matches(node: Mapping[str, Any], constraints: Iterable[str]) -> bool:
    """Whether a node has the labels that the constraints ask for; other constraints are not looked at."""
    labels = node["Spec"].get("Labels") or {}
    for constraint in constraints:
        found = _CONSTRAINT.match(constraint.strip())
        if found and (labels.get(found.group(1), "").lower() == found.group(3).strip().lower()) != (found.group(2) == "=="):
            return False
    return True


def judge(name: str, service: Mapping[str, Any], tasks: list[dict], nodes: list[dict], since: float, now: float) -> Service:
    """since: when the wait began; what ended before is not counted against the service. Both by the manager's clock."""
    spec = service["Spec"]
    fitting = {node["ID"]: node for node in nodes if matches(node, (spec["TaskTemplate"].get("Placement") or {}).get("Constraints") or [])}
    replicas = (spec["Mode"].get("Replicated") or {}).get("Replicas")
    ready = [node_id for node_id, node in fitting.items() if is_ready(node)]
    places = _by_place([task for task in tasks if task["ServiceID"] == service["ID"]], replicas is not None)
    expected = [str(number) for number in range(1, replicas + 1)] if replicas is not None else ready
    names = {node["ID"]: node_name(node) for node in nodes}
    # A host that is down still tells its last state.
    current = {place: _current(places[place]) for place in expected if place in places}
    running = [task for task in current.values() if _state(task) == "running" and _is_up_to_date(task, service)]
    update = service.get("UpdateStatus") or {}
    general = _general_problems(name, update, expected)
    lacking = [place for place in expected if current.get(place) not in running]
    found = [
        _problem(name, service, places.get(place, []), names, names.get(place), since, now)
        for place in sorted(lacking, key=lambda place: names.get(place, place.zfill(9)))
    ]
    return Service(
        name=name,
        wanted=len(expected),
        running=len(running),
        starting=sum(_state(task) in ("preparing", "starting", "ready") for task in current.values()),
        hosts=sorted(names.get(task.get("NodeID", ""), "?") for task in running),
        update=update.get("State"),
        problems=general + [problem for problem, _in_vain in found],
        # While an update goes on, what is next in it may be what a task waits for.
        stuck=bool(general) or (update.get("State") != "updating" and any(in_vain for _text, in_vain in found)),
    )


def _general_problems(name: str, update: Mapping[str, Any], expected: list[str]) -> list[str]:
    """What keeps a service from running wherever it is, and goes on doing so."""
    problems = []
    if update.get("State") == "paused":
        problems.append(
            f"Swarm: the update of service {name} is paused ({update.get('Message', 'no reason given')}); expected it to go on. "
            "Mend the cause, and run playbooks/swarm.yml again."
        )
    if not expected:
        problems.append(
            f"Swarm: service {name} has no host that is ready and matches its constraints; expected one at least. See: docker node ls"
        )
    return problems


def _by_place(tasks: list[dict], replicated: bool) -> dict[str, list[dict]]:
    """The tasks of each slot or node, the newest first."""
    places: dict[str, list[dict]] = {}
    for task in sorted(tasks, key=_created, reverse=True):
        place = str(task.get("Slot", "")) if replicated else task.get("NodeID", "")
        places.setdefault(place, []).append(task)
    return places


def _current(history: list[dict]) -> dict:
    """The task that is to run; the newest where none is."""
    return next((task for task in history if task.get("DesiredState") in ("running", "ready")), history[0])


def _created(task: Mapping[str, Any]) -> float:
    return epoch(task["CreatedAt"]) or 0.0


def _state(task: Mapping[str, Any]) -> str:
    return task["Status"].get("State", "")


def _is_up_to_date(task: Mapping[str, Any], service: Mapping[str, Any]) -> bool:
    """As Swarm decides whether an update has to replace a task; one that only moves to other hosts does not."""
    template = service["Spec"]["TaskTemplate"]
    return all(
        _filled(task["Spec"].get(key)) == _filled(template.get(key)) for key in ("ContainerSpec", "Resources", "Networks", "ForceUpdate")
    )


def _filled(value: Any) -> Any:
    """Without what is empty: docker writes that for services and leaves it out for tasks."""
    if isinstance(value, Mapping):
        return {key: _filled(item) for key, item in value.items() if _filled(item)} or None
    if isinstance(value, list):
        return [_filled(item) for item in value] or None
    return value or None


def _problem(
    name: str, service: Mapping[str, Any], history: list[dict], names: Mapping[str, str], host: str | None, since: float, now: float
) -> tuple[str, bool]:
    """Why a place's task does not run, and whether waiting for it is in vain."""
    full_name = service["Spec"]["Name"]
    if not history:
        return f"{host or 'Swarm'}: service {name} has no task yet; expected it running. See: docker service ps {full_name}", False
    task = _current(history)
    status = task["Status"]
    ended = [each for each in history if _state(each) in ENDED and (_created(each) >= since or _is_up_to_date(each, service))]
    counted = sum(_created(each) >= since for each in ended)
    where = host or names.get(task.get("NodeID", ""), "Swarm")
    if _state(task) == "pending" and status.get("Err"):
        waited = now - (epoch(status.get("Timestamp", "")) or now)
        return _sentence(where, f"service {name} cannot be placed", status["Err"], full_name), waited >= UNPLACED
    if ended:
        where = host or names.get(ended[0].get("NodeID", ""), "Swarm")
        verb = "is rejected" if _state(ended[0]) == "rejected" else "ends again and again" if counted >= REPEATED else "ended"
        return _sentence(where, f"service {name} {verb}", _error(ended[0]), full_name), counted >= REPEATED
    seconds = round(now - _created(task))
    return f"{where}: service {name} is {_state(task)} since {seconds} s; expected it healthy. {_LOG.replace('{name}', full_name)}", False


def _sentence(where: str, what: str, text: str, full_name: str) -> str:
    remedy = next((remedy for pattern, remedy in _REMEDIES if re.search(pattern, text)), _DEFAULT)
    return f"{where}: {what}: {redact.text(text).strip().rstrip('.')}; expected it running. {remedy.replace('{name}', full_name)}"


def _error(task: Mapping[str, Any]) -> str:
    status = task["Status"]
    code = (status.get("ContainerStatus") or {}).get("ExitCode")
    text = " ".join(status.get("Err", "").split()) or status.get("Message") or "no reason given"
    return text if not code or f"({code})" in text else f"{text} (exit code {code})"


def progress(services: Iterable[Service]) -> str:
    return ", ".join(f"{service.name} {service.running} of {service.wanted}" for service in services)


def node_notes(nodes: Iterable[Mapping[str, Any]]) -> list[str]:
    """Hosts with NPUs on which Swarm starts nothing."""
    notes = []
    for node in nodes:
        if (node["Spec"].get("Labels") or {}).get(NPU_LABEL) == "true" and not is_ready(node):
            state = node["Status"].get("State")
            state = node["Spec"].get("Availability") if state == "ready" else state
            notes.append(f"{node_name(node)}: it is {state} in the Swarm, and runs none of the services.")
    return sorted(notes)
