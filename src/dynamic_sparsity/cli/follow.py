"""`status` and `finalize`: following what several processes make."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from dynamic_sparsity.generation.jobs.status import Status, read_status
from dynamic_sparsity.storage.manifests import read_attributes
from dynamic_sparsity.untrusted.console import PlainConsole


def finalize(stores: Sequence[Path]) -> None:
    """Seals stores and says so."""
    from dynamic_sparsity.generation.jobs.generate import finalize as seal

    for store in stores:
        read_attributes(store)  # all of them, before one is sealed
    console = PlainConsole(soft_wrap=True)
    for store in stores:
        with console.status(f"Checking and sealing {store}"):
            seal(store)
        console.print(f"{store}: sealed.", style="green")


def status(stores: Sequence[Path], *, as_json: bool) -> None:
    """Prints what is known of stores in the making."""
    found = [read_status(store) for store in stores]
    if as_json:
        print(json.dumps([asdict(one) | {"store": str(one.store)} for one in found], indent=1))
        return
    console = PlainConsole()
    table = Table(title="In the making")
    for name in ("store", "state", "units done", "running", "failed", "rows", "rows/s", "time left"):
        table.add_column(name, justify="left" if name in ("store", "state") else "right", no_wrap=name != "store")
    for one in found:
        table.add_row(
            str(one.store),
            one.state,
            f"{one.units_done:,}/{one.units:,}",
            f"{len(one.running):,}",
            f"{len(one.set_aside):,}",
            f"{one.rows_done:,}/{one.rows:,}",
            "" if one.rows_per_s is None else f"{one.rows_per_s:,.0f}",
            _left(one),
        )
    console.print(table)
    for one in found:
        for unit, why in one.set_aside.items():
            console.print(f"{one.store} unit {unit} failed in every attempt: {why}", soft_wrap=True)


def _left(one: Status) -> str:
    if one.seconds_left is None:
        return ""
    minutes, seconds = divmod(round(one.seconds_left), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
