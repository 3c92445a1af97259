"""Answering the requests of the Hub's clients: the routes of `HubServer`."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from dynamic_sparsity.testing.hub_parts import Answer, File, Repository, Seen, byte_range, refusal

if TYPE_CHECKING:
    from dynamic_sparsity.testing.hub_server import HubServer

__all__ = ["Handler"]

CREATED = "2026-01-01T00:00:00.000Z"
REGULAR_SUFFIXES = {".json", ".md", ".yaml", ".gitattributes"}
REGULAR_BYTES_MAX = 10_000_000
SMALL_BYTES = 65_536
SPACES = "spaces/"
"""Before the name of a Space, where a data set's name has nothing."""

Json = dict[str, Any]


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests from the repositories of `hub`."""

    hub: HubServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def _answer(self) -> None:
        hub, url = self.hub, urlsplit(self.path)
        if hub.latency:
            time.sleep(hub.latency)  # sleeping for 0 seconds takes time, too
        self._raw, self._query = url.path, parse_qs(url.query)
        self._fault = hub.take_fault(self.command, unquote(url.path))
        self._length = int(self.headers.get("Content-Length") or 0)
        try:
            if self._fault is not None and self._fault.kind == "status":
                after = {} if self._fault.retry_after is None else {"Retry-After": str(self._fault.retry_after)}
                self.rfile.read(self._length)
                raise Answer(self._fault.status, {"error": "try again later"}, after)
            self._route()
        except Answer as answer:
            self._send_json(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer

    def end_headers(self) -> None:
        """Let pages from elsewhere read, as the Hub does."""
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def _note(self, sent: int = 0) -> None:
        """Count the request, before its answer can be seen: a test may look as soon as it is."""
        self.hub.requests.append(Seen(self.command, unquote(self._raw), self.headers.get("Range"), sent))

    def _send_json(self, answer: Answer) -> None:
        self._note()
        body = b"" if answer.body is None else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(self._length)
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    # --- routes

    def _route(self) -> None:
        path = unquote(self._raw)
        if found := re.fullmatch(r"/lfs/([0-9a-f]{64})", path):
            self.hub.receive(found[1], self.rfile, self._length)
            raise Answer(200, {}, {"ETag": found[1]})
        if found := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._raw):
            return self._resolve(*(unquote(part) for part in found.groups()))
        if path == "/api/whoami-v2":
            self._right()
            raise Answer(200, {"type": "user", "name": "tester", "fullname": "tester", "orgs": []})
        if path == "/api/validate-yaml":
            self._body()
            raise Answer(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            raise self._create()
        if found := re.fullmatch(r"/(?:datasets|spaces)/([^/]+/[^/]+?)\.git/info/lfs/objects/batch", path):
            raise self._lfs_batch()
        if found := re.fullmatch(
            r"/api/(datasets|spaces)/([^/]+/[^/]+)(?:/([^/]+)(?:/([^/]+)(?:/(.*))?)?)?", self._raw
        ):
            kind, name, verb, revision, rest = (unquote(part or "") for part in found.groups())
            name = name if kind == "datasets" else f"{SPACES}{name}"
            raise self._api(self._repository(name), name, verb, revision or "main", rest)
        self._body()
        raise Answer(404, {"error": f"no route {path}"})

    def _right(self) -> str:
        """Return what the request's token allows."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.hub.rights:
            raise refusal(401, "", "Invalid username or password.")
        return self.hub.rights[token]

    def _need_write(self) -> None:
        if self._right() != "write":
            self._body()
            raise refusal(403, "", "Forbidden: you must use a write token to upload to a repository.")

    def _repository(self, name: str) -> Repository:
        found = self.hub.repositories.get(name)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if found is None or (found.private and token not in self.hub.rights):
            self._body()
            raise refusal(401 if token not in self.hub.rights else 404, "RepoNotFound", "Repository not found")
        return found

    def _create(self) -> Answer:
        self._need_write()
        wanted = json.loads(self._body())
        name = f"{wanted.get('organization') or 'tester'}/{wanted['name']}"
        name = f"{SPACES}{name}" if wanted.get("type") == "space" else name
        url = self._page(name)
        if name in self.hub.repositories:
            return Answer(409, {"error": "You already created this repo", "url": url})
        private = wanted.get("private", False) or wanted.get("visibility") == "private"
        made = self.hub.repositories[name] = Repository(private)
        self.hub.commit(made, {".gitattributes": self.hub.store(b"*.bin filter=lfs\n", lfs=False)})
        return Answer(200, {"url": url, "name": name, "id": name})

    def _lfs_batch(self) -> Answer:
        self._need_write()
        objects = []
        for wanted in json.loads(self._body())["objects"]:
            entry: Json = {"oid": wanted["oid"], "size": wanted["size"]}
            if not self.hub.blob(wanted["oid"]).exists():
                entry["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}"}}
            objects.append(entry)
        kind = {"Content-Type": "application/vnd.git-lfs+json"}
        return Answer(200, {"transfer": "basic", "objects": objects}, kind)

    def _api(self, repository: Repository, name: str, verb: str, revision: str, rest: str) -> Answer:
        if verb == "refs":
            return Answer(200, self._refs(repository))
        if verb == "tag":
            return self._tag(repository, revision)
        if verb == "preupload":
            self._need_write()
            files = json.loads(self._body())["files"]
            return Answer(200, {"files": [self._upload_mode(file) for file in files]})
        if verb == "commit":
            return self._make_commit(repository, name)
        if verb.startswith("xet-"):
            return refusal(404, "", "no Xet here")
        commit = repository.find(revision)
        if commit is None:
            self._body()
            return refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if verb in ("", "revision"):
            return Answer(200, self._info(repository, name, *commit))
        if verb == "paths-info":
            return Answer(200, self._paths_info(commit[1]))
        if verb == "tree":
            return self._tree(commit[1], rest.strip("/"))
        return Answer(404, {"error": f"no such call: {verb}"})

    def _refs(self, repository: Repository) -> Json:
        tags = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": oid} for tag, oid in repository.tags.items()]
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.commits[-1][0]}
        return {"branches": [main], "converts": [], "tags": tags}

    def _tag(self, repository: Repository, revision: str) -> Answer:
        self._need_write()
        name = json.loads(self._body())["tag"]
        commit = repository.find(revision)
        if commit is None or name in repository.tags:
            return refusal(404 if commit is None else 409, "", "no such revision, or the tag exists")
        repository.tags[name] = commit[0]
        return Answer(200, {})

    def _upload_mode(self, file: Json) -> Json:
        text = Path(file["path"]).suffix in REGULAR_SUFFIXES or Path(file["path"]).name == ".gitattributes"
        regular = text and file["size"] < REGULAR_BYTES_MAX and b"\0" not in base64.b64decode(file["sample"])
        mode = "regular" if regular else "lfs"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}

    def _make_commit(self, repository: Repository, name: str) -> Answer:
        self._need_write()
        lines = [json.loads(line) for line in self._body().splitlines() if line]
        with self.hub.lock:
            head, before = repository.commits[-1]
            files = dict(before)
            for line in lines:
                value = line["value"]
                if line["key"] == "header" and value.get("parentCommit", head) != head:
                    return Answer(412, {"error": "the branch has moved on from the parent commit"})
                if line["key"] == "file":
                    files[value["path"]] = self.hub.store(base64.b64decode(value["content"]), lfs=False)
                elif line["key"] == "lfsFile":
                    if not self.hub.blob(value["oid"]).exists():
                        return Answer(400, {"error": "an LFS object was not uploaded"})
                    files[value["path"]] = self.hub.entry(value["oid"], lfs=True)
                elif line["key"] == "deletedFile":
                    files.pop(value["path"], None)
            oid = self.hub.commit(repository, files)
        url = f"{self._page(name)}/commit/{oid}"
        return Answer(200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def _page(self, name: str) -> str:
        """Return the address of a repository's page."""
        return f"{self.hub.url}/{name if name.startswith(SPACES) else f'datasets/{name}'}"

    def _info(self, repository: Repository, name: str, oid: str, files: dict[str, File]) -> Json:
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

    def _paths_info(self, files: dict[str, File]) -> list[Json]:
        body = self._body()
        paths = json.loads(body)["paths"] if body[:1] == b"{" else parse_qs(body.decode())["paths"]
        found = []
        for path in (path.strip("/") for path in paths):
            if path in files:
                found.append(self._entry(path, files[path]))
            elif any(other.startswith(f"{path}/") for other in files):
                found.append(self._directory(path))
        return found

    def _tree(self, files: dict[str, File], folder: str) -> Answer:
        prefix = f"{folder}/" if folder else ""
        inside = [path for path in sorted(files) if path.startswith(prefix)]
        if folder and not inside:
            return refusal(404, "EntryNotFound", f"{folder} does not exist")
        recursive = self._query.get("recursive", ["false"])[0].lower() in ("true", "1")
        entries: dict[str, Json] = {}
        for path in inside:
            parts = path.removeprefix(prefix).split("/")
            for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
                parent = prefix + "/".join(parts[:depth])
                entries.setdefault(parent, self._directory(parent))
            if recursive or len(parts) == 1:
                entries[path] = self._entry(path, files[path])
        start = int(self._query.get("cursor", ["0"])[0])
        headers = {}
        if start + self.hub.page < len(entries):
            kept = "&".join(f"{key}={quote(value[0])}" for key, value in self._query.items() if key != "cursor")
            following = f"{self.hub.url}{self._raw}?{kept}&cursor={start + self.hub.page}"
            headers["Link"] = f'<{following}>; rel="next"'
        return Answer(200, list(entries.values())[start : start + self.hub.page], headers)

    def _entry(self, path: str, file: File) -> Json:
        entry: Json = {"type": "file", "oid": file.git_oid, "size": file.size, "path": path}
        if file.lfs:
            entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
        return entry

    def _directory(self, path: str) -> Json:
        return {"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0, "path": path}

    # --- files

    def _resolve(self, name: str, revision: str, path: str) -> None:
        commit = self._repository(name).find(revision)
        if commit is None:
            raise refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        kind = self._fault.kind if self._fault else None
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
        start, stop, status = (0, size, 200) if kind == "whole" else byte_range(self.headers.get("Range", ""), size)
        if status == 206:
            start += kind == "elsewhere"
            stop = {"longer": size, "trickle": start + 1}.get(kind or "", stop)
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(stop - start)}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            self._note()
        else:
            self._send_bytes(self.hub.blob(file.sha256), start, stop, kind)
        self.wfile.flush()

    def _send_bytes(self, path: Path, start: int, stop: int, kind: str | None) -> None:
        with path.open("rb") as file:
            # What is small leaves together with the headers, as from any server.
            if kind not in ("drop", "corrupt") and stop - start > SMALL_BYTES:
                self._note(stop - start)
                self.wfile.flush()
                self.connection.sendfile(file, start, stop - start)
                return
            file.seek(start)
            content = bytearray(file.read(stop - start))
        if kind == "corrupt" and content:
            content[len(content) // 2] ^= 1
        if kind == "drop":
            content = content[: len(content) // 2]
            self.close_connection = True
        self._note(len(content))
        self.wfile.write(content)
