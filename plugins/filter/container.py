# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters on why GPUStack's container can't run, with the remedy for just that. Pure functions; each is documented in its .yml."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.plugin_utils.settings import setting_problems

# What community.docker and Docker's API say when the container could not even be made
_REFUSALS = (
    ("conflict", r"409 Client Error|already in use by container|removal of container .* is already in progress|marked for removal"),
    ("requests", r"Failed to import the required Python library \(requests|No module named '?requests"),
    (
        "engine",
        r"Error connecting|Error while fetching server API version|Connection aborted|Connection refused|Cannot connect to the Docker",
    ),
    ("disk", r"no space left on device"),
    (
        "argument",
        r"Unsupported parameters|of type|[Cc]onvert|[Ee]rror parsing|invalid|value of|missing (?:required|parameter)|Cannot |appears twice"
        r"|[Dd]uplicate mount|unknown (?:log opt|or invalid runtime|capability)|no log driver|logging plugin|CPUs are not available",
    ),
)


def refusal_kind(message: str) -> str:
    """conflict, requests, engine, disk, argument, or docker: another refusal."""
    return next((kind for kind, pattern in _REFUSALS if re.search(pattern, message)), "docker")


def _sentences(kind: str, why: str, node: dict) -> str:
    container, config = node["container"], f"gpustack_{node['role']}_config"
    port = (re.findall(r"(?:', |Port )(\d+)", why) or ["…"])[0]
    texts = {
        "conflict": f"the container {container} was changed by someone else at the same time ({why}); expected one run at a time. "
        "Wait until the other run has ended, and run this again.",
        "requests": f"the Python that Ansible uses there ({node['python']}) has no requests; expected it for Ansible's Docker modules. "
        "Set ansible_python_interpreter: /usr/bin/python3 for it, or install requests for that Python.",
        "engine": f"Docker Engine stopped answering while the container {container} was made ({why}); expected it to run. "
        "Run there: systemctl start docker; journalctl -u docker says why it stopped.",
        "argument": f"the container {container} can't be made of what the variables say ({why}); expected options that Docker takes. "
        "Correct gpustack_container_options, gpustack_env or gpustack_volumes.",
        "docker": f"Docker refuses the container {container} ({why}); expected it to take it. Correct what it names.",
        "setting": f"GPUStack refuses a setting of its configuration file ({why}); expected settings that it knows. Correct {config}.",
        "database": f"GPUStack can't read its database in {node['data_volume']} ({why}); expected a whole one. Run the "
        f"playbook restore, which takes the newest backup in {node['backup_dir']}, if there are any: ls -l {node['backup_dir']}",
        "disk": f"there is no room left on its disk ({why}); expected some for GPUStack's data. Make room: docker system df, df -h",
        "port": f"a port of GPUStack's is taken ({why}); expected it free. See by whom: ss -ltnp 'sport = :{port}'; stop that, "
        "or set another port.",
        "token": f"the server refuses the token of {container} ({why}); expected the server's. Run the playbook workers, which reads it "
        "there; if gpustack_token is set, correct or remove it.",
        "server": f"the server does not answer {container} ({why}); expected it to. See that GPUStack runs on the server, with the "
        "playbook server, and that its port is open to this host, with the playbook firewall.",
        "trust": f"{container} does not accept the server's certificate ({why}); expected one for the server's address, signed by someone "
        "whom this host trusts. Set gpustack_tls_ca to the certificate of who signed it.",
        "store": f"the container {container} waits for the model store ({why}); expected it mounted. Run the playbook storage; "
        "GPUStack then starts by itself.",
        "memory": f"the container {container} needs more memory than it may have ({why}); expected it to fit. Raise memory in "
        "gpustack_container_options, or free some on the host.",
        "ended": f"the container {container} does not stay up: {why}; expected it to run.",
        "stopped": f"the container {container} was stopped ({why}); expected it to run. Run there: docker start {container}",
        "gone": f"the container {container} is gone ({why}); expected it to run. Someone else removed it; run this again.",
        "paused": f"the container {container} is paused; expected it to run. Run there: docker unpause {container}",
    }
    return texts.get(kind) or (
        f"the container {container} is not healthy after {node['wait']} s, and {why}; expected it healthy. "
        "Raise gpustack_wait if it only needs longer."
    )


def run_failure(result: dict, node: dict, secrets: dict) -> str:
    """Why the container did not come to life, with the end of its log, without the secrets that it was given. node: `host`, `container`,
    `role`, `wait`, `python`, `data_volume` and `backup_dir`."""
    why = " ".join(str(result.get("detail") or result.get("msg") or "no answer").split()).rstrip(".")
    kind = result.get("kind") or "docker"
    kind = refusal_kind(why) if kind == "docker" else kind
    text = f"{node['host']}: {_sentences(kind, why, node)}"
    text += " The container that is there was left as it is." if result.get("kept") else ""
    if result.get("log"):
        text += f"\nThe end of `docker logs {node['container']}`:\n{result['log']}"
    return redact.text(text, (str(secret) for secret in secrets.values() if secret))


def cause(result: dict, node: dict) -> str:
    """The known cause for which a container's worker is not ready, with its remedy; empty where none is known."""
    kind, why = result.get("kind"), " ".join(redact.text(str(result.get("detail") or "")).split()).rstrip(".")
    return "" if kind in (None, "time", "docker") else _sentences(kind, why, node)


def token_problems(token: dict) -> list[str]:
    """What stands against the token of a server whose cluster keeps the first one, as sentences. token: whether the given one `differs`
    from that in the cluster's `file`, and whether it is `unknown` which one the database has."""
    found = []
    if token["differs"]:
        found.append(
            f"gpustack_token is not the token of the cluster that is there; expected that, which GPUStack keeps in {token['file']}. "
            "Set gpustack_token to it, or take it out of the inventory; the playbook rotate_token gives the cluster another one."
        )
    if token["unknown"]:
        found.append(
            "gpustack_server_config has a database_url, and gpustack_token is not set; expected the token of the cluster in that "
            "database. Set gpustack_token to it; for an empty database, to one of your own (openssl rand -hex 16)."
        )
    return found


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Any]:
        return {function.__name__: function for function in (run_failure, cause, setting_problems, token_problems)}
