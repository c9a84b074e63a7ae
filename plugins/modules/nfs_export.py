#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: nfs_export
short_description: Export one directory to the cluster's clients
version_added: 0.1.0
description:
  - Makes the NFS server of this host serve one directory to a list of clients. What is to be exported for that stands in
    a file of its own, C(/etc/exports.d/gpustack.exports).
  - Lines made by hand in C(/etc/exports) and C(/etc/exports.d) are judged, and never changed. Clients that such a line
    serves as wanted are left to it. A line that serves them otherwise is a problem, with which the module fails before it
    changes anything.
  - C(exportfs -ra) is run when the file changes, and when what is in force (C(/var/lib/nfs/etab)) does not show for this
    directory what the files say, as after a run that was killed. When the directory is not exported after that, the
    file gets its former content back and the module fails. What exportfs says of other entries is a note.
author:
  - ascend.gpustack contributors (@ascend-gpustack)
extends_documentation_fragment:
  - ascend.gpustack.attributes.change
  - ascend.gpustack.attributes.group
options:
  path:
    description:
      - The directory, absolute. It must exist, except in check mode.
      - When it is a mount point at its first export, it is exported as long as it is one (option C(mountpoint) in
        C(exports(5))), so that clients never write to the empty directory below a disk that is not mounted. From then
        on the module fails when it isn't mounted. Mounts of the same file system elsewhere (C(mount --bind)) are no mount
        points for the NFS server.
    type: path
    required: true
  clients:
    description:
      - Whom to serve. Each gets an entry of its own, the same client is taken once.
      - With none, the file is removed, whatever has become of the directory and of C(exportfs).
    type: list
    elements: dict
    required: true
    suboptions:
      client:
        description: An address, a network such as V(172.16.33.0/24), or a host name, which this host resolves to one address.
        type: str
        required: true
      access:
        description: V(ro) clients only read, and their root is never root here.
        type: str
        choices: [rw, ro]
        default: rw
  allow_names:
    description: Whether a client may be a host name.
    type: bool
    default: true
  squash:
    description:
      - Which users of the V(rw) clients become C(nobody) here.
      - GPUStack's container writes as root, hence the default.
    type: str
    choices: [no_root_squash, root_squash, all_squash]
    default: no_root_squash
  timeout:
    description: Seconds that C(exportfs), the directory and each host name may take.
    type: int
    default: 30
notes:
  - Of several entries that fit a client, the NFS server takes one for the host, then one for a network, then one for every
    host, and of a kind the first. Patterns, netgroups and names that can't be resolved are named in RV(notes) and not judged.
"""

EXAMPLES = r"""
- name: Export the model store to the cluster
  ascend.gpustack.nfs_export:
    path: /data/models
    clients:
      - client: 172.16.33.107
      - client: 172.16.33.108
      - client: 172.16.40.0/24
        access: ro
"""

RETURN = r"""
clients:
  description: The clients in the file C(/etc/exports.d/gpustack.exports), as addresses and networks, in its order.
  returned: success
  type: list
  elements: str
  sample: [172.16.33.107, 172.16.40.0/24]
covered:
  description: The clients that entries made by hand serve as wanted.
  returned: success
  type: list
  elements: dict
  contains:
    client:
      description: The client, as address or network.
      type: str
    where:
      description: File and line of the entry.
      type: str
  sample:
    - client: 172.16.33.108
      where: /etc/exports:3
mountpoint:
  description: Whether the directory is exported only as long as it is a mount point.
  returned: success
  type: bool
  sample: true
hidden:
  description:
    - File systems below the directory that clients find empty, as a sentence; it is no reason to fail. None where every client is served
      with C(crossmnt), or they are exported by themselves with C(nohide).
  returned: success
  type: list
  elements: str
notes:
  description: What is worth knowing and no problem, a sentence each.
  returned: always
  type: list
  elements: str
  sample:
    - "/etc/exports:3 serves 172.16.33.108 already (172.16.33.0/24, rw,sync,no_root_squash); wider than asked: all of
      172.16.33.0/24 may mount it."
problems:
  description: Why nothing was changed, or was changed back, a sentence each.
  returned: failure
  type: list
  elements: str
  sample:
    - "/etc/exports:3 exports /data/models to 172.16.33.0/24 with rw,sync,root_squash; expected
      rw,sync,no_root_squash,no_subtree_check for 172.16.33.107. Remove that entry, or change it to
      172.16.33.0/24(rw,sync,no_root_squash,no_subtree_check)."
"""

import functools
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.gpustack.plugins.module_utils import files
from ansible_collections.ascend.gpustack.plugins.module_utils import files as text_file
from ansible_collections.ascend.gpustack.plugins.module_utils.docker.cli import first_line
from ansible_collections.ascend.gpustack.plugins.module_utils.host import mounts as host_mounts
from ansible_collections.ascend.gpustack.plugins.module_utils.host import reach
from ansible_collections.ascend.gpustack.plugins.module_utils.nfs import clients as nfs_clients
from ansible_collections.ascend.gpustack.plugins.module_utils.nfs import exports as nfs_exports
from ansible_collections.ascend.gpustack.plugins.module_utils.nfs import nested as nfs_nested
from ansible_collections.ascend.gpustack.plugins.module_utils.nfs import rules as nfs_rules
from ansible_collections.ascend.gpustack.plugins.module_utils.runner import RC_NOT_EXECUTABLE, RC_NOT_FOUND, Result, Runner, run


@dataclass(frozen=True)
class Places:
    """Where the NFS server and the kernel keep what is read and written here."""

    exports: str = "/etc/exports"
    directory: str = "/etc/exports.d"
    name: str = "gpustack.exports"
    etab: str = "/var/lib/nfs/etab"
    mountinfo: str = "/proc/self/mountinfo"

    @property
    def own(self) -> str:
        return f"{self.directory}/{self.name}"


class RefusalError(Exception):
    """Problems, which each are a sentence for the user."""

    def __init__(self, problems: list[str], notes: Iterable[str] = ()) -> None:
        super().__init__(" ".join(problems))
        self.problems, self.notes = problems, list(notes)


@dataclass(frozen=True)
class Host:
    """What asks the host. addresses gives all of a name's addresses, resolve the one by which to know it."""

    runner: Runner
    timeout: float
    addresses: Callable[[str], list[str]]
    resolve: Callable[[str], str | None]


@dataclass(frozen=True)
class Plan:
    """text is what the own file is to hold, before what it holds; None stands for no file."""

    path: str
    real: dict[str, str]
    before: str | None
    text: str | None
    mountpoint: bool
    squash: str
    by_hand: list[nfs_rules.Rule]
    verdict: nfs_rules.Verdict
    notes: list[str]
    hidden: list[str]


def ask(runner: Runner, timeout: float) -> Host:
    @functools.cache
    def addresses(name: str) -> list[str]:
        return reach.addresses(runner, name, timeout)

    return Host(runner, timeout, addresses, lambda name: reach.resolve(runner, name, timeout))


# Reading


def read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def tables(places: Places) -> list[nfs_exports.Table]:
    """The exports files made by hand, in the order in which exportfs reads them."""
    names = os.listdir(places.directory) if os.path.isdir(places.directory) else []
    mine = sorted((name for name in names if re.fullmatch(r"[^.].*\.exports", name, re.DOTALL)), key=nfs_rules.natural)
    paths = [places.exports] + [f"{places.directory}/{name}" for name in mine if name != places.name]
    return [nfs_exports.parse(read(path) or b"", path) for path in paths if os.path.isfile(path)]


def real_paths(host: Host, paths: Iterable[str]) -> dict[str, str]:
    """Each path as exportfs takes it: without symbolic links. In a process of its own: some may lie on a dead file system."""
    listed = list(dict.fromkeys(paths))
    result = host.runner(["readlink", "-m", "-z", "--", *listed], host.timeout)
    found = result.stdout.split("\0")[:-1]
    if result.timed_out or len(found) != len(listed):
        found = [os.path.normpath(path) for path in listed]
    return dict(zip(listed, found))


def exported_path(given: str) -> str:
    """Raises RefusalError for what exports files can't hold."""
    if not given.startswith("/") or re.search(r"[\x00-\x1f\x7f\\]", given):
        raise RefusalError(
            [f"path {given!r} can't be exported; expected an absolute one without backslashes and control characters. Correct it."]
        )
    return "/" + os.path.normpath(given).lstrip("/")


def path_problems(host: Host, path: str, check: bool) -> list[str]:
    result = host.runner(["stat", "-L", "-c", "%F", "--", path], host.timeout)
    if result.timed_out:
        return [f"{path} does not answer within {host.timeout:g} s; expected a directory on a disk. See what is mounted there: findmnt."]
    if "No such file" in result.stderr:
        return [] if check else [f"{path} is not there; expected the directory to export. Make it: mkdir -p '{path}'."]
    if result.rc != 0:
        return [f"{path} can't be examined ({first_line(result.stderr)}); expected a directory. Look at it: stat '{path}'."]
    kind = result.stdout.strip()
    return [] if kind == "directory" else [f"{path} is a {kind}; expected a directory. Move it away, or export another path."]


def is_mount_point(mountinfo: str, path: str) -> bool:
    """As mountd decides it: by the device, so that a part of the same file system mounted there is none."""
    mounts = host_mounts.parse_mountinfo(mountinfo)
    here, above = host_mounts.holding(mounts, path), host_mounts.holding(mounts, os.path.dirname(path))
    return here is not None and here.target == path and (above is None or above.device != here.device)


def read_clients(params: dict[str, Any], host: Host) -> tuple[list[nfs_clients.Client], list[str]]:
    clients, problems = [], []
    for given in params["clients"]:
        try:
            clients.append(nfs_clients.read_client(given["client"], given["access"], host.resolve if params["allow_names"] else None))
        except ValueError as error:
            problems.append(str(error))
    return nfs_clients.in_order(clients), problems


# Judging


def guard(path: str, former: list[nfs_exports.Entry], verdict: nfs_rules.Verdict, mounted: bool) -> tuple[bool, list[str]]:
    """Whether the export depends on a mounted disk, and what is wrong with that. former are the own file's entries."""
    entries = former + [rule.entry for _client, rule in verdict.covered]
    guarded = [entry.where for entry in entries if entry.options.mountpoint]
    if guarded and not mounted:
        return True, [
            f"the disk of {path} is not mounted, but was when {path} was first exported (mountpoint in {guarded[0]}); expected it"
            f" mounted. Mount it: mount {path}, or remove mountpoint there to export the directory without the disk."
        ]
    return any(entry.options.mountpoint for entry in former) if former else mounted, []


def plan(params: dict[str, Any], host: Host, places: Places, check: bool) -> Plan:
    path, squash = exported_path(params["path"]), params["squash"]
    clients, problems = read_clients(params, host)
    # What is exported no more may be gone, or on a disk that is.
    problems = (path_problems(host, path, check) if clients else []) + problems
    own = read(places.own)
    found = tables(places)
    entries = [entry for table in found for entry in table.entries]
    own_entries = nfs_exports.parse(own or b"", places.own).entries
    real = real_paths(host, [path, *(entry.path for entry in [*entries, *own_entries] if entry.path.startswith("/"))])
    by_hand = nfs_rules.rules(nfs_rules.by_real_path(entries, real, path), host.addresses)
    verdict = nfs_rules.judge(path, clients, by_hand, squash)
    former = nfs_rules.by_real_path(own_entries, real, path)
    mountinfo = files.read_text(places.mountinfo)
    mountpoint, unmounted = guard(path, former, verdict, is_mount_point(mountinfo, real[path]))
    problems += verdict.problems + (unmounted if clients else [])
    stopped = [f"{table.stopped}: exportfs reads that file no further. Correct that line." for table in found if table.stopped]
    notes = stopped + verdict.notes
    if problems:
        raise RefusalError(problems, notes)
    text = nfs_exports.render(path, verdict.own, squash, mountpoint)
    before = None if own is None else own.decode("utf-8", "surrogateescape")
    hidden = out_of_sight(real, path, mountinfo, verdict, entries, squash) if clients else []
    notes += nfs_nested.links_out(host.runner, real[path], host.timeout) if clients else []
    return Plan(path, real, before, text, mountpoint and text is not None, squash, by_hand, verdict, notes, hidden)


def out_of_sight(
    real: dict[str, str], path: str, mountinfo: str, verdict: nfs_rules.Verdict, entries: list[nfs_exports.Entry], squash: str
) -> list[str]:
    """What is mounted below the directory and empty for clients."""
    crossed = not verdict.own and all(rule.entry.options.crossmnt for _client, rule in verdict.covered)
    exported = [real.get(entry.path, entry.path) for entry in entries if entry.options.nohide]
    below = nfs_nested.mounts_below(real[path], host_mounts.parse_mountinfo(mountinfo))
    return nfs_nested.hidden(path, below, crossed, exported, squash)


def out_of_force(planned: Plan, host: Host, places: Places) -> list[str]:
    entries = nfs_exports.parse(read(places.etab) or b"", places.etab).entries
    in_force = nfs_rules.rules(nfs_rules.by_real_path(entries, planned.real, planned.path), host.addresses)
    return nfs_rules.out_of_force(planned.verdict, planned.squash, planned.mountpoint, in_force, planned.by_hand, places.etab)


# Changing


def exportfs(host: Host) -> Result:
    return host.runner(["exportfs", "-ra"], host.timeout)


def failure(result: Result, planned: Plan, host: Host, places: Places) -> str | None:
    """Why the directory is not exported as planned. exportfs returns 1 also for what is wrong with other entries, and
    for a missing /etc/exports, so that its table tells, not its return code."""
    if result.rc == RC_NOT_FOUND:
        if planned.text is None:
            return None
        return "the command exportfs is not there; expected an NFS server. Install its package, nfs-utils (nfs-kernel-server on Debian)."
    if result.timed_out:
        return (
            f"exportfs -ra did not end within {host.timeout:g} s; expected an answer. Look for host names in the exports files"
            " that can't be resolved, or raise timeout."
        )
    if result.rc != RC_NOT_EXECUTABLE and not nfs_exports.refusals(result.stderr, _paths(planned)):
        missing = out_of_force(planned, host, places)
        if not missing:
            return None
    said = nfs_exports.complaints(result.stderr) or f"nothing (return code {result.rc})"
    return f"exportfs -ra did not export {planned.path} as {places.own} has it; expected it in {places.etab}. It says: {said}."


def _paths(planned: Plan) -> list[str]:
    return [planned.path, planned.real.get(planned.path, planned.path)]


def apply(planned: Plan, host: Host, places: Places) -> list[str]:
    """What exportfs has to say, for the notes."""
    changed = planned.text != planned.before
    if changed:
        text_file.write(places.own, planned.text)
    result = exportfs(host)
    problem = failure(result, planned, host, places)
    if problem:
        if changed:
            text_file.write(places.own, planned.before)
            problem += f" {places.own} is as it was before."
        if changed and result.rc != RC_NOT_FOUND and not result.timed_out:
            exportfs(host)
        raise RefusalError([problem], planned.notes)
    if result.rc not in (0, RC_NOT_FOUND):
        return [f"exportfs -ra exports {planned.path}, and reports: {nfs_exports.complaints(result.stderr)}."]
    return [f"exportfs -ra says: {line}" for line in nfs_exports.messages_about(result.stderr, _paths(planned))]


def export(params: dict[str, Any], runner: Runner, places: Places, check: bool) -> dict[str, Any]:
    """Raises RefusalError, and OSError."""
    host = ask(runner, params["timeout"])
    planned = plan(params, host, places, check)
    notes = list(planned.notes)
    stale = out_of_force(planned, host, places) if planned.text == planned.before else []
    changed = planned.text != planned.before or bool(stale)
    if changed and not check:
        notes += stale + apply(planned, host, places)
    elif changed:
        notes += stale
    return {
        "changed": changed,
        "clients": [client.text for client in planned.verdict.own],
        "covered": [{"client": client.text, "where": rule.entry.where} for client, rule in planned.verdict.covered],
        "mountpoint": planned.mountpoint,
        "hidden": planned.hidden,
        "notes": notes,
        "diff": {
            "before_header": places.own,
            "after_header": places.own,
            "before": (planned.before or "").encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
            "after": planned.text or "",
        },
    }


def main(places: Places | None = None) -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "clients": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "client": {"type": "str", "required": True},
                    "access": {"type": "str", "choices": ["rw", "ro"], "default": "rw"},
                },
            },
            "allow_names": {"type": "bool", "default": True},
            "squash": {"type": "str", "choices": ["no_root_squash", "root_squash", "all_squash"], "default": "no_root_squash"},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )

    try:
        result = export(module.params, run, places or Places(), module.check_mode)
    except RefusalError as refusal:
        module.fail_json(msg=str(refusal), problems=refusal.problems, notes=refusal.notes)
    except OSError as error:
        problem = f"{error.filename} can't be read or written ({error.strerror}); {text_file.refusal(error)}."
        module.fail_json(msg=problem, problems=[problem], notes=[])
    module.exit_json(**result)


if __name__ == "__main__":
    main()
