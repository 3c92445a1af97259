"""A store of pendulums, two of whose episodes end early, for tests of what reads it."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dynamic_sparsity.testing import make_store

LENGTHS = {2: 7, 5: 1}
"""Steps of the episodes that end early; the other ten have 20."""
ROWS = 10 * 20 + 7 + 1

Arrays = dict[str, NDArray[Any]]


def make_root(folder: Path) -> Path:
    """Write the store `Pendulums/noise.zarr` into a folder, and return the folder."""
    make_store(folder / "Pendulums/noise.zarr", quaternion=True, early=LENGTHS)
    return folder
