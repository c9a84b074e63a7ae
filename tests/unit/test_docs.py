"""What the documentation names exists, and both languages say the same."""

from __future__ import annotations

import fnmatch
import importlib
import pathlib
import re

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible_collections.ascend.gpustack.plugins.plugin_utils import rules
from ansible_collections.ascend.gpustack.plugins.plugin_utils.ports import SWARM_PORTS, firewall_access
from ansible_collections.ascend.gpustack.plugins.plugin_utils.preflight import checks, connections, kept, variables
from shared import PAGES, ROOT, TROUBLESHOOTING, messages

READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
PAIRS = [READMES, *zip(*PAGES.values())]
# In English alone
MORE = [ROOT / name for name in ("lab/README.md", "AGENTS.md", "CONTRIBUTING.md", "SECURITY.md", "SUPPORT.md")]
TEXTS = [*(page for pair in PAIRS for page in pair), *MORE]
REPOSITORY = yaml.safe_load((ROOT / "galaxy.yml").read_text())["repository"] + "/blob/main/"
EXAMPLE = ROOT / "inventories/example"
PLAYBOOKS = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
MODULES = {path.stem for path in (ROOT / "plugins/modules").glob("*.py")}
ROLES = {path.name for path in (ROOT / "roles").iterdir() if path.is_dir()}
GROUPS = {"gpustack_server", "gpustack_worker", "gpustack_store", "docker_swarm_manager", "docker_swarm_worker"}
FAMILIES = "|".join(variables.FAMILIES)
ARTIFACTS = {
    "ascend_driver_check",
    "ascend_driver_check_report",
    "gpustack_cluster",
    "gpustack_models_served",
    "gpustack_weights_brought",
    "vllm_stack",
}
FILTERS = [
    "backup",
    "container",
    "gpustack",
    "image",
    "leave",
    "models",
    "nfs",
    "preflight",
    "records",
    "reset",
    "swarm",
    "upgrade",
    "values",
    "vllm_gateway",
    "vllm_stack",
    "weights",
]
PYTHON_TYPES = {"bool": bool, "int": int, "str": str, "path": str, "list": list, "dict": dict}


def specs() -> dict[str, dict]:
    found = {}
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        found |= yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"]
    return found


def split(path: pathlib.Path) -> tuple[str, list[str]]:
    """A Markdown file as its prose and its code blocks."""
    parts = re.split(r"^```(.*?)^```\n", path.read_text(), flags=re.M | re.S)
    return "".join(parts[0::2]), parts[1::2]


def headings(path: pathlib.Path) -> list[str]:
    return re.findall(r"^#+ .*$", split(path)[0], flags=re.M)


def tables(path: pathlib.Path) -> list[list[str]]:
    return [block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", split(path)[0], flags=re.M)]


def anchor(heading: str) -> str:
    text = heading.lstrip("#").strip().lower()
    return "".join(letter for letter in text.replace(" ", "-") if letter.isalnum() or letter in "-_")


def code_words(path: pathlib.Path) -> set[str]:
    """What stands in code: the words between backticks, and the code blocks."""
    prose, blocks = split(path)
    return {*re.findall(r"`([^`]+)`", prose), *blocks}


def unfolded(text: str) -> str:
    """Source text with its adjacent string literals and folded lines joined."""
    joined = re.sub(r"""(["'])\s*\n\s*f?\1""", "", text)
    return re.sub(r"\s+", " ", joined)


@pytest.fixture(scope="module")
def source() -> str:
    paths = [*(ROOT / "plugins").rglob("*.py"), *(ROOT / "roles").glob("*/tasks/*.yml"), *(ROOT / "playbooks").glob("*.yml")]
    return " ".join(unfolded(path.read_text()) for path in paths)


def name(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def links(path: pathlib.Path) -> list[tuple[pathlib.Path, str]]:
    """(file, anchor) of each link that leads to a file of the project, in the order of the text."""
    found = []
    for link in re.findall(r"\]\(([^)]+)\)", split(path)[0]):
        inside = link.removeprefix(REPOSITORY)
        if "://" not in inside:
            target, _hash, place = inside.partition("#")
            start = ROOT if inside != link else path.parent
            found.append(((start / target).resolve() if target else path, place))
    return found


def test_texts_name_this_version_of_the_collection():
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    named = {found for path in TEXTS for found in re.findall(r"ascend[.-]gpustack[ -](\d+\.\d+\.\d+)", path.read_text())}
    assert named == {version}


def test_every_page_is_there_in_both_languages():
    assert [path.name for path in PAGES["en"]] == [path.name for path in PAGES["zh"]]


@pytest.mark.parametrize("readme", READMES, ids=name)
def test_readme_is_read_in_five_minutes_and_leads_to_every_page_by_links_that_work_anywhere(readme):
    assert 150 <= len(readme.read_text().splitlines()) <= 250
    assert [link for link in re.findall(r"\]\(([^)]+)\)", split(readme)[0]) if not link.startswith("https://")] == []
    pages = PAGES["zh" if "zh" in readme.name else "en"]
    assert {path for path in pages if path.stem != "index"} - {path for path, _place in links(readme)} == set()


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: name(pair[0]))
def test_both_languages_have_the_same_sections(pair):
    levels = [[heading.split(" ", 1)[0] for heading in headings(path)] for path in pair]
    assert levels[0] == levels[1]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: name(pair[0]))
def test_both_languages_lead_to_the_same_places(pair):
    """The same file, or its other language; the same section of it. Words of a table change their order from language to language."""
    places = []
    for path in pair:
        found = set()
        for target, place in links(path):
            known = [anchor(heading) for heading in headings(target)] if place else []
            found.add((name(target).replace("zh", "en").replace("README.en-CN", "README"), known.index(place) if place else -1))
        places.append(sorted(found))
    assert places[0] == places[1]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: name(pair[0]))
def test_both_languages_have_the_same_code(pair):
    # What stands in a diagram's boxes is translated.
    blocks = [[re.sub(r'\["[^"]*"\]', "[]", block) if block.startswith("mermaid") else block for block in split(path)[1]] for path in pair]
    assert blocks[0] == blocks[1]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: name(pair[0]))
def test_both_languages_have_the_same_tables(pair):
    shapes = [[[row.count("|") for row in table] for table in tables(path)] for path in pair]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: name(pair[0]))
def test_both_languages_name_the_same_things_in_the_same_sections(pair):
    sections = [re.split(r"^#+ .*$", path.read_text(), flags=re.M) for path in pair]
    words = [[sorted(set(re.findall(r"`([^`\n]+)`", section))) for section in sections[number]] for number in (0, 1)]
    assert words[0] == words[1]


@pytest.mark.parametrize("path", TROUBLESHOOTING, ids=lambda path: path.parent.name)
def test_every_check_has_its_anchor_and_what_it_looks_at_in_both_languages(path):
    found = re.findall(r"^### `(\w+)`\n\n(.*)$", path.read_text(), flags=re.M)
    assert [check for check, _text in found] == list(checks.CHECKS)
    for check, text in found:
        english = checks.CHECKS[check]
        if path.parent.name == "en":
            assert text.startswith(f"{english[0].upper()}{english[1:]}."), check
        else:
            assert re.search(r"[\u4e00-\u9fff]", text), check
            assert re.findall(r"`\w+`", english) == re.findall(r"(?<!\[)`\w+`", text), check
        assert (("left out" in text) or ("不能跳过" in text)) == (check not in checks.SKIPPABLE), check


@pytest.mark.parametrize("path", TROUBLESHOOTING, ids=lambda path: path.parent.name)
def test_message_stands_once_and_each_check_has_messages_or_says_where_they_are(path):
    told = [message for row in messages(path) for message in row]
    assert sorted(told) == sorted(set(told)) and len(messages(path)) > 150
    for section in re.split(r"^#+ ", path.read_text(), flags=re.M)[3:]:
        assert "\n| " in section or "](#" in section or section.startswith(("`npu_table`", "By step", "按步骤")), section


def test_every_check_is_registered_and_made():
    source = "".join(path.read_text() for path in (ROOT / "plugins/plugin_utils/preflight").glob("*.py"))
    used = set(re.findall(r'(?:Finding|judged)\(\s*"(\w+)"', source)) | {check for check, _fact in kept.FACTS}
    used |= set(re.findall(r'_(?:shared|differing)\([^"]*"(\w+)"', source))
    used |= {check for _pattern, check, _message, _remedy in connections.CAUSES}
    assert used == set(checks.CHECKS)


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_link_leads_somewhere(path):
    for file, place in links(path):
        assert file.exists(), file
        assert not place or place in [anchor(heading) for heading in headings(file)], (file, place)


def in_the_tarball(path: pathlib.Path) -> bool:
    """Whether the installed collection has it too."""
    ignored = yaml.safe_load((ROOT / "galaxy.yml").read_text())["build_ignore"]
    parts = [name(path), *map(str, path.relative_to(ROOT).parents)]
    return not any(fnmatch.fnmatch(part, pattern) for part in parts for pattern in ignored)


@pytest.mark.parametrize("path", [page for page in TEXTS if page not in READMES], ids=name)
def test_page_of_the_installed_collection_leads_to_what_is_there_or_to_the_repository(path):
    if in_the_tarball(path):
        short = [link for link in re.findall(r"\]\(([^)#]+)", split(path)[0]) if "://" not in link]
        assert [link for link in short if not in_the_tarball((path.parent / link).resolve())] == []


def test_installed_collection_has_the_pages_and_the_example():
    assert all(in_the_tarball(path) for path in (*READMES, *PAGES["en"], *PAGES["zh"], EXAMPLE / "hosts.yml", ROOT / "AGENTS.md"))
    assert not any(in_the_tarball(ROOT / path) for path in ("docs/build.py", "docs/developing.md", "lab/README.md", "site.yml"))


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_named_variable_module_and_group_exist(path):
    known = set(specs()) | MODULES | ROLES | GROUPS | ARTIFACTS
    named = set()
    for words in code_words(path):
        named |= set(re.findall(rf"(?<![\w/.-])(?:{FAMILIES})\w+", words))
    assert named - known == set()


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_named_playbook_inventory_and_make_target_exist(path):
    text = "\n".join(code_words(path))
    full_names = set(re.findall(r"\bascend\.gpustack\.(\w+)", text)) - {
        "NAME",
        "lab",
        "managed",
        "drained",
    }  # a placeholder, and labels of containers, volumes and workers
    assert full_names - PLAYBOOKS - MODULES - ROLES == set()
    targets = set(re.findall(r"^make ([a-z0-9-]+)", text, flags=re.M))
    makefile = (ROOT / "Makefile").read_text()
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, flags=re.M)] == []
    for playbook in re.findall(r"ansible-playbook -i \S+ ([\w/-]+\.yml)", text):
        assert (ROOT / playbook).exists(), playbook
    for inventory in re.findall(r"inventories/[\w/.-]+", text):
        assert (ROOT / inventory.replace("inventories/mine", "inventories/example")).exists(), inventory


def column(path: pathlib.Path, head: str) -> set[str]:
    """The names in backticks in the first column of the table that begins with this head."""
    (table,) = [table for table in tables(path) if table[0].startswith(f"| {head} |")]
    return {name for row in table[2:] for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


@pytest.mark.parametrize("language, module", [("en", "module"), ("zh", "模块")])
def test_every_playbook_and_module_is_described(language, module):
    assert column(ROOT / "docs" / language / "playbooks.md", "playbook") == PLAYBOOKS
    assert column(ROOT / "docs" / language / "modules.md", module) == MODULES


def test_every_variable_is_in_the_documentation_and_in_the_example():
    known = set(specs())
    example = "".join(path.read_text() for path in EXAMPLE.rglob("*.yml"))
    for language in PAGES:
        page = (ROOT / "docs" / language / "variables.md").read_text()
        assert {name for name in known if not re.search(rf"\b{name}\b", page, flags=re.A)} == set(), language
    assert {name for name in known if not re.search(rf"^[# ]*{name}:", example, flags=re.M)} == set()


@pytest.mark.parametrize("path", TROUBLESHOOTING, ids=lambda path: path.parent.name)
def test_message_in_the_tables_of_messages_is_one_that_the_collection_gives(path, source):
    for message in [message for row in messages(path) for message in row]:
        parts = [part.strip(" ()'") for part in message.split("…")]
        told = [part for part in parts if len(part) > 5]
        assert told and [part for part in told if part not in source] == [], message


def example_variables(text: str) -> dict:
    """The variables of the example with the commented ones set."""
    lines, commented = [], False
    for line in text.splitlines():
        commented = bool(re.match(rf"# ({FAMILIES})\w+:", line)) or (commented and line.startswith("#   "))
        lines.append(line[2:] if commented else line)
    return yaml.safe_load("\n".join(lines))


def test_example_sets_every_variable_to_a_value_of_its_type():
    shown = example_variables((EXAMPLE / "group_vars/all.yml").read_text())
    assert shown.pop("ansible_user") == "root"
    for name, value in shown.items():
        assert isinstance(value, PYTHON_TYPES[specs()[name]["type"]]), name
        assert list(rules.judge(value, variables.role_rules(str(ROOT / "roles"), checks.SKIPPABLE)[name])) == [], name


def test_example_shows_the_defaults_unless_it_says_that_it_is_an_example():
    text = (EXAMPLE / "group_vars/all.yml").read_text()
    for paragraph in text.split("\n\n"):
        shown = example_variables(paragraph) if re.search(rf"\n# ({FAMILIES})", paragraph) else None
        for name, value in (shown or {}).items():
            default = specs()[name].get("default")
            if default is not None and "(example" not in paragraph:
                assert value == default, name


def test_example_inventory_holds_the_five_servers_of_the_guides():
    inventory = InventoryManager(loader=DataLoader(), sources=[str(EXAMPLE / "hosts.yml")])
    hosts = {host.name: host.vars["ansible_host"] for host in inventory.get_hosts("gpustack_worker")}
    assert hosts == {f"atlas{number}": f"172.16.33.{105 + number}" for number in range(1, 6)}
    assert [host.name for host in inventory.get_hosts("gpustack_server")] == ["atlas1"]
    assert set(inventory.groups) == GROUPS | {"all", "ungrouped"}


def test_example_opens_no_port_of_the_swarm_on_any_host():
    inventory = InventoryManager(loader=DataLoader(), sources=[str(EXAMPLE / "hosts.yml")])
    groups = inventory.get_groups_dict()
    variables = yaml.safe_load((EXAMPLE / "group_vars/all.yml").read_text())
    hostvars = {host.name: {**variables, **host.vars} for host in inventory.get_hosts()}
    opened = {
        port for host in hostvars for service in firewall_access(host, hostvars, groups, "nfs")["services"] for port in service["ports"]
    }
    assert "8080/tcp" in opened
    assert not opened & {"8000/tcp", "8404/tcp", "2377/tcp", "8001/tcp", *SWARM_PORTS}


def filters() -> list[tuple[str, object]]:
    found = []
    for name in FILTERS:
        module = importlib.import_module(f"ansible_collections.ascend.gpustack.plugins.filter.{name}")
        found += sorted(module.FilterModule().filters().items())
    return found


def test_every_filter_is_looked_at():
    assert sorted(path.stem for path in (ROOT / "plugins/filter").glob("*.py")) == FILTERS
    assert sorted(path.stem for path in (ROOT / "plugins/filter").glob("*.yml")) == sorted(name for name, _function in filters())


@pytest.mark.parametrize("name, function", filters(), ids=lambda value: value if isinstance(value, str) else "")
def test_filter_documents_its_parameters(name, function):
    text = yaml.safe_load((ROOT / f"plugins/filter/{name}.yml").read_text())
    documentation = text["DOCUMENTATION"]
    parameters = list(function.__code__.co_varnames[: function.__code__.co_argcount])[1:]
    assert documentation["name"] == name
    assert list(documentation["options"]) == ["_input", *parameters]
    assert documentation.get("positional", "") == ", ".join(parameters)
    assert yaml.safe_load(text["EXAMPLES"]) and text["RETURN"]["_value"]["description"]
