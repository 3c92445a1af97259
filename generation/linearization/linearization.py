"""A model's control step and its exact Jacobians, for trajectory optimisation, control and learning."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from dynamic_sparsity.compilation_cache import keep_compiled_programs
from dynamic_sparsity.errors import DynamicSparsityWarning
from dynamic_sparsity.generation import coordinate_names, jax_runtime, tasks, xla_flags
from dynamic_sparsity.generation.jacobians import engines
from dynamic_sparsity.generation.jax_runtime import require_float64
from dynamic_sparsity.generation.linearization import agreement, program
from dynamic_sparsity.generation.linearization.batching import Batched, traced
from dynamic_sparsity.generation.linearization.differentiable import differentiable, product
from dynamic_sparsity.generation.linearization.inputs import Inputs, checked_inputs
from dynamic_sparsity.generation.physics import manifold
from dynamic_sparsity.generation.physics.model import physics_from_model


@dataclass(frozen=True)
class Options:
    """How a model is linearized; `linearize` explains them.

    Attributes:
        substeps: Physics steps of a control step.
        coordinates: Of A and B.
        details: Whether contacts and flags are returned.
        max_contacts: Contact points of each dimension that may touch at once; None for all.
        checked_rows: Rows held against MuJoCo C.
    """

    substeps: int
    coordinates: program.Coordinates
    details: bool
    max_contacts: int | None
    checked_rows: int


class Linearization:
    """A control step with its Jacobians; made by `linearize`. All numbers are float64, all functions take batches.

    In what follows qpos has shape (…, nq), qvel (…, nv) and ctrl (…, nu), and their leading axes are broadcast. The
    forces are `mocap_pos`, `mocap_quat`, `qfrc_applied` and `xfrc_applied` of `mjData`, with leading axes; without them
    mocap bodies are where the model has them, and no force is applied. dx is 2 nv in tangent coordinates, nq + nv in
    ambient ones. All of them raise `InvalidSettingError` where an array does not fit the model.

    Attributes:
        model: The model with the options of the step.
        options: How it is linearized.
        engine: How the Jacobians are computed.
        state_names: Names of the numbers of a state (qpos, qvel).
        tangent_names: Names of its tangent coordinates.
        ctrl_names: Names of the actuators.
        constraint_names: Names of the constraints in `Details.active`.
        contact_pairs: Names of the two geoms of each pair in `Details.contact_distance`.
    """

    def __init__(self, model: mujoco.MjModel, options: Options) -> None:
        """Prepare a model.

        Args:
            model: MuJoCo's model; it is copied.
            options: How to linearize it.
        """
        xla_flags.check()
        keep_compiled_programs()
        model = copy.copy(model)
        # Sensors change no step, and MJX does not have all of them.
        model.sensor_type[:] = mujoco.mjtSensor.mjSENS_CLOCK
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR
        duration = options.substeps * float(model.opt.timestep)
        task = tasks.Task("", "", model.nq, model.nv, model.nu, options.substeps, duration)
        slots = None if options.max_contacts is None else dict.fromkeys((1, 3), options.max_contacts)
        self._physics = physics = physics_from_model(model, task, "converged", slots)
        self.model, self.options, self.engine = physics.mj_model, options, engines.description(physics)
        self.state_names = tuple(coordinate_names.state_names(model))
        self.tangent_names = tuple(coordinate_names.tangent_names(model))
        self.ctrl_names = tuple(coordinate_names.actuator_names(model))
        self.constraint_names = tuple(item.name for item in physics.constraints.items)
        self.contact_pairs = physics.constraints.pairs
        self._unchecked = options.checked_rows
        tangent = Batched(program.linearized(physics, "tangent"))
        self._rows = tangent if options.coordinates == "tangent" else Batched(program.linearized(physics, "ambient"))
        self._difference = jax.jit(jnp.vectorize(self._difference_of_row, signature="(n),(n)->(m)"))
        self._next_state = differentiable(physics.blocks, Batched(program.stepped(physics)), tangent)

    def __call__(self, qpos: Any, qvel: Any, ctrl: Any, **forces: Any) -> Any:
        """Step, and differentiate.

        Args:
            qpos: Positions; quaternions are normalised first.
            qvel: Velocities.
            ctrl: Controls.
            **forces: The forces.

        Returns:
            next_state (qpos, qvel), shape (…, nq + nv); A = ∂next_state/∂state, shape (…, dx, dx); B =
            ∂next_state/∂ctrl, shape (…, dx, nu); and `Details` if they were asked for.
        """
        inputs, row = self._row(qpos, qvel, ctrl, forces)
        if self._unchecked and not traced(row):
            self._check_first(inputs, row)
        return tuple(row) if self.options.details else (row.next_state, row.A, row.B)

    def next_state(self, qpos: Any, qvel: Any, ctrl: Any, **forces: Any) -> jax.Array:
        """Step; JAX differentiates it by the exact Jacobians, forward and in reverse.

        `jax.grad` through a rollout (`jax.lax.scan`) keeps A and B of every step. A quaternion's four numbers are
        independent there, and the step that normalises them is what is differentiated. There is no derivative by the
        forces; to ask for one is an error.

        Args:
            qpos: Positions.
            qvel: Velocities.
            ctrl: Controls.
            **forces: The forces.

        Returns:
            (qpos, qvel), shape (…, nq + nv).
        """
        return self._next_state(self._inputs(qpos, qvel, ctrl, forces))

    def jvp(
        self, qpos: Any, qvel: Any, ctrl: Any, d_state: Any, d_ctrl: Any, **forces: Any
    ) -> tuple[jax.Array, jax.Array]:
        """Return next_state, and A d_state + B d_ctrl.

        Args:
            qpos: Positions.
            qvel: Velocities.
            ctrl: Controls.
            d_state: A change of the state, shape (…, dx).
            d_ctrl: A change of the controls, shape (…, nu).
            **forces: The forces.
        """
        _, row = self._row(qpos, qvel, ctrl, forces)
        return row.next_state, product(row.A, d_state) + product(row.B, d_ctrl)

    def vjp(
        self, qpos: Any, qvel: Any, ctrl: Any, cotangent: Any, **forces: Any
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return next_state, Aᵀ cotangent and Bᵀ cotangent.

        Args:
            qpos: Positions.
            qvel: Velocities.
            ctrl: Controls.
            cotangent: Derivative of a number by the next state, shape (…, dx).
            **forces: The forces.
        """
        _, row = self._row(qpos, qvel, ctrl, forces)
        by_state, by_ctrl = (product(jnp.swapaxes(matrix, -1, -2), cotangent) for matrix in (row.A, row.B))
        return row.next_state, by_state, by_ctrl

    def jit(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compile a function that calls this one: `jax.jit` with compiler options that make it fast on a CPU.

        Args:
            function: Of positional arguments.
        """
        return jax_runtime.jit(function)

    def tangent_difference(self, start: Any, end: Any) -> jax.Array:
        """Return the tangent from one state to another, which is what A multiplies in tangent coordinates.

        Args:
            start: (qpos, qvel), shape (…, nq + nv).
            end: Likewise.

        Returns:
            Shape (…, 2 nv).

        Source: `mj_differentiatePos`.
        """
        require_float64()
        first, second = jnp.broadcast_arrays(jnp.asarray(start, jnp.float64), jnp.asarray(end, jnp.float64))
        moved: jax.Array = self._difference(first, second)
        return moved

    def compare_with_mujoco(self, qpos: Any, qvel: Any, ctrl: Any, **forces: Any) -> agreement.Agreement:
        """Step rows here and with MuJoCo C, and compare the next states.

        Args:
            qpos: Positions.
            qvel: Velocities.
            ctrl: Controls.
            **forces: The forces.
        """
        return self._compare(*self._row(qpos, qvel, ctrl, forces))

    def _difference_of_row(self, start: jax.Array, end: jax.Array) -> jax.Array:
        nq = self.model.nq
        moved = manifold.difference(self._physics.blocks, start[:nq], end[:nq])
        return jnp.concatenate([moved, end[nq:] - start[nq:]])

    def _inputs(self, qpos: Any, qvel: Any, ctrl: Any, forces: dict[str, Any]) -> Inputs:
        require_float64()
        return checked_inputs(self.model, {"qpos": qpos, "qvel": qvel, "ctrl": ctrl} | forces)

    def _row(self, qpos: Any, qvel: Any, ctrl: Any, forces: dict[str, Any]) -> tuple[Inputs, program.Row]:
        inputs = self._inputs(qpos, qvel, ctrl, forces)
        return inputs, self._rows(inputs)

    def _compare(self, inputs: Inputs, row: program.Row, most: int | None = None) -> agreement.Agreement:
        leading = inputs.qpos.ndim - 1

        count = math.prod(inputs.qpos.shape[:-1])

        def flat(array: Any) -> Any:
            return np.asarray(array).reshape(count, *array.shape[leading:])[:most]

        arrays = {name: flat(value) for name, value in inputs.given.items()}
        points = flat(row.details.contact_count)
        return agreement.compare(self._physics, self.state_names, arrays, flat(row.next_state), points)

    def _check_first(self, inputs: Inputs, row: program.Row) -> None:
        found = self._compare(inputs, row, self._unchecked)
        self._unchecked -= len(found.difference)
        report = found.report()
        if report:
            warnings.warn(report, DynamicSparsityWarning, stacklevel=3)
