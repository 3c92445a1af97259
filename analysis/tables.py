"""Tables of many stores: one row per store, or several, as plain dictionaries; written as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dynamic_sparsity.analysis.changes import EVENTS
from dynamic_sparsity.analysis.comparison import Comparison
from dynamic_sparsity.analysis.paper import PAPER_TABLE_1
from dynamic_sparsity.analysis.runs import ENDS, MATRICES, VALUES
from dynamic_sparsity.analysis.sparsity import MODES
from dynamic_sparsity.analysis.study import Study
from dynamic_sparsity.storage.atomic import publish
from dynamic_sparsity.untrusted.text import one_line

__all__ = ["TABLES", "comparison_rows", "entry_rows", "table1", "write_table"]

Row = dict[str, Any]
ACTIVE_SHARE = 0.005  # constraints that act in a smaller share of a pattern's rows are not listed


def table1(studies: Sequence[Study]) -> list[Row]:
    """List the numbers of entries that are zero in every row, beside the paper's Table 1 (Q1).

    Args:
        studies: One row each.
    """
    rows = []
    for one in studies:
        sizes, paper = one.source.metadata["sizes"], PAPER_TABLE_1.get(one.source.task)
        zeros_s, zeros_a = int(one.zeros.always_s.sum()), int(one.zeros.always_a.sum())
        modes = one.sparsity.counts_s.sum(axis=1)
        rows.append(
            _key(one)
            | {
                "rows": one.source.rows,
                "ds": sizes["dx"],
                "da": sizes["da"],
                "zeros_J_s": zeros_s,
                "zeros_J_a": zeros_a,
                "paper_zeros_J_s": None if paper is None else paper.zeros_s,
                "paper_zeros_J_a": None if paper is None else paper.zeros_a,
                "as_in_paper": None if paper is None else (zeros_s, zeros_a) == (paper.zeros_s, paper.zeros_a),
                "share_J_s": zeros_s / sizes["dx"] ** 2,
                "rounding_J_s": int((~one.zeros.always_s & one.largest.rounding("s")).sum()),
                "rows_with_contact": int(modes[2]),
                "rows_with_limit_only": int(modes[1]),
                "mean_return": one.source.mean_return,
            }
        )
    return rows


def sparsity_rows(studies: Sequence[Study]) -> list[Row]:
    """List the mean sparsity and the number of levels, over all rows and by mode (Q2).

    Args:
        studies: Of the stores.
    """
    rows = []
    for one in studies:
        for matrix, which in zip(MATRICES, ("s", "a"), strict=True):
            for mode in (None, *MODES):
                levels = one.sparsity.levels(which, mode)
                if levels:
                    ranked = sorted(levels.items(), key=lambda level: -level[1])
                    row = {"matrix": matrix, "mode": mode or "all", "rows": sum(levels.values())}
                    row |= {"mean_sparsity": one.sparsity.mean(which, mode), "levels": len(levels)}
                    row["most_frequent"] = "; ".join(f"{level:.4f} ({count})" for level, count in ranked[:5])
                    rows.append(_key(one) | row)
    return rows


def pattern_rows(studies: Sequence[Study]) -> list[Row]:
    """List how many distinct patterns there are, and how much of them the active set explains (Q2).

    Args:
        studies: One row each.
    """
    rows = []
    for one in studies:
        found = one.patterns
        row = {"rows": one.source.rows, "patterns": found.patterns, "patterns_for_99_percent": found.covering}
        row |= {"active_sets": found.active_sets, "pairs": found.pairs}
        entropies = {f"bits_{name}": bits for name, bits in found.entropies.items() if name != "explained"}
        rows.append(_key(one) | row | entropies | {"explained_by_active_set": found.entropies["explained"]})
    return rows


def top_pattern_rows(studies: Sequence[Study]) -> list[Row]:
    """List the most frequent patterns and the constraints that act in them (Q2).

    Args:
        studies: Of the stores.
    """
    rows = []
    for one in studies:
        for rank, pattern in enumerate(one.patterns.top, start=1):
            active = sorted(zip(pattern.active, one.constraint_names, strict=True), reverse=True)
            listed = "; ".join(f"{name} ({share:.2f})" for share, name in active if share >= ACTIVE_SHARE)
            row = {name: asdict(pattern)[name] for name in ("rows", "share", "zeros_s", "zeros_a", "sparsity")}
            rows.append(_key(one) | {"rank": rank} | row | {"active_sets": pattern.active_sets, "active": listed})
    return rows


def run_rows(studies: Sequence[Study]) -> list[Row]:
    """List durations of runs of zero and of non-zero, in control steps (Q3).

    Args:
        studies: Of the stores.
    """
    rows = []
    for one in studies:
        for matrix in (*MATRICES, "both"):
            for value in VALUES:
                ends = dict(zip(ENDS, one.runs.total(matrix, value).sum(axis=1).tolist(), strict=True))
                constant = one.runs.constant[:, VALUES.index(value)]
                row = {"matrix": matrix, "value": value, "runs": sum(ends.values()), **ends}
                row["mean_as_seen"] = one.runs.mean(matrix, value)
                row["mean_complete"] = one.runs.mean(matrix, value, cut=False)
                row["mean_kaplan_meier"] = one.runs.survival_mean(matrix, value)
                row["never_switch"] = int(constant.sum() if matrix == "both" else constant[MATRICES.index(matrix)])
                rows.append(_key(one) | {"control_dt": one.source.metadata["control_dt"]} | row)
    return rows


def change_rows(studies: Sequence[Study]) -> list[Row]:
    """List the coincidence of the pattern's changes with changes of the active constraints (Q3).

    Args:
        studies: Of the stores.
    """
    rows = []
    for one in studies:
        found = one.changes
        for number, event in enumerate(EVENTS):
            row = {"event": event, "steps": found.steps, "pattern_changes": found.patterns}
            row |= {"changes_after_reset": found.after_reset}
            row |= {"changed_entries": found.changed_entries, "event_changes": int(found.events[number])}
            row |= {"together": int(found.together[number]), "within_one_step": int(found.near[number])}
            row |= {"precision": found.precision(event), "recall": found.recall(event)}
            row |= {"base_rate": found.base_rate(event), "mean_lag": found.mean_lag(event)}
            rows.append(_key(one) | row)
    return rows


def threshold_rows(studies: Sequence[Study]) -> list[Row]:
    """List every number at other thresholds (beyond the paper).

    Args:
        studies: Of the stores.
    """
    rows = []
    for one in studies:
        for found in one.thresholds:
            # Of all rows, not of the sample only.
            zeros = {
                f"all_rows_zeros_{which}": one.largest.zeros(which, found.scale, found.threshold)
                for which in ("s", "a")
            }
            rows.append(_key(one) | asdict(found) | zeros)
    return rows


def graph_rows(studies: Sequence[Study]) -> list[Row]:
    """List edges of the global graph, present in any row, against those of the local one (beyond the paper).

    Args:
        studies: Of the stores.
    """
    rows = []
    for one in studies:
        for matrix, zeros, which in (("J_s", one.zeros.zeros_s, "s"), ("J_a", one.zeros.zeros_a, "a")):
            global_edges, local = int((zeros < one.zeros.rows).sum()), float((1 - zeros / one.zeros.rows).sum())
            always = int((zeros == 0).sum())
            row = {"matrix": matrix, "entries": zeros.size, "global_edges": global_edges, "mean_local_edges": local}
            row |= {"edges_in_every_row": always, "local_share": local / global_edges if global_edges else math.nan}
            levels = one.sparsity.levels(which)
            row["smallest_local_edges"] = round((1 - max(levels)) * zeros.size)
            row["largest_local_edges"] = round((1 - min(levels)) * zeros.size)
            rows.append(_key(one) | row)
    return rows


def dimension_rows(studies: Sequence[Study]) -> list[Row]:
    """List effective dimensions by singular values (beyond the paper).

    Args:
        studies: Of the stores.
    """
    names = ("matrix", "mode", "rows", "effective_rank", "rank")
    return [
        _key(one)
        | {name: getattr(found, name) for name in names}
        | {"full_rank": found.singular_values.size, "largest": float(found.singular_values[0])}
        for one in studies
        for found in one.spectra
    ]


def horizon_rows(studies: Sequence[Study]) -> list[Row]:
    """List zeros of Jacobians over several steps (beyond the paper).

    Args:
        studies: Of the stores.
    """
    return [_key(one) | asdict(found) for one in studies for found in one.horizons]


def comparison_rows(comparisons: Sequence[Comparison]) -> list[Row]:
    """List two stores of a task side by side (beyond the paper).

    Args:
        comparisons: One row each.
    """
    return [asdict(one) for one in comparisons]


def entry_rows(one: Study) -> list[Row]:
    """List every entry of one store: how often it is zero, how often it switches, how long its complete runs are.

    Args:
        one: A study.
    """
    rows = []
    means = np.divide(
        one.runs.complete_steps,
        one.runs.complete_runs,
        out=np.full(one.runs.complete_runs.shape, np.nan),
        where=one.runs.complete_runs > 0,
    )
    offset = 0
    for matrix, zeros, switches, causes in (
        ("J_s", one.zeros.zeros_s, one.runs.switches_s, one.state_names),
        ("J_a", one.zeros.zeros_a, one.runs.switches_a, one.action_names),
    ):
        for number, (effect, cause) in enumerate(np.ndindex(zeros.shape)):
            row: Row = {"matrix": matrix, "effect": one.state_names[effect], "cause": causes[cause]}
            row |= {"zero_share": zeros[effect, cause] / one.zeros.rows, "switches": int(switches[effect, cause])}
            row |= {f"mean_{value}_run": means[offset + number, place] for place, value in enumerate(VALUES)}
            rows.append(row)
        offset += zeros.size
    return rows


TABLES: dict[str, Callable[[Sequence[Study]], list[Row]]] = {
    "table1": table1,
    "sparsity": sparsity_rows,
    "patterns": pattern_rows,
    "top_patterns": top_pattern_rows,
    "runs": run_rows,
    "changes": change_rows,
    "thresholds": threshold_rows,
    "graph_size": graph_rows,
    "effective_dimension": dimension_rows,
    "horizons": horizon_rows,
}
"""The tables over all stores, by name."""


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Write a table as CSV and as JSON; what is not there (None, NaN) is empty, or null.

    Args:
        rows: With the same keys, in the same order.
        path: Without suffix.
    """
    clean = [{name: _clean(value) for name, value in row.items()} for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(clean[0]) if clean else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(clean)
    publish(path.with_name(path.name + ".csv"), [text.getvalue().encode()])
    publish(path.with_name(path.name + ".json"), [(json.dumps(clean, indent=0) + "\n").encode()])


def _key(one: Study) -> Row:
    return {"task": one.source.task, "policy": one.source.policy, "dynamics": one.source.dynamics}


def _clean(value: Any) -> Any:
    """Round to six digits: more than any of these numbers is good for."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
