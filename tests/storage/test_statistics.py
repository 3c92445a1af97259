from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamic_sparsity.schemas import FLAG_BITS, statistics_arrays
from dynamic_sparsity.storage.statistics import Moments, summarize
from dynamic_sparsity.testing import stores as synthetic

ATTRIBUTES = synthetic.make_attributes(episodes=6)
KINDS = [constraint["kind"] for constraint in ATTRIBUTES["constraints"]]


@pytest.fixture
def columns() -> dict[str, Any]:
    columns, _ = synthetic.make_unit(ATTRIBUTES, range(6), early={4: 11})
    columns["flags"][3] |= 1 << FLAG_BITS["nonfinite"]
    columns["state"][3] = np.nan
    columns["train"] = columns["episode"] % 3 != 0
    return columns


def blocks(columns: dict[str, Any], rows: int) -> list[dict[str, Any]]:
    return [
        {name: values[start : start + rows] for name, values in columns.items()}
        for start in range(0, len(columns["flags"]), rows)
    ]


@pytest.mark.parametrize("rows", [1, 7, 50, 1000])
def test_streamed_equals_direct(columns: dict[str, Any], rows: int) -> None:
    found = summarize(blocks(columns, rows), ATTRIBUTES["sizes"], KINDS)
    finite = (columns["flags"] & (1 << FLAG_BITS["nonfinite"] | 1 << FLAG_BITS["padding"])) == 0
    used = finite & columns["train"]
    values = {name: columns[name][used].astype(np.float64) for name in ("state", "action", "next_state", "reward")}
    values["delta"] = values["next_state"] - values["state"]
    for name, samples in values.items():
        np.testing.assert_allclose(found[f"{name}_mean"], samples.mean(axis=0), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(found[f"{name}_std"], samples.std(axis=0), rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(found[f"{name}_min"], samples.min(axis=0))
        np.testing.assert_array_equal(found[f"{name}_max"], samples.max(axis=0))
        assert found[f"{name}_count"] == len(samples)
    contact = columns["active_any"].astype(bool).any(axis=1)
    for suffix, chosen in {"": finite, "_contact": finite & contact, "_free": finite & ~contact}.items():
        for mask in ("mask_s", "mask_a"):
            share = (columns[mask][chosen] == 0).mean(axis=0)
            np.testing.assert_allclose(found[f"zero_share_{mask[-1]}{suffix}"], share, rtol=1e-12)
    assert found["rows_all"] == finite.sum() == found["rows_contact"] + found["rows_free"]


def test_shapes_and_dtypes_are_the_schemas(columns: dict[str, Any]) -> None:
    found = summarize(blocks(columns, 50), ATTRIBUTES["sizes"], KINDS)
    specs = statistics_arrays(ATTRIBUTES["sizes"])
    assert list(found) == [spec.name for spec in specs]
    for spec in specs:
        assert found[spec.name].dtype == spec.dtype, spec.name
        assert found[spec.name].shape == spec.shape(ATTRIBUTES["sizes"], 0), spec.name


def test_friction_is_not_contact(columns: dict[str, Any]) -> None:
    found = summarize(blocks(columns, 50), ATTRIBUTES["sizes"], ["friction_loss"] * len(KINDS))
    assert found["rows_contact"] == 0 and found["rows_free"] == found["rows_all"]
    assert np.isnan(found["zero_share_s_contact"]).all() and np.isfinite(found["zero_share_s_free"]).all()


def test_no_train_rows_give_nan(columns: dict[str, Any]) -> None:
    columns["train"][:] = False
    found = summarize(blocks(columns, 50), ATTRIBUTES["sizes"], KINDS)
    assert found["state_count"] == 0
    assert np.isnan(found["state_mean"]).all() and np.isnan(found["reward_std"])


def test_large_mean_small_spread_keeps_precision() -> None:
    samples = 1e8 + np.random.default_rng(0).normal(size=(10_000, 2))
    moments = Moments.empty((2,))
    for block in np.array_split(samples, 37):
        moments.add(block)
    np.testing.assert_allclose(moments.result()["std"], (samples - 1e8).std(axis=0), rtol=1e-7)


@given(st.floats(-1e6, 1e6, width=32), st.integers(1, 40), st.integers(1, 7))
def test_a_constant_has_no_spread_at_all(value: float, rows: int, block: int) -> None:
    moments = Moments.empty(())
    samples = np.full(rows, value, dtype=np.float32)
    for start in range(0, rows, block):
        moments.add(samples[start : start + block])
    # Loaders divide by 1 where the spread is zero, so it must be zero and not 1e-17.
    assert moments.result()["std"] == 0
    assert moments.result()["mean"] == value
