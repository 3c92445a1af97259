"""The models of robots, which no test fetches."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dynamic_sparsity.generation.environments.menagerie import VARIABLE

BESIDE = Path(__file__).parents[3] / "shared" / "menagerie"
"""Where a copy may be, beside the checkout."""


def menagerie() -> Path:
    """Return a folder with the models; skip the test if there is none on this machine."""
    folder = Path(os.environ.get(VARIABLE, BESIDE))
    if not folder.is_dir():
        pytest.skip(f"no copy of MuJoCo Menagerie in {BESIDE}, and {VARIABLE} names none")
    return folder
