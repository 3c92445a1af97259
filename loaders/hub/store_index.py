"""The index of a published store, read: nothing of it is believed before the publication's digests agree."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from dynamic_sparsity.errors import CorruptStoreError
from dynamic_sparsity.loaders.hub.publication import PublishedStore
from dynamic_sparsity.loaders.store.partial import PARTIAL_FILE
from dynamic_sparsity.loaders.store.pieces import PIECES_FILE, row_file
from dynamic_sparsity.schemas.files import MANIFEST_FILE
from dynamic_sparsity.untrusted.archives import read_tar_xz
from dynamic_sparsity.untrusted.documents import DOCUMENT_BYTES_MAX, parse_json
from dynamic_sparsity.untrusted.names import shown
from dynamic_sparsity.untrusted.values import check_count, check_object, check_sha256

__all__ = ["check_identity", "read_index"]

NOT_PUBLISHED: Final = {PARTIAL_FILE}
"""Files of a copy that a reader writes; no store has them."""


def read_index(contents: bytes, published: PublishedStore, where: str) -> dict[str, bytes]:
    """Take the index of a store apart.

    It has the store's manifest, the digests of the pieces of its shards, all small files, and some or all of the
    compressed shards, and nothing else. The shards that it lacks are fetched when they are needed.

    Args:
        contents: The archive, whose digest is the one that was published.
        published: The store.
        where: What to call the archive in the message.

    Returns:
        Path inside the store to bytes.

    Raises:
        CorruptStoreError: It is not the index of that store.
    """
    members = read_tar_xz(contents, where, lambda name, size: size <= DOCUMENT_BYTES_MAX and name not in NOT_PUBLISHED)
    for name in (MANIFEST_FILE, PIECES_FILE):
        if name not in members:
            raise CorruptStoreError(f"{where}: lacks {name}")
    if hashlib.sha256(members[MANIFEST_FILE]).hexdigest() != published.manifest_sha256:
        raise CorruptStoreError(f"{where}: its {MANIFEST_FILE} is not the one that was published")
    files = _parse_files(members[MANIFEST_FILE], f"{where}: {MANIFEST_FILE}")
    inside = members.keys() - {MANIFEST_FILE, PIECES_FILE}
    if more := inside - files.keys():
        raise CorruptStoreError(f"{where}: has {min(more)}, which the store's manifest does not list")
    if lacking := [name for name in files if name not in inside and row_file(name) is None]:
        raise CorruptStoreError(f"{where}: lacks {shown(lacking[0])}, which the store's manifest lists")
    for name in inside:
        if (hashlib.sha256(members[name]).hexdigest(), len(members[name])) != files[name]:
            raise CorruptStoreError(f"{where}: its {name} is not the one of the store's manifest")
    return members


def check_identity(published: PublishedStore, metadata: dict[str, Any], size: int, where: str) -> None:
    """Compare what a publication says of a store with what the store says of itself.

    Args:
        published: The store's entry.
        metadata: The store's own attributes.
        size: Size of all its files, bytes.
        where: What to call the store in the message.

    Raises:
        CorruptStoreError: They differ.
    """
    expected = {key: getattr(published, key) for key in ("task", "policy", "dynamics", "rows")}
    found = {key: metadata[key] for key in expected}
    for key, value in {**expected, "bytes": published.bytes}.items():
        if {**found, "bytes": size}[key] != value:
            raise CorruptStoreError(
                f"{where}: its {key} is {shown({**found, 'bytes': size}[key])}, but it was published with "
                f"{shown(value)}; whoever published it has to fix that"
            )


def _parse_files(contents: bytes, what: str) -> dict[str, tuple[str, int]]:
    """Digest and size, bytes, of every file that a manifest lists."""
    entries = parse_json(contents, what).get("files")
    if not isinstance(entries, dict):
        raise CorruptStoreError(f"{what}: files is {shown(entries)}; expected an object")
    files = {}
    for name, entry in entries.items():
        record = check_object(entry, ("sha256", "bytes"), f"{what}: {shown(name)}")
        files[name] = (check_sha256(record["sha256"], f"{what}: {shown(name)}"), check_count(record["bytes"], what))
    return files
