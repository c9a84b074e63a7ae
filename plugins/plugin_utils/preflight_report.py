# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The findings of all hosts as lines that a person reads: each problem once, with its hosts; then the way out."""

from __future__ import annotations

from collections import defaultdict

# As many names a line tells; the rest is in the --limit at the end, and in what the run hands on.
NAMES = 12


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
