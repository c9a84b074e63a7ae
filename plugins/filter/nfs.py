# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the model store: what a client has to do to have it mounted, and whether all hosts see the same one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.store import DEAD_STORE_REMEDY, dead_store

MARK = "x-gpustack.managed"
# What changes nothing of how files are read and written: no-ops of NFS (nfs(5)), and when and by whom the entry is mounted.
IDLE = {"defaults", "rw", "intr", "nointr", "noatime", "nodiratime", "relatime", "_netdev", "auto", "nofail", "bg", "fg"}
IDLE_PREFIXES = ("x-", "retry=", "comment=")
# What the kernel shows of a mount's options under the name that they were given by.
VISIBLE = ("vers=", "timeo=", "retrans=", "nconnect=", "rsize=", "wsize=", "actimeo=")
VISIBLE_WORDS = {"hard", "soft", "ro", "nolock"}


def nfs_source(server: str, export: str) -> str:
    return f"[{server}]:{export}" if ":" in server else f"{server}:{export}"


def nfs_clients(clients: list[str], writers: list[str]) -> list[dict]:
    """Who may mount, each with its access: everyone may write, or the writers alone."""
    readers = [client for client in clients if client not in writers]
    return [{"client": client, "access": "rw"} for client in writers] + [
        {"client": client, "access": "ro" if writers else "rw"} for client in readers
    ]


def nfs_mount_plan(info: dict, want: dict) -> dict:
    """What a client needs: `problems` and `notes` (sentences without the host's name), `mounted` (the problems with what is mounted
    now), `mount` and `fstab` (whether to do it), and `changes` (a line for each of the two that is to be done)."""
    wanted = nfs_source(want["server"], want["export"])
    mounted = _mount_problems(info, want, wanted)
    problems = list(mounted)
    mount = info["mount"] is None
    if mount and info["hidden_files"] and not want["allow_hidden_files"]:
        problems.append(
            f"{want['path']} holds {', '.join(info['hidden_files'])}, which the mounted store would hide; expected an empty directory. "
            "Move them away, or set nfs_client_allow_hidden_files: true."
        )
    if mount and not want["server_to_come"] and not info["server"]["local"]:
        problems += _server_problems(info["server"], want)
    entry_problems, notes, fstab = _fstab(info, want, wanted)
    if not problems and not mount:
        notes += _pending(info["mount"]["options"], want)
    changes = [f"mount {want['path']}: {wanted}"] if mount else []
    changes += [f"/etc/fstab: {_entry(want, wanted)}"] if fstab else []
    return {
        "problems": problems + entry_problems,
        "mounted": mounted if info["mount"] else [],
        "notes": notes,
        "mount": mount,
        "fstab": fstab,
        "changes": changes,
    }


def _mount_problems(info: dict, want: dict, wanted: str) -> list[str]:
    path, mount = want["path"], info["mount"]
    if info["server"]["local"]:
        return [
            f"the NFS server {want['server']} is this host itself, and the store is not mounted over itself; expected another host. "
            "Put this host into the group gpustack_store, or correct gpustack_store_server."
        ]
    if mount is None:
        return []
    if not mount["fstype"].startswith("nfs") or not _is_same(mount["source"], mount["address"], info, want):
        return [
            f"{path} has {mount['source']} ({mount['fstype']}) mounted on it; expected {wanted}. "
            f"Unmount it (umount {path}, and take its line out of /etc/fstab); what is in it stays where it is. If it is the store that "
            "all hosts share, set gpustack_store_type: external; if another NFS server has the store, correct gpustack_store_server and "
            "gpustack_store_export."
        ]
    if not info["answers"]:
        return [f"{dead_store(path, mount['source'], 'its port 2049: ' + info['server']['port'])}. {DEAD_STORE_REMEDY}"]
    return []


def _is_same(source: str, address: str | None, info: dict, want: dict) -> bool:
    """Whether a source is the wanted one, by name or by address."""
    host, _colon, export = source.rpartition(":")
    names = {want["server"], info["server"]["address"]} - {None}
    return export.rstrip("/") == want["export"].rstrip("/") and bool(names & {host.strip("[]"), address})


def _server_problems(server: dict, want: dict) -> list[str]:
    name, export, port = f"the NFS server {want['server']}", want["export"], server["port"]
    if port == "unresolved":
        return [f"{name} does not resolve; expected a name with an address. Correct gpustack_store_server, or add it to DNS or /etc/hosts."]
    if port == "refused":
        return [f"{name} refuses port 2049; expected a running NFS server. Start it there (systemctl start nfs-server)."]
    if port != "open":
        return [
            f"{name} does not answer on port 2049 ({port}); expected an answer within 3 s. Start that host, or open its ports "
            "2049, 111 and 20048 for this one."
        ]
    if want["version"].startswith("4"):
        return []
    if server["error"]:
        return [
            f"{name} answers on port 2049 and does not say what it exports ({server['error']}); expected its mountd to answer. "
            "Open its ports 111 and 20048 for this host, or start rpcbind there."
        ]
    exports = {path.rstrip("/") or "/": clients for path, clients in (server["exports"] or {}).items()}
    if server["exports"] is not None and export not in exports:
        return [
            f"{name} exports {', '.join(sorted(exports)) or 'nothing'}; expected {export}. "
            "Export it there, or correct gpustack_store_export."
        ]
    if server["admitted"].get(export) is False:
        return [
            f"{name} exports {export} to {', '.join(exports[export])}; expected this host ({server['seen_as']}) among them. Add it there."
        ]
    return []


def _fstab(info: dict, want: dict, wanted: str) -> tuple[list[str], list[str], bool]:
    """(problems, notes, whether the entry is to be written)."""
    entries, path = info["fstab"], want["path"]
    if not entries:
        return [], [], True
    if len(entries) > 1:
        lines = "; ".join(f"line {entry['line']}: {entry['text']}" for entry in entries)
        return [f"/etc/fstab has {len(entries)} entries for {path} ({lines}); expected one. Remove all others."], [], False
    (entry,) = entries
    if entry["source"] == wanted and entry["fstype"] == "nfs" and entry["options"] == want["options"]:
        return [], [], False
    if MARK in entry["options"]:
        return [], [], True
    text = f"the entry of /etc/fstab made by hand, line {entry['line']} ({entry['text']})"
    same_source = entry["fstype"].startswith("nfs") and _is_same(entry["source"], None, info, want)
    if same_source and _meaning(entry["options"], entry["fstype"]) == _meaning(want["options"], "nfs"):
        return [], [f"{text}, is taken over"], True
    if want["replace_fstab"]:
        return [], [f"{text}, is replaced"], True
    told = f"{text}, differs; expected {_entry(want, wanted)}. Change it, or set nfs_client_replace_fstab: true to have it replaced."
    return [told], [], False


def _entry(want: dict, wanted: str) -> str:
    return f"{wanted} {want['path']} nfs {','.join(want['options'])} 0 0"


def _meaning(options: Iterable[str], fstype: str) -> set[str]:
    """The options that matter, by one name each."""
    found = {option.replace("nfsvers=", "vers=") for option in options if option not in IDLE and not option.startswith(IDLE_PREFIXES)}
    if fstype == "nfs4" and not any(option.startswith("vers=") for option in found):
        found.add("vers=4")
    return found | ({"hard"} if "soft" not in found else set())


def _pending(live: list[str], want: dict) -> list[str]:
    """Options of the entry that the present mount does not have yet; NFS takes most of them only when it is mounted anew."""
    wanted = [option for option in want["options"] if option.startswith(VISIBLE) or option in VISIBLE_WORDS]
    missing = [option for option in wanted if option not in live and not (option == "vers=4" and "vers=4.2" in live)]
    if not missing:
        return []
    return [f"{want['path']} is mounted without {', '.join(missing)}; that comes when it is mounted anew, at the latest with the next boot"]


def stores(hosts: Iterable[str], hostvars: Any, server: dict) -> dict:
    """The stores of all hosts together: `id` and `hosts` (those of the store that most see; of as many on both sides, the server's),
    `ids` (host to what it knows its store by), `writer` (who is to give the store an id, empty when it has one or nobody can)."""
    read = {host: (hostvars[host].get("gpustack_store_seen") or {}).get("store") or {} for host in hosts}
    seen = {host: store for host, store in read.items() if store.get("answers") and store.get("exists")}
    of_server = (server or {}).get("store") or {}
    ids = {"the server": _known_by(of_server)} if of_server.get("answers") and of_server.get("exists") else {}
    ids.update({host: _known_by(store) for host, store in seen.items()})
    counts = Counter(ids.values())
    right = max(counts, key=counts.__getitem__) if counts else ""
    marked = any(store.get("id") for store in (*seen.values(), of_server))
    writers = [host for host, store in seen.items() if store["writable"]]
    return {
        "id": right,
        "hosts": [host for host, value in ids.items() if value == right],
        "ids": ids,
        "marked": marked,
        "writer": "" if marked or not writers else writers[0],
    }


def _known_by(store: dict) -> str:
    return store["id"] or f"{store['source']} {store['fs_id'] or ''}".strip()


def other_store(found: dict, host: str) -> str:
    """How a host's store differs from that of most hosts; empty when it does not, or when the host has told of none."""
    own = found["ids"].get(host)
    if own is None or own == found["id"]:
        return ""
    shown = ", ".join(found["hosts"][:3]) + (" …" if len(found["hosts"]) > 3 else "")
    return f"is another store ({own}) than on {shown} ({found['id']})"


def dead_stores(hosts: Iterable[str], hostvars: Any) -> list[str]:
    """A sentence for each host whose store does not answer."""
    read = {host: (hostvars[host].get("gpustack_store_seen") or {}).get("store") or {"answers": True} for host in hosts}
    return [
        f"{host}: {dead_store(store['path'], store['source'], store['error'])}. {DEAD_STORE_REMEDY}"
        for host, store in read.items()
        if not store["answers"]
    ]


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict:
        return {function.__name__: function for function in (nfs_source, nfs_clients, nfs_mount_plan, stores, other_store, dead_stores)}
