"""What the metadata of a store may declare, where the store may lie, and which frames a decoder is given."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dynamic_sparsity.errors import CorruptStoreError
from dynamic_sparsity.loaders.store.store import open_store
from dynamic_sparsity.schemas.files import file_count, listing_problem
from dynamic_sparsity.storage.verify import verify_store
from dynamic_sparsity.testing import make_store
from dynamic_sparsity.untrusted.blosc import frame_problem


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("hostile") / "data/Pendulums/noise.zarr")


def test_absurd_sizes_cost_nothing(store: Path) -> None:
    attributes = dict(open_store(store).metadata)
    attributes |= {"rows": 20 * 2**36, "episodes": 2**36}
    assert file_count(attributes) > 2**30
    assert "make a store of" in str(listing_problem(attributes, ["zarr.json"]))


@pytest.mark.slow
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
