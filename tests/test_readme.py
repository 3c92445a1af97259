"""What the documentation says, done: its snippets run, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.slow
def test_quick_start(tmp_path):
    """The first command after its installation, then the snippets, in one folder."""
    generate = blocks(README, "sh")[0].split("&& ")[-1].split()
    assert generate[:2] == ["dynamic-sparsity", "generate"]
    subprocess.run([sys.executable, "-m", "dynamic_sparsity.cli", *generate[1:]], check=True, cwd=tmp_path)
    snippets = blocks(README, "python")
    assert len(snippets) == 1
    for snippet in snippets:
        subprocess.run([sys.executable, "-W", "error", "-c", with_comments_checked(snippet)], check=True, cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "needs"), [("linearize", "jax"), ("environments", "gymnasium")])
def test_snippets_of_pages(page, needs, tmp_path):
    pytest.importorskip(needs)
    (snippet,) = blocks((ROOT / "docs" / f"{page}.md").read_text(), "python")
    subprocess.run([sys.executable, "-W", "error", "-c", with_comments_checked(snippet)], check=True, cwd=tmp_path)


def with_comments_checked(snippet: str) -> str:
    """A line `expression  # value…` becomes a check that the expression has that value, if the comment is one."""
    lines = []
    for line in snippet.splitlines():
        value = re.fullmatch(r"(\S.*?)\s{2,}# ([\[(].*?[\])])(:.*)?", line)
        lines.append(f"assert ({value[1]}) == {value[2]}, {value[1]}" if value else line)
    return "\n".join(lines)


def test_comments_are_checked():
    checked = with_comments_checked(blocks(README, "python")[0])
    assert "assert (ds.state_names) == ['qpos:slider'" in checked
    assert 'assert (ds[0]["J_s"].shape) == (4, 4)' in checked


def test_two_commands():
    setups = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert [line.split("&& ")[-1].split()[0] for line in setups] == ["dynamic-sparsity", "pytest"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_every_column_is_defined():
    from dynamic_sparsity.schemas import row_arrays

    sizes = dict.fromkeys(("nq", "nv", "na", "nu", "ds", "dx", "da", "nc", "np"), 1)
    text = (ROOT / "docs" / "format.md").read_text()
    card = (ROOT / "dataset_card.md").read_text()
    for spec in row_arrays(sizes, "stock"):
        assert f"| `{spec.name}` |" in text, spec.name
        assert f"`{spec.name}`" in card, spec.name


def test_every_flag_is_defined():
    from dynamic_sparsity.schemas import FLAG_BITS

    text = (ROOT / "docs" / "definitions.md").read_text()
    for flag in FLAG_BITS:
        assert f"| `{flag}` |" in text
