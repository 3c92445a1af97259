"""The package for others' tests: its guide runs, it needs no simulator, its server runs by itself."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from dynamic_sparsity.storage.verify import verify_store
from dynamic_sparsity.testing import make_all, make_store

GUIDE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()


@pytest.mark.slow
def test_the_guide_runs(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    pytest.importorskip("matplotlib")
    snippets = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(snippets) == 4
    subprocess.run([sys.executable, "-c", "\n".join(snippets)], check=True, cwd=tmp_path)


@pytest.mark.slow
def test_options_of_the_guide_exist(tmp_path: Path) -> None:
    store = make_store(tmp_path / "Pendulums/noise-stock.zarr", early={3: 7}, quaternion=True, stock=True)
    assert not verify_store(store)
    _, columns, episodes = make_all(early={3: 7}, chunk_rows=8, shard_rows=40)
    assert episodes[3]["length"] == 7
    assert columns["J_s"].shape == (240, 6, 6)


@pytest.mark.slow
def test_it_imports_neither_simulator_nor_client() -> None:
    script = (
        "import sys, dynamic_sparsity.testing; "
        "loaded = {'jax', 'mujoco', 'mujoco_playground', 'brax', 'huggingface_hub'} & set(sys.modules); "
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.slow
def test_the_server_runs_by_itself(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "dynamic_sparsity.testing.hub_server", str(tmp_path / "hub")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            request = urllib.request.Request(f"{url}/api/whoami-v2", headers={"Authorization": "Bearer hf_reader"})
            with urllib.request.urlopen(request) as answer:
                assert answer.status == 200
        finally:
            process.terminate()
