"""How many rows go through a device at once: a whole unit's, until its memory is too small for them.

A unit's episodes are part of a store's settings, as its bits may depend on them. What one device has room for is not:
a unit that does not fit is made part by part, each in programs for fewer rows. No program mixes rows, so a row's
numbers are computed by the same operations in the same order, whatever the part.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Final, TypeVar

import jax

from dynamic_sparsity.errors import DynamicSparsityWarning

_MARK: Final = "RESOURCE_EXHAUSTED"
"""How XLA's messages say that memory is short."""

Result = TypeVar("Result")


def out_of_memory(error: BaseException) -> bool:
    """Return whether a device had too little memory.

    Args:
        error: What JAX raised.
    """
    return isinstance(error, jax.errors.JaxRuntimeError) and _MARK in str(error)


class RowsAtOnce:
    """The most rows that a device took; shared by the threads that use devices of one kind."""

    def __init__(self) -> None:
        self._most: int | None = None

    def of(self, count: int) -> int:
        """Return how many of a unit's rows go through at once: all, or half of them as often as it takes.

        Args:
            count: Episodes of the unit.
        """
        size = count
        while self._most is not None and size > self._most:
            size = _half(size)
        return size

    def attempt(self, count: int, make: Callable[[int], Result]) -> Result:
        """Call a function with a number of rows, and again with half of them while memory is short.

        Args:
            count: Episodes of the unit.
            make: Makes all of them, so many at once.

        Raises:
            JaxRuntimeError: A single row does not fit; or another error of the device.
        """
        while True:
            size = self.of(count)
            try:
                return make(size)
            except jax.errors.JaxRuntimeError as error:
                if not out_of_memory(error) or size == 1:
                    raise
                self._most = _half(size)
            warnings.warn(
                f"The device has too little memory for {size:,} rows at once; going on with {self.of(count):,}. The "
                "data stay the same. Fewer from the start: a smaller --batch, which makes other units.",
                DynamicSparsityWarning,
                stacklevel=2,
            )


def _half(size: int) -> int:
    """Return the largest number below another that divides it: half of it, if it is even."""
    return next(part for part in range(size // 2, 0, -1) if size % part == 0)
