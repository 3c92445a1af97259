"""Checking an entry before it is handed in: is the result whole, and can its numbers be?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dynamic_sparsity.errors import CorruptResultError
from dynamic_sparsity.learners.budgets import BUDGETS, budget_from
from dynamic_sparsity.learners.leaderboard.benchmark_rows import BenchmarkRow, benchmark_rows
from dynamic_sparsity.learners.measures import TRUTHS
from dynamic_sparsity.learners.runs.result_files import has_own_threshold, read_result

__all__ = ["EPISODES_MIN", "SHIFTED_MAX", "check_entry"]

EPISODES_MIN = 50
"""Fewer judged episodes give intervals that are too narrow."""

SHIFTED_MAX = 0.2
"""Scores of another episode that are better than this at telling when an edge is there cannot be."""

_RANGES = {
    "local_graph_skill": (float("-inf"), 1.0),
    "when_skill": (-1.0, 1.0),
    "beyond_contact": (0.0, 1.0),
    "false_edges": (0.0, 1.0),
    "misses": (0.0, 1.0),
    "coverage": (0.0, 1.0),
    "jacobian_error": (0.0, float("inf")),
    "nmse": (0.0, float("inf")),
}


def check_entry(path: Path) -> tuple[dict[str, Any], list[str], list[str]]:
    """Check a result's file.

    Args:
        path: That `evaluate --out` or `train-learner` wrote.

    Returns:
        The document; what is wrong, so that it can't be entered; and what a reader should know.

    Raises:
        CorruptResultError: It is no result of this format, or damaged.
    """
    document = read_result(path)
    if document is None:
        raise CorruptResultError(f"{path} is no result; `dynamic-sparsity evaluate --help` says how to write one")
    rows = benchmark_rows([document])
    return document, list(_wrong(document, rows, path)), list(_worth_knowing(document, rows))


def _wrong(document: dict[str, Any], rows: list[BenchmarkRow], path: Path) -> Iterator[str]:
    missing = [name for name in TRUTHS if name not in {row.truth for row in rows}]
    if missing:
        yield f"it has no local graphs under {', '.join(missing)}: give the model `edge_score` or `jacobian`"
    budget = budget_from(document["protocol"], "protocol")
    if BUDGETS.get(budget.name) != budget:
        yield f"its protocol {budget.name!r} is not the one of this name; legal are {', '.join(BUDGETS)}"
    for row in rows:
        for name, (low, high) in _RANGES.items():
            value = getattr(row, name)
            if value is not None and not low - 1e-9 <= value <= high + 1e-9:
                yield f"{name} at {row.truth} is {value}; it must be within [{low:g}, {high:g}]"
            bounds = getattr(row, f"{name}_low", None), getattr(row, f"{name}_high", None)
            if None not in bounds and bounds[0] > bounds[1]:  # type: ignore[operator]
                yield f"the interval of {name} at {row.truth} is {bounds}, upside down"
    if not has_own_threshold(document):
        yield "its threshold was chosen on other data than those of its training"
    end = f"{document['learner']}-{document['loss']}-{document['seed']}"
    if not path.stem.startswith(end):
        yield f"the file is called {path.name}; a result of this learner, loss and seed begins with {end}"


def _worth_knowing(document: dict[str, Any], rows: list[BenchmarkRow]) -> Iterator[str]:
    for row in rows:
        shifted = row.when_skill_shifted
        if shifted is not None and abs(shifted) > SHIFTED_MAX:
            yield f"scores of another episode have a when-skill of {shifted:.2f} at {row.truth}; it should be about 0"
    if rows and rows[0].episodes < EPISODES_MIN:
        yield f"{rows[0].episodes} episodes were judged; intervals need at least {EPISODES_MIN}"
    if rows and rows[0].policy != rows[0].test_policy:
        yield f"it was trained on data of {rows[0].policy}, and judged on those of {rows[0].test_policy}"
    reference = (document["result"].get("truths") or {}).get("reference")
    about = reference if isinstance(reference, dict) else {}
    if about.get("sigma_sha256") == document["result"]["data"]["settings_sha256"]:
        yield "its truths have the standard deviations of the data judged on; the tables here have `--sigma mixture`"
    if document["settings"].get("trained") == "elsewhere":
        yield "it was trained elsewhere: that it kept to data and budget of the protocol is what its author says"
    if document["provenance"]["git_commit"] is None:
        yield "its code is of no commit, or differs from it; numbers may not be those of a release"
