"""Stores that mean harm: a reader and `verify` give the right data or one of our errors, soon and in little memory."""

from __future__ import annotations

import multiprocessing
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_stores import mutations
from synthetic import make_store

from dynamic_sparsity import load_dataset
from dynamic_sparsity.errors import CorruptStoreError, DynamicSparsityError
from dynamic_sparsity.loaders.store import open_store
from dynamic_sparsity.schemas.files import file_count, listing_problem
from dynamic_sparsity.storage.verify import verify_store
from dynamic_sparsity.untrusted.blosc import frame_problem

MUTATIONS = dict(mutations())
BATCH = 60
SECONDS_MAX = 20 * BATCH  # for a whole batch; each one is timed in the child
MEMORY_BYTES_MAX = 3 * 2**30  # of addresses, of which an interpreter with NumPy and zarr needs the first


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("hostile") / "data/Pendulums/noise.zarr")


def read_and_verify(root: Path, expected: dict[str, np.ndarray]) -> str:
    """What became of a store: "right" data, "other" data, which its author chose, or an "error" of ours."""
    path = root / "Pendulums/noise.zarr"
    outcome = "right"
    try:
        found = load_dataset("Pendulums", root=root)
        rows = found[:]
        again = load_dataset("Pendulums", root=root)[::-1]
        _ = found.episodes, found.statistics, found.sparsity(), repr(found)
        for name, values in rows.items():
            # Bytes of the process, in place of the file's, would be others each time.
            np.testing.assert_array_equal(values, again[name][::-1], err_msg=name)
            if not np.array_equal(values, expected[name], equal_nan=values.dtype.kind == "f"):
                outcome = "other"
    except DynamicSparsityError:
        outcome = "error"
    try:
        problems = verify_store(path)
    except DynamicSparsityError:
        problems = []
    for problem in problems:
        str(problem)
    return outcome


def run_batch(folder: Path, store: Path, names: list[str], pipe: Any) -> None:
    """In a child: make each mutation, read it, and say what came of it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    expected = load_dataset("Pendulums", root=store.parents[1])[:]
    for name in names:
        root = folder / "data"
        shutil.copytree(store.parents[1], root)
        try:
            MUTATIONS[name](root / "Pendulums/noise.zarr")
            pipe.send((name, read_and_verify(root, expected)))
        except BaseException as error:
            pipe.send((name, f"{type(error).__name__}: {str(error)[:300]}"))
        shutil.rmtree(root)
    pipe.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork and limits on memory")
@pytest.mark.parametrize("start", range(0, len(MUTATIONS), BATCH))
def test_mutations(start: int, store: Path, tmp_path: Path) -> None:
    names = list(MUTATIONS)[start : start + BATCH]
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("spawn").Process(target=run_batch, args=(tmp_path / "in", store, names, sender))
    (tmp_path / "in").mkdir()
    child.start()
    sender.close()
    outcomes: dict[str, str] = {}
    try:
        while len(outcomes) < len(names):
            assert receiver.poll(SECONDS_MAX / BATCH * 6), f"hangs: {names[len(outcomes)]}"
            name, outcome = receiver.recv()
            outcomes[name] = outcome
    except EOFError:
        child.join(60)
        pytest.fail(f"{names[len(outcomes)]}: the process ended with {child.exitcode}")
    finally:
        child.kill()
        child.join(60)
    # Whoever makes the bytes of a chunk, and seals them, decides what its rows are; nothing else may be other data.
    allowed = {name: ("right", "error", "other") if "frame" in name else ("right", "error") for name in names}
    assert not {name: outcome for name, outcome in outcomes.items() if outcome not in allowed[name]}
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_absurd_sizes_cost_nothing(store: Path) -> None:
    attributes = dict(open_store(store).metadata)
    attributes |= {"rows": 20 * 2**36, "episodes": 2**36}
    assert file_count(attributes) > 2**30
    assert "make a store of" in str(listing_problem(attributes, ["zarr.json"]))


def test_a_store_must_be_what_its_path_says(store: Path, tmp_path: Path) -> None:
    for place in ("Pendulums/expert.zarr", "Pendulums/noise-stock.zarr", "CheetahRun/noise.zarr"):
        shutil.copytree(store, tmp_path / place)
        with pytest.raises(CorruptStoreError, match="its path says"):
            open_store(tmp_path / place)
        assert any("its path says" in problem.what for problem in verify_store(tmp_path / place))
    shutil.copytree(store, tmp_path / "a copy")
    assert open_store(tmp_path / "a copy").task == "Pendulums"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda frame: frame, None),
        (lambda frame: frame[:10], "too few"),
        (lambda frame: frame[:-1], "it has"),
        (lambda frame: frame + b"\0", "it has"),
        (lambda frame: b"\x01" + frame[1:], "header"),
        (lambda frame: frame[:2] + b"\x21" + frame[3:], "header"),
        (lambda frame: frame[:4] + b"\xff\xff\xff\x7f" + frame[8:], "decodes to"),
        (lambda frame: frame[:8] + b"\x00\x00\x00\x00" + frame[12:], "blocks have"),
        (lambda frame: frame[:8] + b"\x01\x00\x00\x00" + frame[12:], "blocks have"),
        (lambda frame: frame[:8] + b"\x04\x00\x00\x00" + frame[12:], "too short"),
        (lambda frame: frame[:16] + b"\x00\x00\x00\x00" + frame[20:], "starts outside"),
        (lambda frame: frame[:16] + b"\xff\xff\xff\xff" + frame[20:], "starts outside"),
        (lambda frame: frame[:20] + b"\xff\xff\xff\x7f" + frame[24:], "ends outside"),
        (lambda frame: frame[:20] + b"\xff\xff\xff\xff" + frame[24:], "ends outside"),
    ],
)
def test_frames(change: Callable[[bytes], bytes], problem: str | None) -> None:
    from numcodecs.blosc import BITSHUFFLE, Blosc

    values = np.arange(3000, dtype="<f4") // 50
    frame = bytes(Blosc(cname="zstd", clevel=5, shuffle=BITSHUFFLE, blocksize=0).encode(values))
    found = frame_problem(change(frame), values.nbytes, 4)
    assert found is None if problem is None else problem in str(found)
