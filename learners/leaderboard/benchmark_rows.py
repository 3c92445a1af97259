"""`benchmark.csv`: a row per task, policies, learner, seed and truth, for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dynamic_sparsity.errors import CorruptResultError, InvalidSettingError
from dynamic_sparsity.learners.interface import SUPERVISIONS
from dynamic_sparsity.learners.leaderboard.csv_tables import format_table, parse_table, read_text
from dynamic_sparsity.learners.measures import TRUTHS
from dynamic_sparsity.learners.runs.result_files import IS_DIGEST, data_of_training
from dynamic_sparsity.untrusted.names import check_name

__all__ = [
    "BASELINES",
    "REFERENCES",
    "TRACKS",
    "BenchmarkRow",
    "benchmark_rows",
    "parse_benchmark_csv",
    "read_benchmark_csv",
    "to_benchmark_csv",
    "with_earlier",
]

CSV_BYTES_MAX = 256 * 2**20

KEYS = ("protocol", "dynamics", "policy", "test_policy", "learner", "seed", "truth")
"""What a row is of; rows are sorted by it."""

TRACKS = ("transitions", "labels", "masks", "Jacobians", "reference")
"""What a learner is taught with: (s, a, s') only; also which rows are in contact; also masks; also Jacobians.
References are no contestants: they know nothing, one static graph, or what acts in the rows that they are judged on."""

REFERENCES = ("full", "empty", "union", "majority", "contact-bit", "active-set-lookup", "oracle")

BASELINES = ("hold", "ridge", "mlp-none", "active-set-lookup-predicted", "nearest-neighbour")
"""On the page of every track, whatever they are taught with."""

_TRACK_OF = dict(zip((*SUPERVISIONS, "oracle"), ("transitions", "masks", "Jacobians", "reference"), strict=True))


@dataclass(frozen=True)
class BenchmarkRow:
    """One learner, trained with one seed on data of one policy, judged on data of one policy under one truth.

    Attributes:
        dynamics: The task.
        policy: That acted in the data it was trained on.
        test_policy: That acted in the data it was judged on.
        learner: Name, with the variant.
        track: One of `TRACKS`.
        seed: Of the training.
        truth: "T0", "T2" or "T3".
        local_graph_skill: And what follows: see docs/benchmark.md; None where there is no such number.
        when_skill: Likewise.
        clusters: That `when_skill` is a mean over.
        beyond_contact: Likewise.
        gap_closed: Likewise.
        jacobian_error: Mean over modes of the median relative error of the Jacobian.
        nmse: Normalised mean squared error of the next state.
        local_graph_skill_low: Lower bound of the 95 % interval over episodes, and so on.
        local_graph_skill_high: Likewise.
        when_skill_low: Likewise.
        when_skill_high: Likewise.
        beyond_contact_low: Likewise.
        beyond_contact_high: Likewise.
        false_edges: Likewise.
        misses: Likewise.
        when_skill_shifted: Likewise.
        coverage: Likewise.
        irrelevance: `irrelevance.rms`.
        episodes: That were judged.
        protocol: Name of the budget.
        train_sha256: Of the settings of the data it was trained on.
        test_sha256: Of the settings of the data it was judged on.
    """

    dynamics: str
    policy: str
    test_policy: str
    learner: str
    track: str
    seed: int
    truth: str
    local_graph_skill: float | None
    when_skill: float | None
    clusters: int
    beyond_contact: float | None
    gap_closed: float | None
    jacobian_error: float | None
    nmse: float | None
    local_graph_skill_low: float | None
    local_graph_skill_high: float | None
    when_skill_low: float | None
    when_skill_high: float | None
    beyond_contact_low: float | None
    beyond_contact_high: float | None
    false_edges: float | None
    misses: float | None
    when_skill_shifted: float | None
    coverage: float | None
    irrelevance: float | None
    episodes: int
    protocol: str
    train_sha256: str
    test_sha256: str


def benchmark_rows(results: Sequence[dict[str, Any]]) -> list[BenchmarkRow]:
    """Return the rows of results; none for results without local graphs.

    Args:
        results: Documents that `check_result` has passed.
    """
    return [row for document in results for row in _rows(document)]


def _rows(document: dict[str, Any]) -> list[BenchmarkRow]:
    result, truths = document["result"], document["result"].get("truths") or {}
    learner, loss, data = document["learner"], document["loss"], document["result"]["data"]
    plain = loss in ("none", "true") and learner != "mlp"
    name = learner if plain else f"{learner}-{loss}"
    trained = data_of_training(document)
    common: dict[str, Any] = {
        "dynamics": data["task"],
        "policy": trained["policy"],
        "test_policy": data["policy"],
        "learner": name,
        "track": "reference" if name in REFERENCES else _TRACK_OF[document["supervision"]],
        "seed": document["seed"],
        "jacobian_error": ((result["jacobian"] or {}).get("by_mode") or {}).get("mean"),
        "nmse": result["next_state"]["nmse"],
        "irrelevance": (result.get("irrelevance") or {}).get("rms"),
        "protocol": document["protocol"]["name"],
        "train_sha256": trained["settings_sha256"],
        "test_sha256": data["settings_sha256"],
    }
    return [BenchmarkRow(**common, **_numbers(truths[name]), truth=name) for name in TRUTHS if name in truths]


def _numbers(found: dict[str, Any]) -> dict[str, Any]:
    given = {field.name for field in fields(BenchmarkRow)} & found.keys()
    numbers: dict[str, Any] = {name: found[name] for name in given}
    for name in ("local_graph_skill", "when_skill", "beyond_contact"):
        low, high = found[f"{name}_interval"] or (None, None)
        numbers |= {f"{name}_low": low, f"{name}_high": high}
    return numbers


def to_benchmark_csv(rows: Sequence[BenchmarkRow]) -> str:
    """Return rows as comma-separated values with a header, sorted; numbers have six digits, or are left out.

    Args:
        rows: In any order.
    """
    return format_table(BenchmarkRow, rows, KEYS)


def read_benchmark_csv(path: Path) -> list[BenchmarkRow]:
    """Read what `to_benchmark_csv` wrote.

    Args:
        path: The file.

    Raises:
        CorruptResultError: It has other columns or values.
    """
    return parse_benchmark_csv(read_text(path, CSV_BYTES_MAX, "a table of the benchmark"), str(path))


def parse_benchmark_csv(text: str, where: str) -> list[BenchmarkRow]:
    """Read the text of such a file.

    Args:
        text: With the header.
        where: What to call it in messages.

    Raises:
        CorruptResultError: It has other columns or values.
    """
    return parse_table(BenchmarkRow, text, where, "table of the benchmark", "row of the benchmark", _check_text)


def with_earlier(rows: Sequence[BenchmarkRow], earlier: Sequence[BenchmarkRow]) -> list[BenchmarkRow]:
    """Return rows, and those of an earlier table that none of them replaces.

    Args:
        rows: Of new results.
        earlier: Of the earlier table.

    Raises:
        InvalidSettingError: Both have rows of one task and policy that are of other data.
    """
    data = {key: digest for row in rows for key, digest in _data(row).items()}
    for row in earlier:
        for (task, policy), digest in _data(row).items():
            if data.setdefault((task, policy), digest) != digest:
                raise InvalidSettingError(
                    f"earlier rows of {task} {policy} are of the data {digest[:12]}, new ones of "
                    f"{data[task, policy][:12]}: rows can't be compared. Leave the earlier table out, or make the data "
                    "of the benchmark anew, by `benchmarks/local_graphs.py data`."
                )
    replaced = {_key(row) for row in rows}
    return [*rows, *(row for row in earlier if _key(row) not in replaced)]


def _data(row: BenchmarkRow) -> dict[tuple[str, str], str]:
    return {(row.dynamics, row.policy): row.train_sha256, (row.dynamics, row.test_policy): row.test_sha256}


def _key(row: BenchmarkRow) -> tuple[str | int, ...]:
    return tuple(getattr(row, name) for name in KEYS)


def _check_text(name: str, text: str) -> str:
    if not name.endswith("sha256"):
        return check_name(text, name, CorruptResultError)
    if not IS_DIGEST(text):
        raise ValueError(f"{name} is {text[:60]!r}")
    return text
