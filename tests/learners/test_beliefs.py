"""What an ensemble believes of edges: odds, patterns, and the judge who asks for them."""

import numpy as np
import pytest

pytest.importorskip("equinox")

from dynamic_sparsity.learners.data.rows import Rows, Scale
from dynamic_sparsity.learners.measures import Moments
from dynamic_sparsity.learners.measures.predictions import Predictions
from dynamic_sparsity.learners.networks.beliefs import fit_patterns, log_odds


def test_odds_of_a_size():
    mean = np.array([0.0, 0.01, 1.0, -1.0, 0.0], np.float32)
    error = np.array([1e-3, 1e-3, 0.1, 0.1, 10.0], np.float32)
    found = log_odds(mean, error, np.float32(0.01))
    assert found[0] < -5 and found[2] > 5
    assert found[1] == pytest.approx(0, abs=1e-3)
    assert found[2] == pytest.approx(found[3])
    assert found[4] > found[1]  # who knows nothing believes in something
    certain = log_odds(mean[:3], np.zeros(3, np.float32), np.float32(0.005))
    assert np.isfinite(certain).all() and certain[0] < 0 < certain[1]


def test_patterns_keep_what_switches_together():
    """Half of the entries share a switch, all have noise of their own."""
    random = np.random.default_rng(0)
    switch = random.choice([-3.0, 3.0], size=(500, 1))
    truth = np.concatenate([np.repeat(switch, 10, axis=1), np.zeros((500, 10))], axis=1)
    noisy = (truth + random.normal(size=truth.shape)).astype(np.float32)
    patterns = fit_patterns(noisy, 10.0)
    assert ((patterns(noisy) - truth) ** 2).mean() < 0.25 * ((noisy - truth) ** 2).mean()
    assert np.allclose(fit_patterns(noisy, 0.0)(noisy), noisy, atol=1e-4)


def test_patterns_of_rows_that_are_all_the_same():
    same = np.ones((5, 3), np.float32)
    assert np.array_equal(fit_patterns(same, 10.0)(2 * same), same)


class Judged:
    """Two rows of a system of one state and one action."""

    rows = Rows(*(np.zeros((2, 1), np.float32) for _ in range(3)))
    moments = Moments(*(np.zeros(2, np.int64) for _ in range(3)), active=np.zeros((2, 0), np.uint8))
    scale = Scale(*(np.array(values, np.float32) for values in ([0, 0], [1, 1], [0], [1], [1])))


def test_beliefs_are_asked_for_the_size_of_each_truth():
    scale = Scale(*(np.array(values, np.float32) for values in ([0, 0], [2, 4], [0], [1], [1])))

    def belief(state, action, size):
        return np.repeat(size, len(state), axis=0)

    given = Predictions(None, lambda state, action: np.zeros((2, 1, 2)), None, belief)
    assert np.allclose(given.scores_at("T2", Judged(), scale), [[[0.005, 0.0025]]] * 2)
    judged = Judged()
    assert np.allclose(given.scores_at("T3", judged, scale), [[[0.0005, 0.00025]]] * 2)
    assert np.allclose(given.scores_at("T0", judged, scale), given.scores_at("T3", judged, scale))
    without = Predictions(None, lambda state, action: np.ones((2, 1, 2)), None, lambda state, action, size: None)
    assert np.array_equal(without.scores_at("T2", judged, scale), np.ones((2, 1, 2)))


@pytest.mark.slow
def test_beliefs_of_hinges():
    """They go with the size that is asked for, are the same for the same rows, and need no hinges."""
    import equinox as eqx
    import jax

    from dynamic_sparsity.learners.budgets import get_budget
    from dynamic_sparsity.learners.networks.hinges import HingedModel, Hinges

    learner = Hinges(hinges=0, members=3)
    network = learner.network((1, 1), Judged.scale, get_budget("smoke"), jax.random.key(0))
    model = learner.wrapped(network, Judged.scale)
    assert isinstance(model, HingedModel)
    state, action = np.array([[0.1], [0.7]], np.float32), np.array([[0.3], [-0.2]], np.float32)
    sizes = [np.full((1, 1, 2), size, np.float32) for size in (1e-4, 1e-2, 10.0)]
    small, middle, large = (model.edge_belief(state, action, size) for size in sizes)
    assert (small >= middle).all() and (middle > large).all()
    assert np.array_equal(model.edge_score(state, action), middle)
    assert np.array_equal(model.edge_belief(state[:0], action[:0], sizes[0]), small[:0])
    x = Judged.scale.inputs(state, action)
    mean = np.asarray(jax.vmap(jax.jacfwd(network))(x))
    assert np.allclose(model.jacobian(state, action), mean, atol=1e-5)
    moved = eqx.tree_at(lambda one: one.rows, network, network.rows + 1)
    assert learner.wrapped(moved, Judged.scale).edge_belief(state, action, sizes[1]).shape == (2, 1, 2)
