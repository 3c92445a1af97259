"""Links that lead out of `docs/`: to a page of the site where the file is one, else to nothing but the file's name."""

from __future__ import annotations

import posixpath
import re
from typing import Any

PREFIX = "project/"
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> str:
    """Rewrite the links of one page; see mkdocs' hooks."""
    source = page.file.src_uri
    # Where the page lies in the repository: the pages made from files outside docs/ are below `project/`.
    outside = source.startswith(PREFIX)
    folder = posixpath.dirname(source.removeprefix(PREFIX) if outside else f"docs/{source}")

    def rewritten(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        path = posixpath.normpath(posixpath.join(folder, target))
        for uri in (
            path.removeprefix("docs/") if path.startswith("docs/") else None,
            PREFIX + path,
            f"{PREFIX}{path}/README.md",
        ):
            if uri is not None and files.get_file_from_path(uri) is not None:
                return f"[{text}]({posixpath.relpath(uri, posixpath.dirname(source) or '.')}{anchor})"
        if path == "README.md":
            return f"[{text}]({posixpath.relpath('index.md', posixpath.dirname(source) or '.')})"
        return text if text.strip("`") == path else f"{text} (`{path}`)"

    return LINK.sub(rewritten, markdown)
