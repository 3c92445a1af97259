"""Commands in messages work when they are pasted: each has the words and options that it can't do without."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dynamic_sparsity.cli.application import application

PACKAGE = Path(__file__).parents[2] / "src" / "dynamic_sparsity"
COMMAND = re.compile(r"`dynamic-sparsity ([^`]*)`")
COMMANDS: dict[str, Any] = dict(application.commands)
OPTIONAL = {"generate": "No task was given", "train": "No task was given"}
"""Commands that want a task although their arguments are optional: `--all` is another way."""

IN_PAGES = ("analysis/findings.py", "leaderboard/page.py", "leaderboard/benchmark_pages.py", "training/table.py")
"""These write pages, which say what made them."""


def problem(command: str) -> str | None:
    """Say why a command can't be pasted, without running it."""
    name, *words = shlex.split(command)
    if "--help" in words:
        return None if name in COMMANDS else f"there is no command {name}"
    if any("…" in word or re.fullmatch("[A-Z]{3,}", word) for word in words):
        return "it has a word to be replaced"
    try:
        context = COMMANDS[name].make_context(name, list(words), help_option_names=["--help", "-h"])
    except Exception as error:  # click's own, of whatever package has it
        return f"{error!r}"
    if name in OPTIONAL and not context.params["tasks"] and not context.params["every"]:
        return OPTIONAL[name]
    return None


def messages() -> Iterator[tuple[str, str]]:
    """Yield all texts of the source that are no docstrings, and where they are; "x" stands for what they insert."""
    for path in sorted(files()):
        tree = ast.parse(path.read_text())
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
                yield f"{path}:{node.lineno}", text
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside | docstrings:
                yield f"{path}:{node.lineno}", node.value


def files() -> Iterator[Path]:
    for folder in PACKAGE.iterdir():  # most are links, which glob does not follow
        yield from folder.rglob("*.py") if folder.is_dir() else [folder] if folder.suffix == ".py" else []


@pytest.mark.slow
def test_commands_in_messages_can_be_pasted() -> None:
    found = [
        (where, command)
        for where, text in messages()
        if not where.split(":")[0].endswith(IN_PAGES)
        for command in COMMAND.findall(text)
    ]
    assert len(found) >= 10
    wrong = [(where, command, why) for where, command in found if (why := problem(command))]
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize(
    ("command", "right"),
    [
        ("generate CartpoleBalance --out data", True),
        ("generate --help", True),
        ("generate", False),
        ("status STORE", False),
        ("evaluate … --out x", False),
        ("publish data", False),
        ("no-such-command", False),
        ("list --no-such-option", False),
    ],
)
def test_they_are_told_apart(command: str, right: bool) -> None:
    assert (problem(command) is None) == right
