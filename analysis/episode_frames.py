"""Pictures of the robot over an episode, in one image that a page can hold."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

from dynamic_sparsity.analysis.files import Renderer
from dynamic_sparsity.analysis.study import EXCLUDED_FLAGS, Study
from dynamic_sparsity.loaders.load import open_dataset

__all__ = ["FRAMES", "frame_sheet"]

FRAMES = 100
FRAME_WIDTH, FRAME_HEIGHT, SHEET_COLUMNS = 160, 120, 10
FRAME_QUALITY = 50


def frame_sheet(one: Study, path: Path, frames: int, render: Renderer | None) -> dict[str, Any] | None:
    """Return pictures of the study's episode, evenly spaced, in one image.

    Args:
        one: The study.
        path: Its store.
        frames: How many, at most.
        render: Makes them; none if None.

    Returns:
        `sheet` (a data URI), `columns`, `count` and `every` (control steps between two); None if there are none.
    """
    if render is None or frames < 1:
        return None
    every = math.ceil(len(one.timeline) / frames)
    dataset = open_dataset(path, columns=["state"], exclude_flags=EXCLUDED_FLAGS)
    states = dataset[one.timeline.first : one.timeline.first + len(one.timeline) : every]["state"]
    pictures = render(one.source.task, states, FRAME_WIDTH, FRAME_HEIGHT)
    if pictures is None:
        return None
    from PIL import Image

    columns = min(SHEET_COLUMNS, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (columns * FRAME_WIDTH, rows * FRAME_HEIGHT))
    for number, picture in enumerate(pictures):
        place = (number % columns * FRAME_WIDTH, number // columns * FRAME_HEIGHT)
        sheet.paste(Image.fromarray(picture), place)
    contents = io.BytesIO()
    sheet.save(contents, format="webp", quality=FRAME_QUALITY, method=6)
    text = base64.b64encode(contents.getvalue()).decode()
    return {"sheet": f"data:image/webp;base64,{text}", "columns": columns, "count": len(pictures), "every": every}
