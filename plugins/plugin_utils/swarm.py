# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Swarm the hosts of an inventory belong to, from what its managers say of themselves."""

from __future__ import annotations

from collections import defaultdict

from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import failure


def swarm_to_join(answers: dict, managers: list[str]) -> dict:
    """The manager that hosts join `through`, empty where none is known; `agreed`, whether more than half of the managers are in its Swarm;
    and why no Swarm may be made either, as `problems`. answers: what docker_swarm_node returned or failed with, by the names of managers;
    one that was not asked is not in it."""
    members = defaultdict(list)
    for name in managers:
        if answers.get(name, {}).get("manager"):
            members[answers[name]["swarm"]].append(name)
    # One that was made beside it on a host that was installed anew is the smaller one.
    chosen = max(members.values(), key=lambda names: (len(names), answers[names[0]]["nodes"]), default=[])
    return {
        "through": chosen[0] if chosen else "",
        "agreed": len(chosen) * 2 > len(managers),
        "problems": [] if chosen else _doubts(answers, managers),
    }


def _doubts(answers: dict, managers: list[str]) -> list[str]:
    """Why it is not known that there is no Swarm, a sentence for each manager."""
    problems = []
    for name in managers:
        answer = answers.get(name, {})
        if answer.get("node_id"):
            problems.append(
                f"{name}: it is a worker of a Swarm; expected a manager, which the others join through. Name one that is a manager of that "
                "Swarm in docker_swarm_manager, or take this one out of it (docker swarm leave)."
            )
        elif "node_id" not in answer:
            problems.append(
                f"{name}: it does not say whether it is in a Swarm ({failure(answer)}); expected an answer of every manager before a Swarm "
                "is made, so that there are never two. Start it, or take it out of docker_swarm_manager."
            )
    return problems
