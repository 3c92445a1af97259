"""JAX and Equinox for learners: asked for when they are needed, with a cache of compiled programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dynamic_sparsity.errors import MissingDependencyError

__all__ = ["require_jax"]


def require_jax() -> None:
    """Check that JAX, Equinox and Optax are there, and keep what JAX compiles between runs.

    The cache is beside the one of the simulator's programs. Whether JAX's default is float32 or float64 is left
    alone: learners name float32 wherever it matters.

    Raises:
        MissingDependencyError: One of them is not installed.
    """
    try:
        import equinox  # noqa: F401
        import jax
        import optax  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"Training needs {error.name}, which is not installed: pip install 'dynamic-sparsity[learners]'"
        ) from error
    config: Any = jax.config
    if config.jax_compilation_cache_dir is None:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        config.update("jax_compilation_cache_dir", str(base / "dynamic-sparsity" / "xla-learners"))
        config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
