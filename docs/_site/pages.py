"""Pages that the site makes from the code, and those that it takes from the rest of the repository."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import mkdocs_gen_files
import typer.cli

from dynamic_sparsity.cli.application import application

ROOT = Path(__file__).parents[2]

# What a user of the package calls, in the order in which one meets it.
MODULES = {
    "Loading": ["dynamic_sparsity"],
    "Streaming": ["dynamic_sparsity.loaders.streaming"],
    "Environments": ["dynamic_sparsity.envs"],
    "A and B of any model": ["dynamic_sparsity.generation.linearization"],
    "Learners and their evaluation": ["dynamic_sparsity.learners"],
    "Analysis": ["dynamic_sparsity.analysis"],
    "Errors": ["dynamic_sparsity.errors"],
    "Stores and a Hub for tests": ["dynamic_sparsity.testing"],
}


def public_names(module: str) -> list[str]:
    """Full names of what a module offers: its `__all__`, or all public classes and functions that it defines."""
    found = importlib.import_module(module)
    names = getattr(found, "__all__", None)
    if names is None:
        names = [name for name, value in vars(found).items() if getattr(value, "__module__", None) == module]
    return [f"{module}.{name}" for name in names if not name.startswith("_")]


def python_reference() -> str:
    """The page of the Python interface, for mkdocstrings to fill in."""
    lines = ["# Python", "", "Everything here is imported from the module under whose name it stands.", ""]
    for title, modules in MODULES.items():
        lines += [f"## {title}", ""]
        for name in (name for module in modules for name in public_names(module)):
            lines += [f"::: {name}", "    options:", "      heading_level: 3", ""]
    return "\n".join(lines)


def command_line_reference() -> str:
    """The page of all commands, from their own help."""
    text = typer.cli.get_docs_for_click(obj=application, ctx=typer.Context(application), name="dynamic-sparsity")
    return re.sub(r"\[(?:bold|italic)\](.*?)\[/(?:bold|italic)\]", r"`\1`", text)


def project_pages() -> list[Path]:
    """Markdown files outside `docs/` that are pages of the site too, relative to the repository."""
    names = ("LEADERBOARD", "CONTRIBUTING", "CHANGELOG", "RELEASE", "SECURITY", "dataset_card")
    pages = [Path(f"{name}.md") for name in names]
    pages += [Path("policies/README.md"), Path("results/README.md"), Path("benchmarks/README.md")]
    return pages + [path.relative_to(ROOT) for path in sorted((ROOT / "benchmarks/results").glob("*.md"))]


with mkdocs_gen_files.open("reference/python.md", "w") as page:
    page.write(python_reference())
with mkdocs_gen_files.open("reference/command_line.md", "w") as page:
    page.write(command_line_reference())
for source in project_pages():
    if (ROOT / source).exists():
        with mkdocs_gen_files.open(f"project/{source.as_posix()}", "w") as page:
            page.write((ROOT / source).read_text(encoding="utf-8"))
        for picture in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", (ROOT / source).read_text(encoding="utf-8")):
            file = (ROOT / source).parent / picture
            if file.is_file():
                with mkdocs_gen_files.open(f"project/{(source.parent / picture).as_posix()}", "wb") as copy:
                    copy.write(file.read_bytes())
