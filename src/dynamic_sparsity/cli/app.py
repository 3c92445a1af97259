"""The program, and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynamic_sparsity import __version__

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help=(
        "Ground-truth Jacobians, and their sparsity, of the dynamics of MuJoCo Playground tasks.\n\n"
        "Start with [bold]list[/bold], then [bold]generate[/bold] a task, [bold]verify[/bold] it and look at it with "
        "[bold]info[/bold]. Every command takes [bold]--debug[/bold] to show where an error came from."
    ),
)

StoresArgument = Annotated[list[Path], typer.Argument(help="Stores, e.g. data/CheetahRun/noise.zarr.")]
StoresOrRootsArgument = Annotated[
    list[Path], typer.Argument(help="Stores, e.g. data/CheetahRun/noise.zarr, or folders of them, e.g. data.")
]
OutRootOption = Annotated[
    Path, typer.Option("--out", "--root", help="Folder of all stores; a store is OUT/<Task>/<policy>[-stock].zarr.")
]
DynamicsOption = Annotated[str, typer.Option(help="converged or stock.")]
AllTasksOption = Annotated[bool, typer.Option("--all", help="All 25 tasks of the DM Control Suite.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dynamic-sparsity {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Declare the options of the program itself."""
