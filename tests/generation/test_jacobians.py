"""The Jacobians against MuJoCo C, finite differences, closed forms and the paper's counts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from jacobian_samples import jacobian_samples, run
from mujoco import mjx
from states import varied_states

from dynamic_sparsity.generation import jax_runtime, tasks
from dynamic_sparsity.generation.jacobians import engines, residual
from dynamic_sparsity.generation.physics import constraint_solver
from dynamic_sparsity.generation.physics.model import load_physics, physics_from_model
from dynamic_sparsity.generation.physics.step import forward, integrated_acceleration
from dynamic_sparsity.generation.settings import MASK_THRESHOLD
from dynamic_sparsity.generation.verification import finite_differences
from dynamic_sparsity.generation.verification.deep import MjxDifferenceOracle

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_promotion")]

FIRST = ("ball_in_cup", "cartpole", "cheetah", "finger_spin", "fish", "reacher_hard")
"""Contacts, limits, tendons, friction loss, a free joint, springs and a medium: programs that other tests of this file
need as well; `--exhaustive` tries every dynamics."""


def of_groups(names):
    """Cases of a test, those beyond the first ones for `--exhaustive`."""
    return [pytest.param(name, marks=[] if name in FIRST else [pytest.mark.exhaustive]) for name in names]


GROUPS = of_groups(sorted(tasks.group_representatives()))

# Paper, Table 1: entries that are zero in every sample, of J_s and J_a.
TABLE_1 = {
    "ball_in_cup": (0, 0),
    "cartpole": (0, 0),
    "cheetah": (17, 0),
    "reacher_hard": (3, 0),
    "finger_spin": (0, 0),
    "finger_turn": (0, 0),
    "walker": (17, 0),
    "swimmer6": (30, 0),
}


def errors_against_c(physics, state, action, next_state, jacobian, rows):
    """Relative errors on rows that are not next to a switch; all next states must be MuJoCo C's."""
    reference = finite_differences.MujocoOracle(physics)
    errors = []
    for row in rows:
        truth = reference.reference(state[row], action[row])
        assert finite_differences.same_next_state(next_state[row], truth.next_state)
        if truth.disagreement < finite_differences.AGREEMENT:
            errors.append(finite_differences.relative_error(jacobian[row], truth.jacobian))
    return np.array(errors)


@pytest.mark.parametrize("group", GROUPS)
def test_jacobians_are_mujoco_c_s(group):
    data = jacobian_samples(group)
    rows = range(32 if data.physics.task.nv > 10 else 96)
    errors = errors_against_c(data.physics, data.state, data.action, data.next_state, data.jacobian, rows)
    assert len(errors) >= len(rows) * 0.85
    assert np.median(errors) < 1e-6
    assert np.quantile(errors, 0.99) < 1e-3
    # An engine that loses the tangents of resting contacts is off by 100 % there; no row may be.
    assert errors.max() < 1e-2


@pytest.mark.parametrize("group", GROUPS)
def test_every_row_converges(group):
    data = jacobian_samples(group)
    assert np.max(data.info.residual) < constraint_solver.RESIDUAL_TOLERANCE
    assert np.max(data.info.iterations) <= 20
    assert np.isfinite(data.jacobian).all()


@pytest.mark.parametrize("group", GROUPS)
def test_states_exercise_the_constraints(group):
    data = jacobian_samples(group)
    active = np.asarray(data.info.features.active)
    if active.size:
        share = active.any(axis=1).any(axis=1).mean()
        assert share > 0.03, "no state touches a contact or limit: the other tests prove little"


@pytest.mark.parametrize("group", of_groups(sorted(TABLE_1)))
def test_table_1(group):
    data = jacobian_samples(group)
    zero = (np.abs(data.jacobian) < MASK_THRESHOLD).all(axis=0)
    dx = data.physics.task.dx
    assert (int(zero[:, :dx].sum()), int(zero[:, dx:].sum())) == TABLE_1[group]


@pytest.mark.parametrize(
    "group", ["cartpole", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("finger_spin", "point_mass"))]
)
def test_engines_agree(group):
    data = jacobian_samples(group)
    _, jacobian, _ = run(group, data.state, data.action, engine="autodiff_jacobian")
    scale = np.abs(data.jacobian).max(axis=(1, 2), keepdims=True)
    # On a zone's boundary the two may take different sides; elsewhere they differ by rounding.
    difference = (np.abs(jacobian - data.jacobian) / scale).max(axis=(1, 2))
    assert np.quantile(difference, 0.98) < 1e-9


@pytest.mark.sample(4)
@pytest.mark.parametrize("group", ["ball_in_cup", "cheetah", "finger_spin", "fish"])
def test_closed_form_is_what_differentiation_gives(group):
    """Contacts, limits, friction loss, spatial and fixed tendons, a free joint, a medium, an implicit integrator."""
    data = jacobian_samples(group)
    physics = data.physics
    assert residual.closed_form_gap(physics) is None
    empty = mjx.make_data(physics.mj_model, impl="jax")
    nq = physics.task.nq

    def both(state, action):
        result = forward(physics, empty.replace(qpos=state[:nq], qvel=state[nq:], ctrl=action))
        w = integrated_acceleration(physics, result.data)
        return residual.closed_form(physics, result, w), residual.by_autodiff(physics, result, w)

    closed, differentiated = jax_runtime.jit(jax.vmap(both))(data.state[:32], data.action[:32])
    for name in ("residual", "implicit"):
        value, expected = (np.asarray(getattr(x, name), float) for x in (closed, differentiated))
        if expected.ndim == 3:
            scale = np.maximum(np.abs(expected).max(axis=(1, 2), keepdims=True), 1e-6)
            assert (np.abs(value - expected) / scale).max() < 1e-11


ODD_MODELS = {
    "ball joints, springs, tilted gravity": """<mujoco><option gravity="1 -2 -9" timestep="0.004"/><worldbody>
        <body pos="0 0 1"><joint type="ball" damping=".1"/><geom size=".1 .2" type="capsule" pos=".1 0 .2"/>
        <body pos="0 0 .5"><joint type="hinge" axis="0 1 0" stiffness="3" damping=".2" armature=".1"/>
        <joint type="hinge" axis="1 0 .3" pos="0 .1 0"/><geom size=".1 .2" type="capsule" pos="0 .1 .2"/>
        <body pos="0 0 .5"><joint type="slide" axis="0 1 1"/><geom size=".1"/></body></body></body>
        </worldbody><actuator/></mujoco>""",
    "free bodies that collide": """<mujoco><option timestep="0.002" density="20" viscosity="0.3"/><worldbody>
        <geom type="plane" size="5 5 .1"/>
        <body pos="0 0 .25"><freejoint/><geom type="capsule" size=".1 .2" friction=".7 .1 .1"/></body>
        <body pos=".12 0 .3"><freejoint/><geom type="sphere" size=".2" condim="1"/></body>
        </worldbody></mujoco>""",
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", ODD_MODELS)
def test_closed_form_on_other_models(name):
    """Joints that no task has, against differences of the same step (C may turn a friction pyramid otherwise)."""
    model = mujoco.MjModel.from_xml_string(ODD_MODELS[name])
    task = tasks.Task("Odd", "odd", model.nq, model.nv, model.nu, 3, 3 * model.opt.timestep)
    physics = physics_from_model(model, task)
    assert residual.closed_form_gap(physics) is None
    rng = np.random.default_rng(0)
    reference = MjxDifferenceOracle(physics)
    empty = mjx.make_data(physics.mj_model, impl="jax")
    action = jnp.zeros(model.nu)
    program = jax_runtime.jit(
        lambda state: engines.implicit_jacobian(
            physics, empty.replace(qpos=state[: model.nq], qvel=state[model.nq :]), action
        )
    )
    compared = 0
    for _ in range(12):
        qpos = model.qpos0.copy()
        mujoco.mj_integratePos(model, qpos, 0.1 * rng.normal(size=model.nv), 1.0)
        state = np.concatenate([qpos, rng.normal(size=model.nv)])
        result, truth = program(state), reference.reference(state, action, np.zeros(model.nv))
        if truth.disagreement < finite_differences.AGREEMENT:
            compared += 1
            assert finite_differences.relative_error(np.hstack([result.J_s, result.J_a]), truth.jacobian) < 1e-6
    assert compared >= 8


def settled(task: str, steps: int = 4000, height: float | None = None):
    """A state left alone by MuJoCo C until it rests."""
    physics = load_physics(task)
    model = physics.mj_model
    data = mujoco.MjData(model)
    if height is not None:
        data.qpos[1] = height
    for _ in range(steps):
        mujoco.mj_step(model, data)
    state = np.concatenate([data.qpos, data.qvel]).astype(np.float32).astype(np.float64)
    return physics, state[None], np.zeros((1, physics.task.da))


def test_cheetah_at_rest_keeps_the_tangents_of_its_contacts():
    physics, state, action = settled("CheetahRun")
    next_state, jacobian, _ = run("cheetah", state, action)
    errors = errors_against_c(physics, state, action, next_state, jacobian, [0])
    assert len(errors) == 1
    assert errors[0] < 1e-4
    # Plain automatic differentiation through the solver finds 27.
    assert (np.abs(jacobian[0]) >= MASK_THRESHOLD).sum() > 400


def test_ball_in_cup_at_rest():
    physics, state, action = settled("BallInCup", 20000)
    next_state, jacobian, _ = run("ball_in_cup", state, action)
    errors = errors_against_c(physics, state, action, next_state, jacobian, [0])
    assert len(errors) == 1
    assert errors[0] < 1e-4
    assert (np.abs(jacobian[0]) >= MASK_THRESHOLD).sum() > 12


def test_finger_hinge_sticking():
    """The hinge's friction loss holds it: ∂v'/∂v is 0.079 over a control step; lost tangents give 165.8."""
    physics = load_physics("FingerSpin")
    state = np.zeros((1, 6))
    state[0, :3] = (0.3, 0.3, 0.5)
    action = np.zeros((1, 2))
    next_state, jacobian, _ = run("finger_spin", state, action)
    assert errors_against_c(physics, state, action, next_state, jacobian, [0])[0] < 1e-6
    assert jacobian[0, 5, 5] == pytest.approx(0.0793, abs=1e-4)


def on_its_limit():
    """The reacher's wrist, a little beyond what it may."""
    physics = load_physics("ReacherHard")
    limit = physics.mj_model.jnt_range[1, 1]
    return physics, np.array([[0.4, limit + 0.01, 0.0, 0.0]]), np.zeros((1, 2))


def test_reacher_resting_on_its_limit():
    physics, state, action = on_its_limit()
    action[0, 1] = 0.3
    next_state, jacobian, info = run("reacher_hard", state, action)
    assert np.asarray(info.features.active).any()
    assert errors_against_c(physics, state, action, next_state, jacobian, [0])[0] < 1e-6


@pytest.mark.parametrize("omega", [0.0, 1e-9, 1e-4, 2.0])
def test_quaternion_integration_at_rest(omega):
    """MJX's guard makes ∂quat'/∂ω zero below 1e-8; the truth has no such hole."""
    physics = load_physics("FishSwim")
    state, action = varied_states(physics, 1, seed=3)
    state[0, physics.task.nq + 3 : physics.task.nq + 6] = (omega, 0.0, 0.0)
    next_state, jacobian, _ = run("fish", state, action * 0)
    assert errors_against_c(physics, state, action * 0, next_state, jacobian, [0])[0] < 1e-6
    rotation, angular = slice(3, 6), slice(physics.task.nv + 3, physics.task.nv + 6)
    assert np.linalg.norm(jacobian[0, rotation, angular]) > 1e-3


def test_pendulum_closed_form():
    """One semi-implicit Euler step of θ̈ = (m g l sin θ - d θ̇ + g₀ a) / I, twice, differentiated by hand."""
    data = jacobian_samples("pendulum")
    model = data.physics.mj_model
    h, damping = model.opt.timestep, model.dof_damping[0]
    still = mujoco.MjData(model)
    inertia = np.zeros((1, 1))
    mujoco.mj_forward(model, still)
    mujoco.mj_fullM(model, still, inertia)
    gear = model.actuator_gear[0, 0] * model.actuator_gainprm[0, 0]

    def gravity(angle):
        still.qpos[0], still.qvel[0], still.ctrl[0] = angle, 0.0, 0.0
        mujoco.mj_forward(model, still)
        return -still.qfrc_bias[0]

    amplitude = gravity(np.pi / 2)
    for state, jacobian in zip(data.state[:16], data.jacobian[:16], strict=True):
        angle, velocity = state
        action = data.action[np.flatnonzero((data.state == state).all(axis=1))[0], 0]
        chained = np.eye(2, 3)
        for _ in range(data.physics.task.substeps):
            slope, direct = h * amplitude * np.cos(angle) / inertia[0, 0], h * gear / inertia[0, 0]
            decay = 1 - h * damping / inertia[0, 0]
            step = np.array([[1 + h * slope, h * decay], [slope, decay]])
            chained = step @ chained
            chained[:, 2] += (h * direct, direct)
            velocity += h * (amplitude * np.sin(angle) - damping * velocity + gear * action) / inertia[0, 0]
            angle += h * velocity
        np.testing.assert_allclose(jacobian, chained, rtol=1e-9, atol=1e-12)


def test_double_integrator_is_exact():
    """PointMass: two uncoupled masses, ẍ = (k a - d ẋ) / m; away from its walls the Jacobian is constant."""
    data = jacobian_samples("point_mass")
    free = ~np.asarray(data.info.features.active).any(axis=(1, 2))
    model = data.physics.mj_model
    h, mass = model.opt.timestep, model.body_mass.sum()
    decay = 1 - h * model.dof_damping[0] / mass
    expected = np.zeros((4, 4))
    expected[:2, :2], expected[2:, 2:] = np.eye(2), decay * np.eye(2)
    expected[:2, 2:] = h * decay * np.eye(2)
    np.testing.assert_allclose(data.jacobian[free][:, :, :4], np.broadcast_to(expected, (free.sum(), 4, 4)), atol=1e-12)


def test_stock_jacobian_is_the_truncated_step_s_own():
    """stock: against central differences of the same step, where automatic differentiation lost no tangents."""
    physics = load_physics("CartpoleBalance", "stock")
    state, action = varied_states(physics, 64, seed=5)
    _, jacobian, info = run("cartpole", state, action, engine="autodiff_jacobian", dynamics_kind="stock")
    reference = MjxDifferenceOracle(physics)
    lost = np.asarray(info.tangents_lost).any(axis=1)
    errors = []
    for row in np.flatnonzero(~lost):
        truth = reference.reference(state[row], action[row], np.zeros(2))
        if truth.disagreement < finite_differences.AGREEMENT:
            errors.append(finite_differences.relative_error(jacobian[row], truth.jacobian))
    assert len(errors) > 40
    assert np.max(errors) < 1e-5


@pytest.mark.parametrize(
    "at_rest", [on_its_limit, pytest.param(lambda: settled("CheetahRun"), id="settled", marks=pytest.mark.exhaustive)]
)
def test_lost_tangents_are_flagged(at_rest):
    """At rest from its own warm start, MJX's solver stops at once, and its derivative is nonsense."""
    physics, state, action = at_rest()
    task, stock = physics.task, load_physics(physics.task.name, "stock")
    converged = mujoco.MjData(physics.mj_model)
    converged.qpos[:], converged.qvel[:] = np.split(state[0], [task.nq])
    mujoco.mj_forward(physics.mj_model, converged)
    data = mjx.make_data(stock.mj_model, impl="jax").replace(
        qpos=converged.qpos, qvel=converged.qvel, qacc_warmstart=np.array(converged.qacc)
    )
    result = jax_runtime.jit(lambda d, a: engines.autodiff_jacobian(stock, d, a))(data, action[0])
    assert bool(result.info.tangents_lost.any())
    right = run(task.group, state, action)[1][0][:, : task.dx]
    assert finite_differences.relative_error(np.asarray(result.J_s), right) > 0.01, "the flag marks a real failure"
