# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the files of a model say of what it needs, read in a process of its own: a store that is dead never answers."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ansible_collections.ascend.gpustack.plugins.module_utils.runner import Runner

MIB = 1024 * 1024
_READ = (
    'kind=$(stat -L -c %F -- "$1") || exit 3; echo "kind $kind"; [ -d "$1" ] || exit 0; '
    "find -L \"$1\" -maxdepth 1 -type f -name '*.safetensors' -printf 'weight %s\\n'; "
    'if [ -f "$1/config.json" ]; then echo config; head -c 1048576 -- "$1/config.json"; fi'
)
# Where models that see or hear keep what is said of the part that speaks
_PARTS = ("text_config", "llm_config", "language_config", "thinker_config")


@dataclass(frozen=True)
class Files:
    """kind: directory, file, none, or unknown where nothing answered; heads: None where nothing tells."""

    kind: str
    config: bool = False
    heads: int | None = None
    weights_mib: int = 0


def read(run: Runner, path: str, timeout: float) -> Files:
    result = run(["sh", "-c", _READ, "read", path], timeout)
    said, config, text = result.stdout.partition("config\n")
    lines = said.splitlines()
    if result.timed_out or not lines:
        absent = "No such file" in result.stderr or "Not a directory" in result.stderr
        return Files("none" if absent and not result.timed_out else "unknown")
    kind = "directory" if lines[0] == "kind directory" else "file"
    weights = sum(int(line.split()[1]) for line in lines if line.startswith("weight "))
    return Files(kind, bool(config), _heads(text), -(-weights // MIB))


def _heads(text: str) -> int | None:
    try:
        config = json.loads(text)
    except ValueError:
        return None
    while isinstance(config, dict):
        heads = config.get("num_attention_heads")
        if isinstance(heads, int) and not isinstance(heads, bool) and heads > 0:
            return heads
        config = next((config[part] for part in _PARTS if isinstance(config.get(part), dict)), None)
    return None
