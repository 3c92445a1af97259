"""Draws README's picture from the sample: `python docs/_site/picture.py`, with the extra `analysis`."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from dynamic_sparsity import load_dataset

TASK, POLICY = "CheetahRun", "expert"
COLOUR, SHADE = "#0072b2", "#e69f00"


def main() -> None:
    """Write docs/picture.png."""
    dataset = load_dataset(TASK, sample=True, policy=POLICY)
    contact = np.array([one["kind"] == "contact" for one in dataset.metadata["constraints"]])
    episodes = [dataset.episode(number) for number in range(len(dataset.episodes["index"]))]
    touching = [one["active_any"][:, contact].any(1) for one in episodes]
    # The episode in which the contacts come and go most often.
    number = int(np.argmax([np.abs(np.diff(one.astype(int))).sum() for one in touching]))
    rows, touches = episodes[number], touching[number]
    free, held = int(np.argmax(~touches[5:])) + 5, int(np.argmax(touches[5:])) + 5
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.9), width_ratios=(1, 1, 1.5), layout="constrained")
    for axis, row, what in ((axes[0], free, "in the air"), (axes[1], held, "touching the floor")):
        size = np.log10(np.maximum(np.abs(rows["J_s"][row]), 1e-12))
        image = axis.imshow(np.ma.masked_where(rows["mask_s"][row] == 0, size), cmap="viridis", vmin=-6, vmax=1)
        axis.set_title(f"J_s {what} (step {rows['step'][row]})", fontsize=10)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_xlabel("cause: state now", fontsize=9)
    axes[0].set_ylabel("effect: next state", fontsize=9)
    bar = figure.colorbar(image, ax=axes[1], shrink=0.8, ticks=[-6, -3, 0])
    bar.ax.set_yticklabels(["1e-6", "1e-3", "1"], fontsize=8)
    bar.set_label("|∂s'ᵢ/∂sⱼ|; white: exactly zero", fontsize=8)
    steps = rows["step"]
    zeros = 1 - rows["mask_s"].reshape(len(steps), -1).mean(1)
    axes[2].fill_between(steps, 0, 1, where=touches, step="mid", color=SHADE, alpha=0.3, lw=0, label="contact")
    axes[2].step(steps, zeros, where="mid", color=COLOUR, label="share of zeros")
    for row in (free, held):
        axes[2].plot(steps[row], zeros[row], "o", color=COLOUR)
    axes[2].set_ylim(0, max(0.45, float(zeros.max()) * 1.1))
    axes[2].set_xlim(steps[0], steps[-1])
    axes[2].set_xlabel("step", fontsize=9)
    axes[2].set_title(f"{TASK}, an episode of the {POLICY}", fontsize=10)
    axes[2].set_ylabel("share of zeros in J_s", fontsize=9)
    axes[2].legend(loc="upper right", frameon=False, fontsize=9)
    for side in ("top", "right"):
        axes[2].spines[side].set_visible(False)
    figure.savefig(Path(__file__).parent.parent / "picture.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
