"""Evaluate a model of a task against the truth; docs/benchmark.md defines every number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners.data.rows import Rows, Scale, read_rows, rows_in_contact, valid_positions
from dynamic_sparsity.learners.interface import Predictor
from dynamic_sparsity.learners.measures import TRUTHS, Moments, irrelevance, read_moments, rowwise
from dynamic_sparsity.learners.measures.all_truths import judge_truths, references_for
from dynamic_sparsity.learners.measures.jacobians import jacobian_by_mode
from dynamic_sparsity.learners.measures.predictions import Predictions, checked
from dynamic_sparsity.learners.measures.train_split import References
from dynamic_sparsity.loaders import JacobianDataset

__all__ = ["LEARNED_ZERO", "EvaluationRows", "evaluate", "read_evaluation_rows"]

Floats = NDArray[Any]
Bools = NDArray[np.bool_]
Function = Callable[[NDArray[np.float32], NDArray[np.float32]], Any]

LEARNED_ZERO = 1e-6
"""An entry of a learned Jacobian, dimensionless, is zero if its absolute value is below this: the paper's threshold."""


@dataclass(frozen=True)
class EvaluationRows:
    """Rows that models are evaluated on, with the truth; the same for every model of a task.

    Attributes:
        rows: n transitions with Jacobians and graphs.
        contact: Rows in which a contact or limit acts, bool, shape (n,).
        switch: Rows whose true graph differs from that of the row before, bool, shape (n,).
        windows: state, action and next_state of pieces of `horizon` consecutive rows, shapes (pieces, horizon, …).
        scale: Of the train split.
        dataset: What they were read from.
        moments: Episode, step and active set of each row.
    """

    rows: Rows
    contact: Bools
    switch: Bools
    windows: dict[str, Floats]
    scale: Scale
    dataset: JacobianDataset
    moments: Moments


def read_evaluation_rows(dataset: JacobianDataset, *, limit: int | None = None, horizon: int = 10) -> EvaluationRows:
    """Read the rows to evaluate models on.

    Args:
        dataset: Usually a test or validation split; rows without a true Jacobian are left out.
        limit: Use at most that many rows, evenly spread over all of them.
        horizon: Steps of the open-loop predictions.

    Raises:
        InvalidSettingError: There is no row; or `limit` or `horizon` is less than 1.
    """
    if horizon < 1 or (limit is not None and limit < 1):
        raise InvalidSettingError(f"horizon is {horizon} and limit is {limit}; both must be at least 1")
    valid = dataset.select(valid_positions(dataset))
    if len(valid) == 0:
        raise InvalidSettingError(f"{dataset!r} has no rows to evaluate a model on: generate more episodes")
    switch = _switches(valid)
    kept = np.arange(len(valid))
    if limit is not None and kept.size > limit:
        kept = kept[np.linspace(0, kept.size - 1, limit).astype(np.int64)]
    pieces = valid.with_columns(["state", "action", "next_state"]).windows(horizon, stride=horizon)
    chosen = np.arange(len(pieces))
    most = max(1, (limit or len(valid)) // horizon)
    if chosen.size > most:
        chosen = chosen[np.linspace(0, chosen.size - 1, most).astype(np.int64)]
    windows = pieces[chosen] if chosen.size else {}
    rows = read_rows(valid.select(kept), jacobian=True, graph=True)
    moments = read_moments(valid, kept)
    return EvaluationRows(
        rows, rows_in_contact(valid, kept), switch[kept], windows, Scale.of(dataset), dataset, moments
    )


def evaluate(
    predict: Predictor | Function,
    dataset: JacobianDataset | EvaluationRows,
    *,
    jacobian: Function | None = None,
    edge_score: Function | None = None,
    validation: JacobianDataset | EvaluationRows | None = None,
    threshold: float = LEARNED_ZERO,
    limit: int | None = None,
    horizon: int = 10,
    truth: str | Sequence[str] = tuple(TRUTHS),
    references: References | None = None,
    validation_references: References | None = None,
    simulate: Function | None = None,
) -> dict[str, Any]:
    """Evaluate a model: its next states and, where it has them, its Jacobian and its causal graph of each row.

    Args:
        predict: (state (n, ds), action (n, da)) -> next states (n, ds), float32 arrays in physical units; or an object
            with that method and perhaps `jacobian` and `edge_score` (see `Model`).
        dataset: Whose rows to evaluate on, usually `load_dataset(task, split="test")`.
        jacobian: (state, action) -> [∂s'/∂s | ∂s'/∂a], shape (n, ds, ds + da), row = effect, physical units.
        edge_score: (state, action) -> shape (n, ds, ds + da), larger where an edge is more probable. If None, the
            Jacobian's dimensionless absolute value.
        validation: Rows on which to choose the score from which on there is an edge, for the highest F1.
        threshold: That score, if there is no `validation`.
        limit: Use at most that many rows of each data set, evenly spread.
        horizon: Steps of the open-loop predictions.
        truth: Under which truths to judge local graphs: "T0", "T2", "T3", or several.
        references: What the train split says, of `read_references`; None to read it from the store of `dataset`.
        validation_references: Likewise for `validation`, if that is other data; None: the same.
        simulate: The true step, (state, action) -> next states, to measure reactions to irrelevant causes with.

    Returns:
        JSON data: `next_state`, `jacobian`, `truths`, `irrelevance`, `sparsity`, `structure`, `switching`,
        `calibration` and `data`; docs/benchmark.md defines them. What a model has not, or a task has no rows for, is
        None.

    Raises:
        InvalidSettingError: A result of the model has another shape than it should; or there is no row to evaluate on.
    """
    belief = getattr(predict, "edge_belief", None) if edge_score is None else None
    jacobian = jacobian or getattr(predict, "jacobian", None)
    edge_score = edge_score or getattr(predict, "edge_score", None)
    function: Any = getattr(predict, "predict", predict)
    evaluated = (
        dataset if isinstance(dataset, EvaluationRows) else read_evaluation_rows(dataset, limit=limit, horizon=horizon)
    )
    other = validation
    if isinstance(other, JacobianDataset):
        other = read_evaluation_rows(other, limit=limit, horizon=horizon)
    given = Predictions(jacobian, edge_score, predict, belief)
    found, scores = given.jacobian(evaluated), given.scores(evaluated)
    chosen_on = None
    if other is not None and scores is not None:
        believed = given.scores(other)
        if believed is not None:
            threshold = rowwise.best_threshold(_flat(believed), _flat(_truth(other)))
            chosen_on = other.dataset.split
    references = references or references_for(evaluated.dataset, truth)
    result = {
        "next_state": _next_state(function, evaluated),
        "jacobian": _jacobian_error(found, evaluated),
        "truths": judge_truths(
            given, evaluated, other, references, validation_references or references, truth, threshold
        ),
        "irrelevance": None if simulate is None else irrelevance(function, simulate, evaluated.rows, evaluated.scale),
        "sparsity": _sparsity(found, scores, threshold, evaluated),
        "structure": None,
        "switching": None,
        "calibration": None,
        "data": _data(evaluated) | {"threshold": threshold, "threshold_chosen_on": chosen_on},
    }
    if scores is not None:
        result |= _structure(scores, threshold, evaluated)
    plain: dict[str, Any] = _json(result)
    return plain


def _next_state(predict: Function, evaluated: EvaluationRows) -> dict[str, Any]:
    rows, variance = evaluated.rows, evaluated.scale.output_std.astype(np.float64) ** 2
    predicted = checked("predict", predict(rows.state, rows.action), rows.next_state.shape)
    squared = (predicted - rows.next_state.astype(np.float64)) ** 2 / variance
    hold = (rows.state.astype(np.float64) - rows.next_state) ** 2 / variance
    names = evaluated.dataset.state_names
    return {
        "nmse": squared.mean(),
        "nmse_per_dimension": dict(zip(names, squared.mean(0).tolist(), strict=True)),
        "relative_to_hold": squared.mean() / hold.mean() if hold.mean() > 0 else None,
        "open_loop_nmse": _open_loop(predict, evaluated),
    }


def _open_loop(predict: Function, evaluated: EvaluationRows) -> list[float]:
    """Return the error after 1, 2, … steps on the model's own predictions, with the true actions."""
    if not evaluated.windows:
        return []
    state, errors = evaluated.windows["state"][:, 0], []
    variance = evaluated.scale.output_std.astype(np.float64) ** 2
    for step in range(evaluated.windows["state"].shape[1]):
        truth = evaluated.windows["next_state"][:, step].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # An unstable model's predictions grow without bound.
            state = np.asarray(predict(state, evaluated.windows["action"][:, step]), np.float32)
            errors.append(float(((state.astype(np.float64) - truth) ** 2 / variance).mean()))
    return errors


def _jacobian_error(found: Floats | None, evaluated: EvaluationRows) -> dict[str, Any] | None:
    """Return the relative error of each row's dimensionless Jacobian, in the Frobenius norm."""
    if found is None or evaluated.rows.jacobian is None:
        return None
    truth = evaluated.scale.dimensionless(evaluated.rows.jacobian).astype(np.float64)
    size = np.sqrt((truth**2).sum((1, 2)))
    errors = np.sqrt(((found - truth) ** 2).sum((1, 2)))[size > 0] / size[size > 0]
    if errors.size == 0:
        return None
    return {
        "relative_error_mean": errors.mean(),
        "relative_error_median": np.median(errors),
        "rows": errors.size,
        "by_mode": jacobian_by_mode(found, truth, evaluated.moments),
    }


def _sparsity(
    found: Floats | None, scores: Floats | None, threshold: float, evaluated: EvaluationRows
) -> dict[str, Any]:
    truth = 1.0 - _truth(evaluated).mean()
    model = None
    if found is not None:
        model = (np.abs(found) < LEARNED_ZERO).mean()
    elif scores is not None:
        model = (scores < threshold).mean()
    relative = None if model is None or truth == 0 else model / truth
    return {"model": model, "truth": truth, "relative": relative}


def _structure(scores: Floats, threshold: float, evaluated: EvaluationRows) -> dict[str, Any]:
    truth, flat = _flat(_truth(evaluated)), _flat(scores)
    graph = flat >= threshold
    values = {
        "auroc": rowwise.row_roc_auc(flat, truth),
        "average_precision": rowwise.average_precision(flat, truth),
        "f1": rowwise.f1(graph, truth),
        "hamming": rowwise.hamming(graph, truth),
    }
    ranked = rowwise.has_both_classes(truth)
    all_rows = np.ones(len(truth), bool)
    groups = {"all": all_rows, "contact": evaluated.contact, "free": ~evaluated.contact, "switch": evaluated.switch}
    structure = {name: _group(values, ranked, chosen, graph, truth) for name, chosen in groups.items()}
    ds = evaluated.rows.sizes[0]
    for name, part in (("mask_s", slice(0, ds)), ("mask_a", slice(ds, None))):
        structure[name] = _part(_flat(scores[:, :, part]), _flat(_truth(evaluated)[:, :, part]), threshold)
    when, edges = rowwise.edge_auroc(flat, truth)
    density, edge_count = graph.sum(1), truth.sum(1)
    return {
        "structure": structure,
        "switching": {"edge_auroc": when, "edges": edges},
        "calibration": {
            "expected_error": rowwise.expected_calibration_error(flat, truth),
            "contact_auroc": rowwise.roc_auc(density.astype(np.float64), evaluated.contact),
            "contact_auroc_of_truth": rowwise.roc_auc(edge_count.astype(np.float64), evaluated.contact),
            "edges_in_contact": rowwise.mean_over(density, evaluated.contact),
            "edges_in_contact_of_truth": rowwise.mean_over(edge_count, evaluated.contact),
            "edges_free": rowwise.mean_over(density, ~evaluated.contact),
            "edges_free_of_truth": rowwise.mean_over(edge_count, ~evaluated.contact),
        },
    }


def _group(values: dict[str, Floats], ranked: Bools, chosen: Bools, graph: Bools, truth: Bools) -> dict[str, Any]:
    """Return means over some rows; those that rank edges only over rows in which there is something to rank."""
    means = {}
    for name, value in values.items():
        by_rank = name in ("auroc", "average_precision")
        # Where no row has both classes, all of them have the value of a score that carries no information.
        subset = chosen & ranked if by_rank and (chosen & ranked).any() else chosen
        means[name] = rowwise.mean_over(value, subset)
    rows = {"rows": int(chosen.sum()), "rows_ranked": int((chosen & ranked).sum())}
    density = {"density": None, "density_of_truth": None}
    if chosen.any():
        density = {"density": graph[chosen].mean(), "density_of_truth": truth[chosen].mean()}
    return rows | means | density


def _part(scores: Floats, truth: Bools, threshold: float) -> dict[str, Any]:
    graph, chosen = scores >= threshold, np.ones(len(truth), bool)
    values = {
        "auroc": rowwise.row_roc_auc(scores, truth),
        "average_precision": rowwise.average_precision(scores, truth),
        "f1": rowwise.f1(graph, truth),
        "hamming": rowwise.hamming(graph, truth),
    }
    return _group(values, rowwise.has_both_classes(truth), chosen, graph, truth)


def _switches(dataset: JacobianDataset) -> Bools:
    """Return the rows whose graph differs from that of the row before, in the same episode."""
    batch = dataset.with_columns(["mask_s", "mask_a", "episode", "step"], coordinates="ambient")[:]
    differs = np.zeros(len(dataset), bool)
    for name in ("mask_s", "mask_a"):
        differs[1:] |= (batch[name][1:] != batch[name][:-1]).any((1, 2))
    differs[1:] &= (np.diff(batch["episode"]) == 0) & (np.diff(batch["step"]) == 1)
    return differs


def _truth(evaluated: EvaluationRows) -> Bools:
    if evaluated.rows.graph is None:
        raise InvalidSettingError("the rows to evaluate on were read without their masks; use read_evaluation_rows")
    return evaluated.rows.graph


def _flat(values: Floats) -> Floats:
    return values.reshape(len(values), -1)


def _data(evaluated: EvaluationRows) -> dict[str, Any]:
    store = evaluated.dataset.store
    return {
        "task": store.task,
        "policy": store.policy,
        "dynamics": store.dynamics,
        "split": evaluated.dataset.split,
        "rows": len(evaluated.rows),
        "settings_sha256": evaluated.dataset.metadata["settings_sha256"],
    }


def _json(value: Any) -> Any:
    """Return plain Python numbers; what is not finite becomes None, as JSON has no word for it."""
    if isinstance(value, dict):
        return {name: _json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_json(item) for item in value]
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    number = float(value)
    return number if np.isfinite(number) else None
