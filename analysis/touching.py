"""What touches what, and how sparse the Jacobians are then: a row's mode, told finer than "a contact acts"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis.blocks import Block
from dynamic_sparsity.analysis.bodies import coarse_entries
from dynamic_sparsity.analysis.collecting import collect
from dynamic_sparsity.analysis.spectrum import tangent_scale
from dynamic_sparsity.loaders.dataset import JacobianDataset

__all__ = ["ContactSet", "contact_sets", "touching_parts"]

GROUNDS = ("floor", "ground", "plane")
"""Names of geoms that stand for the world: what touches them is named alone."""


@dataclass(frozen=True)
class ContactSet:
    """Rows in which the same parts touch.

    Attributes:
        parts: What touches; none for rows without a contact. A pair with the ground is named by the other geom.
        rows: How many such rows there are.
        sparsity_s: Mean share of zeros in J_s, by the store's masks.
        sparsity_a: Likewise in J_a.
        coarse_s: Mean share of entries of J_s below `COARSE` in units of standard deviations.
        coarse_a: Likewise of J_a.
    """

    parts: tuple[str, ...]
    rows: int
    sparsity_s: float
    sparsity_a: float
    coarse_s: float
    coarse_a: float


def touching_parts(metadata: dict[str, Any]) -> list[str]:
    """Return the part that each contact pair stands for: geoms that differ by a number only are one part.

    Args:
        metadata: Of the store.
    """
    return [_part(str(one["geom1"]), str(one["geom2"])) for one in metadata["contact_pairs"]]


def contact_sets(dataset: JacobianDataset) -> list[ContactSet]:
    """List which parts touch at once, in how many rows, and how sparse the Jacobians are in them, in one pass.

    Args:
        dataset: In ascending order of rows, in tangent coordinates.

    Returns:
        The most frequent ones first.

    Raises:
        InvalidSettingError: The data set is empty or not in order.
    """
    counter = _SetCounter(dataset)
    collect(dataset, counter, jacobians=True)
    return counter.result()


class _SetCounter:
    """Adds up shares of zeros by the set of parts that touch."""

    def __init__(self, dataset: JacobianDataset) -> None:
        self._parts = touching_parts(dataset.metadata)
        self._names = list(dict.fromkeys(self._parts))
        self._units = tangent_scale(dataset)
        self._sums: dict[tuple[str, ...], NDArray[np.float64]] = {}

    def update(self, block: Block) -> None:
        coarse = coarse_entries(block, self._units, "sets of contacts")
        zeros = (block.mask_s == 0, block.mask_a == 0, *(~present for present in coarse))
        shares = np.stack([one.reshape(len(block), -1).mean(axis=1) if one.size else _nothing(block) for one in zeros])
        # The contacts are the last of the constraints, in the order of their pairs.
        pairs = block.active_any[:, block.active_any.shape[1] - len(self._parts) :] > 0
        touching = [pairs[:, [part == name for part in self._parts]].any(axis=1) for name in self._names]
        table = np.stack(touching, axis=1) if touching else np.zeros((len(block), 0), bool)
        for key in np.unique(table, axis=0) if self._names else table[:1]:
            chosen = (table == key).all(axis=1)
            parts = tuple(name for name, there in zip(self._names, key, strict=True) if there)
            found = np.array([chosen.sum(), *shares[:, chosen].sum(axis=1)])
            self._sums[parts] = self._sums.get(parts, 0) + found

    def result(self) -> list[ContactSet]:
        found = [ContactSet(parts, int(one[0]), *(one[1:] / one[0]).tolist()) for parts, one in self._sums.items()]
        return sorted(found, key=lambda one: (-one.rows, one.parts))


def _nothing(block: Block) -> NDArray[np.float64]:
    return np.full(len(block), np.nan)


def _part(first: str, second: str) -> str:
    names = [re.sub(r"[ _.-]*[0-9]+$", "", name) or name for name in (first, second)]
    others = [name for name in names if name.lower() not in GROUNDS]
    return "/".join(others or names)
