"""A command line of GPUStack is read as GPUStack's own parser, Python's argparse, reads it."""

from __future__ import annotations

import argparse
import pathlib
import re

import pytest
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack import arguments, generation
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.description import CommandLine
from ansible_collections.ascend.gpustack.plugins.module_utils.gpustack.generation import DEPLOYED
from hypothesis import given, settings
from hypothesis import strategies as st

TABLE = DEPLOYED[0].command_line
TABLES = {each.name: each.command_line for each in DEPLOYED}
# The options of gpustack/cmd/start.py, each with its kind and the variable that it is taken from: read by its syntax tree from the wheels
OPTIONS_OF = pathlib.Path(__file__).parent / "samples" / "gpustack_start"


class Ended(Exception):
    """The parser's own end of the program."""


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Ended(message)

    def exit(self, status=0, message=None):
        raise Ended(message)

    def print_help(self, file=None):
        pass


class Switch(argparse.Action):
    """As gpustack/cmd/start.py has it."""

    def __init__(self, option_strings, dest, **kwargs):
        super().__init__(option_strings, dest, nargs=0, **kwargs)

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, True)


def parser(table: CommandLine) -> argparse.ArgumentParser:
    found = Parser(prog="gpustack", conflict_handler="resolve")
    start = found.add_subparsers().add_parser("start")
    letters = {name: letter for letter, name in table.short.items()}
    for name in sorted(table.settings):
        flags = [*([letters[name]] if name in letters else []), "--" + name.replace("_", "-")]
        kind = Switch if name in table.switches else "append" if name in table.repeatable else "store"
        start.add_argument(*flags, action=kind, default=argparse.SUPPRESS)
    return found


PARSERS = {name: parser(table) for name, table in TABLES.items()}
PARSER = PARSERS[DEPLOYED[0].name]
VALUES = [
    "",
    "8080",
    "-5",
    "-.5",
    "-x",
    "-tricky",
    "-dx",
    "a b",
    "-t b",
    "--token x",
    "a=b",
    "=",
    "-",
    "--port",
    "--",
    "start",
    "http://a:1",
]


def lines(table: CommandLine) -> st.SearchStrategy[list[str]]:
    flags = sorted("--" + name.replace("_", "-") for name in table.settings)
    beginnings = st.builds(lambda flag, length: flag[:length], st.sampled_from(flags), st.integers(3, 20))
    options = st.one_of(st.sampled_from(flags), beginnings, st.sampled_from(["-t", "-d", "-s", "-h", "-x", "-dt", "-dd", "-dst"]))
    words = st.one_of(
        options,
        st.sampled_from(VALUES),
        st.builds(lambda option, value: f"{option}={value}", options, st.sampled_from(VALUES)),
        st.builds(lambda option, value: f"{option}{value}", st.sampled_from(["-t", "-d", "-s", "-dt"]), st.sampled_from(VALUES)),
        st.text("-=td sx5.", max_size=5),
    )
    # Most of single words are refused; these are not.
    pairs = st.tuples(
        st.one_of(st.sampled_from(flags), st.sampled_from(["-t", "-s", "--tok", "--boot"])), st.sampled_from(["", "x", "-5", "a b", "-"])
    )
    switched = st.sampled_from(["-d", *("--" + name.replace("_", "-") for name in sorted(table.switches))])
    parts = st.lists(st.one_of(pairs, switched.map(lambda word: (word,)), words.map(lambda word: (word,))), max_size=4)
    return parts.map(lambda found: [word for part in found for word in part]).filter(lambda line: not differs_between_pythons(line))


def differs_between_pythons(words: list[str]) -> bool:
    """What argparse of one Python reads in another way than that of the next: = after letters that stand together or before nothing,
    a value of --, and -- at the end."""
    return words[-1:] == ["--"] or any(re.match(r"-[^-=][^=]+=|-[^-]=\Z|-[^-].*--\Z|.*=--\Z", word) for word in words)


LINES = {name: lines(table) for name, table in TABLES.items()}


@pytest.mark.parametrize("name", TABLES)
@given(st.data())
@settings(max_examples=300)
def test_a_command_line_is_read_as_by_argparse(name, data):
    words, table = data.draw(LINES[name]), TABLES[name]
    found = arguments.parse(words, table)
    try:
        expected = vars(PARSERS[name].parse_args(["start", *words]))
    except Ended:
        assert found.error or found.strays or set(found.values) - table.settings
    else:
        assert (found.values, found.strays, found.error) == (expected, [], None)


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["-tricky"], {"token": "ricky"}),
        (["-t=ricky"], {"token": "ricky"}),
        (["--tok", "x"], {"token": "x"}),
        (["--token=-tricky"], {"token": "-tricky"}),
        (["--port", "-5"], {"port": "-5"}),
        (["-dt", "x"], {"debug": True, "token": "x"}),
        (["-dtx"], {"debug": True, "token": "x"}),
        (["--token", "a", "--token", "b"], {"token": "b"}),
        (["--ray-args", "a", "--ray-args=b"], {"ray_args": ["a", "b"]}),
        (["--token", "-x y"], {"token": "-x y"}),
    ],
)
def test_what_argparse_takes_is_taken(words, values):
    assert arguments.parse(words, TABLE) == arguments.Arguments(values)
    assert vars(PARSER.parse_args(["start", *words])) == values


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--bootstrap-password", "-tricky"], "argument --bootstrap-password; expected one argument"),
        (["--token"], "argument --token; expected one argument"),
        (["--debug=true"], "argument --debug: ignored explicit argument 'true'"),
        (["-dx"], "argument -d: ignored explicit argument 'x'"),
        (["-x"], "unrecognized arguments: -x"),
    ],
)
def test_what_argparse_refuses_is_refused_in_its_words(words, error):
    found = arguments.parse(words, TABLE)
    assert (found.error, found.strays) == (error, words[:1])


def test_an_option_of_another_release_is_read_with_its_value():
    found = arguments.parse(["--new-thing", "x", "--newer", "--token", "y"], TABLE)
    assert found == arguments.Arguments({"new_thing": "x", "newer": True, "token": "y"})


@pytest.mark.parametrize(
    ("entrypoint", "command", "words"),
    [
        (["tini", "--", "/usr/bin/bash", "-c", 'exec gpustack start "$@"', "--"], ["--debug"], ["--debug"]),
        (["tini", "--", "bash", "-c", 'exec gpustack start "$@"', "--"], None, []),
        (["gpustack"], ["start", "-t", "x"], ["-t", "x"]),
        (["/usr/local/bin/gpustack", "start", "--port", "1"], ["-t", "x"], ["--port", "1", "-t", "x"]),
        (None, ["start", "-t", "x"], ["-t", "x"]),
        (None, ["gpustack", "start", "-t", "x"], ["-t", "x"]),
        ([], ["--worker-name", "gpustack"], ["--worker-name", "gpustack"]),
    ],
)
def test_gpustacks_own_arguments_are_found_behind_any_entry_point(entrypoint, command, words):
    assert arguments.words_of(entrypoint, command) == words


def told(version: str) -> set[tuple[str, ...]]:
    return {tuple(line.split()) for line in (OPTIONS_OF / f"{version}.txt").read_text().splitlines()}


@pytest.mark.parametrize("release", [each.release for each in DEPLOYED])
def test_no_option_of_the_real_command_line_is_missed_or_taken_for_another_kind(release):
    table = generation.of(release).command_line
    letters = {name: letter for letter, name in table.short.items()}
    assert {tuple(word for word in words if not word.isupper() and "_" not in word) for words in told(release)} == {
        (*filter(None, [letters.get(name)]), "--" + name.replace("_", "-"), kind)
        for kind, names in (("switch", table.switches), ("repeatable", table.repeatable), ("value", table.values))
        for name in names
    }
    named = {words[-1]: words[-3 if len(words) > 3 else 0].lstrip("-").replace("-", "_") for words in told(release) if "_" in words[-1]}
    assert {name: key for name, key in named.items() if not name.startswith("GPUSTACK_")} == dict(table.environment)
