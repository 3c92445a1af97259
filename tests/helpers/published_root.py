"""A root published on the tests' server of the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import SERVER

from dynamic_sparsity.publishing.publish import plan, publish
from dynamic_sparsity.testing import Repository

__all__ = ["publish_root"]


def publish_root(root: Path, repo_id: str, **options: Any) -> dict[str, Repository]:
    """Publish a root as the only repository; returns the server's repositories, for tests to put them there again.

    Args:
        root: Folder of all stores.
        repo_id: "ORG/NAME".
        **options: Of `plan`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "hf_writer")
        SERVER.repositories.clear()
        SERVER.faults.clear()
        publish(plan(root, repo_id, **options))
        return dict(SERVER.repositories)
