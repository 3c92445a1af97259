"""Measures of local graphs: values that are known beforehand, whatever the data are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_sparsity.errors import InvalidSettingError, UnknownNameError
from dynamic_sparsity.learners.data.rows import Rows, Scale
from dynamic_sparsity.learners.measures import (
    TRUTHS,
    Moments,
    fit_reference,
    irrelevance,
    judge_graph,
    read_moments,
    truths_named,
)
from dynamic_sparsity.learners.measures.clusters import clusters_of, complete_linkage
from dynamic_sparsity.learners.measures.concordance import concordance
from dynamic_sparsity.learners.measures.intervals import draw_episodes, interval
from dynamic_sparsity.learners.measures.jacobians import jacobian_by_mode
from dynamic_sparsity.learners.measures.judging import choose_threshold
from dynamic_sparsity.learners.measures.reference import merged_modes
from dynamic_sparsity.learners.measures.rowwise import row_roc_auc
from dynamic_sparsity.learners.measures.timing import shifted
from dynamic_sparsity.learners.references.neighbours import nearest_rows, vote
from dynamic_sparsity.loaders import open_dataset
from dynamic_sparsity.testing import make_store

DS, DA, EPISODES, STEPS = 3, 1, 12, 60
ENTRIES = DS * (DS + DA)


def make(seed: int, episodes: int = EPISODES, steps: int = STEPS):
    """Return moments and a truth: two entries follow contact, one a signal of its own, others are constant."""
    random = np.random.default_rng(seed)
    count = episodes * steps
    episode, step = np.repeat(np.arange(episodes), steps), np.tile(np.arange(steps), episodes)
    contact = np.repeat(random.integers(0, 2, count // 4), 4).astype(bool)
    own_time = np.repeat(random.integers(0, 2, count // 3), 3).astype(bool)
    active = np.stack([contact, contact], 1).astype(np.uint8)
    moments = Moments(episode, step, np.where(contact, 2, 0), active)
    edges = np.zeros((count, ENTRIES), bool)
    edges[:, [0, 5, 10]] = True
    edges[:, 1] = edges[:, 2] = contact
    edges[:, 6] = own_time
    return moments, edges, np.ones(edges.shape, bool)


def judged(scores, seed: int = 1, *, truth: str = "T2", threshold: float | None = 0.5):
    moments, edges, counted = make(0)
    reference = fit_reference(moments, edges, counted, DS, TRUTHS[truth])
    moments, edges, counted = make(seed)
    return judge_graph(np.asarray(scores(moments, edges), float), edges, counted, moments, reference, threshold)


def test_the_truth_has_all_of_every_measure():
    found = judged(lambda moments, edges: edges)
    assert (found["local_graph_skill"], found["when_skill"], found["beyond_contact"]) == (1, 1, 1)
    assert found["gap_closed"] > 1  # the lookup by active set does not know the entry with a time of its own
    assert (found["false_edges"], found["misses"], found["switching_entries"]) == (0, 0, 3)
    assert found["clusters"] == 2
    assert found["local_graph_skill_interval"] == [1, 1]


@pytest.mark.slow
@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**16), st.integers(2, 9))
def test_no_static_graph_has_skill(graph, seed):
    static = np.random.default_rng(graph).integers(0, 2, ENTRIES)
    found = judged(lambda moments, edges: np.broadcast_to(static, edges.shape), seed)
    assert found["local_graph_skill"] <= 1e-12
    assert found["when_skill"] == 0
    assert found["beyond_contact"] == 0.5


def test_the_best_static_graph_has_skill_zero():
    moments, edges, counted = make(0)
    reference = fit_reference(moments, edges, counted, DS, TRUTHS["T2"])
    scores = np.broadcast_to(reference.share, edges.shape)
    found = judge_graph(scores, edges, counted, moments, reference, 0.5)
    assert found["local_graph_skill"] == pytest.approx(0, abs=1e-12)
    assert found["gap_closed"] == pytest.approx(0, abs=1e-12)


def test_a_contact_detector_closes_the_gap_and_goes_no_further():
    def scores(moments, edges):
        found = edges.copy()
        found[:, 6] = moments.contact
        return found

    found = judged(scores)
    assert found["beyond_contact"] == 0.5
    assert found["gap_closed"] == pytest.approx(1, abs=0.2)
    assert 0 < found["local_graph_skill"] < 1


def test_scores_of_another_episode_tell_nothing():
    found = judged(lambda moments, edges: edges[shifted(moments)])
    assert abs(found["when_skill"]) < 0.15
    assert found["local_graph_skill"] < 0.1
    moments, *_ = make(1)
    assert (moments.episode[shifted(moments)] != moments.episode).all()
    assert judged(lambda moments, edges: edges)["when_skill_shifted"] == pytest.approx(0, abs=0.15)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**16), st.floats(0.01, 1))
def test_what_is_not_a_number_never_helps(seed, share):
    random = np.random.default_rng(seed)
    noise = random.normal(size=make(1)[1].shape) * 0.4
    holes = random.random(noise.shape) < share

    def scores(hidden):
        return judged(lambda moments, edges: np.where(hidden & holes, np.nan, edges + noise))

    whole, lacking = scores(False), scores(True)
    for name in ("local_graph_skill", "when_skill", "beyond_contact", "gap_closed"):
        assert lacking[name] <= whole[name], name


def test_a_monotonic_change_of_scores_changes_no_ranking():
    noise = np.random.default_rng(0).normal(size=make(1)[1].shape)
    one, two = (judged(lambda moments, edges, f=f: f(edges + noise)) for f in (lambda x: x, np.exp))
    assert one["when_skill"] == pytest.approx(two["when_skill"])
    assert one["beyond_contact"] == pytest.approx(two["beyond_contact"])


def test_nothing_that_switches_gives_no_number():
    moments, edges, counted = make(0)
    edges[:] = edges[0]
    reference = fit_reference(moments, edges, counted, DS, TRUTHS["T2"])
    assert choose_threshold(edges.astype(float), edges, counted, moments, reference) is None
    found = judge_graph(edges.astype(float), edges, counted, moments, reference, None)
    names = ("local_graph_skill", "when_skill", "beyond_contact", "gap_closed", "local_graph_skill_interval")
    assert [found[name] for name in names] == [None] * 5
    assert (found["clusters"], found["switching_entries"]) == (0, 0)


def test_a_static_graph_that_hardly_errs_leaves_nothing_to_be_skilled_in():
    moments, edges, counted = make(1)
    reference = fit_reference(*make(0), DS, TRUTHS["T2"])
    edges[:, [1, 2, 6]] = False
    assert judge_graph(edges.astype(float), edges, counted, moments, reference, 0.5)["local_graph_skill"] is None


def test_what_is_in_doubt_does_not_count():
    moments, edges, counted = make(1)
    reference = fit_reference(*make(0), DS, TRUTHS["T2"])
    wrong = np.random.default_rng(0).random(edges.shape) < 0.3
    found = judge_graph((edges ^ wrong).astype(float), edges, counted & ~wrong, moments, reference, 0.5)
    assert (found["local_graph_skill"], found["when_skill"], found["beyond_contact"]) == (1, 1, 1)


def test_the_first_step_is_left_out():
    moments, edges, counted = make(1)
    reference = fit_reference(*make(0), DS, TRUTHS["T2"])
    scores = np.where(moments.step[:, None] == 0, np.nan, edges.astype(float))
    found = judge_graph(scores, edges, counted, moments, reference, 0.5)
    assert found["local_graph_skill"] == 1
    assert found["rows"] == EPISODES * (STEPS - 1)


def test_the_exact_truth_has_nothing_beyond_contact():
    assert judged(lambda moments, edges: edges, truth="T0")["beyond_contact"] is None


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**16))
def test_the_threshold_is_the_best_there_is(seed):
    moments, edges, counted = make(seed, 3, 20)
    reference = fit_reference(*make(0), DS, TRUTHS["T2"])
    scores = np.round(2 * edges + np.random.default_rng(seed).normal(size=edges.shape)) / 2
    found = choose_threshold(scores, edges, counted, moments, reference)

    def loss(threshold):
        result = judge_graph(scores, edges, counted, moments, reference, threshold)
        return result["loss"]

    cuts = [*np.unique(scores), np.inf]
    assert loss(found) == pytest.approx(min(map(loss, cuts)))


def test_concordance_is_the_area_under_the_curve():
    random = np.random.default_rng(0)
    scores, edges = np.round(random.normal(size=(50, 4)), 1), random.random((50, 4)) < 0.4
    episode = np.repeat(np.arange(5), 10)
    found = concordance(scores, edges, np.ones(edges.shape, bool), episode)
    assert found.auroc == pytest.approx(row_roc_auc(scores.T, edges.T))
    assert found.influence.sum(0) == pytest.approx(0, abs=1e-12)
    one_by_one = concordance(scores, edges, np.ones(edges.shape, bool), episode, episode)
    wins = pairs = 0
    for number in range(5):
        part = concordance(
            scores[episode == number], edges[episode == number], np.ones((10, 4), bool), np.zeros(10, int)
        )
        wins, pairs = wins + part.won, pairs + part.pairs
    assert one_by_one.auroc == pytest.approx(np.where(pairs > 0, wins / np.maximum(pairs, 1), 0.5))


def test_clusters_are_of_complete_linkage():
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    random = np.random.default_rng(0)
    points = random.random((30, 2))
    distance = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
    expected = hierarchy.fcluster(hierarchy.linkage(distance[np.triu_indices(30, 1)], "complete"), 0.4, "distance")
    found = complete_linkage(distance, 0.4)
    assert ((found[:, None] == found) == (expected[:, None] == expected)).all()


def test_opposite_signals_are_no_cluster():
    signal = np.arange(40)[:, None] % 2 == 0
    found = clusters_of(np.concatenate([signal, signal, ~signal], 1), np.ones((40, 3), bool))
    assert found.tolist() == [0, 0, 1]


def test_rare_modes_are_merged():
    moments, *_ = make(0)
    mode = moments.mode.copy()
    mode[::97] = 1
    merged = merged_modes(replace(moments, mode=mode))
    assert len({int(merged[number]) for number in (0, 1, 2)}) == 2
    assert merged[1] == merged[0] or merged[1] == merged[2]


def test_truths_are_dimensionless_and_doubt_is_symmetric():
    scale = Scale(np.zeros(2), np.array([2.0, 1.0]), np.zeros(1), np.array([4.0]), np.ones(1))
    sizes = np.array([[1e-3, 0.7e-2, 2e-2, 0.3]])
    rows = Rows(
        np.zeros((4, 1)), np.zeros((4, 1)), np.zeros((4, 1)), np.stack([sizes[0] * 2, sizes[0] * 4], 1)[:, None]
    )
    edges, counted = TRUTHS["T2"].of(rows, scale)
    assert edges.tolist() == [[False] * 2, [False] * 2, [True] * 2, [True] * 2]
    assert counted.tolist() == [[True] * 2, [False] * 2, [False] * 2, [True] * 2]
    with pytest.raises(InvalidSettingError, match="masks"):
        TRUTHS["T0"].of(rows, scale)
    with pytest.raises(UnknownNameError, match="T7"):
        truths_named("T7")


def test_intervals_need_episodes():
    assert interval(np.ones(5), 1) is None
    assert interval(np.full(5, np.nan), 3) is None
    assert draw_episodes(4, 7).sum(1).tolist() == [4] * 7


def test_jacobians_that_are_no_numbers_are_the_worst():
    moments, *_ = make(0, 1, 48)
    truth = np.random.default_rng(0).normal(size=(48, DS, DS + DA))
    perfect = jacobian_by_mode(truth, truth, moments)
    assert (perfect["mean"], perfect["all"]["log_size"], perfect["all"]["sign"]) == (0, 0, 1)
    nothing = jacobian_by_mode(np.full(truth.shape, np.nan), truth, moments)
    assert nothing["mean"] > 1e3
    assert nothing["all"]["sign"] == 0
    assert jacobian_by_mode(np.zeros(truth.shape), truth, moments)["mean"] == pytest.approx(1)


def test_irrelevant_causes():
    random = np.random.default_rng(0)
    rows = Rows(*(random.normal(size=(50, size)).astype(np.float32) for size in (2, 1, 2)))
    scale = Scale(*(np.ones(size, np.float32) for size in (3, 3, 2, 2, 2)))

    def simulate(state, action):
        return np.stack([state[:, 0] + action[:, 0], state[:, 1]], 1)

    same = irrelevance(simulate, simulate, rows, scale)
    assert same["rms"] == 0
    assert same["entries"] > 0
    mixing = irrelevance(lambda s, a: simulate(s, a) + 0.5 * s[:, ::-1], simulate, rows, scale)
    assert mixing["rms"] == pytest.approx(0.5 * np.sqrt(2), rel=0.5)
    assert irrelevance(lambda s, a: s * np.nan, simulate, rows, scale)["rms"] == 1e6


def test_neighbours():
    known = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    assert nearest_rows(known, known, 3)[:, 0].tolist() == list(range(40))
    assert vote(["a", "b", "b"]) == "b"
    assert vote(["a", "b"]) == "a"


def test_tasks_without_constraints_have_one_mode(tmp_path):
    """Their stores have no columns of what acts."""
    make_store(tmp_path / "Pendulums/noise.zarr", episodes=20, hinges=2, limits=0, pairs=0)
    dataset = open_dataset(tmp_path / "Pendulums/noise.zarr", split="test")
    moments = read_moments(dataset, np.arange(5))
    assert moments.active.shape == (5, 0)
    assert not moments.contact.any()
    assert len(set(moments.keys())) == 1
