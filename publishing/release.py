"""What a release of the data consists of, and which of its steps are done: they are not repeated after a stop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from dynamic_sparsity.errors import CorruptInputError
from dynamic_sparsity.publishing.staging import staging_folder
from dynamic_sparsity.schemas.naming import store_path
from dynamic_sparsity.storage.atomic import publish as write_file
from dynamic_sparsity.storage.manifests import read_attributes
from dynamic_sparsity.untrusted.documents import read_json

__all__ = ["ReleaseRecord", "WantedStore", "wanted_stores"]

RECORD_FILE: Final = "release.json"
Step = Literal["verified", "loaded"]
STEPS: Final[tuple[Step, ...]] = ("verified", "loaded")


@dataclass(frozen=True)
class WantedStore:
    """A store of a release.

    Attributes:
        task: Name of the task.
        policy: Name of the policy.
        path: Where it is, or will be.
        episodes: How many it has; 0 where it is missing or not finished.
    """

    task: str
    policy: str
    path: Path
    episodes: int


def wanted_stores(root: Path, tasks: Sequence[str], policies: Sequence[str], dynamics: str) -> list[WantedStore]:
    """Return the stores of a release, those that are missing too.

    Args:
        root: Folder of all stores.
        tasks: Names of tasks.
        policies: Names of policies.
        dynamics: "converged" or "stock".

    Raises:
        UnknownNameError: A name can't be that of a store.
        CorruptStoreError: A store is damaged.
    """
    found = []
    for task in tasks:
        for policy in policies:
            path, episodes = store_path(root, task, policy, dynamics), 0
            if (path / "zarr.json").exists():
                attributes = read_attributes(path)
                episodes = attributes["episodes"] if attributes["complete"] else 0
            found.append(WantedStore(task, policy, path, episodes))
    return found


class ReleaseRecord:
    """Which stores went through which step, by the digest of the manifest: a store that changes begins anew."""

    def __init__(self, root: Path):
        """Read what is known; a damaged record is as good as none.

        Args:
            root: Folder of all stores.

        Raises:
            InvalidSettingError: The folder for what is made of the stores is a link.
        """
        self._path = staging_folder(root) / RECORD_FILE
        self._done: dict[str, set[str]] = {step: set() for step in STEPS}
        if self._path.exists():
            try:
                document = read_json(self._path, CorruptInputError)
            except CorruptInputError:
                return
            for step in STEPS:
                digests = document.get(step)
                if isinstance(digests, list):
                    self._done[step] = {digest for digest in digests if isinstance(digest, str)}

    def is_done(self, step: Step, key: str) -> bool:
        """Return whether a store went through a step.

        Args:
            step: The step.
            key: Of the store; its manifest's SHA-256 is part of it.
        """
        return key in self._done[step]

    def note(self, step: Step, key: str) -> None:
        """Note that it did.

        Args:
            step: The step.
            key: Of the store.
        """
        self._done[step].add(key)
        document = {name: sorted(keys) for name, keys in self._done.items()}
        write_file(self._path, [(json.dumps(document, indent=1) + "\n").encode()])
