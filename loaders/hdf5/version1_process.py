"""A program that lists where the chunks of an HDF5 file are, so that libhdf5 opens the file in a separate process.

libhdf5 crashes or hangs on some damaged files. This process may die with it, has little memory and time, and
reads no row: it follows no link out of the file and writes what it found, as JSON, to its output. Only Python's own
modules, NumPy and h5py are imported, so that it starts soon.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import sys
from typing import Any

ATTRIBUTE_BYTES_MAX = 64 * 2**20
CHUNKS_MAX = 5_000_000


class Refused(Exception):
    """Something in the file that is not read."""


def describe(h5py: Any, np: Any, path: str) -> dict[str, Any]:
    """Describe the attributes and datasets of the root; refuse anything else there.

    Args:
        h5py: The package.
        np: NumPy.
        path: The file.
    """
    # No mapping of external files: they are refused, below, before anything of a dataset is read.
    file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY)
    root = h5py.h5g.open(file, b"/")
    attributes = {}
    for number in range(h5py.h5a.get_num_attrs(root)):
        attribute = h5py.h5a.open(root, index=number)
        attributes[attribute.name.decode()] = read_attribute(h5py, np, attribute)
    names: list[bytes] = []
    root.links.iterate(names.append)
    datasets = {}
    for name in names:
        if root.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            raise Refused(f"{name!r} is a soft or external link")
        if h5py.h5o.get_info(root, name).type != h5py.h5o.TYPE_DATASET:
            raise Refused(f"{name!r} is no dataset")
        datasets[name.decode()] = describe_dataset(h5py, np, h5py.h5d.open(root, name))
    return {"attributes": attributes, "datasets": datasets}


def read_attribute(h5py: Any, np: Any, attribute: Any) -> Any:
    """Read a string, or an array of numbers with dtype and shape.

    Args:
        h5py: The module.
        np: The module NumPy.
        attribute: Identifier of the attribute.

    Raises:
        Refused: It is something else.
    """
    kind, shape = attribute.get_type(), attribute.get_space().get_simple_extent_dims()
    if kind.get_class() == h5py.h5t.STRING and shape == ():
        found = np.empty((), h5py.string_dtype() if kind.is_variable_str() else kind.dtype)
        attribute.read(found)
        value = found[()]
        return value.decode() if isinstance(value, bytes) else str(value)
    if kind.get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT) or shape is None:
        raise Refused(f"the attribute {attribute.name!r} has a type that is not read")
    if math.prod(shape) * kind.get_size() > ATTRIBUTE_BYTES_MAX:
        raise Refused(f"the attribute {attribute.name!r} is too large")
    found = np.empty(shape, kind.dtype)
    attribute.read(found)
    found = found.astype(found.dtype.newbyteorder("<"))
    return {"dtype": found.dtype.name, "shape": list(shape), "data": base64.b64encode(found.tobytes()).decode()}


def describe_dataset(h5py: Any, np: Any, dataset: Any) -> dict[str, Any]:
    """Describe dtype, shape, filters and chunks of a dataset whose rows are in this file.

    Args:
        h5py: The module.
        np: The module NumPy.
        dataset: Identifier of the dataset.

    Raises:
        Refused: Its rows are elsewhere, or stored in another way.
    """
    settings, kind, space = dataset.get_create_plist(), dataset.get_type(), dataset.get_space()
    if settings.get_external_count() or settings.get_layout() != h5py.h5d.CHUNKED:
        raise Refused(f"{dataset.name!r} has its rows in no chunks, or elsewhere")
    if kind.get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT) or space.get_simple_extent_type() != h5py.h5s.SIMPLE:
        raise Refused(f"{dataset.name!r} has a type that is not read")
    # A type that only looks like a NumPy one, with other bits, is not equal to the type made of NumPy's.
    if h5py.h5t.py_create(kind.dtype, logical=False) != kind or kind.dtype.byteorder == ">":
        raise Refused(f"{dataset.name!r} has a type that is not read")
    shape = space.get_simple_extent_dims()
    if settings.get_chunk()[1:] != shape[1:] or dataset.get_num_chunks() > CHUNKS_MAX:
        raise Refused(f"{dataset.name!r} is cut into chunks in a way that is not read")
    chunks: list[tuple[int, int, int, int]] = []

    def add(info: Any) -> None:
        chunks.append((info.chunk_offset[0], info.byte_offset, info.size, info.filter_mask))
        if any(info.chunk_offset[1:]) or info.byte_offset is None:
            raise Refused(f"{dataset.name!r} is cut into chunks in a way that is not read")

    if hasattr(dataset, "chunk_iter"):
        dataset.chunk_iter(add)
    else:
        for number in range(dataset.get_num_chunks()):
            add(dataset.get_chunk_info(number))
    return {
        "dtype": kind.dtype.name,
        "shape": list(shape),
        "chunk_rows": settings.get_chunk()[0],
        "filters": [settings.get_filter(number)[0] for number in range(settings.get_nfilters())],
        "chunks": base64.b64encode(np.array(sorted(chunks), "<u8").tobytes()).decode(),
    }


def limit(memory: int, seconds: int) -> None:
    """Limit what this process may use.

    Args:
        memory: Bytes beyond what it has now.
        seconds: Seconds of a processor.
    """
    try:
        import resource
    except ImportError:
        return
    with contextlib.suppress(OSError, ValueError, StopIteration):
        with open("/proc/self/status") as status:  # noqa: PTH123 - pathlib would cost a tenth of the start
            now = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmSize"))
        resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Describe the file that the arguments name; the output is `{"found": …}` or `{"refused": …}`."""
    path, memory, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    import h5py
    import numpy as np

    limit(memory, seconds)
    try:
        result: dict[str, Any] = {"found": describe(h5py, np, path)}
    except Refused as refused:
        result = {"refused": str(refused)}
    except Exception as error:  # whatever libhdf5 and h5py make of the file's bytes
        result = {"refused": f"{type(error).__name__}: {error}"[:500]}
    sys.stdout.write(json.dumps(result))
    sys.stdout.flush()
    # Closing a damaged file may crash, too.
    os._exit(0)


if __name__ == "__main__":
    main()
