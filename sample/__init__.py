"""A sample of the data inside the package: some tasks, few rows, as stores like any other.

    from dynamic_sparsity import load_dataset

    dataset = load_dataset("CheetahRun", sample=True)

`python -m dynamic_sparsity.generation.jobs.sample` makes it.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["SAMPLE_ROOT", "sample_stores"]

SAMPLE_ROOT = Path(__file__).parent / "stores"
"""The root of the sample's stores, for everything that takes one."""


def sample_stores() -> dict[str, list[str]]:
    """Return which stores the sample has: policies by task, both sorted."""
    found: dict[str, list[str]] = {}
    for path in sorted(SAMPLE_ROOT.glob("*/*.zarr")):
        found.setdefault(path.parent.name, []).append(path.stem)
    return found
