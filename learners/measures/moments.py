"""What is known of rows beside their transitions: episode, step, which constraints act, and the mode that this is."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.loaders import JacobianDataset

__all__ = ["LIMIT_KINDS", "MODES", "Moments", "read_moments", "run_starts"]

MODES = ("free", "limit", "contact", "changing")
"""No contact or limit acts; a limit, no contact; a contact; one that acts in some substeps and not in others."""

LIMIT_KINDS = ("joint_limit", "tendon_limit")


@dataclass(frozen=True)
class Moments:
    """Rows of one task; n rows, in the order in which they were read.

    Attributes:
        episode: Index of the episode, int64, shape (n,).
        step: Control steps since the reset, int64, shape (n,).
        mode: Index into `MODES`, int64, shape (n,).
        active: Constraints that act in some substep and those that act in all, side by side, uint8, shape (n, 2·nc).
    """

    episode: NDArray[np.int64]
    step: NDArray[np.int64]
    mode: NDArray[np.int64]
    active: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.episode)

    def __getitem__(self, key: Any) -> Moments:
        """Return some of the rows, as NumPy takes them."""
        return Moments(**{field.name: getattr(self, field.name)[key] for field in fields(self)})

    @property
    def contact(self) -> NDArray[np.bool_]:
        """Rows in which a contact or limit acts, bool, shape (n,)."""
        return self.mode > 0

    def keys(self) -> list[bytes]:
        """Return each row's active set as a key."""
        return [row.tobytes() for row in self.active]

    def groups(self) -> NDArray[np.int64]:
        """Return a number for each row, the same for rows of the same active set, int64, shape (n,)."""
        _, numbers = np.unique(np.array([*self.keys(), b"."], object)[:-1], return_inverse=True)
        return np.asarray(numbers, np.int64)


def read_moments(dataset: JacobianDataset, positions: NDArray[np.int64]) -> Moments:
    """Read the moments of some rows.

    Args:
        dataset: Of the task.
        positions: Which rows of it, int64, shape (n,).
    """
    # A task without constraints has no such columns.
    acting = ["active_any", "active_all"] if dataset.metadata["constraints"] else []
    batch = dataset.with_columns(["episode", "step", *acting])[positions]
    nothing = np.zeros((len(positions), 0), bool)
    some, whole = (np.asarray(batch.get(name, nothing), bool) for name in ("active_any", "active_all"))
    kinds = np.array([constraint["kind"] for constraint in dataset.metadata["constraints"]], object)
    limits, contacts = np.isin(kinds, LIMIT_KINDS), kinds == "contact"
    mode = np.zeros(len(some), np.int64)
    mode[some[:, limits].any(1)] = MODES.index("limit")
    mode[some[:, contacts].any(1)] = MODES.index("contact")
    either = limits | contacts
    mode[(some[:, either] != whole[:, either]).any(1)] = MODES.index("changing")
    active = np.concatenate([some, whole], axis=1).astype(np.uint8)
    return Moments(batch["episode"].astype(np.int64), batch["step"].astype(np.int64), mode, active)


def run_starts(values: NDArray[Any], episode: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return where runs begin: rows whose value, or episode, is not that of the row before; bool, shape (n,).

    Args:
        values: shape (n,).
        episode: Of each row, int64, shape (n,).
    """
    starts = np.ones(len(values), bool)
    starts[1:] = (values[1:] != values[:-1]) | (episode[1:] != episode[:-1])
    return starts
