from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders import coordinates

Floats = NDArray[np.float64]
POSITIONS = {"free": (7, 6), "ball": (4, 3), "slide": (1, 1), "hinge": (1, 1)}
ROBOT = ("slide", "free", "hinge", "ball", "hinge")
ACTIVATIONS, ACTIONS = 2, 3


def make_joints(kinds: tuple[str, ...]) -> list[dict[str, Any]]:
    joints, q, v = [], 0, 0
    for number, kind in enumerate(kinds):
        joints.append({"name": f"joint{number}", "type": kind, "qpos_address": q, "dof_address": v})
        q, v = q + POSITIONS[kind][0], v + POSITIONS[kind][1]
    return joints


def sizes_of(kinds: tuple[str, ...]) -> tuple[int, int]:
    return sum(POSITIONS[kind][0] for kind in kinds), sum(POSITIONS[kind][1] for kind in kinds)


def quaternion_slices(kinds: tuple[str, ...]) -> list[tuple[slice, slice]]:
    """Where each quaternion is in qpos, and its angles in the tangent position."""
    found = []
    for joint in make_joints(kinds):
        first = {"free": 3, "ball": 0}.get(joint["type"])
        if first is not None:
            q, v = joint["qpos_address"] + first, joint["dof_address"] + first
            found.append((slice(q, q + 4), slice(v, v + 3)))
    return found


def multiply(a: Floats, b: Floats) -> Floats:
    vector = a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])
    return np.concatenate([[a[0] * b[0] - a[1:] @ b[1:]], vector])


def turn(quaternion: Floats, angles: Floats) -> Floats:
    """The quaternion after a rotation vector in the body's frame."""
    half = np.linalg.norm(angles) / 2
    return multiply(quaternion, np.concatenate([[np.cos(half)], 0.5 * np.sinc(half / np.pi) * angles]))


def random_states(kinds: tuple[str, ...], count: int, seed: int = 0) -> Floats:
    nq, nv = sizes_of(kinds)
    states = np.random.default_rng(seed).normal(size=(count, nq + nv + ACTIVATIONS))
    for q, _ in quaternion_slices(kinds):
        states[:, q] /= np.linalg.norm(states[:, q], axis=-1, keepdims=True)
    return states


def displace(state: Floats, change: Floats, kinds: tuple[str, ...]) -> Floats:
    """Add a tangent change to an ambient state, as MuJoCo's mj_integratePos does."""
    nq, nv = sizes_of(kinds)
    out, taken_q, taken_v = state.copy(), np.ones(nq, bool), np.ones(nv, bool)
    for q, v in quaternion_slices(kinds):
        out[q] = turn(state[q], change[v])
        taken_q[q], taken_v[v] = False, False
    out[:nq][taken_q] += change[:nv][taken_v]
    out[nq:] += change[nv:]
    return out


def dynamics(state: Floats, action: Floats, kinds: tuple[str, ...]) -> Floats:
    """A smooth step in which everything depends on everything, and that normalises quaternions as MuJoCo does."""
    _, nv = sizes_of(kinds)
    raw = state.copy()
    for q, _ in quaternion_slices(kinds):
        raw[q] /= np.linalg.norm(raw[q])
    random = np.random.default_rng(1)
    features = np.tanh(random.normal(size=(2 * nv + ACTIVATIONS, state.size + ACTIONS)) @ np.concatenate([raw, action]))
    return displace(raw, 0.3 * features, kinds)


def difference(function: Any, size: int, step: float = 1e-6) -> Floats:
    """Central differences of a function at zero, one column per input."""
    columns = [(function(step * unit) - function(-step * unit)) / (2 * step) for unit in np.eye(size)]
    return np.stack(columns, axis=-1)


def tangent_difference(new: Floats, old: Floats, kinds: tuple[str, ...]) -> Floats:
    """The small tangent change from one ambient state to another, by quaternion algebra alone."""
    nq, nv = sizes_of(kinds)
    out, taken_q, taken_v = np.zeros(2 * nv + ACTIVATIONS), np.ones(nq, bool), np.ones(nv, bool)
    for q, v in quaternion_slices(kinds):
        out[v] = 2 * multiply(old[q] * [1, -1, -1, -1], new[q])[1:]
        taken_q[q], taken_v[v] = False, False
    out[:nv][taken_v] = (new - old)[:nq][taken_q]
    out[nv:] = (new - old)[nq:]
    return out


def differentiated(kinds: tuple[str, ...]) -> dict[str, Floats]:
    """One step and its derivatives by differences, in both coordinate systems."""
    nq, nv = sizes_of(kinds)
    ds, dx = nq + nv + ACTIVATIONS, 2 * nv + ACTIVATIONS
    state, action = random_states(kinds, 1)[0], np.array([0.1, -0.2, 0.3])
    after = dynamics(state, action, kinds)

    def tangent(function: Any, size: int) -> Floats:
        return difference(lambda change: tangent_difference(function(change), after, kinds), size)

    return {
        "state": state,
        "next_state": after,
        "ambient_s": difference(lambda change: dynamics(state + change, action, kinds), ds),
        "ambient_a": difference(lambda change: dynamics(state, action + change, kinds), ACTIONS),
        "tangent_s": tangent(lambda change: dynamics(displace(state, change, kinds), action, kinds), dx),
        "tangent_a": tangent(lambda change: dynamics(state, action + change, kinds), ACTIONS),
    }


@pytest.mark.parametrize("kinds", [ROBOT, ("ball",), ("free",), ("hinge", "slide")])
def test_against_numerical_differentiation(kinds: tuple[str, ...]) -> None:
    found, joints = differentiated(kinds), make_joints(kinds)
    states = found["state"], found["next_state"]
    ambient = coordinates.to_ambient(found["tangent_s"], found["tangent_a"], *states, joints)
    tangent = coordinates.to_tangent(found["ambient_s"], found["ambient_a"], *states, joints)
    np.testing.assert_allclose(ambient[0], found["ambient_s"], atol=1e-8)
    np.testing.assert_allclose(ambient[1], found["ambient_a"], atol=1e-8)
    np.testing.assert_allclose(tangent[0], found["tangent_s"], atol=1e-8)
    np.testing.assert_allclose(tangent[1], found["tangent_a"], atol=1e-8)


def test_basis_is_the_derivative_of_a_turn() -> None:
    quaternion = np.array([0.5, -0.1, 0.7, 0.2])
    quaternion /= np.linalg.norm(quaternion)
    expected = difference(lambda angles: turn(quaternion, angles), 3)
    np.testing.assert_allclose(coordinates.quaternion_basis(quaternion), expected, atol=1e-10)
    # The length of the quaternion has no meaning.
    np.testing.assert_allclose(coordinates.quaternion_basis(3 * quaternion), expected, atol=1e-10)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(sorted(POSITIONS)), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_round_trip_and_left_inverse(kinds: list[str], seed: int) -> None:
    joints = make_joints(tuple(kinds))
    nq, nv = sizes_of(tuple(kinds))
    states = random_states(tuple(kinds), 6, seed).reshape(2, 3, -1)
    Q = coordinates.tangent_to_ambient(states[..., :nq], joints)
    P = coordinates.ambient_to_tangent(states[..., :nq], joints)
    assert Q.shape == (2, 3, nq, nv) and P.shape == (2, 3, nv, nq)
    np.testing.assert_allclose(P @ Q, np.broadcast_to(np.eye(nv), (2, 3, nv, nv)), atol=1e-14)
    random = np.random.default_rng(seed)
    dx = 2 * nv + ACTIVATIONS
    J_s = random.normal(size=(2, 3, dx, dx)).astype(np.float32)
    J_a = random.normal(size=(2, 3, dx, ACTIONS)).astype(np.float32)
    ambient = coordinates.to_ambient(J_s, J_a, states, states[::-1], joints)
    assert ambient[0].dtype == ambient[1].dtype == np.float32
    back = coordinates.to_tangent(*ambient, states, states[::-1], joints)
    np.testing.assert_allclose(back[0], J_s, atol=2e-6)
    np.testing.assert_allclose(back[1], J_a, atol=2e-6)
    # The blocks are those of the whole matrices.
    full = Q[::-1] @ J_s[..., :nv, :nv] @ P
    np.testing.assert_allclose(ambient[0][..., :nq, :nq], full, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(sorted(POSITIONS)), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_masks_cover_what_is_nonzero(kinds: list[str], seed: int) -> None:
    joints = make_joints(tuple(kinds))
    _, nv = sizes_of(tuple(kinds))
    dx = 2 * nv + ACTIVATIONS
    random = np.random.default_rng(seed)
    masks = [(random.random((4, dx, size)) < 0.2).astype(np.uint8) for size in (dx, ACTIONS)]
    jacobians = [mask * random.uniform(0.5, 1, mask.shape) for mask in masks]
    states = random_states(tuple(kinds), 4, seed)
    ambient = coordinates.to_ambient(jacobians[0], jacobians[1], states, states, joints)
    ambient_masks = coordinates.masks_to_ambient(masks[0], masks[1], joints)
    for J, mask in zip(ambient, ambient_masks, strict=True):
        assert mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 1}
        # Random states and positive entries: a contribution is only zero where nothing contributes.
        assert not J[mask == 0].any()
    back = coordinates.masks_to_tangent(*ambient_masks, joints)
    for mask, returned in zip(masks, back, strict=True):
        assert (returned >= mask).all()
    if not coordinates.has_quaternions(joints):
        np.testing.assert_array_equal(back[0], masks[0])


def test_missing_masks_stay_missing() -> None:
    mask = np.full((8, 8), 255, np.uint8)
    assert (coordinates.masks_to_ambient(mask, mask[:, :2], make_joints(("ball", "hinge")))[0] == 255).all()


def test_a_zero_quaternion_is_the_identity() -> None:
    basis = coordinates.quaternion_basis(np.zeros(4))
    np.testing.assert_array_equal(basis, coordinates.quaternion_basis(np.array([1.0, 0, 0, 0])))


def test_wrong_shapes_and_joints_are_refused() -> None:
    joints, state = make_joints(("free",)), random_states(("free",), 2)
    J = np.zeros((2, 14, 14))
    with pytest.raises(InvalidSettingError, match="expected"):
        coordinates.to_ambient(J, J[..., :13, :2], state, state, joints)
    with pytest.raises(InvalidSettingError, match="too small"):
        coordinates.to_ambient(J[..., :9, :9], J[..., :9, :2], state, state, joints)
    with pytest.raises(InvalidSettingError, match="expected"):
        coordinates.masks_to_ambient(J, J[..., :13, :2], joints)
    with pytest.raises(InvalidSettingError, match="nq = 7"):
        coordinates.tangent_to_ambient(state[..., :6], joints)
    with pytest.raises(InvalidSettingError, match="joint0"):
        coordinates.tangent_to_ambient(state[..., :7], [{**joints[0], "qpos_address": 1}])
