"""Bringing a repository on the Hub to a wanted state: what differs is uploaded, what is there is left alone."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from dynamic_sparsity.loaders.hub import hub_errors, import_hub, quiet
from dynamic_sparsity.loaders.progress import Progress
from dynamic_sparsity.loaders.publication import PublishedFile

BATCH_FILES: Final = 200
BATCH_BYTES: Final = 2 * 2**30
PAGE_FILES: Final = 1000
"""Files per page of the Hub's listing."""

CALL_FILES: Final = 256
"""Files about which the client asks the Hub in one request."""

TRIES: Final = 6
WAIT_MAX_S: Final = 300.0
RETRIED: Final = frozenset({408, 412, 429, 500, 502, 503, 504})

Result = TypeVar("Result")


@dataclass(frozen=True)
class RemoteFile:
    """What the Hub says of a file.

    Attributes:
        sha256: Digest of its bytes, hexadecimal, if it is stored by LFS.
        git_oid: Its object's name in git: of its bytes, if it is not stored by LFS.
        bytes: Its size.
    """

    sha256: str | None
    git_oid: str
    bytes: int


@dataclass(frozen=True)
class Remote:
    """A repository as it is.

    Attributes:
        id: "ORG/NAME".
        exists: Whether it does.
        files: Its files, by path.
        tags: Commit by tag.
        commit: The main branch's commit; None where the repository does not exist.
    """

    id: str
    exists: bool
    files: Mapping[str, RemoteFile]
    tags: Mapping[str, str]
    commit: str | None


def read_remote(repo_id: str) -> Remote:
    """Look at a repository.

    Args:
        repo_id: "ORG/NAME".

    Raises:
        HubError: The Hub can't be reached, or refuses.
    """
    hub = import_hub()
    api = hub.HfApi()

    def look() -> Remote:
        try:
            refs = api.list_repo_refs(repo_id, repo_type="dataset")
        except hub.errors.RepositoryNotFoundError:
            return Remote(repo_id, False, {}, {}, None)
        files = {}
        for entry in api.list_repo_tree(repo_id, recursive=True, repo_type="dataset"):
            if isinstance(entry, hub.hf_api.RepoFile):
                lfs = entry.lfs
                files[entry.path] = RemoteFile(lfs.sha256 if lfs else None, entry.blob_id, entry.size)
        tags = {tag.name: tag.target_commit for tag in refs.tags}
        commits = [branch.target_commit for branch in refs.branches if branch.name == "main"]
        return Remote(repo_id, True, files, tags, commits[0] if commits else None)

    with hub_errors(repo_id, "listing the repository"):
        return retried(look)


def is_same(remote: RemoteFile | None, wanted: PublishedFile, source: Path) -> bool:
    """Whether the Hub has the bytes of a file.

    Args:
        remote: What the Hub says of it; None for nothing.
        wanted: The file.
        source: Its bytes.
    """
    if remote is None or remote.bytes != wanted.bytes:
        return False
    if remote.sha256 is not None:
        return remote.sha256 == wanted.sha256
    content = source.read_bytes()
    return remote.git_oid == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def batches(files: Sequence[tuple[PublishedFile, Path]]) -> Iterator[list[tuple[PublishedFile, Path]]]:
    """Cut files into commits: a commit too large fails on the Hub.

    Args:
        files: Files and where their bytes are.
    """
    batch: list[tuple[PublishedFile, Path]] = []
    for file in files:
        if batch and (len(batch) == BATCH_FILES or sum(f.bytes for f, _ in batch) + file[0].bytes > BATCH_BYTES):
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch


def upload(repo_id: str, files: Sequence[tuple[PublishedFile, Path]], progress: Progress) -> None:
    """Upload files, commit by commit; what was committed before an interruption is not uploaded again.

    Args:
        repo_id: "ORG/NAME".
        files: Files and where their bytes are.
        progress: Told how it goes on.

    Raises:
        HubError: The Hub can't be reached, or refuses.
    """
    progress.started("Uploading", sum(file.bytes for file, _ in files))
    parts = list(batches(files))
    for number, batch in enumerate(parts, 1):
        commit(repo_id, f"Upload data, part {number} of {len(parts)}", batch)
        progress.advanced(sum(file.bytes for file, _ in batch))
    progress.finished()


def commit(
    repo_id: str, message: str, files: Sequence[tuple[PublishedFile, Path]], deleted: Sequence[str] = ()
) -> None:
    """Make one commit.

    Args:
        repo_id: "ORG/NAME".
        message: Its message.
        files: Files to add, and where their bytes are.
        deleted: Paths to delete.

    Raises:
        HubError: The Hub can't be reached, or refuses.
    """
    hub = import_hub()

    def send() -> None:
        # The client changes the operations, so that every attempt needs new ones.
        operations: list[Any] = [hub.CommitOperationDelete(path) for path in deleted]
        operations += [hub.CommitOperationAdd(file.path, str(source)) for file, source in files]
        hub.HfApi().create_commit(repo_id, operations, commit_message=message, repo_type="dataset")

    with hub_errors(repo_id, f"uploading ({message})"), quiet():
        retried(send)


def retried(call: Callable[[], Result]) -> Result:
    """Call the Hub again where it says that it is busy, after the time it asks for.

    Args:
        call: What to do; an error with a `response` of a passing kind is tried again.
    """
    for attempt in range(1, TRIES):
        try:
            return call()
        except (OSError, RuntimeError) as error:
            # The client hides the failure of an upload behind a RuntimeError.
            response = getattr(error, "response", getattr(error.__cause__, "response", None))
            if getattr(response, "status_code", None) not in RETRIED:
                raise
            asked = getattr(response, "headers", {}).get("Retry-After", "")
            wait = float(asked) if asked.replace(".", "", 1).isdigit() else 2.0**attempt
            time.sleep(min(wait, WAIT_MAX_S))
    return call()


def requests_of(files: Sequence[PublishedFile], listed: int) -> int:
    """About how many requests an upload takes.

    Args:
        files: The files to be uploaded.
        listed: Files that the repository has.
    """
    commits = max(1, -(-len(files) // BATCH_FILES))
    asked = -(-len(files) // CALL_FILES) + commits
    # Each file is sent by itself; a commit asks how and where to, and is then made.
    return 3 + listed // PAGE_FILES + len(files) + 2 * asked + commits
