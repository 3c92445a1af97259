"""Train one policy: by brax's PPO or SAC, evaluated on the way and resumed at any evaluation, or planned."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation.physics.model import load_physics
from dynamic_sparsity.generation.tasks import EPISODE_LENGTH
from dynamic_sparsity.policies import ExpertPolicy
from dynamic_sparsity.policies.files import SUFFIX, read_record, save_policy
from dynamic_sparsity.storage.atomic import check_output_folder
from dynamic_sparsity.training import brax_repair
from dynamic_sparsity.training import returns as evaluation
from dynamic_sparsity.training.checkpoints import Point, TrainingFolder, expert_from
from dynamic_sparsity.training.curve import draw
from dynamic_sparsity.training.hyperparameters import PLANNED, TrainingSettings
from dynamic_sparsity.training.shaping import shaped
from dynamic_sparsity.training.warm_start import Beginning, begin_with

EVALUATION_EPISODES = 64
STEPS_BETWEEN_EVALUATIONS = {"cpu": 250_000, "playground": 2_000_000}
"""By profile. On a few cores: half a minute to some minutes, of which an evaluation takes a tenth."""

_PACKAGES = ("brax", "jax", "jaxlib", "mujoco", "mujoco-mjx", "playground")


class TrainingProgress(Protocol):
    """Receives the progress of a training; the command line draws a bar from it."""

    def started(self, task: str, steps: int, done: int) -> None:
        """Report that training begins or is resumed.

        Args:
            task: Name of the task.
            steps: Control steps of all training.
            done: Control steps that are done already.
        """

    def evaluated(self, point: Point, best: Point) -> None:
        """Report an evaluation.

        Args:
            point: What the policy reaches now.
            best: The best so far.
        """

    def measuring(self, task: str) -> None:
        """Report that the best policy is being measured again, by episodes that did not choose it.

        Args:
            task: Name of the task.
        """


@dataclass(frozen=True)
class Result:
    """What a training came to.

    Attributes:
        path: The policy's file.
        mean: Its stochastic return, measured by episodes that did not choose it.
        chance: What noise or no action reaches in the same episodes, the better of the two.
        learned: Whether `mean` is clearly above that.
        kept: False if an older, better policy was left in place.
        curve: The picture of the learning curve.
    """

    path: Path
    mean: float
    chance: float
    learned: bool
    kept: bool
    curve: Path | None


def train(settings: TrainingSettings, out: Path, progress: TrainingProgress, initial: str | None = None) -> Result:
    """Train a policy, and keep it if it is better than what is there.

    The run's folder, `OUT/<Task>.training`, holds the latest and the best parameters and the learning curve. A run that
    was stopped is resumed from its latest evaluation: PPO with networks, values and normaliser, SAC with its optimisers
    too; PPO's optimiser and SAC's replay buffer (filled by the policy as it is) begin again. DAgger and LQR take
    minutes and always begin again.

    Args:
        settings: What to train.
        out: Folder of the policies.
        progress: Receives the progress.
        initial: A policy that PPO begins with: its file, or the name of a task whose policy comes with the package.

    Returns:
        Where the policy is and what it reaches.

    Raises:
        InvalidSettingError: There are too few steps for SAC to begin to learn, the run can't begin with `initial`, or
            `out` can't be written to.
        SettingsMismatchError: A run with other settings is in the folder.
        UnknownNameError: There is no such policy as `initial`.
        CorruptPolicyError: `initial` is damaged.
    """
    beginning = None
    if initial is not None:
        settings, beginning = begin_with(initial, settings)
    if settings.algorithm in PLANNED:
        return _plan(settings, out, progress)
    least = settings.hyperparameters.get("min_replay_size", 0)
    if settings.steps <= least:
        raise InvalidSettingError(
            f"steps are {settings.steps}; min_replay_size is {least}, and learning begins after it: ask for more steps."
        )
    check_output_folder(out)
    place = TrainingFolder.open(out / f"{settings.task}.training", settings)
    progress.started(settings.task, settings.steps, place.steps)
    if place.steps < settings.steps:
        with jax.enable_x64(False):
            _Run(settings, place, progress, beginning).train()
    drawn = draw(place)
    progress.measuring(settings.task)
    best = place.best
    assert best is not None
    with jax.enable_x64(True):
        policy = expert_from(settings.task, settings.algorithm, place.parameters("best"))
        return _keep(settings, policy, best.steps, out, drawn, beginning.stages if beginning else ())


def _plan(settings: TrainingSettings, out: Path, progress: TrainingProgress) -> Result:
    """Make a policy from what is known of the dynamics, by DAgger or LQR."""
    from dynamic_sparsity.training import planned

    progress.started(settings.task, settings.steps, 0)
    with jax.enable_x64(True):
        policy, curve = planned.policy(settings, EPISODE_LENGTH, progress.evaluated)
        place = TrainingFolder(out / f"{settings.task}.training", settings, curve, curve[-1].steps)
        place.path.mkdir(parents=True, exist_ok=True)
        drawn = draw(place)
        progress.measuring(settings.task)
        return _keep(settings, policy, place.steps, out, drawn)


def _environment(task: str) -> Any:
    from mujoco_playground import dm_control_suite

    return dm_control_suite.load(task, config_overrides={"impl": "jax"})


class _Run:
    """One call of brax's training function."""

    def __init__(
        self, settings: TrainingSettings, place: TrainingFolder, progress: TrainingProgress, beginning: Beginning | None
    ) -> None:
        self.settings, self.place, self.progress, self.beginning = settings, place, progress, beginning
        self.environment = _environment(settings.task)
        with jax.enable_x64(True):
            self.model = load_physics(settings.task, settings.hyperparameters["dynamics"]).mj_model
        self.before = place.steps
        self.seconds = place.curve[-1].seconds if place.curve else 0.0
        self.count = max(1, round((settings.steps - self.before) / STEPS_BETWEEN_EVALUATIONS[settings.profile]))
        self._returns: Callable[[Any, jax.Array], jax.Array] | None = None
        self.began = time.monotonic()

    def train(self) -> None:
        """Train until all steps are done."""
        on_host = self.settings.profile == "cpu"
        # Callbacks that wait for arrays of a computation still queued behind them would wait forever.
        config: Any = jax.config
        config.update("jax_cpu_enable_async_dispatch", False)
        with (
            brax_repair.repaired(self._after_sac_epoch, self._restored if self.before else None),
            evaluation.training_physics(self.model, on_host),
        ):
            (self._ppo if self.settings.algorithm == "ppo" else self._sac)()

    def _ppo(self) -> None:
        from brax.training.agents.ppo import networks
        from brax.training.agents.ppo import train as ppo

        options, sizes = self._options("policy_hidden_layer_sizes", "value_hidden_layer_sizes")
        restored = self.beginning.parameters if self.beginning else None
        if self.before:
            restored = self.place.parameters("latest")
        ppo.train(
            **options,
            network_factory=partial(networks.make_ppo_networks, **sizes),
            num_evals=self.count + 1,
            num_resets_per_eval=1,
            run_evals=False,
            restore_params=restored,
            restore_value_fn=bool(self.before),
            policy_params_fn=lambda steps, _make, parameters: self._evaluate(steps, parameters),
        )

    def _sac(self) -> None:
        from brax.training.agents.sac import networks
        from brax.training.agents.sac import train as sac

        options, sizes = self._options("hidden_layer_sizes", "q_network_layer_norm")
        if self.before:  # what is left may be less than the buffer's first filling
            options["min_replay_size"] = min(options["min_replay_size"], options["num_timesteps"] // 2)
        sac.train(
            **options,
            network_factory=partial(networks.make_sac_networks, **({"q_network_layer_norm": True} | sizes)),
            num_evals=self.count + 1,
        )

    def _options(self, *of_networks: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return brax's keyword arguments, and those of its networks."""
        from mujoco_playground import wrapper

        given = dict(self.settings.hyperparameters)
        sizes = {name: given.pop(name) for name in of_networks if name in given}
        sizes = {name: tuple(value) if isinstance(value, list) else value for name, value in sizes.items()}
        environment = shaped(self.environment, self.settings.task, given.pop("shaping", 0.0))
        for name in ("dynamics", "initial_policy"):
            given.pop(name, None)
        return {
            **given,
            "environment": environment,
            "wrap_env_fn": wrapper.wrap_for_brax_training,
            "num_timesteps": self.settings.steps - self.before,
            "episode_length": EPISODE_LENGTH,
            "normalize_observations": True,
            "seed": self.settings.seed + self.before,
        }, sizes

    def _after_sac_epoch(self, parameters: Any, state: Any) -> None:
        self._evaluate(int(state.env_steps), parameters, state)

    def _restored(self, fresh: Any) -> Any:
        """Return SAC's training state where it was left; brax counts the steps of this call alone."""
        return self.place.learner(fresh).replace(env_steps=fresh.env_steps)

    def _evaluate(self, steps: int, parameters: Any, learner: Any = None) -> None:
        """Measure brax's parameters after a number of steps of this run, and store them."""
        if steps == 0:
            return
        # Plain arrays: those of brax carry the mesh of its pmap with them.
        parameters = jax.tree.map(np.asarray, parameters)
        policy = expert_from(self.settings.task, self.settings.algorithm, parameters)
        if self._returns is None:
            function = evaluation.episode_function(
                self.environment, policy, EVALUATION_EPISODES, EPISODE_LENGTH, evaluation.NOISE_BETA, "expert"
            )
            self._returns = jax.jit(function)
        values = self._returns(evaluation.policy_arrays(policy), jax.random.PRNGKey(self.before + steps))
        seconds = self.seconds + time.monotonic() - self.began
        point = Point(self.before + steps, round(seconds, 1), float(jnp.mean(values)), float(jnp.std(values)))
        self.place.record(point, parameters, learner)
        assert self.place.best is not None
        self.progress.evaluated(point, self.place.best)


def _keep(
    settings: TrainingSettings,
    policy: ExpertPolicy,
    steps: int,
    out: Path,
    drawn: Path | None,
    earlier: Sequence[dict[str, Any]] = (),
) -> Result:
    """Measure the best policy of a run with fresh episodes, and keep it unless there is a better one."""
    measured = evaluation.evaluation(settings.task, policy)
    about = {"evaluation": measured}
    mean = float(evaluation.measured(about, "expert")["mean"])
    chance = max(float(evaluation.measured(about, actions)["mean"]) for actions in ("noise", "zero"))
    path = out / f"{settings.task}{SUFFIX}"
    kept = not (path.is_file() and evaluation.measured(read_record(path), "expert")["mean"] >= mean)
    result = Result(path, mean, chance, evaluation.beats_chance(about), kept, drawn)
    if not kept:
        return result
    physics = "physics by MuJoCo C" if settings.profile == "cpu" else "physics by MJX"
    kind = jax.devices()[0].device_kind
    device = f"{os.cpu_count()} CPU cores" if kind == "cpu" else f"{jax.device_count()} × {kind}"
    record = {
        "task": settings.task,
        "algorithm": settings.algorithm,
        "stages": [*earlier, {"steps": steps} | settings.hyperparameters],
        "seed": settings.seed,
        "steps": steps + sum(stage["steps"] for stage in earlier),
        "device": f"{device}, {physics}",
        "versions": {name: metadata.version(name) for name in _PACKAGES},
        "evaluation": measured,
    }
    save_policy(path, policy, record)
    return result
