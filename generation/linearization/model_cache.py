"""`linearize`, which finds a model that comes again with its compiled programs."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import mujoco
import numpy as np

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation.jax_runtime import require_float64
from dynamic_sparsity.generation.linearization.linearization import Linearization, Options
from dynamic_sparsity.generation.linearization.program import COORDINATES, Coordinates

CHECKED_ROWS = 8
"""Rows that are compared with MuJoCo C by default: the first that are computed."""

KEPT = 16
"""Linearizations that are kept, the latest."""

_kept: OrderedDict[tuple[str, Options], Linearization] = OrderedDict()


def model_hash(model: mujoco.MjModel) -> str:
    """Return the SHA-256 of a compiled model.

    Args:
        model: MuJoCo's model.
    """
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return hashlib.sha256(buffer.tobytes()).hexdigest()


def linearize(
    model: mujoco.MjModel,
    substeps: int = 1,
    *,
    coordinates: Coordinates = "tangent",
    details: bool = False,
    max_contacts: int | None = None,
    checked_rows: int = CHECKED_ROWS,
) -> Linearization:
    """Return a model's control step with its exact Jacobians, as a function of arrays.

    The step is MuJoCo's with the constraint problem solved to its minimum and no warm start: a function of state and
    control alone. It is compiled at the first call with arrays of a new size. A model that comes again with the same
    arguments is found by its hash, with its compiled programs; other processes find these on disk.

    Args:
        model: MuJoCo's model; it is copied.
        substeps: Physics steps of a control step, with one control.
        coordinates: Of A and B: "tangent", with three angles for a quaternion as `mjd_transitionFD` has it, or
            "ambient", with its four numbers.
        details: Return contacts and flags as well.
        max_contacts: Contact points of each dimension that may touch at once, in a model of planes, spheres and
            capsules: fewer is faster, and more of them than that is flagged (`too_many_contacts`). None for as many as
            there can be.
        checked_rows: Rows that are stepped by MuJoCo C as well, the first that are computed; if one has another next
            state there, a warning says so. 0 for none.

    Raises:
        InvalidSettingError: An argument is out of range, or JAX computes in float32.
        UnsupportedModelError: The model has a feature whose Jacobian is not implemented; the message names it.
    """
    if not isinstance(model, mujoco.MjModel):
        raise InvalidSettingError(
            f"model is a {type(model).__name__}; it must be a mujoco.MjModel, as from MjModel.from_xml_path."
        )
    for name, value, least in (("substeps", substeps, 1), ("checked_rows", checked_rows, 0)):
        _check_count(name, value, least)
    if max_contacts is not None:
        _check_count("max_contacts", max_contacts, 1)
    if coordinates not in COORDINATES:
        raise InvalidSettingError(f"coordinates is {coordinates!r}; it must be one of: {', '.join(COORDINATES)}.")
    if not model.nv:
        raise InvalidSettingError("The model has no joints, so there is no state to differentiate by.")
    require_float64()
    options = Options(int(substeps), coordinates, bool(details), max_contacts, int(checked_rows))
    key = model_hash(model), options
    if key not in _kept:
        _kept[key] = Linearization(model, options)
    _kept.move_to_end(key)
    while len(_kept) > KEPT:
        _kept.popitem(last=False)
    return _kept[key]


def _check_count(name: str, value: object, least: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise InvalidSettingError(f"{name} is {value!r}; it must be a whole number, at least {least}.")
