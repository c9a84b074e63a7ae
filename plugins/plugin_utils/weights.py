# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gpustack_weights asks for, who brings it, what stands against that, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.files import is_within
from ansible_collections.ascend.gpustack.plugins.plugin_utils import models, tables
from ansible_collections.ascend.gpustack.plugins.plugin_utils.cluster import setting
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Finding, failure, of_sentence
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.report import report_lines, told_above

CHECK = "weights"
HUBS = ("model_scope", "hugging_face")
SOURCES = ("folder", "archive", *HUBS)
GROUPS = ("gpustack_store", "gpustack_server", "gpustack_worker")
# What an exchange does to the folder that is there
EXCHANGES = ("mend", "replace")
WORDS = {"none": "none", "bring": "brought", "mend": "mended", "replace": "replaced"}
TO_COME = {"none": "none", "bring": "to be brought", "mend": "to be mended", "replace": "to be replaced"}
# Of damaged files so many are told by name
SHOWN = 3


def items(given: list, hostvars: Any, groups: dict, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the list names, with who brings it and where the store is there; problems: pairs of what was found and the remedy."""
    store = settings["models_dir"].rstrip("/")
    known = {host for group in GROUPS for host in groups.get(group, [])}
    paths = [models.host_path(str(item["path"]).rstrip("/"), store) for item in given]
    return [_item(item, hostvars, known, settings, store, [path for path in paths if path]) for item in given]


def _item(
    given: Mapping[str, Any], hostvars: Any, known: set[str], settings: Mapping[str, Any], store: str, paths: list[str]
) -> dict[str, Any]:
    path = models.host_path(str(given["path"]).rstrip("/"), store)
    said = [kind for kind in SOURCES if given.get(kind)]
    writer = str(given.get("host") or settings["store_host"] or settings["server"])
    kind = said[0] if said else ""
    root = str(setting(hostvars, writer, "gpustack_models_dir", store) if writer in known else store).rstrip("/")
    return {
        "path": given["path"],
        "on_host": root + path[len(store) :],
        "store": root,
        "writer": writer,
        "kind": kind,
        "source": given.get(kind, ""),
        "on_controller": kind in ("folder", "archive") and not given.get("host"),
        "revision": str(given.get("revision") or ""),
        "files": list(given.get("files") or []),
        "address": settings[kind] if kind in HUBS else "",
        "problems": list(_problems(path, said, writer, known, store, paths)),
    }


def _problems(path: str, said: list[str], writer: str, known: set[str], store: str, paths: list[str]) -> Iterable[tuple[str, str]]:
    if path in ("", store):
        yield f"is to come to a place outside of the store; expected a folder below {store}", "Correct path."
    elif paths.count(path) > 1 or any(is_within(path, other) and path != other for other in paths):
        yield "lies in the folder of another of the list; expected a folder of its own", "Correct path."
    if len(said) != 1:
        yield f"has {' and '.join(said) or 'no source'}; expected one of {', '.join(SOURCES)}", "Give that one."
    if writer not in known:
        yield f"names the host {writer}, which is none of the cluster; expected one that has the store", "Correct host."


def plan(
    listed: list[Mapping[str, Any]], looked: list[Mapping[str, Any]], info: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What is refused, and what is to be done otherwise. looked: the results of model_weights in check mode; info: what gpustack_model_info
    returned, where a folder is to be exchanged; settings: `to_come` where nothing is to be done, and what lacks is told."""
    seen = _by_path(looked)
    found = [
        (item["writer"], Finding(CHECK, "fail", f"the folder {item['path']} {text}", remedy))
        for item in listed
        for text, remedy in item["problems"]
    ]
    found += [
        (item["writer"], finding)
        for item in listed
        if not item["problems"]
        for finding in _seen(item, seen.get(item["path"], {}), info, settings)
    ]
    server = settings["server"]
    failures = [(server, finding) for _host, finding in found if finding.result == "fail"]
    due = [item for item in listed if seen.get(item["path"], {}).get("action", "none") != "none"]
    return {
        "lines": report_lines(found, sorted({item["writer"] for item in listed}), "The list of weights"),
        "told": told_above(failures),
        "due": due,
        "exchanged": [item["path"] for item in due if seen[item["path"]]["action"] in EXCHANGES],
        "damaged": {path: each["damaged"] for path, each in seen.items() if each.get("damaged")},
    }


def _seen(item: Mapping[str, Any], seen: Mapping[str, Any], info: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterable[Finding]:
    if "action" not in seen:
        yield of_sentence(CHECK, failure(dict(seen)))
        return
    users = _users(item["path"], info, settings["models_dir"])
    damaged = [f"{name} {text}" for name, text in seen["damaged"].items()]
    more = f" and {len(damaged) - SHOWN} more" if len(damaged) > SHOWN else ""
    text = f"the folder {item['path']} is damaged: {', '.join(damaged[:SHOWN])}{more}"
    if users and seen["action"] in EXCHANGES:
        text = text if damaged else f"the folder {item['path']} is to be replaced"
        yield Finding(
            CHECK, "fail", f"{text}, and {', '.join(users)} runs with it; expected no running model there", "Stop it first (replicas: 0)."
        )
    elif settings["to_come"] and damaged:
        yield Finding(CHECK, "fail", f"{text}; expected what was brought", "Run the playbook weights, which brings these files again.")
    elif settings["to_come"] and seen["action"] == "bring":
        text = f"the folder {item['path']} is not in the store"
        yield Finding(CHECK, "warn", text, "Run the playbook weights, which brings it.")


def _users(path: str, info: Mapping[str, Any], models_dir: str) -> list[str]:
    """The models that run with what is in a folder."""
    store = models_dir.rstrip("/")
    place = models.host_path(str(path).rstrip("/"), store)
    return [
        each["name"]
        for each in info.get("models") or []
        if each.get("path") and each.get("replicas", 1) and is_within(models.host_path(each["path"], store) or each["path"], place)
    ]


def summary(
    listed: list[Mapping[str, Any]], looked: list[Mapping[str, Any]], brought: list[Mapping[str, Any]], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The end of a run. brought: the results of model_weights."""
    seen, done = _by_path(looked), _by_path(brought)
    found, rows, stats = [], [], {}
    for item in listed:
        path = item["path"]
        result = done.get(path, seen.get(path, {}))
        action = str(result.get("action", "failed"))
        if action == "failed":
            found.append((item["writer"], of_sentence(CHECK, failure(dict(result)))))
        words = (TO_COME if settings["check"] else WORDS).get(action, action)
        where = "the controller" if item["on_controller"] else item["writer"]
        rows.append((path, words, f"{item['kind']} {item['source']}", where))
        stats[path] = {"action": action, "kind": item["kind"], "source": item["source"], "writer": item["writer"]}
    told = told_above([(settings["server"], finding) for _host, finding in found])
    return {
        "lines": tables.table([("FOLDER", "CHANGE", "SOURCE", "ON"), *rows])
        + report_lines(found, sorted({item["writer"] for item in listed}), "The weights"),
        "told": told,
        "stats": {"ok": not found, "folders": stats, "problems": [finding.sentence for _host, finding in found]},
    }


def _by_path(results: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """By the paths that they were asked for; those that were left out say nothing."""
    return {str(each[each["ansible_loop_var"]]["path"]): each for each in results if not each.get("skipped")}
