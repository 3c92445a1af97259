"""What brax 0.14.2 needs to run with jax 0.10 and later.

Its PPO and SAC call `jax.device_put_replicated`, which jax 0.10 no longer has (google/brax#671). And the evaluator that
SAC insists on fails after training has begun, as jax 0.10's `pmap` leaves its mesh in the types of what it returns.

This module can go when a brax is required that calls neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp


def device_put_replicated(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Copies arrays to devices, with a new first axis over them, as jax's function of this name did."""
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(devices)), tree)
    return jax.pmap(lambda leaf: leaf, devices=devices)(stacked)


@contextmanager
def repaired(evaluate: Callable[[Any], None] | None = None) -> Iterator[None]:
    """While in use, brax trains; SAC calls `evaluate` with its parameters where it would evaluate them."""
    from brax.training.agents.sac import train as sac

    class Evaluator:
        def __init__(self, *_arguments: Any, **_options: Any) -> None:
            pass

        def run_evaluation(self, params: Any, training_metrics: Any) -> dict[str, Any]:
            # Before training there are no metrics, and nothing to see.
            if training_metrics and evaluate is not None:
                evaluate(params)
            return {}

    there = hasattr(jax, "device_put_replicated")
    package: Any = jax
    acting = sac.acting
    if not there:
        package.device_put_replicated = device_put_replicated
    sac.acting = SimpleNamespace(**{**vars(acting), "Evaluator": Evaluator})
    try:
        yield
    finally:
        sac.acting = acting
        if not there:
            del package.device_put_replicated
