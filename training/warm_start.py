"""A training that begins with a policy there is already, of the same task or of one that is like it.

The policy gives PPO its network and the statistics of its observations. It has no value function: that begins anew, so
the first iterations may do worse than the policy did.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation.environments.loading import load_environment
from dynamic_sparsity.generation.tasks import get_task
from dynamic_sparsity.policies import ExpertPolicy
from dynamic_sparsity.policies.files import SUFFIX, expert_path, load_policy, read_record
from dynamic_sparsity.training.hyperparameters import TrainingSettings

_SEEN = 1_000_000
"""Observations that the statistics count for: enough that those of the first iterations do not move them much."""


@dataclasses.dataclass(frozen=True)
class Beginning:
    """What a training begins with.

    Attributes:
        policy: The policy.
        stages: How it was trained, as the `stages` of its record; none if it has no record.
    """

    policy: ExpertPolicy
    stages: tuple[dict[str, Any], ...]

    @property
    def parameters(self) -> tuple[Any, ...]:
        """The policy as brax's parameters, without a value function."""
        from brax.training.acme.running_statistics import RunningStatisticsState
        from brax.training.types import UInt64

        mean, std = jnp.asarray(self.policy.mean), jnp.asarray(self.policy.std)
        count = UInt64(hi=jnp.uint32(0), lo=jnp.uint32(_SEEN))
        state = RunningStatisticsState(mean=mean, std=std, count=count, summed_variance=std**2 * _SEEN)
        layers = {
            f"hidden_{i}": {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
            for i, (kernel, bias) in enumerate(self.policy.layers)
        }
        return state, {"params": layers}


def begin_with(source: str, settings: TrainingSettings) -> tuple[TrainingSettings, Beginning]:
    """Read the policy that a run begins with, and give the run its network's form.

    Args:
        source: Path of a policy's file, or the name of a task whose policy comes with the package.
        settings: Of the run.

    Returns:
        The settings, with the sizes of the policy's hidden layers and its sha256 as `initial_policy`, and the policy.

    Raises:
        InvalidSettingError: The run or the task can't begin with this policy.
        UnknownNameError: There is no policy of this name.
        CorruptPolicyError: The file is missing or not a policy.
    """
    if settings.algorithm != "ppo":
        raise InvalidSettingError(
            f"algorithm is {settings.algorithm!r} and there is an initial policy, {source}; only ppo begins with one."
        )
    policy = load_policy(source)
    theirs = policy.activation, policy.mean.size, policy.action_size
    ours = "swish", _observed(settings.task), get_task(settings.task).da
    if theirs != ours:
        form = "activation {}, {} observations, {} actions"
        raise InvalidSettingError(
            f"the initial policy {source} has {form.format(*theirs)}; PPO for {settings.task} needs "
            f"{form.format(*ours)}."
        )
    path = Path(source) if source.endswith(SUFFIX) else expert_path(source)
    stages = read_record(path)["stages"] if path.with_suffix(".json").exists() else []
    sizes = [bias.size for _, bias in policy.layers[:-1]]
    changes = {"policy_hidden_layer_sizes": sizes, "initial_policy": policy.sha256}
    changed = dataclasses.replace(settings, hyperparameters=settings.hyperparameters | changes)
    other = {} if policy.task == settings.task else {"task": policy.task}
    return changed, Beginning(policy, tuple(other | stage for stage in stages))


@functools.cache
def _observed(task: str) -> int:
    """Size of a task's observations; kept, as it takes a trace of the task's reset."""
    return int(load_environment(task).observation_size)
