"""Reading the data: what a user of the data set needs, and no simulator."""

from typing import TYPE_CHECKING, Any

from dynamic_sparsity.loaders.dataset import JacobianDataset
from dynamic_sparsity.loaders.joining import concatenate
from dynamic_sparsity.loaders.load import load_dataset, open_dataset
from dynamic_sparsity.loaders.store.store import find_stores, open_store, store_path

if TYPE_CHECKING:
    from dynamic_sparsity.storage.verify import verify_store

__all__ = [
    "JacobianDataset",
    "concatenate",
    "find_stores",
    "load_dataset",
    "open_dataset",
    "open_store",
    "store_path",
    "verify_store",
]


def __getattr__(name: str) -> Any:
    """Import `verify_store` when it is used: it needs zarr-python, which reading does not."""
    if name == "verify_store":
        from dynamic_sparsity.storage.verify import verify_store

        return verify_store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
