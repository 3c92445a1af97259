"""A function of one row as a function of batches, compiled where it is called with arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import jax

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.linearization.inputs import Inputs
from dynamic_sparsity.generation.physics.linear_algebra import without_lapack


def traced(tree: Any) -> bool:
    """Return whether JAX is tracing: whether any array of a tree stands for one that is not known yet.

    Args:
        tree: Arrays in containers.
    """
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree_util.tree_leaves(tree))


class Batched:
    """A function of rows with any number of leading axes.

    Called with arrays, it is a compiled program of its own; within another function that JAX traces, a part of that.
    """

    def __init__(self, one: Callable[[Inputs], Any]) -> None:
        """Prepare a function.

        Args:
            one: The function of one row.
        """
        many = jax.vmap(one)

        @wraps(one)
        def inner(inputs: Inputs) -> Any:
            with without_lapack():
                return many(inputs)

        self._compiled = jax_runtime.jit(many)
        # Compiler options are for programs, not for parts of them.
        self._part = jax.jit(inner)

    def __call__(self, inputs: Inputs) -> Any:
        """Evaluate it.

        Args:
            inputs: With equal leading axes.
        """
        batch = inputs.qpos.shape[:-1]
        axes, count = len(batch), math.prod(batch)
        flat = jax.tree_util.tree_map(lambda x: x.reshape(count, *x.shape[axes:]), inputs)
        result = (self._part if traced(flat) else self._compiled)(flat)
        return jax.tree_util.tree_map(lambda x: x.reshape(*batch, *x.shape[1:]), result)
