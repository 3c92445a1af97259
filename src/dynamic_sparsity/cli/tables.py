"""Tables and numbers as several commands print them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from dynamic_sparsity.untrusted.console import PlainConsole

__all__ = ["byte_size", "make_table", "percent", "print_new_stores"]

_UNITS = ("B", "kB", "MB", "GB", "TB")


def make_table(
    columns: Sequence[str],
    *,
    left: Collection[str] = (),
    no_wrap: Collection[str] = (),
    compact: bool = False,
    **options: Any,
) -> Table:
    """Make an empty table.

    Args:
        columns: Titles of the columns.
        left: Titles of those that are aligned to the left; the others are numbers and aligned to the right.
        no_wrap: Titles of those that are never wrapped.
        compact: Leave out the box around the cells.
        **options: Those of Rich's `Table`.
    """
    if compact:
        options |= {"box": None, "padding": (0, 2, 0, 0), "pad_edge": False}
    table = Table(caption_justify="left", **options)
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", no_wrap=name in no_wrap)
    return table


def byte_size(number: float) -> str:
    """Format a number of bytes, in powers of 1000.

    Args:
        number: Number of bytes.
    """
    for unit in _UNITS[:-1]:
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} {_UNITS[-1]}"


def percent(share: float) -> str:
    """Format a share as a number of percent; a dash for NaN.

    Args:
        share: In [0, 1], or NaN.
    """
    return "–" if math.isnan(share) else f"{100 * share:.1f}"


def print_new_stores(console: PlainConsole, paths: Sequence[Path]) -> None:
    """Print a table of stores that were made just now.

    Args:
        console: Where to print.
        paths: The stores.
    """
    import numpy as np

    from dynamic_sparsity.loaders.store.store import open_store
    from dynamic_sparsity.loaders.store.summary import mujoco_differences, zero_shares

    columns = ("task", "rows", "zeros in J_s, %", "always", "J_a, %", "return")
    caption = (
        "zeros: mean share of |J| < 1e-12 over all rows / free / where a contact or limit acts; always: in every row"
    )
    table = make_table(columns, left=["task"], no_wrap=columns, compact=True, title="Made", caption=caption)
    opened = [open_store(path, verify="size") for path in paths]
    for store in opened:
        shares, returns = zero_shares(store), store.episodes["return"]
        table.add_row(
            store.task,
            f"{store.rows:,}",
            " / ".join(percent(shares[key]) for key in ("s", "s_free", "s_contact")),
            f"{shares['always_s']}/{store.metadata['sizes']['dx'] ** 2}",
            percent(shares["a"]),
            f"{np.mean(returns):.0f} ± {np.std(returns):.0f}",
        )
    console.print(table)
    for path, store in zip(paths, opened, strict=True):
        engine = store.metadata["provenance"].get("jacobians", "")
        if "slower" in engine:
            console.print(f"{path}: Jacobians {engine}", soft_wrap=True)
        count, largest = mujoco_differences(store) or (0, 0.0)
        if count:
            console.print(
                f"{path}: {count:,} of {store.rows:,} rows have another next state in MuJoCo C, by up to {largest:.1e} "
                "of 1 + |s'|; they are flagged differs_from_mujoco.",
                style="yellow",
                soft_wrap=True,
            )
