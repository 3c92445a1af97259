"""Stores and rows as xarray has them: named dimensions, named components."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynamic_sparsity import load_dataset
from dynamic_sparsity.schemas import row_arrays
from dynamic_sparsity.testing import make_store

pytestmark = pytest.mark.slow

xarray: Any = pytest.importorskip("xarray")
SIZES = dict.fromkeys(("nq", "nv", "na", "nu", "ds", "dx", "da", "nc", "np", "nr"), 1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_store(root / "Pendulums/noise.zarr", quaternion=True)
    return root


def test_no_dimension_is_called_like_an_array() -> None:
    for dynamics in ("converged", "stock"):
        specs = row_arrays(SIZES, dynamics)
        assert not {name for spec in specs for name in spec.dimension_names} & {spec.name for spec in specs}


def test_a_store_opened_by_xarray(root: Path) -> None:
    found = xarray.open_zarr(root / "Pendulums/noise.zarr")
    rows = load_dataset("Pendulums", root=root)[:]
    assert set(found.data_vars) == set(rows)
    for name, values in rows.items():
        np.testing.assert_array_equal(found[name].values, values, err_msg=name)
    assert found["state"].dims == found["next_state"].dims == ("row", "state_dim")
    assert found["J_a"].dims == ("row", "effect", "action_dim")
    assert set(found.mean("row").data_vars) == set(rows)


@pytest.mark.parametrize("coordinates", ["tangent", "ambient"])
def test_rows_with_names(root: Path, coordinates: Any) -> None:
    dataset = load_dataset("Pendulums", root=root, split="test", coordinates=coordinates)
    found, rows = dataset.to_xarray(), dataset[:]
    names = dataset.state_names if coordinates == "ambient" else dataset.tangent_names
    assert list(found["row"].values) == list(dataset.rows)
    np.testing.assert_array_equal(found["J_s"].sel(effect=names[1], cause=names[0]), rows["J_s"][:, 1, 0])
    np.testing.assert_array_equal(found["state"].sel(state_dim=dataset.state_names[2]), rows["state"][:, 2])
    np.testing.assert_array_equal(found["J_a"].sel(action_dim=dataset.action_names[0]), rows["J_a"][..., 0])
    assert found["contact_distance"].attrs["units"] == "m"


def test_some_columns(root: Path) -> None:
    found = load_dataset("Pendulums", root=root, columns=["action", "step"]).to_xarray()
    assert set(found.coords) == {"row", "action_dim"} and set(found.data_vars) == {"action", "step"}
