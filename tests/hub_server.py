"""A small server of the Hugging Face Hub's protocol, for the real clients: data sets only, files by LFS, no Xet.

It speaks what `huggingface_hub` and `datasets` use to create a repository, upload (LFS and commits), list (paged),
tag, and read (HEAD, ranges, ETags), and can be told to fail: see `Fault`. It needs `HF_HUB_DISABLE_XET=1`.

    python tests/hub_server.py FOLDER [PORT]

serves in the foreground and prints its address.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import shutil
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

CREATED = "2026-01-01T00:00:00.000Z"
REGULAR_SUFFIXES = {".json", ".md", ".yaml", ".gitattributes"}
REGULAR_BYTES_MAX = 10_000_000
COPY_BYTES = 2**20
Json = dict[str, Any]


@dataclass
class Fault:
    """What goes wrong, and how often.

    Attributes:
        kind: "drop" cuts the connection in the middle of a file, "status" answers with `status`, "corrupt" changes
            one byte, "truncate" serves a shorter file as if it were whole, "missing" knows no such file.
        path: Regular expression, searched in the request's path.
        method: Only requests of this method.
        times: How many requests fail before all is well again.
        status: Of "status".
        retry_after: Seconds in the header `Retry-After` of "status".
    """

    kind: Literal["drop", "status", "corrupt", "truncate", "missing"]
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
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _Threads(("127.0.0.1", port), handler)
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


class _Threads(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def answer(self) -> None:
        hub, url = self.hub, urlsplit(self.path)
        time.sleep(hub.latency)
        self.raw, self.query = url.path, parse_qs(url.query)
        self.sent, self.fault = 0, hub.take_fault(self.command, unquote(url.path))
        self.length = int(self.headers.get("Content-Length") or 0)
        try:
            if self.fault is not None and self.fault.kind == "status":
                after = {} if self.fault.retry_after is None else {"Retry-After": str(self.fault.retry_after)}
                self.rfile.read(self.length)
                raise Answer(self.fault.status, {"error": "try again later"}, after)
            self.route()
        except Answer as answer:
            self.send_json(answer)
        hub.requests.append(Seen(self.command, unquote(url.path), self.headers.get("Range"), self.sent))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def send_json(self, answer: Answer) -> None:
        body = b"" if answer.body is None else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(self.length)
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    # --- routes

    def route(self) -> None:
        path = unquote(self.raw)
        if found := re.fullmatch(r"/lfs/([0-9a-f]{64})", path):
            self.hub.receive(found[1], self.rfile, self.length)
            raise Answer(200, {}, {"ETag": found[1]})
        if found := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.raw):
            return self.resolve(*(unquote(part) for part in found.groups()))
        if path == "/api/whoami-v2":
            self.right()
            raise Answer(200, {"type": "user", "name": "tester", "fullname": "tester", "orgs": []})
        if path == "/api/validate-yaml":
            self.body()
            raise Answer(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            raise self.create()
        if found := re.fullmatch(r"/datasets/([^/]+/[^/]+?)\.git/info/lfs/objects/batch", path):
            raise self.lfs_batch()
        if found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/([^/]+)(?:/([^/]+)(?:/(.*))?)?)?", self.raw):
            name, verb, revision, rest = (unquote(part or "") for part in found.groups())
            raise self.api(self.repository(name), name, verb, revision or "main", rest)
        self.body()
        raise Answer(404, {"error": f"no route {path}"})

    def right(self) -> str:
        """What the request's token allows."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.hub.rights:
            raise refusal(401, "", "Invalid username or password.")
        return self.hub.rights[token]

    def need_write(self) -> None:
        if self.right() != "write":
            self.body()
            raise refusal(403, "", "Forbidden: you must use a write token to upload to a repository.")

    def repository(self, name: str) -> Repository:
        found = self.hub.repositories.get(name)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if found is None or (found.private and token not in self.hub.rights):
            self.body()
            raise refusal(401 if token not in self.hub.rights else 404, "RepoNotFound", "Repository not found")
        return found

    def create(self) -> Answer:
        self.need_write()
        wanted = json.loads(self.body())
        name = f"{wanted.get('organization') or 'tester'}/{wanted['name']}"
        url = f"{self.hub.url}/datasets/{name}"
        if name in self.hub.repositories:
            return Answer(409, {"error": "You already created this dataset repo", "url": url})
        private = wanted.get("private", False) or wanted.get("visibility") == "private"
        made = self.hub.repositories[name] = Repository(private)
        self.hub.commit(made, {".gitattributes": self.hub.store(b"*.bin filter=lfs\n", lfs=False)})
        return Answer(200, {"url": url, "name": name, "id": name})

    def lfs_batch(self) -> Answer:
        self.need_write()
        objects = []
        for wanted in json.loads(self.body())["objects"]:
            entry: Json = {"oid": wanted["oid"], "size": wanted["size"]}
            if not self.hub.blob(wanted["oid"]).exists():
                entry["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}"}}
            objects.append(entry)
        kind = {"Content-Type": "application/vnd.git-lfs+json"}
        return Answer(200, {"transfer": "basic", "objects": objects}, kind)

    def api(self, repository: Repository, name: str, verb: str, revision: str, rest: str) -> Answer:
        if verb == "refs":
            return Answer(200, self.refs(repository))
        if verb == "tag":
            return self.tag(repository, revision)
        if verb == "preupload":
            self.need_write()
            files = json.loads(self.body())["files"]
            return Answer(200, {"files": [self.upload_mode(file) for file in files]})
        if verb == "commit":
            return self.make_commit(repository, name)
        if verb.startswith("xet-"):
            return refusal(404, "", "no Xet here")
        commit = repository.find(revision)
        if commit is None:
            self.body()
            return refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if verb in ("", "revision"):
            return Answer(200, self.info(repository, name, *commit))
        if verb == "paths-info":
            return Answer(200, self.paths_info(commit[1]))
        if verb == "tree":
            return self.tree(commit[1], rest.strip("/"))
        return Answer(404, {"error": f"no such call: {verb}"})

    def refs(self, repository: Repository) -> Json:
        tags = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": oid} for tag, oid in repository.tags.items()]
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.commits[-1][0]}
        return {"branches": [main], "converts": [], "tags": tags}

    def tag(self, repository: Repository, revision: str) -> Answer:
        self.need_write()
        name = json.loads(self.body())["tag"]
        commit = repository.find(revision)
        if commit is None or name in repository.tags:
            return refusal(404 if commit is None else 409, "", "no such revision, or the tag exists")
        repository.tags[name] = commit[0]
        return Answer(200, {})

    def upload_mode(self, file: Json) -> Json:
        text = Path(file["path"]).suffix in REGULAR_SUFFIXES or Path(file["path"]).name == ".gitattributes"
        regular = text and file["size"] < REGULAR_BYTES_MAX and b"\0" not in base64.b64decode(file["sample"])
        mode = "regular" if regular else "lfs"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}

    def make_commit(self, repository: Repository, name: str) -> Answer:
        self.need_write()
        lines = [json.loads(line) for line in self.body().splitlines() if line]
        with self.hub.lock:
            files = dict(repository.commits[-1][1])
            for line in lines:
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = self.hub.store(base64.b64decode(value["content"]), lfs=False)
                elif line["key"] == "lfsFile":
                    if not self.hub.blob(value["oid"]).exists():
                        return Answer(400, {"error": "an LFS object was not uploaded"})
                    files[value["path"]] = self.hub.entry(value["oid"], lfs=True)
                elif line["key"] == "deletedFile":
                    files.pop(value["path"], None)
            oid = self.hub.commit(repository, files)
        url = f"{self.hub.url}/datasets/{name}/commit/{oid}"
        return Answer(200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def info(self, repository: Repository, name: str, oid: str, files: dict[str, File]) -> Json:
        return {
            "_id": "0",
            "id": name,
            "author": name.split("/")[0],
            "sha": oid,
            "lastModified": CREATED,
            "createdAt": CREATED,
            "private": repository.private,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [{"rfilename": path} for path in sorted(files)],
        }

    def paths_info(self, files: dict[str, File]) -> list[Json]:
        body = self.body()
        paths = json.loads(body)["paths"] if body[:1] == b"{" else parse_qs(body.decode())["paths"]
        found = []
        for path in (path.strip("/") for path in paths):
            if path in files:
                found.append(self.entry(path, files[path]))
            elif any(other.startswith(f"{path}/") for other in files):
                found.append(self.directory(path))
        return found

    def tree(self, files: dict[str, File], folder: str) -> Answer:
        prefix = f"{folder}/" if folder else ""
        inside = [path for path in sorted(files) if path.startswith(prefix)]
        if folder and not inside:
            return refusal(404, "EntryNotFound", f"{folder} does not exist")
        recursive = self.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        entries: dict[str, Json] = {}
        for path in inside:
            parts = path.removeprefix(prefix).split("/")
            for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
                parent = prefix + "/".join(parts[:depth])
                entries.setdefault(parent, self.directory(parent))
            if recursive or len(parts) == 1:
                entries[path] = self.entry(path, files[path])
        start = int(self.query.get("cursor", ["0"])[0])
        headers = {}
        if start + self.hub.page < len(entries):
            kept = "&".join(f"{key}={quote(value[0])}" for key, value in self.query.items() if key != "cursor")
            following = f"{self.hub.url}{self.raw}?{kept}&cursor={start + self.hub.page}"
            headers["Link"] = f'<{following}>; rel="next"'
        return Answer(200, list(entries.values())[start : start + self.hub.page], headers)

    def entry(self, path: str, file: File) -> Json:
        entry: Json = {"type": "file", "oid": file.git_oid, "size": file.size, "path": path}
        if file.lfs:
            entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
        return entry

    def directory(self, path: str) -> Json:
        return {"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0, "path": path}

    # --- files

    def resolve(self, name: str, revision: str, path: str) -> None:
        commit = self.repository(name).find(revision)
        if commit is None:
            raise refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        kind = self.fault.kind if self.fault else None
        file = commit[1].get(path)
        if file is None or kind == "missing":
            answer = refusal(404, "EntryNotFound", "Entry not found")
            answer.headers["X-Repo-Commit"] = commit[0]
            raise answer
        etag = f'"{file.sha256 if file.lfs else file.git_oid}"'
        size = file.size // 2 if kind == "truncate" else file.size
        headers = {"X-Repo-Commit": commit[0], "ETag": etag, "Accept-Ranges": "bytes"}
        if file.lfs:
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(size)}
        start, stop, status = self.range_of(size)
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(stop - start)}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.send_bytes(self.hub.blob(file.sha256), start, stop, kind)
        self.wfile.flush()

    def range_of(self, size: int) -> tuple[int, int, int]:
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            return 0, size, 200
        if not wanted[1]:
            return max(0, size - int(wanted[2])), size, 206
        start = int(wanted[1])
        if start >= size:
            raise Answer(416, None, {"Content-Range": f"bytes */{size}"})
        return start, min(size, int(wanted[2]) + 1) if wanted[2] else size, 206

    def send_bytes(self, path: Path, start: int, stop: int, kind: str | None) -> None:
        with path.open("rb") as file:
            if kind not in ("drop", "corrupt"):
                self.wfile.flush()
                self.sent = self.connection.sendfile(file, start, stop - start)
                return
            file.seek(start)
            content = bytearray(file.read(stop - start))
        if kind == "corrupt" and content:
            content[len(content) // 2] ^= 1
        if kind == "drop":
            content = content[: len(content) // 2]
            self.close_connection = True
        self.wfile.write(content)
        self.sent = len(content)


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
