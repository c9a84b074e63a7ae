# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Swarm the hosts of an inventory belong to, from what its managers say of themselves."""

from __future__ import annotations

from collections import defaultdict

from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import failure

# What Docker says of a Swarm whose managers are not enough
LEADERLESS = "does not have a leader"


def swarm_to_join(answers: dict, managers: list[str], workers: dict[str, str]) -> dict:
    """The manager that hosts join `through`, empty where none is known; `agreed`, whether more than half of the managers are in its Swarm;
    and why no Swarm may be made either, as `problems`. answers: what docker_swarm_node returned or failed with, by the names of managers;
    one that was not asked is not in it. workers: the ids of the nodes that the other hosts are in a Swarm,
    empty for none."""
    members = defaultdict(list)
    for name in managers:
        if answers.get(name, {}).get("manager"):
            members[answers[name]["swarm"]].append(name)
    # One that was made beside it on a host that was installed anew is the smaller one.
    chosen = max(members.values(), key=lambda names: (len(names), answers[names[0]]["nodes"]), default=[])
    return {
        "through": chosen[0] if chosen else "",
        "agreed": len(chosen) * 2 > len(managers),
        "problems": [] if chosen else _doubts(answers, managers, [name for name, node in workers.items() if node]),
    }


def _doubts(answers: dict, managers: list[str], members: list[str]) -> list[str]:
    """Why it is not known that there is no Swarm, a sentence for each manager, and one for workers that are in one."""
    problems = []
    if members:
        problems.append(
            f"{', '.join(members)}: in a Swarm of which no host of docker_swarm_manager is a manager; expected its managers there, or "
            "hosts in none, so that there are never two. Name its managers in docker_swarm_manager; where it is gone for good, run there: "
            "docker swarm leave --force"
        )
    for name in managers:
        answer = answers.get(name, {})
        if answer.get("node_id"):
            problems.append(
                f"{name}: it is a worker of a Swarm; expected a manager, which the others join through. Name one that is a manager of that "
                "Swarm in docker_swarm_manager, or take this one out of it (docker swarm leave)."
            )
        elif LEADERLESS in failure(answer):
            problems.append(
                f"{name}: its Swarm has lost more than half of its managers; expected most of them. Start the others; where they are gone "
                "for good, run there: docker swarm init --force-new-cluster"
            )
        elif "node_id" not in answer:
            problems.append(
                f"{name}: it does not say whether it is in a Swarm ({failure(answer)}); expected an answer of every manager before a Swarm "
                "is made, so that there are never two. Start it, or take it out of docker_swarm_manager."
            )
    return problems
