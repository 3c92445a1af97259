"""Tasks as a user of the package would write them, in the form of Playground's environments."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import mujoco
from mujoco import mjx

from dynamic_sparsity.generation import jax_runtime

jax_runtime.configure()  # Playground's dependencies warn when they are imported
from mujoco_playground._src import mjx_env  # noqa: E402

MODEL = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <body>
      <joint name="hinge" axis="0 1 0" damping="0.1" range="-90 90" limited="true"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.05"/>
    </body>
  </worldbody>
  <actuator><position name="servo" joint="hinge" kp="3" ctrlrange="-1 1" ctrllimited="true"/></actuator>
</mujoco>
"""


class Servo:
    """A pendulum whose target an action moves: the last target is part of the state."""

    action_size, n_substeps, dt = 1, 2, 0.02

    def __init__(self) -> None:
        self.mj_model = mujoco.MjModel.from_xml_string(MODEL)

    def reset(self, key: jax.Array) -> mjx_env.State:
        start = jax.random.uniform(key, (2,), minval=-0.5, maxval=0.5)
        data = mjx.make_data(self.mj_model, impl="jax").replace(qpos=start[:1], qvel=start[1:])
        info = {"target": jnp.zeros(1), "pushes": jnp.zeros(1)}
        return mjx_env.State(data, {"state": start}, jnp.zeros(()), jnp.zeros(()), {}, info)

    def prepared(self, state: mjx_env.State) -> mjx.Data:
        return state.data

    def control(self, state: mjx_env.State, action: jax.Array) -> jax.Array:
        return jnp.clip(0.9 * state.data.ctrl + 0.3 * jnp.sin(state.data.qpos) * action, -1.0, 1.0)

    def step(self, state: mjx_env.State, action: jax.Array) -> mjx_env.State:
        data = mjx_env.step(None, self.prepared(state), self.control(state, action), self.n_substeps)
        reward = -(data.xpos[1, 0] ** 2) - jnp.sum((data.ctrl - state.data.ctrl) ** 2)
        return state.replace(data=data, obs={"state": jnp.concatenate([data.qpos, data.qvel])}, reward=reward)


class Hidden(Servo):
    """Its target is where nobody sees it."""

    def control(self, state: mjx_env.State, action: jax.Array) -> jax.Array:
        return jax.jit(lambda info, action: info["target"] + action)(state.info, action)


class Pushed(Servo):
    """It is pushed before each step."""

    def prepared(self, state: mjx_env.State) -> mjx.Data:
        return state.data.replace(qvel=state.data.qvel + state.info["pushes"])


class Twice(Servo):
    """It enters the physics twice."""

    def step(self, state: mjx_env.State, action: jax.Array) -> mjx_env.State:
        return super().step(super().step(state, action), action)


class Elsewhere(Servo):
    """It has a physics of its own."""

    def step(self, state: mjx_env.State, action: jax.Array) -> mjx_env.State:
        return state


def servo() -> Any:
    """Return the task, as `generate own_tasks:servo` calls it."""
    return Servo()


def model() -> mujoco.MjModel:
    """Return a model alone."""
    return mujoco.MjModel.from_xml_string(MODEL)


def number() -> int:
    """Return what is no task."""
    return 7
