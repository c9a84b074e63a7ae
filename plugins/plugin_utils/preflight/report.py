# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The findings of all hosts as lines that a person reads: each problem once, with its hosts; then the way out."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from ansible.release import __version__ as ansible_core
from ansible_collections.ascend.gpustack.plugins.plugin_utils import collection, upgrade
from ansible_collections.ascend.gpustack.plugins.plugin_utils.cluster import setting, version_to_run
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight import (
    certificates,
    checks,
    cluster,
    controller,
    data,
    kept,
    variables,
)
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Finding, as_facts

# As many names a line tells; the rest is in the --limit at the end, and in what the run hands on.
NAMES = 12
# Checks of what is no single host's: to leave hosts out mends neither
COMMON_CHECKS = ("inventory", "services")


def report_lines(problems: list[tuple[str, Finding]], hosts: list[str], who: str = "Preflight", told_by: str = "") -> list[str]:
    """A heading, which told_by ends, and a line for each finding, warnings first; equal ones of several hosts are one. None without any.
    A remedy's command stands on a line of its own, to be copied."""
    grouped: dict[Finding, list[str]] = defaultdict(list)
    for host, item in sorted(problems, key=lambda problem: problem[1].result == "fail"):
        names = grouped[item]
        if host not in names:
            names.append(host)
    if not grouped:
        return []
    counts = [_count(sum(item.result == result for item in grouped), word) for result, word in (("fail", "problem"), ("warn", "warning"))]
    concerned = len({host for host, _item in problems} & set(hosts))
    lines = [f"{who} found {' and '.join(filter(None, counts))} on {concerned} of {_count(len(hosts), 'host')}{told_by}:"]
    for item, names in grouped.items():
        first, *others = item.lines
        lines += [f"{item.result.upper()} [{item.check}] {shown(names)}: {first}", *others]
    return lines


def shown(names: list[str]) -> str:
    """Names in one line, of very many the first ones."""
    return ", ".join(names) if len(names) <= NAMES else f"{', '.join(names[:NAMES])} and {len(names) - NAMES} more"


def told_above(failures: list[tuple[str, Finding]]) -> dict[str, str]:
    """What each host fails with, without saying again what the report says; equal for many hosts."""
    names: dict[str, list[str]] = defaultdict(list)
    for host, item in failures:
        if item.check not in names[host]:
            names[host].append(item.check)
    return {host: f"Told above: {', '.join(each)}" for host, each in names.items()}


def _rises(groups: dict, hostvars: Any) -> bool:
    """Whether the server gets a newer version, which a run that leaves out a worker does not bring."""
    read = ((server, setting(hostvars, server, "ascend_driver_check_host", {}) or {}) for server in groups.get("gpustack_server", [])[:1])
    return any(upgrade.rises(host, version_to_run(server, hostvars, groups)) for server, host in read)


def way_out(bad: list[str], hosts: list[str], vital: list[str], all_bad: bool, settings: dict) -> list[str]:
    if vital:
        if settings["cluster"] == "swarm":
            return [f"The first manager is among them ({', '.join(vital)}): nothing can go on without it."]
        return [f"The server or the store is among them ({', '.join(vital)}): nothing can go on without it."]
    if all_bad or len(bad) == len(hosts):
        return []
    if settings.get("rising"):
        return ["The others would be upgraded with:", f"  -e {upgrade.LEAVING_OUT}"]
    names = ([settings["limit"]] if settings["limit"] else []) + [f"!{host}" for host in bad]
    return ["The others would pass with:", f"  --limit '{','.join(names)}'"]


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' if number > 1 else ''}" if number else ""


def preflight_summary(hosts: list[str], hostvars: Any, groups: dict, settings: dict) -> dict:
    """All findings together: `report`, lines to read; `stats` for machines; `bad_hosts`, which fail, each with its text in `told`; and
    `stop`, whether the run ends for all hosts then."""
    play = cluster.Play(hosts, hostvars, groups, settings)
    found = [(host, Finding(**item)) for host in hosts for item in setting(hostvars, host, "ascend_driver_check_report", [])]
    found += [problem for subject in (kept, cluster, data, certificates) for problem in subject.CHECKS.run(play)]
    problems = [(host, item) for host, item in found if item.result != "pass" and item.check not in settings["skip"]]
    failures = [(host, item) for host, item in problems if item.result == "fail"]
    failing = {host for host, _item in failures}
    # What the inventory has wrong may be with hosts that --limit leaves out; one host has to fail for it.
    bad = [host for host in hosts if host in failing] or (hosts[:1] if failures else [])
    unfit = {host for host, item in failures if item.check != "services"}
    vital = [host for host in bad if host in _vital_hosts(groups, settings["cluster"]) and host in unfit]
    all_bad = any(item.check in COMMON_CHECKS for _host, item in failures)
    stop = bool(bad) and (not settings["continue"] or all_bad or bool(vital))
    goes_on = [f"The run goes on without {shown(bad)}."] if bad else []
    told, told_by = told_above(failures), collection.signature()
    nothing = [f"Preflight found nothing wrong on {_count(len(hosts), 'host')}{told_by}."]
    end = way_out(bad, hosts, vital, all_bad, {**settings, "rising": _rises(groups, hostvars)}) if stop else goes_on
    return {
        "report": (report_lines(problems, hosts, told_by=told_by) or nothing) + end,
        "stats": _stats(hosts, bad, problems),
        "bad_hosts": bad,
        "told": {host: told.get(host, "Told above: inventory") for host in bad},
        "stop": stop,
    }


def _stats(hosts: list[str], bad: list[str], problems: list[tuple[str, Finding]]) -> dict:
    return {
        "collection_version": collection.version(),
        "hosts": len(hosts),
        "bad_hosts": bad,
        "findings": [{"host": host, **fact} for (host, _item), fact in zip(problems, as_facts(item for _host, item in problems))],
    }


def _vital_hosts(groups: dict, kind: str) -> list[str]:
    """Those without which nothing can go on."""
    if kind == "swarm":
        return groups.get("docker_swarm_manager", [])[:1]
    return groups.get("gpustack_server", []) + groups.get("gpustack_store", [])


def value_problems(hosts: list[str], hostvars: Any, groups: dict, roles: str) -> dict:
    """What is wrong with the variables of the hosts in the run, and of those that others ask: `report`, lines to read; `told`, by
    host, what each fails with; `stats` for programs; and `hosts`, who was judged."""
    problems = [(host, item) for item in controller.CHECKS.run(ansible_core) for host in hosts]
    problems = problems or variables.CHECKS.run(hosts, hostvars, groups, variables.role_rules(roles, checks.SKIPPABLE), roles)
    concerned = list(dict.fromkeys([host for host, _item in problems if host in hosts] or (hosts[:1] if problems else [])))
    told, lines = told_above(problems), report_lines(problems, hosts, told_by=collection.signature())
    return {
        "hosts": hosts,
        "report": [lines[0].replace("Preflight found", "The variables have"), *lines[1:]] if lines else [],
        "told": {host: told.get(host) or f"Told above: the variables of {', '.join(told)}" for host in concerned},
        "stats": _stats(hosts, concerned, problems),
    }


def value_refusals(hosts: list[str], hostvars: Any, groups: dict, roles: str) -> list[str]:
    """The values of these hosts that can't be, a sentence each: for a role that no playbook's judgement comes before."""
    found = value_problems(hosts, hostvars, groups, roles)["stats"]["findings"]
    return [f"{item['host']}: {item['message']}. {item['remedy']}" for item in found if item["check"] in ("variables", "version")]
