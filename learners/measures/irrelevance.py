"""Does a model react to causes that do not matter? They are exchanged, in the simulator and in the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners.data.rows import Rows, Scale

__all__ = ["UNCHANGED", "irrelevance"]

Function = Callable[[NDArray[np.float32], NDArray[np.float32]], Any]

UNCHANGED = 1e-6
"""An effect that moves by less than this share of its standard deviation does not depend on the exchanged cause."""

WORST = 1e6
"""The largest change that is told from others, standard deviations."""


def irrelevance(
    predict: Function, simulate: Function, rows: Rows, scale: Scale, *, pairs: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Exchange a cause with another row's value, and see what moves that should not.

    For each of `pairs` draws of a row, a cause j (an entry of the state or the action) and another row, the cause takes
    the other row's value. Where the simulator's next value of effect i moves by less than 1e-6 σ_i, and i is not j
    itself, the model's should not move either.

    Args:
        predict: The model, (state, action) -> next states, MuJoCo's units.
        simulate: The true step, likewise; of a precision well below 1e-6 σ.
        rows: To draw from.
        scale: With the standard deviations of next states.
        pairs: How many draws.
        seed: Random; the same for every model.

    Returns:
        `rms`: root of the mean square of the model's change by σ_i where the truth does not change; `entries`: how many
        these are; `rms_of_truth`: the same of the simulator, at most 1e-6; `rms_elsewhere`: of the model where the
        truth does change. None where there are no such entries. A change that is no number, or larger,
        counts as 1e6 σ_i.

    Raises:
        InvalidSettingError: There are fewer than two rows, or no pairs are asked for.
    """
    if len(rows) < 2 or pairs < 1:
        raise InvalidSettingError(f"there are {len(rows)} rows and {pairs} pairs; at least 2 and 1 are needed")
    random = np.random.default_rng(seed)
    ds, da = rows.sizes
    row = random.integers(0, len(rows), pairs)
    other = (row + random.integers(1, len(rows), pairs)) % len(rows)
    cause = random.integers(0, ds + da, pairs)
    joined = np.concatenate([rows.state, rows.action], axis=1)
    before, after = joined[row], joined[row].copy()
    after[np.arange(pairs), cause] = joined[other, cause]
    moved = [_change(function, before, after, scale) for function in (simulate, predict)]
    still = np.abs(moved[0]) < UNCHANGED
    own = np.arange(ds)[None, :] == cause[:, None]
    # A row that has the same value has nothing to exchange.
    differs = (after != before).any(1)[:, None]
    return {
        "rms": _rms(moved[1], still & ~own & differs),
        "rms_of_truth": _rms(moved[0], still & ~own & differs),
        "rms_elsewhere": _rms(moved[1], ~still & ~own & differs),
        "entries": int((still & ~own & differs).sum()),
        "pairs": pairs,
    }


def _change(
    function: Function, before: NDArray[np.float32], after: NDArray[np.float32], scale: Scale
) -> NDArray[np.float64]:
    """Return the change of the next state by its standard deviations, shape (pairs, ds)."""
    ds = len(scale.output_std)
    first, second = (np.asarray(function(x[:, :ds], x[:, ds:]), np.float64) for x in (before, after))
    with np.errstate(invalid="ignore", over="ignore"):
        change = (second - first) / scale.output_std
    return np.where(np.abs(change) <= WORST, change, WORST)


def _rms(change: NDArray[np.float64], chosen: NDArray[np.bool_]) -> float | None:
    return float(np.sqrt((change[chosen] ** 2).mean())) if chosen.any() else None
