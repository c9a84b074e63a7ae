"""The documentation site is made of whole sections, and a site with a dead link or a lost page is refused."""

from __future__ import annotations

import importlib.util
import pathlib
import sys

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "docs/build.py"
spec = importlib.util.spec_from_file_location("docs_build", SOURCE)
build = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)


def test_sections_hold_all_of_a_readme():
    text = "# A\n\nHead.\n\n## B\n\n```sh\n# no heading\n```\n\n### C\n\n## D\n"
    head, sections = build.split(text)
    assert head + "".join(sections) == text
    assert [build.headings(section) for section in sections] == [["## B", "### C"], ["## D"]]
    assert build.raised(sections[0], 1) == "# B\n\n```sh\n# no heading\n```\n\n## C\n\n"


def test_flow_becomes_a_list_and_a_branch_is_refused():
    flow = '```mermaid\nflowchart LR\n  a["one"] --> b["two<br>2"]\n```\n'
    assert build.with_picture(flow) == '<ol class="flow"><li><span>one</span></li><li><span>two<br>2</span></li></ol>\n'
    with pytest.raises(SystemExit, match="no chain"):
        build.with_picture('```mermaid\nflowchart LR\n  a["one"] --> b["two"]\n  a --> c["three"]\n  b --> c\n```\n')


def test_dead_link_missing_place_and_lost_page_are_named(tmp_path):
    (tmp_path / "index.html").write_text('<a href="b.html#there">b</a><a href="gone.html">c</a><a href="b.html#nowhere">d</a>')
    (tmp_path / "b.html").write_text('<h1 id="there">b</h1><a href="index.html">a</a><a href="https://example.com">e</a>')
    (tmp_path / "lost.html").write_text("")
    (tmp_path / "search.html").write_text("")
    assert build.problems(tmp_path) == [
        "index.html: gone.html leads to no file",
        "index.html: b.html#nowhere leads to no such place of b.html",
        "lost.html: no link leads here",
    ]
