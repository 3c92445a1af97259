"""`export`: episodes for other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynamic_sparsity.cli.app import StoresOrRootsArgument, app
from dynamic_sparsity.cli.arguments import chosen_stores, output_folder
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.untrusted.console import PlainConsole

FORMATS = ("minari", "lerobot")


@app.command()
def export(
    stores: StoresOrRootsArgument,
    layout: Annotated[str, typer.Option("--format", help="minari or lerobot.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="Folder of the data sets: OUT/<Task>/<policy>-v0 for Minari, OUT/<Task>/<policy> for LeRobot."
        ),
    ],
    split: Annotated[
        str | None, typer.Option(help="train, validation or test; the names end in it.", show_default="all")
    ] = None,
    columns: Annotated[
        str, typer.Option(help="More columns, with commas between them, e.g. J_s,J_a.", show_default="none")
    ] = "",
) -> None:
    """Write the episodes of stores as data sets of Minari or LeRobot, which these libraries read.

    Both have states, actions, rewards, and where episodes end and why. MINARI_DATASETS_PATH=OUT tells Minari where its
    data sets are; LeRobotDataset takes the folder as its root.

    Example: [bold]dynamic-sparsity export data/CheetahRun/noise.zarr --format minari --out minari[/bold]
    """
    from dynamic_sparsity.loaders.dataset import JacobianDataset
    from dynamic_sparsity.loaders.export.episodes import export_name

    if layout not in FORMATS:
        raise InvalidSettingError(f"--format is {layout!r}; it must be one of: {', '.join(FORMATS)}")
    output_folder(out)
    names = [name for name in columns.replace(" ", "").split(",") if name]
    console = PlainConsole(soft_wrap=True)
    for store in chosen_stores(stores):
        dataset = JacobianDataset(store, split=split, columns=names)
        path = dataset.to_minari(out) if layout == "minari" else dataset.to_lerobot(out / export_name(dataset))
        console.print(f"{path}: {len(dataset.episodes['index']):,} episodes, {len(dataset):,} steps")
