"""Writing the studies of many stores: tables, figures, and the page of findings."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis.comparison import comparisons, one_per_dynamics, side_by_side
from dynamic_sparsity.analysis.findings import findings_page
from dynamic_sparsity.analysis.overview_figures import OVERVIEW_FIGURES, comparison_figure
from dynamic_sparsity.analysis.study import EXCLUDED_FLAGS, Study, StudyOptions, load_or_study, to_json
from dynamic_sparsity.analysis.style import SHARE_MAP
from dynamic_sparsity.analysis.tables import TABLES, comparison_rows, entry_rows, write_table
from dynamic_sparsity.analysis.task_figures import TASK_FIGURES, embedding_figure, frame_rows
from dynamic_sparsity.errors import CorruptStoreError, InvalidSettingError, UnknownNameError
from dynamic_sparsity.loaders.load import open_dataset
from dynamic_sparsity.loaders.store.store import StoreLocation, parse_store_path
from dynamic_sparsity.storage.atomic import check_output_folder, publish
from dynamic_sparsity.storage.made_here import note_folder
from dynamic_sparsity.untrusted.names import inside

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image as PillowImage

__all__ = ["FORMATS", "Renderer", "StudyProgress", "analyze", "study_file"]

FORMATS = ("png", "svg", "pdf")
DPI = 110
DATED = {"svg": "Date", "pdf": "CreationDate"}
"""Formats that would state when they were written, and under which name."""
PNG_COLOURS, SCALE_COLOURS = 192, 48
FRAME_WIDTH, FRAME_HEIGHT = 200, 150

Renderer = Callable[[str, NDArray[np.float32], int, int], "NDArray[np.uint8] | None"]
"""From task, states (n, ds), width and height to pictures of them, uint8, (n, height, width, 3); None if it can't."""


class StudyProgress(Protocol):
    """Receives the progress of the work."""

    def started(self, name: str, rows: int) -> None:
        """Report that a store is begun.

        Args:
            name: How to call the store.
            rows: Its rows.
        """

    def advanced(self, rows: int) -> None:
        """Report that more rows were read.

        Args:
            rows: Rows since the last call.
        """

    def phase(self, words: str) -> None:
        """Report what is being done now.

        Args:
            words: A few words.
        """


def analyze(
    paths: Sequence[Path],
    out: Path,
    *,
    options: StudyOptions | None = None,
    formats: Sequence[str] = FORMATS,
    render: Renderer | None = None,
    redraw: bool = False,
    progress: StudyProgress | None = None,
) -> list[Study]:
    """Study stores and write what was found.

    A store whose study is in `out` and still true is neither studied nor drawn again.

    Args:
        paths: The stores, each named ROOT/<Task>/<policy>[-stock].zarr.
        out: Folder for the results; made if missing.
        options: Sizes of samples; the defaults if None.
        formats: Of the figures, some of `FORMATS`.
        render: Makes pictures for the maps; none if None.
        redraw: Draw again what is there already.
        progress: Receives the progress.

    Returns:
        The studies, ordered by task, policy and dynamics.

    Raises:
        UnknownNameError: A format that does not exist, or a path that is not a store's.
        InvalidSettingError: No store was given, or `out` can't be written to.
        DynamicSparsityError: A store can't be read, or has no usable rows.
        MissingDependencyError: matplotlib or scikit-learn is not installed.
    """
    wrong = [name for name in formats if name not in FORMATS]
    if wrong:
        raise UnknownNameError(f"there is no figure format {wrong[0]!r}; there is {', '.join(FORMATS)}")
    if not paths:
        raise InvalidSettingError("no store was given; e.g. `dynamic-sparsity analyze data/*/*.zarr --out results`")
    check_output_folder(out)
    locations = sorted({parse_store_path(Path(path).absolute()) for path in paths})
    studies = []
    for location in locations:
        one, kept = _study(location, out, options, progress)
        studies.append(one)
        if progress is not None:
            progress.phase("drawing")
        if redraw or not kept or not _is_drawn(one, study_file(out, location.path).parent, formats):
            _write_study(one, location.path, out, formats, render)
        if progress is not None:
            progress.phase("done")
    note_folder(out, "analyze")
    for name, rows in TABLES.items():
        write_table(rows(studies), out / name)
    write_table(comparison_rows(comparisons(studies)), out / "comparisons")
    publish(out / "README.md", [findings_page(studies, "png" if "png" in formats else formats[0]).encode()])
    for name in dict.fromkeys(one.source.name for one in studies):
        chosen = one_per_dynamics([one for one in studies if one.source.name == name])
        for figure_name, draw in OVERVIEW_FIGURES.items():
            save_figure(draw(chosen), inside(out, f"{name}/{figure_name}"), formats)
    several = [one for found in side_by_side(studies).values() for one in found]
    if several:
        save_figure(comparison_figure(several), out / "side_by_side", formats)
    return studies


def study_file(out: Path, path: Path) -> Path:
    """Return where the study of a store is kept.

    Args:
        out: Folder of the results.
        path: The store.

    Raises:
        CorruptInputError: A link leads out of the folder.
    """
    return inside(out, f"{path.name.removesuffix('.zarr')}/{path.parent.name}/study.json")


def save_figure(made: Figure, path: Path, formats: Sequence[str]) -> None:
    """Write a figure; the same figure gives the same bytes.

    Args:
        made: The figure.
        path: Without suffix.
        formats: Some of `FORMATS`.
    """
    for name in formats:
        contents = io.BytesIO()
        if name in DATED:
            made.savefig(contents, format=name, dpi=DPI, metadata={DATED[name]: None})
        else:
            from PIL import Image

            made.savefig(contents, format="png", dpi=DPI)
            picture = _few_colours(Image.open(contents).convert("RGB"))
            contents = io.BytesIO()
            picture.save(contents, format="png", optimize=True)
        publish(path.with_name(f"{path.name}.{name}"), [contents.getvalue()])


def _few_colours(picture: PillowImage) -> PillowImage:
    """Return the picture with a palette, which makes its file a third as large.

    Part of the palette is the colour scale's: pictures of the robot would take all of it, and the scale's colours
    would not be true.
    """
    from matplotlib import colormaps
    from PIL import Image

    shades = colormaps[SHARE_MAP](np.linspace(0, 1, SCALE_COLOURS), bytes=True)[:, :3]
    chosen = picture.quantize(PNG_COLOURS - SCALE_COLOURS, dither=Image.Dither.NONE).getpalette() or []
    palette = np.concatenate([np.reshape(chosen, (-1, 3))[: PNG_COLOURS - SCALE_COLOURS], shades]).astype(np.int64)
    # Pillow's own search for the nearest colour is too coarse to keep the scale smooth.
    pixels = np.asarray(picture).reshape(-1, 3).astype(np.int64)
    codes, places = np.unique(pixels @ (65536, 256, 1), return_inverse=True)
    colours = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)
    distances = (palette**2).sum(axis=1) - 2 * colours @ palette.T
    nearest = distances.argmin(axis=1).astype(np.uint8)[places].reshape(picture.height, picture.width)
    made = Image.fromarray(nearest)
    made.putpalette(palette.astype(np.uint8).tobytes())
    return made


def _study(
    location: StoreLocation, out: Path, options: StudyOptions | None, progress: StudyProgress | None
) -> tuple[Study, bool]:
    """Return the study, and whether it is the one that was kept."""
    path, kept, advanced = location.path, study_file(out, location.path), None
    if progress is not None:
        dataset = open_dataset(path)
        progress.started(f"{path.parent.name} {path.name.removesuffix('.zarr')}", len(dataset))
        advanced = progress.advanced
    one = load_or_study(path, kept, options, advanced)
    # The results' names are made of the store's own metadata.
    stated = one.source.task, one.source.policy, one.source.dynamics
    if stated != (location.task, location.policy, location.dynamics):
        raise CorruptStoreError(f"{path}: its metadata are those of {stated!a:.200}, which is not what its path names")
    contents = to_json(one)
    if kept.is_file() and kept.read_bytes() == contents:
        return one, True
    note_folder(out, "analyze")
    publish(kept, [contents])
    return one, False


def _is_drawn(one: Study, folder: Path, formats: Sequence[str]) -> bool:
    names = [name for name in TASK_FIGURES if name != "bodies" or one.bodies is not None]
    names += ["embedding"] if one.embedding is not None else []
    files = ["entries.csv", *(f"{name}.{suffix}" for name in names for suffix in formats)]
    return all((folder / name).is_file() for name in files)


def _write_study(one: Study, path: Path, out: Path, formats: Sequence[str], render: Renderer | None) -> None:
    folder = study_file(out, path).parent
    write_table(entry_rows(one), folder / "entries")
    for name, draw in TASK_FIGURES.items():
        made = draw(one)
        if made is not None:
            save_figure(made, folder / name, formats)
    frames: list[Any] | None = None
    if render is not None and one.embedding is not None:
        dataset = open_dataset(path, columns=["state"], exclude_flags=EXCLUDED_FLAGS)
        states = dataset[one.embedding.positions[frame_rows(one)]]["state"]
        pictures = render(one.source.task, states, FRAME_WIDTH, FRAME_HEIGHT)
        frames = None if pictures is None else list(pictures)
    mapped = embedding_figure(one, frames)
    if mapped is not None:
        save_figure(mapped, folder / "embedding", formats)
