"""What a step depends on, checked against a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from dynamic_sparsity.errors import InvalidSettingError


class Inputs(NamedTuple):
    """What a step depends on; float64, with leading batch axes. None stands for the model's own, or for none.

    Attributes:
        qpos: Positions, shape (…, nq).
        qvel: Velocities, shape (…, nv).
        ctrl: Controls, held for all substeps, shape (…, nu).
        mocap_pos: Positions of mocap bodies, m, shape (…, nmocap, 3).
        mocap_quat: Their orientations, shape (…, nmocap, 4).
        qfrc_applied: Generalized forces, N or N·m, shape (…, nv).
        xfrc_applied: Forces and torques at the bodies' centres of mass, world's frame, shape (…, nbody, 6).
    """

    qpos: jax.Array
    qvel: jax.Array
    ctrl: jax.Array
    mocap_pos: jax.Array | None = None
    mocap_quat: jax.Array | None = None
    qfrc_applied: jax.Array | None = None
    xfrc_applied: jax.Array | None = None

    @property
    def given(self) -> dict[str, jax.Array]:
        """The arrays that are there, by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def _shapes(model: mujoco.MjModel) -> dict[str, tuple[int, ...]]:
    return {
        "qpos": (model.nq,),
        "qvel": (model.nv,),
        "ctrl": (model.nu,),
        "mocap_pos": (model.nmocap, 3),
        "mocap_quat": (model.nmocap, 4),
        "qfrc_applied": (model.nv,),
        "xfrc_applied": (model.nbody, 6),
    }


def checked_inputs(model: mujoco.MjModel, values: Mapping[str, Any]) -> Inputs:
    """Return inputs whose leading axes are broadcast to each other.

    Args:
        model: MuJoCo's model.
        values: Arrays by name; None for those that are not given.

    Raises:
        InvalidSettingError: A name or shape does not fit the model.
    """
    shapes = _shapes(model)
    arrays, leading = {}, []
    for name, value in values.items():
        if name not in shapes:
            raise InvalidSettingError(f"There is no argument {name!r}; there are {', '.join(shapes)}.")
        if value is None:
            continue
        array, own = jnp.asarray(value, jnp.float64), shapes[name]
        axes = array.ndim - len(own)
        if axes < 0 or array.shape[axes:] != own:
            wanted = ", ".join(map(str, own))
            raise InvalidSettingError(f"{name} has shape {array.shape}; it must be (…, {wanted}) for this model.")
        arrays[name] = array
        leading.append(array.shape[:axes])
    try:
        batch = np.broadcast_shapes(*leading)
    except ValueError as error:
        listed = ", ".join(f"{name} {shape}" for name, shape in zip(arrays, leading, strict=True))
        raise InvalidSettingError(f"The leading axes do not fit each other: {listed}.") from error
    if 0 in batch:
        raise InvalidSettingError(f"The leading axes are {batch}: there are no rows.")
    return Inputs(**{name: jnp.broadcast_to(array, batch + shapes[name]) for name, array in arrays.items()})
