"""Versions of what is published: which may follow which, and what the changelog says of them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from dynamic_sparsity import load_dataset
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.hub.publication import Publication
from dynamic_sparsity.publishing import versions
from dynamic_sparsity.publishing.publish import plan, publish
from dynamic_sparsity.testing import HubServer

REPO = "org/name"


@pytest.mark.slow
def test_versions_follow_each_other(root: Path, hub: HubServer, tmp_path: Path) -> None:
    swings = tmp_path / "Swings"
    shutil.move(root / "Swings", swings)
    publish(plan(root, REPO, tag="v1.0.0"))
    with pytest.raises(InvalidSettingError, match=r"no data changed.*v1\.0\.1"):
        plan(root, REPO, tag="v0.9.0")
    shutil.move(swings, root / "Swings")
    with pytest.raises(InvalidSettingError, match="never changes"):
        plan(root, REPO, tag="v1.0.0")
    with pytest.raises(InvalidSettingError, match=r"added.*v1\.1\.0"):
        plan(root, REPO, tag="v1.0.1")
    publish(plan(root, REPO, tag="v1.1.0"))
    shutil.rmtree(root / "Pendulums")
    with pytest.raises(InvalidSettingError, match="--delete"):
        plan(root, REPO, tag="v2.0.0")
    with pytest.raises(InvalidSettingError, match=r"v2\.0\.0"):
        plan(root, REPO, tag="v1.2.0", delete=True)
    publish(plan(root, REPO, tag="v2.0.0", delete=True))
    assert not [path for path in hub.files(REPO) if "Pendulums" in path]
    changelog = hub.content(REPO, "CHANGELOG.md").decode()
    sections = re.findall(r"## (\S+)\n\n(.*)\n", changelog)
    assert sections == [
        ("v2.0.0", "- Removed: Pendulums/noise."),
        ("v1.1.0", "- Added: Swings/noise (stock)."),
        ("v1.0.0", "- Added: Pendulums/noise."),
    ]
    assert Publication.read(root / ".publish/cards/publication.json", "").data_version == "2.0.0"
    # Old versions stay as they were.
    assert len(load_dataset("Pendulums", repo_id=REPO, revision="v1.0.0")) == 227


@pytest.mark.parametrize("tag", ["1", "v1.0", "latest", "v1.0.0-rc1", ""])
def test_impossible_versions(tag: str) -> None:
    with pytest.raises(InvalidSettingError, match="three numbers"):
        versions.parse_tag(tag)
