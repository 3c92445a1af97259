"""A local server of the Hugging Face Hub's protocol, for its real clients: data sets and Spaces, files by LFS, no Xet.

It answers what `huggingface_hub` and `datasets` ask to create a repository, upload (LFS and commits), list (paged),
tag, and read (HEAD, ranges, ETags), and fails on demand: see `Fault`.

    python -m dynamic_sparsity.testing.hub_server FOLDER [PORT]

serves in the foreground and prints its address.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

from dynamic_sparsity.testing.hub_handler import Handler
from dynamic_sparsity.testing.hub_parts import Answer, Fault, File, Repository, Seen, Threads

__all__ = ["HubServer"]

COPY_BYTES = 2**20


class HubServer:
    """A server on this machine; it answers as soon as it is made, until it is closed.

    Attributes:
        url: Its address.
        folder: Where it keeps the contents of files.
        page: Entries per page of a listing.
        repositories: Its data sets, by "ORG/NAME", and Spaces, by "spaces/ORG/NAME".
        requests: Requests that were answered, in order.
        faults: Failures to come; a request uses up the first one that fits.
        rights: "write" or "read" by token.
        latency: Seconds before each answer.
    """

    def __init__(self, folder: Path, port: int = 0, page: int = 1000):
        """Start the server.

        Args:
            folder: Where it keeps the contents of files; made if it does not exist.
            port: Port on 127.0.0.1; 0 for any that is free.
            page: Entries per page of a listing.
        """
        self.folder = folder
        self.page = page
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Seen] = []
        self.faults: list[Fault] = []
        self.rights: dict[str, str] = {"hf_writer": "write", "hf_reader": "read"}
        self.latency = 0.0
        self.lock = threading.RLock()
        self._partials = itertools.count()
        (folder / "blobs").mkdir(parents=True, exist_ok=True)
        handler = type("Handler", (Handler,), {"hub": self})
        self._server = Threads(("127.0.0.1", port), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def environment(self, home: Path, token: str | None = "hf_writer") -> dict[str, str]:
        """Return the environment variables that make the Hub's clients use this server.

        The clients read them when `huggingface_hub` is imported: set them before that, or for a new process.

        Args:
            home: Folder for the clients' cache.
            token: Token of the client; None for none. "hf_writer" may write, "hf_reader" may read.
        """
        variables = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        return variables if token is None else variables | {"HF_TOKEN": token}

    def clear(self) -> None:
        """Forget all repositories, requests and faults, as between two tests."""
        with self.lock:
            self.requests.clear()
            self.faults.clear()
            self.repositories.clear()

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def bytes_sent(self, path: str = "/resolve/") -> int:
        """Return the bytes of files that were sent since `requests` was last cleared.

        Args:
            path: Count only requests whose path has this in it.
        """
        return sum(seen.sent for seen in self.requests if path in seen.path)

    def files(self, repository: str, revision: str = "main") -> dict[str, File]:
        """Return the files of a commit by path.

        Args:
            repository: "ORG/NAME".
            revision: A branch, tag or commit hash that exists.
        """
        found = self.repositories[repository].find(revision)
        assert found is not None
        return found[1]

    def content(self, repository: str, path: str, revision: str = "main") -> bytes:
        """Return the bytes of a file.

        Args:
            repository: "ORG/NAME".
            path: Its path in the repository.
            revision: A branch, tag or commit hash that exists.
        """
        return self.blob(self.files(repository, revision)[path].sha256).read_bytes()

    def replace(self, repository: str, path: str, content: bytes | None) -> None:
        """Commit a change of one file, behind the back of whoever published the repository.

        Args:
            repository: "ORG/NAME".
            path: Path in the repository.
            content: Its new bytes; None to delete it.
        """
        files = dict(self.repositories[repository].commits[-1][1])
        if content is None:
            del files[path]
        else:
            files[path] = self.store(content, lfs=files[path].lfs if path in files else False)
        self.commit(self.repositories[repository], files)

    def blob(self, sha256: str) -> Path:
        """Return where the bytes with a digest are kept.

        Args:
            sha256: The digest, hexadecimal.
        """
        return self.folder / "blobs" / sha256

    def store(self, content: bytes, *, lfs: bool) -> File:
        """Keep bytes, to be put into a commit.

        Args:
            content: The bytes.
            lfs: Whether they are a file of LFS.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        self.blob(sha256).write_bytes(content)
        return self.entry(sha256, lfs=lfs)

    def entry(self, sha256: str, *, lfs: bool) -> File:
        """Return bytes that are kept as a file of a commit.

        Args:
            sha256: Their digest, hexadecimal.
            lfs: Whether they are a file of LFS, of which git has the pointer.
        """
        size = self.blob(sha256).stat().st_size
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        content = pointer if lfs else self.blob(sha256).read_bytes()
        return File(sha256, size, lfs, hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest())

    def commit(self, repository: Repository, files: dict[str, File]) -> str:
        """Add a commit to a repository.

        Args:
            repository: The repository.
            files: All files of the commit by path.

        Returns:
            Hash of the commit.
        """
        with self.lock:
            listing = json.dumps(
                [len(repository.commits), *sorted((path, file.sha256) for path, file in files.items())]
            )
            oid = hashlib.sha1(listing.encode()).hexdigest()
            repository.commits.append((oid, files))
            return oid

    def take_fault(self, method: str, path: str) -> Fault | None:
        """Return the first fault that fits a request, and use it up once; None if there is none.

        Args:
            method: HTTP method.
            path: Path of the URL.
        """
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method in (None, method) and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    def receive(self, sha256: str, stream: Any, length: int) -> None:
        """Keep an uploaded object of LFS.

        Args:
            sha256: Digest that was announced, hexadecimal.
            stream: Where its bytes come from.
            length: Number of bytes.

        Raises:
            Answer: The bytes are not the ones that were announced.
        """
        partial = self.folder / f"partial{next(self._partials)}"
        digest = hashlib.sha256()
        with partial.open("wb") as out:
            while length > 0 and (part := stream.read(min(COPY_BYTES, length))):
                digest.update(part)
                out.write(part)
                length -= len(part)
        if length or digest.hexdigest() != sha256:
            raise Answer(400, {"error": "the bytes are not the ones announced"})
        partial.replace(self.blob(sha256))


def main() -> None:
    """Serve until interrupted; see the module."""
    folder = Path(sys.argv[1])
    hub = HubServer(folder, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(hub.url, flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        shutil.rmtree(folder / "blobs", ignore_errors=True)


if __name__ == "__main__":
    main()
