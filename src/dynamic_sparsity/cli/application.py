"""The whole command line: the program with all its commands, listed by `--help` in the order of these imports."""
# ruff: noqa: F401, I001

import inspect

import typer.main

from dynamic_sparsity.cli.app import app
from dynamic_sparsity.cli import (
    stores,
    verifying,
    managing,
    exporting,
    generating,
    experts,
    publishing,
    releasing,
    analysis,
    exploring,
    learning,
)


def _reflowed(text: str) -> str:
    """Join the lines of each paragraph, so that help is wrapped at the terminal's width alone."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in inspect.cleandoc(text).split("\n\n"))


application = typer.main.get_group(app)
for _command in application.commands.values():
    _command.help = _reflowed(_command.help or "")
