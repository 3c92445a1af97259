"""What the server of the Hub's protocol is made of: faults, files, repositories, answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass
class Fault:
    """What goes wrong, and how often.

    Attributes:
        kind: "drop" cuts the connection in the middle of a file, "status" answers with `status`, "corrupt" changes
            one byte, "truncate" serves a shorter file as if it were whole, "missing" knows no such file; of a range,
            "whole" sends all of the file, "longer" more than was asked for, "elsewhere" another part, "trickle" a byte.
        path: Regular expression, searched in the request's path.
        method: Only requests of this method.
        times: How many requests fail before all is well again.
        status: Of "status".
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
    """A file of a commit: its content's digests, and whether it is stored by LFS."""

    sha256: str
    size: int
    lfs: bool
    git_oid: str


@dataclass
class Repository:
    """A data set's commits, oldest first, and its tags."""

    private: bool = False
    commits: list[tuple[str, dict[str, File]]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def find(self, revision: str) -> tuple[str, dict[str, File]] | None:
        """The commit that a branch, tag or commit hash names."""
        if revision in ("main", "HEAD", "refs/heads/main"):
            return self.commits[-1]
        wanted = self.tags.get(revision.removeprefix("refs/tags/"), revision)
        return next((commit for commit in self.commits if commit[0] == wanted), None)


@dataclass(frozen=True)
class Seen:
    """A request that was answered."""

    method: str
    path: str
    range: str | None
    sent: int


class Answer(Exception):
    """Ends the handling of a request with a JSON answer."""

    def __init__(self, status: int, body: Any = None, headers: dict[str, str] | None = None):
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


def refusal(status: int, code: str, message: str) -> Answer:
    return Answer(status, {"error": message}, {"X-Error-Code": code, "X-Error-Message": message})
