"""Make the golden stores of this version of the format.

    PYTHONPATH=tests/helpers python tests/data/make_golden.py

Run it once, when `SCHEMA_VERSION` changes, from a clean checkout; what is there already is never replaced. Every
version's files stay: readers must be able to read all of them (`tests/loaders/test_golden.py`).
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from golden import FOLDER, PUBLISHED, REPO, SETTINGS, digests, file_digests, instruction_set, pack

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.loaders.load import open_dataset
from dynamic_sparsity.schemas import SCHEMA_VERSION


def main() -> None:
    """Make all stores, the HDF5 file, the published form, and the digests of their values."""
    jax_runtime.configure()
    from dynamic_sparsity.generation.jobs.generate import generate

    table = FOLDER / f"{SCHEMA_VERSION}.json"
    if table.exists():
        sys.exit(f"{table} exists: the golden stores of a version of the format are made once")
    with tempfile.TemporaryDirectory() as folder:
        # Nothing is written into the checkout before all is made: a store names the commit it was made by, and says so
        # if any file of the checkout was new or changed.
        made = Path(folder) / "made"
        made.mkdir()
        found = _make_all(generate, made, Path(folder))
        document = {"instruction_set": instruction_set(), "stores": found}
        (made / table.name).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
        shutil.copytree(made, FOLDER, dirs_exist_ok=True)


def _make_all(generate: Callable[..., Path], target: Path, folder: Path) -> dict[str, Any]:
    """Make everything but the table; return what the table says of each store."""
    found: dict[str, Any] = {}
    for name, settings in SETTINGS.items():
        root = folder / name
        store = generate(settings, root)
        dataset = open_dataset(store)
        pack(target / f"{SCHEMA_VERSION}-{name}.tar.xz", root, [file for file in store.rglob("*") if file.is_file()])
        found[name] = {
            "store": store.relative_to(root).as_posix(),
            "columns": digests(dataset[:]),
            "files": file_digests(store),
        }
        if name == PUBLISHED:
            dataset.select(slice(0, 200)).to_hdf5(target / f"{SCHEMA_VERSION}-{name}.h5")
            found[name]["hdf5_columns"] = digests(dataset[:200])
            _publish(root, target / f"{SCHEMA_VERSION}-{name}-published.tar.xz")
        print(name, dataset, flush=True)
    return found


def _publish(root: Path, archive: Path) -> None:
    """Keep what `publish` puts beside the store: publication, index, Parquet view and cards, but no pictures."""
    from dynamic_sparsity.publishing.publish import plan

    made = plan(root, REPO, tag="v1.0.0", offline=True)
    with tempfile.TemporaryDirectory() as folder:
        kept = []
        for file, source in made.files:
            if ".zarr/" in file.path or source.suffix == ".png":
                continue
            target = Path(folder) / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            kept.append(target)
        pack(archive, Path(folder), kept)


if __name__ == "__main__":
    main()
