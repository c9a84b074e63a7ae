# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Commands, waiting and stages, as the rest of the lab uses them."""

from __future__ import annotations

import collections.abc
import concurrent.futures
import contextlib
import pathlib
import shlex
import subprocess
import time


class Failure(Exception):
    """Something that ends the lab's command; its text is for the person who called it."""


def run(*words: str, log: pathlib.Path | None = None, stdin: str | None = None, timeout: float = 1800) -> str:
    """Run a command and return what it printed; its output goes to `log` where that is given."""
    try:
        if log:
            with log.open("ab") as output:
                done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=timeout)
        else:
            done = subprocess.run(words, input=stdin or "", capture_output=True, text=True, timeout=timeout)
    except FileNotFoundError as error:
        raise Failure(f"{words[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise Failure(f"no end after {timeout:.0f} s: {' '.join(words)}") from error
    if done.returncode:
        told = "\n".join([*tail(log), f"see {log}"]) if log else (done.stderr or done.stdout).strip()
        raise Failure(f"{told}\n(exit {done.returncode}: {shlex.join(words)})")
    return "" if log else done.stdout


def tail(log: pathlib.Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]


def docker(*words: str, timeout: float = 600) -> str:
    return run("docker", *words, timeout=timeout)


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


def wait_until(what: str, condition: collections.abc.Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)


def together(function: collections.abc.Callable[..., object], items: collections.abc.Iterable[object]) -> None:
    """Call for all items at once, and fail with the first failure."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(function, items))


@contextlib.contextmanager
def stage(name: str) -> collections.abc.Iterator[None]:
    """Print a stage and the seconds that it took."""
    print(f"lab: {name} …", flush=True)
    start = time.monotonic()
    yield
    print(f"lab: {name}: {time.monotonic() - start:.1f} s", flush=True)
