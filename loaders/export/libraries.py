"""The same rows for other libraries: Hugging Face datasets, torch, grain, JAX, HDF5; each imported when needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from dynamic_sparsity.loaders.export.arrow import arrow_schema, arrow_table, features_of, import_pyarrow, shapes_of
from dynamic_sparsity.loaders.export.lerobot import write_lerobot
from dynamic_sparsity.loaders.export.minari import write_minari
from dynamic_sparsity.loaders.export.named_dimensions import components_of, coordinates_of, variables_of
from dynamic_sparsity.loaders.export.optional import imported
from dynamic_sparsity.loaders.hdf5.writer import write_hdf5
from dynamic_sparsity.loaders.row_source import RowSource, blocks
from dynamic_sparsity.loaders.whole_file import whole_file

__all__ = ["Exportable"]


class Exportable(RowSource, Protocol):
    """Rows that can be handed to other libraries. They keep their order, columns their names, dtypes and shapes."""

    def to_hf(self, path: str | Path | None = None) -> Any:
        """Return a `datasets.Dataset`, with fixed shapes.

        Args:
            path: An Arrow file to write, from which it is then mapped into memory; None to hold it in memory. It
                appears when it is complete; an older one is replaced.

        Raises:
            MissingDependencyError: The extra `hub` is not installed.
            CorruptStoreError: The store is damaged.
            WriteFailedError: The file can't be written, for example because the disk is full.
        """
        datasets = imported("datasets", "hub")
        pa = import_pyarrow()
        shapes = shapes_of(self[:0])
        schema, features = arrow_schema(shapes), datasets.Features.from_dict(features_of(shapes))
        tables = (
            datasets.table.table_cast(arrow_table(schema, batch), features.arrow_schema) for batch in blocks(self)
        )
        if path is None:
            table = pa.concat_tables(list(tables)) if len(self) else features.arrow_schema.empty_table()
            return datasets.Dataset(datasets.table.InMemoryTable(table))
        path = Path(path).expanduser()
        with (
            whole_file(path) as stream,
            datasets.arrow_writer.ArrowWriter(features=features, path=stream.name) as writer,
        ):
            for table in tables:
                writer.write_table(table)
            writer.finalize()
        return datasets.Dataset.from_file(str(path))

    def to_torch(self) -> Any:
        """Return a map-style `torch.utils.data.Dataset` of dictionaries of tensors, for a DataLoader with any workers.

        Raises:
            MissingDependencyError: torch is not installed.
        """
        imported("torch", "torch")
        from dynamic_sparsity.loaders.export.torch import TorchDataset

        return TorchDataset(self)

    def to_grain(self) -> Any:
        """Return a `grain.MapDataset` of rows: `.shuffle(seed).batch(256)` and so on.

        Raises:
            MissingDependencyError: grain is not installed.
        """
        return imported("grain", "grain").MapDataset.source(self)

    def to_jax(self, device: Any = None) -> dict[str, Any]:
        """Return all rows as JAX arrays by column; they must fit into the device's memory.

        Args:
            device: A `jax.Device` or sharding; None for JAX's default.

        Raises:
            MissingDependencyError: jax is not installed.
        """
        jax = imported("jax", "generate")
        # Column by column, so that the host needs room for one at a time.
        return {name: jax.device_put(self.with_columns(name)[:][name], device) for name in self.columns}

    def to_pandas(self) -> Any:
        """Return all rows as a `pandas.DataFrame`, with one column per component, of the column's dtype.

        Columns are named by component: "state[qpos:slider]", "J_s[qvel:slider, qpos:hinge]" (effect, cause), "reward".
        The index is the rows' numbers in the store. Jacobians of large systems give thousands of columns: choose
        those you need by `with_columns`.

        Raises:
            MissingDependencyError: pandas is not installed.
            CorruptStoreError: The store is damaged.
        """
        pandas = imported("pandas", "hub")
        return pandas.DataFrame(components_of(self), index=pandas.Index(self.rows, name="row"))

    def to_xarray(self) -> Any:
        """Return all rows as an `xarray.Dataset`: one variable per column, the components' names as coordinates.

        `dataset.to_xarray()["J_s"].sel(effect="qvel:slider")` is a derivative by its name. All rows are read.

        Raises:
            MissingDependencyError: xarray is not installed.
            CorruptStoreError: The store is damaged.
        """
        xarray = imported("xarray", "xarray")
        return xarray.Dataset(variables_of(self), coordinates_of(self), {"title": repr(self)})

    def to_hdf5(self, path: str | Path) -> Path:
        """Write an HDF5 file; docs/hub.md has its layout. `from_hdf5` and the `hdf5` module of `datasets` read it.

        Args:
            path: The file. It appears when it is complete; an older one is replaced.

        Raises:
            MissingDependencyError: The extra `hub` is not installed.
            CorruptStoreError: The store is damaged.
            WriteFailedError: The file can't be written, for example because the disk is full.
        """
        return write_hdf5(self, Path(path).expanduser())

    def to_minari(self, root: str | Path, dataset_id: str | None = None) -> Path:
        """Write the episodes as a data set of Minari; docs/environments.md says what is where.

        Columns beside state, action, next state, reward and done become `infos`: choose them by `with_columns`.

        Args:
            root: Folder of all of Minari's data sets, which MINARI_DATASETS_PATH names when they are loaded.
            dataset_id: Minari's name of it; None for task, policy and split, as "CheetahRun/noise-test-v0".

        Returns:
            The data set's folder. It appears when it is complete.

        Raises:
            InvalidSettingError: The id is none, the data set is there already, or the rows are not whole episodes.
            MissingDependencyError: The extra `minari` is not installed.
            CorruptStoreError: The store is damaged.
            WriteFailedError: It can't be written, for example because the disk is full.
        """
        return write_minari(self, Path(root).expanduser(), dataset_id)

    def to_lerobot(self, path: str | Path) -> Path:
        """Write the episodes as a data set of LeRobot, format v3.0; docs/environments.md says what is where.

        Columns beside state, action, next state, reward and done become features: choose them by `with_columns`.

        Args:
            path: The data set's folder, the `root` of `LeRobotDataset`.

        Returns:
            The folder. It appears when it is complete.

        Raises:
            InvalidSettingError: The folder is there already, or the rows are not whole episodes.
            MissingDependencyError: The extra `hub` is not installed.
            CorruptStoreError: The store is damaged.
            WriteFailedError: It can't be written, for example because the disk is full.
        """
        return write_lerobot(self, Path(path).expanduser())
