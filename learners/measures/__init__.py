"""Measures that tell a model that adapts its graph to the state from a static graph; docs/benchmark.md defines them."""

from dynamic_sparsity.learners.measures.irrelevance import irrelevance
from dynamic_sparsity.learners.measures.judging import judge_graph
from dynamic_sparsity.learners.measures.moments import MODES, Moments, read_moments
from dynamic_sparsity.learners.measures.reference import Reference, fit_reference
from dynamic_sparsity.learners.measures.truths import TRUTHS, Truth, truths_named

__all__ = [
    "MODES",
    "TRUTHS",
    "Moments",
    "Reference",
    "Truth",
    "fit_reference",
    "irrelevance",
    "judge_graph",
    "read_moments",
    "truths_named",
]
