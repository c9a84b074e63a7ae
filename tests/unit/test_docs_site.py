"""The sites are whole: a dead link, a lost page or one that needs the internet is refused, and the search sees every sentence."""

from __future__ import annotations

import importlib
import pathlib
import re
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "docs"))
built, pages = importlib.import_module("built"), importlib.import_module("pages")
sys.path.pop(0)
RELEASE = f"{pages.GALAXY['repository']}/blob/main/"


def test_flow_becomes_a_list_and_a_branch_is_refused():
    flow = '```mermaid\nflowchart LR\n  a["one"] --> b["two<br>2"]\n```\n'
    assert pages.with_picture(flow) == '<ol class="flow"><li><span>one</span></li><li><span>two<br>2</span></li></ol>\n'
    with pytest.raises(SystemExit, match="no chain"):
        pages.with_picture('```mermaid\nflowchart LR\n  a["one"] --> b["two"]\n  a --> c["three"]\n  b --> c\n```\n')


def test_dead_link_missing_place_lost_page_and_what_needs_the_internet_are_named(tmp_path):
    (tmp_path / "index.html").write_text('<a href="b.html#there">b</a><a href="gone.html">c</a><a href="b.html#nowhere">d</a>')
    (tmp_path / "b.html").write_text('<h1 id="there">b</h1><a href="index.html">a</a><a href="https://example.com">e</a>')
    (tmp_path / "lost.html").write_text('<script src="https://example.com/a.js"></script>')
    (tmp_path / "search.html").write_text("")
    assert built.problems(tmp_path) == [
        "index.html: gone.html leads to no file",
        "index.html: b.html#nowhere leads to no such place of b.html",
        "lost.html: https://example.com/a.js would be loaded from elsewhere",
        "lost.html: no link leads here",
    ]


@pytest.mark.parametrize(
    "link, expected",
    [
        ("firewall.md", "firewall.md"),
        ("store.md#unmounting", "store.md#unmounting"),
        ("#here", "swarm.md#here"),
        ("../zh/store.md", "../zh/store.html"),
        ("../../roles/gpustack/meta/argument_specs.yml", "collections/gpustack_role.rst"),
        (f"{RELEASE}docs/en/store.md#unmounting", "store.md#unmounting"),
        (f"{RELEASE}lab/README.md", "servers.md"),
        (f"{RELEASE}README.md", "index.md"),
    ],
)
def test_link_of_the_checkout_leads_to_the_page_of_the_site(tmp_path, link, expected):
    assert pages.Site("en", tmp_path).target(link, "docs/en/swarm.md") == expected


def test_file_that_is_no_page_comes_along(tmp_path):
    assert pages.Site("en", tmp_path).target("../../galaxy.yml", "docs/en/swarm.md") == "files/galaxy.yml"
    assert (tmp_path / "files/galaxy.yml").read_text() == (pages.ROOT / "galaxy.yml").read_text()


def test_names_in_tables_lead_to_the_reference_and_links_stay_as_they_are():
    text = "`a`\n\n| `a`, `other`, [`a`](x.md) |\n"
    code = '<a href="a.html"><code class="docutils literal notranslate">a</code></a>'
    assert pages.with_links(text, {"a": "a.html"}) == f"`a`\n\n| {code}, `other`, [`a`](x.md) |\n"


def test_cells_name_their_columns_for_small_screens():
    head, other = '<table class="docutils"><tr><th><p>A</p></th><th>B &amp; C</th></tr>', "</table><table><tr><td>3</td></tr></table>"
    page = f"{head}<tr><td><p>1</p></td><td>2</td></tr>{other}"
    assert built.with_labels(page) == f'{head}<tr><td data-label="A"><p>1</p></td><td data-label="B &amp; C">2</td></tr>{other}'


def test_heading_links_to_itself_by_its_words_and_not_by_a_number():
    page = '<section id="id3">\n<span id="存储中断时"></span><h2>存储中断时<a class="headerlink" href="#{}">¶</a></h2><a href="#id3">x</a>'
    assert built.with_lasting_links(page.format("id3")) == page.format("存储中断时")
    plain = '<section id="ports">\n<h2>Ports<a class="headerlink" href="#ports">¶</a></h2>'
    assert built.with_lasting_links(plain) == plain


def test_search_sees_each_section_and_each_option_with_its_own_address(tmp_path):
    option = (
        "<div class='ansibleOptionAnchor' id='parameter-x'></div><p class='ansible-option-title'><strong>x</strong></p><p>what it is</p>"
    )
    table = "<table><tr><td>8080</td><td>所有来源<br>离线</td></tr></table>"
    (tmp_path / "a.html").write_text(
        "<nav><p>menu</p></nav><article><section id='top'><h1>防火墙<a>¶</a></h1><p>关闭 <code>firewalld</code>。</p>"
        f"<section id='id3'><span id='ports'></span><h2>端口</h2>{table}</section>"
        f"<section id='empty'><h2>no text</h2></section>{option}</section></article>"
    )
    assert built.sections(tmp_path / "a.html", "a.html") == [
        ["a.html", "防火墙", "防火墙", "关闭 firewalld。"],
        ["a.html#ports", "端口", "防火墙", "8080 所有来源 离线"],
        ["a.html#parameter-x", "x", "防火墙", "what it is"],
    ]


def test_chinese_menu_leads_to_every_page_and_says_which_are_english(tmp_path):
    pages.write_pages("zh", tmp_path)
    menu = (tmp_path / "index.md").read_text().split("```{toctree}")[1:]
    entries = [re.findall(r"^(?:.*<)?([\w/-]+)>?$", chapter.split("\n\n", 1)[1], flags=re.M) for chapter in menu]
    assert [entry for chapter in entries for entry in chapter] == [*pages.GUIDES, *pages.LOOK_UP, "collections/index", *pages.MORE]
    assert ["英文" in chapter.split("\n\n")[0] for chapter in menu] == [False, False, True]
    assert re.search(r"（英文） <collections/index>$", menu[1], flags=re.M)
    assert set(pages.TITLES["zh"]) == set(pages.MORE)
