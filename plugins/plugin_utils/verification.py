# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What GPUStack says of its workers beside what the hosts say of themselves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.version import relation
from ansible_collections.ascend.gpustack.plugins.plugin_utils import collection
from ansible_collections.ascend.gpustack.plugins.plugin_utils.cluster import addresses, setting
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.connections import connection_problem
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Finding
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.store import DEAD_STORE_REMEDY, dead_store

FAILED_BEFORE = "failed earlier in this run"
NO_HOST: dict = {}
NO_RECORD = {"state": ""}


@dataclass
class Seen:
    """One host: what to know of it besides GPUStack's own record."""

    name: str
    address: str
    # Why it takes no part: it was not reached, or it failed before
    away: str = ""
    # Why the host itself is not fit to work, a sentence each
    unfit: list[str] = field(default_factory=list)
    # Its NPUs that are listed and not used, such as `NPU 5 Alarm`; None where nobody looked
    unwell: list[str] | None = None
    # Docker's word for a container that does not run and that nobody starts; empty for others
    still: str = ""
    # Why its worker is not ready, as its container tells; empty where that is not known
    cause: str = ""
    findings: list[Finding] = field(default_factory=list)


def seen(host: str, hostvars: Any, live: list[str]) -> Seen:
    """live: the hosts that have not failed in this run."""
    npus = setting(hostvars, host, "ascend_driver_check_npus", NO_HOST) or NO_HOST
    found = Seen(setting(hostvars, host, "gpustack_worker_name", host), addresses([host], hostvars)[0])
    found.unwell, found.unfit = npus.get("unwell"), npus.get("problems") or []
    answers = [setting(hostvars, host, fact, NO_HOST) or NO_HOST for fact in ("ascend_driver_check_npu_info", "gpustack_store_seen")]
    found.cause = setting(hostvars, host, "gpustack_cause", "")
    silent = next((answer for answer in answers if answer.get("unreached") or answer.get("unreachable")), None)
    if silent:
        problem = connection_problem(str(silent.get("msg") or ""), bool(silent.get("password_given")))
        found.away = problem.message
        found.findings.append(problem)
    elif host not in live:
        found.away = FAILED_BEFORE
    container = answers[1].get("container") or {}
    found.still = str(container["status"]) if container.get("stands_still") else ""
    found.findings += _container(container)
    store = answers[1].get("store") or {}
    if store and store.get("answers") is False:
        found.findings.append(Finding("store", "fail", dead_store(store["path"], store["source"], store["error"]), DEAD_STORE_REMEDY))
    found.findings += [Finding("npus", "fail", problem.rstrip(".")) for problem in found.unfit]
    return found


def _container(seen: dict) -> list[Finding]:
    """Of a host's own container, which GPUStack's word on its worker lags behind by half a minute and more."""
    name = seen.get("name")
    if seen.get("error"):
        text = f"Docker does not tell whether the container {name} runs ({seen['error']}); expected it to run"
        return [Finding("container", "fail", text, "See there: systemctl status docker")]
    if not seen.get("stands_still"):
        return []
    if seen["status"] == "missing":
        return [Finding("container", "fail", f"there is no container {name}; expected one that runs", "Make it with the playbook site.")]
    command = f"docker {'unpause' if seen['status'] == 'paused' else 'start'} {name}"
    return [Finding("container", "fail", f"the container {name} is {seen['status']}; expected it to run", f"Start it there:\n  {command}")]


def expected_npus(host: str, hostvars: Any, live: list[str]) -> int | None:
    """How many NPUs a worker must have in GPUStack: as many as were found, else as many as it should have. None, where GPUStack can't have
    it right: of a host that is away nothing is known, and one that is unfit itself or whose container stands still is told as such."""
    known = seen(host, hostvars, live)
    if known.away or known.unfit or known.still:
        return None
    npus = setting(hostvars, host, "ascend_driver_check_npus", NO_HOST) or NO_HOST
    return int(npus.get("count", setting(hostvars, host, "ascend_driver_check_expected_npus", 8)))


def findings(
    info: dict, hosts: dict[str, Seen], workers: dict[str, Seen], server: str, twins: list[tuple[str, Finding]]
) -> list[tuple[str, Finding]]:
    """All that is wrong, as (host, finding). What is the server's is told of the first host, where this run leaves the server out. twins:
    hosts that GPUStack takes for one worker, of which it knows now the one and now the other."""
    records = {worker["name"]: worker for worker in info.get("workers", [])}
    found = _of_hosts(records, hosts, workers, server) + twins
    one = {host for host, _item in twins}
    blamed = server if server in hosts else next(iter(hosts))
    if "workers" in info:
        unfit = {host: known for host, known in workers.items() if known.unfit and not known.still and host not in one}
        found += [(host, item) for host, known in unfit.items() for item in _unready(known, records.get(known.name))]
    elif not hosts[blamed].away and not (blamed == server and hosts[blamed].still):
        text = f"GPUStack could not be asked for its workers: {info.get('msg') or 'no answer'}"
        found.append((blamed, Finding("server", "fail", text.rstrip("."))))
    found += _versions_apart(records, workers, info.get("version", ""))
    for problem in info.get("problems") or []:
        # Those of a worker begin with its name.
        own = [host for host, known in workers.items() if problem.startswith(f"worker {known.name}: ")]
        if one.intersection(own):
            continue
        found.append(
            (own[0], Finding("worker", "fail", _with_cause(problem.split(": ", 1)[1], workers[own[0]].cause).rstrip(".")))
            if own
            else (blamed, Finding("server", "fail", problem.rstrip(".")))
        )
    return found


def _of_hosts(records: dict[str, dict], hosts: dict[str, Seen], workers: dict[str, Seen], server: str) -> list[tuple[str, Finding]]:
    """What the hosts say of themselves. Whatever is wrong with one that rests, it is in nobody's way, and its container may be stopped. The
    server never rests as a whole."""
    records_of = {host: records.get(known.name, NO_RECORD) for host, known in workers.items() if host != server}
    resting = {host for host, record in records_of.items() if _state(record, workers[host]) == "drained"}
    found = [(host, item) for host, known in hosts.items() if host not in resting for item in known.findings]
    left = [(host, item) for host in resting for item in workers[host].findings if item.check != "container"]
    return found + [(host, replace(item, result="warn")) for host, item in left]


def _versions_apart(records: dict[str, dict], workers: dict[str, Seen], version: str) -> list[tuple[str, Finding]]:
    """Workers of another version than the server's: older ones serve until their turn comes, newer ones are meant for another server."""
    found = []
    for host, known in workers.items():
        runs = str(records.get(known.name, NO_RECORD).get("worker_version") or "")
        how, text = relation(runs, version), f"its worker runs GPUStack {runs.lstrip('v')}, the server {version.lstrip('v')}"
        if how == "older":
            found.append((host, Finding("version", "warn", text, "It serves; the playbook upgrade brings it up.")))
        elif how == "newer":
            remedy = "Run the playbook upgrade to have the server follow, or rollback to have the worker go back."
            found.append((host, Finding("version", "fail", f"{text}; expected none newer than the server", remedy)))
    return found


def loss_findings(lost: list[str], hosts: dict[str, Seen], server: str) -> list[tuple[str, Finding]]:
    """What GPUStack no longer knows, as a finding of its server's."""
    return [(server if server in hosts else next(iter(hosts)), Finding("records", "fail", *lost[:2]))] if lost else []


def _with_cause(problem: str, cause: str) -> str:
    """What GPUStack says of a worker; a remedy that is a guess gives way to the cause that is known."""
    return f"{problem.split('; expected', 1)[0]}; {cause}" if cause else problem


def _unready(known: Seen, worker: dict | None) -> list[Finding]:
    """What is wrong in GPUStack with a host that was not waited for."""
    if known.away:
        return []
    if worker is None:
        return [Finding("worker", "fail", "GPUStack does not know it")]
    return [Finding("worker", "fail", f"GPUStack has it as {_state(worker)}")] if _state(worker) not in ("ready", "drained") else []


def _state(worker: dict, known: Seen | None = None) -> str:
    """GPUStack's own, but for one that this collection has rest, which it may not have noticed yet, and for one that it takes for ready and
    that gives no sign of life."""
    if worker.get("drained") and (worker["state"] != "ready" or (known and known.still)):
        return "drained"
    return "silent" if worker.get("silent") else worker["state"]


def present(info: dict, workers: dict[str, Seen]) -> list[dict]:
    """GPUStack's records of the hosts that are not away."""
    away = {known.name for known in workers.values() if known.away}
    return [worker for worker in info.get("workers", []) if worker["name"] not in away]


def worker_rows(workers: list[dict], hosts: dict[str, Seen], version: str) -> list[tuple[str, ...]]:
    """A row for each worker that GPUStack knows, and for each host that is away; a note only where one has something to note. version: the
    server's, which a worker may lag behind."""
    by_name = {known.name: known for known in hosts.values()}
    away = [known for known in hosts.values() if known.away and known.name not in {worker["name"] for worker in workers}]
    rows: list[tuple[str, ...]] = [(known.name, known.address, "away", "-", "-", "-", known.away) for known in away]
    for worker in workers:
        known = by_name.get(worker["name"]) or Seen(worker["name"], worker["ip"])
        unwell = "-" if known.unwell is None else str(len(known.unwell))
        memory = sum(npu["memory_total_bytes"] or 0 for npu in worker["npus"]) // 2**30
        numbers = ("-", "-", "-") if known.away else (str(worker["npu_count"]), unwell, f"{memory} GiB")
        notes = [text.split(" (")[0] for text in known.unwell or []]
        notes += [f"runs {worker['worker_version']}"] if worker.get("worker_version") not in (None, version) else []
        note = known.away or ", ".join(notes)
        state = _state(worker, known)
        shown = "away" if known.away else state if state == "drained" else known.still or state
        rows.append((worker["name"], worker["ip"], shown, *numbers, note))
    rows = [("WORKER", "ADDRESS", "STATE", "NPUS", "UNWELL", "NPU MEMORY", "NOTE"), *sorted(rows)]
    return rows if any(row[-1] for row in rows[1:]) else [row[:-1] for row in rows]


def sum_line(info: dict, workers: dict[str, Seen], url: str) -> str:
    there, still = present(info, workers), {known.name for known in workers.values() if known.still}
    ready = sum(_state(worker) == "ready" and worker["name"] not in still for worker in there)
    npus = sum(worker["npu_count"] for worker in there)
    total = len({worker["name"] for worker in info["workers"]} | {known.name for known in workers.values() if known.away})
    by_name = {known.name: known for known in workers.values()}
    drained = sum(_state(worker, by_name.get(worker["name"])) == "drained" for worker in there)
    rest = f", {drained} drained" if drained else ""
    return f"{ready} of {total} workers ready{rest}, {npus} NPUs, GPUStack {info['version']} at {url}{collection.signature()}"
