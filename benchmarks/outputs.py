"""How benchmarks write what they found: records with their page, or the part of a page that lies between two marks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write(document: Any, page: str, records: Path | None, markdown: Path | None) -> None:
    """Write records and their page, as far as they are wanted.

    Args:
        document: JSON data.
        page: The same for people, in Markdown.
        records: `….json`.
        markdown: `….md`.
    """
    if records:
        records.write_text(json.dumps(document, indent=1) + "\n")
    if markdown:
        markdown.write_text(page)


def replace_part(page: Path, begin: str, end: str, part: str) -> None:
    """Write the part of a page that lies between two marks anew; all else stays.

    Args:
        page: The page.
        begin: The first mark.
        end: The second.
        part: What goes between them, without blank lines around it.
    """
    before, _, rest = page.read_text().partition(begin)
    page.write_text(f"{before}{begin}\n\n{part}\n\n{end}{rest.partition(end)[2]}")
