"""Our own code may promote neither ranks nor types: what does is mostly a mistake, and always a surprise."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import jax
from mujoco import mjx

from dynamic_sparsity.generation.physics import mjx_private


def _lenient(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of MJX that may promote, as all of MJX does."""

    @functools.wraps(function)
    def called(*arguments: Any, **options: Any) -> Any:
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            return function(*arguments, **options)

    return called


@contextmanager
def strict_promotion() -> Iterator[None]:
    """Raise errors where our own code promotes ranks or types, while the context lasts; MJX's own code may."""
    with ExitStack() as patches:
        for module in (mjx, mjx_private):
            for name, value in list(vars(module).items()):
                if inspect.isfunction(value):
                    patches.enter_context(patch.object(module, name, _lenient(value)))
        context = mjx_private.SolverContext
        patches.enter_context(patch.object(context, "create", _lenient(context.create)))
        with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
            yield
