"""Several stores, evaluated on as one."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynamic_sparsity import load_dataset
from dynamic_sparsity.learners import evaluate
from dynamic_sparsity.testing import make_store


@pytest.mark.slow
def test_joined_data_are_evaluated_like_any(tmp_path: Path) -> None:
    make_store(tmp_path / "Pendulums/noise.zarr", episodes=20)
    make_store(tmp_path / "Pendulums/expert.zarr", policy="expert", episodes=20, seed=3)
    joined = load_dataset("Pendulums", root=tmp_path, policy=["noise", "expert"])
    result = evaluate(lambda state, action: state, joined)
    assert result["data"]["policy"] == "noise-and-expert"
    assert result["data"]["rows"] == len(joined)
    # That nothing changes is as good as that nothing changes.
    assert result["next_state"]["relative_to_hold"] == pytest.approx(1)
