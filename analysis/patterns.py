"""Q2, which patterns of zeros occur, how often, and which contacts and limits are active in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis import bits
from dynamic_sparsity.analysis.blocks import Block
from dynamic_sparsity.analysis.collecting import collect
from dynamic_sparsity.loaders.dataset import JacobianDataset

__all__ = [
    "Pattern",
    "PatternCounter",
    "PatternTable",
    "Patterns",
    "describe_patterns",
    "entropy",
    "pattern_table",
    "summarise_patterns",
]

MERGE_AT = 1 << 18  # entries of blocks that wait to be merged into the table


@dataclass(frozen=True)
class PatternTable:
    """Which patterns of zeros occur together with which sets of active constraints.

    A *pattern* is the pair of masks of J_s and J_a of a row; an *active set* is the row's `active_any`. One entry for
    each pair of the two that occurs, in the order of its first row; patterns and sets are numbered in that order too.

    Attributes:
        pattern: Number of the pattern, int64, shape (pairs,).
        active_set: Number of the active set, int64, shape (pairs,).
        count: Rows with this pair, int64, shape (pairs,).
        first: Position in the data set of the first of them, int64, shape (pairs,).
    """

    pattern: NDArray[np.int64]
    active_set: NDArray[np.int64]
    count: NDArray[np.int64]
    first: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Rows in all."""
        return int(self.count.sum())

    @property
    def pattern_counts(self) -> NDArray[np.int64]:
        """Rows of each pattern, int64, shape (patterns,)."""
        return np.bincount(self.pattern, weights=self.count).astype(np.int64)

    @property
    def active_set_counts(self) -> NDArray[np.int64]:
        """Rows of each active set, int64, shape (sets,)."""
        return np.bincount(self.active_set, weights=self.count).astype(np.int64)

    def entropies(self) -> dict[str, float]:
        """Return how much the pattern varies, and how much of that the active set explains, in bits.

        Returns:
            `pattern`: entropy H(pattern); `active_set`: H(active set); `pattern_given_active_set`: what remains of the
            pattern's entropy when the active set is known; `explained`: 1 − that / H(pattern), NaN for a single
            pattern. Plug-in estimates: biased towards "explained" where there are many sets with few rows each.
        """
        pattern, active, joint = (entropy(c) for c in (self.pattern_counts, self.active_set_counts, self.count))
        rest = max(0.0, joint - active)
        explained = 1 - rest / pattern if pattern > 0 else float("nan")
        return {
            "pattern": pattern,
            "active_set": active,
            "pattern_given_active_set": rest,
            "explained": explained,
        }

    def covering(self, share: float) -> int:
        """Return how many of the most frequent patterns make up a share of the rows.

        Args:
            share: 0 to 1.
        """
        counts = np.sort(self.pattern_counts)[::-1]
        return int(np.searchsorted(np.cumsum(counts), share * self.rows - 0.5) + 1)


class PatternCounter:
    """Collects the pairs of pattern and active set that occur, by key."""

    def __init__(self) -> None:
        self._parts: list[tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]] = []
        self._waiting = 0

    def update(self, block: Block) -> None:
        """See `Accumulator.update`."""
        patterns, active = bits.row_keys(block.words), bits.row_keys(bits.pack(block.active_any))
        rows = np.arange(block.first, block.first + len(block))
        # Neighbouring rows are mostly alike: only where one differs from the one before is there something to sort.
        new = np.ones(len(block), bool)
        new[1:] = (patterns[1:] != patterns[:-1]) | (active[1:] != active[:-1])
        counts = np.diff(np.append(rows[new], block.first + len(block)))
        self._parts.append(_merged(patterns[new], active[new], counts, rows[new]))
        self._waiting += len(self._parts[-1][0])
        if self._waiting > MERGE_AT:
            self._merge()

    def result(self) -> PatternTable:
        """Return what occurred."""
        self._merge()
        patterns, active, counts, first = self._parts[0]
        order = np.argsort(first)
        return PatternTable(_numbered(patterns[order]), _numbered(active[order]), counts[order], first[order])

    def _merge(self) -> None:
        patterns, active, counts, first = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        self._parts = [_merged(patterns, active, counts, first)]
        self._waiting = 0


def pattern_table(dataset: JacobianDataset) -> PatternTable:
    """Find the distinct patterns and active sets, in one pass.

    Args:
        dataset: In ascending order of rows.

    Raises:
        InvalidSettingError: The data set is empty or not in order.
    """
    counter = PatternCounter()
    collect(dataset, counter)
    return counter.result()


@dataclass(frozen=True)
class Pattern:
    """One pattern of zeros.

    Attributes:
        number: Its number in the table.
        rows: Rows that have it.
        share: Their share.
        first: Position in the data set of the first of them.
        zeros_s: Zeros in J_s.
        zeros_a: Zeros in J_a.
        sparsity: Share of zeros in [J_s | J_a].
        active_sets: Number of active sets that it occurs with.
        active: Share of its rows in which each constraint acts, float64, shape (nc,).
    """

    number: int
    rows: int
    share: float
    first: int
    zeros_s: int
    zeros_a: int
    sparsity: float
    active_sets: int
    active: NDArray[np.float64]


@dataclass(frozen=True)
class Patterns:
    """The distinct patterns in short.

    Attributes:
        patterns: How many distinct ones.
        active_sets: Distinct sets of active constraints.
        pairs: Distinct pairs of both.
        covering: Patterns that make up 99 % of the rows.
        entropies: Of `PatternTable.entropies`.
        top: The most frequent ones.
    """

    patterns: int
    active_sets: int
    pairs: int
    covering: int
    entropies: dict[str, float]
    top: list[Pattern]


def summarise_patterns(dataset: JacobianDataset, table: PatternTable) -> Patterns:
    """Return the distinct patterns in short.

    Args:
        dataset: The one that the table was made of.
        table: Of `pattern_table`.
    """
    return Patterns(
        table.pattern_counts.size,
        table.active_set_counts.size,
        table.count.size,
        table.covering(0.99),
        table.entropies(),
        describe_patterns(dataset, table),
    )


def describe_patterns(dataset: JacobianDataset, table: PatternTable, top: int = 10) -> list[Pattern]:
    """Return the most frequent patterns and what their rows have in common.

    Args:
        dataset: The one that the table was made of.
        table: Of `pattern_table`.
        top: How many.
    """
    counts = table.pattern_counts
    found = []
    columns = [name for name in ("mask_s", "mask_a", "active_any") if name in dataset.store.arrays]
    for number in np.argsort(-counts, kind="stable")[:top].tolist():
        pairs = np.flatnonzero(table.pattern == number)
        batch = _read(dataset, columns, table.first[pairs])
        zeros_s = int((batch["mask_s"][0] == 0).sum())
        zeros_a = int((batch["mask_a"][0] == 0).sum()) if "mask_a" in batch else 0
        entries = batch["mask_s"][0].size + (batch["mask_a"][0].size if "mask_a" in batch else 0)
        active = table.count[pairs] @ batch["active_any"] / counts[number] if "active_any" in batch else np.zeros(0)
        found.append(
            Pattern(
                number,
                int(counts[number]),
                float(counts[number] / table.rows),
                int(table.first[pairs].min()),
                zeros_s,
                zeros_a,
                (zeros_s + zeros_a) / entries,
                pairs.size,
                np.asarray(active, np.float64),
            )
        )
    return found


def _read(
    dataset: JacobianDataset, columns: Sequence[str], positions: NDArray[np.int64]
) -> dict[str, NDArray[np.uint8]]:
    return dataset.store.reader.gather(columns, dataset.rows[positions])


def _merged(
    patterns: NDArray[np.uint64], active: NDArray[np.uint64], counts: NDArray[np.int64], first: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the same pairs, each once."""
    order = np.lexsort((first, active, patterns))
    patterns, active, counts, first = patterns[order], active[order], counts[order], first[order]
    new = np.ones(patterns.size, bool)
    new[1:] = (patterns[1:] != patterns[:-1]) | (active[1:] != active[:-1])
    starts = np.flatnonzero(new)
    return patterns[new], active[new], np.add.reduceat(counts, starts), first[new]


def _numbered(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return each key's number in the order of first appearance."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(first.size, np.int64)
    rank[np.argsort(first)] = np.arange(first.size)
    return rank[inverse]


def entropy(counts: NDArray[np.int64]) -> float:
    """Return the Shannon entropy of a distribution given by counts, bits.

    Args:
        counts: ≥ 0, at least one above.
    """
    shares = counts[counts > 0] / counts.sum()
    return float(abs(-(shares * np.log2(shares)).sum()))
