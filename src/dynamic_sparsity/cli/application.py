"""The whole command line: the program with all its commands, listed by `--help` in the order of these imports."""
# ruff: noqa: F401, I001

import typer.main

from dynamic_sparsity.cli.app import app
from dynamic_sparsity.cli.commands import stores, experts, publishing, analysis, learning

application = typer.main.get_command(app)
