"""Shared set-up: JAX as the package needs it, and one compiled program per dynamics for all tests."""

from __future__ import annotations

import os

import pytest

# Tests never reach out to the network, whatever a library would like to do.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first, so that a mistake shows early."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(scope="session", autouse=True)
def _float64() -> None:
    from dynamic_sparsity.generation import runtime

    runtime.configure()
