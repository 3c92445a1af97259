"""Files of version 1, which have no index: a separate process asks libhdf5 where their chunks are.

What can be checked of them is: attributes and shapes by the schema, every chunk by its Fletcher-32 checksum. A damaged
attribute that still agrees with the schema is not noticed, as attributes have no digest.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

from dynamic_sparsity.errors import CorruptStoreError, MissingDependencyError
from dynamic_sparsity.loaders.hdf5.chunks import FILTERS, ChunkForm
from dynamic_sparsity.loaders.hdf5.contents import (
    FORMAT,
    ROW,
    TABLE,
    Array,
    Contents,
    check_contents,
    check_form,
    check_metadata,
    check_names,
    row_shapes,
)
from dynamic_sparsity.untrusted.archives import translated
from dynamic_sparsity.untrusted.documents import parse_json
from dynamic_sparsity.untrusted.files import read_at

__all__ = ["read_old"]

SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
VERSION: Final = 1
PROCESSOR_SECONDS_MAX: Final = 10
SECONDS_MAX: Final = 120
"""Of a clock: a machine with much to do gives this process little of its time."""

MEMORY_BYTES_MAX: Final = 512 * 2**20
OUTPUT_BYTES_MAX: Final = 256 * 2**20
NOT_OURS: Final = "is damaged, or not an HDF5 file of this package"


def read_old(path: Path, descriptor: int, size: int) -> Contents:
    """Read and check the description of a file of version 1.

    Args:
        path: The file.
        descriptor: Of the open file.
        size: Its size, bytes.

    Raises:
        CorruptStoreError: It is damaged, or something else.
        MissingDependencyError: h5py is not installed.
    """
    where = str(path)
    if size < len(SIGNATURE) or read_at(descriptor, 0, len(SIGNATURE), where) != SIGNATURE:
        raise CorruptStoreError(f"{where} {NOT_OURS}: it does not begin as HDF5 files do")
    found = _ask_child(path)
    with translated(where):
        contents = _contents(found["attributes"], found["datasets"], where)
    check_contents(contents, size, where)
    return contents


def _ask_child(path: Path) -> dict[str, Any]:
    """Return what the child program finds in the file."""
    if sys.modules.get("h5py", path) is None or importlib.util.find_spec("h5py") is None:
        raise MissingDependencyError("HDF5 needs the package h5py: pip install 'dynamic-sparsity[hub]'")
    program = str(Path(__file__).with_name("version1_process.py"))
    # The child finds the same packages, and neither the current folder's modules nor more threads than it needs.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
    words = [sys.executable, "-P", program, str(path), str(MEMORY_BYTES_MAX), str(PROCESSOR_SECONDS_MAX)]
    try:
        done = subprocess.run(
            words, env=environment, capture_output=True, stdin=subprocess.DEVNULL, timeout=SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CorruptStoreError(f"{path} {NOT_OURS}: HDF5 finds no end reading it") from error
    except OSError as error:
        raise CorruptStoreError(f"{path} can't be looked at: no Python process can be started ({error})") from error
    if done.returncode != 0 or len(done.stdout) > OUTPUT_BYTES_MAX:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CorruptStoreError(f"{path} {NOT_OURS}: HDF5 fails reading it (exit code {done.returncode}) {last:.200}")
    result = parse_json(done.stdout, f"{path}: what HDF5 says of it")
    if "refused" in result:
        raise CorruptStoreError(f"{path} {NOT_OURS}: {result['refused']}")
    found: dict[str, Any] = result["found"]
    return found


def _contents(attributes: dict[str, Any], datasets: dict[str, Any], where: str) -> Contents:
    texts = {name: attributes.pop(name, None) for name in ("format", "metadata", "split", "coordinates", "columns")}
    if not all(isinstance(text, str) for text in texts.values()) or texts["format"] != FORMAT:
        raise CorruptStoreError(f"{where} {NOT_OURS}: its format is {texts['format']!r:.99}")
    arrays = {name: _array(value) for name, value in attributes.items()}
    version = int(arrays.pop("version", np.array(0)).reshape(()))
    if version != VERSION:
        raise CorruptStoreError(f"{where} {NOT_OURS}: it has version {version}, and no index at its end")
    metadata = check_metadata(parse_json(texts["metadata"], f"{where}: metadata"), where)
    columns = check_names(json.loads(texts["columns"]), texts["split"], texts["coordinates"], metadata, where)
    shapes = row_shapes(metadata, texts["coordinates"])
    if set(datasets) != {ROW, *columns}:
        raise CorruptStoreError(f"{where} {NOT_OURS}: its columns and its datasets are not the same")
    length = datasets[ROW]["shape"][0]
    forms, tables = {}, {}
    for name in (ROW, *columns):
        found, (dtype, row_shape) = datasets[name], shapes[name]
        if found["dtype"] != dtype.name or found["shape"] != [length, *row_shape]:
            raise CorruptStoreError(
                f"{where} {NOT_OURS}: {name} is {found['dtype']} of shape {found['shape']}; the schema asks for "
                f"{dtype.name} of shape {[length, *row_shape]}"
            )
        filters = tuple(FILTERS.get(number, str(number)) for number in found["filters"])
        forms[name] = check_form(ChunkForm(dtype, row_shape, found["chunk_rows"], filters), where)
        chunks = np.frombuffer(base64.b64decode(found["chunks"]), "<u8").reshape(-1, 4)
        if (chunks[:, 0] != np.arange(len(chunks), dtype=np.uint64) * np.uint64(found["chunk_rows"])).any():
            raise CorruptStoreError(f"{where} {NOT_OURS}: chunks of {name} are missing or stand there twice")
        if (chunks[:, 2:] >= 2**32).any():
            raise CorruptStoreError(f"{where} {NOT_OURS}: a chunk of {name} is larger than any chunk of this package")
        tables[name] = np.zeros(len(chunks), TABLE)
        for number, field in enumerate(("offset", "bytes", "mask"), 1):
            tables[name][field] = chunks[:, number]
    return Contents(metadata, texts["split"], texts["coordinates"], columns, length, arrays, forms, tables, sums=False)


def _array(value: Any) -> Array:
    contents = np.frombuffer(base64.b64decode(value["data"]), np.dtype(value["dtype"]).newbyteorder("<"))
    return contents.reshape(value["shape"])
