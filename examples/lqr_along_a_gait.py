"""Hold a walker on its gait by LQR gains, from the exact Jacobians along the whole gait in one call.

    python examples/lqr_along_a_gait.py

The gait is what a policy of this package does, rolled out in MuJoCo C. Every touch-down changes the Jacobians abruptly,
so the gains must change with them. A walker that was pushed is then simulated twice: with the controls of the gait, and
with the gains added. The policy itself plays no part any more.
"""

from __future__ import annotations

import jax
import mujoco
import numpy as np

from dynamic_sparsity import linearize
from dynamic_sparsity.generation.environments.loading import load_environment
from dynamic_sparsity.policies.files import expert_path, load_policy

TASK, SUBSTEPS = "WalkerWalk", 10
WARM_UP, STEPS = 80, 60
"""Control steps of 0.025 s: until it walks, and of the gait."""

PUSH = 0.1
"""Standard deviation of the torso's velocity after the push, m/s and rad/s."""

POSITION, VELOCITY, CONTROL = 1.0, 0.01, 0.1
"""Weights of the regulator's squares: the contacts make velocities jump, so these count less."""


def gait(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """Return states, (steps + 1, nq + nv), and controls, (steps, nu), of the policy's walk."""
    policy = load_policy(expert_path(TASK))
    act = jax.jit(lambda seen: jax.numpy.tanh(policy.distribution(seen)[0]))
    torso = model.body("torso").id
    data = mujoco.MjData(model)
    states, controls = [], []
    for _ in range(WARM_UP + STEPS):
        mujoco.mj_kinematics(model, data)
        turned = data.xmat.reshape(-1, 3, 3)
        seen = np.concatenate([turned[1:, [0, 0], [0, 2]].ravel(), [turned[torso, 2, 2]], data.qvel])
        data.ctrl[:] = np.asarray(act(seen))
        states.append(np.concatenate([data.qpos, data.qvel]))
        controls.append(data.ctrl.copy())
        mujoco.mj_step(model, data, SUBSTEPS)
    states.append(np.concatenate([data.qpos, data.qvel]))
    return np.array(states[WARM_UP:]), np.array(controls[WARM_UP:])


def gains_along(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Return the gains of the time-varying regulator, (steps, nu, dx), by the Riccati recursion."""
    size, nu = A.shape[1], B.shape[2]
    weights = np.diag(np.repeat([POSITION, VELOCITY], size // 2))
    value = weights
    gains = np.zeros((len(A), nu, size))
    for step in reversed(range(len(A))):
        a, b = A[step], B[step]
        gains[step] = -np.linalg.solve(CONTROL * np.eye(nu) + b.T @ value @ b, b.T @ value @ a)
        closed = a + b @ gains[step]
        value = weights + CONTROL * gains[step].T @ gains[step] + closed.T @ value @ closed
    return gains


def follow(
    model: mujoco.MjModel, states: np.ndarray, controls: np.ndarray, gains: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Return the distance of the positions from the gait's after each step, (steps,)."""
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = np.split(start, [model.nq])
    distances = []
    for step in range(len(controls)):
        gap = np.concatenate([data.qpos, data.qvel]) - states[step]
        data.ctrl[:] = np.clip(controls[step] + gains[step] @ gap, -1, 1)
        mujoco.mj_step(model, data, SUBSTEPS)
        distances.append(np.linalg.norm(data.qpos - states[step + 1, : model.nq]))
    return np.array(distances)


def hold_the_gait(pushes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances from the gait, (pushes, steps), without gains and with them."""
    step = linearize(load_environment(TASK).mj_model, SUBSTEPS, max_contacts=12)
    model, nq = step.model, step.model.nq
    states, controls = gait(model)
    _, A, B = (np.asarray(x) for x in step(states[:-1, :nq], states[:-1, nq:], controls))
    gains = gains_along(A, B)
    starts = np.tile(states[0], (pushes, 1))
    starts[:, nq : nq + 3] += PUSH * np.random.default_rng(0).normal(size=(pushes, 3))
    without, held = (
        np.array([follow(model, states, controls, chosen, start) for start in starts])
        for chosen in (np.zeros_like(gains), gains)
    )
    return without, held


def main() -> None:
    """Compare, and say how it went."""
    jax.config.update("jax_enable_x64", True)
    without, held = (np.median(x, axis=0) for x in hold_the_gait())
    for step in (0, 9, 19, 39, STEPS - 1):
        print(f"median distance after {step + 1:2d} steps: {without[step]:.3f} without gains, {held[step]:.3f} with")


if __name__ == "__main__":
    main()
