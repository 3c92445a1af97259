"""The same rows for other libraries: Hugging Face datasets, torch, grain, JAX, HDF5; each imported when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from numpy.typing import NDArray

from dynamic_sparsity.errors import MissingDependencyError
from dynamic_sparsity.loaders.export.arrow import arrow_schema, arrow_table, import_pyarrow
from dynamic_sparsity.loaders.export.whole_file import whole_file

if TYPE_CHECKING:
    from dynamic_sparsity.loaders.dataset import JacobianDataset

__all__ = ["Conversions"]

BLOCK_ROWS: Final = 1024

Batch = dict[str, NDArray[Any]]


class Conversions:
    """What `JacobianDataset` can be turned into. Rows keep their order, columns their names, dtypes and shapes."""

    def to_hf(self: JacobianDataset, path: str | Path | None = None) -> Any:  # type: ignore[misc]
        """A `datasets.Dataset`, with fixed shapes.

        Args:
            path: An Arrow file to write, from which it is then mapped into memory; None to hold it in memory. It
                appears whole or not at all; an older one is replaced.

        Raises:
            MissingDependencyError: The extra `hub` is not installed.
            CorruptStoreError: The store is damaged.
            WriteFailedError: The disk is full, say.
        """
        datasets = _imported("datasets", "hub")
        pa = import_pyarrow()
        schema = arrow_schema({name: (values.shape[1:], values.dtype) for name, values in self[:0].items()})
        features = datasets.Features.from_arrow_schema(_with_extensions(pa, schema))
        tables = (
            datasets.table.table_cast(arrow_table(schema, batch), features.arrow_schema) for batch in _blocks(self)
        )
        if path is None:
            table = pa.concat_tables(list(tables)) if len(self) else features.arrow_schema.empty_table()
            return datasets.Dataset(datasets.table.InMemoryTable(table))
        path = Path(path)
        with (
            whole_file(path) as stream,
            datasets.arrow_writer.ArrowWriter(features=features, path=stream.name) as writer,
        ):
            for table in tables:
                writer.write_table(table)
            writer.finalize()
        return datasets.Dataset.from_file(str(path))

    def to_torch(self: JacobianDataset) -> Any:  # type: ignore[misc]
        """A map-style `torch.utils.data.Dataset` of dictionaries of tensors, for a DataLoader with any workers.

        Raises:
            MissingDependencyError: torch is not installed.
        """
        _imported("torch", "torch")
        from dynamic_sparsity.loaders.export.torch import TorchDataset

        return TorchDataset(self)

    def to_grain(self: JacobianDataset) -> Any:  # type: ignore[misc]
        """A `grain.MapDataset` of rows: `.shuffle(seed).batch(256)` and so on.

        Raises:
            MissingDependencyError: grain is not installed.
        """
        return _imported("grain", "grain").MapDataset.source(self)

    def to_jax(self: JacobianDataset, device: Any = None) -> dict[str, Any]:  # type: ignore[misc]
        """All rows as JAX arrays by column; they must fit into the device's memory.

        Args:
            device: A `jax.Device` or sharding; None for JAX's default.

        Raises:
            MissingDependencyError: jax is not installed.
        """
        jax = _imported("jax", "generate")
        # Column by column, so that the host needs room for one at a time.
        return {name: jax.device_put(self._fetcher.fetch(self.rows, [name])[name], device) for name in self.columns}

    def to_hdf5(self: JacobianDataset, path: str | Path) -> Path:  # type: ignore[misc]
        """Write an HDF5 file; docs/hub.md has its layout. `from_hdf5` and the `hdf5` module of `datasets` read it.

        Args:
            path: The file; it appears whole or not at all. An older one is replaced.

        Raises:
            MissingDependencyError: The extra `hub` is not installed.
            CorruptStoreError: The store is damaged.
            WriteFailedError: The disk is full, say.
        """
        from dynamic_sparsity.loaders.hdf5.writer import write_hdf5

        return write_hdf5(self, Path(path))

    @classmethod
    def from_hdf5(cls, path: str | Path) -> JacobianDataset:
        """The rows of an HDF5 file that `to_hdf5` wrote, in their order.

        Args:
            path: The file.

        Raises:
            StoreNotFoundError: There is no file.
            CorruptStoreError: It is not such a file.
            MissingDependencyError: The extra `hub` is not installed.
        """
        from dynamic_sparsity.loaders.hdf5.reader import read_hdf5

        return read_hdf5(Path(path))


def _blocks(dataset: JacobianDataset) -> Iterator[Batch]:
    for start in range(0, len(dataset), BLOCK_ROWS):
        yield dataset[start : start + BLOCK_ROWS]


def _with_extensions(pa: Any, schema: Any) -> Any:
    """A schema with the matrix types that its fields' metadata name, as a reader of an Arrow file sees it."""
    return pa.ipc.read_schema(schema.serialize())


def _imported(name: str, extra: str) -> Any:
    """An optional package.

    Raises:
        MissingDependencyError: It is not installed.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"this needs the package {name}: pip install 'dynamic-sparsity[{extra}]'"
        ) from error
