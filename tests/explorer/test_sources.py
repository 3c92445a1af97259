"""The page that ships is the one of the sources, and small."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from dynamic_sparsity.explorer import STATIC

WEB = Path(__file__).parents[2] / "explorer" / "web"
GZIPPED_BYTES_MAX = 1_500_000


def test_built_from_these_sources():
    files = ["index.html", "package.json", "vite.config.ts", *(f"src/{file.name}" for file in (WEB / "src").iterdir())]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file}\n".encode() + (WEB / file).read_bytes())
    built = (STATIC / "sources.sha256").read_text().strip()
    assert built == digest.hexdigest(), "the sources have changed: run `npm run build` in explorer/web"


def test_small_and_whole():
    assert sum(len(gzip.compress(file.read_bytes())) for file in STATIC.iterdir()) < GZIPPED_BYTES_MAX
    page = (STATIC / "index.html").read_text()
    assert "http" not in page
    for file in ("explorer.js", "explorer.css"):
        assert f"./{file}" in page
    licenses = (STATIC / "licenses.md").read_text()
    assert all(f"## {package} - " in licenses for package in ("three", "zarrita", "fzstd"))
