"""A small server of the Hugging Face Hub's protocol, for the real clients: data sets only, files by LFS, no Xet.

It speaks what `huggingface_hub` and `datasets` use to create a repository, upload (LFS and commits), list (paged),
tag, and read (HEAD, ranges, ETags), and can be told to fail: see `Fault`. It needs `HF_HUB_DISABLE_XET=1`.

    python tests/hub_server.py FOLDER [PORT]

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

from hub_handler import Handler, Threads
from hub_parts import Answer, Fault, File, Repository, Seen

__all__ = ["Fault", "File", "HubServer", "Repository", "Seen"]

COPY_BYTES = 2**20


class HubServer:
    """The server; `url` is its address once it is made.

    Attributes:
        requests: What was asked, in order.
        faults: What is to go wrong; the first that fits a request is used up.
        rights: "write" or "read" by token.
        latency: Seconds before each answer.
    """

    def __init__(self, folder: Path, port: int = 0, page: int = 1000):
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

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def bytes_sent(self, path: str = "/resolve/") -> int:
        """Bytes of files that were sent since `requests` was last cleared."""
        return sum(seen.sent for seen in self.requests if path in seen.path)

    def files(self, repository: str, revision: str = "main") -> dict[str, File]:
        found = self.repositories[repository].find(revision)
        assert found is not None
        return found[1]

    def content(self, repository: str, path: str, revision: str = "main") -> bytes:
        return self.blob(self.files(repository, revision)[path].sha256).read_bytes()

    def replace(self, repository: str, path: str, content: bytes | None) -> None:
        """Commit other bytes under a path, or none."""
        files = dict(self.repositories[repository].commits[-1][1])
        if content is None:
            del files[path]
        else:
            files[path] = self.store(content, lfs=files[path].lfs if path in files else False)
        self.commit(self.repositories[repository], files)

    def blob(self, sha256: str) -> Path:
        return self.folder / "blobs" / sha256

    def store(self, content: bytes, *, lfs: bool) -> File:
        sha256 = hashlib.sha256(content).hexdigest()
        self.blob(sha256).write_bytes(content)
        return self.entry(sha256, lfs=lfs)

    def entry(self, sha256: str, *, lfs: bool) -> File:
        """A blob as a file of a commit; of an LFS file git knows the pointer."""
        size = self.blob(sha256).stat().st_size
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        content = pointer if lfs else self.blob(sha256).read_bytes()
        return File(sha256, size, lfs, hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest())

    def commit(self, repository: Repository, files: dict[str, File]) -> str:
        with self.lock:
            listing = json.dumps(
                [len(repository.commits), *sorted((path, file.sha256) for path, file in files.items())]
            )
            oid = hashlib.sha1(listing.encode()).hexdigest()
            repository.commits.append((oid, files))
            return oid

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method in (None, method) and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    def receive(self, sha256: str, stream: Any, length: int) -> None:
        """Take an uploaded LFS object."""
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
    folder = Path(sys.argv[1])
    hub = HubServer(folder, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(hub.url, flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        shutil.rmtree(folder / "blobs", ignore_errors=True)


if __name__ == "__main__":
    main()
