"""In which order rows are read, and handing them out in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.storage.background import background

__all__ = ["BUFFER_BLOCKS", "Shuffle", "check_batch_settings", "in_background", "positions_of_batches"]

Shuffle = Literal["rows", "blocks", False]
Integers = NDArray[np.int64]

BUFFER_BLOCKS = 32  # chunks that shuffle="blocks" mixes at a time


def check_batch_settings(batch_size: int, seed: int, shuffle: Shuffle, epochs: int | None) -> None:
    """Refuse what `positions_of_batches` can't do.

    Args:
        batch_size: Rows per batch.
        seed: Of the order.
        shuffle: "rows", "blocks" or False.
        epochs: Passes over the rows; None for no end.

    Raises:
        InvalidSettingError: One of them is out of range.
    """
    if batch_size < 1:
        raise InvalidSettingError(f"batch_size is {batch_size}; it must be at least 1")
    if seed < 0:
        raise InvalidSettingError(f"seed is {seed}; it must be at least 0")
    if not (shuffle is False or shuffle in ("rows", "blocks")):
        raise InvalidSettingError(f"shuffle is {shuffle!r}; it can be 'rows', 'blocks' or False")
    if epochs is not None and epochs < 0:
        raise InvalidSettingError(f"epochs is {epochs}; it must be at least 0, or None for no end")


def positions_of_batches(
    rows: Integers,
    chunk_rows: int,
    *,
    batch_size: int,
    seed: int,
    shuffle: Shuffle,
    drop_last: bool,
    epochs: int | None,
    before_blocks: Callable[[list[Integers]], None],
) -> Iterator[Integers]:
    """Yield positions in `rows`, batch by batch; the same for the same arguments.

    Args:
        rows: The rows there are, int64, shape (n,).
        chunk_rows: Rows per chunk of the store.
        batch_size: Rows per batch.
        seed: Of the order; the epoch's number is mixed in, so that every epoch has another one.
        shuffle: "rows": a permutation of all rows. "blocks": chunks in random order, and their rows mixed within
            buffers of `BUFFER_BLOCKS` chunks. False: in order.
        drop_last: Leave out an epoch's last batch if it is not full.
        epochs: Passes over the rows; None for no end.
        before_blocks: Told the positions of the blocks of a buffer before its first batch.

    Yields:
        int64, shape (batch_size,), or shorter at the end of an epoch.

    Raises:
        InvalidSettingError: There is no batch, and no end.
    """
    if epochs is None and (not rows.size or (drop_last and rows.size < batch_size)):
        raise InvalidSettingError(
            f"{rows.size} rows give no batch of {batch_size}, however many epochs; use a smaller batch_size, or keep "
            "batches that are not full (drop_last)"
        )
    epoch = 0
    while rows.size and (epochs is None or epoch < epochs):
        generator = np.random.default_rng([seed, epoch])
        carried = np.empty(0, np.int64)
        for part in _parts(rows, chunk_rows, shuffle, generator, before_blocks):
            positions = np.concatenate([carried, part]) if carried.size else part
            full = positions.size - positions.size % batch_size
            for start in range(0, full, batch_size):
                yield positions[start : start + batch_size]
            carried = positions[full:]
        if carried.size and not drop_last:
            yield carried
        epoch += 1


def in_background(batches: Iterator[dict[str, NDArray[Any]]]) -> Iterator[dict[str, NDArray[Any]]]:
    """Make each batch in a thread while the one before it is in use.

    Args:
        batches: Where they come from; used by one thread at a time.
    """
    with background(1, "batches") as executor:
        pending = executor.submit(next, batches, None)
        while (batch := pending.result()) is not None:
            pending = executor.submit(next, batches, None)
            yield batch


def _parts(
    rows: Integers,
    chunk_rows: int,
    shuffle: Shuffle,
    generator: np.random.Generator,
    before_blocks: Callable[[list[Integers]], None],
) -> Iterator[Integers]:
    """Yield the positions of one epoch in order, in parts."""
    if shuffle is False:
        yield np.arange(rows.size)
        return
    if shuffle == "rows":
        yield generator.permutation(rows.size)
        return
    bounds = [0, *(np.flatnonzero(np.diff(rows // chunk_rows)) + 1).tolist(), rows.size]
    order = generator.permutation(len(bounds) - 1)
    for first in range(0, order.size, BUFFER_BLOCKS):
        buffer = order[first : first + BUFFER_BLOCKS].tolist()
        blocks = [np.arange(bounds[block], bounds[block + 1]) for block in buffer]
        before_blocks(blocks)
        yield generator.permutation(np.concatenate(blocks))
