"""Rows that learners are taught with: what they may see, streams, and batches that are drawn on the device."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners import Benchmark, evaluate, get_budget
from dynamic_sparsity.learners.data.rows import read_rows
from dynamic_sparsity.learners.data.training_stream import PIECE_STEPS, dimensionless
from dynamic_sparsity.learners.networks.losses import JACOBIAN_LOSSES
from dynamic_sparsity.learners.networks.training import device_rows, draw_batch
from dynamic_sparsity.learners.registry import make_learner
from dynamic_sparsity.loaders import open_dataset
from dynamic_sparsity.testing import make_store

SMOKE = get_budget("smoke")
TASK = "Pendulums"


@pytest.fixture(scope="module")
def benchmark(root):
    return Benchmark.read(root / TASK / "noise.zarr", SMOKE)


def test_learners_get_no_more_than_they_say(benchmark):
    assert benchmark.allowed("transitions").train.jacobian is None
    assert benchmark.allowed("transitions").train.graph is None
    assert benchmark.allowed("structure").train.jacobian is None
    assert benchmark.allowed("structure").train.graph is not None
    assert benchmark.allowed("Jacobian").train.jacobian is not None


def test_splits_are_apart(benchmark):
    """No state of the test split is among those of train."""
    train = {row.tobytes() for row in benchmark.allowed("transitions").train.state}
    assert not any(row.tobytes() in train for row in benchmark.test.rows.state)


def test_no_rows_no_learning(tmp_path):
    store = make_store(tmp_path / TASK / "noise.zarr", episodes=1)
    with pytest.raises(InvalidSettingError, match="generate more episodes"):
        read_rows(open_dataset(store, split="test"))


@pytest.mark.slow
@pytest.mark.sample(2)
@pytest.mark.parametrize(("name", "loss"), [("mlp", "mae"), ("gated", "mask")])
def test_streams_teach_as_well(benchmark, name, loss):
    """Rows that are read while training give a model as good, the same for the same seed."""
    learner = make_learner(name, loss)
    budget = dataclasses.replace(SMOKE, steps=120)
    data = benchmark.allowed(learner.supervision, stream=True)
    assert data.train.jacobian is None or loss == "mae"
    first, again, other = learner.fit(data, budget, [3, 3, 4])
    (usual,) = learner.fit(benchmark.allowed(learner.supervision), budget, [3])
    rows = benchmark.test.rows
    assert np.array_equal(first.predict(rows.state, rows.action), again.predict(rows.state, rows.action))
    assert not np.array_equal(first.predict(rows.state, rows.action), other.predict(rows.state, rows.action))
    errors = [evaluate(model, benchmark.test)["next_state"]["nmse"] for model in (first, usual)]
    assert errors[0] < 1.5 * errors[1]


def test_streams_give_every_row_once_per_pass(benchmark):
    data = benchmark.allowed("Jacobian", stream=True)
    budget = dataclasses.replace(SMOKE, steps=3 * PIECE_STEPS + 7, batch_rows=16)
    pieces = list(data.stream.pieces(budget, 5))
    assert [len(piece["x"]) for piece in pieces] == [PIECE_STEPS] * 3 + [7]
    assert pieces[0]["jacobian"].shape[:2] == (PIECE_STEPS, budget.jacobian_rows)
    assert data.stream.waited_seconds > 0
    seen = np.concatenate([piece["x"].reshape(-1, piece["x"].shape[-1]) for piece in pieces])
    everything = dimensionless(benchmark.allowed("Jacobian").train, benchmark.scale)
    one_pass = seen[: len(everything["x"])]
    assert sorted(map(bytes, one_pass)) == sorted(map(bytes, everything["x"]))
    place = {row.tobytes(): number for number, row in enumerate(everything["x"])}
    rows = [place[row.tobytes()] for row in pieces[1]["x"][0]]
    assert np.array_equal(pieces[1]["y"][0], everything["y"][rows])
    assert np.array_equal(pieces[1]["jacobian"][0], everything["jacobian"][rows[: budget.jacobian_rows]])
    assert np.array_equal(pieces[1]["graph"][0], everything["graph"][rows])


@pytest.mark.slow
def test_batches_are_rows(benchmark):
    """What is drawn on the device, from packed graphs and rows side by side, is what lies in memory."""
    data = benchmark.allowed("Jacobian")
    key, arrays = jax.random.key(3), dimensionless(data.train, data.scale)
    batch = draw_batch(device_rows(data), key, SMOKE, data.train.sizes)
    rows = np.asarray(jax.random.randint(key, (SMOKE.batch_rows,), 0, len(arrays["x"]), dtype=jnp.int32))
    few = rows[: SMOKE.jacobian_rows]
    expected = {"few": arrays["x"][few], "x": arrays["x"][rows], "y": arrays["y"][rows]}
    expected |= {"jacobian": arrays["jacobian"][few], "graph": arrays["graph"][rows], "few_graph": arrays["graph"][few]}
    for name, values in expected.items():
        assert np.array_equal(np.asarray(getattr(batch, name)), values), name


def test_only_what_is_used_is_read(benchmark):
    uses = {loss: make_learner("mlp", loss).uses for loss in JACOBIAN_LOSSES}
    assert uses == {"none": (), "mse": ("jacobian",), "mae": ("jacobian",), "l1": (), "sae": ("graph",)}
    assert benchmark.allowed("Jacobian", uses["mse"]).train.graph is None
    assert benchmark.allowed("transitions", ("graph", "jacobian")).train.graph is None
    assert benchmark.allowed("structure", uses["mse"]).train.jacobian is None
