# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image that a process of its own brings, and what it tells of itself."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

from ansible_collections.ascend.gpustack.plugins.module_utils.docker import api as docker_api
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import images as docker_images
from ansible_collections.ascend.gpustack.plugins.module_utils.jobs import Jobs

# In memory, and gone with the next boot
PLACE = "/run/gpustack-image"


def bring(jobs: Jobs, images: list[str], archive: str | None, headers: dict[str, str], timeout: float) -> None:
    """Of a registry the first image alone, of an archive all that are to be in it."""
    state, progress = jobs.read(), docker_images.Progress()
    try:
        with open(archive, "rb") if archive else contextlib.nullcontext() as body:
            _take(jobs, state, progress, _messages(images[0], body, headers, timeout, jobs, state), time.monotonic() + timeout)
        if not progress.error:
            # An engine that was stopped may end its messages as if all were well.
            for image in images:
                docker_api.api(timeout)("GET", f"/images/{quote(image, safe='/:@')}/json")
    except docker_api.ApiError as error:
        timed_out = "timed out" in str(error)
        state.update(error=f"no end within {timeout:g} s" if timed_out else str(error))
        # What an archive was to bring, and did not
        lacking = archive and error.status == 404
        state.update(kind="time" if timed_out else "archive" if lacking else docker_images.kind_of(error))
    except OSError as error:
        state.update(error=str(error), kind="archive")
    if progress.error:
        state.update(error=progress.error, kind=docker_images.kind_of(docker_api.ApiError(progress.error, 500)))
    jobs.write({**state, "progress": progress.text, "finished": True})


def _messages(
    image: str, body: Any, headers: dict[str, str], timeout: float, jobs: Jobs, state: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    name, tag = docker_images.split(image)
    if body is None:
        where = f"/images/create?{urlencode({'fromImage': name, 'tag': tag})}"
        return docker_api.messages(timeout, where, None, headers)
    total = os.fstat(body.fileno()).st_size
    upload = _Upload(body, total, jobs, state)
    return docker_api.messages(timeout, "/images/load?quiet=0", upload, {"Content-Type": "application/x-tar", "Content-Length": str(total)})


def _take(jobs: Jobs, state: dict[str, Any], progress: docker_images.Progress, told: Iterator[dict[str, Any]], deadline: float) -> None:
    written = 0.0
    for message in told:
        progress.take(message)
        if time.monotonic() > deadline:
            raise docker_api.ApiError("timed out")
        if time.monotonic() - written > 1:
            written = time.monotonic()
            jobs.write({**state, "progress": progress.text})


class _Upload:
    """A file that tells how far it has been read."""

    def __init__(self, file: Any, total: int, jobs: Jobs, state: dict[str, Any]) -> None:
        self._file, self._total, self._jobs, self._state = file, total, jobs, state
        self._written = 0.0

    def read(self, count: int = -1) -> bytes:
        if time.monotonic() - self._written > 1:
            self._written = time.monotonic()
            told = f"{docker_images.size(self._file.tell())} of {docker_images.size(self._total)} read"
            self._jobs.write({**self._state, "progress": told})
        return self._file.read(count)
