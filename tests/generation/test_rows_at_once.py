"""Units that a device has too little memory for."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from dynamic_sparsity.errors import DynamicSparsityWarning
from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.rollout.episodes import Episodes
from dynamic_sparsity.generation.rollout.rows_at_once import RowsAtOnce, out_of_memory
from dynamic_sparsity.generation.settings import Settings

FULL = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 85899345920 bytes."


def no_room_beyond(rows, sizes):
    def make(size):
        sizes.append(size)
        if size > rows:
            raise jax.errors.JaxRuntimeError(FULL)
        return size

    return make


def test_rows_are_halved_until_they_fit_and_stay_so():
    at_once, sizes = RowsAtOnce(), []
    with pytest.warns(DynamicSparsityWarning, match="too little memory"):
        assert at_once.attempt(16, no_room_beyond(5, sizes)) == 4
    assert sizes == [16, 8, 4]
    assert at_once.of(16) == 4
    assert at_once.of(3) == 3
    # Parts of a unit are of one size.
    assert at_once.of(9) == 3
    assert at_once.of(7) == 1


def test_other_errors_and_single_rows_are_not_tried_again():
    at_once, sizes = RowsAtOnce(), []
    with pytest.warns(DynamicSparsityWarning), pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE"):
        at_once.attempt(2, no_room_beyond(0, sizes))
    assert sizes == [2, 1]

    def broken(size):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        RowsAtOnce().attempt(4, broken)
    assert not out_of_memory(MemoryError(FULL))


@pytest.mark.slow
def test_a_unit_made_in_parts_has_the_same_bits(monkeypatch):
    jax_runtime.configure()
    settings = Settings("PendulumSwingup", episodes=8, episode_length=40)
    whole = Episodes.prepare(settings).simulate(0, 8)
    step = Episodes._step

    def short_of_memory(self, index, now, plan, *limits):
        if len(now.carry.qpos) == 8 and index == 37:
            raise jax.errors.JaxRuntimeError(FULL)
        return step(self, index, now, plan, *limits)

    monkeypatch.setattr(Episodes, "_step", short_of_memory)
    made: list[int] = []
    with pytest.warns(DynamicSparsityWarning, match="going on with"):
        parts = Episodes.prepare(settings).simulate(0, 8, made.append)
    assert sum(made) == 8 * 40
    assert parts.keys() == whole.keys()
    for name, column in whole.items():
        np.testing.assert_array_equal(parts[name], column, err_msg=name)
