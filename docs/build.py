"""Builds the documentation site in a folder: python docs/build.py FOLDER.

Its guides are the sections of both READMEs, a page each; its reference is what antsibull-docs makes of the documentation of modules,
filters and roles. Any warning fails the build, and so does a link within the site that leads nowhere or a page that no link leads to.
"""

from __future__ import annotations

import html.parser
import os
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parents[1]
LANGUAGES = {"": ("README.md", "docs/guides.md"), "zh/": ("README.zh-CN.md", "docs/guides.zh-CN.md")}
CAPTIONS = {"": "Guides", "zh/": "指南"}
LAB = ("lab/README.md", "lab/npu/README.md")
CHECKS = "roles/ascend_driver_check/README.md"
DEVELOPING = "docs/developing.md"
# What Sphinx makes by itself, for its own search
NO_PAGES = {"search.html", "genindex.html"}


def anchor(heading: str) -> str:
    """A heading's anchor, as GitHub and MyST make it."""
    text = heading.lstrip("#").strip().lower().replace(" ", "-")
    return "".join(letter for letter in text if letter.isalnum() or letter in "-_")


def split(text: str) -> tuple[str, list[str]]:
    """A README as what comes before its first section, and its sections."""
    head, *sections = re.split(r"^(?=## )", text, flags=re.M)
    return head, sections


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ .*$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), flags=re.M)


def raised(text: str, levels: int) -> str:
    """Markdown with its headings raised by so many levels; a negative number lowers them."""
    parts = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)
    change = (lambda match: match.group(1)[levels:]) if levels > 0 else (lambda match: "#" * -levels + match.group(1))
    return "".join(part if part.startswith("```") else re.sub(r"^(#+)(?= )", change, part, flags=re.M) for part in parts)


def with_picture(text: str) -> str:
    """Markdown with each flow of Mermaid as a list, which needs no program to be shown."""

    def picture(match: re.Match[str]) -> str:
        steps = re.findall(r'\w+\["(.*?)"\]', match.group(1))
        if match.group(1).count("-->") != len(steps) - 1:
            sys.exit("docs/build.py: a flow is no chain; expected one step after the other.")
        return '<ol class="flow">' + "".join(f"<li><span>{step}</span></li>" for step in steps) + "</ol>\n"

    return re.sub(r"^```mermaid\nflowchart LR\n(.*?)^```\n", picture, text, flags=re.M | re.S)


@dataclass
class Site:
    """The pages, by their paths, and where the sections of the READMEs have come to."""

    source: pathlib.Path
    pages: dict[str, str] = field(default_factory=dict)
    sections: dict[str, str] = field(default_factory=dict)

    def target(self, link: str, origin: str) -> str:
        """Where a link of a file of the checkout leads within the site, as a path with an anchor."""
        path, _hash, name = link.partition("#")
        file = os.path.normpath(os.path.join(os.path.dirname(origin), path)) if path else origin
        role = re.fullmatch(r"roles/(\w+)/meta/argument_specs\.yml", file)
        if role:
            return f"collections/{role.group(1)}_role.rst"
        if f"{file}#{name}" in self.sections:
            return self.sections[f"{file}#{name}"]
        if file not in (*LAB, CHECKS, DEVELOPING):
            (self.source / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, self.source / file)
        return file + (f"#{name}" if name else "")

    def write(self, page: str, text: str, origin: str) -> None:
        """Write a page that was made of a file of the checkout."""

        def moved(match: re.Match[str]) -> str:
            link = match.group(1)
            if "://" in link:
                return match.group()
            target, _hash, name = self.target(link, origin).partition("#")
            return f"]({os.path.relpath(target, os.path.dirname(page) or '.')}{'#' + name if name else ''})"

        parts = re.split(r"(^```.*?^```$)", with_picture(text), flags=re.M | re.S)
        text = "".join(part if part.startswith("```") else re.sub(r"\]\(([^)]+)\)", moved, part) for part in parts)
        path = self.source / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def toctree(caption: str, pages: list[str]) -> str:
    return "\n```{toctree}\n:hidden:\n:caption: " + caption + "\n\n" + "\n".join(pages) + "\n```\n"


def write_pages(source: pathlib.Path) -> None:
    site = Site(source)
    # A section has the same file name in both languages, made of its English heading.
    names = [anchor(headings(section)[0]) for section in split((ROOT / "README.md").read_text())[1]]
    for folder, (readme, _guides) in LANGUAGES.items():
        site.sections[f"{readme}#"] = f"{folder}index.md"
        for name, section in zip(names, split((ROOT / readme).read_text())[1]):
            for heading in headings(section):
                site.sections[f"{readme}#{anchor(heading)}"] = f"{folder}{name}.md#{anchor(heading)}"
    for folder, (readme, guides) in LANGUAGES.items():
        head, sections = split((ROOT / readme).read_text())
        for name, section in zip(names, sections):
            site.write(f"{folder}{name}.md", raised(section, 1), readme)
        site.write(f"{folder}index.md", head, readme)
        site.write(f"{folder}guides.md", raised((ROOT / guides).read_text(), -1), guides)
        index = source / folder / "index.md"
        chapters = toctree(CAPTIONS[folder], names)
        if not folder:
            chapters += toctree("Reference", ["Modules, filters and roles <collections/index>", f"Checks <{CHECKS.removesuffix('.md')}>"])
            chapters += toctree("Simulated servers", [path.removesuffix(".md") for path in LAB])
            chapters += toctree("Development", [DEVELOPING.removesuffix(".md")]) + toctree("中文", ["中文 <zh/index>"])
        index.write_text(index.read_text() + (source / folder / "guides.md").read_text() + chapters)
        (source / folder / "guides.md").unlink()
    for path in (*LAB, CHECKS, DEVELOPING):
        site.write(path, (ROOT / path).read_text(), path)


def write_reference(folder: pathlib.Path) -> None:
    command = ["antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--fail-on-error", "--no-add-antsibull-docs-version"]
    subprocess.run([*command, "--dest-dir", str(folder), "ascend.gpustack"], cwd=ROOT, check=True)
    # No plugin of the collection reads any.
    (folder / "environment_variables.rst").unlink()
    for path in folder.glob("*.rst"):
        # The theme shows each page's contents beside it.
        path.write_text(re.sub(r"^\.\. contents::\n(?:   .*\n)*", "", path.read_text(), flags=re.M))


class Page(html.parser.HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value and not urllib.parse.urlparse(value).scheme:
                self.links.append(urllib.parse.unquote(value))


def problems(built: pathlib.Path) -> list[str]:
    """Links that lead nowhere, and pages that no link leads to from the first one."""
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
    return found + [f"{name}: no link leads here" for name in sorted(set(pages) - reached - NO_PAGES)]


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    source, built = folder / "source", folder / "html"
    (source / "collections").mkdir(parents=True)
    write_pages(source)
    write_reference(source / "collections")
    sphinx = ["sphinx-build", "-q", "-W", "--keep-going", "-c", str(ROOT / "docs"), "-d", str(folder / "doctrees")]
    subprocess.run([*sphinx, str(source), str(built)], check=True)
    found = problems(built)
    if found:
        sys.exit("\n".join(found))
    print(f"{len(list(built.rglob('*.html')))} pages: {built / 'index.html'}")


if __name__ == "__main__":
    main()
