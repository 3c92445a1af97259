"""The whole command line: the program with all its commands, listed by `--help` in the order of these imports."""
# ruff: noqa: F401, I001

import inspect
from typing import Any, Final

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


SHORT_OPTIONS: Final = {
    "--out": "-o",
    "--episodes": "-n",
    "--workers": "-j",
    "--policy": "-p",
    "--repo": "-r",
    "--seed": "-s",
    "--yes": "-y",
}
"""The letters of common options, the same in every command that has them."""

application: Any = typer.main.get_command(app)
for _command in application.commands.values():
    _command.help = _reflowed(_command.help or "")
    for _option in _command.params:
        _option.opts.extend(SHORT_OPTIONS[_name] for _name in tuple(_option.opts) if _name in SHORT_OPTIONS)
