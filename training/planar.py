"""Closed-form dynamics of small planar mechanisms, for simulating thousands of futures side by side.

Pendulum, cart-pole and acrobot are chains of at most two joints in the x-z plane, and the episodes that matter touch no
limit. MJX steps them in microseconds, a closed form in a fraction of that. The equation of motion is Lagrange's,

    M(q) a = Bᵀu - d ⊙ v - Σᵢ mᵢ Jᵢᵀ (J̇ᵢ v - g),      M = Σᵢ mᵢ Jᵢᵀ Jᵢ + Iᵢ φᵢ φᵢᵀ + diag(armature),

with Jᵢ the Jacobian of the centre of mass of body i and φᵢ that of its angle; the integrator is MuJoCo's semi-implicit
Euler without implicit damping. All numbers come from the MuJoCo model, and a test compares steps with MuJoCo C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from dynamic_sparsity.errors import UnsupportedModelError

Scalars = Sequence[jax.Array]
"""One scalar per joint: arithmetic on them is fused into one loop over a batch."""

Frame = tuple[jax.Array, jax.Array, jax.Array]
"""x, z and angle."""

_EAST = np.array([1.0, 0.0, 0.0])
_HINGE_AXIS = np.array([0.0, 1.0, 0.0])


@dataclass(frozen=True)
class Link:
    """One moving body of a chain, with the joint that moves it against the body before it.

    Attributes:
        slides: Whether the joint slides along x; otherwise it turns about y.
        offset: Position of the joint in the frame of the body before, x and z, metres.
        centre: Centre of mass in the body's own frame, x and z, metres.
        mass: Mass, kilograms.
        inertia: About y through the centre of mass, kg m².
        damping: Of the joint, N m s or N s/m.
        armature: Of the joint, kg m² or kg.
        gear: Force of the motor on the joint at control 1; 0 without a motor.
    """

    slides: bool
    offset: tuple[float, float]
    centre: tuple[float, float]
    mass: float
    inertia: float
    damping: float
    armature: float
    gear: float


@dataclass(frozen=True)
class Chain:
    """A planar mechanism of one or two joints and one motor.

    Attributes:
        links: From the base on.
        gravity: Downwards, m/s².
        timestep: Of a physics step, seconds.
        substeps: Physics steps in a control step.
    """

    links: tuple[Link, ...]
    gravity: float
    timestep: float
    substeps: int

    def frames(self, q: Scalars) -> list[Frame]:
        """Return the frame of every link: position x and z of its origin, and its angle from the vertical.

        Args:
            q: Joint positions, one scalar per joint.
        """
        x = z = angle = jnp.zeros_like(q[0])
        found = []
        for link, value in zip(self.links, q, strict=True):
            x, z = placed((x, z, angle), link.offset)
            x, angle = (x + value, angle) if link.slides else (x, angle + value)
            found.append((x, z, angle))
        return found

    def centres(self, q: Scalars) -> list[Frame]:
        """Return the position of every link's centre of mass, and the link's angle.

        Args:
            q: Joint positions.
        """
        frames = self.frames(q)
        return [(*placed(frame, link.centre), frame[2]) for link, frame in zip(self.links, frames, strict=True)]

    def energy(self, q: Scalars, v: Scalars) -> jax.Array:
        """Return kinetic and potential energy of what turns, in joules: a cart's own motion does not count.

        Args:
            q: Joint positions.
            v: Joint velocities.
        """
        turning = [jnp.zeros_like(one) if link.slides else one for link, one in zip(self.links, v, strict=True)]
        total = jnp.zeros_like(q[0])
        for link, (_, z, _), (dx, dz, turn) in zip(self.links, self.centres(q), self._moved(q, turning), strict=True):
            total += link.mass * (0.5 * (dx**2 + dz**2) + self.gravity * z) + 0.5 * link.inertia * turn**2
        return total

    def step(self, q: jax.Array, v: jax.Array, control: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Make one control step.

        Args:
            q: Joint positions, shape (joints,).
            v: Joint velocities, shape (joints,).
            control: Of the motor, in [-1, 1], shape ().

        Returns:
            Positions and velocities after it.
        """
        at, speed = list(q), list(v)
        for _ in range(self.substeps):
            acceleration = self._acceleration(at, speed, control)
            speed = [old + self.timestep * a for old, a in zip(speed, acceleration, strict=True)]
            at = [old + self.timestep * new for old, new in zip(at, speed, strict=True)]
        return jnp.stack(at), jnp.stack(speed)

    def _moved(self, q: Scalars, v: Scalars) -> list[Frame]:
        """Return the velocities of what `centres` gives."""
        moved: list[Frame] = jax.jvp(lambda *at: self.centres(at), tuple(q), tuple(v))[1]
        return moved

    def _acceleration(self, q: Scalars, v: Scalars, control: jax.Array) -> list[jax.Array]:
        zero, one = jnp.zeros_like(q[0]), jnp.ones_like(q[0])
        count = range(len(self.links))
        columns = [self._moved(q, [one if j == i else zero for j in count]) for i in count]
        bend = jax.jvp(lambda *at: self._moved(at, v), tuple(q), tuple(v))[1]
        weights = [(link.mass, link.mass, link.inertia) for link in self.links]
        pull = [(b[0], b[1] + self.gravity, b[2]) for b in bend]
        force = [
            control * link.gear - link.damping * v[i] - _product(weights, columns[i], pull)
            for i, link in enumerate(self.links)
        ]
        if len(force) == 1:
            return [force[0] / (_product(weights, columns[0], columns[0]) + self.links[0].armature)]
        a = _product(weights, columns[0], columns[0]) + self.links[0].armature
        b = _product(weights, columns[0], columns[1])
        c = _product(weights, columns[1], columns[1]) + self.links[1].armature
        determinant = a * c - b * b
        return [(c * force[0] - b * force[1]) / determinant, (a * force[1] - b * force[0]) / determinant]


def _product(weights: Sequence[Sequence[float]], left: Any, right: Any) -> jax.Array:
    """Sum over links and components of weight · left · right."""
    terms = [
        weight * a * b
        for row, ours, theirs in zip(weights, left, right, strict=True)
        for weight, a, b in zip(row, ours, theirs, strict=True)
    ]
    total: jax.Array = sum(terms[1:], terms[0])
    return total


def chain(model: mujoco.MjModel, substeps: int) -> Chain:
    """Read a planar chain from a model.

    Args:
        model: MuJoCo's.
        substeps: Physics steps in a control step.

    Raises:
        UnsupportedModelError: The model is no chain of one or two joints along x or about y with one motor.
    """
    plain = model.njnt in (1, 2) and model.nv == model.njnt and model.nu == 1
    if not plain or any(not np.allclose(axis, _axis(model, i)) for i, axis in enumerate(model.jnt_axis)):
        raise UnsupportedModelError(
            f"The model has {model.njnt} joints and {model.nu} motors; closed forms are there for chains of one or two "
            "joints that slide along x or turn about y, with one motor."
        )
    links = []
    for joint in range(model.njnt):
        body = int(model.jnt_bodyid[joint])
        driven = int(model.actuator_trnid[0, 0]) == joint
        # The base's place does not matter: gravity is the same everywhere.
        offset = model.body_pos[body] if joint else np.zeros(3)
        links.append(
            Link(
                slides=bool(model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE),
                offset=(float(offset[0]), float(offset[2])),
                centre=(float(model.body_ipos[body, 0]), float(model.body_ipos[body, 2])),
                mass=float(model.body_mass[body]),
                inertia=_inertia_about_y(model, body),
                damping=float(model.dof_damping[joint]),
                armature=float(model.dof_armature[joint]),
                gear=float(model.actuator_gear[0, 0]) if driven else 0.0,
            )
        )
    return Chain(tuple(links), float(-model.opt.gravity[2]), float(model.opt.timestep), substeps)


def _axis(model: mujoco.MjModel, joint: int) -> np.ndarray:
    return _EAST if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE else _HINGE_AXIS


def _inertia_about_y(model: mujoco.MjModel, body: int) -> float:
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, model.body_iquat[body])
    axes = turn.reshape(3, 3)
    return float(axes[1] @ np.diag(model.body_inertia[body]) @ axes[1])


def placed(frame: Frame, offset: tuple[float, float]) -> tuple[jax.Array, jax.Array]:
    """Return where a point of a frame is; a positive angle turns z towards x, as a hinge about y does.

    Args:
        frame: Of a link, as `Chain.frames` gives it.
        offset: The point in it, x and z, metres.
    """
    x, z, angle = frame
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    return x + cosine * offset[0] + sine * offset[1], z - sine * offset[0] + cosine * offset[1]
