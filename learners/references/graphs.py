"""Graphs that no network learns: what every learner of local graphs must be read against, under each truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.data.rows import Rows, Scale
from dynamic_sparsity.learners.interface import Learner, Model, TrainingData
from dynamic_sparsity.learners.measures import Moments
from dynamic_sparsity.learners.measures.train_split import References
from dynamic_sparsity.learners.references.baselines import AffineModel, fit_ridge
from dynamic_sparsity.learners.references.neighbours import nearest_rows, vote

__all__ = ["KINDS", "ReferenceGraph", "ReferenceModel"]

Floats = NDArray[np.floating[Any]]

KINDS = {
    "full": "transitions",
    "empty": "transitions",
    "union": "structure",
    "majority": "structure",
    "nearest-neighbour": "structure",
    "predicted": "structure",
    "contact-bit": "oracle",
    "true": "oracle",
}
"""What each kind is given: nothing; the truth on train; also what acts in the rows that it is judged on."""

NEIGHBOURS = 5


@dataclass(frozen=True)
class ReferenceGraph(Learner):
    """A graph that is looked up; next states and Jacobians are those of ridge regression.

    Attributes:
        kind: "full", "empty": every edge, or none. "union": edges of any row of train. "majority": those of at least
            half of them, every mode weighing the same: the best static graph. "contact-bit": the majority among rows
            of train that are in contact or at a limit, or are not, as this row is. "true": the majority among rows of
            train of this row's active set, and of all where there is none. "predicted": likewise, but the
            active set is that of most of the 5 nearest rows of train, by normalised state and action.
            "nearest-neighbour": the share of these whose graph has the edge.
        title: Name for tables.
        penalty: Of the ridge regression.
    """

    kind: str = "majority"
    title: str = "majority"
    penalty: float = 0.0001

    def __post_init__(self) -> None:
        """Raise InvalidSettingError if there is no such kind."""
        if self.kind not in KINDS:
            raise InvalidSettingError(f"kind is {self.kind!r}; it can be {', '.join(map(repr, KINDS))}")

    @property
    def name(self) -> str:  # type: ignore[override]
        """For tables."""
        return self.title

    @property
    def loss(self) -> str:
        """Whether the active set is true or predicted; else none."""
        return self.kind if self.kind in ("true", "predicted") else "none"

    @property
    def adaptive(self) -> bool:  # type: ignore[override]
        """Whether it looks at the row."""
        return self.kind in ("contact-bit", "true", "predicted", "nearest-neighbour")

    @property
    def supervision(self) -> str:
        """As `KINDS` says."""
        return KINDS[self.kind]

    @property
    def uses(self) -> tuple[str, ...]:
        """What train says under each truth, if anything."""
        return () if self.supervision == "transitions" else ("references",)

    def fit(self, data: TrainingData, budget: Budget, seeds: Sequence[int]) -> list[Model]:
        """See `Learner.fit`."""
        if data.references is None and self.uses:
            raise InvalidSettingError(f"{self.name} looks graphs of train up, and the rows were read without them")
        weights, bias = fit_ridge(data.train, data.scale, self.penalty)
        return [ReferenceModel(self.kind, data.scale, weights, bias, data.references) for _ in seeds]


class ReferenceModel(AffineModel):
    """Ridge regression with a graph that is looked up."""

    fixed_threshold = 0.5

    def __init__(self, kind: str, scale: Scale, weights: Floats, bias: Floats, references: References | None):
        """Take what was fitted.

        Args:
            kind: Of `KINDS`.
            scale: Of the data.
            weights: Of `fit_ridge`.
            bias: Likewise.
            references: What train says; None if the kind needs nothing of it.
        """
        super().__init__(scale, weights, bias)
        self.kind, self.references = kind, references
        self._near: tuple[int, NDArray[np.int64]] | None = None

    def scores_at(self, truth: str, rows: Rows, moments: Moments) -> Floats:
        """Return edge scores in [0, 1] under one truth.

        Args:
            truth: Its name.
            rows: n rows to judge.
            moments: Of these; only the kinds that are given the active set use it.

        Returns:
            shape (n, ds · (ds + da)).
        """
        count, entries = len(rows), self.weights.size
        if self.references is None:
            return np.full((count, entries), float(self.kind == "full"), np.float32)
        reference = self.references.by_truth[truth]
        if self.kind in ("majority", "union"):
            one = reference.share if self.kind == "majority" else reference.union
            return np.broadcast_to(one.astype(np.float32), (count, entries))
        if self.kind == "contact-bit":
            return np.asarray(reference.by_contact[moments.contact.astype(np.int64)], np.float32)
        if self.kind == "true":
            return reference.lookup(moments.keys())
        near = self._nearest(rows, self.references)
        if self.kind == "nearest-neighbour":
            return np.asarray(self.references.edges[truth][near].mean(1, dtype=np.float32))
        keys = self.references.moments.keys()
        return reference.lookup([vote([keys[row] for row in rows_near]) for rows_near in near.tolist()])

    def _nearest(self, rows: Rows, references: References) -> NDArray[np.int64]:
        if self._near is None or self._near[0] != id(rows):
            known = self.scale.inputs(references.state, references.action)
            asked = self.scale.inputs(rows.state, rows.action)
            self._near = id(rows), nearest_rows(known, asked, NEIGHBOURS)
        return self._near[1]
