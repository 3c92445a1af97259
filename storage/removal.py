"""Deleting a store."""

from __future__ import annotations

from pathlib import Path

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.schemas.naming import parse_store_path
from dynamic_sparsity.storage.atomic import delete_folder, sweep
from dynamic_sparsity.storage.growth import delete_growth, recover
from dynamic_sparsity.storage.locks import lock
from dynamic_sparsity.storage.manifests import read_attributes

__all__ = ["check_store", "delete_store"]


def check_store(path: Path) -> None:
    """Refuse what is no store, complete or not.

    Args:
        path: Its folder.

    Raises:
        UnknownNameError: Its name is not that of a store.
        InvalidSettingError: It is a link.
        StoreNotFoundError: There is none.
        CorruptStoreError: It does not say what a store says.
    """
    parse_store_path(path.absolute())
    if path.is_symlink():
        raise InvalidSettingError(f"{path} is a link to a store; delete the store itself, or remove the link")
    read_attributes(path)


def delete_store(path: Path) -> None:
    """Delete a store, and a larger one that was to take its place.

    It loses its name at once; killed later, what is left is swept when a store of that name is made.

    Args:
        path: Its folder.

    Raises:
        UnknownNameError: Its name is not that of a store.
        InvalidSettingError: It is a link.
        StoreNotFoundError: There is none.
        CorruptStoreError: It does not say what a store says.
        StoreLockedError: Another process writes to it.
    """
    check_store(path)
    path = path.absolute()
    with lock(path):
        recover(path)
        delete_folder(path, path)
        delete_growth(path)
        sweep(path)
    for pattern in (f"{path.name}*.status.json", f".{path.name}*.status.json"):
        for file in path.parent.glob(pattern):
            file.unlink(missing_ok=True)
