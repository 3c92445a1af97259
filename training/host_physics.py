"""Playground's tasks with MuJoCo C as their physics, for training on a CPU.

MJX is made for accelerators: on a CPU it takes a minute to compile, and steps many times slower than MuJoCo C. Here a
task's own code (resets, observations, rewards) stays as it is and stays in JAX; what MJX does for it (`make_data`,
`forward`, `step`) is done by MuJoCo C in a callback on the host. The two agree except for contacts that one of them
does not see. `returns.returns` measures with either.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct
from numpy.typing import NDArray

from dynamic_sparsity.generation.environments.replacing import step_replaced

_STATE = ("qpos", "qvel", "qacc_warmstart", "mocap_pos", "mocap_quat")
_DERIVED = (
    "xpos",
    "xmat",
    "xipos",
    "xanchor",
    "geom_xpos",
    "geom_xmat",
    "site_xpos",
    "site_xmat",
    "subtree_com",
    "sensordata",
)


class HostData(struct.PyTreeNode):  # type: ignore[no-untyped-call]
    """The fields of `mjx.Data` that tasks read, of one environment; names, shapes and units are MuJoCo's."""

    qpos: jax.Array
    qvel: jax.Array
    qacc_warmstart: jax.Array
    mocap_pos: jax.Array
    mocap_quat: jax.Array
    ctrl: jax.Array
    time: jax.Array
    xpos: jax.Array
    xmat: jax.Array
    xipos: jax.Array
    xanchor: jax.Array
    geom_xpos: jax.Array
    geom_xmat: jax.Array
    site_xpos: jax.Array
    site_xmat: jax.Array
    subtree_com: jax.Array
    sensordata: jax.Array


class HostPhysics:
    """MuJoCo C for batches of environments of one model; keeps one `MjData` per environment to work in."""

    def __init__(self, model: mujoco.MjModel) -> None:
        """Prepare for a model.

        Args:
            model: MuJoCo's.
        """
        self.model = model
        self._dtype = jnp.zeros(()).dtype
        self._shapes = {name: _shape(name, getattr(mujoco.MjData(model), name)) for name in (*_STATE, *_DERIVED)}
        self._sizes = {name: int(np.prod(shape)) for name, shape in self._shapes.items()}
        self._pool: list[tuple[mujoco.MjData, list[tuple[slice, Any]], list[tuple[slice, Any]]]] = []

    def initial(self, qpos: jax.Array | None, qvel: jax.Array | None, ctrl: jax.Array | None) -> HostData:
        """Return what `mjx_env.make_data` does: a state at rest in the model's default pose, except for what is given.

        Args:
            qpos: Positions, shape (nq,); None for the default pose's.
            qvel: Velocities, shape (nv,); None for zeros.
            ctrl: Controls, shape (nu,); None for zeros.
        """
        data = mujoco.MjData(self.model)
        values = {name: np.asarray(getattr(data, name)).reshape(shape) for name, shape in self._shapes.items()}
        given = {"qpos": qpos, "qvel": qvel, "ctrl": ctrl}
        values |= {"ctrl": np.zeros(self.model.nu), "time": np.zeros(())}
        return HostData(
            **{n: jnp.asarray(v if given.get(n) is None else given[n], self._dtype) for n, v in values.items()}
        )

    def advance(self, data: HostData, ctrl: jax.Array | None, steps: int) -> HostData:
        """Make physics steps with a control; without any step, compute what follows from the state.

        Args:
            data: The state.
            ctrl: Controls, shape (nu,); None for those of `data`.
            steps: Number of physics steps.
        """
        ctrl = data.ctrl if ctrl is None else jnp.asarray(ctrl, self._dtype)
        parts = [getattr(data, name).reshape(-1) for name in _STATE] + [ctrl.reshape(-1)]
        size = sum(self._sizes.values())
        result: Any = jax.ShapeDtypeStruct((size,), self._dtype)  # type: ignore[no-untyped-call]
        flat = jax.pure_callback(
            lambda batch: self._run(np.asarray(batch), steps),
            result,
            jnp.concatenate([part.astype(self._dtype) for part in parts]),
            vmap_method="expand_dims",
        )
        values, start = {}, 0
        for name, count in self._sizes.items():
            values[name] = flat[start : start + count].reshape(self._shapes[name])
            start += count
        time = data.time + steps * self.model.opt.timestep
        return data.replace(ctrl=ctrl, time=time, **values)

    def _run(self, batch: NDArray[Any], steps: int) -> NDArray[Any]:
        rows = batch.reshape(-1, batch.shape[-1])
        out = np.empty((len(rows), sum(self._sizes.values())), batch.dtype)
        while len(self._pool) < len(rows):
            self._pool.append(self._work_space())
        model = self.model
        for row, result, (data, inputs, outputs) in zip(rows, out, self._pool, strict=False):
            for where, view in inputs:
                view[:] = row[where]
            if steps:
                mujoco.mj_step(model, data, steps)
            else:
                mujoco.mj_forward(model, data)
            for where, view in outputs:
                result[where] = view
        return out.reshape(*batch.shape[:-1], -1)

    def _work_space(self) -> tuple[mujoco.MjData, list[tuple[slice, Any]], list[tuple[slice, Any]]]:
        data = mujoco.MjData(self.model)

        def views(names: tuple[str, ...]) -> list[tuple[slice, Any]]:
            found, start = [], 0
            for name in names:
                view = getattr(data, name).reshape(-1)
                if len(view):
                    found.append((slice(start, start + len(view)), view))
                start += len(view)
            return found

        return data, views((*_STATE, "ctrl")), views((*_STATE, *_DERIVED))


def _shape(name: str, value: NDArray[Any]) -> tuple[int, ...]:
    """Return MJX's shape of a field: rotation matrices are 3 by 3."""
    return (len(value), 3, 3) if name.endswith("mat") else value.shape


@contextmanager
def host_physics(model: mujoco.MjModel) -> Iterator[HostPhysics]:
    """Make Playground's tasks of a model run on MuJoCo C, while they are traced.

    Args:
        model: MuJoCo's.
    """
    from mujoco_playground._src import mjx_env

    host = HostPhysics(model)
    environment: Any = mjx_env
    original = environment.make_data

    def make_data(_model: Any, qpos: Any = None, qvel: Any = None, ctrl: Any = None, **_rest: Any) -> HostData:
        return host.initial(qpos, qvel, ctrl)

    def step(_model: Any, data: HostData, action: jax.Array, n_substeps: int = 1) -> HostData:
        return host.advance(data, action, n_substeps)

    with step_replaced(step, lambda _model, data: host.advance(data, None, 0)):
        environment.make_data = make_data
        try:
            yield host
        finally:
            environment.make_data = original
