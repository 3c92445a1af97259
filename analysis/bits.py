"""Masks as bits: 64 entries to a word, so that a row's pattern is compared, counted and hashed in a few operations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["WORD_BITS", "count_ones", "pack", "row_keys", "unpack", "words_for"]

WORD_BITS = 64

Words = NDArray[np.uint64]

# The finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
_GOLDEN, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def words_for(entries: int) -> int:
    """Return how many words hold a row.

    Args:
        entries: Entries of a row, one bit each.
    """
    return -(-entries // WORD_BITS)


def pack(mask: NDArray[np.uint8]) -> Words:
    """Pack the entries of each row into words, the first entry into the lowest bit.

    Args:
        mask: 0 or 1, uint8, shape (n, …).

    Returns:
        uint64, shape (n, words); unused bits are 0.
    """
    rows, entries = len(mask), math.prod(mask.shape[1:])
    packed = np.zeros((rows, words_for(entries) * 8), np.uint8)
    if rows and entries:
        packed[:, : -(-entries // 8)] = np.packbits(mask.reshape(rows, entries), axis=1, bitorder="little")
    return packed.view("<u8").astype(np.uint64, copy=False)


def unpack(words: Words, entries: int) -> NDArray[np.uint8]:
    """Undo `pack`, except for the shape of a row.

    Args:
        words: uint64, shape (n, words).
        entries: Entries per row.

    Returns:
        0 or 1, uint8, shape (n, entries).
    """
    if not words.shape[1]:
        return np.zeros((len(words), entries), np.uint8)
    as_bytes = np.ascontiguousarray(words.astype("<u8", copy=False)).view(np.uint8)
    return np.unpackbits(as_bytes, axis=1, count=entries, bitorder="little")


def count_ones(words: Words) -> NDArray[np.int64]:
    """Return how many bits of each row are set, int64, shape (n,).

    Args:
        words: uint64, shape (n, words).
    """
    counts: NDArray[Any] = np.bitwise_count(words)
    return np.asarray(counts.sum(axis=1, dtype=np.int64))


def row_keys(words: Words) -> Words:
    """Return a 64-bit key of each row's bits: equal rows have equal keys, different ones different keys.

    The latter except by chance: two of n distinct patterns share a key with a probability of n² / 2⁶⁵, 3e-8 for
    a million patterns.

    Args:
        words: uint64, shape (n, words).

    Returns:
        uint64, shape (n,).
    """
    keys = np.zeros(len(words), np.uint64)
    with np.errstate(over="ignore"):
        for number in range(words.shape[1]):
            mixed = words[:, number] + np.uint64(number + 1) * _GOLDEN
            mixed ^= mixed >> np.uint64(30)
            mixed *= _FIRST
            mixed ^= mixed >> np.uint64(27)
            mixed *= _SECOND
            mixed ^= mixed >> np.uint64(31)
            keys += mixed
    return keys
