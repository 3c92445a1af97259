"""Learners on a synthetic task: what they may see, that seeds repeat, that structure is learned."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamic_sparsity.errors import CorruptResultError, DynamicSparsityError, InvalidSettingError, UnknownNameError
from dynamic_sparsity.learners import Benchmark, evaluate, get_budget, run_learner
from dynamic_sparsity.learners.networks.codebook import mixture_surprise
from dynamic_sparsity.learners.networks.effectwise import (
    EffectNetworks,
    bernoulli_straight_through,
    binary_cross_entropy,
)
from dynamic_sparsity.learners.networks.hinges import HingedNetwork
from dynamic_sparsity.learners.networks.kinematic_trees import KinematicTree, tree_of
from dynamic_sparsity.learners.networks.losses import JACOBIAN_LOSSES, jacobian_term, supervision_of
from dynamic_sparsity.learners.networks.training import NetworkLearner
from dynamic_sparsity.learners.registry import LEARNERS, all_learners, make_learner
from dynamic_sparsity.learners.runs.campaign import evaluate_model, train_learners
from dynamic_sparsity.learners.runs.own_learner import OwnLearner
from dynamic_sparsity.learners.runs.saved_networks import load_model, save_model
from dynamic_sparsity.schemas.naming import parse_store_path

SMOKE = get_budget("smoke")
TASK = "Pendulums"


@pytest.fixture(scope="module")
def benchmark(root):
    return Benchmark.read(root / TASK / "noise.zarr", SMOKE)


@pytest.mark.slow
def test_jacobian_terms():
    jacobian, truth = jnp.array([[[1.0, -2.0], [0.5, 0.0]]]), jnp.array([[[1.0, 0.0], [0.0, 4.0]]])
    graph = (truth != 0).astype(jnp.float32)
    assert jacobian_term("mse", jacobian, truth, None) == pytest.approx((4 + 0.25 + 16) / 4)
    assert jacobian_term("mae", jacobian, truth, None) == pytest.approx((2 + 0.5 + 4) / 4)
    assert jacobian_term("l1", jacobian, None, None) == pytest.approx(3.5 / 4)
    assert jacobian_term("sae", jacobian, None, graph) == pytest.approx(2.5 / 2)
    assert jacobian_term("sae", jacobian, None, jnp.ones_like(graph)) == 0
    with pytest.raises(UnknownNameError, match="truth"):
        jacobian_term("mse", jacobian, None, None)


def test_terms_see_what_they_say():
    assert {loss: supervision_of(loss) for loss in JACOBIAN_LOSSES} == {
        "none": "transitions",
        "mse": "Jacobian",
        "mae": "Jacobian",
        "l1": "transitions",
        "sae": "structure",
    }


def test_all_learners_are_entries():
    assert {(one.name, one.loss) for one in all_learners()} == {
        (n, loss) for n, losses in LEARNERS.items() for loss in losses
    }


class Counted:
    """The progress of a run, as numbers."""

    def __init__(self):
        self.steps, self.results, self.skipped = 0, [], 0

    def on_started(self, task, learner):
        pass

    def on_steps(self, steps):
        self.steps += steps

    def on_result(self, task, learner, result):
        self.results.append(result)

    def on_skipped(self, task, learner):
        self.skipped += 1

    def on_finished(self, task, learner):
        pass


# The others are trained by the tests below.
@pytest.mark.sample(3)
@pytest.mark.fast_sample(5)
@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("hold", "none"),
        ("global-graph", "union"),
        ("global-graph", "majority"),
        ("mlp", "untrained"),
        ("mlp", "mse"),
        ("codebook", "l0"),
        ("cdl", "none"),
        ("ncd", "none"),
        ("fcdl", "none"),
        ("spartan", "none"),
        ("pcmi", "none"),
        ("elden", "none"),
        ("coda", "none"),
        ("graph-network", "none"),
        ("hinges", "none"),
    ],
)
def test_learners_train_are_judged_and_come_back(benchmark, tmp_path, name, loss):
    learner, progress, store = make_learner(name, loss), Counted(), parse_store_path(benchmark.path)
    given = ([store], [learner], SMOKE, [0], tmp_path / "results", progress)
    train_learners(*given, models=tmp_path / "models")
    (document,) = progress.results
    if isinstance(learner, NetworkLearner):
        assert progress.steps == (0 if loss == "untrained" else SMOKE.steps)
        file = f"smoke/{TASK}/noise/{name}-{loss}-0.npz"
        (again,) = evaluate_model(str(tmp_path / "models" / file), benchmark.path, SMOKE, [0])
        assert again["result"] == document["result"]
    train_learners(*given)
    assert progress.skipped == 1
    result = document["result"]
    assert np.isfinite(result["next_state"]["nmse"])
    assert 0 <= result["structure"]["all"]["average_precision"] <= 1
    assert result["jacobian"]["relative_error_median"] >= 0
    assert document["supervision"] == learner.supervision


@pytest.mark.slow
@pytest.mark.parametrize(("name", "loss"), [("mlp", "sae"), ("gated", "l0")])
def test_same_seed_same_numbers(benchmark, name, loss):
    learner = make_learner(name, loss)
    rows = benchmark.test.rows
    data = benchmark.allowed(learner.supervision)
    first, other = learner.fit(data, SMOKE, [3, 4])
    (again,) = learner.fit(data, SMOKE, [3])
    assert np.array_equal(first.predict(rows.state, rows.action), again.predict(rows.state, rows.action))
    assert not np.array_equal(first.predict(rows.state, rows.action), other.predict(rows.state, rows.action))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "loss"), [("mlp", "none"), ("ridge", "none"), ("gated", "mask")])
def test_jacobians_are_derivatives_in_physical_units(benchmark, name, loss):
    (model,) = make_learner(name, loss).fit(benchmark.allowed("Jacobian"), SMOKE, [0])
    state, action = benchmark.test.rows.state[:3].astype(np.float64), benchmark.test.rows.action[:3]
    jacobian = model.jacobian(state.astype(np.float32), action)
    width = 1e-2
    for cause in range(state.shape[1]):
        step = np.zeros(state.shape[1])
        step[cause] = width
        sides = [model.predict((state + sign * step).astype(np.float32), action) for sign in (1, -1)]
        slope = (sides[0].astype(np.float64) - sides[1]) / (2 * width)
        assert np.allclose(jacobian[:, :, cause], slope, atol=5e-3)


def test_ridge_finds_a_linear_system(benchmark):
    random = np.random.default_rng(0)
    train = benchmark.allowed("transitions").train
    truth = random.normal(size=(train.state.shape[1], sum(train.sizes))) * 0.1
    joined = np.concatenate([train.state, train.action], axis=1)
    linear = dataclasses.replace(train, next_state=(joined @ truth.T).astype(np.float32))
    data = dataclasses.replace(benchmark.allowed("transitions"), train=linear)
    (model,) = make_learner("ridge").fit(data, SMOKE, [0])
    assert np.allclose(model.jacobian(linear.state[:1], linear.action[:1])[0], truth, atol=1e-3)


@pytest.mark.slow
@pytest.mark.sample(2)
@pytest.mark.parametrize("name", ["gated", "codebook"])
def test_gates_learn_the_masks(benchmark, name):
    budget = dataclasses.replace(SMOKE, steps=150, batch_rows=64, learning_rate=1e-2)
    (model,) = make_learner(name, "mask").fit(benchmark.allowed("structure"), budget, [0])
    found = evaluate(model, benchmark.test, validation=benchmark.validation)
    # A fair share of what there is to know: scores that say nothing have the share of edges.
    share = found["structure"]["all"]["density_of_truth"]
    assert found["structure"]["all"]["average_precision"] > share + 0.6 * (1 - share)


@pytest.mark.slow
def test_closed_gates_hide_their_causes():
    networks = EffectNetworks(3, 8, [1.0, 0.5], jax.random.key(0))
    x, mask = jnp.array([0.3, -0.2, 0.9]), jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    jacobian = jax.jit(jax.jacfwd(networks))(x, mask)
    assert np.array_equal(np.asarray(jacobian) != 0, mask != 0)


@pytest.mark.slow
def test_straight_through():
    logits = jnp.array([-20.0, 20.0, 0.0])
    sample = jax.jit(jax.vmap(lambda key: bernoulli_straight_through(logits, key)))
    samples = sample(jax.random.split(jax.random.key(0), 2000))
    assert set(np.unique(np.asarray(samples).round(6))) == {0.0, 1.0}
    assert np.allclose(samples.mean(0), [0, 1, 0.5], atol=0.05)
    assert jax.grad(lambda z: bernoulli_straight_through(z, jax.random.key(1)).sum())(logits)[2] > 0


@pytest.mark.slow
def test_likelihoods():
    graph = jnp.array([[[1.0, 0.0]]])
    assert binary_cross_entropy(jnp.zeros((1, 1, 2)), graph) == pytest.approx(np.log(2))
    # Two graphs, the first of which is the truth for sure: half the mixture.
    graphs = jnp.array([[[50.0, -50.0]], [[-50.0, 50.0]]])
    assert mixture_surprise(jnp.zeros((1, 2)), graphs, graph) == pytest.approx(np.log(2) / 2, rel=1e-5)


@pytest.mark.slow
def test_oracle_is_right_about_structure(benchmark):
    (document,) = run_learner(benchmark, make_learner("oracle"), [0])
    assert document["result"]["structure"]["all"]["f1"] == 1
    assert document["result"]["sparsity"]["relative"] == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_float64_changes_nothing(benchmark):
    """Tests run with JAX in float64; users of learners alone run in float32."""
    code = (
        "import sys, numpy as np; from dynamic_sparsity.learners import *\n"
        "b = Benchmark.read(sys.argv[1], get_budget('smoke')); l = make_learner('mlp', 'none')\n"
        "m, = l.fit(b.allowed('transitions'), b.budget, [0])\n"
        "sys.stdout.write(repr(m.predict(b.test.rows.state[:2], b.test.rows.action[:2]).tolist()))"
    )
    environment = os.environ | {"JAX_ENABLE_X64": "0"}
    command = [sys.executable, "-c", code, str(benchmark.path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    (model,) = make_learner("mlp", "none").fit(benchmark.allowed("transitions"), SMOKE, [0])
    here = model.predict(benchmark.test.rows.state[:2], benchmark.test.rows.action[:2])
    assert np.allclose(np.array(eval(finished.stdout)), here, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "loss"), [("mlp", "mae"), ("residual-mlp", "none"), ("gated", "l0")])
def test_models_come_back(benchmark, tmp_path, name, loss):
    learner = make_learner(name, loss)
    (model,) = learner.fit(benchmark.allowed(learner.supervision), SMOKE, [0])
    rows = benchmark.test.rows
    path = save_model(tmp_path / "model.npz", model, learner, rows.sizes, SMOKE, 0)
    saved = load_model(path)
    assert saved.learner.settings() == learner.settings()
    assert saved.budget == SMOKE
    for name in ("predict", "jacobian", "edge_score"):
        found, expected = (
            getattr(saved.model, name)(rows.state, rows.action),
            getattr(model, name)(rows.state, rows.action),
        )
        assert (found is None and expected is None) or np.array_equal(found, expected), name


def test_models_of_another_task_are_refused(benchmark, tmp_path):
    """Sizes alone don't tell: the other task has the same."""
    learner = make_learner("mlp", "untrained")
    (model,) = learner.fit(benchmark.allowed(learner.supervision), SMOKE, [0])
    about = benchmark.about | {"task": "OtherPendulums"}
    path = save_model(tmp_path / "model.npz", model, learner, benchmark.sizes, SMOKE, 0, about)
    with pytest.raises(InvalidSettingError, match="is a model of OtherPendulums"):
        list(evaluate_model(str(path), benchmark.path, SMOKE, [0]))


def test_kinematic_trees():
    """Bodies without joints are part of what they are fixed to; unknown tasks hang on the world."""
    joints = [{"name": name} for name in ("proximal", "distal", "hinge")]
    names = [f"{kind}:{joint['name']}" for kind in ("qpos", "qvel") for joint in joints]
    given = {"task": "FingerSpin", "joints": joints, "state_names": names, "action_names": ["proximal", "other"]}
    tree = tree_of(given)
    assert tree == KinematicTree((1, 2, 3, 1, 2, 3, 1, 0), (0, 0, 1, 0))
    assert tree.diameter() == 3
    assert tree_of(given | {"task": "Unknown"}) == KinematicTree((1, 2, 3, 1, 2, 3, 1, 0), (0, 0, 0, 0))
    with pytest.raises(InvalidSettingError, match="no kinematic tree"):
        make_learner("graph-network", scalars=[0, 3], parents=[0, 0])


@pytest.mark.slow
def test_hinges_are_of_low_rank():
    """Where one hinge acts, it adds a push along one direction; where none does, nothing."""
    network = HingedNetwork(3, 4, 8, 1, jax.random.key(0))
    zero, constant = jnp.zeros_like(network.directions.weight), jnp.array([1.0, 2.0, 3.0])
    network = eqx.tree_at(lambda one: (one.directions.weight, one.directions.bias), network, (zero, constant))
    x = jnp.array([0.3, -0.2, 0.9, 0.1])

    def push(gap):
        shifted = eqx.tree_at(lambda one: one.gaps.bias, network, jnp.array([gap]))
        return np.asarray(jax.jacfwd(shifted)(x))

    added = push(100.0) - push(-100.0)
    assert np.linalg.matrix_rank(added, tol=1e-5) == 1
    assert np.allclose(added / added[:1], constant[:, None], rtol=1e-4)
    assert np.array_equal(push(-100.0), push(-200.0))


def test_other_files_are_no_models(tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(b"nonsense")
    with pytest.raises(CorruptResultError, match=r"model\.npz"):
        load_model(path)
    with pytest.raises(DynamicSparsityError, match="there is no model"):
        load_model(tmp_path / "absent.npz")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("nothing",), "there is no learner 'nothing'"),
        (("mlp", "l7"), "there is no loss 'l7'"),
    ],
)
def test_unknown_names(words, error):
    with pytest.raises(UnknownNameError, match=error):
        make_learner(*words)


def test_settings_are_checked():
    with pytest.raises(UnknownNameError, match="settings weight"):
        make_learner("gated", weight=1.0)
    with pytest.raises(InvalidSettingError, match="weight is -1"):
        make_learner("mlp", "l1", weight=-1.0)
    with pytest.raises(InvalidSettingError, match="jacobian_rows is 64"):
        dataclasses.replace(SMOKE, jacobian_rows=64)
    with pytest.raises(UnknownNameError, match="protocol"):
        get_budget("maxi")
    with pytest.raises(UnknownNameError, match="supervision"):
        OwnLearner("mine", lambda data, budget, seed: None, "everything")


def test_registry_names_agree():
    for name, losses in LEARNERS.items():
        for loss in losses:
            assert (make_learner(name, loss).name, make_learner(name, loss).loss) == (name, loss)
