"""Archives from outside: compressed tar files and npz files, read member by member within limits."""

from __future__ import annotations

import io
import lzma
import math
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import CorruptStoreError, DynamicSparsityError
from dynamic_sparsity.untrusted.files import open_regular
from dynamic_sparsity.untrusted.names import check_name, check_relative_path

__all__ = ["read_npz", "read_tar_xz", "translated"]

ARCHIVE_BYTES_MAX: Final = 256 * 2**20
"""How large all of an archive may be once it is decompressed."""

RATIO_MAX: Final = 400
"""How many times as large as the compressed bytes; repeated JSON reaches about 30."""

RATIO_FREE_BYTES: Final = 16 * 2**20
"""Up to which size the ratio does not matter."""

MEMBERS_MAX: Final = 100_000
DECODER_BYTES_MAX: Final = 128 * 2**20
NPY_HEADER_BYTES_MAX: Final = 4096
DIMENSIONS_MAX: Final = 8
_BLOCK: Final = 2**18


@contextmanager
def translated(where: str, error: type[DynamicSparsityError] = CorruptStoreError) -> Iterator[None]:
    """Turn whatever a decoder raises on bytes that are not its own into one of our errors.

    Args:
        where: What to call the input in the message, usually its path.
        error: Class of the error.

    Raises:
        DynamicSparsityError: Of the class given; our own errors pass unchanged.
    """
    try:
        yield
    except DynamicSparsityError:
        raise
    except MemoryError as failure:
        raise error(f"{where}: needs more memory than there is") from failure
    # Decoders raise what they like: zlib.error, struct.error, and NumPy's reader of headers tokenize.TokenError.
    except Exception as failure:
        raise error(f"{where}: can't be read ({type(failure).__name__}: {failure})") from failure


def read_tar_xz(
    contents: bytes,
    where: str,
    accept: Callable[[str, int], bool],
    error: type[DynamicSparsityError] = CorruptStoreError,
    bytes_max: int = ARCHIVE_BYTES_MAX,
) -> dict[str, bytes]:
    """Read all members of a tar file that is compressed with xz.

    Args:
        contents: Its bytes.
        where: What to call it in the message.
        accept: Tells for each member's validated path and size, bytes, whether the archive may have it.
        error: Class of the error.
        bytes_max: How large it may be once decompressed, bytes.

    Returns:
        Path to bytes of every member.

    Raises:
        CorruptInputError: It is no such archive; a member is no regular file, stands there twice, has a name that is
            no relative path or that is not accepted; or a limit is exceeded (or an error of the class given).
    """
    limit = min(bytes_max, max(RATIO_FREE_BYTES, RATIO_MAX * len(contents)))
    members: dict[str, bytes] = {}
    with translated(where, error):
        stream = io.BytesIO(_decompress_xz(contents, limit, where, error))
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for entry in archive:
                name = check_relative_path(entry.name, f"{where}: a member's name", error)
                # GNU's sparse members are files with holes whose size has nothing to do with the archive's.
                if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or entry.issparse():
                    raise error(f"{where}: {name} is no regular file")
                if name in members or len(members) == MEMBERS_MAX:
                    raise error(f"{where}: has {name} twice, or more than {MEMBERS_MAX} members")
                if not accept(name, entry.size):
                    raise error(f"{where}: {name} with {entry.size} bytes does not belong there")
                source = archive.extractfile(entry)
                members[name] = b"" if source is None else source.read()
                if len(members[name]) != entry.size:
                    raise error(f"{where}: {name} was cut off")
    return members


def _decompress_xz(contents: bytes, limit: int, where: str, error: type[DynamicSparsityError]) -> bytes:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=DECODER_BYTES_MAX)
    pieces, size = [decoder.decompress(contents, _BLOCK)], 0
    while True:
        size += len(pieces[-1])
        if size > limit:
            raise error(f"{where}: decompresses to more than {limit} bytes")
        if decoder.eof:
            break
        if decoder.needs_input:
            raise error(f"{where}: was cut off")
        pieces.append(decoder.decompress(b"", _BLOCK))
    if decoder.unused_data:
        raise error(f"{where}: has {len(decoder.unused_data)} bytes behind its end")
    return b"".join(pieces)


def read_npz(
    path: Path, error: type[DynamicSparsityError] = CorruptStoreError, bytes_max: int = ARCHIVE_BYTES_MAX
) -> dict[str, NDArray[Any]]:
    """Read all arrays of an npz file: numbers and booleans only, never pickled objects.

    Args:
        path: The file.
        error: Class of the error.
        bytes_max: How large all arrays may be together, bytes.

    Returns:
        Name to array, in the file's order.

    Raises:
        CorruptInputError: It is no such file, an array is none of numbers, or a limit is exceeded (or an error of the
            class given).
    """
    arrays: dict[str, NDArray[Any]] = {}
    descriptor, status = open_regular(path, error)
    with translated(str(path), error), os.fdopen(descriptor, "rb") as stream, zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        total = sum(entry.file_size for entry in entries)
        limit = min(bytes_max, max(RATIO_FREE_BYTES, RATIO_MAX * status.st_size))
        if total > limit or len(entries) > MEMBERS_MAX:
            raise error(f"{path}: declares {total} bytes in {len(entries)} arrays; at most {limit} bytes are read")
        for entry in entries:
            name = check_name(entry.filename.removesuffix(".npy"), f"{path}: an array's name", error)
            if name in arrays:
                raise error(f"{path}: has the array {name} twice")
            with archive.open(entry) as member:
                # The size that the archive declares may be a lie; what comes is counted.
                contents = member.read(entry.file_size + 1)
            if len(contents) != entry.file_size:
                raise error(f"{path}: {name} does not have the {entry.file_size} bytes that are declared")
            arrays[name] = _parse_npy(contents, f"{path}: {name}", error)
    return arrays


def _parse_npy(contents: bytes, where: str, error: type[DynamicSparsityError]) -> NDArray[Any]:
    """Read one array in NumPy's format, whose shape must be that of the bytes that are there."""
    stream = io.BytesIO(contents)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise error(f"{where}: has version {version} of NumPy's format; 1.0 and 2.0 are read")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read_header(stream, max_header_size=NPY_HEADER_BYTES_MAX)
    if dtype.kind not in "biufc" or not all(0 <= length < 2**48 for length in shape):
        raise error(f"{where}: has dtype {dtype} and shape {shape}; expected numbers or booleans")
    body = contents[stream.tell() :]
    if len(shape) > DIMENSIONS_MAX or math.prod(shape) * dtype.itemsize != len(body):
        raise error(f"{where}: shape {shape} of {dtype} is not what its {len(body)} bytes hold")
    return np.frombuffer(body, dtype).reshape(shape, order="F" if fortran_order else "C").copy(order="K")
