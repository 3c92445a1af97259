"""What brax 0.14.2 needs to run with jax 0.10 and later.

Its PPO and SAC call `jax.device_put_replicated`, which jax 0.10 no longer has (google/brax#671). And the evaluator that
SAC insists on fails after training has begun, as jax 0.10's `pmap` leaves its mesh in the types of what it returns.
SAC's own way to resume from parameters fails too: it puts them in without the axis over devices (google/brax#659); and
it gives its critic and its optimisers to nobody, without which a run would not be resumed, but begin again from better
parameters (google/brax#655).

This module can go when a brax is required that calls neither, and whose SAC takes and gives a complete training state:
`tests/test_upstream.py` fails as soon as one is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def device_put_replicated(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Copy arrays to devices, with a new first axis over them, as jax's function of this name did.

    Args:
        tree: Pytree of arrays.
        devices: Where to copy them to.
    """
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(devices)), tree)
    return jax.pmap(lambda leaf: leaf, devices=devices)(stacked)


@contextmanager
def repaired(
    evaluate: Callable[[Any, Any], None] | None = None, restore: Callable[[Any], Any] | None = None
) -> Iterator[None]:
    """Make brax train while the context lasts.

    Args:
        evaluate: SAC calls it where it would evaluate, with its parameters and its training state (of one device).
        restore: SAC calls it with the training state that it begins with (of one device), and takes what it returns.
    """
    from brax.training.agents.sac import train as sac

    package: Any = jax
    there = hasattr(jax, "device_put_replicated")
    replicate = package.device_put_replicated if there else device_put_replicated
    latest: list[Any] = []

    class Evaluator:
        def __init__(self, *_arguments: Any, **_options: Any) -> None:
            pass

        def run_evaluation(self, params: Any, training_metrics: Any) -> dict[str, Any]:
            # Before training there are no metrics, and nothing to see.
            if training_metrics and evaluate is not None:
                evaluate(params, jax.tree.map(lambda leaf: np.asarray(leaf)[0], latest[0]))
            return {}

    def begin(*arguments: Any, **options: Any) -> Any:
        state = originals[1](*arguments, **options)
        if restore is None:
            return state
        restored = restore(jax.tree.map(lambda leaf: np.asarray(leaf)[0], state))
        return replicate(restored, jax.local_devices()[: len(jax.tree.leaves(state)[0])])

    def pmap(function: Callable[..., Any], *arguments: Any, **options: Any) -> Callable[..., Any]:
        mapped = originals[2](function, *arguments, **options)

        def call(*values: Any) -> Any:
            results = mapped(*values)
            if isinstance(results, tuple) and isinstance(results[0], sac.TrainingState):
                latest[:] = results[:1]
            return results

        return call

    originals = sac.acting, sac._init_training_state, jax.pmap
    sac.acting = SimpleNamespace(**{**vars(sac.acting), "Evaluator": Evaluator})
    sac._init_training_state, package.pmap = begin, pmap
    if not there:
        package.device_put_replicated = device_put_replicated
    try:
        yield
    finally:
        sac.acting, sac._init_training_state, package.pmap = originals
        if not there:
            del package.device_put_replicated
