# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one command with a time limit. Modules take a Runner as argument, so that tests need no host."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import IO, Callable

OUTPUT_LIMIT = 4 * 1024 * 1024

# What a shell reports for a command that isn't there, and for one that may not be executed.
RC_NOT_FOUND = 127
RC_NOT_EXECUTABLE = 126

# A session over SSH may come without the administrator's directories, where iptables and exportfs are.
PATH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/local/bin:/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Result:
    """rc is 127 when the command doesn't exist, 126 when it can't be executed, and minus the signal's number
    when a signal ended it. stdout and stderr are cut at OUTPUT_LIMIT bytes each; bytes that are not UTF-8 are
    replaced."""

    rc: int
    stdout: str = ""
    stderr: str = ""
    timed_out: bool = False


# argv and the time limit in seconds.
Runner = Callable[[list[str], float], Result]


def run(
    argv: list[str],
    timeout: float,
    stdin: str | None = None,
    env: dict[str, str] | None = None,
) -> Result:
    """Run argv without a shell, in the C locale, found on PATH; env is added to the environment.

    At the limit the command's whole process group is killed, and the result has timed_out. Never raises for
    anything that the command does.
    """
    environment = {**os.environ, "PATH": PATH, **(env or {}), "LANG": "C", "LC_ALL": "C"}
    # Files, not pipes: a child that outlives the command and holds a pipe open can't block the reading.
    # In memory, because what goes through may be a secret and the disk may be full.
    with _memory_file() as source, _memory_file() as out, _memory_file() as err:
        source.write((stdin or "").encode("utf-8"))
        source.seek(0)
        try:
            process = subprocess.Popen(argv, stdin=source, stdout=out, stderr=err, env=environment, close_fds=True, start_new_session=True)
        except FileNotFoundError as error:
            return Result(RC_NOT_FOUND, stderr=str(error))
        except OSError as error:
            return Result(RC_NOT_EXECUTABLE, stderr=str(error))
        timed_out = not _wait(process, timeout, (out, err))
        rc = -signal.SIGKILL if process.returncode is None else process.returncode
        return Result(rc, _read(out), _read(err), timed_out)


def _memory_file() -> IO[bytes]:
    return os.fdopen(os.memfd_create("runner"), "w+b")


def _wait(process: subprocess.Popen, timeout: float, outputs: tuple[IO[bytes], ...]) -> bool:
    """Wait for the process; kill its group and return False at the time limit or at a runaway output."""
    deadline = time.monotonic() + timeout
    pause = 0.005
    while process.poll() is None:
        runaway = any(os.fstat(output.fileno()).st_size > 4 * OUTPUT_LIMIT for output in outputs)
        if runaway or time.monotonic() >= deadline:
            _kill_group(process)
            return False
        time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        pause = min(pause * 2, 0.1)
    return True


def _kill_group(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        process.kill()
    # In uninterruptible sleep (a driver call, a dead NFS server) it goes when the kernel lets it go.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=2)


def _read(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read(OUTPUT_LIMIT).decode("utf-8", errors="replace")
