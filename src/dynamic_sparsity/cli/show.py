"""`list` and `info`: tables of tasks, stores and what is in one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from dynamic_sparsity.cli.arguments import input_folder
from dynamic_sparsity.errors import DynamicSparsityError, IncompleteStoreError
from dynamic_sparsity.generation.tasks import TASKS
from dynamic_sparsity.loaders.store.store import Store, find_stores, open_store
from dynamic_sparsity.schemas import row_arrays, validate
from dynamic_sparsity.storage.atomic import files_below
from dynamic_sparsity.untrusted.console import PlainConsole
from dynamic_sparsity.untrusted.documents import read_json

SHOWN_EDGES = 8
_UNITS = ("B", "kB", "MB", "GB", "TB")


def size(number: float) -> str:
    """A number of bytes for people to read, in powers of 1000."""
    for unit in _UNITS[:-1]:
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} {_UNITS[-1]}"


def bytes_below(folder: Path) -> int:
    """Total size of the files below a folder, bytes, also while others write to it."""
    total = 0
    for file in files_below(folder):
        with suppress(OSError):
            total += file.stat().st_size
    return total


def tasks() -> None:
    """Prints all tasks."""
    table = Table(
        title="Tasks",
        caption="dx: state in tangent coordinates, where it differs from ds (quaternions)",
        caption_justify="left",
    )
    for name, right in (
        ("task", False),
        ("group", False),
        ("ds", True),
        ("dx", True),
        ("da", True),
        ("substeps", True),
        ("dt, s", True),
    ):
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for task in TASKS.values():
        dx = "" if task.dx == task.ds else str(task.dx)
        table.add_row(task.name, task.group, str(task.ds), dx, str(task.da), str(task.substeps), f"{task.control_dt:g}")
    PlainConsole().print(table)


def stores(root: Path) -> None:
    """Prints the stores below a folder."""
    input_folder(root, "--root")
    console = PlainConsole()
    found = find_stores(root)
    if not found:
        console.print(
            f"There are no stores below {root}. Make one: dynamic-sparsity generate CartpoleBalance --out {root}",
            soft_wrap=True,
        )
        return
    table = Table(title=f"Stores in {root}")
    for name, right in (
        ("task", False),
        ("policy", False),
        ("dynamics", False),
        ("rows", True),
        ("episodes", True),
        ("size", True),
        ("state", False),
    ):
        table.add_column(name, justify="right" if right else "left")
    for location in found:
        rows, episodes, state = _state(location.path)
        table.add_row(
            location.task, location.policy, location.dynamics, rows, episodes, size(bytes_below(location.path)), state
        )
    console.print(table)


def _state(path: Path) -> tuple[str, str, str]:
    try:
        return _progress(path)
    except DynamicSparsityError:
        return "?", "?", "damaged (see `dynamic-sparsity verify`)"


def _progress(path: Path) -> tuple[str, str, str]:
    try:
        opened = open_store(path, verify="size")
    except IncompleteStoreError:
        attributes = _attributes(path)
        done = sum(1 for _ in (path / "shards").glob("*.json"))
        total = -(-attributes["rows"] // attributes["shard_rows"])
        return f"{attributes['rows']:,}", f"{attributes['episodes']:,}", f"incomplete ({done} of {total} shards)"
    return f"{opened.rows:,}", f"{opened.metadata['episodes']:,}", "complete"


def _attributes(path: Path) -> dict[str, Any]:
    found = read_json(path / "zarr.json").get("attributes")
    validate(found, "store", str(path / "zarr.json"))
    assert isinstance(found, dict)
    return found


def made(console: PlainConsole, paths: Sequence[Path]) -> None:
    """Prints what `generate` made."""
    caption = (
        "zeros: mean share of |J| < 1e-12 over all rows / free / where a contact or limit acts; always: in every row"
    )
    table = Table(title="Made", box=None, padding=(0, 2, 0, 0), pad_edge=False, caption=caption, caption_justify="left")
    for name in ("task", "rows", "zeros in J_s, %", "always", "J_a, %", "return"):
        table.add_column(name, justify="left" if name == "task" else "right", no_wrap=True)
    for path in paths:
        store = open_store(path, verify="size")
        shares = zero_shares(store)
        zeros = " / ".join(_percent(shares[key]) for key in ("s", "s_free", "s_contact"))
        always = f"{shares['always_s']}/{store.metadata['sizes']['dx'] ** 2}"
        returns = store.episodes["return"]
        mean_return = f"{np.mean(returns):.0f} ± {np.std(returns):.0f}"
        table.add_row(store.task, f"{store.rows:,}", zeros, always, _percent(shares["a"]), mean_return)
    console.print(table)
    for path in paths:
        engine = open_store(path, verify="size").metadata["provenance"].get("jacobians", "")
        if "slower" in engine:
            console.print(f"{path}: Jacobians {engine}", soft_wrap=True)


def zero_shares(store: Store) -> dict[str, float]:
    """Mean shares of zero entries, and the number of entries that are zero in every row."""
    statistics = store.statistics
    names = {
        "s": "zero_share_s",
        "s_free": "zero_share_s_free",
        "s_contact": "zero_share_s_contact",
        "a": "zero_share_a",
    }
    shares = {key: float(np.mean(statistics[name])) for key, name in names.items()}
    return shares | {f"always_{key}": int(np.sum(statistics[f"zero_share_{key}"] == 1)) for key in ("s", "a")}


def _percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{100 * share:.1f}"


def store(path: Path) -> None:
    """Prints what a store holds."""
    console = PlainConsole(soft_wrap=True)
    opened = open_store(path, verify="size")
    metadata = opened.metadata
    sizes = metadata["sizes"]
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
    if sizes["ds"] != sizes["dx"]:
        console.print(f"tangent: {', '.join(metadata['tangent_names'])}")
    console.print(f"action: {', '.join(metadata['action_names'])}")
    console.print(_arrays(opened))
    _settings(console, metadata)
    _sparsity(console, opened)


def _arrays(opened: Store) -> Table:
    table = Table(title="Arrays", caption="docs/format.md says what each one holds", caption_justify="left")
    for name in ("array", "shape", "dtype", "bytes/row", "on disk"):
        table.add_column(name, justify="left" if name in ("array", "dtype") else "right", no_wrap=True)
    for spec in row_arrays(opened.metadata["sizes"], opened.dynamics):
        shape = spec.shape(opened.metadata["sizes"], opened.rows)
        raw = int(np.prod(shape[1:], dtype=int)) * np.dtype(spec.dtype).itemsize
        table.add_row(
            spec.name,
            " × ".join(f"{n:,}" for n in shape),
            spec.dtype,
            str(raw),
            size(bytes_below(opened.path / spec.name)),
        )
    return table


def _settings(console: PlainConsole, metadata: dict[str, Any]) -> None:
    for title in ("settings", "provenance"):
        console.print(title, style="bold")
        for key, value in sorted(metadata[title].items()):
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            console.print(f"  {key}: {shown}")
    splits = metadata["splits"]
    console.print(Text.assemble(("splits", "bold"), f" {', '.join(splits)}, by episode"))


def _sparsity(console: PlainConsole, opened: Store) -> None:
    shares, statistics, sizes = zero_shares(opened), opened.statistics, opened.metadata["sizes"]
    console.print(Text.assemble(("sparsity", "bold"), " (share of entries with |J| < 1e-12, mean over rows)"))
    kinds = {"all": "s", "free": "s_free", "contact": "s_contact"}
    parts = [
        f"{kind} {_percent(shares[key])} % ({int(statistics[f'rows_{kind}']):,} rows)" for kind, key in kinds.items()
    ]
    console.print(f"  J_s: {', '.join(parts)} (contact: a contact or limit acts)")
    console.print(f"  J_a: all {_percent(shares['a'])} %")
    entries_s, entries_a = sizes["dx"] ** 2, sizes["dx"] * sizes["da"]
    always = f"{shares['always_s']} of {entries_s} in J_s, {shares['always_a']} of {entries_a} in J_a"
    console.print(f"  zero in every row: {always}")
    names = opened.metadata["tangent_names"]
    never = np.argwhere(statistics["zero_share_s"] == 1)
    for effect, cause in never[:SHOWN_EDGES]:
        console.print(f"    {names[cause]} never acts on {names[effect]}")
    if len(never) > SHOWN_EDGES:
        console.print(f"    … and {len(never) - SHOWN_EDGES} more")
