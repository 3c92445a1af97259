"""The table and the picture of `gpu_program.py`'s records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

NOTE = """# What `generate` launches on a GPU, and an estimate of its speed

Made by `benchmarks/gpu_program.py`, which says how; programs compiled for a described {target}, without a GPU.
{date}; {versions}.

**Nothing here was measured on a GPU.**
Kernels, bytes, operations and memory are counted in the compiled programs; rows per second are an *estimate* by the
model that the script states: the largest of 3 µs for each launch and 10 µs for each look of the host at a loop's
condition, bytes at the data sheet's bandwidth, and float64 operations at half of the data sheet's rate.

*kernels*: launches in a control step, loops times what they run. *host*: times that the host waits for a loop's
condition. *temporary*: memory of the transition beside its arguments and results. *largest batch*: the largest power of
two that fits, with two units at a time on the device.
"""
HEAD = (
    "group", "kernels", "host", "MB moved", "M float64 operations", "temporary, MB", "largest batch", "custom calls",
    "estimate: launches, ms", "memory, ms", "arithmetic, ms", "bound by", "estimated rows/s",
)  # fmt: skip


def _table(header: tuple[str, ...], lines: list[list[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [list(header), rule, *lines]) + "\n"


def _cells(record: dict[str, Any]) -> list[str]:
    seconds = [f"{1e3 * record[f'estimated_{name}_s']:.2f}" for name in ("launches", "memory", "arithmetic")]
    return [
        record["group"], f"{record['kernels_per_step']:,.0f}", f"{record['host_rounds']:,.0f}",
        f"{record['bytes'] / 1e6:,.0f}", f"{record['flops'] / 1e6:,.0f}", f"{record['temp_bytes'] / 1e6:,.0f}",
        f"{record['largest_batch']:,}", f"{sum(record['custom_calls'].values()):,}", *seconds, record["bound_by"],
        f"{record['estimated_rows_per_s']:,}",
    ]  # fmt: skip


def markdown(records: list[dict[str, Any]], batch: int) -> str:
    """The page: a table of the whole, one of the transition alone, and the estimates by batch; then what failed."""
    good = [record for record in records if record["compiles"]]
    page = NOTE.format(
        target=", ".join(sorted({record["target"].upper() for record in records})),
        date=max(record["date"] for record in records),
        versions=", ".join(f"{name} {version}" for name, version in records[0]["versions"].items()),
    )
    for program, title in (("generate", "The whole of a control step"), ("transition", "The transition alone")):
        lines = [_cells(one) for one in good if one["program"] == program and one["batch"] == batch]
        if lines:
            page += f"\n## {title}, {batch:,} rows at a time\n\n{_table(HEAD, lines)}"
    for program in ("generate", "transition"):
        shown = [one for one in good if one["program"] == program]
        batches = sorted({one["batch"] for one in shown})
        rates = {(one["group"], one["batch"]): f"{one['estimated_rows_per_s']:,}" for one in shown}
        groups = sorted({one["group"] for one in shown})
        lines = [[group, *(rates.get((group, size), "–") for size in batches)] for group in groups]
        if lines:
            page += f"\n## Estimated rows/s of `{program}` by batch\n\n"
            page += _table(("group", *(f"{size:,}" for size in batches)), lines)
    failed = [record for record in records if not record["compiles"]]
    if failed:
        lines = [[one["group"], one["program"], str(one["batch"]), one["why"].replace("|", "/")] for one in failed]
        page += "\n## What does not compile\n\n" + _table(("group", "program", "batch", "why"), lines)
    return page


LAUNCHES = """# Kernels of a control step on a GPU, before and after

The transition with Jacobians, {batch:,} rows at a time, counted by `benchmarks/gpu_program.py` in programs compiled for
a described GPU; nothing was measured on one. *Before* is the program for a CPU, compiled for a GPU ({date}); *after* is
the program with what `generation/target.py` chooses for one.
"""


def launches(before: list[dict[str, Any]], after: list[dict[str, Any]], batch: int) -> str:
    """The page that compares transitions of the same groups."""

    def chosen(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        wanted = ("transition", batch, "h100")
        return {one["group"]: one for one in records if (one["program"], one["batch"], one["target"]) == wanted}

    old, new = chosen(before), chosen(after)
    names = ("kernels_per_step", "host_rounds", "bytes", "temp_bytes")
    lines = []
    for group in sorted(old.keys() & new.keys()):
        pairs = [(old[group][name], new[group][name]) for name in names]
        cells = [f"{a:,.0f} → {b:,.0f}" for a, b in pairs[:2]] + [
            f"{a / 1e6:,.0f} → {b / 1e6:,.0f}" for a, b in pairs[2:]
        ]
        share = new[group]["kernels_per_step"] / old[group]["kernels_per_step"]
        lines.append([group, cells[0], f"{share:.2f}", *cells[1:]])
    header = ("group", "kernels", "share", "looks of the host", "MB moved", "temporary MB")
    page = LAUNCHES.format(batch=batch, date=max((one["date"] for one in old.values()), default="–"))
    return f"{page}\n{_table(header, lines)}"


def plot(records: list[dict[str, Any]], path: Path) -> None:
    """Estimated rows per second of the transition by batch, a line for each group."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [one for one in records if one["compiles"] and one["program"] == "transition"]
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for index, group in enumerate(sorted({one["group"] for one in shown})):
        line = sorted((one["batch"], one["estimated_rows_per_s"]) for one in shown if one["group"] == group)
        style = ("-", "--", ":")[index // 7 % 3]
        axes.plot(*zip(*line, strict=True), style, marker="o", markersize=3, label=group)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("rows at a time")
    axes.set_ylabel("estimated transitions with Jacobians per second")
    axes.set_title(f"Estimate for {', '.join(sorted({one['target'].upper() for one in shown}))}; not measured")
    axes.legend(fontsize=7, ncols=3)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
