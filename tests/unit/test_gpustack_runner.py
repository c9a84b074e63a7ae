# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What every module relies on when it runs a command."""

from __future__ import annotations

import os
import signal
import time

from ansible_collections.ascend.gpustack.plugins.module_utils.runner import OUTPUT_LIMIT, Result, run


def test_output_streams_and_return_code_are_kept_apart() -> None:
    assert run(["sh", "-c", "echo out; echo err >&2; exit 3"], 10) == Result(3, "out\n", "err\n")


def test_a_missing_command_is_a_result_and_no_traceback() -> None:
    result = run(["no-such-command"], 10)
    assert (result.rc, result.stdout, result.timed_out) == (127, "", False)


def test_a_file_that_is_no_program_is_a_result_and_no_traceback() -> None:
    assert run(["/etc/passwd"], 10).rc == 126


def test_a_hanging_command_ends_at_the_limit_with_its_children(tmp_path) -> None:
    pid_file = tmp_path / "pid"
    result = run(["sh", "-c", f"sleep 60 & echo $! > {pid_file}; echo begun; wait"], 1)
    assert result == Result(-signal.SIGKILL, "begun\n", "", timed_out=True)
    deadline = time.monotonic() + 10
    while _alive(int(pid_file.read_text())):
        assert time.monotonic() < deadline, "the child outlived the limit"


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_daemon_that_keeps_the_output_open_does_not_block() -> None:
    result = run(["sh", "-c", "sleep 60 & echo $!"], 10)
    os.kill(int(result.stdout), signal.SIGKILL)
    assert (result.rc, result.timed_out) == (0, False)


def test_endless_output_is_cut_and_stopped() -> None:
    result = run(["yes"], 60)
    assert (len(result.stdout), result.timed_out) == (OUTPUT_LIMIT, True)


def test_messages_are_not_translated_and_bytes_that_are_no_text_do_not_raise() -> None:
    assert run(["sh", "-c", "printf '%s \\377' \"$LC_ALL\""], 10, env={"LC_ALL": "zh_CN.UTF-8"}).stdout == "C \ufffd"


def test_standard_input_reaches_the_command() -> None:
    assert run(["cat"], 10, stdin="für alle\n").stdout == "für alle\n"
