# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of workers that rest or leave, and of a token that is exchanged: who may, what becomes of it, and what is left to do."""

from __future__ import annotations

import difflib
from typing import Any

from ansible_collections.ascend.gpustack.plugins.plugin_utils import command_line, reset
from ansible_collections.ascend.gpustack.plugins.plugin_utils.cluster import first, setting

DOES = {"gpustack_drain": "that rest, or come back", "gpustack_remove": "that leave"}


def refusals(named: list[str], groups: dict, settings: dict) -> list[str]:
    """Why these hosts can't rest or leave. settings: the `variable` that names them, the hosts of this run as `play`, and whether GPUStack
    `rests`."""
    variable, workers = settings["variable"], groups.get("gpustack_worker", [])
    if not named:
        what = f"{variable} names no host; expected the workers {DOES[variable]}, by their names in the inventory"
        return [f"{what}. Give them: -e {variable}=atlas3"]
    found = [_unknown(variable, host, workers) for host in named if host not in workers]
    found += _unfit(named, groups, settings)
    server = first(groups, "gpustack_server")
    away = [host for host in [server, *(each for each in named if each in workers)] if host and host not in settings["play"]]
    if away and not found:
        left = ", ".join(dict.fromkeys(away))
        found.append(f"this run leaves out {left}; expected the server and every host of {variable}. Run it without --limit.")
    return found


def _unknown(variable: str, host: str, workers: list[str]) -> str:
    near = difflib.get_close_matches(host, workers, 1)
    remedy = f"Did you mean {near[0]}?" if near else "Correct it."
    if variable == "gpustack_remove" and not near:
        remedy = "What only GPUStack has, the playbook workers removes with gpustack_worker_replace_stale: true."
    return f"{variable} names {host}, which is no host of the group gpustack_worker; expected one. {remedy}"


def _unfit(named: list[str], groups: dict, settings: dict) -> list[str]:
    server, store = first(groups, "gpustack_server"), first(groups, "gpustack_store")
    if settings["variable"] == "gpustack_remove":
        found = []
        if server in named:
            found.append(f"{server} is the server; expected hosts that only work. It goes with the whole cluster: run reset.")
        if store in named and store != server:
            found.append(f"{store} exports the model store; expected hosts that do not. Move the store first.")
        return found
    if server in named and not settings["rests"]:
        return [
            f"{server} is the server, whose container has to run, and this GPUStack has no worker that rests while it does; "
            "expected hosts that only work. Leave it out."
        ]
    return []


def models(instances: list[dict]) -> list[str]:
    """What becomes of each instance of a model, a line each."""
    return [_model(each) for each in instances]


def _model(instance: dict) -> str:
    where = ", ".join(instance["workers"])
    if instance["to"]:
        return f"{where}: the model instance {instance['name']}, for which {' and '.join(instance['to'])} has room"
    return f"{where}: the model instance {instance['name']}, which stops: {instance['why']}"


def stopping(instances: list[dict]) -> list[str]:
    """The models of which an instance finds no other place."""
    return sorted({each["model"] for each in instances if not each["to"]})


def drained(names: list[str], moved: dict, command: str) -> list[str]:
    """The last lines of a drain."""
    rest = "rests" if len(names) == 1 else "rest"
    return [
        *(f"WARN {each}." for each in moved.get("pending") or []),
        f"{', '.join(names)} {rest}, and GPUStack places no models there. To go on:",
        f"  {command}",
    ]


def removal(named: list[str], hostvars: Any, plan: dict, settings: dict) -> list[str]:
    """What goes with these workers, in lines. plan: what gpustack_worker foresees; settings: `store_type`, `models_dir`, `firewall` and the
    host that exports the `store`."""
    which = ", ".join(named)
    names = {setting(hostvars, host, "gpustack_worker_name", host): host for host in named}
    lines = [
        f"{names[each['name']]}: GPUStack's record of the worker {each['name']} (id {each['id']}, {each['ip']}, {each['state']})"
        for each in plan["workers"]
    ]
    lines += models([{**each, "workers": [names[name] for name in each["workers"]]} for each in plan["instances"]])
    told = tuple(f"the model instance {each['name']} " for each in plan["instances"])
    plans = {host: hostvars[host].get("gpustack_reset_plan") for host in named}
    things = [(host, thing) for host, found in plans.items() if found for thing in found["goes"] if not thing.startswith(told)]
    lines += [f"{reset.names(having, named)}: {thing}" for thing, having in reset.grouped(things).items()]
    lines += [f"{host}: not known, it does not answer; what is on it stays there" for host, found in plans.items() if not found]
    if settings["store_type"] == "nfs" and settings["store"]:
        lines.append(f"{settings['store']}: {which} in the export of {settings['models_dir']}")
    if settings["firewall"] == "configure":
        lines.append(f"the other hosts: {which} in firewalld")
    return lines


def removed(named: list[str], hostvars: Any, moved: dict, settings: dict) -> list[str]:
    """The last lines of a removal. settings: the `inventory`."""
    plans = {host: hostvars[host].get("gpustack_reset_plan") for host in named}
    stays = reset.grouped((host, tuple(thing)) for host, found in plans.items() if found for thing in found["stays"])
    lines = ["What stays, and the command that removes it there:"] if stays else []
    for (what, how), having in stays.items():
        lines += [f"{reset.names(having, named)}: {what}", *([f"  {how}"] if how else [])]
    away = [host for host, found in plans.items() if not found]
    lines += [f"WARN {each}." for each in moved.get("pending") or []]
    if away:
        lines += [
            f"WARN no answer from {', '.join(away)}, where all is as it was. What comes back from there joins again, unless the "
            "cluster gets another token:",
            f"  {command_line.playbook('rotate_token', settings['inventory'])}",
        ]
    back = f"WARN left the cluster, and still in the inventory, so that site would bring it back: {', '.join(named)}"
    lines.append(f"{back}. Take it out of there.")
    return lines


def rotation_refusal(host: dict, settings: dict) -> str:
    """Why the server's token can't be exchanged, without the host's name. settings: its `container`, whether the token stands in the
    `database` too, and what else gives it: gpustack_server_config as `config`, gpustack_env as `env`."""
    name, there = settings["container"], host["container"]
    if not there or not there["managed"] or not there["running"]:
        state = "is not there" if not there else "was made by hand" if not there["managed"] else f"is {there['status']}"
        return f"the container {name} {state}; expected the server of this collection, running. Run the playbook server first"
    stronger = [f"gpustack_server_config ({key})" for key in settings["config"] if key == "token"]
    stronger += [f"gpustack_env ({key})" for key in settings["env"] if key == "GPUSTACK_TOKEN"]
    if stronger:
        return f"the token is set in {' and '.join(stronger)}, before which no other counts; expected it in gpustack_token. Move it there"
    elsewhere = "database_url" in settings["config"] or "GPUSTACK_DATABASE_URL" in settings["env"]
    if elsewhere and settings["database"]:
        return (
            "the token stands in the cluster's database too, which is not the one in the server's container (database_url); expected that. "
            "The token stays as it is"
        )
    return ""


def rotation(settings: dict) -> list[str]:
    """What an exchange does, before it begins. settings: whether workers prove themselves by the token in `every_request`, how many are
    restarted `at_once`, whether the given token is the one that is there already, `same`, and whether that could be `read`."""
    unread = "WARN the token that it has could not be read, so that nobody tries afterwards whether it is refused."
    told = [_exchange(settings)]
    return told if settings["read"] else [*told, unread]


def _exchange(settings: dict) -> str:
    if settings["same"]:
        what = "gpustack_token is the cluster's token already; workers that have an older one are brought over"
        return f"{what}. To give the cluster another, set gpustack_token to that."
    if settings["every_request"]:
        return (
            "The cluster gets another token: the server is restarted with it, then all workers at once, since they are cut off until then; "
            "their models start anew with them. Clients that use the token are refused from then on."
        )
    return (
        f"The cluster gets another token: the server is restarted with it, then its workers, {settings['at_once']} at a time; models run "
        "on. Clients that use the token, which is also taken for an API key, are refused from then on."
    )


def outdated(hosts: list[str], resting: list[str], inventory: list[str]) -> list[str]:
    """Of workers that an exchange has not reached, what brings them over."""
    away = [host for host in hosts if host not in resting]
    stopped = [host for host in hosts if host in resting]
    lines = [f"WARN the old token is left on {', '.join(stopped)}, at rest: undrain brings the new one."] if stopped else []
    if away:
        command = command_line.playbook("site", inventory, ",".join(away))
        lines += [f"WARN the old token is left on {', '.join(away)}. Once up again, run:", f"  {command}"]
    return lines
