"""`linearize`: A and B of a foreign model, its products, its derivative in JAX, and its self-check."""

from __future__ import annotations

import copy

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco_differences import Simulator, states

import dynamic_sparsity
from dynamic_sparsity.errors import DynamicSparsityWarning, InvalidSettingError
from dynamic_sparsity.generation.linearization import linearize, model_cache
from dynamic_sparsity.loaders import coordinates

PENDULUM = """<mujoco><option timestep=".01"/><worldbody><body><joint name="hinge" axis="0 1 0" damping=".1"/>
    <geom size=".05 .2" type="capsule" pos="0 0 -.2"/></body></worldbody>
    <actuator><motor name="motor" joint="hinge" ctrlrange="-1 2"/></actuator></mujoco>"""
FLOATER = """<mujoco><option timestep=".01"/><worldbody><body pos="0 0 1"><freejoint name="root"/>
    <geom size=".05 .2" type="capsule"/><body pos="0 0 -.2"><joint name="leg" axis="0 1 0" damping=".1"/>
    <geom size=".04 .1" type="capsule" pos="0 0 -.1"/></body></body></worldbody>
    <actuator><motor joint="leg"/></actuator></mujoco>"""
TOUCHED = """<mujoco><option timestep=".01"/><worldbody>
    <body name="hand" mocap="true" pos="0 0 1"><geom size=".1"/></body>
    <body pos="0 .1 1.1"><freejoint/><geom size=".08 .1" type="capsule"/></body></worldbody></mujoco>"""


def model_of(xml):
    return mujoco.MjModel.from_xml_string(xml)


def both(a, b):
    return np.concatenate([a, b], axis=-1)


# ---- without compiling -----------------------------------------------------------------------------------------------


def test_it_is_the_package_s():
    assert dynamic_sparsity.linearize is linearize
    assert "linearize" in dir(dynamic_sparsity)
    assert "linearize" not in dynamic_sparsity.__all__, "a star import would load the simulator"
    with pytest.raises(AttributeError, match="no attribute 'linearise'"):
        dynamic_sparsity.linearise  # noqa: B018


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"substeps": 0}, "substeps is 0; it must be a whole number, at least 1"),
        ({"substeps": 2.5}, "substeps is 2.5"),
        ({"checked_rows": -1}, "checked_rows is -1"),
        ({"max_contacts": 0}, "max_contacts is 0"),
        ({"coordinates": "polar"}, "coordinates is 'polar'; it must be one of: tangent, ambient"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(InvalidSettingError, match=message):
        linearize(model_of(PENDULUM), **arguments)


def test_what_is_no_model_of_a_mechanism():
    with pytest.raises(InvalidSettingError, match=r"model is a str; it must be a mujoco\.MjModel"):
        linearize("robot.xml")
    with pytest.raises(InvalidSettingError, match="no joints"):
        linearize(model_of("<mujoco/>"))


def test_float32_is_refused():
    with jax.enable_x64(False), pytest.raises(InvalidSettingError, match="jax_enable_x64"):
        linearize(model_of(PENDULUM))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (([0.0, 1.0], [0.0], [0.0]), r"qpos has shape \(2,\); it must be \(…, 1\)"),
        ((np.zeros((3, 1)), np.zeros((2, 1)), [0.0]), r"leading axes do not fit each other: qpos \(3,\), qvel \(2,\)"),
        ((np.zeros((0, 1)), [0.0], [0.0]), "there are no rows"),
    ],
)
def test_wrong_shapes(arrays, message):
    step = linearize(model_of(PENDULUM))
    with pytest.raises(InvalidSettingError, match=message):
        step(*arrays)
    with pytest.raises(InvalidSettingError, match="There is no argument 'force'; there are qpos, qvel, ctrl"):
        step([0.0], [0.0], [0.0], force=1)


def test_equal_models_are_found_again():
    model = model_of(PENDULUM)
    step = linearize(model)
    assert linearize(copy.copy(model)) is step
    assert linearize(model, substeps=2) is not step
    heavier = copy.copy(model)
    heavier.body_mass[1] *= 2
    assert model_cache.model_hash(heavier) != model_cache.model_hash(model)
    assert linearize(heavier) is not step
    assert step.state_names == ("qpos:hinge", "qvel:hinge")
    assert step.ctrl_names == ("motor",)


def test_tangent_difference_is_mujoco_c_s():
    model = model_of(FLOATER)
    qpos, qvel, _ = states(model, 4, width=1.0)
    simulator = Simulator(model)
    start, end = both(qpos[:2], qvel[:2]), both(qpos[2:], qvel[2:])
    expected = [simulator.difference(a, b) for a, b in zip(start, end, strict=True)]
    np.testing.assert_allclose(linearize(model).tangent_difference(start, end), expected, atol=1e-12)
    np.testing.assert_allclose(linearize(model).tangent_difference(start[0], start[0]), 0, atol=1e-15)


# ---- compiled --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_batches_and_controls_at_their_bounds():
    step = linearize(model_of(PENDULUM), substeps=3, details=True)
    simulator = Simulator(step.model, 3)
    ctrl = np.array([-1.5, -1.0, 0.5, 2.0, 2.5])[:, None]
    next_state, A, B, details = step([0.3], [0.2], ctrl)
    assert (next_state.shape, A.shape, B.shape) == ((5, 2), (5, 2, 2), (5, 2, 1))
    assert {x.dtype for x in (next_state, A, B)} == {jnp.dtype("float64")}
    inside = simulator.jacobians(qpos=[0.3], qvel=[0.2], ctrl=[0.5])[1]
    np.testing.assert_allclose(B[1:4], np.broadcast_to(inside, (3, 2, 1)), rtol=1e-5)
    assert not np.any(np.asarray(B)[[0, 4]])
    assert details.flags.ctrl_at_bound.tolist() == [False, True, False, True, False]
    assert not np.any(details.flags.not_converged | details.flags.nonfinite | details.flags.too_many_contacts)
    one = step([0.3], [0.2], [0.5])
    assert one[0].shape == (2,)
    np.testing.assert_array_equal(one[1], A[2])
    grid = step(np.full((1, 1, 1), 0.3), [0.2], ctrl)
    assert grid[0].shape == (1, 5, 2)


@pytest.mark.slow
def test_mocap_bodies_and_applied_forces():
    model = model_of(TOUCHED)
    step = linearize(model, substeps=2, details=True)
    simulator = Simulator(step.model, 2)
    rng = np.random.default_rng(0)
    qpos, qvel, ctrl = states(model, 6, width=0.02)
    given = {
        "mocap_pos": np.array([0.0, 0.0, 1.0]) + 0.02 * rng.normal(size=(6, 1, 3)),
        "mocap_quat": np.tile([1.0, 0.0, 0.0, 0.0], (6, 1, 1)),
        "qfrc_applied": rng.normal(size=(6, model.nv)),
        "xfrc_applied": 5 * rng.normal(size=(6, model.nbody, 6)),
    }
    next_state, A, B, details = step(qpos, qvel, ctrl, **given)
    assert np.all(details.contact_count >= 1)
    assert step.contact_pairs == (("geom0", "geom1"),)
    for row in range(6):
        inputs = {"qpos": qpos[row], "qvel": qvel[row]} | {name: value[row] for name, value in given.items()}
        np.testing.assert_allclose(next_state[row], simulator.step(**inputs, ctrl=ctrl[row]), atol=1e-9)
        truth, _ = simulator.jacobians(**inputs, ctrl=ctrl[row])
        assert np.linalg.norm(A[row] - truth) < 1e-6 * np.linalg.norm(truth)
    assert B.shape == (6, 12, 0)


@pytest.mark.slow
def test_ambient_coordinates_products_and_derivatives_in_jax():
    model = model_of(FLOATER)
    tangent, ambient = (linearize(model, coordinates=name) for name in ("tangent", "ambient"))
    qpos, qvel, ctrl = states(model, 4, width=0.5)
    next_state, A, B = tangent(qpos, qvel, ctrl)
    after, A_ambient, B_ambient = ambient(qpos, qvel, ctrl)
    joints = [
        {"name": "root", "type": "free", "qpos_address": 0, "dof_address": 0},
        {"name": "leg", "type": "hinge", "qpos_address": 7, "dof_address": 6},
    ]
    expected = coordinates.to_ambient(*map(np.asarray, (A, B)), both(qpos, qvel), np.asarray(next_state), joints)
    np.testing.assert_allclose(A_ambient, expected[0], atol=1e-12)
    np.testing.assert_allclose(B_ambient, expected[1], atol=1e-12)
    np.testing.assert_array_equal(after, next_state)

    rng = np.random.default_rng(1)
    d_state, d_ctrl, weights = rng.normal(size=(4, 14)), rng.normal(size=(4, 1)), rng.normal(size=(4, 14))
    _, change = tangent.jvp(qpos, qvel, ctrl, d_state, d_ctrl)
    _, by_state, by_ctrl = tangent.vjp(qpos, qvel, ctrl, weights)
    np.testing.assert_allclose(
        np.sum(change * weights, axis=1), np.sum(by_state * d_state, axis=1) + np.sum(by_ctrl * d_ctrl, axis=1)
    )

    def end(controls, start):
        def advance(state, u):
            state = tangent.next_state(state[:8], state[8:], u)
            return state, None

        return jax.lax.scan(advance, start, controls)[0]

    start, controls = both(qpos, qvel)[0], rng.normal(size=(3, 1))
    aim = rng.normal(size=15)
    program = tangent.jit(jax.value_and_grad(lambda u, s: end(u, s) @ aim, argnums=(0, 1)))
    _, (by_controls, by_start) = program(controls, start)
    simulator = Simulator(tangent.model)

    def rolled(controls, start):
        state = start
        for u in controls:
            state = simulator.step(qpos=state[:8], qvel=state[8:], ctrl=u)
        return state @ aim

    for index in range(3):
        moved = 1e-6 * np.eye(3)[:, index : index + 1]
        slope = (rolled(controls + moved, start) - rolled(controls - moved, start)) / 2e-6
        assert by_controls[index, 0] == pytest.approx(slope, rel=1e-5)
    for index in range(15):
        moved = 1e-6 * np.eye(15)[index]
        slope = (rolled(controls, start + moved) - rolled(controls, start - moved)) / 2e-6
        assert by_start[index] == pytest.approx(slope, rel=1e-5, abs=1e-7)


@pytest.mark.slow
def test_there_is_no_silent_zero_derivative_by_forces():
    step = linearize(model_of(PENDULUM))
    with pytest.raises(InvalidSettingError, match="no derivative by mocap_pos"):
        jax.grad(lambda f: step.next_state([0.1], [0.0], [0.0], qfrc_applied=f).sum())(jnp.zeros(1))


@pytest.mark.slow
def test_a_model_that_disagrees_with_mujoco_c_is_reported():
    """A callback pushes the pendulum in MuJoCo C only."""
    step = linearize(model_of(PENDULUM.replace(".01", ".02")))

    def push(model, data):
        data.qfrc_passive[:] += 1.0

    mujoco.set_mjcb_passive(push)
    try:
        with pytest.warns(DynamicSparsityWarning, match=r"8 of 8 rows .*, in qvel:hinge.*a feature of the model may"):
            step(np.linspace(0, 1, 20)[:, None], [0.0], [0.0])
        found = step.compare_with_mujoco(np.linspace(0, 1, 20)[:, None], [0.0], [0.0])
        assert found.disagrees.all()
        assert found.same_contacts.all()
    finally:
        mujoco.set_mjcb_passive(None)
    assert step.compare_with_mujoco(np.linspace(0, 1, 20)[:, None], [0.0], [0.0]).report() is None
