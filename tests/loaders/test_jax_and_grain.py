"""Rows for JAX and grain; in a file of their own, as both import JAX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynamic_sparsity import concatenate, load_dataset
from dynamic_sparsity.loaders import JacobianDataset
from dynamic_sparsity.testing import make_store


@pytest.fixture(params=["all", "selected", "joined"])
def rows(request: pytest.FixtureRequest, tmp_path: Path) -> JacobianDataset:
    make_store(tmp_path / "Pendulums/noise.zarr", early={2: 7}, quaternion=True)
    dataset = load_dataset("Pendulums", root=tmp_path)
    some = dataset.select(np.random.default_rng(0).permutation(len(dataset))[:30])
    return {"all": dataset, "selected": some, "joined": concatenate([some, dataset])}[request.param]


def expect(found: Any, expected: dict[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        np.testing.assert_array_equal(np.asarray(found[name]), values, err_msg=name)


@pytest.mark.fast_sample(100)
def test_jax_agrees(rows: JacobianDataset) -> None:
    pytest.importorskip("jax")
    expect(rows.to_jax(), rows[:])


@pytest.mark.slow
def test_normalizing_keeps_arrays_of_jax_and_gradients(rows: JacobianDataset) -> None:
    jax = pytest.importorskip("jax")
    batch, expected = rows.to_jax(), rows.normalize(rows[:])["state"]
    found = rows.normalize(batch)["state"]
    assert isinstance(found, jax.Array) and found.dtype == batch["state"].dtype
    np.testing.assert_allclose(found, expected, atol=1e-4)
    slope = jax.grad(lambda state: rows.normalize({"state": state})["state"].sum())(batch["state"])
    np.testing.assert_allclose(
        slope[0] * (rows[:2]["state"][1] - rows[:2]["state"][0]), expected[1] - expected[0], atol=1e-3
    )
    np.testing.assert_allclose(rows.denormalize({"state": found})["state"], batch["state"], atol=1e-4)


@pytest.mark.slow
def test_grain_agrees(rows: JacobianDataset) -> None:
    pytest.importorskip("grain")
    found = list(rows.to_grain())
    expect({name: np.stack([row[name] for row in found]) for name in rows.columns}, rows[:])
