"""Rewards that training may add to a task's own where that one is found by luck alone; returns never count them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dynamic_sparsity.errors import InvalidSettingError

_REACH = 0.1
"""Distance, in metres, over which a bonus for nearness falls to 1/e."""


def _ball_near_cup(task: Any, _before: Any, after: Any) -> jax.Array:
    apart = after.data.site_xpos[task._target_site_id] - after.data.xpos[task._ball_body_id]
    return jnp.exp(-jnp.hypot(apart[0], apart[2]) / _REACH)


def _tip_near_target(task: Any, _before: Any, after: Any) -> jax.Array:
    return jnp.exp(-jnp.maximum(task._dist_to_target(after.data), 0.0) / _REACH)


def _approach(task: Any, before: Any, after: Any) -> jax.Array:
    apart = (_swimmer_from_target(task, state.data) for state in (before, after))
    speed: jax.Array = (next(apart) - next(apart)) / task.dt
    return speed


def _swimmer_from_target(task: Any, data: Any) -> jax.Array:
    # The target's geometry lags behind its mocap body: Playground's reset moves the body alone.
    away: jax.Array = data.mocap_pos[task._target_mocap_body_id] - data.subtree_com[task._head_body_id]
    return jnp.hypot(away[0], away[1])


def _upright(task: Any, _before: Any, after: Any) -> jax.Array:
    height: jax.Array = (1 + task._pole_vertical(after.data)) / 2
    return height


_BONUSES: dict[str, Callable[[Any, Any, Any], jax.Array]] = {
    "BallInCup": _ball_near_cup,
    "FingerTurnEasy": _tip_near_target,
    "FingerTurnHard": _tip_near_target,
    "PendulumSwingup": _upright,
    "SwimmerSwimmer6": _approach,
}


def shaped(environment: Any, task: str, weight: float) -> Any:
    """Return a task whose reward also counts how near its goal is, or how fast it comes nearer.

    BallInCup: exp(-d / 0.1), d the distance of the ball from the cup's middle, in metres, in the plane of motion.
    FingerTurnEasy, FingerTurnHard: the same, d the distance of the spinner's tip from the target.
    PendulumSwingup: the height of the pole's tip, from 0 (hanging) to 1.
    SwimmerSwimmer6: the speed, in m/s, at which the swimmer's centre of mass nears the target.

    Args:
        environment: Playground's environment.
        task: Its name.
        weight: Of the added reward; 0 returns the environment as it is.

    Raises:
        InvalidSettingError: There is no such reward for the task.
    """
    from mujoco_playground import wrapper

    if not weight:
        return environment
    if task not in _BONUSES:
        raise InvalidSettingError(
            f"shaping is {weight} for {task}; only {', '.join(_BONUSES)} can have a shaped reward."
        )
    bonus = _BONUSES[task]

    class Shaped(wrapper.Wrapper):  # type: ignore[misc]
        def step(self, state: Any, action: jax.Array) -> Any:
            after = self.env.step(state, action)
            return after.replace(reward=after.reward + weight * bonus(self.env.unwrapped, state, after))

    return Shaped(environment)
