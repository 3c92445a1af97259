"""Q3, does sparsity change sparsely in time? For how long an entry stays zero, and stays non-zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis import bits
from dynamic_sparsity.analysis.blocks import Block
from dynamic_sparsity.analysis.collecting import collect
from dynamic_sparsity.loaders.dataset import JacobianDataset

__all__ = ["ENDS", "MATRICES", "VALUES", "RunCounter", "RunLengths", "run_lengths"]

MATRICES = ("J_s", "J_a")
VALUES = ("zero", "nonzero")
ENDS = ("complete", "cut_at_start", "cut_at_end")
"""Both of a run's ends are switches; it began before the episode; it went on after it."""


@dataclass(frozen=True)
class RunLengths:
    """How long entries stay zero and non-zero.

    A *run* is a longest stretch of control steps of one episode in which one entry is always zero, or never. Runs of
    entries that do not switch at all in an episode are counted apart, as in the paper. Of the others the first and the
    last of an episode are cut off by its ends: their true duration is longer.

    Attributes:
        counts: Runs by matrix (`MATRICES`), value (`VALUES`), ends (`ENDS`) and duration in control steps, int64,
            shape (2, 2, 3, longest episode + 1).
        constant: Pairs of an entry and an episode without a switch, by matrix and value, int64, shape (2, 2).
        switches_s: Switches of each entry of J_s, int64, shape (dx, dx).
        switches_a: Switches of each entry of J_a, int64, shape (dx, da).
        complete_runs: Complete runs by entry (J_s, then J_a, row by row) and value, int64, shape (entries, 2).
        complete_steps: Their control steps in all, int64, shape (entries, 2).

    Source: Pandaram et al., arXiv 2511.08086, Figure 7.
    """

    counts: NDArray[np.int64]
    constant: NDArray[np.int64]
    switches_s: NDArray[np.int64]
    switches_a: NDArray[np.int64]
    complete_runs: NDArray[np.int64]
    complete_steps: NDArray[np.int64]

    def total(self, matrix: str, value: str) -> NDArray[np.int64]:
        """Return runs by ends and duration, int64, shape (3, longest episode + 1).

        Args:
            matrix: "J_s", "J_a", or "both".
            value: "zero" or "nonzero".
        """
        chosen = self.counts[:, VALUES.index(value)]
        return np.asarray(chosen.sum(axis=0) if matrix == "both" else chosen[MATRICES.index(matrix)])

    def mean(self, matrix: str, value: str, *, cut: bool = True) -> float:
        """Mean duration of the runs in control steps; NaN if there are none.

        Args:
            matrix: "J_s", "J_a", or "both".
            value: "zero" or "nonzero".
            cut: Count cut-off runs as if they ended there, which makes the mean too short; without them it is too
                short as well, as long runs are cut more often than short ones. `survival_mean` corrects that.
        """
        counts = self.total(matrix, value)
        durations = counts.sum(axis=0) if cut else counts[0]
        return float(durations @ np.arange(durations.size) / durations.sum()) if durations.sum() else float("nan")

    def survival(self, matrix: str, value: str) -> NDArray[np.float64]:
        """Return the probability that a run lasts longer than so many control steps, shape (longest episode + 1,).

        The Kaplan–Meier estimate from the runs that begin inside an episode; those cut off at its end count as long
        as they were seen. Runs cut off at the start of the episode give no duration and are left out.

        Args:
            matrix: "J_s", "J_a", or "both".
            value: "zero" or "nonzero".

        Source: Kaplan and Meier, Nonparametric estimation from incomplete observations, JASA 1958.
        """
        complete, _, cut = self.total(matrix, value)
        at_risk = np.cumsum((complete + cut)[::-1])[::-1]
        return np.cumprod(1 - np.divide(complete, at_risk, out=np.zeros(complete.size), where=at_risk > 0))

    def survival_mean(self, matrix: str, value: str) -> float:
        """Mean duration in control steps within the longest episode, by `survival`; NaN if no run begins inside one.

        Args:
            matrix: "J_s", "J_a", or "both".
            value: "zero" or "nonzero".
        """
        complete, _, cut = self.total(matrix, value)
        return float(self.survival(matrix, value)[:-1].sum()) if (complete + cut).sum() else float("nan")


class RunCounter:
    """Counts runs."""

    def __init__(self) -> None:
        self._counts = np.zeros((2, 2, 3, 1), np.int64)
        self._constant = np.zeros((2, 2), np.int64)
        self._switches: Any = 0
        self._complete: list[Any] = [0, 0]
        self._shapes: tuple[tuple[int, ...], tuple[int, ...]] = ((0, 0), (0, 0))

    def update(self, block: Block) -> None:
        """See `Accumulator.update`."""
        self._shapes = block.mask_s.shape[1:], block.mask_a.shape[1:]
        entries_s, entries_a = (int(np.prod(shape)) for shape in self._shapes)
        entries = entries_s + entries_a
        rows = np.flatnonzero(block.changed)
        values_at = _unpacked(block, block.words[rows], entries_s, entries_a)
        flips = values_at ^ _unpacked(block, block.words[rows - 1], entries_s, entries_a)
        # Sorted by entry, then by time, as the runs of an entry follow each other.
        entry, change = np.nonzero(np.ascontiguousarray(flips.T))
        row = rows[change]
        value = np.where(values_at[change, entry] != 0, 1, 0)
        segment = np.searchsorted(block.starts, row, side="right") - 1
        begin, end = block.starts[segment], block.starts[segment] + block.lengths[segment]
        is_last = np.ones(row.size, bool)
        is_last[:-1] = (entry[1:] != entry[:-1]) | (segment[1:] != segment[:-1])
        is_first = np.ones(row.size, bool)
        is_first[1:] = is_last[:-1]
        duration = np.append(row[1:], 0) - row
        duration[is_last] = (end - row)[is_last]
        # A run from each switch to the next or to the end, and one before the first switch.
        self._add(
            np.concatenate([entry, entry[is_first]]) >= entries_s,
            np.concatenate([value, 1 - value[is_first]]),
            np.concatenate([np.where(is_last, 2, 0), np.ones(int(is_first.sum()), np.int64)]),
            np.concatenate([duration, (row - begin)[is_first]]),
            int(block.lengths.max()),
        )
        self._switches = self._switches + np.bincount(entry, minlength=entries)
        inner = ~is_last
        places = 2 * entry[inner] + value[inner]
        for number, weights in enumerate((None, duration[inner])):
            found = np.bincount(places, weights=weights, minlength=2 * entries).astype(np.int64)
            self._complete[number] = self._complete[number] + found.reshape(entries, 2)
        self._add_constant(block, entry[is_first], segment[is_first], entries_s, entries_a)

    def result(self) -> RunLengths:
        """Return what was counted."""
        entries_s = int(np.prod(self._shapes[0]))
        return RunLengths(
            self._counts,
            self._constant,
            self._switches[:entries_s].reshape(self._shapes[0]),
            self._switches[entries_s:].reshape(self._shapes[1]),
            *self._complete,
        )

    def _add(
        self,
        matrix: NDArray[np.bool_],
        value: NDArray[np.int64],
        ends: NDArray[np.int64],
        duration: NDArray[np.int64],
        longest: int,
    ) -> None:
        size = max(self._counts.shape[-1], longest + 1)
        self._counts = np.pad(self._counts, [(0, 0)] * 3 + [(0, size - self._counts.shape[-1])])
        places = ((2 * matrix + value) * 3 + ends) * size + duration
        self._counts += np.bincount(places, minlength=12 * size).reshape(self._counts.shape)

    def _add_constant(
        self, block: Block, entry: NDArray[np.int64], segment: NDArray[np.int64], entries_s: int, entries_a: int
    ) -> None:
        """Count the entries that never switch in a segment, by their value at its start."""
        nonzero = _unpacked(block, block.words[block.starts], entries_s, entries_a).astype(bool)
        still = np.ones(nonzero.shape, bool)
        still[segment, entry] = False
        for matrix, chosen in enumerate((slice(None, entries_s), slice(entries_s, None))):
            ones = int((still & nonzero)[:, chosen].sum())
            self._constant[matrix] += [int(still[:, chosen].sum()) - ones, ones]


def run_lengths(dataset: JacobianDataset) -> RunLengths:
    """Count the runs of zero and non-zero of all entries, in one pass.

    Args:
        dataset: In ascending order of rows.

    Raises:
        InvalidSettingError: The data set is empty or not in order.
    """
    counter = RunCounter()
    collect(dataset, counter)
    return counter.result()


def _unpacked(block: Block, words: NDArray[np.uint64], entries_s: int, entries_a: int) -> NDArray[np.uint8]:
    """Return the entries of J_s, then of J_a, of some rows' words, uint8, shape (n, entries_s + entries_a)."""
    cut = block.words_s.shape[1]
    if not entries_a:
        return bits.unpack(words[:, :cut], entries_s)
    return np.concatenate([bits.unpack(words[:, :cut], entries_s), bits.unpack(words[:, cut:], entries_a)], axis=1)
