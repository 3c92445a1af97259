"""A model's local graphs held against the truths, rows by rows that `evaluate` has read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import DynamicSparsityError
from dynamic_sparsity.learners.measures import truths_named
from dynamic_sparsity.learners.measures.judging import choose_threshold, judge_graph
from dynamic_sparsity.learners.measures.predictions import JudgedRows, Predictions
from dynamic_sparsity.learners.measures.train_split import References, read_references
from dynamic_sparsity.loaders import JacobianDataset, open_dataset

__all__ = ["judge_truths", "references_for"]


def references_for(dataset: JacobianDataset, truth: str | Sequence[str]) -> References | None:
    """Read what the train split of a data set's store says; None if it is not there.

    Args:
        dataset: Any split.
        truth: Names of truths.

    Raises:
        UnknownNameError: There is no such truth.
    """
    truths_named(truth)
    try:
        return read_references(open_dataset(dataset.store.path, split="train"), truths=truth)
    except DynamicSparsityError:
        return None  # Of a repository, only the splits that were asked for are there.


def judge_truths(
    predictions: Predictions,
    evaluated: JudgedRows,
    validation: JudgedRows | None,
    references: References | None,
    chosen_by: References | None,
    truth: str | Sequence[str],
    threshold: float,
) -> dict[str, Any] | None:
    """Measure a model's local graphs under some truths.

    Args:
        predictions: Of the model.
        evaluated: Rows to judge on.
        validation: Rows to choose each truth's threshold on; None to take `threshold`.
        references: What train says; None if that is not known.
        chosen_by: Likewise of the data of `validation`.
        truth: Names of truths.
        threshold: From which score on there is an edge, without `validation`.

    Returns:
        Results of `judge_graph` by the truth's name, and "reference", which data that is; None if the model has no
        scores, or there is no reference.
    """
    if references is None or chosen_by is None:
        return None
    result: dict[str, Any] = {}
    for one in truths_named(truth):
        given = predictions.scores_at(one.name, evaluated, chosen_by.scale)
        if given is None:
            return None
        reference = references.by_truth[one.name]
        edges, counted = one.of(evaluated.rows, references.scale)
        fixed = predictions.fixed_threshold
        cut: float | None = threshold if fixed is None else fixed
        if validation is not None and fixed is None:
            predicted = predictions.scores_at(one.name, validation, chosen_by.scale)
            if predicted is not None:
                truths = one.of(validation.rows, chosen_by.scale)
                known = chosen_by.by_truth[one.name]
                cut = choose_threshold(_flat(predicted), *truths, validation.moments, known)
        cut = cut if reference.switching.any() else None
        result[one.name] = judge_graph(_flat(given), edges, counted, evaluated.moments, reference, cut)
    return result | {"reference": references.about}


def _flat(values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    return values.reshape(len(values), -1)
