"""Bringing a repository on the Hub to a wanted state: what differs is uploaded, what is there is left alone."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from dynamic_sparsity.errors import CorruptStoreError
from dynamic_sparsity.loaders.hub.publication import PublishedFile
from dynamic_sparsity.loaders.hub.repository import hub_errors, import_hub, quiet
from dynamic_sparsity.loaders.hub.transfer_progress import TransferProgress
from dynamic_sparsity.untrusted.files import read_regular

BATCH_FILES: Final = 200
BATCH_BYTES: Final = 2 * 2**30
PAGE_FILES: Final = 1000
"""Files per page of the Hub's listing."""

CALL_FILES: Final = 256
"""Files about which the client asks the Hub in one request."""

TRIES: Final = 6
WAIT_MAX_S: Final = 300.0
RETRIED: Final = frozenset({408, 429, 500, 502, 503, 504})

Result = TypeVar("Result")
_SECONDS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,9})?")


@dataclass(frozen=True)
class RemoteFile:
    """What the Hub reports of a file.

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


@dataclass(frozen=True)
class Sending:
    """What is sent to a repository.

    Attributes:
        new: Files under paths that no reader of the repository as it is knows of, and where their bytes are.
        visible: All other files: those that replace others, and those that say which files there are.
        deleted: Paths that are to go.
        message: Of the last commit.
    """

    new: Sequence[tuple[PublishedFile, Path]]
    visible: Sequence[tuple[PublishedFile, Path]]
    deleted: Sequence[str]
    message: str


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
    """Return whether the Hub has the bytes of a file.

    Args:
        remote: What the Hub reports of it; None for nothing.
        wanted: The file.
        source: Its bytes.
    """
    if remote is None or remote.bytes != wanted.bytes:
        return False
    if remote.sha256 is not None:
        return remote.sha256 == wanted.sha256
    content = read_regular(source, wanted.bytes)
    if hashlib.sha256(content).hexdigest() != wanted.sha256:
        return False  # and is refused when it is sent
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


def send(repo_id: str, plan: Sending, progress: TransferProgress, parent: str | None = None) -> None:
    """Bring a repository to a wanted state so that what its readers see changes at once, in the last commit.

    Files under paths that nobody reads yet are committed part by part: an interrupted run resumes after the last one.
    Everything else is uploaded beforehand, but becomes part of the repository in the last commit only. The bytes of
    every file are hashed as they are sent.

    Args:
        repo_id: "ORG/NAME".
        plan: What is sent, and how.
        progress: Reported to.
        parent: The commit that the plan was made for; None for a repository that was just made.

    Raises:
        CorruptStoreError: A file no longer has the bytes that it had when it was checked.
        HubError: The Hub can't be reached, or refuses, for example because somebody has committed since `parent`.
    """
    hub = import_hub()
    api = hub.HfApi()
    progress.started("Uploading", sum(file.bytes for file, _ in (*plan.new, *plan.visible)))
    parts = list(batches(plan.new))
    for number, batch in enumerate(parts, 1):
        message = f"Upload data, part {number} of {len(parts)}"
        with hub_errors(repo_id, f"uploading ({message})"), quiet():
            parent = _commit(api, repo_id, message, _uploaded(hub, api, repo_id, batch), parent)
        progress.advanced(sum(file.bytes for file, _ in batch))
    operations: list[Any] = [hub.CommitOperationDelete(path) for path in plan.deleted]
    with hub_errors(repo_id, f"uploading ({plan.message})"), quiet():
        for batch in batches(plan.visible):
            operations += _uploaded(hub, api, repo_id, batch)
            progress.advanced(sum(file.bytes for file, _ in batch))
        if operations:
            _commit(api, repo_id, plan.message, operations, parent)
    progress.finished()


def _commit(api: Any, repo_id: str, message: str, operations: list[Any], parent: str | None) -> str:
    """Make a commit on top of another one, and of no other; returns it."""
    options = {"commit_message": message, "repo_type": "dataset", "parent_commit": parent}
    return str(retried(lambda: api.create_commit(repo_id, operations, **options)).oid)


def _uploaded(hub: Any, api: Any, repo_id: str, files: Sequence[tuple[PublishedFile, Path]]) -> list[Any]:
    """Return operations that add files, the large ones uploaded; nothing of it is part of the repository yet."""

    def upload() -> list[Any]:
        # The client changes the operations, so that every attempt needs new ones.
        operations = [hub.CommitOperationAdd(file.path, str(source)) for file, source in files]
        # It drops the files that it has uploaded.
        api.preupload_lfs_files(repo_id, operations, repo_type="dataset", free_memory=True)
        return operations

    for file, source in files:
        if not source.is_file():
            raise _changed(file, source)
    operations = retried(upload)
    for operation, (file, source) in zip(operations, files, strict=True):
        if operation.path_or_fileobj == b"":
            digest = operation.upload_info.sha256.hex()
        else:
            # Small files are sent within the commit, as the bytes that are checked here.
            operation.path_or_fileobj = read_regular(source, file.bytes)
            digest = hashlib.sha256(operation.path_or_fileobj).hexdigest()
        if digest != file.sha256:
            raise _changed(file, source)
    return operations


def _changed(file: PublishedFile, source: Path) -> CorruptStoreError:
    return CorruptStoreError(
        f"{source} does not have the bytes that it had when it was checked, so {file.path} is not published and the "
        "repository shows what it showed before; run the same command again, which checks the store and says what is "
        "damaged"
    )


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
            wait = float(asked) if _SECONDS.fullmatch(asked) else 2.0**attempt
            time.sleep(min(wait, WAIT_MAX_S))
    return call()


def requests_of(plan: Sending, listed: int) -> int:
    """Return about how many requests an upload takes.

    Args:
        plan: What is sent.
        listed: Files that the repository has.
    """
    files = len(plan.new) + len(plan.visible)
    commits = -(-len(plan.new) // BATCH_FILES) + 1
    asked = -(-files // CALL_FILES) + commits
    # Each file is sent by itself; a commit asks how and where to, and is then made.
    return 3 + listed // PAGE_FILES + files + 2 * asked + commits
