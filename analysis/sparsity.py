"""Q2, does sparsity depend on the state? The distribution of the share of zeros over the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis import bits
from dynamic_sparsity.analysis.blocks import Block, constraint_kinds
from dynamic_sparsity.analysis.collecting import collect
from dynamic_sparsity.loaders.dataset import JacobianDataset

__all__ = ["ModeCounter", "SparsityCounter", "SparsityDistribution", "modes_of", "sparsity_distribution"]

MODES = ("free", "limit", "contact")
"""A row's mode: a contact acts in it; none does, but a joint or tendon limit; neither."""


@dataclass(frozen=True)
class SparsityDistribution:
    """How many rows have how many zeros, exactly: there are only finitely many possible sparsities.

    Attributes:
        counts_s: Rows by mode (`MODES`) and number of zeros in J_s, int64, shape (3, dx·dx + 1).
        counts_a: Rows by mode and number of zeros in J_a, int64, shape (3, dx·da + 1).

    Source: Pandaram et al., arXiv 2511.08086, Figure 5.
    """

    counts_s: NDArray[np.int64]
    counts_a: NDArray[np.int64]

    def histogram(self, which: str, bins: int = 10) -> NDArray[np.int64]:
        """Return rows in bins of equal width over sparsities from 0 to 1; the last bin includes 1.

        Args:
            which: "s" or "a".
            bins: How many; 10 as in the paper.

        Returns:
            int64, shape (bins,).
        """
        counts = self.of(which).sum(axis=0)
        entries = max(1, counts.size - 1)
        # In whole numbers, so that a sparsity on the edge of two bins always falls into the upper one.
        places = np.minimum(np.arange(counts.size) * bins // entries, bins - 1)
        return np.bincount(places, weights=counts, minlength=bins).astype(np.int64)

    def mean(self, which: str, mode: str | None = None) -> float:
        """Mean sparsity; NaN where there are no such rows.

        Args:
            which: "s" or "a".
            mode: One of `MODES`, or None for all rows.
        """
        counts = self.of(which)
        chosen = counts.sum(axis=0) if mode is None else counts[MODES.index(mode)]
        total, entries = chosen.sum(), max(1, counts.shape[1] - 1)
        return float(chosen @ np.arange(chosen.size) / (total * entries)) if total else float("nan")

    def levels(self, which: str, mode: str | None = None) -> dict[float, int]:
        """Return the sparsities that occur, ascending, and their numbers of rows.

        Args:
            which: "s" or "a".
            mode: One of `MODES`, or None for all rows.
        """
        counts = self.of(which)
        chosen = counts.sum(axis=0) if mode is None else counts[MODES.index(mode)]
        entries = max(1, counts.shape[1] - 1)
        return {int(zeros) / entries: int(chosen[zeros]) for zeros in np.flatnonzero(chosen)}

    def of(self, which: str) -> NDArray[np.int64]:
        """Return `counts_s` or `counts_a`.

        Args:
            which: "s" or "a".
        """
        return self.counts_s if which == "s" else self.counts_a


class ModeCounter:
    """Which mode a row is in."""

    def __init__(self, metadata: dict[str, Any]):
        """Store which constraints are contacts, and which limits.

        Args:
            metadata: Of the store.
        """
        self._kinds = constraint_kinds(metadata)

    def modes(self, block: Block) -> NDArray[np.int64]:
        """Return the index into `MODES` of each row, int64, shape (n,).

        Args:
            block: A block.
        """
        return _modes(block.active_any, self._kinds)


def modes_of(active: NDArray[np.uint8], metadata: dict[str, Any]) -> NDArray[np.int64]:
    """Return the index into `MODES` of each row, int64, shape (n,).

    Args:
        active: `active_any`, shape (n, nc).
        metadata: Of the store.
    """
    return _modes(active, constraint_kinds(metadata))


def _modes(active: NDArray[np.uint8], kinds: dict[str, NDArray[np.bool_]]) -> NDArray[np.int64]:
    contact, limit = (active[:, kinds[kind]].any(axis=1) for kind in ("contact", "limit"))
    return np.where(contact, 2, np.where(limit, 1, 0))


class SparsityCounter:
    """Counts rows by mode and number of zeros."""

    def __init__(self, metadata: dict[str, Any]):
        """Count nothing yet.

        Args:
            metadata: Of the store.
        """
        self._modes = ModeCounter(metadata)
        self._counts: list[Any] = [0, 0]

    def update(self, block: Block) -> None:
        """See `Accumulator.update`."""
        modes = self._modes.modes(block)
        for number, (mask, words) in enumerate(((block.mask_s, block.words_s), (block.mask_a, block.words_a))):
            entries = mask.shape[1] * mask.shape[2]
            places = modes * (entries + 1) + entries - bits.count_ones(words)
            found = np.bincount(places, minlength=len(MODES) * (entries + 1)).reshape(len(MODES), -1)
            self._counts[number] = self._counts[number] + found

    def result(self) -> SparsityDistribution:
        """Return what was counted."""
        return SparsityDistribution(*self._counts)


def sparsity_distribution(dataset: JacobianDataset) -> SparsityDistribution:
    """Count the rows by their number of zeros, and by whether a contact or limit acts, in one pass.

    Args:
        dataset: In ascending order of rows.

    Raises:
        InvalidSettingError: The data set is empty or not in order.
    """
    counter = SparsityCounter(dataset.metadata)
    collect(dataset, counter)
    return counter.result()
