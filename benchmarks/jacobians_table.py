"""The table and the picture of `jacobians.py`."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

from provenance import sentence

ENGINES = ("step", "naive", "reference", "residual", "mujoco_c")

HEADER = (
    "task", "batch", "step/s", "naive/s", "reference/s", "residual/s", "C/s", "residual ÷ naive", "residual ÷ C",
    "step ÷ residual", "compile s", "MB",
)  # fmt: skip
NOTE = """Transitions with Jacobians per second, float64, {device}. {made_with}.
Made by `benchmarks/jacobians.py`, which says what is compared; all sides of a row ran interleaved.

*step*: the plain converged step. *naive*: `vmap(jacfwd(env.step))` of Playground's own step; of robots by their
controls, `jacfwd(mjx_env.step)`. *reference*: forward differentiation of the converged step. *residual*: our default
engine. *C*: MuJoCo C's finite differences on all cores.
*step ÷ residual*: what a transition with Jacobians costs in plain steps. *compile s*, *MB*: of the residual engine.
"""

RATIOS = {"naive": 1, "c": 2, "step": 2}
"""The ratios' columns, and their digits."""


def cells(record: dict[str, Any]) -> list[str]:
    """One line of the table."""
    rates = [record.get(f"{name}_per_s", math.nan) for name in ENGINES]
    ratios = [f"{one[name]:.{digits}f}" for one in [ratios_of(record)] for name, digits in RATIOS.items()]
    sizes = [f"{record['compile_s']:.1f}", f"{record['peak_bytes'] / 1e6:.1f}"]
    shown = [*(f"{rate:,.0f}" for rate in rates), *ratios, *sizes]
    return [record["task"], str(record["batch"]), *("–" if cell == "nan" else cell for cell in shown)]


def ratios_of(record: dict[str, Any]) -> dict[str, float]:
    """Residual ÷ naive, residual ÷ C, plain step ÷ residual."""
    residual = record["residual_per_s"]
    naive = residual / record.get("naive_per_s", math.nan)
    return {
        "naive": naive,
        "c": residual / record.get("mujoco_c_per_s", math.nan),
        "step": record["step_per_s"] / residual,
    }


def means(records: list[dict[str, Any]], label: str) -> list[str]:
    """A line of geometric means of the ratios."""
    ratios = [ratios_of(record) for record in records]
    values = [f"{_geometric_mean([r[name] for r in ratios]):.{digits}f}" for name, digits in RATIOS.items()]
    return [label, *[""] * 6, *("–" if value == "nan" else value for value in values), "", ""]


def _geometric_mean(values: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def table(records: list[dict[str, Any]]) -> list[list[str]]:
    """Header, records, and geometric means over the paper's tasks and over all that were measured."""
    from dynamic_sparsity.generation.tasks import PAPER_TASKS

    paper = [record for record in records if record["task"] in PAPER_TASKS]
    lines = [list(HEADER), *map(cells, records), means(records, "geometric mean")]
    if paper and len(paper) < len(records):
        lines.append(means(paper, "geometric mean, paper's tasks"))
    return lines


def markdown(records: list[dict[str, Any]]) -> str:
    """The table as a page."""
    note = NOTE.format(device=records[0]["device"], made_with=sentence(records[0]))
    header, *lines = table(records)
    rule = ["---", *["---:"] * (len(header) - 1)]
    rows = "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines])
    return f"# Jacobians per second\n\n{note}\n{rows}\n"


def text(lines: list[list[str]]) -> str:
    """Lines of cells as text."""
    widths = [max(30 if name == "task" else 11, len(name) + 2) for name in HEADER]
    return "\n".join(
        "".join(f"{cell:>{width}s}" if at else f"{cell:<{width}s}" for at, (cell, width) in enumerate(pairs))
        for pairs in (zip(line, widths, strict=True) for line in lines)
    )


def plot(records: list[dict[str, Any]], path: Path) -> None:
    """Bars of transitions with Jacobians per second, one group per task, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    shown = {
        "naive": "vmap(jacfwd(env.step))",
        "mujoco_c": "MuJoCo C finite differences, all cores",
        "reference": "ours, reference engine",
        "residual": "ours, residual engine",
    }
    colours = ("#999999", "#E69F00", "#56B4E9", "#0072B2")
    figure, axes = plt.subplots(figsize=(max(6, 1.1 * len(records) + 2), 4.5), layout="constrained")
    for index, ((name, label), colour) in enumerate(zip(shown.items(), colours, strict=True)):
        values = [record.get(f"{name}_per_s", np.nan) for record in records]
        axes.bar(np.arange(len(records)) + 0.2 * (index - 1.5), values, 0.2, label=label, color=colour)
    axes.set_yscale("log")
    axes.set_xticks(range(len(records)), [record["task"] for record in records], rotation=30, ha="right")
    axes.set_ylabel("transitions with Jacobians per second")
    axes.set_title(f"float64, {records[0]['device']}")
    axes.legend(fontsize=8, ncols=2)
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=120)
