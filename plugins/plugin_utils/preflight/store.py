# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings about the model store as one host sees it, and about a node's data lying on it."""

from __future__ import annotations

from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight.finding import Checks, Finding

CHECKS = Checks()
DEAD_STORE_REMEDY = "Mend the server that exports it; what uses the store goes on when it is back."


def dead_store(path: str, source: str, reason: str) -> str:
    """A mounted store that gives no answer, as a sentence without its end."""
    return f"the model store {path} ({source}) does not answer ({reason}); expected a live file system"


@CHECKS.add(store="whether the model store is there and answers")
def mounted(host: dict, expect: dict) -> list[Finding]:
    store, path = host["store"], expect["models_dir"]
    if store is None:
        return []
    if not store["answers"]:
        return [Finding("store", "fail", dead_store(path, store["source"], store["error"]), DEAD_STORE_REMEDY)]
    # storage.yml brings it; what stands against that is told by the roles of NFS.
    if expect["store_type"] == "nfs" and (not store["exists"] or store["root_fs"]):
        return [Finding("store", "pass")]
    if not store["exists"]:
        text = f"the model store {path} does not exist; expected a mounted directory"
        return [Finding("store", "fail", text, "Mount it, or set gpustack_models_dir.")]
    if store["root_fs"]:
        text = f"{path} lies on the root file system; expected a store that all hosts share"
        return [Finding("store", "warn", text, "Mount the store there.")]
    if expect["node"] and store.get("writable") is False and expect["cache_dir"].startswith(f"{path}/"):
        cache = expect["cache_dir"]
        text = f"the model store {path} can't be written from it; expected so for {cache}, where GPUStack keeps what it downloads"
        remedy = "Name it in nfs_server_writers, or set gpustack_cache_dir to a directory of its own for it."
        return [Finding("store", "warn", text, remedy)]
    return [Finding("store", "pass")]


@CHECKS.add(data="whether the node's data lies on the store, which other hosts share")
def data(host: dict, expect: dict) -> list[Finding]:
    own, store = host["data"], expect["models_dir"]
    if not expect["node"] or expect["cluster"] != "gpustack" or not own or not own["on_store"]:
        return [Finding("data", "pass")]
    leads = f" (which leads to {own['path']})" if own["name"].rstrip("/") != own["path"] else ""
    text = f"the data {own['name']}{leads} lies on the model store {store}, which all hosts share; expected a place of the host's own"
    return [Finding("data", "fail", text, "Set gpustack_data_volume to a Docker volume, or to a directory of the host's own.")]
