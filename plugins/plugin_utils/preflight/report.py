# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The findings of all hosts as lines that a person reads: each problem once, with its hosts; then the way out."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from ansible_collections.ascend.gpustack.plugins.plugin_utils.cluster import setting as _setting
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.cluster import (
    _same_hostnames,
    firewall_findings,
    inventory_findings,
    worker_findings,
)
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.data import clones
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import finding

# As many names a line tells; the rest is in the --limit at the end, and in what the run hands on.
NAMES = 12
# Checks whose findings other roles keep as sentences in a fact
KEPT_PROBLEMS = (
    ("takeover", "__gpustack_takeover_problems"),
    ("exports", "__nfs_server_problems"),
    ("mount", "__nfs_client_problems"),
    ("docker_settings", "__docker_swarm_problems"),
    ("services", "__vllm_stack_problems"),
    ("variables", "__gpustack_setting_problems"),
    ("image", "__gpustack_image_problems"),
    ("image", "__vllm_stack_image_problems"),
)
# Checks of what is no single host's: to leave hosts out mends neither
COMMON_CHECKS = ("inventory", "services")


def report_lines(problems: list[tuple[str, dict]], hosts: list[str], who: str = "Preflight") -> list[str]:
    """A heading and a line for each finding, warnings first; equal ones of several hosts are one. None without any.
    A remedy's command stands on a line of its own, to be copied."""
    grouped: dict[tuple, list[str]] = defaultdict(list)
    for host, item in sorted(problems, key=lambda problem: problem[1]["result"] == "fail"):
        names = grouped[(item["result"], item["check"], item["message"], item["remedy"])]
        if host not in names:
            names.append(host)
    if not grouped:
        return []
    counts = [_count(sum(key[0] == result for key in grouped), word) for result, word in (("fail", "problem"), ("warn", "warning"))]
    concerned = len({host for host, _item in problems} & set(hosts))
    return [
        f"{who} found {' and '.join(filter(None, counts))} on {concerned} of {_count(len(hosts), 'host')}:",
        *(
            line
            for (result, check, message, remedy), names in grouped.items()
            for line in _sentence(f"{result.upper()} [{check}] {shown(names)}: {message}", remedy)
        ),
    ]


def _sentence(text: str, remedy: str) -> list[str]:
    return f"{text}{'' if text.endswith('?') else '.'} {remedy}".rstrip().splitlines()


def shown(names: list[str]) -> str:
    """Names in one line, of very many the first ones."""
    return ", ".join(names) if len(names) <= NAMES else f"{', '.join(names[:NAMES])} and {len(names) - NAMES} more"


def told_above(failures: list[tuple[str, dict]]) -> dict[str, str]:
    """What each host fails with, without saying again what the report says; equal for many hosts."""
    checks: dict[str, list[str]] = defaultdict(list)
    for host, item in failures:
        if item["check"] not in checks[host]:
            checks[host].append(item["check"])
    return {host: f"Told above: {', '.join(names)}" for host, names in checks.items()}


def way_out(bad: list[str], hosts: list[str], vital: list[str], all_bad: bool, settings: dict) -> list[str]:
    if vital:
        if settings["cluster"] == "swarm":
            return [f"The first manager is among them ({', '.join(vital)}): nothing can go on without it."]
        return [f"The server or the store is among them ({', '.join(vital)}): nothing can go on without it."]
    if all_bad or len(bad) == len(hosts):
        return []
    names = ([settings["limit"]] if settings["limit"] else []) + [f"!{host}" for host in bad]
    return ["The others would pass with:", f"  --limit '{','.join(names)}'"]


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' if number > 1 else ''}" if number else ""


def preflight_summary(hosts: list[str], hostvars: Any, groups: dict, settings: dict) -> dict:
    """All findings together: `report`, lines to read; `stats` for machines; `bad_hosts`, which fail, each with its text in `told`; and
    `stop`, whether the run ends for all hosts then."""
    found = [(host, item) for host in hosts for item in _setting(hostvars, host, "ascend_driver_check_report", [])]
    found += [
        (host, finding(check, "fail", problem.rstrip(".")))
        for check, fact in KEPT_PROBLEMS
        for host in hosts
        for problem in _setting(hostvars, host, fact, [])
    ]
    found += firewall_findings(hosts, hostvars, groups) + inventory_findings(hosts, groups, hostvars, settings)
    found += worker_findings(hosts, hostvars, settings["multi_node"])
    found += _same_hostnames(hosts, hostvars)
    if settings["cluster"] == "gpustack":
        read = {host: _setting(hostvars, host, "__ascend_driver_check_host", {}) or {} for host in hosts}
        found += [(host, finding("identity", "fail", text, remedy)) for host, text, remedy in clones(read)]
    problems = [(host, item) for host, item in found if item["result"] != "pass" and item["check"] not in settings["skip"]]
    failures = [(host, item) for host, item in problems if item["result"] == "fail"]
    failing = {host for host, _item in failures}
    # What the inventory has wrong may be with hosts that --limit leaves out; one host has to fail for it.
    bad = [host for host in hosts if host in failing] or (hosts[:1] if failures else [])
    unfit = {host for host, item in failures if item["check"] != "services"}
    vital = [host for host in bad if host in _vital_hosts(groups, settings["cluster"]) and host in unfit]
    all_bad = any(item["check"] in COMMON_CHECKS for _host, item in failures)
    stop = bool(bad) and (not settings["continue"] or all_bad or bool(vital))
    goes_on = [f"The run goes on without {shown(bad)}."] if bad else []
    told = told_above(failures)
    return {
        "report": report_lines(problems, hosts) + (way_out(bad, hosts, vital, all_bad, settings) if stop else goes_on),
        "stats": {"hosts": len(hosts), "bad_hosts": bad, "findings": [{"host": host, **item} for host, item in problems]},
        "bad_hosts": bad,
        "told": {host: told.get(host, "Told above: inventory") for host in bad},
        "stop": stop,
    }


def _vital_hosts(groups: dict, kind: str) -> list[str]:
    """Those without which nothing can go on."""
    if kind == "swarm":
        return groups.get("docker_swarm_manager", [])[:1]
    return groups.get("gpustack_server", []) + groups.get("gpustack_store", [])
