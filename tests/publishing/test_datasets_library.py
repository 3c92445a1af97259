"""Published stores in the library `datasets`, streaming and not, and what it does when the Hub has a bad day."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest

from dynamic_sparsity import load_dataset
from dynamic_sparsity.publishing.parquet import view_of
from dynamic_sparsity.publishing.publish import plan, publish
from dynamic_sparsity.testing import Fault, HubServer

pytestmark = pytest.mark.slow

REPO = "org/name"


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_reads_the_parquet_view(streaming: bool, root: Path, hub: HubServer, tmp_path: Path) -> None:
    publish(plan(root, REPO))
    for task, dynamics, config in (
        ("Pendulums", "converged", "Pendulums-noise"),
        ("Swings", "stock", "Swings-noise-stock"),
    ):
        for split in ("train", "validation", "test"):
            expected = view_of(load_dataset(task, root=root, dynamics=dynamics, split=split))[:]
            found = datasets.load_dataset(
                REPO, config, split=split, streaming=streaming, cache_dir=str(tmp_path / "datasets")
            ).with_format("numpy")
            assert list(found.features) == list(expected)
            assert found.features["J_s"] == datasets.Array2D(expected["J_s"].shape[1:], "float32")
            assert found.features["state"] == datasets.List(datasets.Value("float32"), expected["state"].shape[1])
            rows = list(found)
            assert len(rows) == len(expected["state"])
            for name, values in expected.items():
                np.testing.assert_array_equal(np.stack([row[name] for row in rows]), values, err_msg=name)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("drop", r"/resolve/.*\.parquet", "GET", 2),
        Fault("status", r"/resolve/.*\.parquet", None, 2, status=503, retry_after=1),
        Fault("status", r"/resolve/.*\.parquet", None, 1, status=429, retry_after=1),
        Fault("truncate", r"/resolve/.*\.parquet", None, 10**6),
        Fault("missing", r"/resolve/.*\.parquet", None, 10**6),
    ],
    ids=lambda fault: f"{fault.kind}{fault.status if fault.kind == 'status' else ''}",
)
def test_datasets_meets_faults(fault: Fault, one: Path, hub: HubServer, tmp_path: Path, monkeypatch) -> None:
    publish(plan(one, REPO))
    expected = load_dataset("Pendulums", root=one, split="train")[:]
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.faults = [Fault(**vars(fault))]

    def load(**options: str) -> datasets.Dataset:
        folder = str(tmp_path / "datasets")
        return datasets.load_dataset(REPO, "Pendulums-noise", split="train", cache_dir=folder, **options)

    if fault.times > 2:
        with pytest.raises((OSError, ValueError, datasets.exceptions.DatasetGenerationError)):
            load()
        hub.faults = []
    # A file that the server called whole stays in the client's cache, and stays an error, until it is fetched again.
    options = {"download_mode": "force_redownload"} if fault.kind == "truncate" else {}
    found = load(**options).with_format("numpy")[:]
    assert not hub.faults or hub.faults[0].times == 0
    np.testing.assert_array_equal(found["J_s"], expected["J_s"])
