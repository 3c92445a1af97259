"""What a store says of MuJoCo C's own steps."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from dynamic_sparsity.loaders.store import summary
from dynamic_sparsity.schemas import FLAG_BITS


def test_rows_that_differ_from_mujoco_are_counted(monkeypatch):
    monkeypatch.setattr(summary, "_BLOCK_ROWS", 4)
    flags = np.zeros(10, np.uint16)
    flags[[3, 7]] = 1 << FLAG_BITS["differs_from_mujoco"]
    flags[5] = 1 << FLAG_BITS["nonfinite"]
    columns = {"flags": flags, "mujoco_difference": np.arange(10, dtype=np.float32)}
    reader = SimpleNamespace(read=lambda names, start, stop: {name: columns[name][start:stop] for name in names})
    store = SimpleNamespace(rows=10, metadata={"sizes": {"nr": 1}}, reader=reader)
    assert summary.mujoco_differences(store) == (2, 7.0)
    store.metadata = {"sizes": {"nr": 0}}
    assert summary.mujoco_differences(store) is None
