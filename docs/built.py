"""What was built, read again: links that lead nowhere, tables for small screens, and the sections that the search looks through."""

from __future__ import annotations

import html
import html.parser
import os
import pathlib
import re
import urllib.parse

# What Sphinx makes by itself
NO_PAGES = {"search.html", "genindex.html"}
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}


class Page(html.parser.HTMLParser):
    """The links and the anchors of a page, and what it would load from elsewhere."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.loads: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value and not urllib.parse.urlparse(value).scheme:
                self.links.append(urllib.parse.unquote(value))
            elif value and (name == "src" or (name == "href" and tag == "link")):
                self.loads.append(value)


def problems(built: pathlib.Path) -> list[str]:
    """Links that lead nowhere, pages that no link leads to from the first one, and what would be loaded from the internet."""
    pages = {str(path.relative_to(built)): Page(path) for path in sorted(built.rglob("*.html"))}
    found, reached, ahead = [], {"index.html"}, ["index.html"]
    while ahead:
        name = ahead.pop()
        for link in pages[name].links:
            path, _hash, fragment = link.partition("#")
            target = os.path.normpath(os.path.join(os.path.dirname(name), path.partition("?")[0])) if path else name
            if not (built / target).is_file():
                found.append(f"{name}: {link} leads to no file")
            elif fragment and target in pages and fragment not in pages[target].anchors:
                found.append(f"{name}: {link} leads to no such place of {target}")
            if target in pages and target not in reached:
                reached.add(target)
                ahead.append(target)
    found += [f"{name}: {address} would be loaded from elsewhere" for name, page in pages.items() for address in page.loads]
    return found + [f"{name}: no link leads here" for name in sorted(set(pages) - reached) if os.path.basename(name) not in NO_PAGES]


def with_labels(page: str) -> str:
    """A page with each cell of its tables naming its column, which a small screen shows in place of the head."""

    def table(match: re.Match[str]) -> str:
        heads = [re.sub(r"<[^>]+>", "", head).strip() for head in re.findall(r"<th\b[^>]*>(.*?)</th>", match.group(), flags=re.S)]
        rows = re.split(r"(<tr\b[^>]*>.*?</tr>)", match.group(), flags=re.S)
        for number, row in enumerate(rows):
            cells = re.split(r"(?=<td\b)", row)
            if len(cells) == len(heads) + 1:
                named = [
                    cell.replace("<td", f'<td data-label="{html.escape(html.unescape(head))}"', 1) for head, cell in zip(heads, cells[1:])
                ]
                rows[number] = "".join([cells[0], *named])
        return "".join(rows)

    return re.sub(r'<table class="docutils.*?</table>', table, page, flags=re.S)


# A section that is also known by its heading, as in the checkout: a check's name, a Chinese word. Sphinx itself numbers the Chinese ones.
PLACE = re.compile(r'(<section id="[^"]*">\s*<span id="([^"]*)"></span><h\d>.*?<a class="headerlink" href=)"[^"]*"')


def with_lasting_links(page: str) -> str:
    """A page whose headings link to themselves by their words, not by a number that is another's after the next change."""
    return PLACE.sub(r'\1"#\2"', page)


class Sections(html.parser.HTMLParser):
    """The sections of a page as [anchor, title, text], and each option of the reference as one of its own."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[list[str]] = []
        self.open: list[tuple[str, bool]] = []
        self.inside = 0
        self.parts: list[list[str]] = []
        self.in_title = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in VOID:
            if tag == "br":
                self.handle_data(" ")
            return
        is_article = tag == "article"
        self.open.append((tag, is_article))
        self.inside += is_article
        place, kinds = given.get("id") or "", (given.get("class") or "").split()
        if not self.inside:
            return
        if tag == "section" or "ansibleOptionAnchor" in kinds:
            self.found.append([place, "", ""])
        elif tag == "span" and place and not kinds and self.found and not self.found[-1][1]:
            self.found[-1][0] = place
        self.in_title = tag in HEADINGS or "ansible-option-title" in kinds or (self.in_title and tag not in ("p", "section"))
        if tag in ("p", "td", "th", "li", "div", "pre") and self.found:
            self.found[-1][2] += " "

    def handle_endtag(self, tag: str) -> None:
        while self.open:
            name, is_article = self.open.pop()
            self.inside -= is_article
            if name == tag:
                break
        if tag in HEADINGS or tag == "p":
            self.in_title = False

    def handle_data(self, data: str) -> None:
        if self.inside and self.found and data != "¶":
            self.found[-1][1 if self.in_title else 2] += data


def sections(path: pathlib.Path, name: str) -> list[list[str]]:
    """[address, title, title of the page, text] of each section of a page that says anything."""
    found = [[anchor, *(" ".join(part.split()) for part in parts)] for anchor, *parts in Sections(path.read_text()).found]
    top = found[0][1] if found else ""
    return [
        [name + (f"#{anchor}" if title != top else ""), title, top, text]
        for anchor, title, text in found
        if title and (text or title == top)
    ]
