"""The commands of the pages: each can be typed as it stands, and those of the benchmark's page are run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from dynamic_sparsity import cli
from dynamic_sparsity.cli.application import application

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
COMMANDS: dict[str, Any] = dict(application.commands)


def commands(page: Path) -> list[list[str]]:
    """Return the words of each command in a page's blocks of shell."""
    blocks = re.findall(r"```(?:sh|console|bash)\n(.*?)```", page.read_text(), re.DOTALL)
    shell = re.compile(r"\$\w+|\\\n")  # a variable of the shell stands for a number; a line goes on
    lines = [
        line for block in blocks for line in shell.sub(lambda x: "1" if x[0][0] == "$" else " ", block).splitlines()
    ]
    parts = [part for line in lines for part in re.split(r"&&|;|\|", line.split(" #")[0])]
    return [words for part in parts if (words := shlex.split(part, comments=True))]


def problem(words: list[str]) -> str | None:
    """Say why a command can't be typed, without running it."""
    if words[0] == "dynamic-sparsity" and len(words) > 1 and not words[1].startswith("-"):
        if words[1] not in COMMANDS:
            return "there is no such command"
        try:
            COMMANDS[words[1]].make_context(words[1], words[2:], help_option_names=["--help", "-h"])
        except SystemExit:
            return None  # It has shown its help.
        except Exception as error:  # click's own, of whatever package has it
            return None if type(error).__name__ == "Exit" else repr(error)
    if words[0] == "python" and len(words) > 1 and words[1].endswith(".py") and (ROOT / words[1]).parent.is_dir():
        script = ROOT / words[1]
        if not script.exists():
            return "there is no such script"
        known = script.read_text()
        missing = [word for word in words[2:] if word.startswith("--") and f'"{word.split("=")[0]}"' not in known]
        return f"it has no {missing[0]}" if missing else None
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_pages_can_be_typed(page: Path) -> None:
    wrong = [(" ".join(words), why) for words in commands(page) if (why := problem(words))]
    assert not wrong, "\n".join(map(str, wrong))


def test_problems_are_seen() -> None:
    assert problem(shlex.split("dynamic-sparsity nothing"))
    assert problem(shlex.split("dynamic-sparsity leaderboard x --nothing"))
    assert problem(shlex.split("python benchmarks/planning.py --nothing"))
    assert not problem(shlex.split("dynamic-sparsity leaderboard x --csv y"))


def of_benchmark(first: str) -> list[list[str]]:
    """Return the commands of the block of docs/benchmark.md that begins with an installation of some extras."""
    text = (ROOT / "docs" / "benchmark.md").read_text()
    (block,) = re.findall(rf"```sh\npip install -e '\.\[{first}\]'\n(.*?)```", text, re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines()]


@pytest.mark.slow
def test_an_entry_from_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word by word, in a folder that has the examples; JAX's stands for PyTorch's where that is not installed."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    for words in of_benchmark("torch"):
        words = [word if find_spec("torch") else word.replace("_torch.py", "_jax.py") for word in words]
        assert cli.main(words) == 0, words
    page = (tmp_path / "outputs" / "LEADERBOARD.md").read_text()
    assert "| my-model |" in page and "| majority (reference) |" in page
    assert (tmp_path / "outputs" / "benchmark" / "transitions.md").exists()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_first_commands_in_a_clone(tmp_path: Path) -> None:
    """They leave the clone's own files as they are."""
    pytest.importorskip("mujoco")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], check=True)
    for words in of_benchmark("generate,learners"):
        subprocess.run([sys.executable, "-m", "dynamic_sparsity.cli", *words], check=True, cwd=clone)
    changed = subprocess.run(["git", "status", "--porcelain"], check=True, cwd=clone, capture_output=True, text=True)
    assert changed.stdout == ""
    assert "| gated-l0 |" in (clone / "outputs" / "LEADERBOARD.md").read_text()
