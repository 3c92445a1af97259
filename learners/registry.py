"""The learners that there are, by name and loss; JAX is imported by those that have a network, when one is made."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from dynamic_sparsity.errors import UnknownNameError
from dynamic_sparsity.learners.interface import Learner
from dynamic_sparsity.learners.references.baselines import GlobalGraph, Hold, Ridge
from dynamic_sparsity.learners.references.graphs import ReferenceGraph

__all__ = ["LEARNERS", "REFERENCE_LEARNERS", "all_learners", "make_learner", "reference_learners"]


def _network(module: str, name: str, **fixed: Any) -> Callable[..., Learner]:
    """Return what makes a learner of `networks/`, where its packages are installed."""

    def make(**options: Any) -> Learner:
        from dynamic_sparsity.learners.networks.jax_setup import require_jax

        require_jax()
        learner: Learner = getattr(importlib.import_module(f"dynamic_sparsity.learners.networks.{module}"), name)(
            **fixed, **options
        )
        return learner

    return make


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
        "untrained": _network("mlp", "UntrainedMLP"),
        "none": _network("mlp", "MLP", term="none"),
        "mse": _network("mlp", "MLP", term="mse"),
        "mae": _network("mlp", "MLP", term="mae"),
        "l1": _network("mlp", "MLP", term="l1"),
        "sae": _network("mlp", "MLP", term="sae"),
    },
    "residual-mlp": {"none": _network("mlp", "ResidualMLP")},
    "gated": {
        "l0": _network("gated", "Gated", term="l0"),
        "mask": _network("gated", "Gated", term="mask"),
    },
    "codebook": {
        "l0": _network("codebook", "Codebook", term="l0"),
        "mask": _network("codebook", "Codebook", term="mask"),
    },
    "cdl": {"none": _network("cdl", "CDL")},
    "ncd": {"none": _network("ncd", "NCD")},
    "fcdl": {"none": _network("fcdl", "FCDL")},
    "spartan": {"none": _network("spartan", "SPARTAN")},
    "pcmi": {"none": _network("pcmi", "PCMI")},
    "elden": {"none": _network("elden", "ELDEN")},
    "coda": {"none": _network("coda", "CoDA")},
    "graph-network": {"none": _network("graph_network", "GraphNetwork")},
    "hinges": {"none": _network("hinges", "Hinges")},
    "oracle": {"none": _network("true_model", "Oracle")},
}
"""Every learner of the leaderboard, by name and loss."""

REFERENCE_LEARNERS = (
    *("hold", "ridge", "full", "empty", "union", "majority"),
    *("contact-bit", "active-set-lookup", "nearest-neighbour"),
)
"""Those that belong beside every entry. They have no network: the plain install has them, and they take no time."""


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


def reference_learners() -> list[Learner]:
    """Return those of `REFERENCE_LEARNERS`, with every loss."""
    return [make_learner(name, loss) for name in REFERENCE_LEARNERS for loss in LEARNERS[name]]
