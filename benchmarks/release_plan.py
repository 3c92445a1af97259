"""A full release on paper: device-hours, bytes, shards and files, from measured rates and the format's own sizes.

    python benchmarks/release_plan.py [--rows 1000000] [--policies 3] [--docs docs/scaling.md]

Rates are those of `benchmarks/generate.py`, which has the whole of `generate`, for groups of dynamics it was run on;
for all others the engine's, of `benchmarks/jacobians.py`, times the share of it that `generate` reached in the median
of the former's tasks. Without any record of the former it is the engine's alone. Tasks of one group share a rate. Bytes
per row are those before packing, so an upper bound. Prints Markdown, or puts it between the marks of a page.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outputs import replace_part

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.publishing.parquet import file_count

RESULTS = Path(__file__).parent / "results"
EPISODE_LENGTH = 1000
BEGIN, END = "<!-- plan -->", "<!-- /plan -->"
DISK_BYTES_PER_S = 2e9
"""What one NVMe disk writes, or one client of a parallel file system."""

HUB_FILES, HUB_ENTRIES = 100_000, 10_000
"""Files of a repository and entries of a folder that the Hub advises at most."""

HUB_REQUESTS_PER_S = 5000 / 300
"""What the Hub answers a free account; anonymous users three fifths of it."""

REQUESTS_PER_FILE = 2
"""A file is looked up, then read."""

DOWNLOAD_BYTES_PER_S = 50e6
LARGE_GROUP = "humanoid"
SPLIT_SHARES = (0.8, 0.1, 0.1)

WEEK_S = 7 * 24 * 3600
FACTORS = (1, 10, 1000)


@dataclass(frozen=True)
class Group:
    """What the stores of all tasks with the same dynamics need.

    Attributes:
        name: The group.
        stores: Number of them.
        row_bytes: Bytes of a row.
        shard_rows: Rows of a shard.
        arrays: Row arrays of a store.
        rate: Rows per second of one device; None if it was not measured.
    """

    name: str
    stores: int
    row_bytes: int
    shard_rows: int
    arrays: int
    rate: float | None

    def shards(self, rows: int) -> int:
        """Shards of a store of so many rows."""
        return math.ceil(rows / self.shard_rows)

    def files(self, rows: int) -> int:
        """Files of a store of so many rows: a shard of every array and its manifest, documents, tables."""
        return self.shards(rows) * (self.arrays + 1) + self.arrays + 60

    def parquet_files(self, rows: int) -> int:
        """Files of the Parquet view of a store of so many rows."""
        return sum(file_count(int(share * rows * self.row_bytes)) for share in SPLIT_SHARES)

    def hours(self, rows: int) -> float:
        """Device-hours that its stores of so many rows each take; 0 if its rate is not known."""
        return 0.0 if self.rate is None else self.stores * rows / self.rate / 3600


@dataclass(frozen=True)
class Rates:
    """Measured rows per second of one device.

    Attributes:
        by_group: Group to rate.
        device: What they were measured on.
        share: What `generate` reached of the engine's rate; None if that was not measured.
        whole: Groups whose rate is that of `generate` itself.
        seal_bytes_per_s: Bytes per second of sealing; None if that was not measured.
    """

    by_group: dict[str, float]
    device: str
    share: float | None
    whole: tuple[str, ...]
    seal_bytes_per_s: float | None


def read_rates(engine: Path, whole: Path) -> Rates:
    """Reads what was measured; of several batches the fastest counts."""
    from dynamic_sparsity.generation.tasks import get_task

    def best(records: list[dict[str, Any]], field: str) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for record in records:
            group = get_task(record["task"]).group
            if field in record and (group not in found or record[field] > found[group][field]):
                found[group] = record
        return found

    alone = best(json.loads(engine.read_text()), "residual_per_s")
    all_of_it = best(json.loads(whole.read_text()) if whole.exists() else [], "generate_per_s")
    used = [*all_of_it.values()]
    share = statistics.median(one["generate_over_engine"] for one in used) if used else None
    rates = {group: record["residual_per_s"] * (share or 1.0) for group, record in alone.items()}
    rates |= {group: record["generate_per_s"] for group, record in all_of_it.items()}
    # Both from one run, as shares of the engine's seconds.
    shares = [(1 / one["with_sealing_over_engine"] - 1 / one["generate_over_engine"], one) for one in used]
    seals = [one["bytes_per_row"] * one["engine_per_s"] / extra for extra, one in shares if extra > 0]
    devices = sorted({record["device"] for record in [*alone.values(), *used]})
    return Rates(
        rates, ", ".join(devices), share, tuple(sorted(all_of_it)), statistics.median(seals) if seals else None
    )


def read_groups(policies: int, rates: Rates) -> list[Group]:
    """All groups of tasks, with the sizes of their stores."""
    import numpy as np

    from dynamic_sparsity.generation import tasks
    from dynamic_sparsity.generation.jobs.store_attributes import store_sizes
    from dynamic_sparsity.generation.physics.model import load_physics
    from dynamic_sparsity.schemas import row_arrays
    from dynamic_sparsity.storage import chunking as layout

    groups = []
    for name, representative in tasks.group_representatives().items():
        physics = load_physics(representative)
        sizes = store_sizes(physics)
        specs = row_arrays(sizes, "converged")
        groups.append(
            Group(
                name,
                policies * sum(task.group == name for task in tasks.TASKS.values()),
                sum(int(np.prod(spec.shape(sizes, 1))) * np.dtype(spec.dtype).itemsize for spec in specs),
                layout.plan(EPISODE_LENGTH, physics.task.dx).shard_rows,
                len(specs),
                rates.by_group.get(name),
            )
        )
    return groups


def by_group(groups: list[Group], rows: int) -> list[str]:
    """The plan of every group as a table."""
    lines = [
        "| group | stores | bytes per row | GB | shards | files | rows/s | device-hours |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for one in groups:
        rate, hours = ("–", "–") if one.rate is None else (f"{one.rate:,.0f}", f"{one.hours(rows):.2f}")
        lines.append(
            f"| {one.name} | {one.stores} | {one.row_bytes:,} | {one.stores * rows * one.row_bytes / 1e9:,.1f} "
            f"| {one.stores * one.shards(rows):,} | {one.stores * one.files(rows):,} | {rate} | {hours} |"
        )
    total = _Total(groups, rows)
    lines.append(
        f"| **all** | {sum(one.stores for one in groups)} | | {total.size / 1e9:,.0f} | {total.shards:,} "
        f"| {total.files:,} | | {total.hours:,.1f} |"
    )
    return lines


class _Total:
    """Sums over all groups."""

    def __init__(self, groups: list[Group], rows: int) -> None:
        self.size = sum(one.stores * rows * one.row_bytes for one in groups)
        self.shards = sum(one.stores * one.shards(rows) for one in groups)
        self.files = sum(one.stores * one.files(rows) for one in groups)
        self.hours = sum(one.hours(rows) for one in groups)


def on_the_hub(groups: list[Group], rows: int, policies: int) -> list[str]:
    """What a repository of the release holds, against what the Hub advises and answers."""
    lines = [
        "| repository of | stores | files of the stores | Parquet | others | files | requests for all "
        "| hours for these | hours for the bytes |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    rest = [one for one in groups if one.name != LARGE_GROUP]
    large = [one for one in groups if one.name == LARGE_GROUP]
    for name, chosen in (("all tasks", groups), (f"all but {LARGE_GROUP}", rest), (LARGE_GROUP, large)):
        total = _Total(chosen, rows)
        stores = sum(one.stores for one in chosen)
        parquet = sum(one.stores * one.parquet_files(rows) for one in chosen)
        # Of each store its index and picture, of each task its page, statistics and scene; and five of the repository.
        others = 2 * stores + 3 * stores // policies + 5
        requests = REQUESTS_PER_FILE * total.files
        lines.append(
            f"| {name} | {stores} | {total.files:,} | {parquet:,} | {others:,} | {total.files + parquet + others:,} "
            f"| {requests:,} | {requests / HUB_REQUESTS_PER_S / 3600:.1f} "
            f"| {total.size / DOWNLOAD_BYTES_PER_S / 3600:.1f} |"
        )
    most = max(groups, key=lambda one: one.files(rows))
    requests = REQUESTS_PER_FILE * most.files(rows)
    lines += [
        "",
        f"The Hub advises at most {HUB_FILES:,} files in a repository and {HUB_ENTRIES:,} entries in a folder; the "
        f"largest folder here has {max(one.shards(rows) for one in groups):,}, the shards of one array.",
        f"It answers a free account {HUB_REQUESTS_PER_S * 300:,.0f} requests in five minutes, two for each file that "
        "comes whole.",
        f"The store with most files ({most.name}) takes {requests:,} for all its columns, "
        f"{requests / HUB_REQUESTS_PER_S / 60:.0f} minutes of what is answered, and its bytes "
        f"{rows * most.row_bytes / DOWNLOAD_BYTES_PER_S / 60:.0f} minutes at {DOWNLOAD_BYTES_PER_S / 1e6:.0f} MB/s.",
    ]
    return lines


def by_size(groups: list[Group], rows: int, rates: Rates) -> list[str]:
    """What grows how, if every store has more rows."""
    totals = [_Total(groups, factor * rows) for factor in FACTORS]
    devices = [math.ceil(total.hours * 3600 / WEEK_S) for total in totals]
    largest = [max(one.files(factor * rows) for one in groups) for factor in FACTORS]
    entries = [
        ("rows of a store", [f"{factor * rows:,}" for factor in FACTORS]),
        ("TB", [f"{total.size / 1e12:,.2f}" for total in totals]),
        ("shards", [f"{total.shards:,}" for total in totals]),
        ("files", [f"{total.files:,}" for total in totals]),
        ("files of the largest store", [f"{count:,}" for count in largest]),
        ("device-hours", [f"{total.hours:,.0f}" for total in totals]),
        ("devices to have it in a week", [f"{count:,}" for count in devices]),
        ("MB/s that these write", [f"{total.size / WEEK_S / 1e6:,.0f}" for total in totals]),
    ]
    if rates.seal_bytes_per_s is not None:
        widest = max(one.row_bytes for one in groups)
        seconds = [factor * rows * widest / rates.seal_bytes_per_s for factor in FACTORS]
        entries.append(("hours to seal the largest store", [f"{one / 3600:,.2f}" for one in seconds]))
    lines = ["| | " + " | ".join(f"{factor:,} ×" for factor in FACTORS) + " |", "|---|" + "--:|" * len(FACTORS)]
    return lines + [f"| {name} | {' | '.join(values)} |" for name, values in entries]


def bottleneck(groups: list[Group]) -> str:
    """How many devices a disk keeps up with."""
    written = {one.name: one.rate * one.row_bytes for one in groups if one.rate is not None}
    most = max(written, key=lambda name: written[name])
    median = statistics.median(written.values())
    return (
        f"A device writes at most {written[most] / 1e6:,.0f} MB/s ({most}), {median / 1e6:,.0f} MB/s in the median of "
        f"groups: a disk of {DISK_BYTES_PER_S / 1e9:.0f} GB/s keeps up with "
        f"{DISK_BYTES_PER_S / written[most]:,.0f} devices at least."
    )


def plan(rows: int, policies: int, rates: Rates) -> str:
    """The whole plan as Markdown."""
    groups = read_groups(policies, rates)
    unknown = [one.name for one in groups if one.rate is None]
    source = {
        True: "the rates are the engine's alone: what comes on top was not measured",
        False: f"rates of `generate` ({', '.join(rates.whole)}), else {rates.share or 1.0:.2f} of the engine's",
    }[rates.share is None]
    said = (
        f"{rows:,} rows for each of {policies} policies of 25 tasks, float64.\nA device is: {rates.device}; {source}"
        + (f"; not measured, so without hours: {', '.join(unknown)}." if unknown else ".")
    )
    hub = on_the_hub(groups, rows, policies)
    tables = [*by_group(groups, rows), "", bottleneck(groups), "", *by_size(groups, rows, rates), "", *hub]
    return "\n".join([said, "", *tables])


def main() -> None:
    """Plans and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, default=RESULTS / "jacobians_cpu.json")
    parser.add_argument("--whole", type=Path, default=RESULTS / "generate.json")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each store")
    parser.add_argument("--policies", type=int, default=3, help="policies, so stores, of each task")
    parser.add_argument("--docs", type=Path, help="put it between the marks of this page")
    options = parser.parse_args()
    jax_runtime.configure()
    text = plan(options.rows, options.policies, read_rates(options.engine, options.whole))
    if options.docs is None:
        print(text)
        return
    replace_part(options.docs, BEGIN, END, text)


if __name__ == "__main__":
    main()
