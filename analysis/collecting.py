"""One pass over a data set that feeds as many accumulators as are wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dynamic_sparsity.analysis.blocks import Block, blocks
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.dataset import JacobianDataset

__all__ = ["Accumulator", "collect"]


class Accumulator(Protocol):
    """What looks at each block once and remembers little of it."""

    def update(self, block: Block) -> None:
        """Add a block.

        Args:
            block: The next block of the data set.
        """


def collect(
    dataset: JacobianDataset,
    *accumulators: Accumulator,
    jacobians: bool = False,
    advanced: Callable[[int], None] | None = None,
) -> None:
    """Go through a data set once and show every block to every accumulator.

    Args:
        dataset: In ascending order of rows; it must not be empty.
        *accumulators: Changed in place.
        jacobians: Read the Jacobians as well as the masks.
        advanced: Called with the number of rows of each block, for a progress bar.

    Raises:
        InvalidSettingError: The data set is empty or not in order.
    """
    if not len(dataset):
        raise InvalidSettingError(f"{dataset!r} has no rows to analyse")
    for block in blocks(dataset, jacobians=jacobians):
        for accumulator in accumulators:
            accumulator.update(block)
        if advanced is not None:
            advanced(len(block))
