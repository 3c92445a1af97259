"""The explorer's local server: its page, and the finished stores below a folder, to browsers on this machine only."""

from __future__ import annotations

import json
import mimetypes
import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from dynamic_sparsity.errors import CorruptInputError, DynamicSparsityError, InvalidSettingError
from dynamic_sparsity.explorer import HUB, SCENES, STATIC
from dynamic_sparsity.loaders.store.store import find_stores
from dynamic_sparsity.untrusted.files import open_regular
from dynamic_sparsity.untrusted.names import inside

__all__ = ["ExplorerServer", "Repository"]

ADDRESS: Final = "127.0.0.1"
COPY_BYTES: Final = 2**20
HUB_HOSTS: Final = f"{HUB} https://*.huggingface.co https://*.hf.co"
"""Where the Hub's files are: it sends browsers on to hosts of its own."""

_STORE_FILE: Final = re.compile(r"[^/]+/[^/]+\.zarr/.+")
_RANGE: Final = re.compile(r"bytes=([0-9]{1,18})-([0-9]{1,18})?|bytes=-([0-9]{1,18})")


@dataclass(frozen=True)
class Repository:
    """A repository on the Hub that the page is to show in the place of stores on this machine.

    Attributes:
        id: "ORG/NAME".
        revision: A branch, tag or commit; None for the main branch.
        endpoint: Address of the Hub.
    """

    id: str
    revision: str | None = None
    endpoint: str = HUB

    def as_json(self) -> dict[str, str]:
        """Return what the page's `config.json` says of it."""
        revision = {} if self.revision is None else {"revision": self.revision}
        return {"repository": self.id, "endpoint": self.endpoint, **revision}


class ExplorerServer(ThreadingHTTPServer):
    """A server for one browser on this machine; `serve_forever` runs it, `server_close` ends it.

    Attributes:
        root: Folder of all stores, without links; None where there is none.
        name: What the page calls it.
        repository: What the page shows in its place.
    """

    daemon_threads = True

    def __init__(
        self, root: Path | None, port: int = 0, *, name: str | None = None, repository: Repository | None = None
    ):
        """Take a port; requests are answered once `serve_forever` runs.

        Args:
            root: Folder of all stores; None to serve the page alone.
            port: Port on 127.0.0.1; 0 for any that is free.
            name: What the page calls the folder; its path by default.
            repository: A repository on the Hub, which the page shows in the place of `root`.

        Raises:
            InvalidSettingError: The port can't be had.
        """
        self.root = None if root is None else root.resolve()
        self.name = name or str(root or "")
        self.repository = repository
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise InvalidSettingError(
                f"port {port} can't be used ({error.strerror}); choose another with --port, or 0 for any that is free"
            ) from error

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{ADDRESS}:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore browsers that closed their connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def stores(self) -> list[dict[str, str]]:
        """Return the finished stores below the folder: task, policy, dynamics and path of each."""
        return [
            {
                "task": location.task,
                "policy": location.policy,
                "dynamics": location.dynamics,
                "path": f"{location.path.parent.name}/{location.path.name}",
            }
            for location in (find_stores(self.root) if self.root else [])
            if (location.path / "manifest.json").is_file()
        ]


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    server: ExplorerServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        """Answer a request for a file or a document."""
        # A page elsewhere whose name someone has made to mean this machine is not ours.
        names = {f"{host}:{self.server.server_address[1]}" for host in (ADDRESS, "localhost")}
        if self.headers.get("Host") not in names:
            return self._send(HTTPStatus.FORBIDDEN, b"", "text/plain")
        path = unquote(urlsplit(self.path).path).removeprefix("/")
        if path == "config.json":
            repository = self.server.repository
            return self._send_json({} if repository is None else repository.as_json())
        if path == "stores.json":
            return self._send_json({"root": self.server.name, "stores": self.server.stores()})
        try:
            file = self._file(path or "index.html")
            descriptor, status = open_regular(file, CorruptInputError)
        except DynamicSparsityError:
            return self._send(HTTPStatus.NOT_FOUND, b"There is no such file.\n", "text/plain")
        try:
            self._send_file(descriptor, status.st_size, _media_type(file))
        finally:
            os.close(descriptor)

    do_HEAD = do_GET

    def _file(self, path: str) -> Path:
        """Return the file that a path stands for; it may be missing.

        Raises:
            CorruptInputError: It is none of those that are served.
        """
        folder, relative = STATIC, path
        if path.startswith("scenes/"):
            folder, relative = SCENES, path.removeprefix("scenes/")
        elif path.startswith("data/"):
            relative = path.removeprefix("data/")
            if self.server.root is None or not _STORE_FILE.fullmatch(relative):
                raise CorruptInputError(f"{path!r} is not in a store")
            folder = self.server.root
        file = inside(folder, relative)
        # A link at the very end may lead outside, too.
        if not file.resolve().is_relative_to(folder.resolve()):
            raise CorruptInputError(f"{file} leads outside {folder}")
        return file

    def _send_file(self, descriptor: int, size: int, media_type: str) -> None:
        start, stop, status = _byte_range(self.headers.get("Range"), size)
        headers = {"Accept-Ranges": "bytes"}
        if status != HTTPStatus.OK:
            place = f"{start}-{stop - 1}" if status == HTTPStatus.PARTIAL_CONTENT else "*"
            headers["Content-Range"] = f"bytes {place}/{size}"
        self._send_head(status, stop - start, media_type, headers)
        if self.command == "HEAD":
            return
        with open(descriptor, "rb", closefd=False) as stream:
            stream.seek(start)
            left = stop - start
            while left and (part := stream.read(min(left, COPY_BYTES))):
                self.wfile.write(part)
                left -= len(part)
        # A file that became shorter meanwhile: the browser must not wait for the rest.
        self.close_connection = self.close_connection or left > 0

    def _send_json(self, document: object) -> None:
        self._send(HTTPStatus.OK, json.dumps(document).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, media_type: str) -> None:
        self._send_head(status, len(body), media_type, {})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_head(self, status: HTTPStatus, size: int, media_type: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        always = {
            "Content-Type": media_type,
            "Content-Length": str(size),
            "Cache-Control": "no-cache",
            "Content-Security-Policy": self._policy(),
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        for name, value in {**always, **headers}.items():
            self.send_header(name, value)
        with suppress(ConnectionError):
            self.end_headers()

    def _policy(self) -> str:
        """Return what the page may load: itself, and what it reads."""
        repository = self.server.repository
        hub = HUB_HOSTS if repository is None or repository.endpoint == HUB else repository.endpoint
        return (
            f"default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; "
            f"connect-src 'self' {hub}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )


def _byte_range(header: str | None, size: int) -> tuple[int, int, HTTPStatus]:
    """Return first byte, byte after the last, and the status that the header `Range` of a request leads to."""
    wanted = _RANGE.fullmatch(header or "")
    if wanted is None:
        return 0, size, HTTPStatus.OK
    first, last, length = wanted.groups()
    start = max(0, size - int(length)) if first is None else int(first)
    stop = size if last is None else min(size, int(last) + 1)
    if start >= stop:
        return 0, 0, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    return start, stop, HTTPStatus.PARTIAL_CONTENT


def _media_type(file: Path) -> str:
    known = {".js": "text/javascript", ".json": "application/json", ".wasm": "application/wasm"}
    if file.suffix in known:
        return known[file.suffix]
    return mimetypes.types_map.get(file.suffix, "application/octet-stream")
