import gc
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec

from dynamic_sparsity.errors import CorruptStoreError, InvalidSettingError
from dynamic_sparsity.loaders.shards import memory_map as mapping
from dynamic_sparsity.loaders.shards.column import Column
from dynamic_sparsity.loaders.shards.compressed_column import CompressedColumn
from dynamic_sparsity.loaders.shards.mapped_column import MappedColumn
from dynamic_sparsity.loaders.shards.reader import ShardReader
from dynamic_sparsity.loaders.store.checksums import Ledger
from dynamic_sparsity.schemas.layout import ArrayLayout

KINDS: dict[str, type[Column]] = {
    "raw": MappedColumn,
    "packed": CompressedColumn,
}


def write_array(
    root: Path, values: NDArray[Any], kind: str = "raw", *, chunk_rows: int = 4, shard_rows: int = 16, name: str = "x"
) -> None:
    """Write an array with zarr-python in one of the layouts."""
    row_shape = values.shape[1:]
    bytes_, crc = BytesCodec(), Crc32cCodec()
    blosc = BloscCodec(typesize=values.itemsize, cname="zstd", clevel=5, shuffle="bitshuffle")
    sharding = ShardingCodec(
        chunk_shape=(chunk_rows, *row_shape),
        codecs=[bytes_, blosc, crc] if kind == "packed" else [bytes_, crc],
        index_codecs=[BytesCodec(), Crc32cCodec()],
    )
    array: Any = zarr.create(
        store=root / name,
        shape=values.shape,
        chunks=(shard_rows, *row_shape),
        dtype=values.dtype,
        codecs=[sharding],
        fill_value=0,
        zarr_format=3,
        config={"write_empty_chunks": True},
    )
    array[...] = values


def ledger_of(root: Path, **options: Any) -> Ledger:
    files = [path for path in root.rglob("*") if path.is_file()]
    records = {
        path.relative_to(root).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
        for path in files
    }
    return Ledger(root, records, **options)


def reader_of(root: Path, *, ledger: Ledger | None = None, decoded_bytes: int = 10**9, **options: Any) -> ShardReader:
    """A reader of what `write_array` wrote."""
    ledger = ledger or ledger_of(root, **options)
    document = json.loads((root / "x/zarr.json").read_bytes())
    sharding = document["codecs"][0]["configuration"]
    layout = ArrayLayout(
        "x",
        tuple(document["shape"]),
        np.dtype(document["data_type"]),
        sharding["chunk_shape"][0],
        document["chunk_grid"]["configuration"]["chunk_shape"][0],
        "packed" if len(sharding["codecs"]) == 3 else "raw",
    )
    return ShardReader(ledger, {"x": layout}, layout.shape[0], decoded_bytes=decoded_bytes)


def some_values(rows: int, row_shape: tuple[int, ...] = (3, 2), dtype: str = "float32") -> NDArray[Any]:
    return np.random.default_rng(rows).integers(0, 200, (rows, *row_shape)).astype(dtype)


@pytest.fixture(params=["one address range", "a map per shard"])
def each_mapping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both ways to map raw arrays."""
    if request.param == "a map per shard":
        monkeypatch.setattr(mapping, "_c_library", lambda: None)
    elif mapping._c_library() is None:
        pytest.skip("files can't be mapped to chosen addresses here")
    yield


@pytest.mark.slow
@pytest.mark.usefixtures("each_mapping")
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_every_layout_reads_as_zarr_python_does(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("store")
    rows = data.draw(st.integers(1, 100))
    chunk_rows = data.draw(st.sampled_from([1, 2, 8, 16]))
    shard_rows = chunk_rows * data.draw(st.integers(1, 4))
    row_shape = tuple(data.draw(st.lists(st.integers(1, 5), max_size=2)))
    dtype = data.draw(st.sampled_from(["float32", "uint8", "uint16", "int32"]))
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    values = some_values(rows, row_shape, dtype)
    write_array(root, values, kind, chunk_rows=chunk_rows, shard_rows=shard_rows)
    reader = reader_of(root, decoded_bytes=data.draw(st.sampled_from([0, 10**9])))
    chosen = np.asarray(data.draw(st.lists(st.integers(0, rows - 1), max_size=40)), np.int64)
    start, stop = sorted(data.draw(st.tuples(st.integers(0, rows), st.integers(0, rows))))
    gathered, consecutive = reader.gather(["x"], chosen)["x"], reader.read(["x"], start, stop)["x"]
    assert isinstance(reader._columns["x"], KINDS[kind])
    by_zarr: Any = zarr.open_array(root / "x", mode="r")
    np.testing.assert_array_equal(by_zarr[...], values)
    for found, expected in ((gathered, values[chosen]), (consecutive, values[start:stop])):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == values.dtype and found.shape == expected.shape
        assert found.flags.writeable and found.flags.c_contiguous


@pytest.mark.usefixtures("each_mapping")
def test_results_are_copies_that_outlive_the_reader(tmp_path: Path) -> None:
    values = some_values(64)
    write_array(tmp_path, values)
    reader = reader_of(tmp_path)
    found = [reader.gather(["x"], np.array([3, 60]))["x"], reader.read(["x"], 3, 40)["x"]]
    del reader
    for array in found:
        array += 1
    again = reader_of(tmp_path)
    np.testing.assert_array_equal(again.read(["x"], 0, 64)["x"], values)
    np.testing.assert_array_equal(found[1], values[3:40] + 1)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")
def test_a_reader_that_is_gone_leaves_no_mapping(tmp_path: Path) -> None:
    write_array(tmp_path, some_values(64))
    reader = reader_of(tmp_path)
    reader.read(["x"], 0, 64)
    assert Path("/proc/self/maps").read_text().count(str(tmp_path)) == 4
    del reader
    gc.collect()
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


@pytest.mark.usefixtures("each_mapping")
def test_what_cannot_be_mapped_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = some_values(64)
    write_array(tmp_path, values)
    reader = reader_of(tmp_path)
    np.testing.assert_array_equal(reader.read(["x"], 0, 16)["x"], values[:16])

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mapping.AddressRange, "map_file", refuse)
    monkeypatch.setattr("mmap.mmap", refuse)
    np.testing.assert_array_equal(reader.gather(["x"], np.array([50, 2]))["x"], values[[50, 2]])
    np.testing.assert_array_equal(reader.read(["x"], 3, 60)["x"], values[3:60])


@pytest.mark.parametrize("rows", [[-1], [64], [0, 99]])
def test_rows_outside_are_refused(tmp_path: Path, rows: list[int]) -> None:
    write_array(tmp_path, some_values(64))
    reader = reader_of(tmp_path)
    with pytest.raises(IndexError, match="0 to 63"):
        reader.gather(["x"], np.asarray(rows))
    with pytest.raises(IndexError, match="0 to 63"):
        reader.read(["x"], rows[0], 65)


def flip_bit(path: Path, offset: int = 40) -> None:
    contents = bytearray(path.read_bytes())
    contents[offset] ^= 4
    path.write_bytes(contents)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def swap_with_next(path: Path) -> None:
    other = path.parent.parent / str(int(path.parent.name) + 1) / path.name
    contents = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(contents)


@pytest.mark.usefixtures("each_mapping")
@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("damage", [flip_bit, truncate, swap_with_next, Path.unlink])
def test_damage_is_found_before_a_row_is_returned(tmp_path: Path, kind: str, damage: Any) -> None:
    write_array(tmp_path, some_values(64, (6,)), kind)
    reader = reader_of(tmp_path)
    reader.read(["x"], 0, 16)
    damage(tmp_path / "x/c/1/0")
    with pytest.raises(CorruptStoreError, match=r"x/c/1/0.*dynamic-sparsity verify"):
        reader.gather(["x"], np.array([0, 20]))
    with pytest.raises(CorruptStoreError, match=r"x/c/1/0"):
        reader.read(["x"], 10, 20)


@pytest.mark.parametrize("offset", [-30, -1])
@pytest.mark.parametrize("kind", ["raw", "packed"])
def test_a_damaged_index_is_found_without_hashes(tmp_path: Path, kind: str, offset: int) -> None:
    write_array(tmp_path, some_values(16), kind)
    flip_bit(tmp_path / "x/c/0/0/0", offset)
    with pytest.raises(CorruptStoreError, match="CRC-32C"):
        reader_of(tmp_path, verify="size").read(["x"], 0, 1)


@pytest.mark.parametrize("decoded_bytes", [0, 10**9])
def test_damaged_packed_chunks_are_found_without_hashes(tmp_path: Path, decoded_bytes: int) -> None:
    write_array(tmp_path, some_values(16), "packed")
    flip_bit(tmp_path / "x/c/0/0/0", 20)
    reader = reader_of(tmp_path, verify="size", decoded_bytes=decoded_bytes)
    with pytest.raises(CorruptStoreError, match="chunk 0 does not match its CRC-32C"):
        reader.read(["x"], 0, 1)


@pytest.mark.usefixtures("each_mapping")
def test_chunks_out_of_order_are_refused(tmp_path: Path) -> None:
    import google_crc32c

    values = some_values(32)
    write_array(tmp_path, values)
    path = tmp_path / "x/c/1/0/0"
    contents = path.read_bytes()
    index = np.frombuffer(contents[-68:-4], "<u8").reshape(4, 2)
    size = int(index[0, 1])
    body = contents[size : 2 * size] + contents[:size] + contents[2 * size : 4 * size]
    reordered = index[[1, 0, 2, 3]].tobytes()
    path.write_bytes(body + reordered + google_crc32c.value(reordered).to_bytes(4, "little"))
    reader = reader_of(tmp_path)
    np.testing.assert_array_equal(reader.read(["x"], 0, 4)["x"], values[:4])
    with pytest.raises(CorruptStoreError, match=r"x/c/1/0/0: its index is not that of its rows"):
        reader.gather(["x"], np.array([30, 1, 17]))


def test_a_shard_of_another_size_than_its_rows_make_is_refused(tmp_path: Path) -> None:
    write_array(tmp_path, some_values(64))
    with (tmp_path / "x/c/2/0/0").open("ab") as file:
        file.write(b"more")
    with pytest.raises(CorruptStoreError, match=r"x/c/2/0/0: has \d+ bytes in the manifest; its rows make \d+"):
        reader_of(tmp_path).read(["x"], 0, 1)


def test_hashes_are_not_computed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_array(tmp_path, some_values(64))
    first = ledger_of(tmp_path)
    reader_of(tmp_path, ledger=first).read(["x"], 0, 64)
    assert len(first.verified) == 4
    second = ledger_of(tmp_path, verified=first.verified)
    monkeypatch.setattr(Ledger, "_check_hash", _refuse_shards)
    reader_of(tmp_path, ledger=second).read(["x"], 0, 64)


def _refuse_shards(self: Ledger, name: str, contents: object) -> None:
    raise AssertionError(name)


def test_verify_modes(tmp_path: Path) -> None:
    write_array(tmp_path, some_values(64))
    with pytest.raises(InvalidSettingError, match="'sha256' or 'size'"):
        ledger_of(tmp_path, verify="maybe")
    ledger = ledger_of(tmp_path, verify="size")
    flip_bit(tmp_path / "x/c/0/0/0")
    ledger.check_sizes()
    reader_of(tmp_path, ledger=ledger).read(["x"], 0, 4)
    assert not ledger.verified
    truncate(tmp_path / "x/c/0/0/0")
    with pytest.raises(CorruptStoreError, match="bytes"):
        ledger.check_sizes()


def test_importing_the_loaders_is_light() -> None:
    heavy = ("jax", "mujoco", "torch", "h5py", "zarr", "numcodecs")
    script = f"import sys, dynamic_sparsity.loaders; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
