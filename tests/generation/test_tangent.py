"""Tangent coordinates against MuJoCo's own, finite differences and the loader's NumPy version."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from dynamic_sparsity.generation.coordinate_names import joints
from dynamic_sparsity.generation.physics import manifold
from dynamic_sparsity.loaders import coordinates

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_promotion")]

MODEL = """
<mujoco>
  <worldbody>
    <body pos="0 0 1"><joint name="slide" type="slide" axis="1 0 0"/><geom size=".1"/>
      <body pos="0 0 .3"><joint name="ball" type="ball"/><geom size=".1"/>
        <body pos="0 0 .3"><joint name="hinge" type="hinge" axis="0 1 0"/><geom size=".1"/></body>
      </body>
    </body>
    <body pos="0 1 1"><freejoint name="free"/><geom size=".1"/></body>
  </worldbody>
</mujoco>
"""


@pytest.fixture(scope="module")
def model():
    return mujoco.MjModel.from_xml_string(MODEL)


def position(model, rng):
    qpos = model.qpos0 + 0
    mujoco.mj_integratePos(model, qpos, rng.normal(size=model.nv), 1.0)
    return jnp.asarray(qpos)


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-9, 1e-5, 1e-3, 0.1, 2.0])
def test_integrate_is_mujoco_s(model, scale):
    rng = np.random.default_rng(0)
    blocks = manifold.joint_blocks(model)
    for _ in range(5):
        qpos, delta = position(model, rng), jnp.asarray(scale * rng.normal(size=model.nv))
        expected = np.array(qpos)
        mujoco.mj_integratePos(model, expected, np.asarray(delta), 1.0)
        np.testing.assert_allclose(manifold.integrate(blocks, qpos, delta), expected, atol=2e-15)


def differentiate_pos(model, start, end):
    difference = np.empty(model.nv)
    mujoco.mj_differentiatePos(model, difference, 1.0, np.asarray(start), np.asarray(end))
    return difference


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-4, 1e-2, 0.3, 2.0])
def test_derivatives_of_integration(model, scale):
    rng = np.random.default_rng(1)
    blocks = manifold.joint_blocks(model)
    qpos, delta = position(model, rng), jnp.asarray(scale * rng.normal(size=model.nv))
    by_position, by_delta = manifold.integration_derivatives(blocks, delta)
    epsilon = 1e-6
    for k, direction in enumerate(jnp.eye(model.nv) * epsilon):
        ends = [manifold.integrate(blocks, manifold.integrate(blocks, qpos, s * direction), delta) for s in (-1, 1)]
        np.testing.assert_allclose(by_position[:, k], differentiate_pos(model, *ends) / (2 * epsilon), atol=1e-8)
        ends = [manifold.integrate(blocks, qpos, delta + s * direction) for s in (-1, 1)]
        np.testing.assert_allclose(by_delta[:, k], differentiate_pos(model, *ends) / (2 * epsilon), atol=1e-8)


def test_automatic_differentiation_through_rest_is_right(model):
    """Where MJX's guard gives zero."""
    blocks = manifold.joint_blocks(model)
    qpos = position(model, np.random.default_rng(2))
    derivative = jax.jacfwd(lambda delta: manifold.integrate(blocks, qpos, delta))(jnp.zeros(model.nv))
    np.testing.assert_allclose(derivative, manifold.basis(blocks, qpos), atol=1e-15)


def test_dual_basis_is_a_left_inverse(model):
    blocks = manifold.joint_blocks(model)
    qpos = 1.3 * position(model, np.random.default_rng(3))
    product = manifold.dual_basis(blocks, qpos) @ manifold.basis(blocks, qpos)
    np.testing.assert_allclose(product, np.eye(model.nv), atol=1e-14)


def test_loader_has_the_same_coordinates(model):
    blocks = manifold.joint_blocks(model)
    qpos = position(model, np.random.default_rng(4))
    np.testing.assert_allclose(
        coordinates.tangent_to_ambient(np.asarray(qpos), joints(model)), manifold.basis(blocks, qpos), atol=1e-14
    )
    np.testing.assert_allclose(
        coordinates.ambient_to_tangent(np.asarray(qpos), joints(model)), manifold.dual_basis(blocks, qpos), atol=1e-14
    )
