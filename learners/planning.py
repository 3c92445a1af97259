"""Planning with a model: what an action is worth by it, and what a plan is worth in truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError

__all__ = ["Planner", "Score", "relative_return", "returns"]

Floats = NDArray[Any]
Step = Callable[[NDArray[np.float32], NDArray[np.float32]], Any]
Score = Callable[[Floats], Floats]
"""(states (n, ds)) -> how good each is, (n,)."""


@dataclass(frozen=True)
class Planner:
    """The cross-entropy method in model-predictive control: plan, act once, plan again from there.

    Attributes:
        horizon: Control steps that a plan looks ahead.
        candidates: Sequences of actions per iteration.
        iterations: In which means and deviations of actions are fitted to the best sequences.
        elites: How many of these.
        deviation: Of actions, to begin with; actions are in (-1, 1).

    Source:
        Rubinstein, Kroese (2004), The cross-entropy method; Chua et al. (2018), arXiv 1805.12114.
    """

    horizon: int = 20
    candidates: int = 512
    iterations: int = 6
    elites: int = 64
    deviation: float = 0.7

    def __post_init__(self) -> None:
        """Raise InvalidSettingError if a number is out of range."""
        if min(self.horizon, self.candidates, self.iterations, self.elites) < 1 or self.elites > self.candidates:
            raise InvalidSettingError(
                f"horizon is {self.horizon}, candidates {self.candidates}, iterations {self.iterations}, elites "
                f"{self.elites}; all must be at least 1, and elites at most candidates"
            )

    def plan(
        self, predict: Step, score: Score, state: Floats, guess: Floats, random: np.random.Generator
    ) -> NDArray[np.float64]:
        """Return the best actions that were found.

        Args:
            predict: (state, action) -> next states, of batches.
            score: Of predicted states; their sum is maximised. What is not a number counts as the worst.
            state: Where the plan begins, shape (ds,).
            guess: Actions to begin with, shape (horizon, da).
            random: Of the candidates.

        Returns:
            Actions, shape (horizon, da), in [-1, 1].
        """
        mean, deviation = np.asarray(guess, np.float64), np.full(guess.shape, self.deviation)
        for _ in range(self.iterations):
            drawn = mean + deviation * random.standard_normal((self.candidates, *mean.shape))
            drawn = np.clip(drawn, -1.0, 1.0)
            best = drawn[np.argsort(-self._worth(predict, score, state, drawn), kind="stable")[: self.elites]]
            mean, deviation = best.mean(0), best.std(0)
        return mean

    def _worth(self, predict: Step, score: Score, state: Floats, actions: Floats) -> NDArray[np.float64]:
        states = np.repeat(np.asarray(state, np.float32)[None], len(actions), axis=0)
        total = np.zeros(len(actions))
        with np.errstate(over="ignore", invalid="ignore"):  # An unstable model's predictions grow without bound.
            for step in range(self.horizon):
                states = np.asarray(predict(states, np.asarray(actions[:, step], np.float32)), np.float32)
                total += np.asarray(score(states), np.float64)
        return np.where(np.isfinite(total), total, -np.inf)


def returns(
    planner: Planner | None, predict: Step, simulate: Step, score: Score, starts: Floats, steps: int, da: int, seed: int
) -> NDArray[np.float64]:
    """Return the true sums of scores of episodes in which a planner acts with a model.

    Args:
        planner: None for random actions, uniform in [-1, 1].
        predict: The model's step; the simulator's own, for the reference.
        simulate: The true step.
        score: Of states.
        starts: States to start from, shape (n, ds); the same for all that are compared.
        steps: Control steps of an episode.
        da: Size of the action.
        seed: Of the candidates, ≥ 0.

    Returns:
        Shape (n,).
    """
    states, total = np.asarray(starts, np.float32), np.zeros(len(starts))
    randoms = [np.random.default_rng((seed, number)) for number in range(len(starts))]
    plans = np.zeros((len(starts), 1 if planner is None else planner.horizon, da))
    for _ in range(steps):
        if planner is None:
            actions = np.array([random.uniform(-1, 1, da) for random in randoms])
        else:
            # The plan of the step before, one step later, is the first guess.
            plans = np.concatenate([plans[:, 1:], np.zeros_like(plans[:, :1])], axis=1)
            given = zip(states, plans, randoms, strict=True)
            plans = np.array([planner.plan(predict, score, state, plan, random) for state, plan, random in given])
            actions = plans[:, 0]
        states = np.asarray(simulate(states, actions.astype(np.float32)), np.float32)
        total += np.asarray(score(states), np.float64)
    return total


def relative_return(model: Floats, random: Floats, truth: Floats) -> float | None:
    """Return (R − R_random) / (R_true simulator − R_random) of mean returns; None where the planner gains nothing.

    Args:
        model: Returns with the model, shape (n,).
        random: With random actions.
        truth: With the true simulator as the model.
    """
    gain = float(np.mean(truth) - np.mean(random))
    return None if gain <= 0 else float((np.mean(model) - np.mean(random)) / gain)
