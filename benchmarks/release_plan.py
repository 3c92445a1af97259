"""A full release on paper: device-hours, bytes, shards and files, from measured rates and the format's own sizes.

    python benchmarks/release_plan.py --rates benchmarks/results/jacobians.json [--rows 1000000] [--policies 3]

Tasks of one group of dynamics share a rate. Bytes per row are those before packing, so an upper bound. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from dynamic_sparsity.generation import runtime

RATE_FIELDS = ("generate_per_s", "residual_per_s")
EPISODE_LENGTH = 1000


def rates_by_group(records: list[dict[str, Any]]) -> dict[str, float]:
    """Rows per second of each group that was measured; the fastest batch counts."""
    from dynamic_sparsity.generation.tasks import get_task

    rates: dict[str, float] = {}
    for record in records:
        rate = next((record[field] for field in RATE_FIELDS if field in record), None)
        if rate is not None:
            group = get_task(record["task"]).group
            rates[group] = max(rate, rates.get(group, 0.0))
    return rates


def plan(rows: int, policies: int, rates: dict[str, float]) -> list[dict[str, Any]]:
    """One entry per group of tasks."""
    import numpy as np

    from dynamic_sparsity.generation import dynamics, tasks
    from dynamic_sparsity.generation.metadata import store_sizes
    from dynamic_sparsity.schemas import row_arrays
    from dynamic_sparsity.storage import layout

    entries = []
    for group, representative in tasks.group_representatives().items():
        physics = dynamics.load_physics(representative)
        members = sum(task.group == group for task in tasks.TASKS.values())
        stores, sizes = members * policies, store_sizes(physics)
        specs = row_arrays(sizes, "converged")
        row_bytes = sum(int(np.prod(spec.shape(sizes, 1))) * np.dtype(spec.dtype).itemsize for spec in specs)
        shards = stores * -(-rows // layout.plan(EPISODE_LENGTH, physics.task.dx).shard_rows)
        rate = rates.get(group)
        entries.append(
            {
                "group": group,
                "stores": stores,
                "bytes_per_row": row_bytes,
                "rows": stores * rows,
                "bytes": stores * rows * row_bytes,
                "shards": shards,
                "files": shards * (len(specs) + 1) + stores * (len(specs) + 60),
                "rows_per_s": rate,
                "hours": None if rate is None else stores * rows / rate / 3600,
            }
        )
    return entries


def markdown(entries: list[dict[str, Any]]) -> str:
    """The plan as a table."""
    lines = [
        "| group | stores | bytes per row | GB | shards | files | rows/s | device-hours |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for e in entries:
        rate, hours = ("–", "–") if e["hours"] is None else (f"{e['rows_per_s']:,.0f}", f"{e['hours']:.2f}")
        lines.append(
            f"| {e['group']} | {e['stores']} | {e['bytes_per_row']:,} | {e['bytes'] / 1e9:,.1f} | {e['shards']:,} "
            f"| {e['files']:,} | {rate} | {hours} |"
        )
    known = [e for e in entries if e["hours"] is not None]
    total = {key: sum(e[key] for e in entries) for key in ("stores", "bytes", "shards", "files")}
    hours = f"{sum(e['hours'] for e in known):.1f}" + ("" if len(known) == len(entries) else f" ({len(known)} groups)")
    lines.append(
        f"| **all** | {total['stores']} | | {total['bytes'] / 1e9:,.0f} | {total['shards']:,} | {total['files']:,} | "
        f"| {hours} |"
    )
    return "\n".join(lines)


def main() -> None:
    """Plans and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=Path, required=True, help="records of benchmarks/jacobians.py or generation.py")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each store")
    parser.add_argument("--policies", type=int, default=3, help="policies, so stores, of each task")
    options = parser.parse_args()
    runtime.configure()
    records = json.loads(options.rates.read_text())
    print(
        f"{options.rows:,} rows for each of {options.policies} policies of 25 tasks, float64 on: {_device(records)}\n"
    )
    print(markdown(plan(options.rows, options.policies, rates_by_group(records))))


def _device(records: list[dict[str, Any]]) -> str:
    return ", ".join(sorted({record["device"] for record in records}))


if __name__ == "__main__":
    main()
