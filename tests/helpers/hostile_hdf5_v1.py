"""HDF5 files of the first version of the package: good ones, and hostile ones, each a name and what makes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hostile_hdf5 import METADATA, Case, Make

from dynamic_sparsity.loaders import JacobianDataset


def write_version_1(dataset: JacobianDataset, path: Path, edit: Callable[[Any], None] | None = None) -> None:
    """Write a file as the first version of the package did.

    Args:
        dataset: The rows.
        path: The file.
        edit: What to do to the open file at the end.
    """
    import h5py

    with h5py.File(path, "w", libver=("v110", "latest")) as file:
        store = dataset.store
        attributes = {"format": "dynamic-sparsity-hdf5", "version": 1, "metadata": json.dumps(store.metadata)}
        attributes |= {"split": dataset.split or "", "coordinates": dataset.coordinates}
        attributes |= {"columns": json.dumps(dataset.columns)}
        attributes |= {f"episodes.{name}": values for name, values in store.episodes.items()}
        attributes |= {f"statistics.{name}": values for name, values in store.statistics.items()}
        for name, value in attributes.items():
            file.attrs[name] = value
        file.create_dataset("row", data=dataset.rows, fletcher32=True, chunks=(max(1, min(2**14, len(dataset))),))
        for name, values in dataset[:].items():
            row_bytes = max(1, int(np.prod(values.shape[1:], dtype=int)) * values.itemsize)
            chunks = (max(1, min(1024, 2**20 // row_bytes, len(dataset))), *values.shape[1:])
            options = {"compression": "gzip", "compression_opts": 1} if values.dtype.kind in "iu" else {}
            file.create_dataset(name, data=values, chunks=chunks, fletcher32=True, shuffle=True, **options)
        if edit is not None:
            edit(file)


def hostile_version_1(dataset: JacobianDataset, secret: Path) -> Iterator[Case]:
    """Files without an index that only libhdf5 can make: links, virtual and external storage, other types.

    Args:
        dataset: Rows with all columns.
        secret: A file that must not be read.
    """
    import h5py

    secret_hdf5 = secret.with_suffix(".h5")
    rows, width = len(dataset), dataset[:0]["state"].shape[1]
    if not secret_hdf5.exists():
        with h5py.File(secret_hdf5, "w") as file:
            file["state"] = np.ones((rows, width), np.float32)

    def replaced(name: str, make: Callable[[Any], None]) -> Make:
        def edit(file: Any) -> None:
            del file[name]
            make(file)

        return lambda path: write_version_1(dataset, path, edit)

    def dataset_of(name: str, **options: Any) -> Make:
        options.setdefault("chunks", True)
        return replaced(name, lambda file: file.create_dataset(name, **options))

    def external(file: Any) -> None:
        source = [(str(secret), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("state", (rows, width), np.float32, external=source)

    def virtual(file: Any) -> None:
        layout = h5py.VirtualLayout((rows, width), np.float32)
        layout[:] = h5py.VirtualSource(str(secret_hdf5), "state", (rows, width))
        file.create_virtual_dataset("state", layout)

    def link(target: Any) -> Make:
        return replaced("state", lambda file: file.__setitem__("state", target))

    yield "external storage", replaced("state", external)
    yield "virtual dataset", replaced("state", virtual)
    yield "external link", link(h5py.ExternalLink(str(secret_hdf5), "/state"))
    yield "external link to a FIFO", link(h5py.ExternalLink("/dev/stdin", "/state"))
    yield "soft link", link(h5py.SoftLink("/next_state"))
    yield "soft link to itself", link(h5py.SoftLink("/state"))
    yield "hard link to another column", replaced("state", lambda file: file.__setitem__("state", file["next_state"]))
    yield "hard link to the root", replaced("state", lambda file: file.__setitem__("state", file["/"]))
    yield "group", replaced("state", lambda file: file.create_group("state"))
    yield "named type", replaced("state", lambda file: file.__setitem__("state", np.dtype("f4")))
    yield (
        "another dataset",
        lambda path: write_version_1(dataset, path, lambda file: file.create_dataset("x", (rows,), np.float32)),
    )
    state = dataset[:]["state"]
    text = np.full((rows, width), "x" * 100, dtype=object)
    yield "object strings", dataset_of("state", data=text, dtype=h5py.string_dtype())
    yield "vlen numbers", dataset_of("state", shape=(rows, width), dtype=h5py.vlen_dtype(np.float32))
    yield "references", dataset_of("state", shape=(rows, width), dtype=h5py.ref_dtype)
    yield "fixed strings", dataset_of("state", data=np.full((rows, width), b"abcd"))
    yield "compound", dataset_of("state", shape=(rows, width), dtype=np.dtype([("a", "f4")]))
    yield "enum", dataset_of("flags", shape=(rows,), dtype=h5py.enum_dtype({"a": 1}, np.uint16))
    yield "opaque", dataset_of("state", shape=(rows, width), dtype=np.dtype("V4"))
    for dtype in ("f8", ">f4", "i4", "f2", "u1", "c8"):
        yield f"dtype {dtype}", dataset_of("state", data=state.astype(dtype))
    for shape in ((rows, width + 1), (rows - 1, width), (rows,), (rows, width, 1), (0, width), (width, rows)):
        yield f"shape {shape}", dataset_of("state", data=np.zeros(shape, np.float32), chunks=None)
    for name, options in {"lzf": {"compression": "lzf"}, "scale-offset": {"scaleoffset": 3}}.items():
        yield name, dataset_of("state", data=state, **options)
    yield "contiguous", dataset_of("state", data=state, chunks=None)
    yield "chunks across a row", dataset_of("state", data=state, chunks=(1, 1))
    yield "unwritten rows", dataset_of("state", shape=(rows, width), dtype="f4", fletcher32=True)
    yield "10^9 unwritten rows", dataset_of("row", shape=(10**9,), dtype="i8", fletcher32=True)
    yield "2^60 unwritten rows", dataset_of("row", shape=(2**60,), dtype="i8", fletcher32=True, chunks=(2**20,))
    big = {"shape": (rows, width), "dtype": "f4", "maxshape": (None, None), "chunks": (2**20, width)}
    yield "chunk of 2^20 rows", dataset_of("state", **big)
    for name, value in _ATTRIBUTES.items():
        yield f"attribute {name}", _with_attribute(dataset, *value)
    yield "metadata nested", _with_attribute(dataset, "metadata", '{"a":' * 5000 + "1" + "}" * 5000)
    for key, value in METADATA.items():
        changed = json.dumps(dataset.metadata | {key.split()[0]: value})
        yield f"metadata {key}", _with_attribute(dataset, "metadata", changed)


def _with_attribute(dataset: JacobianDataset, name: str, value: Any) -> Make:
    def edit(file: Any) -> None:
        if name in file.attrs:
            del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    return lambda path: write_version_1(dataset, path, edit)


_ATTRIBUTES: dict[str, tuple[str, Any]] = {
    "missing metadata": ("metadata", None),
    "missing version": ("version", None),
    "version text": ("version", "1"),
    "version 3": ("version", 3),
    "version array": ("version", np.arange(3)),
    "version NaN": ("version", float("nan")),
    "format": ("format", "x"),
    "format number": ("format", 1),
    "split": ("split", "x"),
    "split list": ("split", ["a", "b"]),
    "coordinates": ("coordinates", "x"),
    "columns": ("columns", '["state", "nothing"]'),
    "columns no JSON": ("columns", "["),
    "columns nested": ("columns", "[" * 3000 + "]" * 3000),
    "metadata no JSON": ("metadata", "{"),
    "metadata bytes": ("metadata", np.void(b"\x00\xff")),
    "episodes.start text": ("episodes.start", "x"),
    "episodes.start shape": ("episodes.start", np.arange(3)),
    "episodes.start dtype": ("episodes.start", np.arange(12, dtype=np.float64)),
    "episodes.start huge": ("episodes.start", np.full(12, 2**62)),
    "episodes.start missing": ("episodes.start", None),
    "statistics missing": ("statistics.state_mean", None),
    "statistics shape": ("statistics.state_mean", np.zeros((5, 5))),
    "another": ("statistics.x", np.zeros(3)),
    "another text": ("x", "y"),
}
