"""The pages that Sphinx reads: those of docs/en and docs/zh, and what of the checkout belongs to a site beside them.

A page of the checkout leads to files of the checkout, and reads well there. In a site its links lead to other pages, and a role's
specification to the role's page; any other file comes along.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import sys
from dataclasses import dataclass, field

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text())
# Links that work anywhere name the repository; in a site they are as short as all others.
REPOSITORY = f"{GALAXY['repository']}/blob/main/"
LANGUAGES = {"en": "English", "zh": "中文"}
GUIDES = [
    "requirements",
    "first-cluster",
    "versions",
    "takeover",
    "airgap",
    "store",
    "firewall",
    "operations",
    "models",
    "backup",
    "upgrade",
    "maintenance",
    "security",
    "swarm",
    "awx",
    "troubleshooting",
    "lab",
]
LOOK_UP = ["playbooks", "variables", "modules"]
# Written in English alone; by their pages' names
MORE = {
    "agents": "AGENTS.md",
    "servers": "lab/README.md",
    "npus": "lab/npu/README.md",
    "contributing": "CONTRIBUTING.md",
    "developing": "docs/developing.md",
    "support": "SUPPORT.md",
    "reporting": "SECURITY.md",
    "changes": "CHANGELOG.md",
}
# What the Chinese menu calls them
TITLES = {
    "zh": {
        "agents": "给 AI 助手的操作说明",
        "servers": "模拟服务器的用法",
        "npus": "模拟 NPU 与故障",
        "contributing": "参与开发",
        "developing": "代码结构",
        "support": "获取支持",
        "reporting": "报告安全漏洞",
        "changes": "版本更新记录",
    }
}
MENU = {
    "en": {"guides": "Guides", "look up": "Reference", "all": "Modules and roles, option by option", "more": "More"},
    "zh": {"guides": "指南", "look up": "参考", "all": "模块与角色的全部参数（英文）", "more": "更多（英文）"},
}


def outside_code(change, text: str) -> str:
    """Markdown with what is no code block changed."""
    parts = re.split(r"(^ *```.*?^ *```$)", text, flags=re.M | re.S)
    return "".join(part if part.lstrip().startswith("```") else change(part) for part in parts)


def with_picture(text: str) -> str:
    """Markdown with each flow of Mermaid as a list, which needs no program to be shown."""

    def picture(match: re.Match[str]) -> str:
        steps = re.findall(r'\w+\["(.*?)"\]', match.group(1))
        if match.group(1).count("-->") != len(steps) - 1:
            sys.exit("docs/pages.py: a flow is no chain; expected one step after the other.")
        return '<ol class="flow">' + "".join(f"<li><span>{step}</span></li>" for step in steps) + "</ol>\n"

    return re.sub(r"^```mermaid\nflowchart LR\n(.*?)^```\n", picture, text, flags=re.M | re.S)


def with_links(text: str, names: dict[str, str]) -> str:
    """Markdown in whose tables each name in backticks that has a page leads there, unless it is a link's words already."""

    def code(match: re.Match[str]) -> str:
        name = match.group(1)
        # As HTML, since the places of options are none that Sphinx knows of
        return f'<a href="{names[name]}"><code class="docutils literal notranslate">{name}</code></a>' if name in names else match.group()

    return re.sub(r"^\| .*$", lambda row: re.sub(r"(?<!\[)`(\w+)`(?!\])", code, row.group()), text, flags=re.M)


def reference() -> dict[str, str]:
    """Pages of the reference by the names of modules and of roles' variables, with the place where one is described."""
    names = {path.stem: f"collections/{path.stem}_module.html" for path in (ROOT / "plugins/modules").glob("*.py")}
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        for name in yaml.safe_load(path.read_text())["argument_specs"]["main"].get("options", {}):
            names[name] = f"collections/{path.parts[-3]}_role.html#parameter-main--{name}"
    return names


@dataclass
class Site:
    """The pages of a language. origins: what each was made of, for the link to it."""

    language: str
    source: pathlib.Path
    origins: dict[str, str] = field(default_factory=dict)

    def page_of(self, file: str) -> str | None:
        """The page that was made of a file of the checkout; of another language beside this one."""
        of = re.fullmatch(r"roles/(\w+)/meta/argument_specs\.yml", file)
        if of:
            return f"collections/{of.group(1)}_role.rst"
        of = re.fullmatch(r"docs/(\w\w)/(.*)\.md", file)
        if of:
            return f"{of.group(2)}.md" if of.group(1) == self.language else f"../{of.group(1)}/{of.group(2)}.html"
        if file == "README.md":
            return "index.md"
        return next((f"{name}.md" for name, path in MORE.items() if path == file), None)

    def target(self, link: str, origin: str) -> str:
        """Where a link of a file of the checkout leads within the site, as a path with an anchor."""
        path, mark, name = link.partition("#")
        inside = path.removeprefix(REPOSITORY)
        file = os.path.normpath(os.path.join("" if inside != path else os.path.dirname(origin), inside)) if path else origin
        page = self.page_of(file)
        if page is None:
            (self.source / "files" / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, self.source / "files" / file)
            page = f"files/{file}"
        return page + mark + name

    def write(self, page: str, origin: str, more: str = "") -> None:
        """Write a page that is made of a file of the checkout, with more at its end."""

        def moved(match: re.Match[str]) -> str:
            words, link = match.groups()
            if "://" in link.removeprefix(REPOSITORY):
                return match.group()
            target = self.target(link, origin)
            # Sphinx knows of one language at a time.
            return f'<a href="{target}">{words}</a>' if target.startswith("../") else f"[{words}]({target})"

        text = outside_code(lambda part: re.sub(r"\[([^][]*)\]\(([^)]+)\)", moved, part), with_picture((ROOT / origin).read_text()))
        # The menu has the other language on every page.
        text = re.sub(r"^.*\bEnglish\b.*\|.*中文.*\n\n", "", text, flags=re.M)
        # What changed has a table of contents of its own, and places by it.
        text = re.sub(r"^\*\*Topics\*\*\n\n(?: *- .*\n)+|^<a id=.*\n", "", text, flags=re.M)
        if page in ("modules", "variables"):
            text = with_links(text, reference())
        (self.source / f"{page}.md").write_text(text + more)
        self.origins[page] = origin


def toctree(caption: str, pages: list[str]) -> str:
    return "\n```{toctree}\n:hidden:\n:caption: " + caption + "\n\n" + "\n".join(pages) + "\n```\n"


def write_pages(language: str, source: pathlib.Path) -> dict[str, str]:
    """Write all pages of a language; returns what each was made of."""
    site, menu, titles = Site(language, source), MENU[language], TITLES.get(language, {})
    for page in (*GUIDES, *LOOK_UP):
        site.write(page, f"docs/{language}/{page}.md")
    for page, origin in MORE.items():
        site.write(page, origin)
    chapters = toctree(menu["guides"], GUIDES) + toctree(menu["look up"], [*LOOK_UP, f"{menu['all']} <collections/index>"])
    site.write(
        "index",
        f"docs/{language}/index.md",
        chapters + toctree(menu["more"], [f"{titles[name]} <{name}>" if name in titles else name for name in MORE]),
    )
    return site.origins
