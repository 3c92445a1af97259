"""How each task is trained: Playground's own hyperparameters, or a profile for a few CPU cores."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation.tasks import TASKS, get_task

ALGORITHMS = ("ppo", "sac", "dagger", "lqr")
PLANNED = ("dagger", "lqr")
"""Those that are no reinforcement learning; they have the profile "cpu" alone."""

PROFILES = ("cpu", "playground")

Profile = Literal["cpu", "playground"]

_CPU_PPO: dict[str, Any] = {
    "dynamics": "converged",
    "num_envs": 256,
    "batch_size": 128,
    "num_minibatches": 8,
    "unroll_length": 20,
    "num_updates_per_batch": 8,
    "discounting": 0.98,
    "reward_scaling": 10.0,
    "entropy_cost": 5e-3,
    "learning_rate": 6e-4,
    "policy_hidden_layer_sizes": [32, 32, 32, 32],
    "value_hidden_layer_sizes": [64, 64, 64],
}
"""Iterations of 20,480 steps, a thirtieth of Playground's: more updates per step, where steps are what costs time."""

_NEAR: dict[str, Any] = {"num_updates_per_batch": 6, "reward_scaling": 5.0, "entropy_cost": 0.01, "shaping": 0.3}

_SWING_UP: dict[str, Any] = {
    "batch_size": 256,
    "unroll_length": 40,
    "discounting": 0.995,
    "reward_scaling": 1.0,
    "entropy_cost": 0.01,
    "learning_rate": 1e-3,
}
"""What pays comes seconds later: a swing to the other side first."""

_CPU_PPO_TASKS: dict[str, dict[str, Any]] = {
    "BallInCup": _NEAR,
    "FingerTurnEasy": _NEAR,
    "FingerTurnHard": _NEAR,
    "SwimmerSwimmer6": {
        "unroll_length": 30,
        "discounting": 0.99,
        "reward_scaling": 5.0,
        "shaping": 2.0,
    },
    "CartpoleBalance": {
        "batch_size": 256,
        "reward_scaling": 0.5,
        "entropy_cost": 1e-3,
        "learning_rate": 1e-3,
    },
    "CartpoleSwingup": _SWING_UP,
    "PendulumSwingup": _SWING_UP | {"shaping": 0.5},
    "FishSwim": {"unroll_length": 30, "discounting": 0.99, "reward_scaling": 5.0},
    "FingerSpin": {
        "batch_size": 256,
        "unroll_length": 30,
        "num_updates_per_batch": 6,
        "discounting": 0.95,
        "entropy_cost": 0.01,
        "learning_rate": 1e-3,
    },
    "ReacherHard": {
        "batch_size": 256,
        "discounting": 0.97,
        "reward_scaling": 1.0,
        "entropy_cost": 2e-3,
        "learning_rate": 1e-3,
    },
}
"""What differs from the above, where it was found to help."""

_CPU_STEPS = {
    "CartpoleBalance": 3_000_000,
    "ReacherHard": 5_000_000,
    "BallInCup": 2_000_000,
    "PointMass": 3_000_000,
    "PendulumSwingup": 3_000_000,
    "FishSwim": 5_000_000,
    "SwimmerSwimmer6": 24_000_000,
}
_CPU_DEFAULT_STEPS = 10_000_000

_CPU_SAC: dict[str, Any] = {
    "dynamics": "converged",
    "num_envs": 64,
    "batch_size": 256,
    "grad_updates_per_step": 8,
    "discounting": 0.99,
    "reward_scaling": 1.0,
    "learning_rate": 5e-4,
    "min_replay_size": 8192,
    "max_replay_size": 1_000_000,
    "hidden_layer_sizes": [128, 128],
}
_CPU_SAC_STEPS = 1_000_000

_HOPPER: dict[str, Any] = {"num_envs": 32, "grad_updates_per_step": 16}
_CPU_SAC_TASKS: dict[str, dict[str, Any]] = {"HopperHop": _HOPPER, "HopperStand": _HOPPER}
"""What differs from the above: four times as many updates a step, as the policies of both were made."""

_DAGGER: dict[str, Any] = {
    "dynamics": "converged",
    "samples": 1024,
    "size": 16,
    "horizon": 400,
    "episodes": 32,
    "labels": 4096,
    "updates": 1000,
    "batch_size": 1024,
    "learning_rate": 1e-3,
    "hidden_layers": [64, 64, 64],
    "exploration": [0.2, 0.1],
    "hold": 20,
}
"""`samples`, `size` and `horizon` are the teacher's (`swing_up.SwingUpTeacher`), the rest `imitation`'s."""

_ACROBOT: dict[str, Any] = {
    "updates": 3000,
    "batch_size": 512,
    "labels": 8192,
    "hidden_layers": [96, 96, 96],
    "exploration": [0.2, 0.05],
}
_DAGGER_TASKS: dict[str, dict[str, Any]] = {
    "AcrobotSwingup": _ACROBOT,
    "AcrobotSwingupSparse": _ACROBOT,
    "PendulumSwingup": {"horizon": 300, "exploration": [0.2, 0.05]},
}
_DAGGER_STEPS = {"AcrobotSwingup": 640_000, "AcrobotSwingupSparse": 640_000, "PendulumSwingup": 192_000}
_DAGGER_DEFAULT_STEPS = 256_000

_LQR: dict[str, Any] = {
    "dynamics": "converged",
    "population": 14,
    "episodes": 3,
    "length": 300,
    "noise": 0.015,
    "exploration": 0.005,
}
"""`exploration` is the scale of the policy's noise, the rest `balance_search.search`'s."""

_LQR_STEPS = 100_000


@dataclass(frozen=True)
class TrainingSettings:
    """What decides a training run, except for the platform.

    Attributes:
        task: Name of a task.
        algorithm: "ppo" or "sac", both brax's, "dagger": imitation of a teacher that plans,
            or "lqr": a linear-quadratic regulator.
        profile: "cpu": physics by MuJoCo C and hyperparameters for a few cores. "playground": MJX and Playground's own.
        steps: Control steps of all environments together.
        seed: Seed of networks, initial states and noise.
        hyperparameters: brax's keyword arguments, and some of our own: sizes of hidden layers; the number `shaping`,
            the weight of a reward beside the task's own (`shaping` has them); `dynamics`, "stock" or "converged";
            `initial_policy`, the sha256 of the policy that training began with.
    """

    task: str
    algorithm: str
    profile: str
    steps: int
    seed: int
    hyperparameters: dict[str, Any]

    def document(self) -> dict[str, Any]:
        """Return the settings as JSON data."""
        return dataclasses.asdict(self)

    def digest(self) -> str:
        """Return the sha256 of the document without `steps`: a run with more steps resumes one with fewer."""
        document = {name: value for name, value in self.document().items() if name != "steps"}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def resolve(task: str, algorithm: str, profile: str, steps: int | None, seed: int) -> TrainingSettings:
    """Look up the hyperparameters of a run.

    Args:
        task: Name of a task.
        algorithm: "ppo", "sac", "dagger" or "lqr".
        profile: "cpu" or "playground".
        steps: Control steps; None for the profile's own.
        seed: Seed.

    Raises:
        UnknownNameError: There is no such task.
        InvalidSettingError: Another value is not legal.
    """
    task = get_task(task).name
    if task not in TASKS:
        raise InvalidSettingError(f"task is {task!r}; policies are trained for tasks of the DM Control Suite alone.")
    for name, value, legal in (("algorithm", algorithm, ALGORITHMS), ("profile", profile, PROFILES)):
        if value not in legal:
            raise InvalidSettingError(f"{name} is {value!r}; it must be one of: {', '.join(legal)}.")
    if seed < 0 or (steps is not None and steps < 1):
        raise InvalidSettingError(f"seed is {seed} and steps are {steps}; a seed is at least 0, steps at least 1.")
    if algorithm in PLANNED and profile == "playground":
        raise InvalidSettingError(
            f"algorithm is {algorithm!r} and profile 'playground'; it has the profile 'cpu' alone."
        )
    if algorithm == "dagger":
        chosen = _DAGGER | _DAGGER_TASKS.get(task, {})
        default = _DAGGER_STEPS.get(task, _DAGGER_DEFAULT_STEPS)
    elif algorithm == "lqr":
        chosen, default = dict(_LQR), _LQR_STEPS
    elif profile == "playground":
        chosen, default = _playground(task, algorithm)
    elif algorithm == "ppo":
        chosen = _CPU_PPO | _CPU_PPO_TASKS.get(task, {})
        default = _CPU_STEPS.get(task, _CPU_DEFAULT_STEPS)
    else:
        chosen, default = _CPU_SAC | _CPU_SAC_TASKS.get(task, {}), _CPU_SAC_STEPS
    return TrainingSettings(task, algorithm, profile, steps or default, seed, chosen)


def _playground(task: str, algorithm: str) -> tuple[dict[str, Any], int]:
    """Return Playground's hyperparameters and number of steps."""
    from mujoco_playground.config import dm_control_suite_params as params

    config = (params.brax_ppo_config if algorithm == "ppo" else params.brax_sac_config)(task).to_dict()
    factory = config.pop("network_factory", {})
    steps = int(config.pop("num_timesteps"))
    for name in ("num_evals", "episode_length", "normalize_observations", "num_resets_per_eval"):
        config.pop(name, None)
    return {"dynamics": "stock"} | config | factory, steps
