"""Mapping many files into one range of addresses, so that NumPy sees them as one array.

A minibatch of random rows touches every shard of a store. A Python loop over the shards would cost more than the
copying, so the shards are laid out in memory at a fixed distance and one indexing call gathers from all of them.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import weakref
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["AddressRange"]

PROT_NONE = 0
PROT_READ = 1
MAP_FIXED = 0x10  # the same number on Linux (x86, Arm, RISC-V, POWER) and macOS; the mmap module has no name for it
MAP_NORESERVE = 0x4000 if sys.platform == "linux" else 0
MAP_FAILED = ctypes.c_void_p(-1).value


@cache
def _c_library() -> ctypes.CDLL | None:
    """Return the C library with `mmap` declared, or None where addresses can't be chosen this way."""
    if sys.platform not in ("linux", "darwin") or sys.maxsize < 2**32:
        return None
    library = ctypes.CDLL(None, use_errno=True)
    integer, size, address = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
    library.mmap.argtypes = [address, size, integer, integer, integer, ctypes.c_int64]
    library.mmap.restype = address
    library.munmap.argtypes = [address, size]
    library.madvise.argtypes = [address, size, integer]
    return library


class AddressRange:
    """Equally sized slots of address space, next to each other, into which files are mapped read-only.

    A slot without a file, and what is after the last page of a file, must not be touched: the process would be
    killed. `array` is therefore for callers that check their indices against the files' sizes.
    """

    def __init__(self, slots: int, largest_file_bytes: int):
        """Reserve the addresses; no memory is used.

        Args:
            slots: Number of files to make room for, ≥ 1.
            largest_file_bytes: Size of the largest of them, bytes.

        Raises:
            OSError: The platform can't do it, or there are not enough addresses.
        """
        library = _c_library()
        if library is None:
            raise OSError("files can't be mapped to chosen addresses on this platform")
        page = mmap.ALLOCATIONGRANULARITY
        self._library = library
        self.slots = slots
        self.slot_bytes = max(1, -(-largest_file_bytes // page)) * page
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANON | MAP_NORESERVE
        self._address = self._map(None, slots * self.slot_bytes, PROT_NONE, flags, -1)
        # Not at exit: a thread may still be reading then, and the system takes the addresses back by itself.
        weakref.finalize(self, library.munmap, self._address, slots * self.slot_bytes).atexit = False

    def map_file(self, slot: int, descriptor: int, size: int) -> None:
        """Map a file into a slot; mapping the same file again does no harm.

        Args:
            slot: Which slot, from 0.
            descriptor: An open file; it may be closed afterwards.
            size: Size of the file, bytes.

        Raises:
            OSError: The system refused, for example because the process has too many mappings.
        """
        if not (0 <= slot < self.slots and 0 < size <= self.slot_bytes):
            raise OSError(f"slot {slot} of {self.slots} has {self.slot_bytes} bytes; the file has {size}")
        self._map(self._address + slot * self.slot_bytes, size, PROT_READ, mmap.MAP_SHARED | MAP_FIXED, descriptor)

    def will_need(self, start: int, size: int) -> None:
        """Ask the system to read bytes ahead of their use; a hint that may be ignored.

        Args:
            start: First byte, counted from the start of the range.
            size: Number of bytes.
        """
        first = start // mmap.PAGESIZE * mmap.PAGESIZE
        self._library.madvise(self._address + first, start + size - first, mmap.MADV_WILLNEED)

    @property
    def array(self) -> NDArray[np.uint8]:
        """The whole range as a read-only array of bytes that keeps the mapping alive."""
        return np.asarray(self)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "shape": (self.slots * self.slot_bytes,),
            "typestr": "|u1",
            "data": (self._address, True),  # True: read-only
        }

    def _map(self, address: int | None, size: int, protection: int, flags: int, descriptor: int) -> int:
        result = self._library.mmap(address, size, protection, flags, descriptor, 0)
        if result is None or result == MAP_FAILED:
            number = ctypes.get_errno()
            raise OSError(number, f"mmap of {size} bytes: {os.strerror(number)}")
        return int(result)
