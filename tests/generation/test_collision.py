"""Contact points against MuJoCo C's own: which there are, where, and what rows they make."""

from __future__ import annotations

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx
from states import varied_states

from dynamic_sparsity.generation import jax_runtime, tasks
from dynamic_sparsity.generation.physics import collision, constraint_solver, contact_slots
from dynamic_sparsity.generation.physics.model import Physics, load_physics, physics_from_model
from dynamic_sparsity.generation.physics.step import constrain, with_slots

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_promotion")]

BATCH = 300
WITH_CONTACTS = ("ball_in_cup", "cheetah", "finger_spin", "finger_turn", "hopper", "humanoid", "walker")

ROUND = """<mujoco><default><geom friction=".6 .1 .1"/></default><worldbody>
    <geom name="floor" type="plane" size="5 5 .1" friction="1 .1 .1" solimp=".8 .9 .01"/>
    <body name="a"><freejoint/><geom name="a" type="capsule" size=".1 .3"/></body>
    <body name="b"><freejoint/><geom name="b" type="capsule" size=".08 .2" solmix="3" solref=".01 .8"/></body>
    <body name="c"><freejoint/><geom name="c" type="sphere" size=".15" condim="1" priority="1"/></body>
    <body name="d"><freejoint/><geom name="d" type="sphere" size=".1" margin=".02"/></body>
    </worldbody></mujoco>"""
"""Every pair of kinds, with mixed parameters, a priority, a margin and a frictionless geom."""


_CONTACT_ROWS = (
    int(mujoco.mjtConstraint.mjCNSTR_CONTACT_FRICTIONLESS),
    int(mujoco.mjtConstraint.mjCNSTR_CONTACT_PYRAMIDAL),
)


@cache
def _physics(xml: str) -> Physics:
    model = mujoco.MjModel.from_xml_string(xml)
    return physics_from_model(model, tasks.Task("Odd", "odd", model.nq, model.nv, model.nu, 1, model.opt.timestep))


@cache
def _program(physics: Physics):
    """Compiled (qpos (nq,)) → (data with contacts and rows, what was found)."""
    m, empty = physics.mjx_model, with_slots(physics, mjx.make_data(physics.mj_model, impl="jax"))

    def at(qpos):
        d = mjx.com_pos(m, mjx.kinematics(m, empty.replace(qpos=qpos)))
        return constrain(physics, mjx.tendon(m, d))

    return jax_runtime.jit(jax.vmap(at))


def _by_geoms(geom, dist, pos, frame, dim):
    """Contact points in an order of their own: by geoms, then distance, then position."""
    keys = [(*g, round(float(d), 9), *np.round(p, 9)) for g, d, p in zip(geom, dist, pos, strict=True)]
    order = sorted(range(len(keys)), key=lambda k: keys[k])
    return [np.asarray(x)[order] for x in (geom, dist, pos, np.reshape(frame, (-1, 9)), dim)]


def _dense_jacobian(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """MuJoCo C's constraint Jacobian, (nefc, nv)."""
    dense = np.zeros((data.nefc, model.nv))
    if mujoco.mj_isSparse(model) and data.nefc:
        mujoco.mju_sparse2dense(dense, data.efc_J, data.efc_J_rownnz, data.efc_J_rowadr, data.efc_J_colind)
    else:
        dense[:] = data.efc_J.reshape(dense.shape)
    return dense


def _compare(physics: Physics, positions: np.ndarray) -> int:
    """Holds contacts and constraint rows at positions (n, nq) against MuJoCo C's; returns how many contacts."""
    # All batches of a model are filled up to one size, which is compiled once.
    filled = np.pad(positions, ((0, BATCH - len(positions)), (0, 0)), mode="edge")
    found_data, found = _program(physics)(filled)
    ours, total = found_data._impl.contact, 0
    model = physics.mj_model
    data = mujoco.MjData(model)
    for row, qpos in enumerate(positions):
        data.qpos[:], data.qvel[:] = qpos, 0
        mujoco.mj_forward(model, data)
        touching = data.contact.dist < data.contact.includemargin
        c = data.contact
        theirs = _by_geoms(*(x[touching] for x in (c.geom, c.dist, c.pos, c.frame, c.dim)))
        held = np.asarray(found.candidate[row]) >= 0
        own = (ours.geom[row], ours.dist[row], ours.pos[row], ours.frame[row])
        mine = _by_geoms(*(np.asarray(x)[held] for x in own), np.asarray(ours.dim)[held])
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-10)
        assert int(found.in_touch[row]) == touching.sum()
        assert not bool(found.overflow[row])
        total += len(theirs[0])
        # The rows, whatever their order: the sums that the constraint problem is made of.
        impl, jacobian = found_data._impl, _dense_jacobian(model, data)
        contact = np.isin(data.efc_type, _CONTACT_ROWS)
        start = int(np.asarray(ours.efc_address)[0])
        for weight in (lambda d, a: d, lambda d, a: d * a):
            own_weight = weight(np.asarray(impl.efc_D[row, start:]), np.asarray(impl.efc_aref[row, start:]))
            own_rows = np.asarray(impl.efc_J[row, start:])
            mine = own_rows.T @ (own_rows * own_weight[:, None])
            rows = jacobian[contact]
            expected = rows.T @ (rows * weight(data.efc_D[contact], data.efc_aref[contact])[:, None])
            np.testing.assert_allclose(mine, expected, rtol=1e-8, atol=1e-8 * (1 + np.abs(expected).max()))
    return total


@pytest.mark.sample(4)
@pytest.mark.parametrize("group", WITH_CONTACTS)
def test_contacts_are_mujoco_c_s(group):
    physics = load_physics(tasks.group_representatives()[group])
    state, _ = varied_states(physics, 200)
    assert _compare(physics, state[:, : physics.task.nq]) > 0


def test_all_kinds_of_pairs_at_random():
    physics = _physics(ROUND)
    rng = np.random.default_rng(0)
    positions = np.zeros((BATCH, 4, 7))
    positions[:, :, :3] = rng.uniform(-0.25, 0.25, (BATCH, 4, 3)) + np.array([0, 0, 0.15])
    positions[:, :, 3:] = rng.normal(size=(BATCH, 4, 4))
    positions[:, :, 3:] /= np.linalg.norm(positions[:, :, 3:], axis=2, keepdims=True)
    assert _compare(physics, positions.reshape(BATCH, -1)) > 1000


def _capsules(second: tuple[float, float, float], quat: tuple[float, float, float, float] = (1, 0, 0, 0)) -> np.ndarray:
    """Positions of the model's bodies: capsule a upright far above the floor, b beside it, the spheres far away."""
    return np.array([0, 0, 9, 1, 0, 0, 0, *second, *quat, 5, 0, 9, 1, 0, 0, 0, 7, 0, 9, 1, 0, 0, 0], float)


@pytest.mark.parametrize(
    ("second", "points"),
    [
        ((0.17, 0, 9), 2),  # side by side: one above, one below
        ((0.17, 0, 9.3), 2),  # shifted along
        ((0.15, 0.02, 9.05), 2),  # within the other's length: both ends are the shorter one's
        ((0, 0, 9.6), 2),  # end on end: the same point twice, as MuJoCo has it
        ((0.1, 0.1, 9.55), 2),
        ((0.3, 0, 9), 0),
    ],
)
def test_parallel_capsules(second, points):
    physics = _physics(ROUND)
    assert _compare(physics, _capsules(second)[None]) == points


@pytest.mark.parametrize("angle", [1e-9, 3e-7, 1e-5, 0.99e-4, 1e-2, np.pi / 2, np.pi])
def test_nearly_parallel_crossed_and_turned_capsules(angle):
    half = angle / 2
    quats = [(np.cos(half), np.sin(half), 0, 0), (np.cos(half), 0, np.sin(half), 0)]
    positions = [_capsules(at, quat) for quat in quats for at in ((0.15, 0.02, 9.05), (0.0, 0.1, 9.3))]
    assert _compare(_physics(ROUND), np.stack(positions)) >= len(positions)


def test_spheres_and_capsules_with_the_same_centre():
    apart = _capsules((0.5, 0, 9))
    same = apart.copy()
    same[14:17] = same[21:24] = [3, 0, 9]
    inside = apart.copy()
    # Numbers without rounding: a gap of one rounding has a direction.
    inside[14:17] = [0, 0, 9.125]
    assert _compare(_physics(ROUND), np.stack([same, inside])) == 2


def test_a_steep_capsule_on_a_plane_has_its_frame_along_its_axis():
    half = 0.05
    position = _capsules((3, 0, 9))
    position[:7] = [0, 0, 0.35, np.cos(half), np.sin(half) / np.sqrt(2), np.sin(half) / np.sqrt(2), 0]
    assert _compare(_physics(ROUND), position[None]) == 1


def test_too_few_slots_are_an_overflow():
    model = mujoco.MjModel.from_xml_string(ROUND)
    task = tasks.Task("Odd", "odd", model.nq, model.nv, model.nu, 1, model.opt.timestep)
    physics = physics_from_model(model, task, slots={1: 1, 3: 2})
    low = _capsules((1, 0, 0.05), (np.cos(np.pi / 4), np.sin(np.pi / 4), 0, 0))
    lower = low.copy()
    lower[2] = 0.3
    _, found = _program(physics)(np.stack([_capsules((1, 0, 9)), low, lower]))
    assert found.in_touch.tolist() == [0, 2, 3]
    assert found.overflow.tolist() == [False, False, True]


def test_models_that_are_not_covered():
    box = ROUND.replace('type="sphere" size=".1"', 'type="box" size=".1 .1 .1"')
    assert not collision.covers(mujoco.MjModel.from_xml_string(box))
    assert _physics(box).candidates is None
    assert load_physics("CartpoleBalance").candidates is None


def test_problems_with_few_rows_are_solved_as_smaller_ones():
    rng = np.random.default_rng(0)
    size, rows, nv = 40, 12, 4
    jacobian = rng.normal(size=(size, rows, nv))
    # Most rows of a batch need no more than the first five.
    jacobian[np.arange(size) % 7 != 0, 5:] = 0
    root = rng.normal(size=(size, nv, nv))
    problem = constraint_solver.ConstraintProblem(
        inertia=jnp.asarray(root @ root.swapaxes(1, 2) + np.eye(nv)),
        smooth_force=jnp.asarray(5 * rng.normal(size=(size, nv))),
        jacobian=jnp.asarray(jacobian),
        reference=jnp.asarray(rng.normal(size=(size, rows))),
        stiffness=jnp.asarray(rng.uniform(1, 100, size=(size, rows))),
        friction_loss=jnp.zeros((size, rows)),
        n_equality=0,
        n_friction=0,
    )
    few = dataclasses.replace(problem, few=tuple(range(5)))
    start = jnp.zeros((size, nv))
    solve = jax.jit(jax.vmap(constraint_solver.solve))
    whole, staged = solve(problem, start), solve(few, start)
    np.testing.assert_allclose(staged.acceleration, whole.acceleration, rtol=1e-10, atol=1e-12)
    assert float(staged.residual.max()) < constraint_solver.RESIDUAL_TOLERANCE
    # A row depends on its batch by rounding only: compiled code may add in another order.
    alone = solve(*jax.tree_util.tree_map(lambda x: x[:20], (few, start)))
    np.testing.assert_allclose(alone.acceleration, staged.acceleration[:20], rtol=1e-12, atol=1e-14)


def test_slots_suffice_for_few():
    for group, few in contact_slots.FEW_SLOTS.items():
        assert all(contact_slots.SLOTS[group][dim] >= count for dim, count in few.items())
