"""The learners that there are, by name and loss; importing this module imports JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dynamic_sparsity.errors import UnknownNameError
from dynamic_sparsity.learners.networks.jax_setup import require_jax

require_jax()

from dynamic_sparsity.learners.interface import Learner  # noqa: E402
from dynamic_sparsity.learners.networks.cdl import CDL  # noqa: E402
from dynamic_sparsity.learners.networks.coda import CoDA  # noqa: E402
from dynamic_sparsity.learners.networks.codebook import Codebook  # noqa: E402
from dynamic_sparsity.learners.networks.elden import ELDEN  # noqa: E402
from dynamic_sparsity.learners.networks.fcdl import FCDL  # noqa: E402
from dynamic_sparsity.learners.networks.gated import Gated  # noqa: E402
from dynamic_sparsity.learners.networks.graph_network import GraphNetwork  # noqa: E402
from dynamic_sparsity.learners.networks.hinges import Hinges  # noqa: E402
from dynamic_sparsity.learners.networks.mlp import MLP, ResidualMLP, UntrainedMLP  # noqa: E402
from dynamic_sparsity.learners.networks.ncd import NCD  # noqa: E402
from dynamic_sparsity.learners.networks.pcmi import PCMI  # noqa: E402
from dynamic_sparsity.learners.networks.spartan import SPARTAN  # noqa: E402
from dynamic_sparsity.learners.networks.true_model import Oracle  # noqa: E402
from dynamic_sparsity.learners.references.baselines import GlobalGraph, Hold, Ridge  # noqa: E402 - after the check
from dynamic_sparsity.learners.references.graphs import ReferenceGraph  # noqa: E402

__all__ = ["LEARNERS", "all_learners", "make_learner"]

LEARNERS: dict[str, dict[str, Callable[..., Learner]]] = {
    "hold": {"none": Hold},
    "ridge": {"none": Ridge},
    "global-graph": {
        "union": lambda **options: GlobalGraph(kind="union", **options),
        "majority": lambda **options: GlobalGraph(kind="majority", **options),
    },
    "full": {"none": lambda **options: ReferenceGraph("full", "full", **options)},
    "empty": {"none": lambda **options: ReferenceGraph("empty", "empty", **options)},
    "union": {"none": lambda **options: ReferenceGraph("union", "union", **options)},
    "majority": {"none": lambda **options: ReferenceGraph("majority", "majority", **options)},
    "contact-bit": {"none": lambda **options: ReferenceGraph("contact-bit", "contact-bit", **options)},
    "active-set-lookup": {
        "true": lambda **options: ReferenceGraph("true", "active-set-lookup", **options),
        "predicted": lambda **options: ReferenceGraph("predicted", "active-set-lookup", **options),
    },
    "nearest-neighbour": {
        "none": lambda **options: ReferenceGraph("nearest-neighbour", "nearest-neighbour", **options)
    },
    "mlp": {
        "untrained": UntrainedMLP,
        "none": lambda **options: MLP(term="none", **options),
        "mse": lambda **options: MLP(term="mse", **options),
        "mae": lambda **options: MLP(term="mae", **options),
        "l1": lambda **options: MLP(term="l1", **options),
        "sae": lambda **options: MLP(term="sae", **options),
    },
    "residual-mlp": {"none": ResidualMLP},
    "gated": {
        "l0": lambda **options: Gated(term="l0", **options),
        "mask": lambda **options: Gated(term="mask", **options),
    },
    "codebook": {
        "l0": lambda **options: Codebook(term="l0", **options),
        "mask": lambda **options: Codebook(term="mask", **options),
    },
    "cdl": {"none": CDL},
    "ncd": {"none": NCD},
    "fcdl": {"none": FCDL},
    "spartan": {"none": SPARTAN},
    "pcmi": {"none": PCMI},
    "elden": {"none": ELDEN},
    "coda": {"none": CoDA},
    "graph-network": {"none": GraphNetwork},
    "hinges": {"none": Hinges},
    "oracle": {"none": Oracle},
}
"""Every learner of the leaderboard, by name and loss."""


def make_learner(name: str, loss: str | None = None, **options: Any) -> Learner:
    """Return a learner with its settings.

    Args:
        name: "mlp", "gated", …: a key of `LEARNERS`.
        loss: One of its losses; None for the first of them that trains.
        **options: Other settings of the learner, such as `weight` of an MLP's term; those that are None are left out.

    Raises:
        UnknownNameError: There is no such learner, loss or setting.
    """
    if name not in LEARNERS:
        raise UnknownNameError(f"there is no learner {name!r}; there is {', '.join(map(repr, LEARNERS))}")
    losses = LEARNERS[name]
    loss = next(known for known in losses if known != "untrained") if loss is None else loss
    if loss not in losses:
        raise UnknownNameError(
            f"there is no loss {loss!r} of the learner {name!r}; there is {', '.join(map(repr, losses))}"
        )
    given = {option: value for option, value in options.items() if value is not None}
    try:
        return losses[loss](**given)
    except TypeError as error:
        raise UnknownNameError(f"the learner {name!r} does not have all of the settings {', '.join(given)}") from error


def all_learners() -> list[Learner]:
    """Return every entry of the leaderboard, in its order."""
    return [make_learner(name, loss) for name, losses in LEARNERS.items() for loss in losses]
