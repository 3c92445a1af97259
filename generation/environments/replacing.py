"""Playground's physics exchanged for something else while one of its tasks is traced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

TRACING = threading.RLock()
"""Held while the physics is exchanged; whoever traces a task with Playground's own physics holds it too."""


@contextmanager
def step_replaced(step: Callable[..., Any], forward: Callable[[Any, Any], Any] | None = None) -> Iterator[None]:
    """Exchange `mjx_env.step`, by which every task of Playground makes its physics steps; other threads wait.

    Args:
        step: In its place, with its arguments: model, data, control, number of physics steps.
        forward: In the place of `mjx.forward`, which a reset calls; None leaves it.
    """
    from mujoco import mjx
    from mujoco_playground._src import mjx_env

    modules: Any = (mjx_env, mjx)
    with TRACING:
        original = mjx_env.step, mjx.forward
        modules[0].step, modules[1].forward = step, forward or original[1]
        try:
            yield
        finally:
            modules[0].step, modules[1].forward = original


@contextmanager
def physics_replaced(data: Any) -> Iterator[None]:
    """Make a task's step find given data after its physics, so that it observes and rewards those.

    Args:
        data: MJX data.
    """
    with step_replaced(lambda *_args, **_kwargs: data):
        yield
