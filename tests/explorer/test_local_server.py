"""The explorer's server: what it serves, ranges, and what it must not serve."""

from __future__ import annotations

import _thread
import http.client
import json
import os
import signal
import socket
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from browsers import serving

from dynamic_sparsity.cli import exploring, main
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.explorer import SCENES, STATIC
from dynamic_sparsity.explorer.server import ExplorerServer, Repository
from dynamic_sparsity.testing import make_store

MANIFEST = "Pendulums/noise.zarr/manifest.json"


@pytest.fixture
def interruptible():
    """Ctrl-C interrupts, also where the tests run in the background and inherited that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "data"
    make_store(folder / "Pendulums/noise.zarr")
    make_store(folder / "Pendulums/late.zarr", policy="late", finalize=False)
    return folder


@pytest.fixture(scope="module")
def address(root):
    with serving(ExplorerServer(root)) as url:
        yield url


def ask(address, path, method="GET", **headers):
    """Send a request as it is, without what a client would mend in the path."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def test_page_and_scenes(address):
    for path, file in {"/": "index.html", "/explorer.js": "explorer.js", "/explorer.css": "explorer.css"}.items():
        status, headers, body = ask(address, path)
        assert (status, body) == (200, (STATIC / file).read_bytes())
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert ask(address, "/explorer.js")[1]["Content-Type"] == "text/javascript"
    assert ask(address, "/scenes/CheetahRun.json")[2] == (SCENES / "CheetahRun.json").read_bytes()
    assert ask(address, "/scenes/Pendulums.json")[0] == 404


def test_the_page_may_load_nothing_from_elsewhere_but_the_hubs_data(address):
    policy = ask(address, "/")[1]["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-eval'" not in policy.replace("wasm-unsafe-eval", "") and "unsafe-inline" not in policy
    with serving(ExplorerServer(None, repository=Repository("org/name", "v1.0.0", "http://127.0.0.1:9"))) as other:
        assert "connect-src 'self' http://127.0.0.1:9;" in ask(other, "/")[1]["Content-Security-Policy"]
        expected = {"repository": "org/name", "revision": "v1.0.0", "endpoint": "http://127.0.0.1:9"}
        assert json.loads(ask(other, "/config.json")[2]) == expected
        assert ask(other, f"/data/{MANIFEST}")[0] == 404


def test_finished_stores_are_listed(address, root):
    listing = json.loads(ask(address, "/stores.json")[2])
    entry = {"task": "Pendulums", "policy": "noise", "dynamics": "converged", "path": "Pendulums/noise.zarr"}
    assert listing == {"root": str(root), "stores": [entry]}


@pytest.mark.parametrize(
    ("wanted", "status", "part"),
    [
        (None, 200, slice(None)),
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=5-", 206, slice(5, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=3-99999999", 206, slice(3, None)),
        ("bytes=99999999-", 416, slice(0, 0)),
        ("bytes=5-3", 416, slice(0, 0)),
        ("bytes=-0", 416, slice(0, 0)),
        ("bytes=0-1,3-4", 200, slice(None)),
        ("rows=0-1", 200, slice(None)),
    ],
)
def test_ranges(address, root, wanted, status, part):
    contents = (root / MANIFEST).read_bytes()
    headers = {} if wanted is None else {"Range": wanted}
    found, answered, body = ask(address, f"/data/{MANIFEST}", **headers)
    assert (found, body) == (status, contents[part])
    assert int(answered["Content-Length"]) == len(body)
    if found == 206:
        start = contents.index(body) if len(body) > 10 else part.indices(len(contents))[0]
        assert answered["Content-Range"] == f"bytes {start}-{start + len(body) - 1}/{len(contents)}"
    head = ask(address, f"/data/{MANIFEST}", "HEAD", **headers)
    assert (head[0], head[1]["Content-Length"], head[2]) == (found, answered["Content-Length"], b"")


def test_nothing_outside_is_served(tmp_path):
    root = tmp_path / "data"
    make_store(root / "Pendulums/noise.zarr")
    store = root / "Pendulums/noise.zarr"
    (tmp_path / "secret").write_text("secret")
    (root / "secret").write_text("secret")
    (store / ".hidden").write_text("secret")
    (store / "link").symlink_to(tmp_path / "secret")
    (store / "folder").symlink_to(tmp_path)
    (store / "own").symlink_to(store / "manifest.json")
    os.mkfifo(store / "pipe")
    (store / "socket").symlink_to("/dev/zero")
    with serving(ExplorerServer(root)) as address:
        base = "/data/Pendulums/noise.zarr"
        refused = [
            "/../secret",
            "/..%2f..%2fsecret",
            "/.hidden",
            "/link",
            "/folder/secret",
            "/pipe",
            "/socket",
            "",
            "/",
        ]
        refused += ["//etc/passwd", "/%00", "/state", "/state/zarr.json/x", "/manifest.json%0d%0aA: b"]
        for path in [f"{base}{end}" for end in refused] + [
            "/data/secret",
            "/data//secret",
            "/../secret",
            "/%2e%2e/secret",
        ]:
            status, headers, body = ask(address, path.replace(" ", "%20"))
            assert (status, b"secret" in body, "A" in headers) == (404, False, False), path
        assert ask(address, f"{base}/own")[2] == (store / "manifest.json").read_bytes()


def test_other_names_and_methods_are_refused(address):
    port = urlsplit(address).port
    assert ask(address, "/", Host=f"localhost:{port}")[0] == 200
    assert ask(address, "/", Host="example.org")[0] == 403
    assert ask(address, "/", Host=f"example.org:{port}")[0] == 403
    assert ask(address, f"/data/{MANIFEST}", "POST")[0] == 501


def test_taken_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InvalidSettingError, match="--port"):
            ExplorerServer(None, taken.getsockname()[1])


@pytest.mark.usefixtures("interruptible")
def test_a_browser_in_the_terminal_gets_its_page(capsys, monkeypatch):
    """Such a browser returns only when it is closed, so it must not keep the server from answering."""
    pages = []

    def browse(url):
        with urlopen(url, timeout=60) as answer:
            pages.append(answer.read())
        _thread.interrupt_main()

    monkeypatch.setattr("webbrowser.open", browse)
    assert main(["explore", "--repo", "org/name"]) == 0
    assert b"<html" in pages[0] and "has ended" in capsys.readouterr().out


class Now:
    """A thread that is done when it has started."""

    def __init__(self, target, args, daemon):
        self.start = lambda: target(*args)


def test_command_line(tmp_path, capsys, monkeypatch):
    opened, ended = [], []

    def serve(server):
        ended.append([store["path"] for store in server.stores()] or server.repository)
        raise KeyboardInterrupt

    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(exploring, "Thread", Now)
    monkeypatch.setattr(ExplorerServer, "serve_forever", serve)
    assert main(["explore", "--sample", "--no-browser"]) == 0
    assert len(ended.pop()) == 16 and not opened
    assert "http://127.0.0.1:" in capsys.readouterr().out
    assert main(["explore", str(tmp_path)]) == 0
    assert "no finished stores" in capsys.readouterr().out and len(opened) == 1
    assert main(["explore", "--repo", "org/name@v1.0.0", "--no-browser"]) == 0
    assert (ended[-1].id, ended[-1].revision) == ("org/name", "v1.0.0")
    assert main(["explore", "--repo", "NOWHERE"]) == 1
    assert "ORG/NAME" in capsys.readouterr().err
    assert main(["explore", str(tmp_path / "missing")]) == 1
    assert main(["explore", str(tmp_path), "--sample"]) == 1
    assert "one of them" in capsys.readouterr().err
