"""The environment of a task: what resets it, observes it and rewards it."""

from __future__ import annotations

from typing import Any

from dynamic_sparsity.generation.jax_runtime import require_float64


def load_environment(name: str) -> Any:
    """Return Playground's environment of a task, on MJX's JAX implementation: Warp, the default, has no derivatives.

    Args:
        name: Name of the task.

    Raises:
        InvalidSettingError: JAX computes in float32.
    """
    require_float64()
    from mujoco_playground import dm_control_suite

    return dm_control_suite.load(name, config_overrides={"impl": "jax"})
