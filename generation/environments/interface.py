"""What a task's step does around physics: which control an action gives, what it remembers, what it looks at.

Nothing of this is written by hand. The task's own `step` is traced with its physics taken out, and the trace says on
what the control depends, whether the state was changed before the physics, and which fields of the data are read. What
is found must be what data of a task can say: the control is a function of (qpos, qvel, the last control, action), and
nothing else acts on the physics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from dynamic_sparsity.errors import UnsupportedModelError
from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.environments.replacing import step_replaced
from dynamic_sparsity.generation.physics.linear_algebra import without_lapack

Control = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]
"""(qpos, qvel, last control, action) → control, float64, of one row."""

ARGUMENTS = ("qpos", "qvel", "ctrl", "action")
"""What a control may depend on; `ctrl` is the last one."""


CALLS = ("jit", "pjit")
"""Primitives that call a function with the very arguments they are given, so that it is looked into."""


@dataclass(frozen=True, eq=False)
class Interface:
    """What a task's step does around physics.

    Attributes:
        observed: Fields of MJX's data after the physics, beside qpos and qvel, that the task reads.
        looked_back: Fields of MJX's data before it that the task reads.
        control: The control that an action gives; None where it is the action itself.
        depends_on: Those of `ARGUMENTS` that the control depends on.
        written: Fields of MJX's data that the task writes before the physics; what it writes must change nothing.
    """

    observed: tuple[str, ...]
    looked_back: tuple[str, ...] = ()
    control: Control | None = None
    depends_on: tuple[str, ...] = ("action",)
    written: tuple[str, ...] = ()

    @property
    def remembers(self) -> bool:
        """Whether the last control decides the next one, and so is part of the state."""
        return "ctrl" in self.depends_on


class _Captured(Exception):
    def __init__(self, data: Any, ctrl: Any, substeps: int) -> None:
        self.data, self.ctrl, self.substeps = data, ctrl, substeps


def _capture(_model: Any, data: Any, action: Any, n_substeps: int = 1) -> Any:
    raise _Captured(data, action, n_substeps)


def before_physics(environment: Any, state: Any, action: Any) -> tuple[Any, Any, int]:
    """Return data, control and number of physics steps with which a task's step enters the physics.

    Args:
        environment: Playground's environment.
        state: Its state.
        action: The action.

    Raises:
        UnsupportedModelError: It does not enter it by `mjx_env.step`.
    """
    try:
        with step_replaced(_capture):
            environment.step(state, action)
    except _Captured as found:
        return found.data, found.ctrl, found.substeps
    raise UnsupportedModelError(
        f"{type(environment).__name__}.step does not call `mjx_env.step` of MuJoCo Playground, by which its physics is "
        "exchanged for the one that is differentiated: call it once, as Playground's own tasks do."
    )


def shapes_of(environment: Any) -> tuple[Any, Any]:
    """Return the shapes of a task's state and of its action; no physics is traced.

    Args:
        environment: Playground's environment.
    """
    key = jax.eval_shape(lambda: jax.random.PRNGKey(0, impl=jax_runtime.PRNG))
    with step_replaced(lambda _model, data, *_args, **_kwargs: data, lambda _model, data: data), without_lapack():
        state = jax.eval_shape(environment.reset, key)
    return state, jax.eval_shape(lambda: jnp.zeros(environment.action_size))


def trace(environment: Any, written: Sequence[str] = ()) -> Interface:
    """Find out what a task's step does around physics.

    Args:
        environment: Playground's environment.
        written: Fields of MJX's data that it may write before the physics, as they are known to keep their values.

    Raises:
        UnsupportedModelError: Something else than state and action acts on the physics.
    """
    name = type(environment).__name__
    state, action = shapes_of(environment)
    control, depends_on, pushed = _control(environment, state, action)
    unknown = [path for path in depends_on if path not in ARGUMENTS]
    if unknown:
        raise UnsupportedModelError(
            f"The control of {name} depends on {', '.join(unknown)}, beside {', '.join(ARGUMENTS[:3])} and the action: "
            "hidden state, by which its step is no function of state and action."
        )
    if pushed - set(written):
        raise UnsupportedModelError(
            f"{name} changes {', '.join(sorted(pushed - set(written)))} before its physics, such as a push: its step "
            "is then no function of state and action. Switch that off in its configuration."
        )
    observed, looked_back = _reads(environment, state, action)
    return Interface(observed, looked_back, control, depends_on, tuple(sorted(pushed)))


def _control(environment: Any, state: Any, action: Any) -> tuple[Control, tuple[str, ...], set[str]]:
    """Return the control as a function, what it depends on, and the fields that are written before the physics."""

    def entered(state: Any, action: Any) -> tuple[Any, Any]:
        data, ctrl, substeps = before_physics(environment, state, action)
        if substeps != environment.n_substeps:
            raise UnsupportedModelError(
                f"{type(environment).__name__} makes {substeps} physics steps, but its n_substeps is "
                f"{environment.n_substeps}."
            )
        return jnp.asarray(ctrl, jnp.float64), data

    traced, found = jax.make_jaxpr(entered, return_shape=True)(state, action)
    names = [_name(path) for path, _ in jax.tree_util.tree_flatten_with_path((state, action))[0]]
    depends_on = tuple(names[i] for i in sorted(_sources(traced)[0]))
    # What comes out as the very variable that went in was not written.
    given = dict(zip(map(id, traced.jaxpr.invars), names, strict=True))
    outputs = jax.tree_util.tree_flatten_with_path((None, found[1]))[0]
    pushed = {
        _field(path) for (path, _), out in zip(outputs, traced.jaxpr.outvars[1:], strict=True) if id(out) not in given
    }
    blank = jax.tree_util.tree_map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)

    def control(qpos: jax.Array, qvel: jax.Array, ctrl: jax.Array, action: jax.Array) -> jax.Array:
        at = blank.replace(data=blank.data.replace(qpos=qpos, qvel=qvel, ctrl=ctrl))
        entering: jax.Array = entered(at, action)[0]
        return entering

    arguments = (state.data.qpos, state.data.qvel, state.data.ctrl, action)
    function = jaxpr_as_fun(jax.make_jaxpr(control)(*arguments))
    return lambda *values: function(*values)[0], depends_on, pushed


def _reads(environment: Any, state: Any, action: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the fields of the data that a task reads after its physics, and before it."""

    def observe(after: Any, state: Any, action: Any) -> Any:
        calls = []

        def step(*_args: Any, **_kwargs: Any) -> Any:
            calls.append(1)
            return after

        with step_replaced(step):
            seen = environment.step(state, action)
        if len(calls) != 1:
            raise UnsupportedModelError(
                f"{type(environment).__name__}.step calls `mjx_env.step` {len(calls)} times; it must be once."
            )
        return seen.replace(data=None)

    traced = jax.make_jaxpr(observe)(state.data, state, action).jaxpr
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path((state.data, state, action))[0]]
    # Also what is computed in vain is read.
    used = {id(var) for equation in traced.eqns for var in equation.invars} | {id(var) for var in traced.outvars}
    read = [path for path, var in zip(paths, traced.invars, strict=True) if id(var) in used]
    after = {_field(path) for path in read if path[0].idx == 0} - {"qpos", "qvel"}
    before = {_field(path) for path in read if path[0].idx == 1 and _name(path[1:]).startswith("data.")}
    return tuple(sorted(after)), tuple(sorted(before))


def _name(path: Sequence[Any]) -> str:
    """Return what a leaf of (state, action) is called: one of `ARGUMENTS`, or its path."""
    name = jax.tree_util.keystr(tuple(path), simple=True, separator=".")
    for prefix in ("0.data.", "0."):
        if name.startswith(prefix) and (prefix == "0." or name.removeprefix(prefix) in ARGUMENTS):
            return name.removeprefix(prefix)
    return "action" if name == "1" else name


def _field(path: Sequence[Any]) -> str:
    """Return the field of MJX's data that a leaf belongs to, of (data, …) or (…, state with data, …)."""
    names = [entry.name for entry in path if isinstance(entry, jax.tree_util.GetAttrKey)]
    return str(names[1] if names[0] == "data" else names[0])


def _sources(traced: ClosedJaxpr) -> list[frozenset[int]]:
    """Return on which of its inputs each output of a traced function depends."""
    jaxpr = traced.jaxpr
    known: dict[int, frozenset[int]] = {id(var): frozenset({i}) for i, var in enumerate(jaxpr.invars)}

    def of(var: Any) -> frozenset[int]:
        return known.get(id(var), frozenset())

    for equation in jaxpr.eqns:
        inner = equation.params.get("jaxpr")
        inputs = [of(var) for var in equation.invars]
        calls = equation.primitive.name in CALLS and isinstance(inner, ClosedJaxpr)
        if calls and len(inner.jaxpr.invars) == len(inputs):
            outputs = [frozenset[int]().union(*(inputs[i] for i in found)) for found in _sources(inner)]
        else:
            outputs = [frozenset[int]().union(*inputs)] * len(equation.outvars)
        known |= {id(var): found for var, found in zip(equation.outvars, outputs, strict=True)}
    return [of(var) for var in jaxpr.outvars]
