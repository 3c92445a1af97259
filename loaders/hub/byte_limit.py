"""Counting what the Hub's client downloads, so that it never exceeds the size of the file."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["UnexpectedSizeError", "counter"]

FREE_BYTES: Final = 2**16


class UnexpectedSizeError(Exception):
    """A download is not as large as it may be."""


def counter(bytes_max: int, *, exact: bool = False) -> type:
    """Make a progress bar for the Hub's client that ends a download of the wrong size, which the client does not check.

    Args:
        bytes_max: How large the file may be.
        exact: Whether it must be as large.
    """
    from huggingface_hub.utils import tqdm

    class Counter(tqdm):  # type: ignore[misc]
        disable = True  # until it is made

        def __init__(self, *arguments: Any, **options: Any):
            self._received = options.get("initial") or 0
            total = options.get("total")
            if total is not None and (total > bytes_max or (exact and total != bytes_max)):
                raise UnexpectedSizeError(f"{total} bytes; expected {'' if exact else 'at most '}{bytes_max}")
            super().__init__(*arguments, **options)

        def update(self, n: float | None = 1) -> bool | None:
            self._received += n or 0
            # What travels may be more than the file, by what is put around it.
            if self._received > bytes_max + bytes_max // 4 + FREE_BYTES:
                raise UnexpectedSizeError(f"{self._received} bytes; expected {bytes_max}")
            found: bool | None = super().update(n)
            return found

    return Counter
