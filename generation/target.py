"""The kind of device that programs are traced for, and what is done differently on each: the one place that chooses.

It is the device that JAX computes on, unless `compiling_for` says otherwise, as `benchmarks/gpu_program.py` does: it
compiles for a GPU that is only described, on a machine without one.

A core of a CPU is kept busy by few rows, and pays for every operation; there, work that few rows need is done for those
only. A GPU runs thousands of rows at once in the time that it takes to launch a kernel; there, fewer kernels count, and
what few rows need is done for all. Both give the same numbers but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

__all__ = ["Means", "compiling_for", "kind", "means", "on_cpu"]


@dataclass(frozen=True)
class Means:
    """How programs for a kind of device do what can be done in several ways.

    Attributes:
        pivots: Unknowns that are eliminated at once, without a loop over them; None for one by one, in a loop.
        unknowns_in_line: Systems of up to so many unknowns are eliminated with every number an array of its own.
        few_rows_first: Solve constraint problems with the few rows that do for most, then those that have more.
        one_by_one: Transform spectra one by one: XLA's transform of many rounds otherwise (jaxlib 0.12, CPU).
        active_rows: Rows that are done at once in a loop over the items that are active in a row.
        dense_items: Up to so many items, all are done at once, active or not.
        sums_in_line: Add the terms of a sum over a tree in line, in place of a product with a constant matrix; leave
            out the product with the identity of a control step with one substep.
        comparing_search: Search sorted numbers by comparing with all of them, without a loop.
    """

    pivots: int | None
    unknowns_in_line: int
    few_rows_first: bool
    one_by_one: bool
    active_rows: int
    dense_items: int
    sums_in_line: bool
    comparing_search: bool


_CPU: Final = Means(
    pivots=None,
    unknowns_in_line=0,
    few_rows_first=True,
    one_by_one=True,
    active_rows=64,
    dense_items=0,
    sums_in_line=False,
    comparing_search=False,
)
_GPU: Final = Means(
    pivots=4,
    unknowns_in_line=13,
    few_rows_first=False,
    one_by_one=False,
    active_rows=8192,
    dense_items=32,
    sums_in_line=True,
    comparing_search=True,
)
_CHOSEN: Final[ContextVar[str | None]] = ContextVar("target", default=None)


def kind() -> str:
    """Return the kind of device that programs are traced for: "cpu", "gpu" or "tpu"."""
    import jax

    return _CHOSEN.get() or jax.default_backend()


def on_cpu() -> bool:
    """Return whether programs are traced for a CPU."""
    return kind() == "cpu"


def means() -> Means:
    """Return how programs for that kind of device do things."""
    return _CPU if on_cpu() else _GPU


@contextmanager
def compiling_for(kind: str) -> Iterator[None]:
    """Trace programs for another kind of device than this process has; programs traced before stay as they are.

    Args:
        kind: "cpu", "gpu" or "tpu".
    """
    token = _CHOSEN.set(kind)
    try:
        yield
    finally:
        _CHOSEN.reset(token)
