# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reset takes from a host, and what it leaves there: each a thing and the command that removes it."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from ansible_collections.ascend.gpustack.plugins.plugin_utils import command_line

Thing = tuple[str, str]


def refusal(host: dict, settings: dict) -> str:
    """Why nothing can be removed on this host, without its name; empty where it can."""
    container, docker = settings["container"], host["docker"]
    if docker["installed"] and not docker["running"]:
        return f"Docker Engine does not answer ({docker['error']}); expected it to, to remove {container}. Run: systemctl start docker"
    others = host["models"]["workers"]
    if others and host["models"]["workloads"]:
        instances = ", ".join(each["name"] for each in host["models"]["workloads"])
        return (
            f"another worker of GPUStack is on this host ({', '.join(others)}), and models that are one's or the other's ({instances}); "
            "expected no other. Remove that worker and its models first"
        )
    if host["container"] and not host["container"]["managed"]:
        return (
            f"the container {container} was made by hand, not by this collection; expected one of its own. "
            f"Remove it yourself (docker rm -f {container}), or take it over with site.yml first"
        )
    return ""


def host_reset(host: dict, directories: list[dict], settings: dict) -> dict:
    """`goes`, a list of sentences, `stays`, pairs of what stays and the command that removes it, and `models`, names of containers that go.
    `directories` are the results of gpustack_directory with `item`, which says the `kind` and whether the directory `goes`; `instances`
    in the settings those of models that GPUStack runs on this host, `timer` whether it makes backups by itself."""
    refused = refusal(host, settings)
    if refused:
        return {"goes": [], "stays": [], "volume": False, "models": [], "refusal": refused}
    container = host["container"]
    goes = [f"the container {container['name']} ({container['status']})"] if container and container["managed"] else []
    goes += ["the timer gpustack-backup"] if settings.get("timer") else []
    gone, left = _models(host["models"]["workloads"], settings["instances"])
    goes += [f"the model instance {each['name']} ({', '.join(each['containers'])})" for each in gone]
    stays: list[Thing] = [
        (f"the model instance {each['name']}, which is another GPUStack's", f"docker rm -f {' '.join(each['containers'])}") for each in left
    ]
    for result in directories:
        if result["item"]["goes"]:
            goes += result["removed"]
            stays += [(f"{kept['path']}, which {kept['why']}", kept["command"]) for kept in result["kept"]]
        elif result["removed"] or result["kept"]:
            stays.append(_left(result))
    volume = volume_goes(host, settings)
    if volume:
        goes.append(f"the volume {host['data']['name']}")
    stays += _volume_stays(host, settings) + _images(host)
    elsewhere = _firewall(host, settings) + _store(host, settings)
    if settings.get("leaves"):
        goes += [thing for thing, _command in elsewhere]
    else:
        stays += elsewhere
    models = [name for each in gone for name in each["containers"]]
    return {
        **{"goes": goes, "stays": [list(thing) for thing in stays], "volume": volume, "models": models, "refusal": ""},
        "leaves": bool(settings.get("leaves")),
    }


def _left(result: dict) -> Thing:
    """A directory that is not to go, and the command that takes of it what is GPUStack's, none where that can't be told apart."""
    path, removed, kept = result["item"]["path"], result["removed"], result["kept"]
    what = f"{result['item']['what']} {path}"
    if path in removed or (not removed and kept[0]["path"] != path):
        return what, f"rm -rf -- {shlex.quote(path)}"
    if removed:
        return what, f"rm -rf -- {shlex.join(removed)}"
    return (what, kept[0]["command"]) if kept[0]["command"] else (f"{what.rstrip(',')}, which {kept[0]['why']}", "")


def _models(workloads: list[dict], instances: list[str]) -> tuple[list[dict], list[dict]]:
    """Those of this node, by what they have or by what GPUStack has on this host, and the others."""
    ours = [each for each in workloads if each["ours"] or each["name"] in instances]
    return ours, [each for each in workloads if each not in ours]


def volume_goes(host: dict, settings: dict) -> bool:
    """Only a volume that the collection made, which its label says."""
    data = host["data"]
    return bool(settings["reset_data"] and not data["name"].startswith("/") and data["exists"] and data["managed"])


def _volume_stays(host: dict, settings: dict) -> list[Thing]:
    data = host["data"]
    if data["name"].startswith("/") or not data["exists"] or volume_goes(host, settings):
        return []
    why = "" if data["managed"] or not settings["reset_data"] else ", which was not made by this collection"
    return [(f"the volume {data['name']}{why}", f"docker volume rm {data['name']}")]


def _images(host: dict) -> list[Thing]:
    """Of all that the node needed: those with engines are by far the largest of what stays."""
    there = [image["name"] for image in (host["image"], *host["images"].values()) if image and image["present"]]
    return [(f"the image {name}", f"docker image rm {name}") for name in there]


def _firewall(host: dict, settings: dict) -> list[Thing]:
    state = host["firewalld"]
    if settings["firewall"] == "configure" and state["running"]:
        return [("the ports opened in firewalld", playbook("firewall", settings, firewalld_configure_state="absent"))]
    if settings["firewall"] == "disable" and state["installed"] and not state["running"]:
        return [("firewalld, stopped and disabled", "systemctl enable --now firewalld")]
    return []


def _store(host: dict, settings: dict) -> list[Thing]:
    store, path = host["store"], settings["models_dir"]
    if settings["store_type"] != "nfs":
        return []
    if settings["exports"]:
        # From all hosts at once, since none may have it mounted.
        command = command_line.playbook("storage", settings["inventory"], "", {"nfs_client_state": "absent", "nfs_server_state": "absent"})
        return [(f"the export of {path}", command), (f"the models in {path}", "")]
    if store and store["is_mount"]:
        return [(f"the mount {path}", playbook("storage", settings, nfs_client_state="absent"))]
    return []


def playbook(name: str, settings: dict, **extra: str) -> str:
    return command_line.playbook(name, settings["inventory"], settings["limit"], extra)


def confirmation(settings: dict) -> str:
    """The command that does what the list says, with what this run was told."""
    extra = {"gpustack_reset_data": "true"} if settings["reset_data"] else {}
    return playbook("reset", settings, **extra, gpustack_reset_confirm="true")


def grouped(things: Iterable[tuple[str, Any]]) -> dict[Any, list[str]]:
    """Pairs of a host and what it has, by what they have."""
    hosts: dict[Any, list[str]] = defaultdict(list)
    for host, thing in things:
        if host not in hosts[thing]:
            hosts[thing].append(host)
    return hosts


def names(hosts: list[str], of: list[str]) -> str:
    return f"all {len(of)} hosts" if len(of) > 3 and len(hosts) == len(of) else ", ".join(hosts)


def report(resets: dict[str, dict], away: list[str], settings: dict) -> dict:
    """`goes` and `stays`, lines for all hosts together, and `command`, which goes on with what `goes` says, and so without those that are
    away."""
    hosts = list(resets)
    settings = {**settings, "limit": ",".join(hosts)} if away else settings
    goes = grouped((host, thing) for host in hosts for thing in resets[host]["goes"])
    # One who has confirmed is told so by the host's own failure.
    refused = [(host, f"nothing, {resets[host]['refusal']}") for host in hosts if resets[host]["refusal"] and not settings["confirmed"]]
    goes.update(grouped(refused))
    goes.update({"not known, it could not be read": away} if away else {})
    stays = grouped((host, tuple(thing)) for host in hosts for thing in resets[host]["stays"])
    lines = []
    for (what, how), having in stays.items():
        lines += [f"{names(having, hosts)}: {what}", *([f"  {how}"] if how else [])]
    return {
        "goes": [f"{names(having, hosts)}: {thing}" for thing, having in goes.items()],
        "stays": lines,
        "command": confirmation(settings),
    }
