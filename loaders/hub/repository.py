"""A published repository on the Hugging Face Hub, read through its own client: cached, retried, and checked."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import (
    CorruptStoreError,
    DynamicSparsityError,
    HubAccessError,
    HubError,
    HubNotFoundError,
    InvalidSettingError,
    MissingDependencyError,
)
from dynamic_sparsity.loaders.hub.byte_limit import UnexpectedSizeError, counter
from dynamic_sparsity.loaders.hub.cache_files import write_failure
from dynamic_sparsity.loaders.hub.publication import PUBLICATION_BYTES_MAX, PUBLICATION_FILE, Publication, PublishedFile
from dynamic_sparsity.loaders.hub.range_request import receive_range
from dynamic_sparsity.untrusted.files import open_regular, read_regular

__all__ = [
    "DEFAULT_REPOSITORY",
    "REPOSITORY_VARIABLE",
    "Repository",
    "default_repository",
    "hub_errors",
    "import_hub",
    "quiet",
    "redact",
]

DEFAULT_REPOSITORY: Final[str | None] = None
"""The repository to load from where none is named; None until the data is published."""

REPOSITORY_VARIABLE: Final = "DYNAMIC_SPARSITY_REPOSITORY"
"""Environment variable that names another default repository."""

REPOSITORY_PATTERN: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
RANGE_WAIT_MAX_S: Final = 8
RANGE_TRIES: Final = 6
"""Consecutive requests that may bring no byte."""

ANSWERS_MAX: Final = 64
"""Answers to one request that may be shorter than what was requested."""

COPIES_FOLDER: Final = "dynamic-sparsity"
HTTP_CLIENTS: Final = ("httpx", "httpcore", "requests")
Bytes = NDArray[np.uint8]
LOG_IN: Final = "log in with `hf auth login`, or set the environment variable HF_TOKEN"


def default_repository() -> str | None:
    """Return the repository to load from where none is named, or None if there is none."""
    return os.environ.get(REPOSITORY_VARIABLE) or DEFAULT_REPOSITORY


def import_hub() -> Any:
    """Return the client of the Hub.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingDependencyError(
            "the Hugging Face Hub needs the package huggingface_hub: pip install 'dynamic-sparsity[hub]'"
        ) from error
    return huggingface_hub


def redact(text: str) -> str:
    """Return a text without anything that looks like a token of the Hub.

    Args:
        text: A message of another package.
    """
    return re.sub(r"hf_\w+", "hf_…", text)


@contextmanager
def hub_errors(where: str, what: str) -> Iterator[None]:
    """Turn the client's errors into ours.

    Args:
        where: The repository.
        what: What is being done, as in "reading zarr.json".

    Raises:
        HubAccessError: The Hub wants a token, or one with more rights.
        HubNotFoundError: The repository, revision or file does not exist, or is not in the cache when offline.
        HubError: The Hub can't be reached, or does not answer as it should.
        WriteFailedError: The disk of the Hub's cache is full, or may not be written to.
    """
    try:
        yield
    except DynamicSparsityError:
        raise
    except Exception as error:
        ours = _translated(error, where, what)
        if ours is None:
            raise
        raise ours from error


def _translated(error: Exception, where: str, what: str) -> DynamicSparsityError | None:
    """Our error for one of the client's; None for one that is not the client's."""
    from huggingface_hub import errors

    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        return _translated(error.__cause__, where, what)  # so the client reports the failure of an upload
    status = getattr(getattr(error, "response", None), "status_code", None)
    begin = f"{where}: {what} failed: "
    if isinstance(error, errors.LocalTokenNotFoundError):
        return HubAccessError(f"{begin}there is no token; {LOG_IN}")
    if isinstance(error, errors.RevisionNotFoundError):
        return HubNotFoundError(f"{begin}the repository has no such revision; its versions are its tags")
    if isinstance(error, errors.OfflineModeIsEnabled | errors.LocalEntryNotFoundError):
        return HubNotFoundError(
            f"{begin}the file is not in the cache and the Hub can't be reached (or offline mode is on); "
            "go online, or fetch it beforehand: `dynamic-sparsity download --help` says how"
        )
    if isinstance(error, errors.EntryNotFoundError):
        return HubNotFoundError(f"{begin}there is no such file in that revision of the repository")
    if isinstance(error, errors.GatedRepoError) or status == 403:
        return HubAccessError(f"{begin}the token does not allow it (403); use one that allows it, or {LOG_IN}")
    if status == 412:
        return HubError(
            f"{begin}somebody else has committed to the repository since this began, and nothing was changed; run the "
            "same command again, which starts from what is there now"
        )
    if status == 401:
        return HubAccessError(f"{begin}the Hub wants a valid token (401), or the repository does not exist; {LOG_IN}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return HubNotFoundError(f"{begin}there is no such repository; if it is private, {LOG_IN}")
    if isinstance(error, errors.HfHubHTTPError):
        message = redact(str(getattr(error, "server_message", "") or ""))
        return HubError(f"{begin}the Hub answered {status} {message}".rstrip() + "; try again later")
    if _is_of_network(error) or type(error).__module__.startswith("huggingface_hub"):
        return HubError(f"{begin}{type(error).__name__} {redact(str(error))}".rstrip() + "; try again later")
    return write_failure(error)


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back the client's own bar for every file: there may be thousands."""
    from huggingface_hub import constants, utils

    # A user who has set the variable has decided, either way.
    if constants.HF_HUB_DISABLE_PROGRESS_BARS is not None or utils.are_progress_bars_disabled():
        yield
        return
    utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.enable_progress_bars()


@dataclass(frozen=True)
class Repository:
    """One commit of a published repository.

    Attributes:
        id: "ORG/NAME".
        revision: The requested branch, tag or commit.
        commit: Hash of the commit; all files are read from it, whatever happens to the branch.
        publication_path: Where its `publication.json` is in the cache.
    """

    id: str
    revision: str
    commit: str
    publication_path: Path

    @classmethod
    def open(cls, repo_id: str, revision: str | None = None) -> Repository:
        """Find a revision's commit, and what it holds; one request if the cache has it.

        Args:
            repo_id: "ORG/NAME".
            revision: A branch, tag ("v1.0.0") or commit; None for the main branch.

        Raises:
            InvalidSettingError: `repo_id` is no repository's name.
            HubError: See `hub_errors`.
            MissingDependencyError: The Hub's client is not installed.
        """
        if not REPOSITORY_PATTERN.fullmatch(repo_id):
            raise InvalidSettingError(f"repo_id is {repo_id!r}; a repository is named as in 'ORG/NAME'")
        hub, revision = import_hub(), revision or "main"
        where = f"{repo_id}@{revision}"
        with hub_errors(where, f"reading {PUBLICATION_FILE}"), quiet():
            options = {"repo_type": "dataset", "revision": revision, "tqdm_class": counter(PUBLICATION_BYTES_MAX)}
            try:
                path = Path(hub.hf_hub_download(repo_id, PUBLICATION_FILE, **options))
            except UnexpectedSizeError as error:
                raise CorruptStoreError(f"{where}: {PUBLICATION_FILE} has {error}") from error
        return cls(repo_id, revision, path.parent.name, path)

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.id}@{self.revision}"

    @property
    def folder(self) -> Path:
        """The commit's folder in the cache: of its files those that were downloaded, as links."""
        return self.publication_path.parent

    @property
    def copies(self) -> Path:
        """Folder of the copies of stores in the Hub's folder of this repository, with which they are deleted."""
        return self.folder.parents[1] / COPIES_FOLDER

    @cached_property
    def publication(self) -> Publication:
        """What it holds."""
        return Publication.read(self.publication_path, self.name)

    def file(self, wanted: PublishedFile, *, force: bool = False) -> Path:
        """Return the path of a file in the Hub's cache, downloaded if necessary; its SHA-256 is compared.

        Args:
            wanted: The file.
            force: Download it though the cache has it.

        Returns:
            Its path in the cache.

        Raises:
            CorruptStoreError: The Hub's bytes are not those that were published, twice.
            HubError: See `hub_errors`.
        """
        for found in self._attempts(wanted, force=force):
            descriptor, status = open_regular(found)
            with os.fdopen(descriptor, "rb") as stream:
                if status.st_size != wanted.bytes:
                    continue
                if hashlib.file_digest(stream, "sha256").hexdigest() == wanted.sha256:
                    return found
        raise self.wrong_bytes(wanted.path)

    def read(self, wanted: PublishedFile, *, force: bool = False) -> bytes:
        """Return the checked bytes of a small file, from the Hub's cache or downloaded into it.

        Args:
            wanted: The file.
            force: Download it though the cache has it.

        Raises:
            CorruptStoreError: The Hub's bytes are not those that were published, twice.
            HubError: See `hub_errors`.
        """
        for found in self._attempts(wanted, force=force):
            if found.stat().st_size == wanted.bytes:
                contents = read_regular(found, wanted.bytes)
                if hashlib.sha256(contents).hexdigest() == wanted.sha256:
                    return contents
        raise self.wrong_bytes(wanted.path)

    def _attempts(self, wanted: PublishedFile, *, force: bool) -> Iterator[Path]:
        """Yield the file in the cache, whatever it is; then the file downloaded again."""
        hub = import_hub()
        for again in (force, True):
            with hub_errors(self.name, f"reading {wanted.path}"):
                found = self._download(hub, wanted, force=again)
            if found is not None:
                yield found

    def _download(self, hub: Any, wanted: PublishedFile, *, force: bool) -> Path | None:
        """Return the file in the cache; None for another try: a wrong size, or a blob that the client moved away."""
        options = {"repo_type": "dataset", "revision": self.commit, "force_download": force}
        options |= {"tqdm_class": counter(wanted.bytes, exact=True)}
        try:
            return Path(hub.hf_hub_download(self.id, wanted.path, **options))
        except UnexpectedSizeError:
            return None
        except OSError as error:
            if "Consistency check failed" in str(error) or type(error) is FileNotFoundError:
                return None
            raise

    def wrong_bytes(self, path: str) -> CorruptStoreError:
        """Return the error for a file whose bytes are not those that were published.

        Args:
            path: Its path in the repository.
        """
        return CorruptStoreError(
            f"{self.name}: the bytes of {path} are not those that were published, after a second attempt too; try "
            "again later, or another revision"
        )

    def receive(self, path: str, start: int, out: Bytes) -> None:
        """Read some of a file's bytes; nothing is cached. What the network loses is requested again.

        Args:
            path: The file's path in the repository.
            start: First byte.
            out: Where to put as many bytes as it has room for, shape (n,).

        Raises:
            HubError: See `hub_errors`; also if fewer bytes come.
        """
        hub = import_hub()
        from huggingface_hub.utils import build_hf_headers

        url = hub.hf_hub_url(self.id, path, repo_type="dataset", revision=self.commit)
        # Encodings are of the whole file, not of a range.
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        done = failures = answers = 0
        with hub_errors(self.name, f"reading {path}"):
            while done < out.size and failures < RANGE_TRIES and answers < ANSWERS_MAX:
                before, lost, answers = done, None, answers + 1
                try:
                    for size in receive_range(url, headers, start + done, out[done:]):
                        done += size
                except Exception as error:
                    if not _is_of_network(error):
                        raise
                    lost = error
                failures = 0 if done > before else failures + 1
                if lost is not None and failures == RANGE_TRIES:
                    raise lost
                if lost is not None:
                    time.sleep(min(RANGE_WAIT_MAX_S, 2**failures))
        if done < out.size:
            raise HubError(f"{self.name}: reading {path} gave {done} of {out.size} bytes; try again later")


def _is_of_network(error: BaseException) -> bool:
    """Return whether an error is the HTTP client's, whose name changes with the version of the Hub's client."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    lost = isinstance(error, ConnectionError | TimeoutError) and not isinstance(error, OfflineModeIsEnabled)
    return lost or type(error).__module__.startswith(HTTP_CLIENTS)
