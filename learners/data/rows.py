"""What learners learn from and are evaluated on: rows in memory, and the scales that make them dimensionless."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders import JacobianDataset

__all__ = ["Rows", "Scale", "columns_of", "positions_of", "read_rows", "rows_in_contact", "rows_of"]

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

CONTACT_KINDS = ("contact", "joint_limit", "tendon_limit")
"""Kinds of constraint that make a row count as "in contact", as in the store's own statistics."""

INVALID_FLAGS = ("nonfinite", "tangents_lost")
"""Rows with these flags have no true Jacobian; neither learners nor measures see them."""


@dataclass(frozen=True)
class Rows:
    """Transitions of one task, with their true Jacobians and graphs; n rows in the store's order.

    Attributes:
        state: float32, shape (n, ds); units are MuJoCo's.
        action: float32, shape (n, da), in (-1, 1).
        next_state: float32, shape (n, ds).
        jacobian: [J_s | J_a], float32, shape (n, ds, ds + da), row = effect; None if not read.
        graph: [mask_s | mask_a], bool, shape (n, ds, ds + da); None if not read.
    """

    state: Floats
    action: Floats
    next_state: Floats
    jacobian: Floats | None = None
    graph: Bools | None = None

    def __len__(self) -> int:
        return len(self.state)

    def __getitem__(self, key: Any) -> Rows:
        """Return some of the rows, as NumPy takes them; a slice copies nothing."""
        columns: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        columns = {name: None if values is None else values[key] for name, values in columns.items()}
        return Rows(**columns)

    @property
    def sizes(self) -> tuple[int, int]:
        """ds and da."""
        return self.state.shape[1], self.action.shape[1]


@dataclass(frozen=True)
class Scale:
    """Means and standard deviations over the train split, with 1 for a standard deviation of 0.

    Attributes:
        input_mean: Of (state, action), float32, shape (ds + da,).
        input_std: Likewise.
        output_mean: Of the next state, float32, shape (ds,).
        output_std: Likewise.
        delta_std: Of next state − state, float32, shape (ds,).
    """

    input_mean: Floats
    input_std: Floats
    output_mean: Floats
    output_std: Floats
    delta_std: Floats

    @staticmethod
    def of(dataset: JacobianDataset) -> Scale:
        """Return the scale of a store, whatever the split of the data set given.

        Args:
            dataset: Of the task.
        """

        def vector(column: str, measure: str) -> NDArray[np.float64]:
            values = np.asarray(dataset.statistics[column][measure], np.float64)
            return np.where(values == 0, 1.0, values) if measure == "std" else values

        def both(measure: str) -> Floats:
            return np.concatenate([vector("state", measure), vector("action", measure)]).astype(np.float32)

        return Scale(
            both("mean"),
            both("std"),
            vector("next_state", "mean").astype(np.float32),
            vector("next_state", "std").astype(np.float32),
            vector("delta", "std").astype(np.float32),
        )

    @property
    def change_scale(self) -> list[float]:
        """Standard deviations of the change of each state by that of the next state, ds numbers."""
        return [float(ratio) for ratio in self.delta_std / self.output_std]

    def inputs(self, state: Floats, action: Floats) -> Floats:
        """Normalise states and actions.

        Args:
            state: Float32, shape (n, ds), MuJoCo's units.
            action: Float32, shape (n, da).

        Returns:
            (state, action) side by side, float32, shape (n, ds + da).
        """
        joined = np.concatenate([state, action], axis=1, dtype=np.float32)
        return np.asarray((joined - self.input_mean) / self.input_std, np.float32)

    def outputs(self, next_state: Floats) -> Floats:
        """Normalise next states.

        Args:
            next_state: Float32, shape (n, ds), MuJoCo's units.

        Returns:
            Float32, shape (n, ds).
        """
        return np.asarray((next_state - self.output_mean) / self.output_std, np.float32)

    def physical(self, outputs: Floats) -> Floats:
        """Undo `outputs`.

        Args:
            outputs: Normalised next states, shape (n, ds).
        """
        return np.asarray(outputs * self.output_std + self.output_mean, np.float32)

    def dimensionless(self, jacobian: Floats) -> Floats:
        """Return a Jacobian [J_s | J_a] between normalised inputs and outputs, float32, shape (n, ds, ds + da).

        Entry (i, j) is by how many of its standard deviations effect i moves per standard deviation of cause j, so
        that entries of different units compare.

        Args:
            jacobian: In MuJoCo's units, shape (n, ds, ds + da).
        """
        return np.asarray(jacobian * (self.input_std[None, :] / self.output_std[:, None]), np.float32)

    def dimensional(self, jacobian: Floats) -> Floats:
        """Undo `dimensionless`.

        Args:
            jacobian: Dimensionless, shape (n, ds, ds + da).
        """
        return np.asarray(jacobian * (self.output_std[:, None] / self.input_std[None, :]), np.float32)


def read_rows(
    dataset: JacobianDataset, *, jacobian: bool = False, graph: bool = False, limit: int | None = None
) -> Rows:
    """Read a data set into memory.

    Args:
        dataset: In ambient coordinates if it has Jacobians to read; rows without a true Jacobian are left out.
        jacobian: Read J_s and J_a.
        graph: Read mask_s and mask_a.
        limit: Read at most that many rows, evenly spread over all of them.

    Returns:
        The rows.

    Raises:
        InvalidSettingError: The data set is empty, or its Jacobians are in tangent coordinates of other sizes.
    """
    chosen = positions_of(dataset, limit)
    return rows_of(dataset.with_columns(columns_of(jacobian=jacobian, graph=graph), coordinates="ambient")[chosen])


def positions_of(dataset: JacobianDataset, limit: int | None = None) -> NDArray[np.int64]:
    """Return the positions of the rows to learn from or to evaluate on, int64, shape (n,).

    Args:
        dataset: Whose rows.
        limit: At most that many, evenly spread over all that have a true Jacobian.

    Raises:
        InvalidSettingError: There is none.
    """
    chosen = valid_positions(dataset)
    if limit is not None and chosen.size > limit:
        chosen = chosen[np.linspace(0, chosen.size - 1, limit).astype(np.int64)]
    if chosen.size == 0:
        raise InvalidSettingError(f"{dataset!r} has no rows to learn from or to evaluate on: generate more episodes")
    return chosen


def columns_of(*, jacobian: bool, graph: bool) -> list[str]:
    """Return the names of the columns that `rows_of` wants.

    Args:
        jacobian: With J_s and J_a.
        graph: With mask_s and mask_a.
    """
    names = ["state", "action", "next_state"]
    names += ["J_s", "J_a"] if jacobian else []
    names += ["mask_s", "mask_a"] if graph else []
    return names


def rows_of(batch: dict[str, NDArray[Any]]) -> Rows:
    """Return a loader's batch as rows; Jacobians and graphs where it has them.

    Args:
        batch: Columns of `columns_of`, in ambient coordinates.
    """
    return Rows(
        batch["state"],
        batch["action"],
        batch["next_state"],
        np.concatenate([batch["J_s"], batch["J_a"]], axis=2) if "J_s" in batch else None,
        np.concatenate([batch["mask_s"], batch["mask_a"]], axis=2) > 0 if "mask_s" in batch else None,
    )


def rows_in_contact(dataset: JacobianDataset, positions: NDArray[np.int64]) -> Bools:
    """Return the rows in which a contact or a limit of a joint or tendon acts in some substep; bool, shape (n,).

    Args:
        dataset: Of the task.
        positions: Which rows of it, int64, shape (n,).
    """
    kinds = [constraint["kind"] in CONTACT_KINDS for constraint in dataset.metadata["constraints"]]
    if not any(kinds):
        return np.zeros(len(positions), bool)
    active = dataset.with_columns(["active_any"])[positions]["active_any"]
    return np.asarray(active[:, kinds].any(1))


def valid_positions(dataset: JacobianDataset) -> NDArray[np.int64]:
    """Return the positions in a data set of the rows that have a true Jacobian, int64, shape (n,).

    Args:
        dataset: Whose rows.
    """
    bits = sum(1 << dataset.metadata["flag_bits"][flag] for flag in INVALID_FLAGS)
    flags = dataset.with_columns(["flags"])[:]["flags"]
    return np.flatnonzero(flags & bits == 0)
