"""The explorer as a Space: which files it has, and that publishing makes it and brings it up to date."""

from __future__ import annotations

import json

import pytest
import yaml

from dynamic_sparsity.cli import main
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.explorer import SCENES, STATIC
from dynamic_sparsity.publishing.space import publish_space, space_files
from dynamic_sparsity.testing import make_store


def test_files():
    files = space_files("org/name", "v1.0.0")
    assert json.loads(files["config.json"]) == {"repository": "org/name", "revision": "v1.0.0"}
    assert json.loads(space_files("org/name")["config.json"]) == {"repository": "org/name"}
    assert files["explorer.js"] == (STATIC / "explorer.js").read_bytes()
    assert {path for path in files if path.startswith("scenes/")} == {f"scenes/{one.name}" for one in SCENES.iterdir()}
    front = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    assert front["sdk"] == "static" and front["app_file"] in files and front["datasets"] == ["org/name"]


@pytest.mark.slow
def test_published_beside_the_data(tmp_path, hub, capsys):
    make_store(tmp_path / "CheetahRun/noise.zarr", task="CheetahRun")
    words = ["publish", str(tmp_path), "--repo", "org/name", "--tag", "v1.0.0", "--space", "org/look"]
    assert main([*words, "--dry-run"]) == 0
    assert not hub.repositories
    assert main(words) == 0
    assert "/spaces/org/look" in capsys.readouterr().out
    expected = {"repository": "org/name", "revision": "v1.0.0", "endpoint": hub.url}
    assert json.loads(hub.content("spaces/org/look", "config.json")) == expected
    assert hub.content("spaces/org/look", "explorer.js") == (STATIC / "explorer.js").read_bytes()
    assert hub.content("org/name", "CheetahRun/scene.json") == (SCENES / "CheetahRun.json").read_bytes()
    assert not hub.repositories["spaces/org/look"].private
    # Again, with a page that has changed there.
    hub.replace("spaces/org/look", "explorer.js", b"old")
    assert main(words) == 0
    assert "up to date" in capsys.readouterr().out
    assert hub.content("spaces/org/look", "explorer.js") == (STATIC / "explorer.js").read_bytes()


def test_impossible_names(tmp_path, hub, capsys):
    with pytest.raises(InvalidSettingError, match="ORG/NAME"):
        publish_space("look", "org/name")
    make_store(tmp_path / "Pendulums/noise.zarr")
    assert main(["publish", str(tmp_path), "--repo", "org/name", "--space", "../look"]) == 1
    assert not hub.requests
