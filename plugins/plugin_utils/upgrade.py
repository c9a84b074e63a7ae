# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts get a newer version, in which order, and why they do not; what a rollback takes back. In sentences for a person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation as generations
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import models as gpustack_models
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import upgrade_state
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.version import relation
from ansible_collections.ascend.gpustack.plugins.plugin_utils import command_line
from ansible_collections.ascend.gpustack.plugins.plugin_utils.cluster import first, setting, version_to_run

# What has a run go on without the hosts that preflight refuses
LEAVING_OUT = "gpustack_preflight_continue=true"
UNFINISHED = (upgrade_state.BEGUN, upgrade_state.KEPT)


def state_of(host: dict) -> dict:
    return (host.get("data") or {}).get("upgrade") or {}


def before(host: dict) -> str:
    """The version that a host comes from; empty where that is not known."""
    container = host.get("container") or {}
    return state_of(host).get("before", "") if state_of(host).get("state") in UNFINISHED else container.get("version") or ""


def rises(host: dict, version: str) -> bool:
    """Whether a host that was read gets a newer version, or was on its way there when a run was cut off. What was made by hand is taken
    over, not upgraded; a container without data has nothing to keep."""
    if state_of(host).get("state") in UNFINISHED:
        return True
    container = host.get("container") or {}
    there = bool(container.get("managed")) and (host.get("data") or {}).get("exists") is not False
    return there and relation(container.get("version"), version) == "older"


def plan(hosts: list[str], hostvars: Any, groups: dict, settings: dict) -> dict:
    """Of the hosts of a run, as preflight read them, those that get a newer version, as `hosts`, `lines` that say so, and `refusals`.
    settings: whether the playbook is the `upgrade` itself, how many workers `at_once`, the `inventory`, and which hosts have not failed, as
    `live`."""
    read = {host: setting(hostvars, host, "ascend_driver_check_host", {}) or {} for host in hosts}
    wanted = {host: version_to_run(host, hostvars, groups) for host in hosts}
    rising = [host for host in hosts if host in settings["live"] and rises(read[host], wanted[host])]
    server = first(groups, "gpustack_server")
    refusals = []
    left = [host for host in groups.get("gpustack_worker", []) if host not in hosts]
    if server in rising and left:
        refusals.append(
            f"{server}: GPUStack goes from {before(read[server])} to {wanted[server]}, and this run leaves out {', '.join(left)}; "
            "expected the server and every worker. Run it without --limit; where one has to "
            f"stay out, -e {LEAVING_OUT} has the others go on."
        )
    back = state_of(read.get(server or "", {}))
    if server in rising and not settings["upgrade"] and upgrade_state.is_taken_back(back, wanted[server]):
        refusals.append(
            f"{server}: GPUStack {back['wanted']} was taken back here to {back['before']}, and gpustack_version asks for it. "
            f"Set gpustack_version: {back['before']}, or run the playbook upgrade to try it again."
        )
    lines = [_line(host, before(read[host]), wanted[host], host == server) for host in rising]
    if rising:
        pace = f"workers follow the server {settings['at_once']} at a time"
        lines = [f"Upgrade of GPUStack; what runs now is kept, to go back to, and {pace}:", *lines]
    elif settings["upgrade"]:
        lines = _nothing(read, wanted, server)
    # Of one that was cut off, what does not come along was told before, and nothing may run there that could be asked.
    migrates = any(
        generations.apart(before(read[host]), wanted[host]) and state_of(read[host]).get("state") not in UNFINISHED
        for host in rising
        if host == server
    )
    return {"hosts": rising, "lines": lines, "refusals": refusals, "migrates": migrates}


def _line(host: str, runs: str, wanted: str, is_server: bool) -> str:
    told = f"  {host}: {runs or 'what was there'} -> {wanted}{' (server)' if is_server else ''}"
    return f"{told}; its data are taken over into the new generation" if generations.apart(runs, wanted) else told


def _nothing(read: dict, wanted: dict, server: str | None) -> list[str]:
    runs = before(read.get(server or "", {}))
    text = f"Nothing to upgrade: GPUStack {runs or 'of the server'} runs, and gpustack_version asks for no newer one."
    return [f"{text} Set it to that which is to run."]


def left_behind(models: list[dict], workers: list[dict], runs: str, version: str) -> dict:
    """What of the server's records another generation does not take over, as `lines`, and why it can't begin, as `refusals`. models: as
    gpustack_models has them; runs: the version that they are of."""
    known, there = generations.assumed(version).models.backends, generations.assumed(runs).models
    lines = []
    for model in models:
        backend = gpustack_models.backend_key(model, there)
        if backend not in known:
            lines.append(
                f"WARN the model {model['name']} has the backend {backend}, which GPUStack {version} does not have: it will not run"
            )
        elif model.get("version"):
            told = f"names the version {model['version']} of its engine, which may not be among the images of GPUStack {version}"
            lines.append(f"WARN the model {model['name']} {told}: take it out, and it gets the newest that the driver carries")
    resting = sorted(worker["name"] for worker in workers if worker.get("drained"))
    refusals = []
    if resting:
        refusals.append(
            f"workers at rest, which the next generation does not take over: {', '.join(resting)}; expected all to run. "
            "Run the playbook undrain for them, or remove."
        )
    return {"lines": lines, "refusals": refusals}


def early_refusals(host: dict, name: str, version: str, settings: dict) -> list[str]:
    """A sentence where a worker would get a newer version before its server has it, or the server in a run that has not looked at the whole
    cluster first. settings: whether the host `serves`, whether it is `planned` in this run, and what runs `on_server`, empty where that is
    not known."""
    if not rises(host, version):
        return []
    if settings["serves"]:
        if settings["planned"]:
            return []
        text = f"GPUStack goes from {before(host)} to {version} here; expected a run that looks at the whole cluster first"
        return [f"{name}: {text}. Run the playbook upgrade."]
    if relation(settings["on_server"], version) != "older":
        return []
    text = f"the server runs GPUStack {settings['on_server']}, and gpustack_version is {version}; expected the server to have it first"
    return [f"{name}: {text}. Run the playbook upgrade without --limit."]


def batches(hosts: Iterable[str], hostvars: Any, at_once: int) -> list[list[str]]:
    """The hosts of a play that get a newer version, in the groups in which they get it. Where the generation changes, the older ones reach
    the server no more, and wait for no other."""
    due = {host: found for host in hosts if (found := setting(hostvars, host, "gpustack_upgrade_here", {}))}
    apart = any(generations.apart(found["before"], found["wanted"]) for found in due.values())
    size, names = max(1, len(due) if apart else at_once), list(due)
    return [names[start : start + size] for start in range(0, len(names), size)]


def stopped_by(hosts: Iterable[str], hostvars: Any, live: list[str]) -> list[str]:
    """Of the hosts of a play those whose upgrade has failed in this run, also by a host that was lost. live: those that have not failed."""
    return [
        host
        for host in hosts
        if setting(hostvars, host, "gpustack_upgrade_failed", False)
        or (host not in live and setting(hostvars, host, "gpustack_upgrade_here", {}))
    ]


def rollback(hosts: list[str], hostvars: Any, groups: dict, settings: dict) -> dict:
    """What a rollback takes back: `before`, the version that runs then; `hosts`, those that go back; `lines`, what is lost; `refusals`.

    Workers that an earlier rollback did not reach go back alone. settings: whether it is `confirmed`, the `models` that there are now, None
    where GPUStack could not be asked, those that were there before as `kept`, and the `inventory`."""
    server = first(groups, "gpustack_server") or ""
    read = {host: setting(hostvars, host, "gpustack_rollback_seen", {}) or {} for host in hosts}
    state = state_of(read.get(server, {}))
    silent = [host for host in hosts if read[host].get("unreachable")]
    if silent:
        command = command_line.playbook("rollback", settings["inventory"], f"all,!{',!'.join(silent)}")
        text = f"{', '.join(silent)}: no answer; expected every host of the cluster. To leave out what is away, and bring it back later:"
        return {"before": "", "hosts": [], "lines": [], "refusals": [f"{text}\n\n  {command}\n"]}
    if server not in hosts:
        text = f"this run leaves out {server} (--limit); expected the server. Run it without --limit."
        return {"before": "", "hosts": [], "lines": [], "refusals": [text]}
    due = [host for host in hosts if _goes_back(read[host], state)]
    if not due:
        runs = (read[server].get("container") or {}).get("version") or "nothing"
        text = f"{server}: there is no upgrade to take back, GPUStack {runs} runs; expected one that this collection made"
        return {"before": "", "hosts": [], "lines": [], "refusals": [f"{text}. The playbook restore brings back a backup."]}
    lines = [f"Rollback of GPUStack {state['wanted']} to {state['before']}, as it was at {state['moment']}:"]
    if server in due:
        lines.append("  lost: what users made since, accounts, API keys, models, usage; a backup of it is made first")
        lines.append("  the cluster's token is again that of then")
        lines += _lost(settings["models"], settings["kept"])
    lines += [f"  {host}: {_of_host(read[host], state)}" for host in hosts]
    refusals = []
    if not settings["confirmed"]:
        command = command_line.playbook("rollback", settings["inventory"], extra={"gpustack_rollback_confirm": "true"})
        refusals.append(f"Nothing was changed; expected gpustack_rollback_confirm: true for what is told above:\n\n  {command}\n")
    return {"before": state["before"], "hosts": due, "lines": lines, "refusals": refusals}


def _lost(there: list[str] | None, kept: list[str] | None) -> list[str]:
    if there is None or kept is None:
        return ["  WARN which models came since is not known"]
    came = sorted(set(there) - set(kept))
    return [f"  WARN models that came since, and end: {', '.join(came)}"] if came else []


def _goes_back(host: dict, server: dict) -> bool:
    """Whether what a host keeps is of the upgrade that the server's state tells of, and not of one before it."""
    own = state_of(host)
    kept = own.get("state") in (upgrade_state.DONE, upgrade_state.KEPT, upgrade_state.BEGUN, upgrade_state.RETURNING)
    return kept and own["wanted"] == server.get("wanted")


def _of_host(host: dict, server: dict) -> str:
    if _goes_back(host, server):
        return f"GPUStack {state_of(host)['before']} runs again"
    runs = (host.get("container") or {}).get("version") or ""
    if not runs or runs == server["before"]:
        return "stays as it is"
    return f"WARN joined since with {runs}, and stays so; run reset there, and site then"
