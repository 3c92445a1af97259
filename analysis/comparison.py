"""Two stores of one task side by side: noise and expert, stock and converged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis.paper import PAPER_TABLE_1
from dynamic_sparsity.analysis.study import Study
from dynamic_sparsity.errors import InvalidSettingError

__all__ = ["Comparison", "compare", "comparisons", "one_per_dynamics", "side_by_side"]

DYNAMICS_KEYS = ("sizes", "tangent_names", "action_names", "constraints", "control_dt", "substeps")
"""What stores of the same dynamics have in common."""


@dataclass(frozen=True)
class Comparison:
    """How two stores of a task differ.

    Attributes:
        task: Name of the task.
        first, second: "policy" or "policy-dynamics" of the two.
        zeros_first, zeros_second: Entries of [J_s | J_a] that are zero in every row.
        only_first: Entries that are zero in every row of the first, and not of the second.
        only_second: The reverse.
        sparsity_first, sparsity_second: Mean share of zeros in [J_s | J_a].
        patterns_first, patterns_second: Distinct patterns.
        changes_first, changes_second: Share of steps at which the pattern changes.
        contact_first, contact_second: Share of rows with an active contact.
        largest_difference: Largest difference of an entry's share of zeros.
        mean_difference: Mean absolute difference over the entries.
        distance: Jensen–Shannon distance of the distributions of J_s's sparsity, 0 (equal) to 1 (disjoint).
    """

    task: str
    first: str
    second: str
    zeros_first: int
    zeros_second: int
    only_first: int
    only_second: int
    sparsity_first: float
    sparsity_second: float
    patterns_first: int
    patterns_second: int
    changes_first: float
    changes_second: float
    contact_first: float
    contact_second: float
    largest_difference: float
    mean_difference: float
    distance: float


def compare(first: Study, second: Study) -> Comparison:
    """Compare two stores of the same task.

    Args:
        first: One.
        second: The other.

    Raises:
        InvalidSettingError: They are of different tasks.
    """
    if first.source.task != second.source.task:
        raise InvalidSettingError(f"{first.source.task} and {second.source.task} have different variables")
    always = [np.concatenate([one.zeros.always_s, one.zeros.always_a], axis=1) for one in (first, second)]
    shares = [np.concatenate([one.zeros.share_s, one.zeros.share_a], axis=1) for one in (first, second)]
    difference = np.abs(shares[0] - shares[1])
    contact = [float(one.sparsity.counts_s[2].sum() / one.zeros.rows) for one in (first, second)]
    changes = [one.changes.patterns / max(1, one.changes.steps) for one in (first, second)]
    levels = [one.sparsity.counts_s.sum(axis=0) for one in (first, second)]
    return Comparison(
        first.source.task,
        first.source.name,
        second.source.name,
        int(always[0].sum()),
        int(always[1].sum()),
        int((always[0] & ~always[1]).sum()),
        int((always[1] & ~always[0]).sum()),
        float(shares[0].mean()),
        float(shares[1].mean()),
        first.patterns.patterns,
        second.patterns.patterns,
        changes[0],
        changes[1],
        contact[0],
        contact[1],
        float(difference.max()),
        float(difference.mean()),
        _jensen_shannon(levels[0], levels[1]),
    )


def comparisons(studies: Sequence[Study]) -> list[Comparison]:
    """Compare every two stores of the same task that differ in the policy or in the dynamics, but not in both.

    Args:
        studies: Of any tasks.
    """
    found = []
    for first, second in combinations(studies, 2):
        same_task = first.source.task == second.source.task
        differences = (first.source.policy != second.source.policy) + (first.source.dynamics != second.source.dynamics)
        if same_task and differences == 1:
            found.append(compare(first, second))
    return found


def side_by_side(studies: Sequence[Study]) -> dict[str, list[Study]]:
    """Return the studies of each task of which there are several, by task.

    Args:
        studies: Of any tasks.
    """
    tasks: dict[str, list[Study]] = {}
    for one in studies:
        tasks.setdefault(one.source.task, []).append(one)
    return {task: found for task, found in tasks.items() if len(found) > 1}


def one_per_dynamics(studies: Sequence[Study]) -> list[Study]:
    """Return one study for each kind of dynamics: tasks that differ in reward and start only are drawn once.

    Of such tasks the paper's are taken first.

    Args:
        studies: Of one policy.
    """
    chosen: dict[str, Study] = {}
    for one in sorted(studies, key=lambda one: one.source.task not in PAPER_TABLE_1):
        parts = {key: one.source.metadata[key] for key in DYNAMICS_KEYS}
        chosen.setdefault(json.dumps(parts, sort_keys=True), one)
    return [one for one in studies if any(one is other for other in chosen.values())]


def _jensen_shannon(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Return the square root of the Jensen–Shannon divergence in bits, of two distributions given by counts."""
    one, other = first / first.sum(), second / second.sum()
    middle = (one + other) / 2

    def divergence(shares: NDArray[np.float64]) -> float:
        positive = shares > 0
        return float((shares[positive] * np.log2(shares[positive] / middle[positive])).sum())

    return float(np.sqrt(max(0.0, (divergence(one) + divergence(other)) / 2)))
