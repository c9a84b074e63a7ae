"""What the documentation names exists, and both languages say the same."""

from __future__ import annotations

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

ROOT = pathlib.Path(__file__).resolve().parents[2]
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
GUIDES = [ROOT / "docs/guides.md", ROOT / "docs/guides.zh-CN.md"]
CHECKS_TABLE = ROOT / "roles/ascend_driver_check/README.md"
TEXTS = [*READMES, CHECKS_TABLE, *GUIDES, ROOT / "lab/README.md"]
EXAMPLE = ROOT / "inventories/example"
PLAYBOOKS = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
MODULES = {path.stem for path in (ROOT / "plugins/modules").glob("*.py")}
ROLES = {path.name for path in (ROOT / "roles").iterdir() if path.is_dir()}
GROUPS = {"gpustack_server", "gpustack_worker", "gpustack_store", "docker_swarm_manager", "docker_swarm_worker"}
FAMILIES = "|".join(variables.FAMILIES)
ARTIFACTS = {"ascend_driver_check", "ascend_driver_check_report", "gpustack_cluster", "vllm_stack"}
FILTERS = ["container", "gpustack", "image", "nfs", "preflight", "records", "reset", "values", "vllm_gateway", "vllm_stack"]
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


def test_both_languages_have_the_same_sections():
    levels = [[heading.split(" ", 1)[0] for heading in headings(path)] for path in READMES]
    assert levels[0] == levels[1]


def test_guides_of_both_languages_lead_to_the_same_sections():
    places = []
    for readme, guides in zip(READMES, GUIDES):
        known = [anchor(heading) for heading in headings(readme)]
        places.append([known.index(link) for link in re.findall(r"\.md#([^)]+)\)", guides.read_text())])
    assert places[0] == places[1]


def test_both_languages_have_the_same_code():
    assert split(READMES[0])[1] == split(READMES[1])[1]


def test_both_languages_have_the_same_tables():
    shapes = [[[row.count("|") for row in table] for table in tables(path)] for path in READMES]
    assert shapes[0] == shapes[1]


def test_both_languages_name_the_same_things_in_the_same_sections():
    sections = [re.split(r"^#+ .*$", path.read_text(), flags=re.M) for path in READMES]
    words = [[sorted(set(re.findall(r"`([^`\n]+)`", section))) for section in sections[number]] for number in (0, 1)]
    assert words[0] == words[1]


def test_every_check_stands_in_the_table_of_checks_in_both_languages():
    (table,) = tables(CHECKS_TABLE)
    rows = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table[2:]]
    assert [row[:2] for row in rows] == [[f"`{name}`", text] for name, text in checks.CHECKS.items()]
    for name, english, chinese in rows:
        assert re.search(r"[\u4e00-\u9fff]", chinese), name
        assert re.findall(r"`\w+`", english) == re.findall(r"`\w+`", chinese), name
        assert ("it can't be left out" in english) == ("不能略过" in chinese) == (name.strip("`") not in checks.SKIPPABLE), name


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.name)
def test_readmes_lead_to_the_table_of_checks(path):
    assert f"]({CHECKS_TABLE.relative_to(ROOT)}#checks)" in split(path)[0]


def test_every_check_is_registered_and_made():
    source = "".join(path.read_text() for path in (ROOT / "plugins/plugin_utils/preflight").glob("*.py"))
    used = set(re.findall(r'(?:Finding|judged)\(\s*"(\w+)"', source)) | {check for check, _fact in kept.FACTS}
    used |= set(re.findall(r'_(?:shared|differing)\([^"]*"(\w+)"', source))
    used |= {check for _pattern, check, _message, _remedy in connections.CAUSES}
    assert used == set(checks.CHECKS)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_link_leads_somewhere(path):
    for link in re.findall(r"\]\(([^)]+)\)", split(path)[0]):
        if "://" not in link:
            target, _hash, place = link.partition("#")
            file = path.parent / target if target else path
            assert file.exists(), link
            assert not place or place in [anchor(heading) for heading in headings(file)], link


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_variable_module_and_group_exist(path):
    known = set(specs()) | MODULES | ROLES | GROUPS | ARTIFACTS
    named = set()
    for words in code_words(path):
        named |= set(re.findall(rf"(?<![\w/.-])(?:{FAMILIES})\w+", words))
    assert named - known == set()


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_playbook_inventory_and_make_target_exist(path):
    text = "\n".join(code_words(path))
    full_names = set(re.findall(r"\bascend\.gpustack\.(\w+)", text)) - {
        "NAME",
        "lab",
        "managed",
    }  # a placeholder, and labels of containers and volumes
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


def test_every_playbook_and_module_is_described():
    assert column(READMES[0], "playbook") == PLAYBOOKS
    assert column(READMES[0], "module") == MODULES


def test_every_variable_is_in_the_readme_and_in_the_example():
    known = set(specs())
    readme, example = READMES[0].read_text(), "".join(path.read_text() for path in EXAMPLE.rglob("*.yml"))
    assert {name for name in known if not re.search(rf"\b{name}\b", readme)} == set()
    assert {name for name in known if not re.search(rf"^[# ]*{name}:", example, flags=re.M)} == set()


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.name)
def test_message_in_the_troubleshooting_table_is_one_that_the_collection_gives(path, source):
    (table,) = [table for table in tables(path) if "NPUs are usable:" in "".join(table)]
    for row in table[2:]:
        for message in re.findall(r"`([^`]+)`", row.split("|")[1]):
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
