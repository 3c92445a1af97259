"""What the tables show about the paper's claims, in words that follow from the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dynamic_sparsity.analysis.comparison import side_by_side
from dynamic_sparsity.analysis.further_findings import (
    beyond_lines,
    change_table,
    comparison_lines,
    counted,
    missing_edges,
    paper_table,
    threshold_table,
)
from dynamic_sparsity.analysis.paper import PAPER_TABLE_1
from dynamic_sparsity.analysis.study import Study
from dynamic_sparsity.analysis.tables import table1
from dynamic_sparsity.untrusted import markdown
from dynamic_sparsity.untrusted.markdown import Markdown, escape

__all__ = ["findings_page"]

CLEAR = 0.9
CAPTIONS = {
    "sparsity_histograms": "Sparsity: share of rows in bins of 0.1, J_s upwards, J_a downwards; dotted: means (paper: "
    "Figure 5).",
    "sparsity_by_mode": "Sparsity of J_s by mode: no contact or limit acts, a limit alone, a contact.",
    "run_durations": "How many control steps entries stay zero and non-zero; dashed: without runs that an episode's "
    "ends cut off; dotted: means by Kaplan and Meier (Figure 7).",
    "graph_sizes": "Edges in some row, in every row, and in one row (mean and range).",
    "thresholds": "Sparsity of J_s, and its share of entries that are zero in all rows, at other thresholds.",
    "horizons": "Zeros of the Jacobian of k steps.",
    "singular_values": "Singular values of J_s by mode, variables in units of their standard deviation.",
}
TASK_CAPTIONS = {
    "zero_share": "share of rows in which each entry is zero (Figure 3)",
    "bodies": "of more than 24 variables, in which share of rows each body influences each other one",
    "embedding": "map of (s, a, s') coloured by mode, with pictures of one sequence (Figure 4)",
    "sparsity_over_time": "sparsity over time with active contacts (orange), limits (green), sticking friction (grey) "
    "(Figure 6)",
}
SIDE_BY_SIDE_CAPTION = "Mean sparsity of J_s, share of steps at which the pattern changes, share of rows in contact."
LINK_WORDS = {"zero_share": "zeros", "bodies": "bodies", "embedding": "map", "sparsity_over_time": "over time"}
FINGERS = ("FingerSpin", "FingerTurnEasy")


def findings_page(studies: Sequence[Study], suffix: str = "png") -> str:
    """Return a page in Markdown: Table 1 beside the paper's, and what is confirmed or not.

    Args:
        studies: Of the stores.
        suffix: Of the figures that it links to.
    """
    lines = [
        "# Results",
        "",
        "Made by `dynamic-sparsity analyze`; [docs/analysis.md](../docs/analysis.md) defines every number and says how "
        "to make it again. Every table is here as CSV and JSON.",
        *_meaning_of_zero(studies),
        "",
        "## Table 1: entries that are zero in every row",
        "",
        *paper_table(studies),
        "All stores. ds counts tangent coordinates. *contact*, *limit*: share of the rows in which a contact acts; in "
        "which none does, but a joint's or tendon's limit.",
        "",
    ]
    names = [one.source.name for one in studies]
    rows: list[list[object]] = []
    for name, row in zip(names, table1(studies), strict=True):
        paper = ("–", "–") if row["paper_zeros_J_s"] is None else (row["paper_zeros_J_s"], row["paper_zeros_J_a"])
        contact, limit = (
            f"{100 * row[key] / row['rows']:.1f} %" for key in ("rows_with_contact", "rows_with_limit_only")
        )
        zeros = f"{row['zeros_J_s']} ({100 * row['share_J_s']:.2f} %)"
        cells = [row["task"], name, f"{row['rows']:,}", contact, limit, row["ds"], row["da"], zeros]
        rows.append([*cells, row["zeros_J_a"], *paper])
    head = ["task", "data", "rows", "contact", "limit", "ds", "da", "zeros in J_s", "in J_a", "paper: J_s", "J_a"]
    lines += markdown.table(head, rows)
    lines += ["", "## The paper's claims", ""]
    for name in dict.fromkeys(names):
        lines += _claims([one for one in studies if one.source.name == name], name, studies)
    lines += [*comparison_lines(studies), *change_table(studies), *threshold_table(studies)]
    lines += _figures(studies, suffix)
    return "\n".join(lines) + "\n"


def _figures(studies: Sequence[Study], suffix: str) -> list[str]:
    names = list(dict.fromkeys(one.source.name for one in studies))
    lines = ["## Figures", "", "Of all dynamics; of tasks that share theirs, one is drawn:", ""]
    for figure, caption in CAPTIONS.items():
        lines.append(f"- {', '.join(markdown.link(name, f'{name}/{figure}.{suffix}') for name in names)}: {caption}")
    if side_by_side(studies):
        lines.append(f"- [data of one task side by side](side_by_side.{suffix}): {SIDE_BY_SIDE_CAPTION}")
    lines += [
        "",
        f"Of one task: {'; '.join(f'*{LINK_WORDS[name]}*, {caption}' for name, caption in TASK_CAPTIONS.items())}.",
        "",
    ]
    found = {(one.source.task, one.source.name): one for one in studies}
    tasks = dict.fromkeys(one.source.task for one in studies)
    rows = ([task, *(_links(found.get((task, name)), suffix) for name in names)] for task in tasks)
    return [*lines, *markdown.table(["task", *names], rows)]


def _links(one: Study | None, suffix: str) -> Markdown:
    if one is None:
        return Markdown("–")
    missing = {"embedding": one.embedding is None, "bodies": one.bodies is None}
    figures = [name for name in TASK_CAPTIONS if not missing.get(name)]
    folder = f"{one.source.name}/{one.source.task}"
    return Markdown(", ".join(markdown.link(LINK_WORDS[name], f"{folder}/{name}.{suffix}") for name in figures))


def _meaning_of_zero(studies: Sequence[Study]) -> list[str]:
    """Return a line on what counts as zero, if that is not what the stores say."""
    units = {
        "absolute": "in MuJoCo's units",
        "relative": "times the row's largest",
        "dimensionless": "with all variables in units of their standard deviation",
    }
    chosen = dict.fromkeys(
        (one.source.metadata["mask_scale"], one.source.metadata["mask_threshold"]) for one in studies
    )
    words = [f"|J| < {at:g} {units[scale]}" for scale, at in chosen if scale in units]
    return ["", f"An entry counts as zero where {'; or '.join(words)}, by the stored Jacobians."] if words else []


def _claims(studies: Sequence[Study], name: str, everything: Sequence[Study]) -> list[str]:
    return [
        f"With **{escape(name)}** data ({counted(studies)}):",
        "",
        *_table1(studies, everything),
        *_state(studies),
        *_time(studies),
        *beyond_lines(studies),
        "",
    ]


def _table1(studies: Sequence[Study], everything: Sequence[Study]) -> list[str]:
    by_task = {one.source.task: one for one in studies}
    rows = [row for row in table1(studies) if row["task"] in PAPER_TABLE_1]
    same = [row["task"] for row in rows if row["as_in_paper"]]
    if not rows:
        return []
    lines = [f"- *Global zeros* (Table 1): as in the paper for {len(same)} of {len(rows)} of its tasks here."]
    for row in rows:
        if not row["as_in_paper"]:
            lines.append(
                f"  - {escape(row['task'])}: {row['zeros_J_s']} and {row['zeros_J_a']} here, "
                f"{row['paper_zeros_J_s']} and {row['paper_zeros_J_a']} there; a contact acts in "
                f"{row['rows_with_contact']:,} of {row['rows']:,} rows, a limit alone in "
                f"{row['rows_with_limit_only']:,}. The count is an upper bound: states that "
                f"these rows do not visit can only lower it. {missing_edges(by_task[row['task']], everything)}".rstrip()
            )
    return lines


def _state(studies: Sequence[Study]) -> list[str]:
    lines = []
    for one in studies:
        if one.source.task in FINGERS:
            parts = []
            for mode, words in (("free", "free"), ("limit", "at a limit"), ("contact", "in contact")):
                levels = one.sparsity.levels("s", mode)
                if levels:
                    parts.append(f"{words} {', '.join(f'{level:.3f}' for level in levels)}")
            lines.append(f"- *{escape(one.source.task)}*: sparsity of J_s {'; '.join(parts)}.")
    several = [one for one in studies if one.patterns.patterns > 1]
    explained = np.array([one.patterns.entropies["explained"] for one in several])
    if several:
        few = sum(one.patterns.covering <= 10 for one in studies)
        lines += [
            f"- *Few recurring patterns*: at most 10 make up 99 % of the rows in {few} of {counted(studies)}; the "
            f"most are {max(one.patterns.covering for one in studies):,}.",
            f"- *The state decides through contacts and limits*: of the pattern's entropy the set of active "
            f"constraints explains {100 * explained.min():.1f} to {100 * explained.max():.1f} % (median "
            f"{100 * np.median(explained):.1f} %), where the pattern varies ({counted(several)}).",
        ]
    return lines


def _time(studies: Sequence[Study]) -> list[str]:
    lines = []
    for one in studies:
        if one.source.task == "ReacherHard":
            lines.append(
                f"- *ReacherHard never switches*: {one.changes.patterns} changes in {one.changes.steps:,} steps."
            )
    changing = [one for one in studies if one.changes.patterns]
    if changing:
        shares = np.array([one.changes.patterns / one.changes.steps for one in changing])
        precision = [one.changes.precision("constraint") for one in changing]
        recall = [one.changes.recall("constraint") for one in changing]
        lines += [
            f"- *Changes in time*: the pattern changes at {100 * shares.min():.1f} to {100 * shares.max():.1f} % of "
            f"the steps (median {100 * np.median(shares):.1f} %), where it changes at all ({counted(changing)}).",
            f"- *Changes are changes of contact*: precision {_range(precision)}, recall {_range(recall)}, at the very "
            "same step.",
        ]
        for one in changing:
            if one.changes.precision("constraint") < CLEAR:
                found, entries = one.changes, one.changes.changed_entries / one.changes.patterns
                lines.append(
                    f"  - not in {escape(one.source.task)}: precision {found.precision('constraint'):.2f}; "
                    f"{found.patterns:,} changes of {entries:.1f} entries on average, "
                    "no entry that switches exceeds "
                    f"{one.largest.absolute_s[one.runs.switches_s > 0].max(initial=0):.2g} in any row"
                )
    resets = [one for one in studies if one.changes.after_reset]
    if resets:
        lines.append(
            "- *Set apart*: from an episode's first row to its second the pattern changes in "
            f"{sum(one.changes.after_reset for one in resets):,} episodes of {counted(resets)}, as velocities are zero "
            "after a reset. These changes do not count."
        )
    return lines


def _range(values: Sequence[float]) -> str:
    """Return smallest, largest and median of those that exist: a task without any event has no recall."""
    found = [value for value in values if math.isfinite(value)]
    return f"{min(found):.2f} to {max(found):.2f} (median {np.median(found):.2f})" if found else "–"
