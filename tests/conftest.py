"""Shared set-up: JAX as the package needs it, and one compiled program per dynamics for all tests."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from dynamic_sparsity.testing import HubServer

# Tests never reach out to the network, whatever a library would like to do: its Hub is a server on this machine. The
# clients read these variables when they are imported.
_FOLDER = Path(tempfile.mkdtemp(prefix="hub"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
SERVER = HubServer(_FOLDER / "server")
os.environ |= SERVER.environment(_FOLDER / "home", token=None)
for _variable in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "DYNAMIC_SPARSITY_REPOSITORY"):
    os.environ.pop(_variable, None)


# Array shapes and types are checked where arrays are computed, whenever a test traces a function. The hook acts when a
# simulator test imports these packages; other tests do not pay for it.
with contextlib.suppress(ImportError):
    from jaxtyping import install_import_hook

    import_module("beartype")
    install_import_hook(
        ["dynamic_sparsity.generation.physics", "dynamic_sparsity.generation.jacobians"], "beartype.beartype"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first, so that a mistake shows early."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(autouse=True)
def _float64() -> None:
    """Float64 in JAX, for the tests of modules that have it loaded; the others start without a simulator."""
    if "jax" in sys.modules:
        from dynamic_sparsity.generation import jax_runtime

        jax_runtime.configure()


@pytest.fixture
def no_promotion() -> Iterator[None]:
    """Neither ranks nor types are promoted by the package's own code in the test."""
    from strict_promotion import strict_promotion

    with strict_promotion():
        yield


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The server, without memory of other tests, and an empty cache; the token may write."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _cache_assets

    SERVER.clear()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))
    monkeypatch.setattr(_cache_assets, "HF_ASSETS_CACHE", str(tmp_path / "cache" / "assets"))
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    return SERVER
