"""Sums over active items only, against plain sums."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.physics import batch_last

pytestmark = pytest.mark.usefixtures("no_promotion")

ITEMS = 5


def _pick(row: dict[str, jax.Array], item: jax.Array) -> tuple[jax.Array, jax.Array]:
    return row["scale"], row["vectors"][item]


def _term(picked: tuple[jax.Array, jax.Array]) -> jax.Array:
    scale, vector = picked
    return scale[None, None] * batch_last.outer(vector[:, None], vector[:, None])


def _data(size: int, share: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(size)
    active = rng.random((size, ITEMS)) < share
    vectors = np.where(active[..., None], rng.normal(size=(size, ITEMS, 3)), np.nan)
    return active, {"scale": rng.normal(size=size), "vectors": vectors}


def _plain(active: np.ndarray, row: dict[str, np.ndarray]) -> np.ndarray:
    vectors = np.where(active[..., None], row["vectors"], 0.0)
    return row["scale"][:, None, None] * np.einsum("bni,bnj->bij", vectors, vectors)


@pytest.fixture
def program() -> Any:
    jax_runtime.configure()
    return jax.jit(jax.vmap(batch_last.sum_over_active(_pick, _term)))


@pytest.mark.fast_sample(8)
@pytest.mark.parametrize("size", [1, 7, 64, 65, 200])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_sums_what_is_active_and_nothing_else(program: Any, size: int, share: float) -> None:
    active, row = _data(size, share)
    np.testing.assert_allclose(program(active, row), _plain(active, row), rtol=1e-14, atol=1e-14)


@pytest.mark.slow
def test_one_row_without_vmap() -> None:
    jax_runtime.configure()
    active, row = _data(7, 0.6)
    first = jax.tree_util.tree_map(lambda x: jnp.asarray(x[0]), row)
    found = batch_last.sum_over_active(_pick, _term)(jnp.asarray(active[0]), first)
    np.testing.assert_allclose(found, _plain(active, row)[0], rtol=1e-14)


def test_a_rows_bits_do_not_depend_on_the_other_rows(program: Any) -> None:
    active, row = _data(100, 0.6)
    other = active.copy()
    other[50:] = ~other[50:]
    vectors = np.nan_to_num(row["vectors"], nan=0.5)
    first, second = (np.asarray(program(mask, {**row, "vectors": vectors})) for mask in (active, other))
    assert np.array_equal(first[:50], second[:50])
    assert not np.array_equal(first[50:], second[50:])


@pytest.mark.slow
def test_several_batch_axes() -> None:
    jax_runtime.configure()
    active, row = _data(60, 0.4)
    parts = jax.tree_util.tree_map(lambda x: x.reshape(3, 20, *x.shape[1:]), (active, row))
    found = jax.vmap(jax.vmap(batch_last.sum_over_active(_pick, _term)))(*parts)
    np.testing.assert_allclose(np.asarray(found).reshape(60, 3, 3), _plain(active, row), rtol=1e-14, atol=1e-14)


@pytest.mark.slow
def test_a_row_that_all_share() -> None:
    jax_runtime.configure()
    active, row = _data(30, 0.5)
    vectors = np.nan_to_num(row["vectors"][0], nan=0.5)
    shared = {"scale": row["scale"][0], "vectors": vectors}
    found = jax.vmap(batch_last.sum_over_active(_pick, _term), in_axes=(0, None))(active, shared)
    same = {"scale": np.repeat(row["scale"][:1], 30), "vectors": np.repeat(vectors[None], 30, axis=0)}
    np.testing.assert_allclose(found, _plain(active, same), rtol=1e-14, atol=1e-14)
