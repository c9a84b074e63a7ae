# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models at ModelScope and Hugging Face, or a mirror of one, over plain HTTP: which files one has, and the files.

The addresses are those that their own Python packages use (modelscope/hub/api.py and file_download.py; huggingface_hub/hf_api.py,
list_repo_tree). Nothing of theirs is needed on a host.
"""

from __future__ import annotations

import json
import re
import urllib.error
from collections.abc import Iterator
from typing import IO, Any, Callable
from urllib.parse import quote, urlencode, urljoin

from ansible.module_utils.urls import open_url
from ansible_collections.ascend.gpustack.plugins.module_utils import redact
from ansible_collections.ascend.gpustack.plugins.module_utils.weights.sources import Entry, Refused, safe

# Seconds without a byte
TIMEOUT = 60
LIST_LIMIT = 64 * 1024 * 1024
_NEXT = re.compile(r'<([^>]+)>\s*;[^,]*rel="?next"?')


class Hub:
    """A model. revision: a branch, tag or commit, empty for the main one; token: for models that ask for one, sent to the hub alone and
    not where it leads on to."""

    name, main = "", ""

    def __init__(self, url: str, model: str, revision: str, token: str = "", fetch: Callable[..., Any] = open_url) -> None:
        self._url, self._model, self._revision = url.rstrip("/"), model, revision or self.main
        self._token, self._fetch = token, fetch
        self.what = f"{self.name}'s model {model}"

    def there(self) -> bool:
        return True

    def entries(self) -> list[Entry]:
        found = list(self._listed())
        return [Entry(safe(path, self.what), size, (sha256 or "").lower()) for path, size, sha256 in found]

    def open(self, entry: Entry, offset: int) -> IO[bytes]:
        """The rest of a file. A server that knows no ranges sends all of it, of which the first part is passed over."""
        stream = self._get(self._address(entry.path), {"Range": f"bytes={offset}-"} if offset else {})
        if offset and stream.status != 206:
            passed = 0
            while passed < offset:
                block = stream.read(min(1024 * 1024, offset - passed))
                if not block:
                    break
                passed += len(block)
        return stream

    def _listed(self) -> Iterator[tuple[str, int, str]]:
        raise NotImplementedError

    def _address(self, path: str) -> str:
        raise NotImplementedError

    def _get(self, url: str, headers: dict[str, str]) -> Any:
        """Raises OSError where it may help to try again, Refused where not."""
        own = {"Authorization": f"Bearer {self._token}"} if self._token and url.startswith(f"{self._url}/") else {}
        try:
            return self._fetch(
                url,
                headers={"Accept-Encoding": "identity", **headers, **own},
                unredirected_headers=["Authorization"],
                timeout=TIMEOUT,
                follow_redirects="safe",
                decompress=False,
            )
        except urllib.error.HTTPError as error:
            if error.code not in (400, 401, 403, 404):
                raise
            raise Refused(self._refusal(error.code)) from None

    def _refusal(self, code: int) -> str:
        if code in (401, 403):
            return f"{self.what} is not given to us at {self._url} ({code}); expected a free one. Set gpustack_weights_token"
        return f"{self.what} is not there at {self._url} ({code}); expected its name and revision. Correct them"

    def _json(self, url: str) -> tuple[Any, str]:
        """An answer, and where it goes on."""
        with self._get(url, {}) as stream:
            text = stream.read(LIST_LIMIT)
            following = _NEXT.search(stream.headers.get("Link") or "")
        try:
            return json.loads(text), urljoin(url, following.group(1)) if following else ""
        except ValueError:
            raise Refused(
                f"{self._url} answers with no JSON ({redact.text(repr(text[:60]))}); expected {self.name}. Correct its address"
            ) from None


class HuggingFace(Hub):
    name, main = "Hugging Face", "main"

    def _listed(self) -> Iterator[tuple[str, int, str]]:
        following = f"{self._url}/api/models/{quote(self._model)}/tree/{quote(self._revision, safe='')}?recursive=true"
        while following:
            answer, following = self._json(following)
            for each in answer:
                if each.get("type") == "file":
                    large = each.get("lfs") or {}
                    yield each["path"], int(large.get("size") or each.get("size") or 0), str(large.get("oid") or "")

    def _address(self, path: str) -> str:
        return f"{self._url}/{quote(self._model)}/resolve/{quote(self._revision, safe='')}/{quote(path)}"


class ModelScope(Hub):
    name, main = "ModelScope", "master"

    def _listed(self) -> Iterator[tuple[str, int, str]]:
        query = urlencode({"Revision": self._revision, "Recursive": "True"})
        answer, _following = self._json(f"{self._url}/api/v1/models/{quote(self._model)}/repo/files?{query}")
        for each in (answer.get("Data") or {}).get("Files") or []:
            if each.get("Type") != "tree":
                yield each["Path"], int(each.get("Size") or 0), str(each.get("Sha256") or "")

    def _address(self, path: str) -> str:
        query = urlencode({"Revision": self._revision, "FilePath": path})
        return f"{self._url}/api/v1/models/{quote(self._model)}/repo?{query}"


KINDS: dict[str, type[Hub]] = {"model_scope": ModelScope, "hugging_face": HuggingFace}
