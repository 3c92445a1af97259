"""`list`, `info` and `convert`: looking at stores, and copying them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from dynamic_sparsity.cli.app import StoresOrRootsArgument, app
from dynamic_sparsity.cli.arguments import chosen_stores, input_folder, output_folder, parse_repository
from dynamic_sparsity.cli.tables import byte_size, make_table, percent
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.storage.problems import verify_command
from dynamic_sparsity.untrusted.console import PlainConsole, progress

if TYPE_CHECKING:
    from dynamic_sparsity.loaders.store.store import Store
    from dynamic_sparsity.loaders.store.summary import StoreSummary

EDGES_SHOWN = 8


@app.command("list")
def list_command(
    root: Annotated[
        Path | None,
        typer.Option("--root", help="List the stores below this folder instead of the tasks.", show_default=False),
    ] = None,
    repo: Annotated[
        str | None,
        typer.Option(
            "--repo", help="List the stores of this repository on the Hub, ORG/NAME@REVISION.", show_default=False
        ),
    ] = None,
) -> None:
    """List the tasks, with --root the stores that exist, or with --repo those that are published.

    Tasks of one [italic]group[/italic] have the same dynamics: they share states, actions and one compiled program.
    ds is the size of the state (dx in tangent coordinates, where they differ), da that of the action; a control step
    of control dt seconds has several physics substeps.
    """
    if repo is not None:
        if root is not None:
            raise InvalidSettingError("--root and --repo do not go together; give one of them")
        from dynamic_sparsity.cli.managing import print_repository
        from dynamic_sparsity.loaders.hub.repository import Repository

        print_repository(Repository.open(*parse_repository(repo)))
        return
    if root is None:
        PlainConsole().print(_table_of_tasks())
        return
    from dynamic_sparsity.loaders.store.summary import summarize_stores

    input_folder(root, "--root")
    found = summarize_stores(root)
    if found:
        PlainConsole().print(_table_of_stores(root, found))
    else:
        PlainConsole(soft_wrap=True).print(
            f"There are no stores below {root}. Make one: "
            f"{shlex.join(['dynamic-sparsity', 'generate', 'CartpoleBalance', '--out', str(root)])}"
        )


@app.command()
def info(
    store: Annotated[Path, typer.Argument(help="A store, e.g. data/CheetahRun/noise.zarr.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: its metadata and shares of zeros.")] = False,
) -> None:
    """Show what a store holds: settings, provenance, arrays with their bytes per row, and a summary of its sparsity."""
    from dynamic_sparsity.loaders.store.store import open_store

    opened = open_store(store, verify="size")
    if as_json:
        from dynamic_sparsity.loaders.store.summary import zero_shares

        typer.echo(json.dumps(dict(opened.metadata) | {"zero_shares": zero_shares(opened)}, indent=1))
        return
    console = PlainConsole(soft_wrap=True)
    _print_identity(console, opened)
    console.print(_table_of_arrays(opened))
    _print_settings(console, opened.metadata)
    _print_sparsity(console, opened)


@app.command()
def convert(
    stores: StoresOrRootsArgument,
    storage: Annotated[
        str,
        typer.Option(
            help="compact: arrays of floats are compressed, for disks and networks. raw: they are not, so that random "
            "rows are read fast."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Root of the copies; another one than that of the stores.")],
) -> None:
    """Copy stores to another storage; every value stays the same, to the bit.

    Rerun the command to resume it where it was interrupted.
    """
    from dynamic_sparsity.storage.atomic import files_below

    output_folder(out)
    console = PlainConsole(soft_wrap=True)
    for store in chosen_stores(stores):
        copy = _convert_with_bar(console, store, out, storage)
        before, after = (sum(file.stat().st_size for file in files_below(path)) for path in (store, copy))
        console.print(f"{copy}: {after:,} bytes, {after / before:.2f} of the {before:,} of {store}")


def _convert_with_bar(console: PlainConsole, store: Path, out: Path, storage: str) -> Path:
    from dynamic_sparsity.storage.convert import convert_store

    with progress(console, transient=True) as bars:
        bar = bars.add_task("shards", total=None)
        return convert_store(
            store, out, storage, on_progress=lambda done, total: bars.update(bar, completed=done, total=total)
        )


def _table_of_tasks() -> Table:
    from dynamic_sparsity.generation.tasks import ROBOTS, TASKS

    columns = ("task", "group", "ds", "dx", "da", "substeps", "dt, s")
    caption = "dx: state in tangent coordinates, where it differs from ds (quaternions)"
    # At 80 columns a group's name is what is wrapped: names of tasks and numbers are whole.
    whole = set(columns) - {"group"}
    table = make_table(columns, left=("task", "group"), no_wrap=whole, compact=True, title="Tasks", caption=caption)
    for task in (*TASKS.values(), *ROBOTS.values()):
        dx = "" if task.dx == task.ds else str(task.dx)
        table.add_row(task.name, task.group, str(task.ds), dx, str(task.da), str(task.substeps), f"{task.control_dt:g}")
    return table


def _table_of_stores(root: Path, found: Sequence[StoreSummary]) -> Table:
    names = ("task", "policy", "dynamics")
    columns = (*names, "rows", "episodes", "size", "state")
    table = make_table(columns, left=(*names, "state"), no_wrap=columns[:-1], title=f"Stores in {root}")
    for one in found:
        rows, episodes = ("?" if count is None else f"{count:,}" for count in (one.rows, one.episodes))
        cells = (rows, episodes, byte_size(one.bytes), _state(one))
        table.add_row(one.location.task, one.location.policy, one.location.dynamics, *cells)
    return table


def _state(one: StoreSummary) -> str:
    if one.shards is not None:
        return f"{one.state} ({one.shards[0]} of {one.shards[1]} shards)"
    return f"{one.state} (see `{verify_command(one.location.path)}`)" if one.state == "damaged" else one.state


def _print_identity(console: PlainConsole, opened: Store) -> None:
    metadata = opened.metadata
    console.print(Text.assemble((opened.task, "bold"), f", policy {opened.policy}, dynamics {opened.dynamics}"))
    console.print(
        f"{opened.rows:,} rows in {metadata['episodes']:,} episodes of {metadata['episode_length']:,} steps; "
        f"control step {metadata['control_dt']:g} s = {metadata['substeps']} × {metadata['timestep']:g} s"
    )
    if metadata.get("sample"):
        console.print("A small sample of the data, as the package has it.", style="yellow")
    console.print(f"storage: {metadata.get('storage', 'raw')}")
    if opened.dynamics == "stock":
        console.print(
            "Partial derivatives, at a fixed qacc_warmstart; leave out rows flagged tangents_lost.", style="yellow"
        )
    console.print(f"state: {', '.join(metadata['state_names'])}")
    if metadata["sizes"]["ds"] != metadata["sizes"]["dx"]:
        console.print(f"tangent: {', '.join(metadata['tangent_names'])}")
    console.print(f"action: {', '.join(metadata['action_names'])}")
    _print_constraints(console, metadata)


def _print_constraints(console: PlainConsole, metadata: dict[str, Any]) -> None:
    """Print what can act, by kind, in the order of the columns `active_any` and `contact_force`."""
    found: dict[str, list[str]] = {}
    for constraint in metadata["constraints"]:
        found.setdefault(constraint["kind"], []).append(constraint["name"])
    if not found:
        console.print("constraints: none")
    for kind, names in found.items():
        words = "contact, pairs of geoms" if kind == "contact" else kind.replace("_", " ")
        console.print(f"{words} ({len(names)}): {', '.join(names)}")


def _table_of_arrays(opened: Store) -> Table:
    import numpy as np

    from dynamic_sparsity.loaders.store.summary import bytes_below
    from dynamic_sparsity.schemas import row_arrays

    columns = ("array", "shape", "dtype", "bytes/row", "on disk")
    caption = "docs/format.md describes each of them"
    table = make_table(columns, left=("array", "dtype"), no_wrap=columns, title="Arrays", caption=caption)
    for spec in row_arrays(opened.metadata["sizes"], opened.dynamics):
        shape = spec.shape(opened.metadata["sizes"], opened.rows)
        row_bytes = int(np.prod(shape[1:], dtype=int)) * np.dtype(spec.dtype).itemsize
        on_disk = byte_size(bytes_below(opened.path / spec.name))
        table.add_row(spec.name, " × ".join(f"{n:,}" for n in shape), spec.dtype, str(row_bytes), on_disk)
    return table


def _print_settings(console: PlainConsole, metadata: dict[str, Any]) -> None:
    for title in ("settings", "provenance"):
        console.print(title, style="bold")
        for key, value in sorted(metadata[title].items()):
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            console.print(f"  {key}: {shown}")
    console.print(Text.assemble(("splits", "bold"), f" {', '.join(metadata['splits'])}, by episode"))


def _print_sparsity(console: PlainConsole, opened: Store) -> None:
    import numpy as np

    from dynamic_sparsity.loaders.store.summary import zero_shares

    shares, statistics, sizes = zero_shares(opened), opened.statistics, opened.metadata["sizes"]
    console.print(Text.assemble(("sparsity", "bold"), " (share of entries with |J| < 1e-12, mean over rows)"))
    kinds = {"all": "s", "free": "s_free", "contact": "s_contact"}
    parts = [
        f"{kind} {percent(shares[key])} % ({int(statistics[f'rows_{kind}']):,} rows)" for kind, key in kinds.items()
    ]
    console.print(f"  J_s: {', '.join(parts)} (contact: a contact or limit acts)")
    console.print(f"  J_a: all {percent(shares['a'])} %")
    entries_s, entries_a = sizes["dx"] ** 2, sizes["dx"] * sizes["da"]
    always = f"{shares['always_s']} of {entries_s} in J_s, {shares['always_a']} of {entries_a} in J_a"
    console.print(f"  zero in every row: {always}")
    names = opened.metadata["tangent_names"]
    never = np.argwhere(statistics["zero_share_s"] == 1)
    for effect, cause in never[:EDGES_SHOWN]:
        console.print(f"    {names[cause]} never acts on {names[effect]}")
    if len(never) > EDGES_SHOWN:
        console.print(f"    … and {len(never) - EDGES_SHOWN} more")
