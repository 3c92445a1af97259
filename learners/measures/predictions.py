"""What a model says of the rows that it is judged on: Jacobians and edge scores, checked, each asked for once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners.data.rows import Rows, Scale
from dynamic_sparsity.learners.measures import TRUTHS, Moments

__all__ = ["JudgedRows", "Predictions", "checked"]

Floats = NDArray[Any]
Function = Callable[[NDArray[np.float32], NDArray[np.float32]], Any]


class JudgedRows(Protocol):
    """Rows with what is known of them: `EvaluationRows`."""

    @property
    def rows(self) -> Rows:
        """Transitions, Jacobians and graphs."""

    @property
    def moments(self) -> Moments:
        """Episodes, steps and active sets."""

    @property
    def scale(self) -> Scale:
        """Of the train split."""


class Predictions:
    """A model's Jacobians and edge scores of the rows that it is judged on; each is asked for once."""

    def __init__(
        self,
        jacobian: Function | None,
        edge_score: Function | None,
        model: Any,
        belief: Callable[..., Any] | None = None,
    ):
        """Take a model's functions.

        Args:
            jacobian: (state, action) -> Jacobians in MuJoCo's units, or None.
            edge_score: (state, action) -> edge scores, or None.
            belief: (state, action, sizes) -> edge scores for an edge of these sizes, or None; goes before `edge_score`.
            model: What has `scores_at` and `fixed_threshold`, if it is a reference that is given the truth's name and
                what acts in a row; and `scores_are_derivatives`, if its edge scores have the units of a Jacobian.
        """
        self._functions = jacobian, edge_score
        self._belief = belief
        self._at = getattr(model, "scores_at", None)
        self.fixed_threshold: float | None = getattr(model, "fixed_threshold", None)
        self._derivatives = bool(getattr(model, "scores_are_derivatives", False))
        self._asked: dict[tuple[str, int], Floats | None] = {}

    def jacobian(self, evaluated: JudgedRows) -> Floats | None:
        """Return the model's Jacobian, dimensionless.

        Args:
            evaluated: Rows.
        """
        found = self._ask("jacobian", self._functions[0], evaluated)
        return None if found is None else evaluated.scale.dimensionless(found)

    def scores(self, evaluated: JudgedRows) -> Floats | None:
        """Return the model's edge scores, or else the absolute values of its Jacobian.

        Args:
            evaluated: Rows.
        """
        return self.scores_at("T0", evaluated, evaluated.scale)

    def scores_at(self, truth: str, evaluated: JudgedRows, scale: Scale) -> Floats | None:
        """Return the edge scores for one truth; they are the same for all but for references and beliefs.

        Args:
            truth: Its name.
            evaluated: Rows.
            scale: That makes Jacobians dimensionless, where these are the scores.
        """
        if self._at is not None:
            return np.asarray(self._at(truth, evaluated.rows, evaluated.moments), np.float32).reshape(_shape(evaluated))
        believed = self._believed(truth, evaluated, scale)
        if believed is not None:
            return believed
        result = self._ask("edge_score", self._functions[1], evaluated)
        if result is not None:
            return scale.dimensionless(result) if self._derivatives else result
        found = self._ask("jacobian", self._functions[0], evaluated)
        return None if found is None else np.abs(scale.dimensionless(found))

    def _believed(self, truth: str, evaluated: JudgedRows, scale: Scale) -> Floats | None:
        """Return the belief in derivatives of the size that makes an edge under a truth."""
        belief = self._belief
        if belief is None:
            return None
        # Nobody can learn from transitions what is exactly zero: under T0 the least size of the others.
        threshold = TRUTHS[truth].threshold or min(one.threshold for one in TRUTHS.values() if one.threshold)
        size = scale.dimensional(np.full((1, *_shape(evaluated)[1:]), threshold, np.float32))
        # Truths of one size share the answer.
        name = f"edge_belief {size.tobytes().hex()}"
        return self._ask(name, lambda state, action: belief(state, action, size), evaluated)

    def _ask(self, name: str, function: Function | None, evaluated: JudgedRows) -> Floats | None:
        if (name, id(evaluated)) not in self._asked:
            result = None if function is None else function(evaluated.rows.state, evaluated.rows.action)
            found = None if result is None else checked(name.split()[0], result, _shape(evaluated))
            self._asked[name, id(evaluated)] = found
        return self._asked[name, id(evaluated)]


def checked(name: str, result: Any, shape: tuple[int, ...]) -> Floats:
    """Return a model's result as floats, if its shape is right.

    Args:
        name: Of the model's function, for the message.
        result: What it returned.
        shape: That it must have.

    Raises:
        InvalidSettingError: It has another shape, or no numbers.
    """
    array = np.asarray(result)
    if array.shape != shape or array.dtype.kind not in "fiub":
        raise InvalidSettingError(
            f"{name} gave {array.dtype} of shape {array.shape} where {shape} is needed: "
            f"{'(rows, effects, causes)' if len(shape) == 3 else '(rows, ds)'}"
        )
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def _shape(evaluated: JudgedRows) -> tuple[int, int, int]:
    ds, da = evaluated.rows.sizes
    return len(evaluated.rows), ds, ds + da
