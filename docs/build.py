"""Builds the documentation as sites, one for each language, in a folder: python docs/build.py FOLDER.

FOLDER/html has them, and FOLDER/ascend.gpustack-VERSION-docs.zip the same to take along: both are read without a server and without
internet, the search too. Guides are docs/en and docs/zh; the reference is what antsibull-docs makes of the documentation of modules and
roles. Any warning fails the build, and so does a link within the sites that leads nowhere, a page that no link leads to, or one that would
load anything from the internet.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import built as result
from pages import GALAXY, LANGUAGES, ROOT, write_pages

SPHINX = {"en": "en", "zh": "zh_CN"}
# Sphinx's own index does not find Chinese words: it takes sentences for words. Ours finds any part of a sentence, see _static/search.js.
UNUSED = ("searchindex.js", "_static/searchtools.js", "_static/language_data.js", "objects.inv")
FIRST = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>ascend.gpustack</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<script>location.replace((/^zh/i.test(navigator.language) ? "zh" : "en") + "/index.html" + location.hash);</script></head>
<body><p><a href="en/index.html">English</a></p><p><a href="zh/index.html" lang="zh">中文</a></p></body></html>
"""


def write_reference(folder: pathlib.Path) -> dict[str, str]:
    """Modules and roles; filters are the collection's own, for its roles. Returns what each page was made of."""
    command = ["antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--fail-on-error", "--no-add-antsibull-docs-version"]
    subprocess.run([*command, "--dest-dir", str(folder), "ascend.gpustack"], cwd=ROOT, check=True)
    for path in [*folder.glob("*_filter.rst"), folder / "environment_variables.rst"]:
        path.unlink()
    index = folder / "index.rst"
    text = re.sub(r"^\.\. _filter_plugins_in.*?(?=^\.\. _role_plugins_in)", "", index.read_text(), flags=re.M | re.S)
    # In the menu a name is enough.
    index.write_text(re.sub(r"^    (\w+)_(module|role)$", r"    \1 (\2) <\1_\2>", text, flags=re.M))
    origins = {}
    for path in folder.glob("*.rst"):
        # The theme shows each page's contents beside it.
        path.write_text(re.sub(r"^\.\. contents::\n(?:   .*\n)*", "", path.read_text(), flags=re.M))
        name, _under, kind = path.stem.rpartition("_")
        of = {"module": f"plugins/modules/{name}.py", "role": f"roles/{name}/meta/argument_specs.yml"}.get(kind, "galaxy.yml")
        origins[f"collections/{path.stem}"] = of
    return origins


def commit() -> str:
    """The commit that the pages are of, with a plus where the checkout has more; empty outside of one."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return told.stdout.strip()


def build(language: str, folder: pathlib.Path) -> None:
    source, site = folder / "source" / language, folder / "html" / language
    source.mkdir(parents=True)
    origins = write_pages(language, source)
    shutil.copytree(folder / "reference", source / "collections")
    told = json.loads((folder / "origins.json").read_text())
    settings = {"origins": {**told, **origins}, "commit": commit(), "galaxy": GALAXY, "language": language}
    sphinx = ["sphinx-build", "-q", "-W", "--keep-going", "-c", str(ROOT / "docs"), "-d", str(folder / "doctrees" / language)]
    environment = {**os.environ, "DOCS_SETTINGS": json.dumps(settings)}
    subprocess.run([*sphinx, "-D", f"language={SPHINX[language]}", str(source), str(site)], check=True, env=environment)
    for name in UNUSED:
        (site / name).unlink(missing_ok=True)
    sections = []
    for path in sorted(site.rglob("*.html")):
        name = str(path.relative_to(site))
        path.write_text(result.with_lasting_links(result.with_labels(path.read_text())))
        if name not in result.NO_PAGES:
            sections += result.sections(path, name)
    (site / "sections.js").write_text(f"const SECTIONS = {json.dumps(sections, ensure_ascii=False, separators=(',', ':'))};\n")


def pack(folder: pathlib.Path) -> pathlib.Path:
    """The sites as one file."""
    name = f"ascend.gpustack-{GALAXY['version']}-docs"
    with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((folder / "html").rglob("*")):
            if path.is_file() and ".buildinfo" not in path.name:
                archive.write(path, f"{name}/{path.relative_to(folder / 'html')}")
    return folder / f"{name}.zip"


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "reference").mkdir(parents=True)
    (folder / "origins.json").write_text(json.dumps(write_reference(folder / "reference")))
    for language in LANGUAGES:
        build(language, folder)
    (folder / "html/index.html").write_text(FIRST)
    found = result.problems(folder / "html")
    if found:
        sys.exit("\n".join(found))
    print(f"{len(list((folder / 'html').rglob('*.html')))} pages: {folder / 'html/index.html'}, and to take along: {pack(folder)}")


if __name__ == "__main__":
    main()
