"""Ground-truth Jacobians of MuJoCo Playground's dynamics, as a data set: load, verify, generate."""

from dynamic_sparsity.errors import DynamicSparsityError

__version__ = "0.1.0"
__all__ = ["DynamicSparsityError", "__version__"]
