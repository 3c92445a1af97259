"""What the tables show beyond the paper's claims, in words that follow from the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis.changes import MAX_LAG
from dynamic_sparsity.analysis.comparison import Comparison, comparisons, one_per_dynamics
from dynamic_sparsity.analysis.paper import PAPER_TABLE_1
from dynamic_sparsity.analysis.study import Study
from dynamic_sparsity.analysis.thresholds import SCALES
from dynamic_sparsity.untrusted import markdown
from dynamic_sparsity.untrusted.markdown import Markdown, escape

__all__ = [
    "beyond_lines",
    "change_table",
    "comparison_lines",
    "counted",
    "missing_edges",
    "paper_table",
    "threshold_table",
]

NAMED_ENTRIES = 4
SHOWN_THRESHOLDS = (("absolute", 1e-12), ("dimensionless", 1e-3), ("dimensionless", 1e-2))


def paper_table(studies: Sequence[Study]) -> list[str]:
    """Return the zeros of J_s and J_a in every row, for the paper's tasks.

    Beside the paper's numbers: those of each data set, and those of all rows together.

    Args:
        studies: Of the stores.

    Returns:
        Lines of Markdown; none if there is none of the paper's tasks.
    """
    tasks = [task for task in PAPER_TABLE_1 if any(one.source.task == task for one in studies)]
    if not tasks:
        return []
    names = list(dict.fromkeys(one.source.name for one in studies if one.source.task in tasks))
    lines = [
        "Zeros of J_s, J_a in the paper's tasks; **≠** differs from the paper. *Together*: zero in every row of all "
        "these stores, which is the tightest of the bounds.",
        "",
    ]
    table: list[list[object]] = []
    for task in tasks:
        chosen = {one.source.name: one for one in studies if one.source.task == task}
        paper = (PAPER_TABLE_1[task].zeros_s, PAPER_TABLE_1[task].zeros_a)
        cells = [_cell(list(always(one)), paper) if (one := chosen.get(name)) else "–" for name in names]
        pooled = [np.logical_and.reduce(both) for both in zip(*map(always, chosen.values()), strict=True)]
        rows = sum(one.source.rows for one in chosen.values())
        table.append([task, f"{paper[0]}, {paper[1]}", *cells, _cell(pooled, paper), f"{rows:,}"])
    return [*lines, *markdown.table(["task", "paper", *names, "together", "rows"], table), ""]


def counted(found: Sequence[object]) -> str:
    """Return how many there are, in words: "1 task", "2 tasks".

    Args:
        found: One item per task.
    """
    return f"{len(found)} {'task' if len(found) == 1 else 'tasks'}"


def always(one: Study) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which entries of J_s and of J_a are zero in every row, bool, shapes (dx, dx) and (dx, da).

    Args:
        one: A study.
    """
    return one.zeros.always_s, one.zeros.always_a


def missing_edges(one: Study, others: Sequence[Study]) -> str:
    """Return where else the edges occur that a store never shows, if they do: a sentence, or nothing.

    Args:
        one: A study.
        others: Studies, of which those of the same task count.
    """
    for other in others:
        if other.source.task != one.source.task or other.source.name == one.source.name:
            continue
        found = np.argwhere(one.zeros.always_s & ~other.zeros.always_s)
        if len(found):
            names = one.state_names
            listed = ", ".join(f"{names[cause]} → {names[effect]}′" for effect, cause in found[:NAMED_ENTRIES])
            more = f" and {len(found) - NAMED_ENTRIES} more" if len(found) > NAMED_ENTRIES else ""
            seen = np.array([other.source.rows - other.zeros.zeros_s[tuple(entry)] for entry in found])
            modes = other.sparsity.counts_s.sum(axis=1)
            return (
                f"The {escape(other.source.name)} data has {escape(listed)}{more} in {_span(seen)} rows; there a "
                f"contact acts in {int(modes[2]):,}, a limit alone in {int(modes[1]):,}."
            )
    return ""


def comparison_lines(studies: Sequence[Study]) -> list[str]:
    """Return how the policy and the dynamics matter, from the stores that differ in nothing else.

    Args:
        studies: Of the stores.
    """
    pairs: dict[tuple[str, str], list[Comparison]] = {}
    for one in comparisons(studies):
        pairs.setdefault((one.first, one.second), []).append(one)
    lines: list[str] = []
    for (first, second), found in ((tuple(map(escape, names)), found) for names, found in pairs.items()):
        same = [one.task for one in found if not one.only_first and not one.only_second]
        lines.append(
            f"- *{first} and {second}* ({counted(found)}): the same entries are "
            f"zero in every row in {len(same)}. An entry's share of zeros differs by "
            f"{_median(found, lambda one: one.mean_difference)} on average over the entries (median of the tasks), by "
            f"{max(one.largest_difference for one in found):.3f} at most; mean sparsity of [J_s | J_a] is "
            f"{_median(found, lambda one: one.sparsity_first)} and {_median(found, lambda one: one.sparsity_second)}, "
            f"the pattern changes at {_median(found, lambda one: 100 * one.changes_first, 1)} and "
            f"{_median(found, lambda one: 100 * one.changes_second, 1)} % of the steps (medians)."
        )
        lines += [
            f"  - {escape(one.task)}: {one.only_first} entries are zero in every row of {first} only, "
            f"{one.only_second} of {second} only"
            for one in found
            if one.only_first or one.only_second
        ]
    return ["## Policies and dynamics side by side", "", *lines, ""] if lines else []


def beyond_lines(studies: Sequence[Study]) -> list[str]:
    """Return lines on thresholds, graph sizes, effective dimension and several steps, for stores of one kind of data.

    Args:
        studies: Of the stores.
    """
    lines = [_threshold_line(studies), _graph_line(studies), *_dimension_lines(studies), *_horizon_lines(studies)]
    rounding = [(one.source.task, int((~one.zeros.always_s & one.largest.rounding("s")).sum())) for one in studies]
    listed = ", ".join(f"{escape(task)} {count}" for task, count in rounding if count)
    if listed:
        lines.append(
            f"- *Rounding*: entries that are not counted as zero in every row only because float64's rounding, beside "
            f"entries in the hundreds and thousands, exceeds the threshold in a few rows: {listed}."
        )
    return lines


def change_table(studies: Sequence[Study]) -> list[str]:
    """Return a table of how far the pattern's changes are from changes of the active set, in control steps (Q3).

    Args:
        studies: Of the stores; those whose pattern never changes are left out.
    """
    rows: list[list[object]] = []
    for one in one_per_dynamics_and_name(studies):
        found = one.changes
        if not found.patterns:
            continue
        lags, middle = found.lags[0], MAX_LAG
        near = (int(lags[middle]), int(lags[middle - 1] + lags[middle + 1]))
        further = int(lags.sum()) - sum(near)
        shares = [f"{100 * count / found.patterns:.1f} %" for count in (*near, further, int(found.alone[0]))]
        cells = [one.source.task, one.source.name, f"{found.patterns:,}", f"{100 * found.patterns / found.steps:.1f} %"]
        rows.append([*cells, *shares, _share(found.recall("constraint"))])
    if not rows:
        return []
    head = ["task", "data", "changes", "of the steps", "same step", "1 step", f"2–{MAX_LAG} steps", "further", "recall"]
    return [
        "## When the pattern changes",
        "",
        "How far the pattern's changes are from the nearest change of the set of active constraints. *Recall*: share "
        "of the active set's changes at which the pattern changes.",
        "",
        *markdown.table(head, rows),
        "",
    ]


def threshold_table(studies: Sequence[Study]) -> list[str]:
    """Return a table of how the answers to Q1, Q2 and Q3 change with what counts as zero.

    Args:
        studies: Of the stores.
    """
    rows: list[list[object]] = []
    for one in one_per_dynamics_and_name(studies):
        at = {(found.scale, found.threshold): found for found in one.thresholds}
        if not all(place in at for place in SHOWN_THRESHOLDS):
            continue
        chosen = [at[place] for place in SHOWN_THRESHOLDS]
        columns = (
            [f"{100 * found.zeros_s / one.zeros.zeros_s.size:.0f} %" for found in chosen],
            [f"{found.sparsity_s:.2f}" for found in chosen],
            [f"{found.bits:.1f}" for found in chosen],
            [f"{100 * found.changes:.0f} %" for found in chosen],
            [_share(found.precision) for found in chosen],
        )
        rows.append([one.source.task, one.source.name, *(" → ".join(column) for column in columns)])
    if not rows:
        return []
    head = ["task", "data", "Q1: zero in every row", "Q2: sparsity of J_s", "bits", "Q3: changes", "with a constraint"]
    return [
        "## What counts as zero",
        "",
        "Every answer at |J| < 1e-12 in MuJoCo's units (the masks of the store), then at 1e-3 and at 1e-2 with all "
        "variables in units of their standard deviation. *Bits*: entropy of the pattern over the rows, what the local "
        "graph says beyond the global one; at most log2 of the rows, which 10,000 rows with as many patterns have "
        "(13.3). *Changes*: share of the steps; *with a constraint*: share of them at which the set of active "
        "constraints changes too. From a sample of complete episodes.",
        "",
        *markdown.table(head, rows),
        "",
    ]


def one_per_dynamics_and_name(studies: Sequence[Study]) -> list[Study]:
    """Return one study for each kind of dynamics and name of the data.

    Args:
        studies: Of the stores.
    """
    names = dict.fromkeys(one.source.name for one in studies)
    return [one for name in names for one in one_per_dynamics([one for one in studies if one.source.name == name])]


def _share(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "–"


def _threshold_line(studies: Sequence[Study]) -> str:
    parts = []
    for scale in SCALES:
        thresholds = sorted({row.threshold for one in studies for row in one.thresholds if row.scale == scale})
        counts = [
            f"{sum(_same(one, scale, threshold) for one in studies)} at {threshold:.0e}"
            for threshold in thresholds[3::3]
        ]
        parts.append(f"{scale} {', '.join(counts)}")
    return (
        f"- *Thresholds*: of {counted(studies)}, as many have exactly the same zeros in every row of J_s as at "
        f"{min(row.threshold for one in studies for row in one.thresholds):.0e}: {'; '.join(parts)}."
    )


def _same(one: Study, scale: str, threshold: float) -> bool:
    return one.largest.zeros("s", scale, threshold) == int((one.zeros.always_s | one.largest.rounding("s")).sum())


def _graph_line(studies: Sequence[Study]) -> str:
    shares = []
    for one in studies:
        present = sum(int((zeros < one.zeros.rows).sum()) for zeros in (one.zeros.zeros_s, one.zeros.zeros_a))
        local = sum(float((1 - zeros / one.zeros.rows).sum()) for zeros in (one.zeros.zeros_s, one.zeros.zeros_a))
        shares.append(100 * local / present)
    return (
        f"- *Local against global graph*: a row has {min(shares):.0f} to {max(shares):.0f} % (median "
        f"{np.median(shares):.0f} %) of the edges that some row has."
    )


def _dimension_lines(studies: Sequence[Study]) -> list[str]:
    ranks: dict[str, list[float]] = {}
    for one in studies:
        for found in one.spectra:
            if found.matrix == "J_s" and found.mode in ("free", "contact"):
                ranks.setdefault(found.mode, []).append(found.effective_rank / found.singular_values.size)
    words = {"free": "free", "contact": "in contact"}
    parts = [f"{np.median(found):.2f} {words[mode]} ({counted(found)})" for mode, found in ranks.items()]
    return (
        [f"- *Effective dimension*: effective rank of J_s over its size, median: {', '.join(parts)}."] if parts else []
    )


def _horizon_lines(studies: Sequence[Study]) -> list[str]:
    found = [one.horizons for one in studies if len(one.horizons) > 1]
    if not found:
        return []
    first, last = found[0][0].steps, max(rows[-1].steps for rows in found)
    start = np.median([rows[0].structural for rows in found])
    end = np.median([rows[-1].structural for rows in found if rows[-1].steps == last])
    bound = np.median([rows[-1].always for rows in found if rows[-1].steps == last])
    return [
        f"- *Several steps*: share of zeros by structure {start:.3f} after {first} step, {end:.3f} after {last}; zero "
        f"in every window of {last}: {bound:.3f} (medians)."
    ]


def _cell(zeros: Sequence[NDArray[np.bool_]], paper: tuple[int, int]) -> Markdown:
    counts = int(zeros[0].sum()), int(zeros[1].sum())
    return Markdown(f"{counts[0]}, {counts[1]}" + ("" if counts == paper else " **≠**"))


def _span(values: NDArray[np.int64]) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _median(found: Sequence[Comparison], value: Callable[[Comparison], float], digits: int = 3) -> str:
    return f"{np.median([value(one) for one in found]):.{digits}f}"
