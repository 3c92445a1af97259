"""The pages of the benchmark, one table per measure, learners of one track and the references side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dynamic_sparsity.learners.leaderboard.benchmark_rows import REFERENCES, TRACKS, BenchmarkRow
from dynamic_sparsity.untrusted import markdown
from dynamic_sparsity.untrusted.markdown import escape

__all__ = ["MEASURES", "benchmark_page", "interquartile_mean", "tracks_of"]

MEASURES = (
    ("local_graph_skill", "T2", "Local-graph skill at T2: the headline", "↑, 0 for the best static graph"),
    ("local_graph_skill", "T0", "Local-graph skill at T0: mode detection", "↑, 0 for the best static graph"),
    ("when_skill", "T2", "When-skill at T2", "↑, 0 for what does not look at the state"),
    ("beyond_contact", "T2", "Beyond contact at T2", "↑, 0.5 for what knows only what acts"),
    ("gap_closed", "T2", "Gap closed at T2", "↑, 1 for the lookup by the true active set"),
    ("jacobian_error", "T2", "Error of the Jacobian, mean over modes", "↓"),
    ("nmse", "T2", "Normalised error of the next state", "↓"),
    ("irrelevance", "T2", "Reaction to causes that are exchanged without effect, σ", "↓"),
)

BASELINES = ("hold", "ridge", "mlp-none", "active-set-lookup-predicted", "nearest-neighbour")
"""On the page of every track, whatever they are taught with."""


def tracks_of(rows: Sequence[BenchmarkRow]) -> list[str]:
    """Return the tracks that have contestants.

    Args:
        rows: Of the benchmark.
    """
    return [track for track in TRACKS if track != "reference" and any(row.track == track for row in rows)]


def benchmark_page(rows: Sequence[BenchmarkRow], track: str) -> str:
    """Return the page of one track, Markdown.

    Args:
        rows: Of the benchmark, of all tracks.
        track: One of `TRACKS`.
    """
    lines = [f"# Local causal graphs: learners taught with {escape(track)}", "", _INTRODUCTION]
    for protocol, policy in sorted({(row.protocol, row.policy) for row in rows}):
        some = [row for row in rows if row.protocol == protocol and row.policy == policy and _shown(row, track)]
        for test_policy in sorted({row.test_policy for row in some}, key=lambda name: (name != policy, name)):
            part = [row for row in some if row.test_policy == test_policy]
            lines += [
                "",
                f"## Protocol {escape(protocol)}: trained on {escape(policy)}, judged on {escape(test_policy)}",
            ]
            for column, truth, title, meaning in MEASURES:
                chosen = [row for row in part if row.truth == truth]
                if all(getattr(row, column) is None for row in chosen) and column == "irrelevance":
                    continue  # No simulator was at hand.
                lines += ["", f"### {title} ({meaning})", "", *_table(chosen, column)]
            lines += ["", *_data(part)]
    return "\n".join(lines) + "\n"


_INTRODUCTION = (
    "Written by `dynamic-sparsity leaderboard`; docs/benchmark.md defines every number.\n"
    "Means over seeds, ± the sample standard deviation over them where there are several; in brackets the 95 % "
    "interval over episodes of the judged data, mean over seeds of its bounds.\n"
    "The last column is the interquartile mean over tasks.\n"
    "A reference is no contestant: it knows nothing, one static graph, or what acts in each row."
)


def interquartile_mean(values: Sequence[float]) -> float:
    """Return the mean of the middle half of values, whole values only; of fewer than four, the mean.

    Source: Agarwal et al. (2021), Deep reinforcement learning at the edge of the statistical precipice.

    Args:
        values: At least one.
    """
    cut = len(values) // 4
    return float(np.mean(np.sort(np.asarray(values, np.float64))[cut : len(values) - cut]))


def _shown(row: BenchmarkRow, track: str) -> bool:
    return row.track in (track, "reference") or row.learner in BASELINES


def _table(rows: Sequence[BenchmarkRow], column: str) -> list[str]:
    tasks = sorted({row.dynamics for row in rows})
    lines = []
    for name in _order(rows):
        mine = [row for row in rows if row.learner == name]
        cells, means = [], []
        for task in tasks:
            values = [value for row in mine if row.dynamics == task and (value := getattr(row, column)) is not None]
            cells.append(_cell([row for row in mine if row.dynamics == task], values, column))
            means += [float(np.mean(values))] if values else []
        many = f"{interquartile_mean(means):.3g} of {len(means)}" if means else "–"
        lines.append([f"{name} (reference)" if mine[0].track == "reference" else name, *cells, many])
    return markdown.table(["learner", *tasks, "IQM"], lines, ["---", *["---:"] * (len(tasks) + 1)])


def _cell(rows: Sequence[BenchmarkRow], values: Sequence[float], column: str) -> str:
    if not values:
        return "–"
    text = f"{np.mean(values):.3g}"
    if len(values) > 1:
        text += f" ± {np.std(values, ddof=1):.2g}"
    lows = [low for row in rows if (low := getattr(row, f"{column}_low", None)) is not None]
    highs = [high for row in rows if (high := getattr(row, f"{column}_high", None)) is not None]
    return f"{text} [{np.mean(lows):.2g}, {np.mean(highs):.2g}]" if lows and highs else text


def _order(rows: Sequence[BenchmarkRow]) -> list[str]:
    """Return names: references in their order, baselines, then contestants."""
    first = (*REFERENCES, *BASELINES)
    names = sorted({row.learner for row in rows})
    return sorted(names, key=lambda name: first.index(name) if name in first else len(first))


def _data(rows: Sequence[BenchmarkRow]) -> list[str]:
    """Return which data these are, by the hash of their settings, and how many clusters and episodes were judged."""
    lines = []
    for task in sorted({row.dynamics for row in rows}):
        some = [row for row in rows if row.dynamics == task]
        clusters = {truth: max(row.clusters for row in some if row.truth == truth) for truth in {r.truth for r in some}}
        named = ", ".join(f"{truth}: {clusters[truth]}" for truth in sorted(clusters))
        digest = ", ".join(sorted({row.test_sha256[:12] for row in some}))
        lines.append([task, str(len({row.seed for row in some})), str(some[0].episodes), named, digest])
    heads = ["task", "seeds", "episodes judged", "clusters", "data"]
    return markdown.table(heads, lines, ["---", "---:", "---:", "---", "---"])
