"""Whatever the collection can refuse with stands in the tables of messages, in both languages."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest
import yaml
from shared import ROOT, TROUBLESHOOTING, messages, tasks

# What stands for a value, in the sentences as in the table
GAP = "…"
DOCUMENTATION = {"DOCUMENTATION", "EXAMPLES", "RETURN"}


def sentence(node: ast.AST) -> str | None:
    """A literal's text, with a gap for each value of an f-string."""
    if isinstance(node, ast.JoinedStr):
        parts = [str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values]
        return " ".join("".join(parts).split())
    return " ".join(node.value.split()) if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def texts_for_readers(tree: ast.Module) -> Iterator[ast.AST]:
    """The literals that are no documentation, and no parts of others."""
    others = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    others |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and DOCUMENTATION & {getattr(target, "id", "") for target in node.targets}:
            others.add(id(node.value))
    return (node for node in ast.walk(tree) if id(node) not in others)


def warnings_of(tree: ast.Module) -> set[str]:
    """What a finding only warns of: nothing is refused, and the message brings its remedy."""
    found, last = set(), None
    places = [node for node in ast.walk(tree) if isinstance(node, (ast.Assign, ast.Call))]
    for node in sorted(places, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(node, ast.Assign):
            last = node if getattr(node.targets[0], "id", "") == "text" else last
        elif ast.unparse(node.func) == "Finding" and len(node.args) > 2 and sentence(node.args[1]) == "warn":
            told = last.value if last and isinstance(node.args[2], ast.Name) else node.args[2]
            found.add(sentence(told) or GAP)
    return found


def refusals_of(path: pathlib.Path) -> set[str]:
    """Sentences that say what was expected; those of exceptions, failures and lists of problems; those of findings that fail."""
    tree = ast.parse(path.read_text())
    told = {text for node in texts_for_readers(tree) if (text := sentence(node)) and re.search(r"(^|[:;,] )expected[ \[]", text)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name, words = ast.unparse(node.func), [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "msg")]
            if name == "Finding":
                told |= {text for word in words[2:3] if (text := sentence(word))}
            elif name.endswith(("Error", "fail_json", "problems.append", "refusals.append")):
                told |= {text for word in words if (text := sentence(word)) and len(text.replace(GAP, "")) > 30}
        elif (
            isinstance(node, ast.Tuple)
            and path.parent.name == "preflight"
            and [" " in (sentence(word) or "") for word in node.elts] == [True] * 2
        ):
            told.add(sentence(node.elts[0]) or GAP)
        elif isinstance(node, ast.Assign) and path.parent.name == "preflight" and getattr(node.targets[0], "id", "") == "text":
            told.add(sentence(node.value) or GAP)
    return told - warnings_of(tree)


def refusals_of_tasks(path: pathlib.Path) -> set[str]:
    given = [
        task.get("ansible.builtin.assert", {}).get("fail_msg") or task.get("ansible.builtin.fail", {}).get("msg")
        for task in tasks(yaml.safe_load(path.read_text()))
    ]
    return {" ".join(re.sub(r"\{\{.*?\}\}", GAP, text, flags=re.S).split()) for text in given if text}


def refusals() -> list[tuple[str, str]]:
    """(where, sentence); what is a value alone is said elsewhere."""
    found = [(path, text) for path in sorted((ROOT / "plugins").rglob("*.py")) for text in sorted(refusals_of(path))]
    files = [*(ROOT / "roles").glob("*/tasks/*.yml"), *(ROOT / "playbooks").glob("*.yml")]
    found += [(path, text) for path in sorted(files) for text in sorted(refusals_of_tasks(path))]
    return [(str(path.relative_to(ROOT)), text) for path, text in found if re.search(r"\w", text)]


def says(message: str, text: str) -> bool:
    """Whether a message of the table is this sentence: all its words stand there in their order, or a long run of them."""
    parts = [part for part in (part.strip(" ()'.") for part in message.split(GAP)) if part]
    # What comes first may be in the value that the sentence begins with.
    for wanted in [parts, parts[1:]] if text.startswith(GAP) and len(parts) > 1 else [parts]:
        places = [text.find(part) for part in wanted]
        if -1 not in places and places == sorted(places) and len(re.sub(r"\W|expected", "", "".join(wanted))) > 5:
            return True
    return any(len(part) >= 18 and part in text for part in parts)


@pytest.mark.parametrize("page", TROUBLESHOOTING, ids=lambda path: path.parent.name)
def test_every_refusal_stands_in_the_tables_of_messages(page):
    told = [message for row in messages(page) for message in row]
    missing = [f"{where}: {text}" for where, text in refusals() if not any(says(message, text) for message in told)]
    assert not missing, "\n".join(missing)


# What they refuse is the run, or the playbook, of no host in particular.
OF_NO_HOST = {
    "Nothing was removed. Expected gpustack_remove_confirm: true; set it to go on.",
    "Nothing was removed. Expected gpustack_reset_confirm: true; set it to go on.",
    "Nothing was changed: … finds no other place, as told above; expected one for every model, or gpustack_drain_stop: true.",
    "this run leaves out … (--limit); expected the server, which gets the token first. Run it without --limit.",
    "The role ascend.gpustack.gpustack is internal; use ascend.gpustack.gpustack_server or ascend.gpustack.gpustack_worker.",
}


# What stands around a value that has its words from elsewhere
AROUND = (
    "the cluster token cannot be read",
    "the restore failed",
    f"the upgrade to GPUStack {GAP} failed",
    r"Nothing was changed\.",
    r"\. Nothing was stopped, and the earlier backups are as they were\.",
)


def of_tasks() -> list[tuple[str, str]]:
    """(where, sentence) of what tasks say themselves; a value alone has its words from elsewhere."""
    found = [(where, text) for where, text in refusals() if where.endswith(".yml") and text not in OF_NO_HOST]
    return [(where, text) for where, text in found if re.sub(rf"({GAP}|{'|'.join(AROUND)})[: ]*", "", text)]


@pytest.mark.parametrize("where, text", of_tasks(), ids=lambda word: word[:60])
def test_refusal_of_a_task_says_on_which_host_what_was_found_what_was_expected_and_what_to_do(where, text):
    assert re.fullmatch(rf"{GAP}: \S.*; expected [^.]*(\.\w[^.]*)*\. \S.*(\.|: [\w{GAP} -]+)", text)


def test_what_was_expected_stands_after_a_semicolon():
    assert [told for told in refusals() if re.search(r"(?<!;) expected[ \[]", told[1])] == []


@pytest.mark.parametrize(
    "source, expected",
    [
        (
            'raise TokenError("kind", f"the container {name} is not running; expected running")',
            {"the container … is not running; expected running"},
        ),
        ('"""A docstring with expected words."""\nDOCUMENTATION = "expected here"', set()),
        ('text = f"{a} is off; expected on"\nFinding("a", "warn", text)\nFinding("a", "fail", f"{b}; expected c")', {"…; expected c"}),
        ('problems.append(f"{a} is shared by {b} and that is a fault")', {"… is shared by … and that is a fault"}),
    ],
)
def test_refusals_are_found_in_source(tmp_path, source, expected):
    path = tmp_path / "source.py"
    path.write_text(source)
    assert refusals_of(path) == expected
