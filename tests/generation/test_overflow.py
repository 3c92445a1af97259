"""Rows with more contact points than a program has slots for: their block is made again with enough of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dynamic_sparsity.errors import NotConvergedError
from dynamic_sparsity.generation.physics import constraint_solver, contact_slots
from dynamic_sparsity.generation.physics.model import load_physics
from dynamic_sparsity.generation.rollout.episodes import Episodes
from dynamic_sparsity.generation.rollout.transition import transition_program
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.schemas import FLAG_BITS

TASK, GROUP = "CheetahRun", "cheetah"
USUAL = constraint_solver.MAX_ITERATIONS


def columns(number: int, not_converged: bool) -> dict[str, np.ndarray]:
    flags = np.full((2, 3), not_converged << FLAG_BITS["not_converged"], np.uint16)
    return {"flags": flags, "solver_residual": np.ones((2, 3)), "made": np.array(number)}


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        # (not converged, overflow) of each attempt; (iterations, all slots) it must be asked for.
        ([(False, False)], [(USUAL, False)]),
        ([(False, True), (False, False)], [(USUAL, False), (USUAL, True)]),
        # A row with too few slots is no row: whether it converged says nothing.
        ([(True, True), (False, False)], [(USUAL, False), (USUAL, True)]),
        ([(True, False), (False, False)], [(USUAL, False), (10 * USUAL, False)]),
        ([(False, True), (True, False), (False, False)], [(USUAL, False), (USUAL, True), (10 * USUAL, True)]),
        ([(False, True), (True, False), (True, False)], [(USUAL, False), (USUAL, True), (10 * USUAL, True)]),
    ],
)
def test_blocks_that_are_made_again(
    results: list[tuple[bool, bool]], expected: list[tuple[int, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def simulate(_: Episodes, first: int, count: int, iterations: int, all_slots: bool, *rest: Any) -> Any:
        asked.append((iterations, all_slots))
        not_converged, overflow = results[len(asked) - 1]
        return columns(len(asked), not_converged), overflow

    monkeypatch.setattr(Episodes, "_simulate", simulate)
    episodes = object.__new__(Episodes)
    object.__setattr__(episodes, "settings", Settings(TASK))
    if results[-1][0]:
        with pytest.raises(NotConvergedError):
            episodes.simulate(0, 2)
    else:
        assert episodes.simulate(0, 2)["made"] == len(results)
    assert asked == expected


@pytest.fixture
def one_slot(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Programs with a single slot; nothing of them is kept."""
    monkeypatch.setitem(contact_slots.SLOTS, GROUP, {3: 1})
    load_physics.cache_clear()
    transition_program.cache_clear()
    yield
    load_physics.cache_clear()
    transition_program.cache_clear()


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.usefixtures("one_slot")
def test_rows_with_too_few_slots_are_right_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    simulate = Episodes._simulate

    def counted(self: Episodes, first: int, count: int, iterations: int, all_slots: bool, *rest: Any) -> Any:
        made, overflow = simulate(self, first, count, iterations, all_slots, *rest)
        asked.append((all_slots, overflow, float(made["mujoco_difference"].max())))
        return made, overflow

    monkeypatch.setattr(Episodes, "_simulate", counted)
    made = Episodes.prepare(Settings(TASK, episode_length=10)).simulate(0, 4)
    (few, enough) = asked
    assert few[:2] == (False, True) and few[2] > 1e-6, "MuJoCo C takes other steps"
    assert enough[:2] == (True, False)
    assert not (made["flags"] >> FLAG_BITS["differs_from_mujoco"] & 1).any()
    assert made["mujoco_difference"].max() < 1e-6
