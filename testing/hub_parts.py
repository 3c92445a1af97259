"""The parts of the local Hub: faults, files, repositories, requests, answers."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any, Literal

__all__ = ["Answer", "Fault", "File", "Repository", "Seen", "Threads", "byte_range", "refusal"]


@dataclass
class Fault:
    """A failure of the server, and how often it happens.

    Attributes:
        kind: "drop" closes the connection in the middle of a file, "status" answers with `status`, "corrupt" changes
            one byte, "truncate" serves a shorter file as if it were whole, "missing" reports that there is no such
            file. For a request of a range: "whole" sends all of the file, "longer" more than was asked for, "elsewhere"
            another part, "trickle" a single byte.
        path: Regular expression, searched in the request's path.
        method: Only requests of this method.
        times: How many requests fail; later ones succeed.
        status: HTTP status of "status".
        retry_after: Seconds in the header `Retry-After` of "status".
    """

    kind: Literal["drop", "status", "corrupt", "truncate", "missing", "whole", "longer", "elsewhere", "trickle"]
    path: str = ""
    method: str | None = None
    times: int = 1
    status: int = 503
    retry_after: float | None = None


@dataclass(frozen=True)
class File:
    """A file of a commit.

    Attributes:
        sha256: Digest of its bytes, hexadecimal.
        size: Its size, bytes.
        lfs: Whether it is stored by LFS.
        git_oid: What git calls it: of an LFS file, the digest of its pointer.
    """

    sha256: str
    size: int
    lfs: bool
    git_oid: str


@dataclass
class Repository:
    """A data set's repository.

    Attributes:
        private: Whether reading needs a token.
        commits: Hash and files by path of each commit, oldest first.
        tags: Tag to commit hash.
    """

    private: bool = False
    commits: list[tuple[str, dict[str, File]]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def find(self, revision: str) -> tuple[str, dict[str, File]] | None:
        """Return the commit that a branch, tag or commit hash names; None if there is none.

        Args:
            revision: "main", a tag, or a commit hash.
        """
        if revision in ("main", "HEAD", "refs/heads/main"):
            return self.commits[-1]
        wanted = self.tags.get(revision.removeprefix("refs/tags/"), revision)
        return next((commit for commit in self.commits if commit[0] == wanted), None)


@dataclass(frozen=True)
class Seen:
    """A request that was answered.

    Attributes:
        method: HTTP method.
        path: Path of the URL, decoded.
        range: The header `Range`; None if there was none.
        sent: Bytes of a file that were sent.
    """

    method: str
    path: str
    range: str | None
    sent: int


class Answer(Exception):
    """An answer of JSON; raised to end the handling of a request."""

    def __init__(self, status: int, body: Any = None, headers: dict[str, str] | None = None):
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


def refusal(status: int, code: str, message: str) -> Answer:
    """Make the answer to a request that is refused.

    Args:
        status: HTTP status.
        code: The Hub's code of the error, which its client turns into an exception; may be empty.
        message: For people.
    """
    return Answer(status, {"error": message}, {"X-Error-Code": code, "X-Error-Message": message})


def byte_range(header: str, size: int) -> tuple[int, int, int]:
    """Parse the header `Range` of a request.

    Args:
        header: Its value; empty if there is none.
        size: Size of the file, bytes.

    Returns:
        First byte, the byte after the last, and the HTTP status of the answer.

    Raises:
        Answer: The range begins after the end of the file.
    """
    wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if wanted is None:
        return 0, size, 200
    if not wanted[1]:
        return max(0, size - int(wanted[2])), size, 206
    start = int(wanted[1])
    if start >= size:
        raise Answer(416, None, {"Content-Range": f"bytes */{size}"})
    return start, min(size, int(wanted[2]) + 1) if wanted[2] else size, 206


class Threads(ThreadingHTTPServer):
    """A thread per connection."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that closed their connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
