"""Several stores of one task, read like one store that has all their episodes.

Rows are numbered as in a store: episode e of the joined stores begins at row e × episode_length, with the longest
episode length of the stores. So no row follows another one that it does not follow in its own store.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.store.row_store import RowStore
from dynamic_sparsity.schemas.consistency import settings_digest
from dynamic_sparsity.schemas.joining import ORIGIN, ORIGINS, origins_of, readable_arrays
from dynamic_sparsity.schemas.naming import POLICY_PATTERN
from dynamic_sparsity.storage.statistics import merge_statistics

__all__ = ["JoinedStore"]

ALIKE: Final = (
    "task",
    "coordinates",
    "control_dt",
    "timestep",
    "substeps",
    "state_names",
    "tangent_names",
    "action_names",
    "joints",
    "constraints",
    "contact_pairs",
    "mask_threshold",
    "flag_bits",
    "splits",
)
"""Metadata in which joined stores must not differ."""

POLICIES_MAX: Final = 255
"""Most policies of joined stores: the episode table numbers them with 8 bits."""

Array = NDArray[Any]
Integers = NDArray[np.int64]


class JoinedStore(RowStore):
    """Several stores, read like one.

    Attributes:
        members: The stores, none of them joined itself.
    """

    def __init__(self, members: Sequence[RowStore]):
        """Read nothing yet.

        Args:
            members: The stores, at least one.

        Raises:
            InvalidSettingError: They are not of the same task, or hold different coordinates, or differ in what their
                columns mean.
        """
        self.members = tuple(members)
        _refuse_unlike(self.members)
        first = self.members[0]
        self.coordinates = first.coordinates
        self.path = Path(os.path.commonpath([member.path for member in members]))
        self.metadata = _joint_metadata(self.members)
        self._episode_length = int(self.metadata["episode_length"])
        counts = [int(member.metadata["episodes"]) for member in members]
        self._first_episodes = np.cumsum([0, *counts])
        there = set.intersection(*(set(member.arrays) for member in members))
        known = [spec.name for spec in readable_arrays(self.metadata)]
        self.arrays = tuple(name for name in known if name in there or name == ORIGIN.name)
        lacking = {name for member in members for name in member.absent}
        self.absent = tuple(name for name in known if name in lacking)
        self.reader = JoinedReader(self)

    def locate(self, rows: Integers) -> tuple[Integers, Integers]:
        """Return in which stores rows are.

        Args:
            rows: Rows of the joined stores, int64, shape (n,).

        Returns:
            The number of the store, and the row in it; int64, shape (n,).
        """
        members = np.searchsorted(self._first_rows, rows, side="right") - 1
        episodes, steps = np.divmod(rows, self._episode_length)
        return members, (episodes - self._first_episodes[members]) * self._lengths[members] + steps

    def number(self, members: Integers, rows: Integers) -> Integers:
        """Return the rows here of rows of stores; the inverse of `locate`.

        Args:
            members: The number of the store, int64, shape (n,).
            rows: The row in it, int64, shape (n,).
        """
        episodes, steps = np.divmod(rows, self._lengths[members])
        numbered: Integers = (episodes + self._first_episodes[members]) * self._episode_length + steps
        return numbered

    @cached_property
    def episodes(self) -> dict[str, Array]:
        """The episode tables, one after the other; `start`, `policy` are those of the joined stores."""
        policies = self.metadata["policies"]
        parts = []
        for number, member in enumerate(self.members):
            table = dict(member.episodes)
            starts = table["start"].astype(np.int64)
            table["start"] = self.number(np.full(starts.size, number), starts)
            own = np.array([policies.index(name) for name in member.metadata["policies"]], np.uint8)
            table["policy"] = own[table["policy"]]
            parts.append(table)
        return {name: np.concatenate([table[name] for table in parts]) for name in parts[0]}

    @cached_property
    def statistics(self) -> dict[str, Array]:
        """The statistics of the rows of all stores."""
        return merge_statistics([member.statistics for member in self.members])

    def first_episode(self, member: int) -> int:
        """Return the number here of a store's first episode.

        Args:
            member: Number of the store.
        """
        return int(self._first_episodes[member])

    @cached_property
    def _first_rows(self) -> Integers:
        return np.asarray(self._first_episodes[:-1] * self._episode_length, np.int64)

    @cached_property
    def _lengths(self) -> Integers:
        return np.array([member.metadata["episode_length"] for member in self.members], np.int64)

    def __repr__(self) -> str:
        return f"JoinedStore({', '.join(map(repr, self.members))})"


class JoinedReader:
    """Reads rows of joined stores."""

    def __init__(self, store: JoinedStore):
        """Read nothing yet.

        Args:
            store: The joined stores.
        """
        self._store = store

    def gather(self, names: Iterable[str], rows: Integers) -> dict[str, Array]:
        """See `ArrayReader.gather`."""
        members, local = self._store.locate(rows)
        wanted = list(names)
        chosen = np.unique(members).tolist()
        if len(chosen) == 1:
            return self._read(wanted, chosen[0], local)
        result: dict[str, Array] = {}
        for member in chosen or [0]:
            places = np.flatnonzero(members == member)
            for name, values in self._read(wanted, member, local[places]).items():
                if name not in result:
                    result[name] = np.empty((rows.size, *values.shape[1:]), values.dtype)
                result[name][places] = values
        return result

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Array]:
        """See `ArrayReader.read`."""
        return self.gather(names, np.arange(start, stop))

    def will_need(self, names: Iterable[str], start: int, stop: int) -> None:
        """See `ArrayReader.will_need`."""
        wanted = list(names)
        for member, local in self._pieces(np.arange(start, stop)):
            self._store.members[member].reader.will_need(wanted, int(local.min()), int(local.max()) + 1)

    def _pieces(self, rows: Integers) -> Iterator[tuple[int, Integers]]:
        members, local = self._store.locate(rows)
        for member in np.unique(members).tolist():
            yield member, local[members == member]

    def _read(self, names: Sequence[str], member: int, rows: Integers) -> dict[str, Array]:
        """Read rows of one store."""
        reader = self._store.members[member].reader
        if rows.size and rows[-1] - rows[0] == rows.size - 1 and (np.diff(rows) == 1).all():
            batch = reader.read(names, int(rows[0]), int(rows[-1]) + 1)
        else:
            batch = reader.gather(names, rows)
        if "episode" in batch:
            # Padding has no episode.
            episodes = batch["episode"]
            batch["episode"] = np.where(episodes < 0, episodes, episodes + np.int32(self._store.first_episode(member)))
        return batch


def _refuse_unlike(members: Sequence[RowStore]) -> None:
    """Refuse stores whose rows do not mean the same."""
    if not members:
        raise InvalidSettingError("no data sets were given to be joined; give at least one")
    first = members[0]

    def refuse(what: str, here: object, there: object, path: Path) -> None:
        raise InvalidSettingError(
            f"data sets with another {what} can't be joined: {first.path} has {here!r:.200}, {path} has {there!r:.200}"
        )

    for member in members[1:]:
        for key in ALIKE:
            if member.metadata[key] != first.metadata[key]:
                refuse(key, first.metadata[key], member.metadata[key], member.path)
        if member.coordinates != first.coordinates:
            refuse("coordinates", first.coordinates, member.coordinates, member.path)
        sizes, own = first.metadata["sizes"], member.metadata["sizes"]
        for key in sorted((sizes.keys() | own.keys()) - {"nr"}):
            if sizes.get(key) != own.get(key):
                refuse(f"size {key}", sizes.get(key), own.get(key), member.path)


def _joint_metadata(members: Sequence[RowStore]) -> dict[str, Any]:
    """Return attributes as a store of all episodes would have them; what differs is listed in the settings' origins."""
    every = [member.metadata for member in members]
    largest = max(every, key=lambda metadata: metadata["chunk_rows"])
    episodes, length = sum(one["episodes"] for one in every), max(one["episode_length"] for one in every)
    policies = list(dict.fromkeys(name for one in every for name in one["policies"]))
    if len(policies) > POLICIES_MAX:
        raise InvalidSettingError(f"the data sets have {len(policies)} policies; at most {POLICIES_MAX} can be joined")
    origins = [origin for one in every for origin in origins_of(one) or [_origin(one)]]
    settings = _common([one["settings"] for one in every]) | {ORIGINS: origins}
    joint = {key: value for key, value in every[0].items() if key not in ("storage", "sample")} | {
        "schema_version": max(one["schema_version"] for one in every),
        "policy": _joint_policy([one["policy"] for one in every]),
        # Where some Jacobians are partial derivatives, nobody should take all for exact ones.
        "dynamics": "stock" if any(one["dynamics"] == "stock" for one in every) else "converged",
        "rows": episodes * length,
        "episodes": episodes,
        "episode_length": length,
        "chunk_rows": largest["chunk_rows"],
        "shard_rows": largest["shard_rows"],
        "sizes": {**every[0]["sizes"], "nr": min(one["sizes"].get("nr", 0) for one in every)},
        "policies": policies,
        "settings": settings,
        "settings_sha256": settings_digest(settings),
        "provenance": _common([one["provenance"] for one in every]),
    }
    return joint | ({"sample": True} if any(one.get("sample") for one in every) else {})


def _common(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what all documents say; of what they do not, each one's word, as a list."""
    keys = dict.fromkeys(key for document in documents for key in document if key != ORIGINS)
    words = {key: [document.get(key) for document in documents] for key in keys}
    return {key: said[0] if all(word == said[0] for word in said) else said for key, said in words.items()}


def _origin(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return what the settings of joined stores say about one of them."""
    settings = metadata["settings"]
    return {key: metadata[key] for key in ("task", "policy", "dynamics", "episodes", "settings_sha256")} | {
        "seed": settings.get("seed")
    }


def _joint_policy(names: Sequence[str]) -> str:
    joint = "-and-".join(dict.fromkeys(names))
    return joint if POLICY_PATTERN.fullmatch(joint) else "several-policies"
