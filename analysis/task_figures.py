"""Figures of one store: how often each entry is zero, the map of (s, a, s'), sparsity over time."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis.blocks import constraint_kinds
from dynamic_sparsity.analysis.bodies import COARSE, MANY, MEANINGS, BodyGraph
from dynamic_sparsity.analysis.study import Study
from dynamic_sparsity.analysis.style import COLOURS, MODE_NAMES, SHARE_MAP, figure, short
from dynamic_sparsity.untrusted.text import figure_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["TASK_FIGURES", "bodies_figure", "embedding_figure", "timeline_figure", "zero_share_figure"]

TIMELINE_STEPS = 300
SHOWN_CONSTRAINTS = 10
FRAMES = 6
LIMBS = {
    "leg": ("hip", "knee", "ankle", "thigh", "shin", "foot", "calf", "abduction"),
    "arm": ("shoulder", "elbow", "wrist", "hand"),
}
LEGS = re.compile(r"([FRHL][LR])_", re.IGNORECASE)
"""How names of quadrupeds' joints begin: front, rear or hind, and left or right."""
KINDS = ("q", "v", "ctrl")
"""How short names of positions, velocities and the last control begin."""
MARKERS = ("o", "s", "^")
"""Of the map's points, by mode."""


def zero_share_figure(one: Study) -> Figure:
    """Draw the share of rows in which each entry of [J_s | J_a] is zero, after the paper's Figure 3 (Q1).

    Of many variables those of one limb are a block, whose colour is the mean of its entries.

    Args:
        one: A study.
    """
    shares = [one.zeros.share_s, one.zeros.share_a]
    effects, causes = list(map(short, one.state_names)), list(map(figure_label, one.action_names))
    note = "×: in every row"
    if len(effects) > MANY:
        groups = [_limbs(effects), _limbs(causes)]
        shares = [_block_means(share, groups[0], columns) for share, columns in zip(shares, groups, strict=True)]
        effects, causes = list(groups[0]), list(groups[1])
        note = "means of blocks; ×: in every row"
    rows, columns = len(effects), len(effects) + len(causes)
    with figure(min(7.2, columns * 0.17 + 2.2), rows * 0.17 + 1.7) as made:
        axes = made.subplots(1, 2, width_ratios=(rows, max(1, len(causes))), sharey=True)
        for ax, share, names, title in zip(axes, shares, (effects, causes), ("J_s", "J_a"), strict=True):
            # Entries that are zero in every row, the global zeros, stand out.
            image = ax.imshow(share, cmap=SHARE_MAP, vmin=0, vmax=1, aspect="equal", interpolation="nearest")
            always = np.argwhere(share == 1)
            ax.scatter(always[:, 1], always[:, 0], marker="x", s=9, c="black", linewidths=0.6)
            ax.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
            ax.set_title(f"{title}: cause")
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
        axes[0].set_yticks(range(rows), [f"{name}'" for name in effects], fontsize=6)
        axes[0].set_ylabel("effect, after the step")
        made.colorbar(image, ax=axes, label=f"share of rows with zero\n({note})", shrink=0.7, pad=0.01)
        made.suptitle(_title(one), fontsize=8)
        return made


def _limbs(names: list[str]) -> dict[str, list[int]]:
    """Return the places of the names that belong together: the axes of one joint, and the joints of one limb."""
    found: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        words = re.sub(r"[ _.]*([rvwd]?[xyz]|[0-9]+)$", "", name).removesuffix("_joint")
        words = re.sub(r"[ _](roll|pitch|yaw)$", "", words, flags=re.IGNORECASE)
        kind = words.split()[0] if words.split()[0] in KINDS else ""
        joint = words.removeprefix(f"{kind} ")
        limb = next((limb for limb, joints in LIMBS.items() if any(one in joint.lower() for one in joints)), "")
        sides = [side for side in ("front", "hind", "right", "left") if side in joint.lower()]
        leg = LEGS.match(joint)
        limb, sides = ("leg", [leg[1].upper()]) if leg else (limb, sides)
        key = " ".join(part for part in (kind, *sides, limb) if part) if limb else words
        found.setdefault(key, []).append(place)
    return found


def _block_means(share: NDArray[np.float64], rows: dict[str, list[int]], columns: dict[str, list[int]]) -> Any:
    return np.array([[share[np.ix_(some, others)].mean() for others in columns.values()] for some in rows.values()])


def embedding_figure(one: Study, frames: list[NDArray[np.uint8]] | None = None) -> Figure | None:
    """Draw a map of (s, a, s') coloured by mode, after the paper's Figure 4 (Q2); return None without a map.

    Args:
        one: The study.
        frames: Pictures of the rows of `frame_rows`, if they could be rendered.
    """
    found = one.embedding
    if found is None:
        return None
    with figure(5.4 if not frames else 7.6, 3.6) as made:
        grid = made.add_gridspec(1, 2 if frames else 1, width_ratios=(5, 3.2) if frames else (1,))
        ax = made.add_subplot(grid[0])
        for number, (mode, words) in enumerate(MODE_NAMES.items()):
            chosen = found.points[found.modes == number]
            options: Any = {"color": COLOURS[mode], "marker": MARKERS[number], "rasterized": True, "linewidths": 0}
            ax.scatter(chosen[:, 0], chosen[:, 1], s=7, label=f"{words} ({len(chosen):,})", **options)
        path = found.points[found.sequence]
        ax.plot(*path.T, color="black", linewidth=0.5, alpha=0.6)
        ax.set_aspect("equal", "datalim")
        ax.set(xticks=[], yticks=[])
        ax.set_xlabel(f"t-SNE of (s, a, s'), perplexity {found.perplexity:.3g}; {len(found.points):,} rows")
        made.legend(loc="outside lower center", ncols=3, frameon=False, markerscale=2)
        if frames:
            for number, place in enumerate(frame_rows(one)):
                ax.annotate(
                    str(number + 1), found.points[place], fontsize=7, color="white", ha="center", va="center",
                    bbox={"boxstyle": "circle,pad=0.15", "fc": "black", "ec": "none"},
                )  # fmt: skip
            _frames(made, grid[1], one, frames)
        made.suptitle(_title(one), fontsize=8)
        return made


def frame_rows(one: Study) -> list[int]:
    """Return the map's points whose rows to show pictures of: evenly spaced in the sequence.

    Args:
        one: A study.
    """
    if one.embedding is None:
        return []
    sequence = one.embedding.sequence
    spread = np.unique(np.linspace(0, sequence.size - 1, FRAMES).round().astype(int))
    return [int(sequence[place]) for place in spread]


def timeline_figure(one: Study) -> Figure:
    """Draw sparsity over time with the active contacts and limits, after the paper's Figure 6 (Q3).

    The stretch in which most entries switch, of the episode in which most do.

    Args:
        one: A study.
    """
    found = one.timeline
    start = found.liveliest_window(TIMELINE_STEPS)
    chosen = slice(start, start + TIMELINE_STEPS)
    active, kinds = found.active[chosen], _kinds(one)
    # Friction losses stick most of the time and show little; the rest by how often it switches.
    switches = np.abs(np.diff(active.astype(int), axis=0)).sum(axis=0) + active.any(axis=0) * 0.5
    shown = np.argsort(-switches, kind="stable")[:SHOWN_CONSTRAINTS]
    shown = np.sort(shown[active[:, shown].any(axis=0)])
    with figure(7.2, 2.3 + 0.16 * max(1, shown.size)) as made:
        upper, lower = made.subplots(2, 1, sharex=True, height_ratios=(2.0, 0.25 + 0.18 * max(1, shown.size)))
        time = found.time[chosen]
        for name, values in (("J_s", found.sparsity_s), ("J_a", found.sparsity_a)):
            upper.step(time, values[chosen], where="post", color=COLOURS[name], label=name, linewidth=1)
        upper.set(ylabel="sparsity", ylim=(-0.03, 1.03))
        upper.legend(loc="upper right", ncols=2, frameon=False)
        _bands(lower, one, found.constraints[shown], active[:, shown], time, kinds)
        lower.set_xlabel("time since the reset, s")
        made.suptitle(f"{_title(one)}; episode {found.episode}", fontsize=8)
        return made


def bodies_figure(found: BodyGraph, title: str) -> Figure:
    """Draw in how many rows each body influences each other one (beyond the paper).

    Args:
        found: Of a store.
        title: Above the figure.
    """
    names = [figure_label(name) for name in found.names]
    meanings = (r"$|J| \geq$ 1e-12, in MuJoCo's units", rf"$|J| \geq$ {COARSE:g}, in standard deviations")
    # Little wider than a phone's screen.
    many = len(names) > 20
    size = 5 if many else 7
    with figure(*(4.7, 8.7) if many else (3.9, 7.2)) as made:
        axes = made.subplots(2, 1)
        for ax, meaning, words in zip(axes, MEANINGS, meanings, strict=True):
            share = found.share(meaning)
            image = ax.imshow(share, cmap=SHARE_MAP, vmin=0, vmax=1, aspect="equal", interpolation="nearest")
            never = np.argwhere(share == 0)
            ax.scatter(never[:, 1], never[:, 0], marker="x", s=size, c="white", linewidths=0.5)
            ax.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
            ax.set_yticks(range(len(names)), [f"{name}'" for name in names], fontsize=size)
            ax.set_title(f"{words}: {100 * found.density(meaning):.0f} % of the pairs")
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
        made.colorbar(
            image, ax=axes, label="share of rows in which the column influences\nthe row; ×: in none",
            orientation="horizontal", shrink=0.9, aspect=30, pad=0.01,
        )  # fmt: skip
        made.suptitle(title, fontsize=8)
        return made


def _bodies(one: Study) -> Figure | None:
    return None if one.bodies is None else bodies_figure(one.bodies, _title(one))


TASK_FIGURES: dict[str, Callable[[Study], Figure | None]] = {
    "zero_share": zero_share_figure,
    "bodies": _bodies,
    "sparsity_over_time": timeline_figure,
}
"""Figures of one study that need nothing else, by name; some are None where there is nothing to show."""


def _bands(
    ax: Axes,
    one: Study,
    constraints: NDArray[np.int64],
    active: NDArray[np.uint8],
    time: NDArray[np.float64],
    kinds: list[str],
) -> None:
    step = float(one.source.metadata["control_dt"])
    for place, number in enumerate(constraints.tolist()):
        edges = np.flatnonzero(np.diff(active[:, place], prepend=0, append=0))
        spans = [(time[begin], (end - begin) * step) for begin, end in zip(edges[::2], edges[1::2], strict=True)]
        ax.broken_barh(spans, (place - 0.4, 0.8), color=COLOURS[kinds[number]], linewidth=0)
    names = [figure_label(one.constraint_names[number]) for number in constraints]
    ax.set_yticks(range(len(names)), names, fontsize=6)
    ax.set_ylim(len(names) - 0.4, -0.6)
    if not names:
        ax.set_yticks([])
        ax.text(0.5, 0.5, "no contact or limit acts", transform=ax.transAxes, ha="center", va="center", fontsize=7)
    ax.set_ylabel("active")


def _frames(made: Figure, place: Any, one: Study, frames: list[NDArray[np.uint8]]) -> None:
    found = one.embedding
    if found is None:
        return
    inner = place.subgridspec(-(-len(frames) // 2), 2)
    for number, (frame, point) in enumerate(zip(frames, frame_rows(one), strict=True)):
        ax = made.add_subplot(inner[number // 2, number % 2])
        ax.imshow(frame)
        ax.axis("off")
        ax.set_title(f"{number + 1}: sparsity {found.sparsity[point]:.2f}", fontsize=7, pad=2)


def _kinds(one: Study) -> list[str]:
    kinds = constraint_kinds(one.source.metadata)
    return [next(kind for kind in kinds if kinds[kind][number]) for number in range(len(one.constraint_names))]


def _title(one: Study) -> str:
    return f"{one.source.task}, {one.source.name} ({one.source.rows:,} rows)"
