# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to the models of a cluster and what came of it, as lines to read and data for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation as generations
from ansible_collections.ascend.gpustack.plugins.plugin_utils import models, tables
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Finding, failure, of_sentence
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.report import report_lines, told_above

CHECK = "models"


def plan(given: list, info: Mapping[str, Any], hostvars: Any, groups: dict, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is refused, what is doubtful, and what is to be done otherwise."""
    items = models.items(given, hostvars, groups)
    version = str(info.get("version") or settings["version"]).lstrip("v")
    cluster = models.Cluster(
        of=generations.speaking(version) or generations.DEFAULT,
        version=version,
        workers={worker["name"]: worker for worker in info.get("workers") or []},
        files=info.get("files") or {},
        store=settings["models_dir"].rstrip("/"),
        volumes=tuple(str(volume).split(":")[1].rstrip("/") for volume in settings["volumes"]),
    )
    found = [
        Finding(CHECK, "fail" if refused else "warn", f"the model {name} {text}", remedy)
        for name, item in items.items()
        for refused, text, remedy in models.judged(item, cluster)
    ]
    others = [item["name"] for item in info.get("models") or [] if item["name"] not in items]
    found += _exclusive(items, others, settings) if settings["exclusive"] else []
    return {
        "lines": report_lines([(settings["server"], item) for item in found], [settings["server"]], "The list of models"),
        "told": told_above([(settings["server"], item) for item in found if item.result == "fail"]),
        # What goes makes room for what comes.
        "names": [*sorted(items, key=lambda name: items[name]["state"] != "absent"), *(others if settings["exclusive"] else [])],
        "watched": [name for name, item in items.items() if item["state"] == "present"],
    }


def _exclusive(items: Mapping[str, Any], others: list[str], settings: Mapping[str, Any]) -> list[Finding]:
    if not items:
        text = "gpustack_models is empty, and gpustack_models_exclusive would remove every model; expected the list of those that stay"
        return [Finding(CHECK, "fail", text, "Give the list, or remove gpustack_models_exclusive.")]
    if not others or settings["confirm"]:
        return []
    text = f"gpustack_models does not name {', '.join(others)}, which gpustack_models_exclusive removes; expected your word for it"
    remedy = "Name those that are to stay, or give your word:\n  -e gpustack_models_exclusive=true -e gpustack_models_remove_confirm=true"
    return [Finding(CHECK, "warn" if settings["check"] else "fail", text, remedy)]


def files(given: list, hostvars: Any, groups: dict, store: str) -> list[str]:
    """Where on the host the models are that are to be looked at."""
    items = models.items(given, hostvars, groups).values()
    paths = [models.host_path(item["path"], store.rstrip("/")) for item in items if item.get("path") and item["state"] == "present"]
    return sorted(set(filter(None, paths)))


def summary(
    applied: Iterable[Mapping[str, Any]], info: Mapping[str, Any], plan: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The end of a run. applied: the results of gpustack_model, by the names that they were asked for; info: what came of it, empty where
    nothing was waited for."""
    done = {str(each.get(each.get("ansible_loop_var") or "item")): each for each in applied}
    server = settings["server"]
    found = [of_sentence(CHECK, failure(dict(each))) for each in done.values() if _failed(each)]
    found += [of_sentence(CHECK, problem) for problem in info.get("problems") or []]
    if info.get("msg") and "models" not in info:
        found.append(Finding(CHECK, "fail", f"GPUStack could not be asked for its models: {info['msg']}".rstrip(".")))
    rows = [_row(name, done, info) for name in plan["names"]]
    told = [tuple(cell for cell in (row["name"], row["action"], row["state"], row["on"], row["answer"])) for row in rows]
    problems = [(server, item) for item in found]
    return {
        "lines": (tables.table([("MODEL", "CHANGE", "STATE", "ON", "ANSWER"), *told]) if rows else [])
        + report_lines(problems, [server], "The models"),
        "told": told_above(problems),
        "stats": {
            "ok": not found,
            "url": settings["url"],
            "models": {row["name"]: row["stats"] for row in rows},
            "problems": [item.sentence for item in found],
        },
    }


def _row(name: str, done: Mapping[str, Mapping[str, Any]], info: Mapping[str, Any]) -> dict[str, Any]:
    action = "failed" if _failed(done.get(name) or {}) else str((done.get(name) or {}).get("action") or "-")
    instances = [each for each in info.get("instances") or [] if each["model"] == name]
    states = sorted({each["state"] for each in instances}) if "models" in info and action != "removed" else []
    workers = sorted({each["worker"] for each in instances if each["worker"]})
    answer = (info.get("answers") or {}).get(name) or {}
    state = ", ".join(f"{sum(each['state'] == one for each in instances)} {one}" for one in states) or "-"
    stats = {"action": action, "instances": len(instances), "states": states, "workers": workers, "answer": answer}
    return {"name": name, "action": action, "state": state, "on": ", ".join(workers) or "-", "answer": _answer(answer), "stats": stats}


def _failed(result: Mapping[str, Any]) -> bool:
    """The task itself does not fail, so that all of them are told together."""
    return bool(result) and "action" not in result


def _answer(answer: Mapping[str, Any]) -> str:
    if not answer:
        return "-"
    if not answer["ok"]:
        return "none" if answer["ok"] is False else ": ".join(["not asked", *filter(None, [answer.get("error")])])
    speed = f", {answer['tokens_per_second']:g} tokens/s" if answer.get("tokens_per_second") else ""
    return f"first token after {answer['first_token_ms']} ms{speed}" if answer["kind"] == "chat" else f"after {answer['first_token_ms']} ms"
