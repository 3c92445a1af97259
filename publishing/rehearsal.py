"""A publication tried out: a Hub on this machine serves it, and a process of its own loads it as a user would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np

from dynamic_sparsity.errors import CorruptStoreError
from dynamic_sparsity.loaders.dataset import JacobianDataset
from dynamic_sparsity.loaders.hub.publication import PublishedStore, config_name
from dynamic_sparsity.loaders.load import load_dataset, open_dataset
from dynamic_sparsity.publishing.parquet import view_of
from dynamic_sparsity.publishing.publish import Plan
from dynamic_sparsity.publishing.staging import staging_folder
from dynamic_sparsity.storage.locks import lock
from dynamic_sparsity.testing import HubServer, Repository

__all__ = ["load_as_user", "rehearse"]

BLOCK_ROWS: Final = 4096
OF_THE_USER: Final = ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_ASSETS_CACHE")
"""What this process may have set and a new user has not."""


def rehearse(made: Plan, root: Path, stores: list[PublishedStore]) -> Iterator[PublishedStore]:
    """Load stores of a publication from a local server, all rows of all splits, and compare them with those here.

    Nothing is copied to the server; a store's download is deleted before the next one's.

    Args:
        made: The publication.
        root: Folder of all stores.
        stores: Which of its stores.

    Yields:
        Each store when its rows have come back.

    Raises:
        CorruptStoreError: Other rows came back, or they could not be loaded.
    """
    # Beside the stores: there is room for a copy of one of them.
    folder = staging_folder(root) / "rehearsal"
    with lock(folder):
        _remove(folder)
        try:
            with closing(HubServer(folder / "server")) as hub:
                _serve(made, hub)
                for store in stores:
                    _in_process(hub, folder / "home", made, root, store)
                    shutil.rmtree(folder / "home")
                    yield store
        finally:
            _remove(folder)


def load_as_user(repo_id: str, revision: str, root: Path, path: str) -> dict[str, int]:
    """Load one store from the Hub, and compare every row with the store here; the Parquet view too.

    Args:
        repo_id: "ORG/NAME".
        revision: Tag or branch.
        root: Folder of all stores.
        path: The store's path below it.

    Returns:
        Rows by split.

    Raises:
        CorruptStoreError: A row differs.
        DynamicSparsityError: As `load_dataset`.
    """
    from dynamic_sparsity.loaders.hub.repository import Repository as Published

    publication = Published.open(repo_id, revision).publication
    store = next(store for store in publication.stores if store.path == path)
    rows = {}
    for split in (split for split, count in store.splits.items() if count):
        theirs = load_dataset(
            store.task,
            repo_id=repo_id,
            revision=revision,
            policy=store.policy,
            dynamics=store.dynamics,
            split=split,
            progress=False,
        )
        ours = open_dataset(root / path, split=split)
        if len(theirs) != len(ours) or theirs.columns != ours.columns:
            raise CorruptStoreError(f"{path}: {split}: {len(theirs)} rows came back of {len(ours)}; publish it anew")
        for start in range(0, len(ours), BLOCK_ROWS):
            found, expected = theirs[start : start + BLOCK_ROWS], ours[start : start + BLOCK_ROWS]
            for name, values in expected.items():
                if found[name].tobytes() != values.tobytes():
                    raise CorruptStoreError(f"{path}: {split}: other values of {name} came back, after row {start}")
        _check_parquet(repo_id, revision, store, ours)
        rows[split] = len(ours)
    return rows


def _check_parquet(repo_id: str, revision: str, store: PublishedStore, ours: JacobianDataset) -> None:
    """Read all rows of a configuration's split with `datasets`, by the features of the card."""
    import datasets  # type: ignore[import-untyped]

    config = config_name(store.task, store.policy, store.dynamics)
    view = datasets.load_dataset(repo_id, config, split=ours.split, revision=revision, streaming=True)
    ours, start = view_of(ours), 0
    for batch in view.with_format("numpy").iter(batch_size=BLOCK_ROWS):
        expected = ours[start : start + BLOCK_ROWS]
        for name, values in expected.items():
            # Its own column formats are wider than the store's: int64 for masks.
            if not np.array_equal(batch[name], values, equal_nan=values.dtype.kind == "f"):
                raise CorruptStoreError(f"{config}: {ours.split}: the Parquet view has other values of {name}")
        start += len(batch["step"])
    if start != len(ours):
        raise CorruptStoreError(f"{config}: {ours.split}: the Parquet view has {start} rows of {len(ours)}")


def _serve(made: Plan, hub: HubServer) -> None:
    """Put a publication on a server: the files stay where they are."""
    files = {}
    for file, source in made.files:
        blob = hub.blob(file.sha256)
        if not blob.exists():
            blob.symlink_to(source.absolute())
        files[file.path] = hub.entry(file.sha256, lfs=not file.path.endswith((".md", ".json")))
    repository = hub.repositories[made.repo_id] = Repository()
    commit = hub.commit(repository, files)
    if made.tag is not None:
        repository.tags[made.tag] = commit


def _remove(folder: Path) -> None:
    """Delete what a rehearsal has left; a link is not followed."""
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _in_process(hub: HubServer, home: Path, made: Plan, root: Path, store: PublishedStore) -> None:
    """Load one store in a process that knows nothing of this one's cache, token or server."""
    environment = {name: value for name, value in os.environ.items() if name not in OF_THE_USER}
    environment |= hub.environment(home, token=None)
    words = [made.repo_id, made.tag or "main", str(root), store.path]
    command = [sys.executable, "-m", "dynamic_sparsity.publishing.rehearsal", *words]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        last = (ended.stderr.strip() or "no message").splitlines()[-1]
        raise CorruptStoreError(f"{store.path} can't be loaded back from a local server: {last}")
    if json.loads(ended.stdout) != {split: count for split, count in store.splits.items() if count}:
        raise CorruptStoreError(f"{store.path}: the rows that came back are {ended.stdout.strip()}, not {store.splits}")


if __name__ == "__main__":
    print(json.dumps(load_as_user(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4])))
