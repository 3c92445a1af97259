"""Normalisation statistics and the structural summary of a store, in one pass over its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dynamic_sparsity.schemas import FLAG_BITS, statistics_arrays

# What the statistics read from each row besides `train`; absent columns are those with a zero-sized dimension.
COLUMNS: Final[tuple[str, ...]] = ("state", "action", "next_state", "reward", "flags", "mask_s", "mask_a", "active_any")
NORMALISED: Final[tuple[str, ...]] = ("state", "action", "next_state", "delta", "reward")
# A friction loss is always active and would make every row one with contact.
CONTACT_KINDS: Final = frozenset({"contact", "joint_limit", "tendon_limit"})
ROW_GROUPS: Final = {"": "rows_all", "_contact": "rows_contact", "_free": "rows_free"}

Block = Mapping[str, npt.NDArray[Any]]


@dataclass
class Moments:
    """Mean, spread and range of a stream of vectors, in float64.

    Attributes:
        count: Vectors seen.
        mean: (...,) float64.
        squares: (...,) float64, sum of squared distances from the mean.
        smallest: (...,) float64.
        largest: (...,) float64.
    """

    count: int
    mean: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]
    smallest: npt.NDArray[np.float64]
    largest: npt.NDArray[np.float64]

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> Moments:
        """Return the moments of no vectors.

        Args:
            shape: Shape of a vector.
        """
        return cls(0, np.zeros(shape), np.zeros(shape), np.full(shape, np.inf), np.full(shape, -np.inf))

    def add(self, values: npt.NDArray[Any]) -> None:
        """Add a block of vectors.

        The pairwise merge keeps full precision where the mean is far larger than the spread.

        Args:
            values: (rows, ...) finite numbers.

        Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances",
            eq. 2.1.
        """
        if not len(values):
            return
        values = values.astype(np.float64)
        mean = values.mean(axis=0)
        squares = ((values - mean) ** 2).sum(axis=0)
        self.merge(Moments(len(values), mean, squares, values.min(axis=0), values.max(axis=0)))

    def merge(self, other: Moments) -> None:
        """Add the moments of other vectors.

        Args:
            other: Of at least one vector.
        """
        difference = other.mean - self.mean
        total = self.count + other.count
        self.squares = self.squares + (other.squares + difference**2 * (self.count * other.count / total))
        self.mean = self.mean + difference * (other.count / total)
        self.smallest = np.minimum(self.smallest, other.smallest)
        self.largest = np.maximum(self.largest, other.largest)
        self.count = total

    def result(self) -> dict[str, npt.NDArray[Any]]:
        """Return the statistics by suffix; NaN where no vector was seen."""
        if not self.count:
            nothing = np.full(self.mean.shape, np.nan)
            moments: dict[str, npt.NDArray[Any]] = {"mean": nothing, "std": nothing, "min": nothing, "max": nothing}
        else:
            deviation = np.sqrt(self.squares / self.count)
            moments = {"mean": self.mean, "std": deviation, "min": self.smallest, "max": self.largest}
        return {**moments, "count": np.asarray(self.count, dtype=np.int64)}


class Accumulator:
    """The statistics of a store, from one block of rows after the other; memory does not grow with their number."""

    def __init__(self, sizes: Mapping[str, int], constraint_kinds: Sequence[str]) -> None:
        """Start with no rows.

        Args:
            sizes: The metadata's `sizes`.
            constraint_kinds: (nc,) the kind of each constraint.
        """
        self._sizes = sizes
        self._contact_like = np.array([kind in CONTACT_KINDS for kind in constraint_kinds], dtype=bool)
        shapes = {"action": (sizes["da"],), "reward": ()}
        self._moments = {name: Moments.empty(shapes.get(name, (sizes["ds"],))) for name in NORMALISED}
        self._rows = dict.fromkeys(ROW_GROUPS, 0)
        self._zeros = {
            (mask, group): np.zeros((sizes["dx"], sizes[causes]), dtype=np.int64)
            for mask, causes in (("s", "dx"), ("a", "da"))
            for group in ROW_GROUPS
        }

    def add(self, block: Block) -> None:
        """Add a block of rows; padding and rows flagged nonfinite are left out.

        Args:
            block: The columns named by `COLUMNS` that the store has, and `train`, (rows,) bool: the row belongs to the
                train split.
        """
        left_out = 1 << FLAG_BITS["nonfinite"] | 1 << FLAG_BITS["padding"]
        finite = (block["flags"] & left_out) == 0
        train = finite & block["train"]
        for name in ("state", "action", "next_state", "reward"):
            if name in block:
                self._moments[name].add(block[name][train])
        # In float64, so that the small change of a large state is not rounded a second time.
        self._moments["delta"].add(block["next_state"][train].astype(np.float64) - block["state"][train])
        contact = self._touches(block)
        for group, rows in {"_contact": finite & contact, "_free": finite & ~contact}.items():
            count = int(np.count_nonzero(rows))
            for name in ("", group):
                self._rows[name] += count
            for mask in ("s", "a"):
                if count and f"mask_{mask}" in block:
                    zeros = np.count_nonzero(block[f"mask_{mask}"][rows] == 0, axis=0)
                    for name in ("", group):
                        self._zeros[mask, name] += zeros

    def result(self) -> dict[str, npt.NDArray[Any]]:
        """Return every array of the group `statistics`: name to values, of the schema's dtype and shape."""
        values: dict[str, npt.NDArray[Any]] = {
            f"{name}_{suffix}": value
            for name, moments in self._moments.items()
            for suffix, value in moments.result().items()
        }
        for group, name in ROW_GROUPS.items():
            rows = self._rows[group]
            values[name] = np.asarray(rows, dtype=np.int64)
            for mask in ("s", "a"):
                zeros = self._zeros[mask, group]
                values[f"zero_share_{mask}{group}"] = zeros / rows if rows else np.full(zeros.shape, np.nan)
        return {spec.name: values[spec.name] for spec in statistics_arrays(self._sizes)}

    def _touches(self, block: Block) -> npt.NDArray[np.bool_]:
        """Return which rows have a contact or a limit active in at least one substep, (rows,) bool."""
        if not self._contact_like.any():
            return np.zeros(len(block["flags"]), dtype=bool)
        touches: npt.NDArray[np.bool_] = (block["active_any"][:, self._contact_like] == 1).any(axis=1)
        return touches


def merge_statistics(parts: Sequence[Mapping[str, npt.NDArray[Any]]]) -> dict[str, npt.NDArray[Any]]:
    """Return the statistics of the rows of several stores together.

    Args:
        parts: Each store's arrays of the group `statistics`.

    Returns:
        Every array that all of them have: name to values.
    """
    joint: dict[str, npt.NDArray[Any]] = {}
    for column in NORMALISED:
        if all(f"{column}_mean" in part for part in parts):
            joint |= {f"{column}_{suffix}": value for suffix, value in _merged_moments(column, parts).items()}
    for group, name in ROW_GROUPS.items():
        rows = [int(part[name]) for part in parts]
        joint[name] = np.asarray(sum(rows), dtype=np.int64)
        for share in (f"zero_share_s{group}", f"zero_share_a{group}"):
            if all(share in part for part in parts):
                # Where there are no rows, the share is NaN.
                zeros = sum(np.rint(part[share] * n) for part, n in zip(parts, rows, strict=True) if n)
                joint[share] = zeros / sum(rows) if sum(rows) else np.full(parts[0][share].shape, np.nan)
    return {name: joint[name] for name in parts[0] if name in joint}


def _merged_moments(column: str, parts: Sequence[Mapping[str, npt.NDArray[Any]]]) -> dict[str, npt.NDArray[Any]]:
    merged = Moments.empty(parts[0][f"{column}_mean"].shape)
    for part in parts:
        count = int(part[f"{column}_count"])
        if count:
            mean, std, smallest, largest = (part[f"{column}_{suffix}"] for suffix in ("mean", "std", "min", "max"))
            merged.merge(Moments(count, mean, std**2 * count, smallest, largest))
    return merged.result()


def summarize(
    blocks: Iterable[Block], sizes: Mapping[str, int], constraint_kinds: Sequence[str]
) -> dict[str, npt.NDArray[Any]]:
    """Compute the statistics of a stream of rows.

    Args:
        blocks: Blocks of rows as `Accumulator.add` takes them.
        sizes: The metadata's `sizes`.
        constraint_kinds: (nc,) the kind of each constraint.

    Returns:
        Every array of the group `statistics`: name to values.
    """
    accumulator = Accumulator(sizes, constraint_kinds)
    for block in blocks:
        accumulator.add(block)
    return accumulator.result()
