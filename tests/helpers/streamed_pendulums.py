"""A small store, published on the tests' server of the Hub, for tests that stream it."""

from __future__ import annotations

from pathlib import Path

from published_root import publish_root

from dynamic_sparsity.testing import Repository, make_store

__all__ = ["REPO", "make_pendulums", "publish_pendulums"]

REPO = "org/name"


def make_pendulums(root: Path) -> Path:
    """Write a store of 391 rows in five shards below a folder, which is returned."""
    make_store(root / "Pendulums/noise.zarr", episodes=20, early={3: 11}, quaternion=True)
    return root


def publish_pendulums(root: Path) -> dict[str, Repository]:
    """Publish it; returns the server's repositories."""
    return publish_root(root, REPO)
