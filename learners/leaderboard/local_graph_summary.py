"""The first part of LEADERBOARD.md: local graphs, a table per track, means over tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dynamic_sparsity.learners.leaderboard.benchmark_pages import (
    in_order,
    is_shown,
    mean_over_tasks,
    spread_at,
    tasks_of,
    titled,
    tracks_of,
)
from dynamic_sparsity.learners.leaderboard.benchmark_rows import BenchmarkRow
from dynamic_sparsity.untrusted import markdown
from dynamic_sparsity.untrusted.markdown import escape

__all__ = ["local_graph_summary"]

_COLUMNS = {
    "local_graph_skill": "skill (↑)",
    "when_skill": "when-skill (↑)",
    "beyond_contact": "beyond contact (↑)",
    "gap_closed": "gap closed (↑)",
}

_INTRODUCTION = (
    "What depends on what, here and now, under the truth T2: an edge is a dimensionless derivative of at least 0.01.\n"
    "*Skill* is 0 for the best graph that never looks at the state, and 1 for the truth; *when-skill* is 0 for what "
    "never looks at the state, *beyond contact* is 0.5 for what sees only which contacts and limits act; *gap closed* "
    "is 1 for the lookup by the true active set.\n"
    "Interquartile means over *tasks*, or over fewer, as in (3), where not all have the number; in brackets, of four "
    "tasks or more, the 95 % interval over tasks, seeds and episodes.\n"
    "Means over different tasks do not compare: where their numbers differ, read the tables by task; learners "
    "with fewer tasks stand below.\n"
    "*Error* is the normalised error of the next state by that of `mlp-none`, geometric mean over tasks.\n"
    "Learners are ranked among those that were taught with the same; what has a word behind its name, as (reference), "
    "is no contestant there."
)


def local_graph_summary(rows: Sequence[BenchmarkRow], folder: str) -> list[str]:
    """Return the lines of this part of the page.

    Args:
        rows: Of the benchmark, of all tracks.
        folder: Path from the page to the folder of the pages by track; "" if they are beside it.
    """
    lines = ["## Local graphs", "", _INTRODUCTION, ""]
    for track in tracks_of(rows):
        page = markdown.link("tables by task", f"{folder}/{track}.md" if folder else f"{track}.md")
        lines += [f"### Taught with {escape(track)}: {page}", ""]
        data = {(row.protocol, row.policy) for row in rows if row.track == track}
        for protocol, policy in sorted(data, key=lambda pair: (pair[0], pair[1] != "noise", pair[1])):
            some = [row for row in rows if (row.protocol, row.policy, row.truth) == (protocol, policy, "T2")]
            some = [row for row in some if is_shown(row, track)]
            tasks = tasks_of(some)
            named = f"{len(tasks)} {'task' if len(tasks) == 1 else 'tasks'} ({', '.join(tasks)})"
            lines += [f"Protocol {escape(protocol)}, trained on {escape(policy)}, {escape(named)}:", ""]
            lines += [*_table(some, policy, track), ""]
    return lines


def _table(rows: Sequence[BenchmarkRow], policy: str, track: str) -> list[str]:
    others = sorted({row.test_policy for row in rows} - {policy})
    lines = []
    for name in in_order(rows, policy):
        mine = [row for row in rows if row.learner == name]
        here = [row for row in mine if row.test_policy == policy]
        tasks = len(tasks_of(here))
        cells = [titled(name, mine, track), str(tasks)]
        cells += [_mean(here, column, tasks) for column in _COLUMNS]
        cells.append(_error(here, rows, policy, tasks))
        elsewhere = [[row for row in mine if row.test_policy == other] for other in others]
        lines.append([*cells, *(_mean(some, "local_graph_skill", tasks) for some in elsewhere)])
    heads = [
        "learner",
        "tasks",
        *_COLUMNS.values(),
        "error (↓)",
        *(f"skill, judged on {other} (↑)" for other in others),
    ]
    return markdown.table(heads, lines, ["---", *["---:"] * (len(heads) - 1)])


def _mean(rows: Sequence[BenchmarkRow], column: str, tasks: int) -> str:
    mean = mean_over_tasks(rows, column)
    return "–" if mean is None else mean.text() + _fewer(mean.count, tasks)


def _fewer(count: int, tasks: int) -> str:
    return "" if count == tasks else f" ({count})"


def _error(rows: Sequence[BenchmarkRow], all_rows: Sequence[BenchmarkRow], policy: str, tasks: int) -> str:
    ratios = []
    for task in tasks_of(rows):
        ours = spread_at([row for row in rows if row.dynamics == task], "nmse")
        base = [row for row in all_rows if (row.learner, row.dynamics, row.test_policy) == ("mlp-none", task, policy)]
        theirs = spread_at(base, "nmse")
        if ours and theirs and ours.mean > 0 and theirs.mean > 0:
            ratios.append(ours.mean / theirs.mean)
    return f"{np.exp(np.mean(np.log(ratios))):.3g}" + _fewer(len(ratios), tasks) if ratios else "–"
