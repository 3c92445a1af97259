"""HDF5 files: damaged, forged, old, on a full disk. Nothing is silent, nothing crashes, nothing hangs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import hostile_hdf5_v1
import numpy as np
import pytest
from hostile_runs import in_child

from dynamic_sparsity import load_dataset
from dynamic_sparsity.errors import CorruptStoreError, InvalidSettingError, WriteFailedError
from dynamic_sparsity.loaders import JacobianDataset
from dynamic_sparsity.loaders.hdf5.chunks import ChunkForm
from dynamic_sparsity.loaders.whole_file import whole_file
from dynamic_sparsity.testing import make_store

COUNT = int(os.environ.get("HOSTILE_HDF5", "200"))
"""Damaged files of the present version; a twentieth as many of the old one, each of which takes a process."""

RUN = """
import itertools
import sys
from pathlib import Path
import numpy as np
import hostile_hdf5
import hostile_hdf5_v1
from hostile_runs import run_cases
from dynamic_sparsity import load_dataset
from dynamic_sparsity.loaders import JacobianDataset

folder, kind, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
dataset = load_dataset("Pendulums", root=folder)
expected, metadata, episodes = dataset[:], dataset.metadata, dataset.episodes

def judge(path):
    found = JacobianDataset.from_hdf5(path)
    rows = found[:]
    right = list(rows) == list(expected) and all(
        rows[name].dtype == values.dtype and np.array_equal(rows[name], values, equal_nan=values.dtype.kind == "f")
        for name, values in expected.items()
    )
    told = found.metadata == metadata
    told = told and all(np.array_equal(found.episodes[name], one) for name, one in episodes.items())
    return right and (told or kind == "old")

good = (folder / "good.h5").read_bytes()
cases = {
    "damaged": lambda: hostile_hdf5.damaged(good, count),
    "forged": lambda: hostile_hdf5.forged(good),
    "old": lambda: hostile_hdf5.damaged((folder / "old.h5").read_bytes(), count),
    "version 1": lambda: hostile_hdf5_v1.hostile_version_1(dataset, folder / "secret"),
    "others": hostile_hdf5.no_files,
}[kind]()
run_cases(itertools.islice(cases, 0, None, int(sys.argv[4])), folder, "rows.h5", judge)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hdf5")
    make_store(folder / "Pendulums/noise.zarr", early={2: 7}, quaternion=True)
    dataset = load_dataset("Pendulums", root=folder)
    dataset.to_hdf5(folder / "good.h5")
    hostile_hdf5_v1.write_version_1(dataset, folder / "old.h5")
    (folder / "secret").write_bytes(np.ones(10**5, np.float32).tobytes())
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "count", "least"),
    [
        ("damaged", COUNT // 10, COUNT // 10),
        pytest.param("damaged", COUNT, COUNT, marks=pytest.mark.slow),
        pytest.param("forged", 0, 90, marks=pytest.mark.slow),
        ("others", 0, 9),
        pytest.param("old", COUNT // 20, 10, marks=pytest.mark.slow),
        pytest.param("version 1", 0, 75, marks=pytest.mark.slow),
    ],
)
def test_nothing_is_silent(kind: str, count: int, least: int, folder: Path, exhaustive: bool) -> None:
    # Each file of version 1 takes a process.
    part = 3 if kind == "version 1" and not exhaustive else 1
    outcomes = in_child(RUN, str(folder), kind, str(count), str(part))
    assert set(outcomes) <= {"right", "refused"} and sum(outcomes.values()) >= least // part, outcomes
    # Almost no damage can be without consequence: a byte may be replaced by itself.
    assert outcomes["refused"] >= 0.9 * sum(outcomes.values()) or kind == "old", outcomes


@pytest.mark.slow
def test_every_bit_of_the_ends_counts(folder: Path) -> None:
    """Where what describes the file lies: not one flip goes unnoticed."""
    good = (folder / "good.h5").read_bytes()
    path = folder / "flipped.h5"
    for place in [*range(0, 64, 4), *range(len(good) - 100, len(good), 2)]:
        content = bytearray(good)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        with pytest.raises(CorruptStoreError):
            JacobianDataset.from_hdf5(path)


@pytest.mark.slow
def test_libhdf5_is_not_asked(folder: Path) -> None:
    code = (
        "import sys; from dynamic_sparsity.loaders import JacobianDataset;"
        "JacobianDataset.from_hdf5(sys.argv[1])[:]; assert 'h5py' not in sys.modules"
    )
    for name in ("good.h5", "old.h5"):
        subprocess.run([sys.executable, "-c", code, str(folder / name)], check=True)


@pytest.mark.slow
def test_old_files_load(folder: Path) -> None:
    expected = load_dataset("Pendulums", root=folder)
    found = JacobianDataset.from_hdf5(folder / "old.h5")
    assert found.metadata == expected.metadata and found.split is None
    rows = found[:]
    for name, values in expected[:].items():
        np.testing.assert_array_equal(rows[name], values)


def test_any_rows_can_be_written(folder: Path) -> None:
    dataset = load_dataset("Pendulums", root=folder)
    for key in ([], [3], [5, 5, 2], slice(None, None, -7)):
        some = dataset.select(np.asarray(key, np.int64) if isinstance(key, list) else key)
        again = JacobianDataset.from_hdf5(some.to_hdf5(folder / "some.h5"))
        np.testing.assert_array_equal(again.rows, some.rows)
        for name, values in some[:].items():
            np.testing.assert_array_equal(again[:][name], values)


def test_learners_take_rows_in_any_order(folder: Path) -> None:
    dataset = load_dataset("Pendulums", root=folder)
    shuffled = dataset.select(np.random.default_rng(0).permutation(len(dataset)))
    again = JacobianDataset.from_hdf5(shuffled.to_hdf5(folder / "shuffled.h5"))
    some = again.select(slice(3, 50)).with_columns(["state", "flags"])
    for name, values in some[:].items():
        np.testing.assert_array_equal(values, shuffled[3:50][name])


def test_others_read_the_file(folder: Path) -> None:
    h5py = pytest.importorskip("h5py")
    expected = load_dataset("Pendulums", root=folder)[:]
    with h5py.File(folder / "good.h5") as file:
        assert set(file) == {"row", *expected} and file.attrs["version"] == 2
        for name, values in expected.items():
            assert file[name].fletcher32
            np.testing.assert_array_equal(file[name][:], values)


FULL = """
import resource, sys
from pathlib import Path
from dynamic_sparsity import load_dataset
from dynamic_sparsity.errors import WriteFailedError
dataset = load_dataset("Pendulums", root=Path(sys.argv[1]))
limits = range(0, int(sys.argv[3]), int(sys.argv[3]) // 60)
path = Path(sys.argv[2])
getattr(dataset, sys.argv[4])(path)  # All that is imported is imported before there is no room.
path.write_bytes(b"older")
for limit in limits:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        getattr(dataset, sys.argv[4])(path)
    except WriteFailedError as error:
        assert "can't be written" in str(error), error
    else:
        raise AssertionError(limit)
    assert path.read_bytes() == b"older"
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name], list(path.parent.iterdir())
"""


@pytest.mark.slow
@pytest.mark.parametrize(("method", "name"), [("to_hdf5", "rows.h5"), ("to_hf", "rows.arrow")])
def test_full_disks(method: str, name: str, folder: Path, tmp_path: Path) -> None:
    """Whichever write fails, the older file stays, nothing else does, and the process lives."""
    dataset = load_dataset("Pendulums", root=folder)
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / name
    getattr(dataset, method)(path)
    size = path.stat().st_size
    subprocess.run([sys.executable, "-c", FULL, str(folder), str(path), str(size - 1), method], check=True)


def test_room_is_asked_for_before(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset("Pendulums", root=folder)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(WriteFailedError, match="1,000 left"):
        dataset.to_hdf5(tmp_path / "rows.h5")
    assert not list(tmp_path.iterdir())


def test_unwritable_places(folder: Path, tmp_path: Path) -> None:
    dataset = load_dataset("Pendulums", root=folder)
    (tmp_path / "file").write_bytes(b"")
    for method in ("to_hdf5", "to_hf"):
        with pytest.raises(InvalidSettingError, match="is a folder"):
            getattr(dataset, method)(tmp_path)
        for path in (tmp_path / "file" / "rows.h5", tmp_path / ("x" * 300)):
            with pytest.raises(WriteFailedError, match="can't be written"):
                getattr(dataset, method)(path)


def test_leftovers_are_swept(tmp_path: Path) -> None:
    """Those of killed writers go, one that is being written stays, and so do files of other names."""
    path = tmp_path / "rows.h5"
    for name in ("rows.h5.0a1b2c3d.partial", "rows.h5.4711.partial"):
        (tmp_path / name).write_bytes(b"x")
    kept = {"other.h5.0a1b2c3d.partial", "rows.h5.partial", "rows.h5.zz.partial", "rows.h5"}
    for name in kept - {"rows.h5"}:
        (tmp_path / name).write_bytes(b"x")
    with whole_file(path) as first:
        first.write(b"first")
        with whole_file(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second" and Path(first.name).exists()
    assert path.read_bytes() == b"first"
    assert {file.name for file in tmp_path.iterdir()} == kept
    with pytest.raises(KeyboardInterrupt), whole_file(path) as stream:
        stream.write(b"third")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"first" and {file.name for file in tmp_path.iterdir()} == kept


@pytest.mark.parametrize("filters", [("fletcher32",), ("shuffle", "fletcher32"), ("shuffle", "deflate", "fletcher32")])
@pytest.mark.parametrize("dtype", ["u1", "<u2", "<i4", "<f4", "<i8"])
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_chunks_are_those_of_hdf5(filters: tuple[str, ...], dtype: str, rows: int, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    random = np.random.default_rng(rows)
    form = ChunkForm(np.dtype(dtype), (3,), rows, filters)
    values = random.integers(0, 3, (rows, 3)).astype(dtype)
    options = {"shuffle": "shuffle" in filters, "compression": "gzip" if "deflate" in filters else None}
    with h5py.File(tmp_path / "x.h5", "w") as file:
        theirs = file.create_dataset("a", data=values, chunks=(rows, 3), fletcher32=True, **options)
        mask, contents = theirs.id.read_direct_chunk((0, 0))
        decoded = form.decode(bytes(contents), deflated=not mask, check=True)
        np.testing.assert_array_equal(decoded, values)
        ours = file.create_dataset("b", values.shape, dtype, chunks=(rows, 3), fletcher32=True, **options)
        ours.id.write_direct_chunk((0, 0), form.encode(values))
        np.testing.assert_array_equal(ours[:], values)
    for place in range(0, len(contents), 1 + len(contents) // 40):
        flipped = bytearray(contents)
        flipped[place] ^= 16
        with pytest.raises(ValueError, match="Fletcher"):
            form.decode(bytes(flipped), deflated=not mask, check=True)
