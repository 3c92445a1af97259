"""What is worked around in other packages: each test fails when its workaround can go, and says what to remove."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from dynamic_sparsity.generation import jax_runtime

pytestmark = pytest.mark.slow

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lowest_supported(package: str) -> Version:
    """The lowest version of a package that some set of requirements of ours admits."""
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    requirements = [Requirement(line) for lines in lists for line in lines]
    bounds = [
        Version(part.version)
        for requirement in requirements
        if requirement.name == package
        for part in requirement.specifier
        if part.operator in (">=", "==", "~=")
    ]
    assert bounds, f"no lower bound of {package} in pyproject.toml"
    return min(bounds)


def test_fusion_emitters_of_xla() -> None:
    """jax-ml/jax#33761, google-deepmind/mujoco#2957."""
    assert lowest_supported("jax") < Version("0.11"), "remove FUSION_EMITTERS_OFF: no supported jax has the option"
    expected = jax_runtime.FUSION_EMITTERS_OFF if Version(jax.__version__) < Version("0.11") else None
    assert jax_runtime.compiler_options() == expected


def test_lapack_of_jaxlib() -> None:
    """jax-ml/jax#36927: batched LAPACK on a CPU divides its work among the threads that wait for it."""

    def solve(matrix: jax.Array, right: jax.Array) -> jax.Array:
        return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(matrix), right)

    arguments = jnp.ones((4, 3, 3)), jnp.ones((4, 3))
    assert "lapack" in jax.jit(jax.vmap(solve)).lower(*arguments).as_text(), "remove without_lapack: jax calls none"
    ours: Any = jax_runtime.jit(jax.vmap(solve))
    assert "lapack" not in ours.lower(*arguments).as_text()


def test_repair_of_brax() -> None:
    """google/brax#671, google/brax#659, google/brax#655."""
    ppo = pytest.importorskip("brax.training.agents.ppo.train", reason="brax comes with the extra [train]")
    sac = pytest.importorskip("brax.training.agents.sac.train", reason="brax comes with the extra [train]")
    words = "require this brax and remove training/brax_repair.py, or the part of it that repairs this"
    assert not hasattr(jax, "device_put_replicated") and "device_put_replicated" in inspect.getsource(ppo), words
    assert "device_put_replicated" in inspect.getsource(sac._init_training_state), words
    assert (
        "optimizer_state" not in inspect.getsource(sac.train).partition("restore_checkpoint_path is not None")[2][:900]
    ), words
