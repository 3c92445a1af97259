"""The pages of the benchmark, one table per measure, learners of one track and the references side by side."""

from __future__ import annotations

from collections.abc import Sequence

from dynamic_sparsity.learners.leaderboard.benchmark_rows import BASELINES, REFERENCES, TRACKS, BenchmarkRow
from dynamic_sparsity.learners.leaderboard.spreads import Spread, over_tasks, spread_of
from dynamic_sparsity.untrusted import markdown
from dynamic_sparsity.untrusted.markdown import escape

__all__ = [
    "MEASURES",
    "benchmark_page",
    "in_order",
    "is_shown",
    "mean_over_tasks",
    "spread_at",
    "tasks_of",
    "titled",
    "tracks_of",
]

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
        some = [row for row in rows if row.protocol == protocol and row.policy == policy and is_shown(row, track)]
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
                lines += ["", f"### {title} ({meaning})", "", *_table(chosen, column, track)]
            lines += ["", *_data(part)]
    return "\n".join(lines) + "\n"


_INTRODUCTION = (
    "Written by `dynamic-sparsity leaderboard`; docs/benchmark.md defines every number.\n"
    "Means over seeds, ± the sample standard deviation over them where there are several; in brackets the 95 % "
    "interval over seeds and episodes of the judged data together.\n"
    "The last column is the interquartile mean over tasks, and of how many; of four or more with the 95 % interval "
    "over tasks, seeds and episodes.\n"
    "A reference is no contestant: it knows nothing, one static graph, or what acts in each row; nor is a learner with "
    "another track behind its name, which was taught with more, or less."
)


def is_shown(row: BenchmarkRow, track: str) -> bool:
    """Return whether a row stands on the page of a track: its own, references and baselines.

    Args:
        row: Of the benchmark.
        track: Of the page.
    """
    return row.track in (track, "reference") or row.learner in BASELINES


def _table(rows: Sequence[BenchmarkRow], column: str, track: str) -> list[str]:
    tasks = tasks_of(rows)
    lines = []
    for name in in_order(rows):
        mine = [row for row in rows if row.learner == name]
        found = [spread_at([row for row in mine if row.dynamics == task], column) for task in tasks]
        mean = over_tasks([one for one in found if one is not None])
        cells = ["–" if one is None else one.text() for one in found]
        many = "–" if mean is None else f"{mean.text()} of {mean.count}"
        lines.append([titled(name, mine, track), *cells, many])
    return markdown.table(["learner", *tasks, "IQM"], lines, ["---", *["---:"] * (len(tasks) + 1)])


def titled(name: str, rows: Sequence[BenchmarkRow], track: str) -> str:
    """Return a learner's name for the page of a track: with its own track, where that is another.

    Args:
        name: The learner.
        rows: Its rows, at least one.
        track: Of the page.
    """
    return name if rows[0].track == track else f"{name} ({rows[0].track})"


def spread_at(rows: Sequence[BenchmarkRow], column: str) -> Spread | None:
    """Return the mean over seeds of a number, and how sure it is.

    Args:
        rows: Of one learner, task, policies and truth.
        column: Of `BenchmarkRow`.

    Returns:
        None where no row has it.
    """
    chosen = [row for row in rows if getattr(row, column) is not None]
    lows = [low for row in chosen if (low := getattr(row, f"{column}_low", None)) is not None]
    highs = [high for row in chosen if (high := getattr(row, f"{column}_high", None)) is not None]
    return spread_of([getattr(row, column) for row in chosen], lows, highs)


def in_order(rows: Sequence[BenchmarkRow], policy: str | None = None) -> list[str]:
    """Return learners' names: references, baselines, then contestants.

    Args:
        rows: Of one track, with references and baselines.
        policy: Contestants are sorted by their skill on data of it, best first, those with fewer tasks below; None: by
            name.
    """
    first = (*REFERENCES, *BASELINES)

    def place(name: str) -> tuple[int, int, float]:
        if name in first:
            return first.index(name), 0, 0.0
        mine = [row for row in rows if row.learner == name and row.test_policy == policy]
        mean = mean_over_tasks(mine, "local_graph_skill")
        return (len(first), 0, 0.0) if mean is None else (len(first), -mean.count, -mean.mean)

    return sorted(sorted({row.learner for row in rows}), key=place)


def mean_over_tasks(rows: Sequence[BenchmarkRow], column: str) -> Spread | None:
    """Return the mean over tasks of the mean over seeds of a number.

    Args:
        rows: Of one learner, policies and truth.
        column: Of `BenchmarkRow`.

    Returns:
        None where no row has it.
    """
    found = [spread_at([row for row in rows if row.dynamics == task], column) for task in tasks_of(rows)]
    return over_tasks([one for one in found if one is not None])


def tasks_of(rows: Sequence[BenchmarkRow]) -> list[str]:
    """Return the tasks of rows, sorted.

    Args:
        rows: Some.
    """
    return sorted({row.dynamics for row in rows})


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
