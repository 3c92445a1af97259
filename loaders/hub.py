"""A published repository on the Hugging Face Hub, read through its own client: cached, retried, and checked."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import ssl
import struct
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
from dynamic_sparsity.loaders.publication import PUBLICATION_FILE, Publication, PublishedFile

__all__ = ["DEFAULT_REPOSITORY", "Repository", "default_repository", "hub_errors", "import_hub", "quiet", "redact"]

DEFAULT_REPOSITORY: Final[str | None] = None
"""The repository to load from where none is named; None until the data is published."""

REPOSITORY_VARIABLE: Final = "DYNAMIC_SPARSITY_REPOSITORY"
"""Environment variable that names another default repository."""

REPOSITORY_PATTERN: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
RANGE_TIMEOUT_S: Final = 60
RANGE_WAIT_MAX_S: Final = 8
RANGE_TRIES: Final = 6
"""How often bytes are asked for in a row without any coming."""

DIRECT_BYTES_MIN: Final = 2**20
"""What is left of an answer from which on it is read without the HTTP client: a new connection costs less."""

PARTIAL_CONTENT: Final = 206
RANGE_NOT_SATISFIABLE: Final = 416
WAITS_FOR_ALL: Final = hasattr(socket, "MSG_WAITALL") and os.name == "posix"
HTTP_CLIENTS: Final = ("httpx", "httpcore", "requests")
Bytes = NDArray[np.uint8]
LOG_IN: Final = "log in with `hf auth login`, or set the environment variable HF_TOKEN"


def default_repository() -> str | None:
    """The repository to load from where none is named, or None if there is none."""
    return os.environ.get(REPOSITORY_VARIABLE) or DEFAULT_REPOSITORY


def import_hub() -> Any:
    """The client of the Hub.

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
    """A text without anything that looks like a token of the Hub.

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


def _translated(error: Exception, where: str, what: str) -> HubError | None:
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
            "go online, or fetch it beforehand with `dynamic-sparsity download`"
        )
    if isinstance(error, errors.EntryNotFoundError):
        return HubNotFoundError(f"{begin}there is no such file in that revision of the repository")
    if isinstance(error, errors.GatedRepoError) or status == 403:
        return HubAccessError(f"{begin}the token does not allow it (403); use one with the right to do so, or {LOG_IN}")
    if status == 401:
        return HubAccessError(f"{begin}the Hub wants a valid token (401), or the repository does not exist; {LOG_IN}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return HubNotFoundError(f"{begin}there is no such repository; if it is private, {LOG_IN}")
    if isinstance(error, errors.HfHubHTTPError):
        message = redact(str(getattr(error, "server_message", "") or ""))
        return HubError(f"{begin}the Hub answered {status} {message}".rstrip() + "; try again later")
    if _is_of_network(error) or type(error).__module__.startswith("huggingface_hub"):
        return HubError(f"{begin}{type(error).__name__} {redact(str(error))}".rstrip() + "; try again later")
    return None


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
        revision: The branch, tag or commit asked for.
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
            found = hub.hf_hub_download(repo_id, PUBLICATION_FILE, repo_type="dataset", revision=revision)
        path = Path(found)
        return cls(repo_id, revision, path.parent.name, path)

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.id}@{self.revision}"

    @property
    def folder(self) -> Path:
        """The commit's folder in the cache: of its files those that were downloaded, as links."""
        return self.publication_path.parent

    @cached_property
    def publication(self) -> Publication:
        """What it holds."""
        return Publication.read(self.publication_path, self.name)

    def file(self, wanted: PublishedFile, *, force: bool = False) -> Path:
        """A file, from the Hub's cache or downloaded into it; its SHA-256 is compared.

        Args:
            wanted: The file.
            force: Download it though the cache has it.

        Returns:
            Its path in the cache.

        Raises:
            CorruptStoreError: The Hub's bytes are not those that were published, twice.
            HubError: See `hub_errors`.
        """
        hub = import_hub()
        found = None
        for again in (force, True):
            with hub_errors(self.name, f"reading {wanted.path}"):
                found = self._download(hub, wanted.path, force=again)
            if found is not None:
                with found.open("rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()
                if digest == wanted.sha256:
                    return found
        raise self.wrong_bytes(wanted.path)

    def _download(self, hub: Any, path: str, *, force: bool) -> Path | None:
        """The file in the cache; None if what came has the wrong size, which the client notices by itself."""
        try:
            return Path(
                hub.hf_hub_download(self.id, path, repo_type="dataset", revision=self.commit, force_download=force)
            )
        except OSError as error:
            if "Consistency check failed" in str(error):
                return None
            raise

    def wrong_bytes(self, path: str) -> CorruptStoreError:
        """The error for a file whose bytes are not those that were published.

        Args:
            path: Its path in the repository.
        """
        return CorruptStoreError(
            f"{self.name}: the bytes of {path} are not those that were published, after a second attempt too; try "
            "again later, or another revision"
        )

    def receive(self, path: str, start: int, out: Bytes) -> None:
        """Read some of a file's bytes; nothing is cached. What the network loses is asked for again, from there on.

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
        done = failures = 0
        with hub_errors(self.name, f"reading {path}"):
            while done < out.size and failures < RANGE_TRIES:
                before, lost = done, None
                try:
                    for size in _fill(url, headers, start + done, out[done:]):
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


def _fill(url: str, headers: dict[str, str], start: int, out: Bytes) -> Iterator[int]:
    """Put bytes of a file into `out` as they come, maybe not all that it has room for; yield how many came."""
    from huggingface_hub.utils import hf_raise_for_status, http_stream_backoff

    headers = headers | {"Range": f"bytes={start}-{start + out.size - 1}"}
    # Nothing is tried again in here but busy answers: only the caller knows from where on.
    with http_stream_backoff("GET", url, headers=headers, timeout=RANGE_TIMEOUT_S, retry_on_exceptions=()) as response:
        if response.status_code == RANGE_NOT_SATISFIABLE:
            return  # of a file that was cut off: nothing came, as at the end of one that is cut off further on
        hf_raise_for_status(response)
        # A server may ignore the range and send all of the file.
        done, skip = 0, 0 if response.status_code == PARTIAL_CONTENT else start
        for chunk in response.iter_raw():
            if done == out.size:
                return  # only where more came: a connection is used again if its answer was read to the end
            wanted = chunk[skip : skip + out.size - done]
            skip = max(0, skip - len(chunk))
            out.data[done : done + len(wanted)] = wanted
            done += len(wanted)
            yield len(wanted)
            connection = _bare_connection(response, out.size) if out.size - done >= DIRECT_BYTES_MIN else None
            if connection is not None:
                while done < out.size:
                    size = _receive_all(connection, out[done:])
                    if size == 0:
                        raise ConnectionError("the connection was closed in the middle of a file")
                    done += size
                    yield size
                return


def _bare_connection(response: Any, size: int) -> socket.socket | None:
    """The connection on which the rest of a long answer comes, as plain bytes; None if it can't be read as such.

    The HTTP client hands out 64 KiB at a time through a dozen generators, and all of that holds Python's lock. Read
    this way, a shard comes several times as fast, and what uses the rows goes on meanwhile. The client closes the
    connection afterwards, as it does not know that its answer was read.
    """
    answer, stream = response.headers, response.extensions.get("network_stream")
    coded = "Transfer-Encoding" in answer or "Content-Encoding" in answer
    if stream is None or coded or response.http_version != "HTTP/1.1" or response.status_code != PARTIAL_CONTENT:
        return None
    connection = stream.get_extra_info("socket")
    encrypted = stream.get_extra_info("ssl_object") is not None
    if answer.get("Content-Length") != str(size) or not isinstance(connection, socket.socket):
        return None
    return connection if not encrypted or isinstance(connection, ssl.SSLSocket) else None


def _receive_all(connection: socket.socket, out: Bytes) -> int:
    """Receive as many bytes as `out` has room for, fewer only if that is all; returns how many.

    One call waits for all of them without Python's lock: each time that it is asked for again, whoever has it may keep
    it for milliseconds.
    """
    if isinstance(connection, ssl.SSLSocket) or not WAITS_FOR_ALL:
        return connection.recv_into(out.data)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", RANGE_TIMEOUT_S, 0))
    connection.settimeout(None)
    try:
        return connection.recv_into(out.data, 0, socket.MSG_WAITALL)
    except BlockingIOError as error:
        raise TimeoutError(f"nothing came in {RANGE_TIMEOUT_S} seconds") from error


def _is_of_network(error: BaseException) -> bool:
    """Whether an error is the HTTP client's, whose name changes with the version of the Hub's client."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    lost = isinstance(error, ConnectionError | TimeoutError) and not isinstance(error, OfflineModeIsEnabled)
    return lost or type(error).__module__.startswith(HTTP_CLIENTS)
