# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings about what users have set, of all hosts at once, before any of them is asked."""

from __future__ import annotations

import difflib
import functools
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml
from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.generation import DEFAULT, DEPLOYED
from ansible_collections.ascend.gpustack.plugins.plugin_utils import cluster, rules
from ansible_collections.ascend.gpustack.plugins.plugin_utils.given import ENCRYPTED, Given, Unknown
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight import certificates
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Checks, Finding
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.version import undeployed

CHECKS = Checks()
# How the collection's public variables begin
FAMILIES = ("gpustack_", "ascend_driver_check_", "nfs_server_", "nfs_client_", "firewalld_configure_", "docker_swarm_", "vllm_stack_")
# The facts that the roles leave for others, and what a workflow hands on from verify
FACTS = (
    *("ascend_driver_check_host", "ascend_driver_check_npu_info", "ascend_driver_check_npus"),
    *("ascend_driver_check_report", "ascend_driver_check_summary", "gpustack_store_seen", "gpustack_reset_plan", "gpustack_cause"),
    *(
        "gpustack_takeover_problems",
        "gpustack_worker_name_problems",
        "gpustack_setting_problems",
        "gpustack_image_problems",
        "docker_swarm_problems",
    ),
    *("gpustack_data_seen", "gpustack_backup_made", "gpustack_models_served", "gpustack_weights_brought"),
    *("gpustack_upgrade_here", "gpustack_upgrade_failed", "gpustack_rollback_seen", "gpustack_rollback_version"),
    *("nfs_server_problems", "nfs_server_hidden", "nfs_server_exported", "nfs_client_problems", "nfs_client_unmounted"),
    *("vllm_stack_problems", "vllm_stack_image_problems", "gpustack_cluster"),
)
# Kinds of values that are judged by the version of GPUStack that is to run
OF_A_VERSION = ("gpustack_settings", "gpustack_env")
# Inventories whose quotes are those of YAML
YAML_FILES = (".json", ".yaml", ".yml")
# From here on, a name that does not even begin like the collection's is taken for a slip.
ALIKE = 0.92
# What other hosts use of a host, whether it is in the run or not
SHARED = ("gpustack_address", "gpustack_worker_name")

Problem = tuple[str, Finding]


@CHECKS.add(
    variables="values that can't be, unknown keys and names of checks; it can't be left out",
    unknown_variables="names of variables that look like the collection's and are none",
)
def _variables(hosts: list[str], hostvars: Any, groups: dict, known: Mapping[str, Mapping], roles: str) -> list[Problem]:
    """known: the rules of all variables; roles: the folder of the roles."""
    whole = [*hosts, *(host for host in _vital(groups) if host not in hosts)]
    others = [host for host in cluster.members(groups, *cluster.GROUPS) if host not in whole]
    judged = _Judged(Given(hostvars, roles), known, cluster.first(groups, "gpustack_server"))
    problems = [(host, item) for host in whole for item in judged.all_of(host)]
    problems += [(host, item) for host in others for item in judged.some_of(host, SHARED)]
    return problems + _store_problems(whole, groups, judged) + _tls_problems(groups, judged)


def _vital(groups: dict) -> list[str]:
    """Whose settings other hosts need: the server, the store's host and the managers of a Swarm."""
    return [host for group in ("gpustack_server", "gpustack_store", "docker_swarm_manager") for host in groups.get(group, [])]


@functools.lru_cache(maxsize=4)
def role_rules(roles: str, checks: tuple[str, ...]) -> dict[str, Mapping]:
    """The rule of each public variable of all roles below a directory: from meta/rules.yml, else from its type and choices. checks: the
    names of those that can be left out."""
    found: dict[str, Mapping] = {}
    for path in sorted(pathlib.Path(roles).glob("*/meta/argument_specs.yml")):
        own = _load(path.with_name("rules.yml"))
        for name, spec in _load(path)["argument_specs"]["main"].get("options", {}).items():
            found[name] = own.get(name) or _of_spec(spec)
    expected = "the name of a check that can be left out, as it stands in brackets in a report"
    found["ascend_driver_check_skip"] = {"is": "list", "of": {"is": "choice", "choices": checks, "expected": expected}}
    return found


def _of_spec(spec: Mapping) -> Mapping:
    if "choices" in spec:
        return {"is": "choice", "choices": spec["choices"]}
    return {"is": {"bool": "switch"}.get(spec["type"], "no rule")}


def _load(path: pathlib.Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}


class _Judged:
    """The values of hosts, equal ones of many hosts judged once."""

    def __init__(self, given: Given, known: Mapping[str, Mapping], server: str | None) -> None:
        self._given = given
        self._known = known
        self._server = server
        self._names: dict[str, Finding | None] = {}
        self._literal: dict[tuple[str, int, str, str], list[Finding]] = {}

    def all_of(self, host: str) -> Iterator[Finding]:
        variables = self._given.variables(host)
        node = "server" if host == self._server else "worker"
        yield from self._of(variables, [name for name in variables if name in self._known], self._version(variables), node)
        unknown = [item for item in map(self._slip, variables) if item]
        if unknown:
            skip = self.value(host, "ascend_driver_check_skip", [])
            yield from [] if isinstance(skip, list) and "unknown_variables" in skip else unknown

    def some_of(self, host: str, names: Iterable[str]) -> Iterator[Finding]:
        variables = self._given.variables(host)
        yield from self._of(variables, [name for name in names if name in variables])

    def value(self, host: str, name: str, default: Any) -> Any:
        variables = self._given.variables(host)
        try:
            return self._given.evaluated(variables, name) if name in variables else default
        except Unknown:
            return default

    def fitting(self, host: str, name: str) -> Any:
        """A text, empty where it is not set; None where its rule refuses it, as is told elsewhere."""
        value = self.value(host, name, "")
        return None if _findings(name, value, self._known[name]) else value

    def _version(self, variables: Mapping[str, Any]) -> str:
        """The GPUStack that the inventory asks for; empty where it says nothing of it."""
        value = variables.get("gpustack_version", "")
        if not self._given.literal(value):
            try:
                value = self._given.evaluated(variables, "gpustack_version")
            except Unknown:
                value = ""
        return str(value)

    def _of(self, variables: Mapping[str, Any], names: list[str], version: str = "", node: str = "") -> Iterator[Finding]:
        ini = not str(variables.get("inventory_file") or ".yml").endswith(YAML_FILES)
        for name in names:
            value = variables[name]
            rule = {**self._known[name], "ini": True} if ini else self._known[name]
            if rule["is"] in OF_A_VERSION:
                rule = {"node": node, **rule, "version": version}
            if not self._given.literal(value):
                yield from self._evaluated(variables, name, rule)
                continue
            key = (name, id(value), rule.get("version", ""), rule.get("node", ""))
            if key not in self._literal:
                self._literal[key] = _findings(name, value, rule)
            yield from self._literal[key]

    def _evaluated(self, variables: Mapping[str, Any], name: str, rule: Mapping) -> Iterator[Finding]:
        try:
            value = self._given.evaluated(variables, name)
        except Unknown as error:
            encrypted = str(error) == ENCRYPTED
            why = f" ({redact.text(str(error))})" if encrypted or not rule.get("secret") else ""
            remedy = "Give the vault's password." if encrypted else "Correct it, or what it names."
            yield Finding("variables", "fail", f"{name} can't be evaluated{why}; expected a value that Ansible can tell", remedy)
            return
        yield from _findings(name, value, rule)

    def _slip(self, name: str) -> Finding | None:
        """The finding of a name that is none of the collection's and looks like one."""
        if name not in self._names:
            self._names[name] = None if name in FACTS else _slip(name, list(self._known))
        return self._names[name]


def _findings(name: str, value: Any, rule: Mapping) -> list[Finding]:
    # What runs stays where no version is asked for, so that what fits any of them may be right.
    versions = [""] if rule.get("version", "?") else [DEFAULT.release, *(each.release for each in DEPLOYED if each is not DEFAULT)]
    wrongs = [list(rules.judge(value, {**rule, "version": version} if version else rule)) for version in versions]
    wrong_of_all = [] if [] in wrongs else wrongs[0]
    found = [
        Finding("variables", "fail", f"{name}{wrong.where} is set to {wrong.found}; expected {wrong.expected}", wrong.remedy)
        for wrong in wrong_of_all
    ]
    return found or (undeployed(value) if name == "gpustack_version" else [])


def _slip(name: str, known: list[str]) -> Finding | None:
    if name in known or name.startswith(("ansible_", "_")):
        return None
    ours = name.startswith(FAMILIES)
    near = difflib.get_close_matches(name, known, 1, 0.8 if ours else ALIKE)
    if not ours and not near:
        return None
    remedy = f"Did you mean {near[0]}?" if near else "Remove it, or give it another name."
    return Finding("unknown_variables", "fail", f"{name} is no variable of this collection", remedy)


def _tls_problems(groups: dict, judged: _Judged) -> list[Problem]:
    """Of the server's certificate and its key, and of what workers are to trust."""
    found = []
    for host in groups.get("gpustack_server", [])[:1]:
        texts = [judged.fitting(host, name) for name in certificates.NAMES]
        found += [(host, item) for item in (certificates.pair_problems(*texts) if None not in texts else [])]
        own = judged.value(host, "gpustack_server_config", {})
        if texts[0] and isinstance(own, Mapping) and {"ssl_certfile", "ssl_keyfile"} & set(own):
            text = "gpustack_server_config names a certificate, and gpustack_tls_certificate is one; expected it once"
            found.append((host, Finding("variables", "fail", text, "Remove ssl_certfile and ssl_keyfile there.")))
    return found


def _store_problems(hosts: list[str], groups: dict, judged: _Judged) -> list[Problem]:
    """A store over NFS has one host that exports it, or a server that Ansible does not manage."""
    stores = groups.get("gpustack_store", [])
    nfs = [host for host in hosts if judged.value(host, "gpustack_store_type", "nfs") == "nfs"]
    if len(stores) != 1:
        nfs = [host for host in nfs if stores or not judged.value(host, "gpustack_store_server", "")]
        text = f"the group gpustack_store holds {', '.join(stores) or 'no host'}; expected exactly one while gpustack_store_type is nfs"
        remedy = (
            "Put the NFS server there, or set gpustack_store_server for one that Ansible does not manage, or gpustack_store_type: external."
        )
        return [(host, Finding("inventory", "fail", text, remedy)) for host in nfs if not stores or host in stores]
    exported = judged.value(stores[0], "gpustack_store_export", "")
    if exported == "/" and nfs:
        text = 'gpustack_store_export is "/", and the group gpustack_store exports it; expected a path below /'
        return [(stores[0], Finding("variables", "fail", text, "Correct it."))]
    return []
