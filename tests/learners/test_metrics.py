"""Measures of graphs against scikit-learn, and their values where there is nothing to measure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners.measures import rowwise

SEEDS = st.integers(0, 2**32 - 1)


def rows(seed: int, ties: bool, count: int = 20, entries: int = 12):
    random = np.random.default_rng(seed)
    scores = random.random((count, entries))
    truth = random.random((count, entries)) < random.random()
    return (scores.round(1) if ties else scores), truth


@pytest.mark.slow
@given(SEEDS, st.booleans())
@settings(max_examples=25, deadline=None)
def test_rankings_are_those_of_scikit_learn(seed, ties):
    from sklearn import metrics as reference

    scores, truth = rows(seed, ties)
    both = rowwise.has_both_classes(truth)
    precision, area = rowwise.average_precision(scores, truth), rowwise.row_roc_auc(scores, truth)
    for number in np.flatnonzero(both):
        assert precision[number] == pytest.approx(reference.average_precision_score(truth[number], scores[number]))
        assert area[number] == pytest.approx(reference.roc_auc_score(truth[number], scores[number]))


@pytest.mark.slow
@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_f1_and_distance(seed):
    from sklearn import metrics as reference

    scores, truth = rows(seed, ties=True)
    graph = scores >= 0.5
    found, distance = rowwise.f1(graph, truth), rowwise.hamming(graph, truth)
    for number in range(len(truth)):
        expected = reference.f1_score(truth[number], graph[number], zero_division=1.0)
        assert found[number] == pytest.approx(expected)
        assert distance[number] == np.abs(graph[number].astype(int) - truth[number]).sum()


def test_one_class_has_the_value_of_a_score_that_says_nothing():
    scores = np.random.default_rng(0).random((2, 5))
    truth = np.array([[True] * 5, [False] * 5])
    assert rowwise.average_precision(scores, truth).tolist() == [1, 0]
    assert rowwise.row_roc_auc(scores, truth).tolist() == [0.5, 0.5]
    assert not rowwise.has_both_classes(truth).any()


def test_constant_scores_say_nothing():
    truth = np.array([[True, False, False, True, False]])
    assert rowwise.average_precision(np.ones((1, 5)), truth) == pytest.approx(0.4)
    assert rowwise.row_roc_auc(np.ones((1, 5)), truth) == pytest.approx(0.5)


def test_not_a_number_is_the_lowest_score():
    truth = np.array([[True, False, False]])
    assert rowwise.row_roc_auc(np.array([[np.nan, 0.0, 1.0]]), truth) == 0
    assert rowwise.average_precision(np.array([[np.inf, np.nan, -np.inf]]), truth) == 1


def test_empty_graphs_agree():
    nothing = np.zeros((1, 4), bool)
    assert rowwise.f1(nothing, nothing) == 1
    assert rowwise.f1(~nothing, nothing) == 0
    assert rowwise.hamming(~nothing, nothing) == 4


def test_no_rows():
    nothing = np.zeros((0, 4))
    assert rowwise.average_precision(nothing, nothing > 0).shape == (0,)
    assert rowwise.edge_auroc(nothing, nothing > 0) == (None, 0)
    assert rowwise.mean_over(np.zeros(0), np.zeros(0, bool)) is None
    assert rowwise.roc_auc(np.zeros(0), np.zeros(0, bool)) == 0.5


def test_large_graphs_are_sorted_in_blocks(monkeypatch):
    scores, truth = rows(1, ties=True)
    whole = rowwise.average_precision(scores, truth)
    monkeypatch.setattr(rowwise, "BLOCK_ENTRIES", 30)
    assert np.array_equal(rowwise.average_precision(scores, truth), whole)


def test_when_an_edge_is_there():
    truth = np.zeros((100, 3), bool)
    truth[:, 0] = True  # always there
    truth[50:, 1] = True  # switches
    truth[0, 2] = True  # too rarely to be judged
    truth[:, 2] = False
    constant = np.broadcast_to(truth.mean(0), truth.shape)
    assert rowwise.edge_auroc(constant, truth) == (0.5, 1)
    assert rowwise.edge_auroc(truth.astype(float), truth) == (1.0, 1)


@pytest.mark.slow
@given(SEEDS, st.booleans())
@settings(max_examples=10, deadline=None)
def test_threshold_is_about_the_best(seed, ties):
    from sklearn import metrics as reference

    scores, truth = rows(seed, ties)
    if not truth.any():
        assert rowwise.best_threshold(scores, truth) == np.inf
        return
    found = rowwise.best_threshold(scores, truth, candidates=400)
    flat = truth.ravel()
    values = [reference.f1_score(flat, scores.ravel() >= cut) for cut in np.unique(scores)]
    assert reference.f1_score(flat, scores.ravel() >= found) == pytest.approx(max(values), abs=1e-9)


def test_threshold_of_a_perfect_score_gives_the_truth():
    truth = np.random.default_rng(2).random((30, 9)) < 0.3
    scores = truth * 0.5 + 0.25
    assert np.array_equal(scores >= rowwise.best_threshold(scores, truth), truth)


def test_calibration():
    random = np.random.default_rng(3)
    probabilities = random.random((400, 50))
    truth = random.random((400, 50)) < probabilities
    calibrated = rowwise.expected_calibration_error(probabilities, truth)
    assert calibrated is not None
    assert calibrated < 0.02
    assert rowwise.expected_calibration_error(np.ones((4, 2)), np.zeros((4, 2), bool)) == 1
    assert rowwise.expected_calibration_error(2 * probabilities, truth) is None
    assert rowwise.expected_calibration_error(np.full((1, 2), np.nan), np.zeros((1, 2), bool)) is None


def test_shapes_must_agree():
    with pytest.raises(InvalidSettingError, match=r"\(2, 3\)"):
        rowwise.average_precision(np.zeros((2, 3)), np.zeros((2, 4), bool))
