"""Files that are made to be published, kept beside the stores, and used again only if their bytes are those made."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

from dynamic_sparsity.errors import CorruptInputError, InvalidSettingError
from dynamic_sparsity.storage.atomic import publish as write_file
from dynamic_sparsity.storage.atomic import sweep_folder, written
from dynamic_sparsity.storage.manifests import FileRecord, record_of
from dynamic_sparsity.untrusted.documents import read_json

__all__ = ["STAGING_FOLDER", "Staging", "clean", "staging_folder"]

STAGING_FOLDER: Final = ".publish"
VIEW_VERSION: Final = 5
"""Changes whenever an index or a Parquet file would be written differently."""

RECORD_FILE: Final = "made.json"
_FOLDER: Final = re.compile(r"[0-9a-f]{16}-[0-9]+")


def staging_folder(root: Path) -> Path:
    """Return the folder for all that is made of the stores below a folder; it is made if missing.

    Args:
        root: Folder of all stores.

    Raises:
        InvalidSettingError: What is there is no folder of `root`'s own.
    """
    folder = root / STAGING_FOLDER
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InvalidSettingError(f"{folder} is no folder, or a link to one elsewhere; move it away")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def clean(folder: Path, used: Collection[Path]) -> None:
    """Delete what was made of stores that are no longer there.

    Args:
        folder: Of `staging_folder`.
        used: What is still needed; all else that such a store has left goes.
    """
    for entry in folder.iterdir():
        if entry not in used and _FOLDER.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)


class Staging:
    """What was made of one store, as it was when its manifest had a certain digest.

    `made.json` holds the digest of every file, taken when the file was written and read back. A file that has other
    bytes now is made again.

    Attributes:
        folder: Where the files are.
    """

    def __init__(self, folder: Path, manifest_sha256: str):
        """Look at what is there.

        Args:
            folder: Folder of `staging_folder`.
            manifest_sha256: Digest of the store's manifest, hexadecimal.

        Raises:
            InvalidSettingError: What is there is no folder.
        """
        self.folder = folder / f"{manifest_sha256[:16]}-{VIEW_VERSION}"
        if self.folder.is_symlink() or (self.folder.exists() and not self.folder.is_dir()):
            raise InvalidSettingError(f"{self.folder} is no folder, or a link to one elsewhere; move it away")
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep_folder(self.folder)
        self._manifest_sha256 = manifest_sha256
        self._verified, self._files = self._read()

    @property
    def verified(self) -> bool:
        """Whether a store with this manifest was found to be right, when all its files had the manifest's digests."""
        return self._verified

    def set_verified(self) -> None:
        """Note that the store was found to be right."""
        self._verified = True
        self._write()

    def file(self, name: str, make: Callable[[Path], None]) -> tuple[Path, FileRecord]:
        """Return one file: the one that is there, if its bytes are those that were made, or a new one.

        Args:
            name: Its name.
            make: Writes it to a path.

        Returns:
            Where it is, and the digest and size of its bytes.
        """
        path = self.folder / name
        known = self._files.get(name)
        if known is not None and path.is_file() and not path.is_symlink() and record_of(path) == known:
            return path, known
        with written(path) as partial:
            make(partial)
            record = record_of(partial)
        self._files[name] = record
        self._write()
        return path, record

    def _read(self) -> tuple[bool, dict[str, FileRecord]]:
        """Read what was noted; return nothing where it can't be read, so that all is made again."""
        try:
            document = read_json(self.folder / RECORD_FILE)
            if document["manifest_sha256"] != self._manifest_sha256:
                return False, {}
            files: dict[str, Any] = document["files"]
            found = {name: FileRecord(entry["sha256"], entry["bytes"]) for name, entry in files.items()}
            return document["verified"] is True, found
        except (CorruptInputError, LookupError, TypeError, AttributeError):
            return False, {}

    def _write(self) -> None:
        files = {name: record.as_json() for name, record in sorted(self._files.items())}
        document = {"manifest_sha256": self._manifest_sha256, "verified": self._verified, "files": files}
        write_file(self.folder / RECORD_FILE, [(json.dumps(document, indent=1) + "\n").encode()])
