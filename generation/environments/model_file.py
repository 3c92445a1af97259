"""Tasks of the user's own: a MuJoCo model in a file, or an environment that a Python function makes.

A model alone becomes a task without reward: an action spans each actuator's control range, episodes begin near one of
the model's keyframes, or near its initial position if it has none.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx
from mujoco_playground._src import mjx_env

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation.task_sources import is_function

CONTROL_DT: Final = 0.02
"""Duration of a control step of a model alone, s; a whole number of its physics steps, at least one."""

SPREAD: Final = 0.1
"""By how much joints differ where episodes begin: share of a limited joint's range, or m, rad, m/s, rad/s."""


def load(source: str) -> Any:
    """Return the environment of a source.

    Args:
        source: Path of a model's file, or `module:function`.

    Raises:
        InvalidSettingError: It can't be read or called, or does not give a model or an environment.
    """
    made = _call(source) if is_function(source) else _read(Path(source))
    if isinstance(made, mujoco.MjModel):
        return ModelEnvironment(made)
    missing = [
        name for name in ("mj_model", "reset", "step", "action_size", "n_substeps", "dt") if not hasattr(made, name)
    ]
    if missing:
        raise InvalidSettingError(
            f"{source} returns a {type(made).__name__}, without {', '.join(missing)}; it must return a "
            "mujoco.MjModel or an environment like those of MuJoCo Playground (MjxEnv)."
        )
    return made


def _call(source: str) -> Any:
    module, _, name = source.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidSettingError(
            f"{source} can't be imported ({error}); it must be MODULE:FUNCTION, with the module on PYTHONPATH."
        ) from error
    return function()


def _read(path: Path) -> mujoco.MjModel:
    read = mujoco.MjModel.from_binary_path if path.suffix == ".mjb" else mujoco.MjModel.from_xml_path
    try:
        return read(str(path))
    except ValueError as error:
        raise InvalidSettingError(f"{path} is no model that MuJoCo can read: {error}") from error


class ModelEnvironment:
    """A model alone as a task, in the form of Playground's environments.

    Attributes:
        mj_model: The model.
        action_size: One number for each actuator.
        n_substeps: Physics steps of a control step.
        dt: Duration of a control step, s.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        """Make a task of a model.

        Args:
            model: The model.

        Raises:
            InvalidSettingError: It has no joints.
        """
        if not model.nv:
            raise InvalidSettingError("The model has no joints, so there is no state to differentiate by.")
        self.mj_model, self.action_size = model, model.nu
        self.n_substeps = max(1, round(CONTROL_DT / model.opt.timestep))
        self.dt = self.n_substeps * float(model.opt.timestep)
        limited = model.actuator_ctrllimited.astype(bool)
        low, high = np.where(limited, model.actuator_ctrlrange.T, [[-1.0], [1.0]])
        self._middle, self._half = (low + high) / 2, (high - low) / 2

    def reset(self, key: jax.Array) -> mjx_env.State:
        """Begin an episode.

        Args:
            key: A random key.
        """
        model = self.mj_model
        begins = np.concatenate([model.key_qpos, model.key_qvel], axis=1) if model.nkey else None
        if begins is None:
            begins = np.concatenate([model.qpos0, np.zeros(model.nv)])[None]
        which, by_position, by_velocity = jax.random.split(key, 3)
        chosen = jnp.asarray(begins)[jax.random.randint(which, (), 0, len(begins))]
        qpos, qvel = chosen[: model.nq], chosen[model.nq :]
        scalar = np.isin(model.jnt_type, (mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE))
        at, dof = model.jnt_qposadr[scalar], model.jnt_dofadr[scalar]
        limited = model.jnt_limited[scalar].astype(bool)
        low, high = np.where(limited, model.jnt_range[scalar].T, [[-np.inf], [np.inf]])
        width = np.where(limited, high - low, 1.0) * SPREAD
        moved = qpos[at] + width * jax.random.uniform(by_position, (len(at),), minval=-1.0)
        qpos = qpos.at[at].set(jnp.clip(moved, low, high))
        qvel = qvel.at[dof].add(SPREAD * jax.random.uniform(by_velocity, (len(at),), minval=-1.0))
        data = mjx.make_data(model, impl="jax").replace(qpos=qpos, qvel=qvel)
        return mjx_env.State(data, self._observation(data), jnp.zeros(()), jnp.zeros(()), {}, {})

    def step(self, state: mjx_env.State, action: jax.Array) -> mjx_env.State:
        """Make a control step.

        Args:
            state: The state.
            action: Inside (-1, 1), which spans each actuator's control range; the control itself without a range.
        """
        data = mjx_env.step(None, state.data, self._middle + self._half * action, self.n_substeps)
        return state.replace(data=data, obs=self._observation(data))

    @staticmethod
    def _observation(data: mjx.Data) -> jax.Array:
        return jnp.concatenate([data.qpos, data.qvel])
