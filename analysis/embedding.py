"""Q2, a map of (s, a, s'): do rows that lie together have the same sparsity?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis.sparsity import modes_of
from dynamic_sparsity.errors import InvalidSettingError, MissingDependencyError
from dynamic_sparsity.loaders.dataset import JacobianDataset

__all__ = ["Embedding", "embed"]

SAMPLE_ROWS = 1000
SEQUENCE_ROWS = 60
PERPLEXITY = 50.0


@dataclass(frozen=True)
class Embedding:
    """Rows placed in a plane such that neighbours in (s, a, s') are neighbours there.

    Attributes:
        positions: Positions of the rows in the data set, ascending, int64, shape (n,).
        points: Their places, no unit, float64, shape (n, 2).
        sparsity: Share of zeros in [J_s | J_a], float64, shape (n,).
        modes: Each row's mode, its number in `sparsity.MODES`, int64, shape (n,).
        sequence: Where among `positions` one consecutive sequence of rows is, int64, shape (m,).
        perplexity: That of t-SNE.

    Source: Pandaram et al., arXiv 2511.08086, Figure 4; van der Maaten and Hinton, Visualizing data using t-SNE,
    JMLR 2008.
    """

    positions: NDArray[np.int64]
    points: NDArray[np.float64]
    sparsity: NDArray[np.float64]
    modes: NDArray[np.int64]
    sequence: NDArray[np.int64]
    perplexity: float


def embed(
    dataset: JacobianDataset,
    around: int,
    *,
    rows: int = SAMPLE_ROWS,
    sequence: int = SEQUENCE_ROWS,
    perplexity: float = PERPLEXITY,
    seed: int = 0,
) -> Embedding:
    """Embed a sample of rows by t-SNE; every variable counts in units of its standard deviation.

    Args:
        dataset: In ascending order of rows.
        around: Position of the first row of the consecutive sequence.
        rows: About how many rows, spread evenly over the data set, beside the sequence.
        sequence: Rows of the sequence.
        perplexity: About how many neighbours count; less where there are few rows.
        seed: Of t-SNE.

    Raises:
        InvalidSettingError: There are fewer than 10 rows, or the sequence is outside of the data set.
        MissingDependencyError: scikit-learn is not installed.
    """
    if len(dataset) < 10 or not 0 <= around < len(dataset):
        raise InvalidSettingError(
            f"a map needs at least 10 rows, and a sequence that begins at one of them; there are {len(dataset)}, and "
            f"it begins at {around}"
        )
    try:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise MissingDependencyError(
            "t-SNE needs scikit-learn; install it with `pip install 'dynamic-sparsity[analysis]'`"
        ) from error
    spread = np.linspace(0, len(dataset) - 1, min(rows, len(dataset))).round().astype(np.int64)
    together = np.arange(around, min(around + sequence, len(dataset)))
    positions = np.union1d(spread, together)
    names = ("state", "action", "next_state", "mask_s", "mask_a", "active_any")
    batch = dataset.store.reader.gather(
        [name for name in names if name in dataset.store.arrays], dataset.rows[positions]
    )
    features = np.concatenate([batch[name] for name in names[:3] if name in batch], axis=1).astype(np.float64)
    deviation = features.std(axis=0)
    features = (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    perplexity = min(perplexity, (positions.size - 1) / 3)
    model = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed, n_jobs=None)
    # One thread: more of them wait for each other so often that on a busy machine they take several times longer.
    with threadpool_limits(1):
        points = np.asarray(model.fit_transform(features.astype(np.float32)), np.float64)
    masks = [batch[name].reshape(positions.size, -1) for name in names[3:5] if name in batch]
    sparsity = 1 - np.concatenate(masks, axis=1).mean(axis=1)
    active = batch.get("active_any", np.zeros((positions.size, 0), np.uint8))
    modes = modes_of(active, dataset.metadata)
    return Embedding(positions, points, sparsity, modes, np.searchsorted(positions, together), perplexity)
