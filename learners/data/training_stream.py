"""Rows that are read while a network trains, for data larger than memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.data.rows import Rows, Scale, columns_of, rows_of
from dynamic_sparsity.loaders import JacobianDataset
from dynamic_sparsity.loaders.sampling import in_background

__all__ = ["PIECE_STEPS", "RowStream", "dimensionless"]

PIECE_STEPS = 50
"""Gradient steps whose rows are read, and handed to the device, at a time."""

Arrays = dict[str, NDArray[Any]]


class RowStream:
    """The rows of train in batches, read in a thread while the network learns from those before.

    Chunks of the store come in random order, and their rows mixed within some chunks, so that a disk is read in long
    pieces; every row comes once before any comes again. The order depends on the seed only.

    Attributes:
        waited_seconds: How long `pieces` has kept its callers waiting, all in all.
    """

    def __init__(self, dataset: JacobianDataset, scale: Scale, *, jacobian: bool, graph: bool):
        """Open a stream; nothing is read yet.

        Args:
            dataset: The rows.
            scale: Of the data.
            jacobian: Also read J_s and J_a.
            graph: Also read mask_s and mask_a.
        """
        self.dataset = dataset.with_columns(columns_of(jacobian=jacobian, graph=graph), coordinates="ambient")
        self.scale = scale
        self.waited_seconds = 0.0

    def rows(self, batch_rows: int, seed: int) -> Iterator[Rows]:
        """Yield batches in physical units, without end; the last one of a pass over the rows may be shorter.

        Args:
            batch_rows: Rows per batch.
            seed: Of their order, ≥ 0.
        """
        batches = self.dataset.batches(batch_rows, seed=seed, shuffle="blocks", epochs=None)
        return (rows_of(batch) for batch in batches)

    def pieces(self, budget: Budget, seed: int) -> Iterator[Arrays]:
        """Yield the batches of a complete training, `PIECE_STEPS` of them at a time, dimensionless.

        Args:
            budget: Steps and sizes of batches.
            seed: Of the order, ≥ 0.

        Yields:
            What `dimensionless` gives, with the dimensions (steps, batch_rows) in front, (steps, jacobian_rows) for
            "jacobian".
        """
        ready = in_background(self._pieces(budget, seed))
        while True:
            started = time.perf_counter()
            piece = next(ready, None)
            self.waited_seconds += time.perf_counter() - started
            if piece is None:
                return
            yield piece

    def _pieces(self, budget: Budget, seed: int) -> Iterator[Arrays]:
        parts: list[Rows] = []
        batches = self.rows(budget.batch_rows * PIECE_STEPS, seed)
        for first in range(0, budget.steps, PIECE_STEPS):
            steps = min(PIECE_STEPS, budget.steps - first)
            wanted = steps * budget.batch_rows
            while sum(map(len, parts)) < wanted:
                parts.append(next(batches))
            rows = parts[0] if len(parts) == 1 else _joined(parts)
            parts = [rows[wanted:]] if len(rows) > wanted else []
            yield _by_step(rows[:wanted], self.scale, steps, budget.jacobian_rows)


def dimensionless(rows: Rows, scale: Scale) -> Arrays:
    """Return what networks see of rows.

    Args:
        rows: In physical units.
        scale: Of the data.

    Returns:
        "x": normalised states and actions, float32, shape (n, ds + da); "y": normalised next states; and, where the
        rows have them, "jacobian": float32, shape (n, ds, ds + da); "graph": bool, likewise.
    """
    arrays: Arrays = {"x": scale.inputs(rows.state, rows.action), "y": scale.outputs(rows.next_state)}
    if rows.jacobian is not None:
        arrays["jacobian"] = scale.dimensionless(rows.jacobian)
    if rows.graph is not None:
        arrays["graph"] = rows.graph
    return arrays


def _by_step(rows: Rows, scale: Scale, steps: int, jacobian_rows: int) -> Arrays:
    """Return `dimensionless` step by step; Jacobians of the first `jacobian_rows` rows of each only."""
    jacobian = rows.jacobian
    arrays = dimensionless(replace(rows, jacobian=None), scale)
    arrays = {name: values.reshape(steps, -1, *values.shape[1:]) for name, values in arrays.items()}
    if jacobian is not None:
        few = jacobian.reshape(steps, -1, *jacobian.shape[1:])[:, :jacobian_rows]
        arrays["jacobian"] = scale.dimensionless(few)
    return arrays


def _joined(parts: list[Rows]) -> Rows:
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Rows)}
    joined: dict[str, Any] = {
        name: None if values[0] is None else np.concatenate(values) for name, values in columns.items()
    }
    return Rows(**joined)
