"""The leaderboard: many results as one table for people, one for programs, and the paper's Figure 8."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dynamic_sparsity.errors import CorruptResultError, InvalidSettingError
from dynamic_sparsity.learners.leaderboard.csv_tables import format_table, parse_table, read_text
from dynamic_sparsity.learners.runs.result_files import IS_COMMIT, IS_DIGEST, IS_SUPERVISION, data_of_training
from dynamic_sparsity.learners.runs.results import read_results
from dynamic_sparsity.untrusted.names import check_name

__all__ = ["Entry", "entries_of", "mean_and_spread", "order_of", "read_csv", "read_entries", "to_csv"]

CSV_BYTES_MAX = 64 * 2**20
NAMES = ("protocol", "task", "policy", "learner", "loss")
"""Entries that are parts of paths."""
TEXTS: dict[str, Callable[[str], bool]] = {
    "supervision": IS_SUPERVISION,
    "settings_sha256": IS_DIGEST,
    "git_commit": lambda text: text == "" or IS_COMMIT(text),
}


@dataclass(frozen=True)
class Entry:
    """One result as a line of `leaderboard.csv`; None where the model has no such number.

    Attributes:
        protocol: Name of the budget.
        task: Task.
        policy: That acted in the data.
        learner: Name.
        loss: Variant.
        supervision: What it was trained with.
        adaptive: 1 if its graph is meant to depend on the state.
        seed: Of the training.
        train_rows: Transitions it could learn from, at most.
        steps: Gradient steps it had.
        nmse: Normalised mean squared error of the next state.
        open_loop_nmse: The same at the end of the open-loop predictions.
        jacobian_error: Median relative error of the Jacobian.
        sparsity: Share of the model's derivatives below 1e-6.
        true_sparsity: Share of true zeros.
        relative_sparsity: The one by the other.
        auroc: Mean over rows.
        average_precision: Mean over rows.
        f1: Mean over rows.
        hamming: Structural Hamming distance, mean over rows.
        average_precision_switch: Mean over rows at switches.
        edge_auroc: Mean over the entries that switch.
        contact_auroc: Of the number of edges, for contact.
        settings_sha256: Of the data.
        git_commit: Of the code.
    """

    protocol: str
    task: str
    policy: str
    learner: str
    loss: str
    supervision: str
    adaptive: int
    seed: int
    train_rows: int
    steps: int
    nmse: float | None
    open_loop_nmse: float | None
    jacobian_error: float | None
    sparsity: float | None
    true_sparsity: float | None
    relative_sparsity: float | None
    auroc: float | None
    average_precision: float | None
    f1: float | None
    hamming: float | None
    average_precision_switch: float | None
    edge_auroc: float | None
    contact_auroc: float | None
    settings_sha256: str
    git_commit: str

    @property
    def name(self) -> str:
        """Learner and loss, for tables."""
        plain = self.loss == "none" and self.learner != "mlp"
        return self.learner if plain else f"{self.learner} {self.loss}"


def entries_of(results: Sequence[dict[str, Any]]) -> list[Entry]:
    """Return results as lines of the table.

    Args:
        results: Documents of `run_learner`.
    """
    return [_entry(result) for result in results]


def _entry(document: dict[str, Any]) -> Entry:
    result, protocol = document["result"], document["protocol"]
    data, structure = result["data"], result["structure"] or {}
    rows, switch = structure.get("all", {}), structure.get("switch", {})
    return Entry(
        protocol=protocol["name"],
        task=data["task"],
        policy=data["policy"],
        learner=document["learner"],
        loss=document["loss"],
        supervision=document["supervision"],
        adaptive=int(document["adaptive"]),
        seed=document["seed"],
        train_rows=protocol["train_rows"],
        steps=protocol["steps"],
        nmse=result["next_state"]["nmse"],
        open_loop_nmse=(result["next_state"]["open_loop_nmse"] or [None])[-1],
        jacobian_error=(result["jacobian"] or {}).get("relative_error_median"),
        sparsity=result["sparsity"]["model"],
        true_sparsity=result["sparsity"]["truth"],
        relative_sparsity=result["sparsity"]["relative"],
        auroc=rows.get("auroc"),
        average_precision=rows.get("average_precision"),
        f1=rows.get("f1"),
        hamming=rows.get("hamming"),
        average_precision_switch=switch.get("average_precision"),
        edge_auroc=(result["switching"] or {}).get("edge_auroc"),
        contact_auroc=(result["calibration"] or {}).get("contact_auroc"),
        settings_sha256=data["settings_sha256"],
        git_commit=document["provenance"]["git_commit"] or "",
    )


def to_csv(entries: Sequence[Entry]) -> str:
    """Return entries as comma-separated values with a header, sorted; numbers have six digits, or are left out.

    Args:
        entries: In any order.
    """
    return format_table(Entry, entries, (*NAMES, "seed"))


def read_csv(path: Path) -> list[Entry]:
    """Read the entries of a file: the inverse of `to_csv`.

    Args:
        path: A file that `leaderboard` wrote.

    Raises:
        CorruptResultError: It has other columns or values.
    """
    return _parse(read_text(path, CSV_BYTES_MAX, "a leaderboard"), str(path))


def _parse(text: str, path: str) -> list[Entry]:
    return parse_table(Entry, text, path, "leaderboard", "entry of a leaderboard", _check_text)


def _check_text(name: str, text: str) -> str:
    if name in NAMES:
        return check_name(text, name, CorruptResultError)
    if not TEXTS[name](text):
        raise ValueError(f"{name} is {text[:60]!r}")
    return text


def read_entries(source: Path, skipped: Callable[[CorruptResultError], None] | None = None) -> list[Entry]:
    """Read the entries of a folder of results, or of a `leaderboard.csv`, alike: numbers have the CSV's six digits.

    Results of a model that was judged on data of another policy than its training's are no entries: `benchmark.csv` has
    them.

    Args:
        source: The folder or the file.
        skipped: Called for each file of the folder that can't be read and is left out; None: that is an error.

    Raises:
        InvalidSettingError: There are none.
        CorruptResultError: A file is not what it should be.
    """
    if not source.exists():
        raise InvalidSettingError(f"{source} does not exist, so it has no results; name a folder of them, or a CSV")
    if not source.is_dir():
        entries = read_csv(source)
    else:
        results = [one for one in read_results(source, skipped) if _at_home(one)]
        entries = _parse(to_csv(entries_of(results)), str(source))
    if not entries:
        raise InvalidSettingError(f"{source} has no results on data of the policy that was trained on")
    return entries


def mean_and_spread(entries: Sequence[Entry], column: str) -> tuple[float, float] | None:
    """Mean and sample standard deviation over entries (seeds, usually), of those that have the number.

    Args:
        entries: Some.
        column: A numeric attribute of `Entry`.

    Returns:
        None if none of them has it; of one, the spread is 0.
    """
    values = [value for entry in entries if (value := getattr(entry, column)) is not None]
    if not values:
        return None
    # Equal values have a spread of 0, and not of their mean's rounding.
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(set(values)) > 1 else 0.0


def order_of(entries: Sequence[Entry]) -> list[str]:
    """Return the names of the learners: baselines first, the oracle last, others by name as they come.

    Args:
        entries: Of one or several protocols.
    """
    first = ("hold", "ridge", "global-graph", "mlp", "residual-mlp")
    names = {entry.name: entry.learner for entry in entries}

    def rank(name: str) -> tuple[int, int, str]:
        learner = names[name]
        place = first.index(learner) if learner in first else len(first) + (learner == "oracle")
        return place, name != f"{learner} untrained" and name != f"{learner} none", name

    return sorted(names, key=rank)


def _at_home(document: dict[str, Any]) -> bool:
    return bool(data_of_training(document)["policy"] == document["result"]["data"]["policy"])
