"""Policies from what is known of the dynamics: imitation of a planning teacher (DAgger), and regulators (LQR)."""

from __future__ import annotations

import time
from collections.abc import Callable

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation.environments.loading import load_environment
from dynamic_sparsity.generation.physics.model import load_physics
from dynamic_sparsity.policies import ExpertPolicy
from dynamic_sparsity.training import balance, balance_search
from dynamic_sparsity.training.checkpoints import Point
from dynamic_sparsity.training.hyperparameters import TrainingSettings
from dynamic_sparsity.training.imitation import ImitationSettings, imitate
from dynamic_sparsity.training.swing_up import SwingUpTeacher

OnEvaluation = Callable[[Point, Point], None]


def policy(settings: TrainingSettings, length: int, on_evaluation: OnEvaluation) -> tuple[ExpertPolicy, list[Point]]:
    """Make a policy.

    Args:
        settings: With the algorithm "dagger" or "lqr".
        length: Control steps of an episode.
        on_evaluation: Called with every evaluation and the best so far.

    Returns:
        The policy and the evaluations.

    Raises:
        InvalidSettingError: The algorithm has nothing for the task.
    """
    return (_imitated if settings.algorithm == "dagger" else _regulated)(settings, length, on_evaluation)


def _imitated(settings: TrainingSettings, length: int, on_evaluation: OnEvaluation) -> tuple[ExpertPolicy, list[Point]]:
    given = dict(settings.hyperparameters)
    model = load_physics(settings.task, given.pop("dynamics")).mj_model
    options = {name: given.pop(name) for name in ("samples", "size", "horizon")}
    teacher = SwingUpTeacher(settings.task, **options, length=length, seed=settings.seed)
    given |= {name: tuple(given[name]) for name in ("hidden_layers", "exploration")}
    rounds = max(1, round(settings.steps / (given["episodes"] * length)))
    found = imitate(
        settings.task,
        teacher,
        load_environment(settings.task),
        model,
        ImitationSettings(rounds=rounds, seed=settings.seed, **given),
        length,
        on_evaluation,
    )
    return found.policy, found.curve


def _regulated(
    settings: TrainingSettings, length: int, on_evaluation: OnEvaluation
) -> tuple[ExpertPolicy, list[Point]]:
    if settings.task not in balance.TASKS:
        raise InvalidSettingError(
            f"There is no regulator for {settings.task}; there are some for {', '.join(balance.TASKS)}."
        )
    given, curve, began = dict(settings.hyperparameters), list[Point](), time.monotonic()
    at = balance.stand(load_physics(settings.task, given.pop("dynamics")))
    scale = given.pop("exploration")

    def on_generation(steps: int, lasted: float, deviation: float) -> None:
        curve.append(Point(steps, round(time.monotonic() - began, 1), lasted, deviation))
        on_evaluation(curve[-1], max(curve, key=lambda point: point.mean))

    weights = balance_search.search(
        at,
        steps=settings.steps,
        episode_length=length,
        scale=scale,
        seed=settings.seed,
        on_generation=on_generation,
        **given,
    )
    return balance.network(at, weights, settings.task, scale), curve
