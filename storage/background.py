"""Threads behind a generator, which may be left at any moment and by anybody, the garbage collector included."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

__all__ = ["background"]


@contextmanager
def background(threads: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Make threads for a generator. When it is left, what has not begun is dropped, and nobody waits for the rest.

    A generator that its user has forgotten in a cycle ends inside whatever code the collector interrupts. If that is
    the `threading` module, which holds a lock while it starts or joins a thread, then joining a thread there, as the
    executor's own context does, waits for that same lock: for ever.

    Args:
        threads: At most how many.
        name: Prefix of their names.

    Yields:
        The executor.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
