# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUStack's management API where it changes something, and where it tells a log."""

from __future__ import annotations

import json
import re
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import generation as generations
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.api import ApiError, Client
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import Generation

# What colours a terminal
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r(?!\n)")


class ModelsClient(Client):
    @property
    def generation(self) -> Generation:
        return next(each for each in generations.DEPLOYED if each.api is self.api)

    def write(self, method: str, path: str, sent: Any = None) -> Any:
        """Change something, and return what GPUStack answers; None where that is nothing. path: below the API's prefix."""
        status, body = self.ask(self.api.prefix + path, method, sent)
        if status in (400, 404, 409, 422):
            raise ApiError("rejected", _told(body) or f"it answers {method} {path} with {status}")
        if not 200 <= status < 300:
            raise self.refused_status(path, status)
        try:
            return json.loads(body)
        except ValueError:
            return None

    def log(self, instance: int, lines: int) -> list[str]:
        """The last lines of an instance's log; none where it has none, or it can't be read."""
        try:
            status, body = self.ask(f"{self.api.prefix}/model-instances/{instance}/logs?tail={lines}", "GET", None)
        except ApiError:
            return []
        plain = _ESCAPE.sub("", body.decode("utf-8", errors="replace")) if status == 200 else ""
        told = [line.rstrip() for line in redact.text(plain).splitlines() if line.strip()]
        return told[-lines:]


def _told(body: bytes) -> str:
    """What GPUStack says against what was sent, on one line; empty where it says nothing."""
    try:
        message = json.loads(body)["message"]
    except (ValueError, LookupError, TypeError):
        return ""
    return " ".join(re.sub(r"<[^>]*>", "", str(message)).split()).rstrip(".")
