"""Swing a pole on a cart up by iLQR, with exact A and B of the whole trajectory from one call.

    python examples/ilqr_swing_up.py

iLQR alternates two passes. Backward: a quadratic model of the cost to go, by A and B along the trajectory, gives a
better control and a feedback gain for every step. Forward: roll out with both, with shorter steps until the cost falls.
MuJoCo C rolls out; its step is the one that `linearize` differentiates.

Source: Tassa, Erez, Todorov, "Synthesis and stabilization of complex behaviors through online trajectory optimization",
IROS 2012.
"""

from __future__ import annotations

import jax
import mujoco
import numpy as np

from dynamic_sparsity import linearize

MODEL = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <body>
      <joint name="slider" type="slide" axis="1 0 0" damping="0.1"/>
      <geom type="box" size=".1 .05 .05" mass="1" contype="0" conaffinity="0"/>
      <body>
        <joint name="hinge" type="hinge" axis="0 1 0" damping="0.002"/>
        <geom type="capsule" fromto="0 0 0 0 0 .6" size=".03" mass=".2" contype="0" conaffinity="0"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="slider" gear="10" ctrlrange="-2 2"/></actuator>
</mujoco>
"""

STEPS, SUBSTEPS = 60, 4
"""Control steps of 0.04 s."""

GOAL = np.zeros(4)
"""Upright, in the middle, at rest; the pole hangs at an angle of π."""

RUNNING, FINAL, CONTROL = np.array([0.05, 0.2, 0.002, 0.002]), np.array([50.0, 500.0, 10.0, 10.0]), 0.02
"""Weights of the squares of the state in every step and at the end, and of the control."""


def cost(states: np.ndarray, controls: np.ndarray) -> float:
    """Return the cost of a trajectory, (steps + 1, 4) and (steps, 1)."""
    gaps = states - GOAL
    return float(((gaps[:-1] ** 2) @ RUNNING).sum() + (gaps[-1] ** 2) @ FINAL + CONTROL * (controls**2).sum())


def rollout(model: mujoco.MjModel, start: np.ndarray, control) -> tuple[np.ndarray, np.ndarray]:
    """Step with MuJoCo C; `control(step, state)` chooses."""
    data = mujoco.MjData(model)
    states, controls = [start], []
    data.qpos[:], data.qvel[:] = start[: model.nq], start[model.nq :]
    for step in range(STEPS):
        controls.append(np.clip(control(step, states[-1]), -2, 2))
        data.ctrl[:] = controls[-1]
        mujoco.mj_step(model, data, SUBSTEPS)
        states.append(np.concatenate([data.qpos, data.qvel]))
    return np.array(states), np.array(controls)


def backward(A, B, states, controls, damping) -> tuple[np.ndarray, np.ndarray]:
    """Return the changes of controls, (steps, 1), and the feedback gains, (steps, 1, 4)."""
    gap = states - GOAL
    slope, curvature = 2 * FINAL * gap[-1], np.diag(2 * FINAL)
    changes, gains = np.zeros_like(controls), np.zeros((STEPS, 1, 4))
    for step in reversed(range(STEPS)):
        a, b = A[step], B[step]
        by_state = 2 * RUNNING * gap[step] + a.T @ slope
        by_control = 2 * CONTROL * controls[step] + b.T @ slope
        both = np.diag(2 * RUNNING) + a.T @ curvature @ a
        cross = b.T @ curvature @ a
        square = 2 * CONTROL * np.eye(1) + b.T @ curvature @ b + damping * np.eye(1)
        changes[step] = -np.linalg.solve(square, by_control)
        gains[step] = -np.linalg.solve(square, cross)
        slope = by_state + cross.T @ changes[step]
        curvature = both + cross.T @ gains[step]
    return changes, gains


def _improved(states, controls, changes, gains):
    return lambda step, state: controls[step] + changes[step] + gains[step] @ (state - states[step])


def swing_up(iterations: int = 80) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Return the trajectory's states and controls, and the cost after each iteration."""
    model = mujoco.MjModel.from_xml_string(MODEL)
    step = linearize(model, substeps=SUBSTEPS)
    model = step.model  # with the solver's options of the step that is differentiated
    start = np.array([0.0, np.pi, 0.0, 0.0])
    states, controls = rollout(model, start, lambda step, _: [0.3 * np.sin(0.16 * step)])
    costs, damping = [cost(states, controls)], 1.0
    for _ in range(iterations):
        _, A, B = step(states[:-1, :2], states[:-1, 2:], controls)
        changes, gains = backward(np.asarray(A), np.asarray(B), states, controls, damping)
        for size in 0.5 ** np.arange(8):
            tried = rollout(model, start, _improved(states, controls, size * changes, gains))
            if cost(*tried) < costs[-1]:
                (states, controls), damping = tried, max(damping / 2, 1e-6)
                break
        else:
            damping *= 8
            if damping > 1e8:
                break
        costs.append(cost(states, controls))
    return states, controls, costs


def main() -> None:
    """Swing up, and say how it went."""
    jax.config.update("jax_enable_x64", True)
    states, controls, costs = swing_up()
    print(f"cost {costs[0]:.1f} -> {costs[-1]:.2f} in {len(costs) - 1} iterations")
    x, angle, v, w = states[-1]
    print(f"at the end: cart {x:+.3f} m, pole {angle:+.4f} rad, {v:+.3f} m/s, {w:+.3f} rad/s")
    print(f"largest control {np.abs(controls).max():.2f}")


if __name__ == "__main__":
    main()
