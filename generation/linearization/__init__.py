"""The step of any model and its exact Jacobians, as functions of arrays: `linearize`."""

from dynamic_sparsity.generation.linearization.agreement import Agreement
from dynamic_sparsity.generation.linearization.linearization import Linearization
from dynamic_sparsity.generation.linearization.model_cache import linearize
from dynamic_sparsity.generation.linearization.program import Details, Flags

__all__ = ["Agreement", "Details", "Flags", "Linearization", "linearize"]
