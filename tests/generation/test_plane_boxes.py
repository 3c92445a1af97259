"""Boxes on planes touch where MuJoCo C says, at all heights of their corners."""

from __future__ import annotations

import jax
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.physics import plane_boxes

BOXES = """<mujoco>{numeric}<worldbody><geom name="floor" type="plane" size="5 5 .1" euler="4 -7 0" margin=".01"/>
    <body pos="0 0 .1"><freejoint/><geom name="ball" size=".06" pos=".3 0 0"/>
    <geom name="box" type="box" size=".1 .12 .08" pos="0 .01 0" euler="5 0 10" condim="4"/></body>
    <body pos="0 0 .1"><freejoint/><geom name="foot" type="box" size=".1 .04 .02"/></body></worldbody>
    <contact><exclude body1="world" body2="world"/><pair geom1="foot" geom2="floor" condim="3"/></contact></mujoco>"""


def poses(model, count):
    rng = np.random.default_rng(0)
    qpos = np.tile(model.qpos0, (count, 1))
    for row in qpos[1:]:
        mujoco.mj_integratePos(model, row, 0.05 * rng.normal(size=model.nv), 1.0)
    qpos[:, [2, 9]] = 0.1 - rng.uniform(0, 0.1, (count, 2))
    return qpos


def points_in_c(model, qpos):
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    mujoco.mj_collision(model, data)
    contact = data.contact
    boxes = (model.geom_type[contact.geom] == mujoco.mjtGeom.mjGEOM_PLANE).any(axis=1) & (
        model.geom_type[contact.geom] == mujoco.mjtGeom.mjGEOM_BOX
    ).any(axis=1)
    return np.column_stack([contact.geom, contact.dist, contact.pos, contact.frame[:, :3]])[boxes]


@pytest.mark.slow
def test_the_points_are_those_of_mujoco_c():
    jax_runtime.configure()
    model = mujoco.MjModel.from_xml_string(BOXES.format(numeric=""))
    m = mjx.put_model(model, impl="jax")
    empty = mjx.make_data(model, impl="jax")

    def collide(qpos):
        contact = plane_boxes.collide(model, m, mjx.kinematics(m, empty.replace(qpos=qpos)))._impl.contact
        return contact.geom, contact.dist, contact.includemargin, contact.pos, contact.frame[:, 0]

    qpos = poses(model, 40)
    counts = set()
    for row, (geom, dist, margin, pos, normal) in zip(
        qpos, zip(*jax.jit(jax.vmap(collide))(qpos), strict=True), strict=True
    ):
        kinds = model.geom_type[np.asarray(geom)]
        ours = (kinds == (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_BOX)).all(axis=1) & (dist < margin)
        found = np.column_stack([geom, dist, pos, normal])[ours]
        truth = points_in_c(model, row)
        truth, found = (x[np.lexsort(np.round(x, 9).T)] for x in (truth, found))
        np.testing.assert_allclose(found, truth, atol=1e-12)
        counts.add(len(found))
    assert len(counts) > 3


def test_models_that_limit_mjx_s_points_keep_its_own():
    limited = mujoco.MjModel.from_xml_string(
        BOXES.format(numeric='<custom><numeric name="max_contact_points" data="3"/></custom>')
    )
    assert len(plane_boxes._slots(limited).slot) == 0
    assert len(plane_boxes._slots(mujoco.MjModel.from_xml_string(BOXES.format(numeric=""))).slot) == 8
