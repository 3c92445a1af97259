"""Analysis: every number against a slow and plain computation of it, on made-up stores."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest

from dynamic_sparsity.analysis import bits
from dynamic_sparsity.analysis.blocks import Block, blocks, whole_segments
from dynamic_sparsity.analysis.changes import MAX_LAG, ChangeCounter, pattern_changes
from dynamic_sparsity.analysis.horizons import multi_step_zeros
from dynamic_sparsity.analysis.patterns import describe_patterns, pattern_table
from dynamic_sparsity.analysis.runs import RunCounter, run_lengths
from dynamic_sparsity.analysis.sparsity import MODES, sparsity_distribution
from dynamic_sparsity.analysis.spectrum import spectra, tangent_scale
from dynamic_sparsity.analysis.thresholds import LargestEntry, threshold_sensitivity
from dynamic_sparsity.analysis.timeline import read_timeline
from dynamic_sparsity.analysis.zeros import count_ones, global_zeros
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.load import open_dataset
from dynamic_sparsity.testing import make_store

EARLY = {1: 7, 5: 13}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("data") / "Pendulums" / "noise.zarr", early=EARLY)


@pytest.fixture(scope="module")
def dataset(store):
    return open_dataset(store)


def blocks_of(mask_s, active=None, lengths=None):
    """Blocks of made-up masks, one entry per column: (n, entries) becomes a row vector of effects."""
    mask_s = np.asarray(mask_s, np.uint8)
    rows, entries = mask_s.shape
    active = np.zeros((rows, 0), np.uint8) if active is None else np.asarray(active, np.uint8)
    lengths = [rows] if lengths is None else lengths
    starts = np.cumsum([0, *lengths[:-1]])
    return Block(0, starts, mask_s.reshape(rows, entries, 1), np.zeros((rows, entries, 0), np.uint8), active)


@pytest.mark.parametrize("entries", [1, 8, 63, 64, 65, 432])
def test_bits_round_trip(entries):
    mask = np.random.default_rng(entries).integers(0, 2, (50, entries), np.uint8)
    words = bits.pack(mask)
    np.testing.assert_array_equal(bits.unpack(words, entries), mask)
    np.testing.assert_array_equal(bits.count_ones(words), mask.sum(axis=1))
    keys = bits.row_keys(words)
    assert np.unique(keys).size == np.unique(mask, axis=0).shape[0]


def test_keys_differ_for_single_bits_and_their_pairs():
    """What a linear hash would confuse: the same change in two words."""
    single = np.eye(160, dtype=np.uint8)
    pairs = (single[:, None] | single[None]).reshape(-1, 160)
    assert np.unique(bits.row_keys(bits.pack(pairs))).size == 160 * 161 // 2


@pytest.mark.parametrize("rows", [1, 254, 255, 256, 600])
def test_ones_are_counted_past_a_byte(rows):
    np.testing.assert_array_equal(count_ones(np.ones((rows, 2, 3), np.uint8)), np.full((2, 3), rows))


def test_blocks_are_whole_segments(dataset):
    small = list(blocks(dataset, jacobians=True, block_bytes=1))
    assert sum(len(block) for block in small) == len(dataset)
    lengths = [EARLY.get(episode, 20) for episode in range(12)]
    assert [length for block in small for length in block.lengths] == lengths
    together = np.concatenate([block.J_s for block in small])
    np.testing.assert_array_equal(together, dataset[:]["J_s"])
    few = list(blocks(dataset))
    assert len(few) == 1
    assert few[0].continues.sum() == len(dataset) - 12
    assert few[0].J_s is None


def test_left_out_rows_cut_segments(dataset):
    keep = np.ones(len(dataset), bool)
    keep[[5, 6]] = False
    cut = dataset.select(keep)
    lengths = [length for block in blocks(cut) for length in block.lengths]
    assert lengths[:2] == [5, 13]
    with pytest.raises(InvalidSettingError, match="ascending order"):
        list(blocks(dataset.select([3, 1])))


@pytest.mark.slow
def test_memory_is_given_back(dataset, monkeypatch):
    """Reopening the files in between changes nothing."""
    monkeypatch.setattr("dynamic_sparsity.analysis.blocks.REOPEN_BYTES", 100 * dataset[0]["mask_s"].size)
    together = np.concatenate([block.mask_s for block in blocks(dataset, block_bytes=1)])
    np.testing.assert_array_equal(together, dataset[:]["mask_s"])


def test_samples_are_whole_episodes(dataset):
    sample = whole_segments(dataset, 60)
    assert 20 <= len(sample) <= 60
    assert set(sample.episodes["length"]) <= {20, 7, 13}
    assert whole_segments(dataset, 10**6) is dataset


def test_global_zeros_are_those_of_the_statistics(dataset):
    found = global_zeros(dataset)
    rows = dataset[:]
    np.testing.assert_array_equal(found.zeros_s, (rows["mask_s"] == 0).sum(axis=0))
    np.testing.assert_allclose(found.share_s, dataset.store.statistics["zero_share_s"], atol=1e-12)
    np.testing.assert_allclose(found.share_a, dataset.store.statistics["zero_share_a"], atol=1e-12)
    np.testing.assert_array_equal(found.always_s, (rows["mask_s"] == 0).all(axis=0))


def test_nothing_to_analyse(dataset):
    with pytest.raises(InvalidSettingError, match="no rows"):
        global_zeros(dataset.select(np.zeros(len(dataset), bool)))


def test_sparsity_by_mode(dataset):
    found, rows = sparsity_distribution(dataset), dataset[:]
    sparsity = 1 - rows["mask_s"].mean(axis=(1, 2))
    contact, limit = rows["active_any"][:, 2:].any(axis=1), rows["active_any"][:, :2].any(axis=1)
    for mode, chosen in {"contact": contact, "limit": limit & ~contact, "free": ~limit & ~contact}.items():
        assert found.counts_s[MODES.index(mode)].sum() == chosen.sum()
        assert found.mean("s", mode) == pytest.approx(sparsity[chosen].mean())
    assert found.mean("s") == pytest.approx(sparsity.mean())
    assert sum(found.levels("a").values()) == len(dataset)
    assert found.histogram("s").sum() == len(dataset)


def test_histogram_bins_are_closed_below():
    """0.1 is no binary fraction: a sparsity of exactly 0.3 belongs to the bin from 0.3 to 0.4, and 1 to the last."""
    from dynamic_sparsity.analysis.sparsity import SparsityDistribution

    counts = np.zeros((3, 11), np.int64)
    counts[0, 3], counts[1, 10] = 5, 2
    np.testing.assert_array_equal(SparsityDistribution(counts, counts).histogram("s"), [0, 0, 0, 5, 0, 0, 0, 0, 0, 2])


def test_patterns(dataset):
    table, rows = pattern_table(dataset), dataset[:]
    masks = np.concatenate([rows["mask_s"].reshape(len(dataset), -1), rows["mask_a"].reshape(len(dataset), -1)], axis=1)
    assert table.pattern_counts.size == np.unique(masks, axis=0).shape[0]
    assert table.active_set_counts.size == np.unique(rows["active_any"], axis=0).shape[0]
    both = np.unique(np.concatenate([masks, rows["active_any"]], axis=1), axis=0, return_counts=True)[1]
    assert sorted(table.count) == sorted(both)
    assert table.rows == len(dataset)
    top = describe_patterns(dataset, table)[0]
    same = (masks == masks[top.first]).all(axis=1)
    assert top.rows == same.sum() == table.pattern_counts.max()
    np.testing.assert_allclose(top.active, rows["active_any"][same].mean(axis=0))
    assert top.zeros_s == (rows["mask_s"][top.first] == 0).sum()


def test_what_the_active_set_explains():
    """A pattern that copies the active set is explained wholly, one that ignores it not at all."""
    from dynamic_sparsity.analysis.patterns import PatternCounter

    on = np.tile([0, 0, 1, 1], 100)[:, None]
    for pattern, explained in ((on, 1), (np.tile([0, 1], 200)[:, None], 0)):
        counter = PatternCounter()
        counter.update(blocks_of(pattern, on))
        found = counter.result()
        assert found.entropies()["explained"] == pytest.approx(explained, abs=1e-12)
        assert found.entropies()["pattern"] == pytest.approx(1)
        assert (found.covering(0.5), found.covering(0.99)) == (1, 2)


def test_runs_by_hand():
    """One entry: 0 0 1 1 1 0 | 1 1 | 0 1."""
    counter = RunCounter()
    counter.update(blocks_of([[0], [0], [1], [1], [1], [0], [1], [1], [0], [1]], lengths=[6, 2, 2]))
    found = counter.result()
    zero, nonzero = found.total("J_s", "zero"), found.total("J_s", "nonzero")
    assert zero[:, 1:4].tolist() == [[0, 0, 0], [1, 1, 0], [1, 0, 0]]
    assert nonzero[:, 1:4].tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert found.constant.tolist() == [[0, 1], [0, 0]]
    assert found.switches_s.item() == 3
    assert found.complete_runs.tolist() == [[0, 1]]
    assert found.complete_steps.tolist() == [[0, 3]]
    assert found.mean("both", "nonzero") == 2
    assert found.mean("both", "nonzero", cut=False) == 3
    # Kaplan and Meier: of two runs at risk none ends at 1, the one that is left ends at 3.
    assert found.survival("both", "nonzero").tolist()[:4] == [1, 1, 1, 0]
    assert found.survival_mean("both", "nonzero") == 3
    assert np.isnan(found.mean("J_a", "zero"))


def test_runs_against_a_loop():
    random = np.random.default_rng(1)
    lengths = [30, 1, 2, 47]
    mask = (random.random((80, 70)) < random.random(70) ** 3).astype(np.uint8)
    expected = np.zeros((2, 3, 48), np.int64)
    constant = np.zeros(2, np.int64)
    for start, length in zip(np.cumsum([0, *lengths[:-1]]), lengths, strict=True):
        for entry in range(70):
            runs = [(value, len(list(group))) for value, group in groupby(mask[start : start + length, entry].tolist())]
            if len(runs) == 1:
                constant[runs[0][0]] += 1
                continue
            for place, (value, duration) in enumerate(runs):
                ends = 1 if place == 0 else 2 if place == len(runs) - 1 else 0
                expected[value, ends, duration] += 1
    counter = RunCounter()
    counter.update(blocks_of(mask, lengths=lengths))
    found = counter.result()
    np.testing.assert_array_equal(found.counts[0], expected)
    np.testing.assert_array_equal(found.constant[0], constant)


def test_kaplan_meier_finds_the_mean_that_cut_runs_hide():
    """Geometric durations, cut off at random: the mean of what is seen is far too short, the estimate is not."""
    random = np.random.default_rng(0)
    mask = np.zeros((200 * 50, 1), np.uint8)
    state = 1
    for row in range(len(mask)):
        state = 1 - state if random.random() < (0.05 if state else 0.5) else state
        mask[row] = state
    counter = RunCounter()
    counter.update(blocks_of(mask, lengths=[50] * 200))
    found = counter.result()
    truncated = sum(0.95**step for step in range(50))  # within an episode, as is the estimate
    assert found.survival_mean("J_s", "nonzero") == pytest.approx(truncated, rel=0.1)
    assert found.mean("J_s", "nonzero", cut=False) < 0.8 * truncated


def test_run_lengths_of_a_store(dataset):
    found = run_lengths(dataset)
    rows, steps = dataset[:], np.arange(found.counts.shape[-1])
    inside = rows["step"][1:] != 0
    switches = ((rows["mask_s"][1:] != rows["mask_s"][:-1]) & inside[:, None, None]).sum(axis=0)
    np.testing.assert_array_equal(found.switches_s, switches)
    entries = rows["mask_s"][0].size + rows["mask_a"][0].size
    in_runs = (found.counts * steps).sum()
    constant_rows = entries * len(dataset) - in_runs
    assert found.constant.sum() * 7 <= constant_rows <= found.constant.sum() * 20


def test_changes_by_hand():
    """The pattern changes at rows 2, 3 and 7; the active set at 2, 4 and 6; a new episode starts at 5."""
    counter = ChangeCounter({"constraints": [{"name": "floor", "kind": "contact"}]})
    pattern = [[0], [0], [1], [0], [0], [1], [1], [0], [0]]
    active = [[0], [0], [1], [1], [0], [1], [0], [0], [0]]
    counter.update(blocks_of(pattern, active, lengths=[5, 4]))
    found = counter.result()
    # The steps from 0 to 1 and from 5 to 6 are right after a reset: the event at 6 does not count.
    assert (found.steps, found.patterns, found.changed_entries, found.after_reset) == (5, 3, 3, 0)
    assert found.events.tolist() == [2, 2]
    assert found.together.tolist() == [1, 1]
    assert found.near.tolist() == [2, 2]
    assert found.precision("contact") == pytest.approx(1 / 3)
    assert found.recall("contact") == pytest.approx(1 / 2)
    assert found.base_rate("contact") == pytest.approx(2 / 5)
    # 3 is one after 2 (or one before 4: the earlier event counts when both are as near).
    lags = {lag - MAX_LAG: count for lag, count in enumerate(found.lags[0].tolist()) if count}
    assert sum(lags.values()) == 2
    assert lags[0] == 1
    assert found.alone.tolist() == [1, 1]
    assert found.mean_lag("contact") == pytest.approx(1 / 2)


def test_changes_after_a_reset_are_set_apart():
    counter = ChangeCounter({"constraints": [{"name": "floor", "kind": "contact"}]})
    counter.update(blocks_of([[0], [1], [1], [0], [1]], [[0], [1], [1], [0], [1]], lengths=[3, 2]))
    found = counter.result()
    assert (found.steps, found.patterns, found.after_reset, found.events.tolist()) == (1, 0, 2, [0, 0])


def test_changes_stay_inside_episodes():
    counter = ChangeCounter({"constraints": [{"name": "floor", "kind": "contact"}]})
    counter.update(blocks_of([[0], [0], [1], [1], [1], [1]], [[0], [0], [0], [0], [0], [1]], lengths=[3, 3]))
    found = counter.result()
    assert found.patterns == 1
    assert found.alone.tolist() == [1, 1]
    assert found.lags.sum() == 0


def test_changes_of_a_store_are_the_same_in_any_blocks(dataset, monkeypatch):
    whole = pattern_changes(dataset)
    monkeypatch.setattr("dynamic_sparsity.analysis.blocks.BLOCK_BYTES", 1)
    np.testing.assert_equal(vars(pattern_changes(dataset)), vars(whole))


def test_thresholds(dataset):
    found = threshold_sensitivity(dataset, (1e-12, 0.1))
    masks = dataset.mask(0.1)["mask_s"]
    at = {(one.scale, one.threshold): one for one in found}
    assert at["absolute", 0.1].sparsity_s == pytest.approx(1 - masks.mean())
    assert at["absolute", 0.1].zeros_s == (masks == 0).all(axis=0).sum()
    relative = dataset.mask(0.1, relative=True)["mask_a"]
    assert at["relative", 0.1].sparsity_a == pytest.approx(1 - relative.mean())
    scale = tangent_scale(dataset)
    sizes = np.abs(dataset[:]["J_s"]) * scale / scale[:, None]
    assert at["dimensionless", 0.1].sparsity_s == pytest.approx((sizes < 0.1).mean())
    assert at["absolute", 1e-12].bits == pytest.approx(pattern_table(dataset).entropies()["pattern"])
    assert at["absolute", 1e-12].patterns == pattern_table(dataset).pattern_counts.size
    with pytest.raises(InvalidSettingError, match="greater than 0"):
        threshold_sensitivity(dataset, (0.0,))


def test_spectrum_counts_the_hidden_directions(dataset):
    """The pendulums' J_a has two columns in three rows of velocities, and nothing else."""
    found = {(one.matrix, one.mode): one for one in spectra(dataset)}
    assert found["J_a", "all"].rank == 2
    assert 1 <= found["J_a", "all"].effective_rank <= 2
    values = found["J_s", "all"].singular_values
    assert (np.diff(values) <= 0).all()
    assert found["J_s", "all"].rows == len(dataset)


def test_zeros_fill_in_over_steps(dataset):
    """Pendulums are not coupled: after any number of steps each still depends on itself alone."""
    found = multi_step_zeros(dataset, (1, 2, 8))
    assert [one.steps for one in found] == [1, 2, 8]
    assert found[0].structural == pytest.approx(1 - dataset[:]["mask_s"].mean(), abs=0.02)
    assert found[2].structural == pytest.approx(2 / 3)
    assert found[2].always == pytest.approx(2 / 3)
    assert found[2].action == pytest.approx(4 / 6)
    with pytest.raises(InvalidSettingError, match="no window"):
        multi_step_zeros(dataset, (21,))


def test_timeline(dataset):
    found, rows = read_timeline(dataset, 20), dataset.episode(1)
    assert (found.episode, len(found)) == (1, 7)
    np.testing.assert_array_equal(found.patterns_s[found.pattern], rows["mask_s"])
    np.testing.assert_array_equal(found.active, rows["active_any"][:, found.constraints])
    np.testing.assert_allclose(found.time, np.arange(7) * 0.05)
    with pytest.raises(InvalidSettingError, match="no episode starts"):
        read_timeline(dataset, 21)


def test_rounding_is_no_edge():
    """An entry above the masks' threshold only where the matrix has huge entries: float64 can't tell it from zero."""
    found = LargestEntry(np.ones(1))
    jacobian = np.array([[[1e3, 5e-12], [1e-9, 1.0]]], np.float32)
    masks = np.ones((1, 2, 2), np.uint8)
    nothing = np.zeros((1, 0), np.uint8)
    found.update(Block(0, np.array([0]), masks, masks[:, :, :0], nothing, jacobian, jacobian[:, :, :0]))
    assert found.result().rounding("s").tolist() == [[False, True], [False, False]]
    assert found.result().zeros("s", "dimensionless", 1e-6) == 2
