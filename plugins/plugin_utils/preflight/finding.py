# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One shape of a finding, and how checks register themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.ascend.gpustack.plugins.module_utils import redact


@dataclass(frozen=True)
class Finding:
    """check: by which it can be left out; result: pass, warn or fail; message: what was found and what was expected, without the host's
    name and the full stop; remedy: whole sentences, and a command to copy as a line of its own. Facts and artifacts hold it as a dict."""

    check: str
    result: str
    message: str = ""
    remedy: str = ""

    @property
    def lines(self) -> list[str]:
        # What was told whole by a role of its own may end with the command.
        ended = self.message.endswith("?") or "\n" in self.message
        return f"{self.message}{'' if ended else '.'} {self.remedy}".rstrip().splitlines()

    @property
    def sentence(self) -> str:
        """All of it on one line."""
        return " ".join(line.strip() for line in self.lines)


def as_facts(findings: Iterable[Finding]) -> list[dict[str, str]]:
    return [asdict(item) for item in findings]


class Checks:
    """The checks of one subject in their order: `texts`, by the name of each what it looks at. The functions that make them take the same
    arguments, and give a list each."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self._functions: list[Callable[..., list]] = []

    def add(self, **texts: str) -> Callable[[Callable[..., list]], Callable[..., list]]:
        """Register a function for what it looks at."""

        def register(function: Callable[..., list]) -> Callable[..., list]:
            self.texts.update(texts)
            self._functions.append(function)
            return function

        return register

    def run(self, *arguments: Any) -> list:
        return [item for function in self._functions for item in function(*arguments)]


def judged(check: str, problems: list[tuple[str, str]], result: str = "fail") -> list[Finding]:
    """One finding a problem (message, remedy), or one that passes."""
    return [Finding(check, result, message, remedy) for message, remedy in problems] or [Finding(check, "pass")]


def failure(result: dict) -> str:
    """The last line of what a module failed with."""
    text = redact.text(str(result.get("msg") or result.get("module_stderr") or "")).strip()
    return text.splitlines()[-1].rstrip(".") if text else "no answer"


def of_sentence(check: str, problem: str) -> Finding:
    """A sentence of a module's; what comes after the finding is its remedy, which may end in lines of a log."""
    head, expected, rest = problem.partition("; expected ")
    tail, _stop, remedy = rest.partition(". ")
    end = "" if "\n" in remedy or not remedy or remedy.endswith(".") else "."
    return Finding(check, "fail", f"{head}{expected}{tail}".rstrip("."), f"{remedy}{end}")
