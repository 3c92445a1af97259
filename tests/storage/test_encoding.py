import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec

from dynamic_sparsity.schemas import row_arrays
from dynamic_sparsity.schemas.documents import member_documents, shard_file, store_arrays
from dynamic_sparsity.storage import writer
from dynamic_sparsity.storage.encoding import encode_chunk, shard_pieces
from dynamic_sparsity.testing import stores as synthetic

VARIANTS: list[dict[str, Any]] = [
    {},
    {"quaternion": True, "stock": True, "activations": 1, "early": {3: 7, 10: 1}},
    {"limits": 0, "pairs": 0, "actions": 0},
    {"episodes": 11, "episode_length": 7, "chunk_rows": 4, "shard_rows": 28},
    {"episodes": 1, "episode_length": 3},
]


def open_strictly(path: Path) -> zarr.Group:
    return zarr.open_group(path, mode="r")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.make_store(tmp_path_factory.mktemp("reference") / "noise.zarr", early={3: 7})


@pytest.mark.slow
@pytest.mark.parametrize("options", VARIANTS)
def test_zarr_reads_the_same_values(tmp_path: Path, options: dict[str, Any]) -> None:
    path = synthetic.make_store(tmp_path / "noise.zarr", **options)
    attributes, columns, episodes = synthetic.make_all(**options)
    group = open_strictly(path)
    for spec in row_arrays(attributes["sizes"], attributes["dynamics"]):
        array = group[spec.name]
        assert array.dtype == spec.dtype and array.metadata.dimension_names == spec.dimension_names
        np.testing.assert_array_equal(array[...], columns[spec.name])
    assert group["episodes/return"][...].tolist() == [episode["return"] for episode in episodes]
    assert group["episodes/length"][...].tolist() == [episode["length"] for episode in episodes]
    assert dict(group.attrs) == {**attributes, "complete": True}
    assert group["statistics/state_count"][()] > 0


def test_metadata_is_consolidated(reference: Path) -> None:
    group = open_strictly(reference)
    assert group.metadata.consolidated_metadata is not None
    expected = {name for name, _ in store_arrays(dict(group.attrs)).items()} | {"episodes", "statistics"}
    assert set(member_documents(dict(group.attrs))) == expected
    assert {name for name, _ in group.members(max_depth=None)} == expected


def test_documents_are_what_zarr_would_write(tmp_path: Path, reference: Path) -> None:
    attributes = dict(open_strictly(reference).attrs)
    other = zarr.create_group(tmp_path / "other.zarr", zarr_format=3)
    for name, (spec, shape) in store_arrays(attributes).items():
        endian = "little" if np.dtype(spec.dtype).itemsize > 1 else None
        blosc = BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle", typesize=np.dtype(spec.dtype).itemsize)
        plain = spec.storage == "plain"
        other.create_array(
            name,
            shape=shape,
            chunks=shape if plain else (attributes["chunk_rows"], *shape[1:]),
            shards=None if plain else (attributes["shard_rows"], *shape[1:]),
            dtype=spec.dtype,
            fill_value=spec.fill_value,
            serializer=BytesCodec(endian=endian),
            compressors=[*([blosc] if spec.storage == "packed" else []), Crc32cCodec()],
            dimension_names=spec.dimension_names or None,
            attributes={"unit": spec.unit, "description": spec.description},
        )
        written = json.loads((tmp_path / "other.zarr" / name / "zarr.json").read_bytes())
        assert json.loads((reference / name / "zarr.json").read_bytes()) == written


def inner_chunks(shard: bytes, chunks: int) -> list[bytes | None]:
    index = np.frombuffer(shard[-16 * chunks - 4 : -4], dtype="<u8").reshape(chunks, 2).tolist()
    return [None if offset == 2**64 - 1 else shard[offset : offset + size] for offset, size in index]


@pytest.mark.fast_sample(100)
@pytest.mark.parametrize("options", VARIANTS)
def test_chunks_are_the_bytes_zarr_writes(tmp_path: Path, options: dict[str, Any]) -> None:
    path = synthetic.make_store(tmp_path / "noise.zarr", **options)
    attributes, columns, _ = synthetic.make_all(**options)
    other = tmp_path / "other.zarr"
    writer.create_store(other, attributes)
    chunks = attributes["shard_rows"] // attributes["chunk_rows"]
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.open_group(other, mode="r+")
        for spec in row_arrays(attributes["sizes"], attributes["dynamics"]):
            group[spec.name][...] = columns[spec.name]
            for shard in range(math.ceil(attributes["rows"] / attributes["shard_rows"])):
                ours, theirs = ((root / shard_file(spec, shard)).read_bytes() for root in (path, other))
                assert inner_chunks(ours, chunks) == inner_chunks(theirs, chunks), spec.name


def test_packed_chunks_know_the_size_of_their_entries() -> None:
    specs = {spec.name: spec for spec in row_arrays(synthetic.make_attributes()["sizes"], "converged")}
    for name, size in (("mask_s", 1), ("flags", 2), ("reward", 4)):
        assert encode_chunk(specs[name], np.zeros(64, specs[name].dtype))[3] == size


def test_raw_shards_have_a_constant_stride(reference: Path) -> None:
    # A reader that maps the file relies on chunk i of a raw shard being at i * (chunk bytes + 4).
    shard = (reference / "J_s/c/0/0/0").read_bytes()
    stride = 16 * 6 * 6 * 4 + 4
    index = np.frombuffer(shard[-16 * 5 - 4 : -4], dtype="<u8").reshape(5, 2)
    assert index.tolist() == [[chunk * stride, stride] for chunk in range(5)]


@pytest.mark.parametrize("fill", [True, False])
def test_an_empty_shard_is_a_file_like_any_other(fill: bool) -> None:
    for spec in row_arrays(synthetic.make_attributes()["sizes"], "converged"):
        shape = spec.shape(synthetic.make_attributes()["sizes"], 80)
        values = np.full(shape, spec.fill_value if fill else 0, dtype=spec.dtype)
        shard = b"".join(shard_pieces(spec, values, chunk_rows=16, shard_rows=80))
        assert None not in inner_chunks(shard, 5), spec.name


def test_equal_chunks_are_stored_as_if_each_were_alone() -> None:
    spec = {spec.name: spec for spec in row_arrays(synthetic.make_attributes()["sizes"], "converged")}["reward"]
    kinds = [np.float32(value) for value in (0.0, 0.0, -0.0, np.nan, np.nan, 1.5, 1.5)]
    values = np.repeat(np.array(kinds, np.float32), 16)[:-3]  # the last chunk is filled up, so it is another one
    *pieces, _ = shard_pieces(spec, values, chunk_rows=16, shard_rows=112)
    whole = np.concatenate([values, np.full(3, spec.fill_value, np.float32)]).reshape(7, 16)
    assert pieces == [encode_chunk(spec, chunk) for chunk in whole]
    assert [pieces.index(piece) for piece in pieces] == [0, 0, 2, 3, 3, 5, 6]
