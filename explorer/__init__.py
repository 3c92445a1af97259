"""The explorer: a page that shows stores in a browser, and the small server for stores on this machine.

`web/` has the page's sources; `npm install && npm run build` there makes `static/`, which is what ships.
`scenes/` has the geometry of every task's robot; `python -m dynamic_sparsity.generation.jobs.scenes` makes it.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["HUB", "SCENES", "STATIC"]

STATIC = Path(__file__).parent / "static"
"""The page, as browsers get it."""

SCENES = Path(__file__).parent / "scenes"
"""Geometry by task, `<Task>.json`."""

HUB = "https://huggingface.co"
"""The Hub that the page reads where nothing else is said."""
