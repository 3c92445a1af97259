"""The whole command line: the program with all its commands, listed by `--help` in the order of these imports."""

import typer.main

from dynamic_sparsity.cli.app import app
from dynamic_sparsity.cli.commands import analysis, experts, learning, publishing, stores  # noqa: F401

application = typer.main.get_command(app)
