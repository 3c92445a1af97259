"""Errors of a model's Jacobian, mode by mode."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.learners.measures.moments import MODES, Moments

__all__ = ["jacobian_by_mode"]

Floats = NDArray[np.floating]

LARGE = 1e-2
"""Entries whose true dimensionless absolute value is smaller count neither for size nor for sign."""

WORST = 1e6
"""What is not a number, or larger, counts as this, with the wrong sign; dimensionless."""

LOG_WORST = 12.0
"""The error of the size of an entry that should be there and is 0, powers of ten."""


def jacobian_by_mode(found: Floats, truth: Floats, moments: Moments) -> dict[str, Any]:
    """Return the errors of Jacobians in all rows, and in those of each mode.

    Args:
        found: The model's, dimensionless, shape (n, ds, ds + da).
        truth: Likewise.
        moments: Of the rows; those of step 0 are left out.

    Returns:
        "all" and each mode that has rows: `rows`; `relative_error`, the median over rows of the error's Frobenius norm
        by the truth's; `log_size`, the median of |log10 |Ĵ / J|| and `sign`, the share of right signs, of the entries
        where |J| ≥ 1e-2. "mean": the mean of `relative_error` over modes.
    """
    kept = moments.step > 0
    true = truth[kept].astype(np.float64)
    wrong = np.where(true > 0, -WORST, WORST)
    given = found[kept].astype(np.float64)
    clear = np.where(np.abs(given) <= WORST, given, wrong)
    mode = moments.mode[kept]
    result: dict[str, Any] = {"all": _errors(clear, true)}
    by_mode = {
        name: _errors(clear[mode == at], true[mode == at]) for at, name in enumerate(MODES) if (mode == at).any()
    }
    errors = [one["relative_error"] for one in by_mode.values() if one["relative_error"] is not None]
    return result | by_mode | {"mean": float(np.mean(errors)) if errors else None}


def _errors(found: Floats, truth: Floats) -> dict[str, Any]:
    size = np.sqrt((truth**2).sum((1, 2)))
    error = np.sqrt(((found - truth) ** 2).sum((1, 2)))
    there = size > 0
    large = np.abs(truth) >= LARGE
    given, true = found[large], truth[large]
    ratio = np.abs(given / true)
    log = np.minimum(LOG_WORST, np.abs(np.log10(np.maximum(ratio, 10.0**-LOG_WORST))))
    return {
        "rows": len(truth),
        "relative_error": float(np.median(error[there] / size[there])) if there.any() else None,
        "log_size": float(np.median(log)) if true.size else None,
        "sign": float((np.sign(given) == np.sign(true)).mean()) if true.size else None,
    }
