"""Expected sizes and hashes of a store's files, and which files were checked in this process."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import CorruptStoreError, InvalidSettingError
from dynamic_sparsity.schemas.files import MANIFEST_FILE
from dynamic_sparsity.storage.problems import verify_command
from dynamic_sparsity.untrusted.documents import parse_json, read_json
from dynamic_sparsity.untrusted.files import open_regular

__all__ = ["VERIFY_MODES", "Ledger", "VerifyMode"]

VerifyMode = Literal["sha256", "size"]
METADATA_FILE: Final = "zarr.json"
VERIFY_MODES: tuple[VerifyMode, ...] = ("sha256", "size")


class Ledger:
    """The files of one store and their expected sizes and hashes.

    With `verify="sha256"` a shard's hash is compared at its first use; with `"size"` only its size is.

    Attributes:
        root: Folder of the store.
        mode: Which of the two.
        verified: Size (bytes) and modification time (ns) of each file whose hash was right, by its path inside the
            store. Worker processes get it with the pickled data set and needn't hash the same bytes again.
        shards_in_memory: Whether shards are in memory instead of in files.
    """

    shards_in_memory: bool = False

    def __init__(
        self,
        root: Path,
        files: Mapping[str, tuple[str, int]],
        verify: VerifyMode = "sha256",
        verified: Mapping[str, tuple[int, int]] | None = None,
    ):
        """Check nothing yet.

        Args:
            root: Folder of the store.
            files: SHA-256 (hexadecimal) and size (bytes) by path inside the store.
            verify: How to check shards.
            verified: What another process has checked already.

        Raises:
            InvalidSettingError: `verify` is neither "sha256" nor "size".
        """
        if verify not in VERIFY_MODES:
            raise InvalidSettingError(f"verify is {verify!r}; it can be 'sha256' or 'size'")
        self.root = root
        self.mode = verify
        self.verified: dict[str, tuple[int, int]] = dict(verified or {})
        self._files = files

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def names(self) -> list[str]:
        """Return the paths of all files inside the store."""
        return list(self._files)

    def size(self, name: str) -> int:
        """Return the expected size of a file, bytes.

        Args:
            name: Its path inside the store.

        Raises:
            CorruptStoreError: The manifest doesn't list it.
        """
        if name not in self._files:
            raise self.corrupt(name, "the manifest does not list this file")
        return self._files[name][1]

    def record(self, name: str) -> tuple[str, int]:
        """Return the expected SHA-256 (hexadecimal) and size (bytes) of a file.

        Args:
            name: Its path inside the store.

        Raises:
            CorruptStoreError: The manifest doesn't list it.
        """
        self.size(name)
        return self._files[name]

    def holds(self, start: int, stop: int) -> bool:
        """Return whether any of the rows start…stop is in this copy of the store.

        Args:
            start: First row.
            stop: The row after the last.
        """
        return True

    def require(self, rows: NDArray[np.int64] | slice) -> None:
        """Refuse rows that are not in this copy of the store; a complete store has all of them.

        Args:
            rows: Rows of the store, int64, shape (n,), or a slice of them with both ends.

        Raises:
            IncompleteStoreError: Some are not.
        """

    def check_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Compare the description of a partial copy with the store's metadata; a complete store has none.

        Args:
            metadata: The validated attributes of its root group.

        Raises:
            CorruptStoreError: They differ.
        """

    def absent(self, arrays: Iterable[str]) -> tuple[str, ...]:
        """Return which of a store's arrays are not in this copy of it.

        Args:
            arrays: Their names.
        """
        return ()

    def check_sizes(self) -> None:
        """Check that every file exists and has the right size.

        Raises:
            CorruptStoreError: One doesn't.
        """
        root = str(self.root)
        for name, (_, size) in self._files.items():
            try:
                status = os.stat(f"{root}/{name}")  # noqa: PTH116 - of 100,000 files, a third of the time
            except OSError as error:
                raise self.corrupt(name, f"can't be read ({error.strerror})") from error
            if not stat.S_ISREG(status.st_mode):
                raise self.corrupt(name, "is not a regular file")
            if status.st_size != size:
                self._check_size(name, status.st_size)

    def read(self, name: str) -> bytes:
        """Read a small file; its hash is checked in either mode.

        Args:
            name: Its path inside the store.

        Raises:
            CorruptStoreError: It is missing or not what was written.
        """
        expected = self.size(name)
        descriptor, _ = self.open(name)
        with os.fdopen(descriptor, "rb") as file:
            contents = file.read(expected)
        self._check_size(name, len(contents))
        self._check_hash(name, contents)
        return contents

    def in_memory(self, name: str) -> NDArray[np.uint8] | None:
        """Return a shard's bytes, checked, shape (size,), where they are in memory; None: they are in a file.

        Args:
            name: Its path inside the store.
        """
        return None

    def open(self, name: str) -> tuple[int, os.stat_result]:
        """Open a shard for reading and check its size.

        Args:
            name: Its path inside the store.

        Returns:
            The file descriptor, for the caller to close, and the file's status.

        Raises:
            CorruptStoreError: It is missing or has the wrong size.
        """
        self.size(name)
        try:
            descriptor, status = open_regular(self.root / name)
        except CorruptStoreError as error:
            raise self.corrupt(name, str(error).removeprefix(f"{self.root / name}: ")) from error
        try:
            self._check_size(name, status.st_size)
        except CorruptStoreError:
            os.close(descriptor)
            raise
        return descriptor, status

    def verify(self, name: str, contents: bytes | memoryview, status: os.stat_result) -> None:
        """Check the contents of an opened shard, unless that has been done or is not wanted.

        Args:
            name: Its path inside the store.
            contents: All of its bytes.
            status: Its status when it was opened.

        Raises:
            CorruptStoreError: The bytes are not the ones that were written.
        """
        if self.mode == "size":
            return
        stamp = (status.st_size, status.st_mtime_ns)
        if self.verified.get(name) != stamp:
            self._check_hash(name, contents)
            self.verified[name] = stamp

    def check_document(self, name: str, expected: Mapping[str, Any]) -> None:
        """Check that the `zarr.json` of an array says what the schema has for it, so that other readers see the same.

        Args:
            name: Path of the array inside the store.
            expected: The document.

        Raises:
            CorruptStoreError: It does not.
        """
        document = f"{name}/zarr.json"
        if parse_json(self.read(document), str(self.root / document)) != expected:
            raise self.corrupt(document, "is not what the schema has for this array")

    def corrupt(self, name: str, problem: str) -> CorruptStoreError:
        """Return the error for a damaged file.

        Args:
            name: Its path inside the store.
            problem: What is wrong with it.
        """
        if self._was_replaced():
            return CorruptStoreError(
                f"{self.root / name}: {problem}: another store has taken the place of the one that was opened, as when "
                "it is given more episodes. Load the data set again"
            )
        return CorruptStoreError(
            f"{self.root / name}: {problem}. To list all damaged files, run `{verify_command(self.root)}`; "
            "then copy or download them again, or delete their shards' manifests and run the command that generated "
            "the store again."
        )

    def _was_replaced(self) -> bool:
        """Return whether the store that is there now has other metadata than the one that was opened."""
        with suppress(CorruptStoreError):
            files = read_json(self.root / MANIFEST_FILE).get("files")
            entry = files.get(METADATA_FILE) if isinstance(files, dict) else None
            if isinstance(entry, dict) and METADATA_FILE in self._files:
                return bool(entry.get("sha256") != self._files[METADATA_FILE][0])
        return False

    def _check_size(self, name: str, found: int) -> None:
        if found != self.size(name):
            raise self.corrupt(name, f"has {found} bytes, but {self.size(name)} were written")

    def _check_hash(self, name: str, contents: bytes | memoryview) -> None:
        found = hashlib.sha256(contents).hexdigest()
        if found != self._files[name][0]:
            raise self.corrupt(name, f"its SHA-256 is {found}, but that of the bytes written is {self._files[name][0]}")
