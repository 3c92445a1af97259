"""What a server may answer to a request for part of a file: never more is taken than was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import SERVER

from dynamic_sparsity.errors import CorruptStoreError, HubError
from dynamic_sparsity.loaders.hub import byte_limit as counting
from dynamic_sparsity.loaders.hub import range_request as ranges
from dynamic_sparsity.loaders.hub import repository as clients
from dynamic_sparsity.loaders.hub.publication import PUBLICATION_BYTES_MAX, PublishedFile
from dynamic_sparsity.testing import Fault, HubServer, Repository

REPO, PATH = "org/name", "file.bin"
CONTENT = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()
GUARD = 7


@pytest.fixture
def repository(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> clients.Repository:
    """A repository with one file, and without a store."""
    made = hub.repositories[REPO] = Repository()
    hub.commit(made, {"publication.json": hub.store(b"{}", lfs=False), PATH: hub.store(CONTENT, lfs=True)})
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return clients.Repository.open(REPO)


@pytest.fixture(params=[1, 2**40], ids=["bare", "client"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long answers are read without the HTTP client, or with it."""
    monkeypatch.setattr(ranges, "DIRECT_BYTES_MIN", request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("kind", [None, "whole", "longer", "truncate", "drop", "corrupt", "elsewhere", "trickle"])
@pytest.mark.parametrize("times", [1, 10**6])
def test_no_more_is_taken_than_was_asked_for(
    kind: str | None, times: int, repository: clients.Repository, hub: HubServer
) -> None:
    start, size = 1000, 200_000
    room = np.full(size + 2000, GUARD, np.uint8)
    if kind is not None:
        hub.faults = [Fault(kind, PATH, "GET", times)]  # type: ignore[arg-type]
    try:
        repository.receive(PATH, start, room[1000:-1000])
    except HubError as error:
        assert kind in ("elsewhere", "trickle", "truncate", "drop")
        assert PATH in str(error)
    else:
        right = room[1000:-1000].tobytes() == CONTENT[start : start + size]
        assert right != (kind == "corrupt")
    assert (room[:1000] == GUARD).all() and (room[-1000:] == GUARD).all()
    assert len(hub.requests) < 100


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1, 10, 10**12])
def test_a_file_of_another_size_is_not_downloaded(
    size: int, repository: clients.Repository, hub: HubServer, tmp_path: Path
) -> None:
    digest = hub.files(REPO)[PATH].sha256
    for read in (repository.file, repository.read):
        with pytest.raises(CorruptStoreError, match="not those that were published"):
            read(PublishedFile(PATH, digest, size))
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size > 1000]
    right = PublishedFile(PATH, digest, len(CONTENT))
    assert repository.file(right).read_bytes() == repository.read(right) == CONTENT


def test_a_large_publication_is_not_downloaded(repository: clients.Repository, hub: HubServer, tmp_path: Path) -> None:
    SERVER.replace(REPO, "publication.json", bytes(PUBLICATION_BYTES_MAX + 1))
    with pytest.raises(CorruptStoreError, match="at most"):
        clients.Repository.open(REPO)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size > 10**6]


def test_what_comes_is_counted() -> None:
    for total in (None, 100):
        with counting.counter(100, exact=True)(total=total, disable=True) as bar:
            bar.update(100)
            with pytest.raises(counting.UnexpectedSizeError):
                bar.update(counting.FREE_BYTES + 100)
    for total in (99, 101):
        with pytest.raises(counting.UnexpectedSizeError):
            counting.counter(100, exact=True)(total=total)
    counting.counter(100)(total=99, disable=True).close()
