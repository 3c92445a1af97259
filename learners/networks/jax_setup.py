"""JAX and Equinox for learners: asked for when they are needed, with a cache of compiled programs."""

from __future__ import annotations

from dynamic_sparsity.compilation_cache import keep_compiled_programs
from dynamic_sparsity.errors import MissingDependencyError

__all__ = ["require_jax"]


def require_jax() -> None:
    """Check that JAX, Equinox and Optax are there, and keep what JAX compiles between runs.

    Whether JAX's default is float32 or float64 is left alone: learners name float32 wherever it matters.

    Raises:
        MissingDependencyError: One of them is not installed.
    """
    try:
        import equinox  # noqa: F401
        import jax  # noqa: F401
        import optax  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"Training needs {error.name}, which is not installed: pip install 'dynamic-sparsity[learners]'"
        ) from error
    keep_compiled_programs()
