"""Sphinx's configuration of the documentation sites; docs/build.py makes the pages that it reads, and says of which language they are."""

from __future__ import annotations

import json
import os

_given = json.loads(os.environ["DOCS_SETTINGS"])
_galaxy = _given["galaxy"]

project = "ascend.gpustack"
version = release = _galaxy["version"]
title = html_title = project
author = "ascend.gpustack contributors"
extensions = ["myst_parser", "sphinx_antsibull_ext"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["files/**"]
# As deep as the links to sections go
myst_heading_anchors = 4

html_theme = "furo"
html_css_files = ["site.css"]
html_static_path = ["_static"]
templates_path = ["_templates"]
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/language.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
# What Sphinx and its theme have no words for in Chinese
_words = {
    "en": {
        "search": "Search",
        "page": "On this page",
        "previous": "Previous",
        "next": "Next",
        "version": "Version",
        "source": "Source of this page",
        "edit": "Edit it",
        "top": "Back to top",
        "none": "Nothing was found. Fewer or shorter words find more.",
        "found": "sections found",
    },
    "zh": {
        "search": "搜索",
        "page": "本页内容",
        "previous": "上一页",
        "next": "下一页",
        "version": "版本",
        "source": "本页源文件",
        "edit": "修改",
        "top": "回到顶部",
        "none": "没有找到。请减少或缩短关键词。",
        "found": "处结果",
    },
}
html_context = {
    "words": _words[_given["language"]],
    "other": {"en": ("zh", "中文"), "zh": ("en", "English")}[_given["language"]],
    "commit": _given["commit"],
    "repository": _galaxy["repository"],
}
html_show_copyright = False
html_show_sphinx = False
html_use_index = False
pygments_style = "ansible"
highlight_language = "YAML+Jinja"

# A reference that leads nowhere is a warning, and a warning fails the build; what belongs to Ansible is documented elsewhere.
nitpicky = True
nitpick_ignore_regex = [
    ("std:ref", r"action_plugins|common_return_values|ansible_configuration_settings"),
    ("std:ref", r"ansible_collections\.(ansible|community)\..*"),
]


def setup(app) -> None:
    """Each page knows the file that it was made of."""
    app.connect("html-page-context", lambda _app, page, _template, context, _tree: context.update(origin=_given["origins"].get(page)))
